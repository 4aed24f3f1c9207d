"""What a subscription's configuration names: its installer, and where the state of its lifecycle is kept. Blocking."""

from __future__ import annotations

import logging

from ..abc import ChunkStore, Installer
from ..activation import DirectoryInstaller, FileInstaller
from ..activation.lifecycle import LifecycleState, decode_state
from ..errors import StoreError
from .config import InstallSection

_log = logging.getLogger("edgeswarm.follower")


def open_installer(install: InstallSection) -> Installer:
    """Return the installer that a subscription's configuration names."""
    target = str(install.target)
    if install.kind == "file":
        return FileInstaller(target, mode=install.mode or 0o644, keep=install.keep)
    return DirectoryInstaller(target, mode=install.mode or 0o755, keep=install.keep)


def state_object(product: str, channel: str) -> str:
    """Return the store's object name of a subscription's lifecycle state."""
    return f"lifecycle/{product}/{channel}"


def load_state(store: ChunkStore, product: str, channel: str) -> LifecycleState:
    """Return a subscription's saved state, or that of a beginning.

    A damaged one is logged and counts as none: the target tells what is installed, and an operator must be able to go back.

    Raises:
        ContentError: It is of a newer format.
    """
    try:
        data = store.load_object(state_object(product, channel))
    except StoreError as error:
        _log.error("%s/%s: going on from what the target tells, for the saved state is damaged: %s", product, channel, error)
        return LifecycleState()
    return decode_state(data) if data is not None else LifecycleState()
