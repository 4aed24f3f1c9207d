"""Rolling back while no node runs. Blocking."""

from __future__ import annotations

import logging

from ..abc import ChunkStore, Installed
from ..activation import lifecycle as life
from ..errors import ActivationError, StoreError
from .config import SubscribeSection
from .installers import load_state, open_installer, state_object

_log = logging.getLogger("edgeswarm.follower")


def roll_back_offline(store: ChunkStore, subscribe: SubscribeSection) -> Installed:
    """Put a subscription's previous release back while no node runs.

    Args:
        store: The node's store: its lock keeps a node from starting meanwhile.
        subscribe: The subscription.

    Returns:
        What the target holds now.

    Raises:
        ActivationError: There is nothing to go back to, or it could not be switched.
    """
    if subscribe.install is None:
        raise ActivationError(f"{subscribe.product}/{subscribe.channel} has no target: nothing is installed by it")
    installer = open_installer(subscribe.install)
    if installer.previous() is None:
        raise ActivationError(f"{subscribe.product}: there is no previous release to go back to")
    machine = life.Lifecycle(life.LifecycleConfig(), load_state(store, subscribe.product, subscribe.channel))
    active = installer.active()
    machine.handle(life.Restarted(active.manifest if active is not None else b""), 0.0)
    machine.handle(life.RollBackRequested("asked for by the operator"), 0.0)
    if machine.state.phase is life.Phase.ACTIVATING and machine.state.offer is not None:  # nobody activates now
        machine.handle(life.ActivateFailed(machine.state.offer.manifest, "stopped"), 0.0)
    _save(store, subscribe, machine)
    installed = installer.rollback()
    machine.handle(life.RolledBack(installed.manifest), 0.0)
    _save(store, subscribe, machine)
    return installed


def _save(store: ChunkStore, subscribe: SubscribeSection, machine: life.Lifecycle) -> None:
    """Save the state; on a full disk go on without: the target tells the next start what was done, and that is believed."""
    try:
        store.save_object(state_object(subscribe.product, subscribe.channel), life.encode_state(machine.state))
    except StoreError as error:
        _log.warning("%s/%s: rolling back all the same: %s", subscribe.product, subscribe.channel, error)
