"""Following one channel: fetch, stage, activate, check, confirm or roll back, by the machine of `activation.lifecycle`."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from ..activation import lifecycle as life
from ..errors import (
    ActivationError,
    BaseMissingError,
    ConfigError,
    ContentError,
    EdgeswarmError,
    FetchError,
    LocalProtocolError,
    StoreError,
    TrustError,
)
from .config import InstallSection, SubscribeSection
from .following import Following
from .installers import load_state, state_object
from .node import Node
from .seeder import finish
from .target import Target
from .tasks import plain_nursery
from .threads import in_thread

_log = logging.getLogger("edgeswarm.follower")
# The command has its own time; this much more is for starting and killing it. A guess.
_CHECK_GRACE_SECONDS = 5.0
_Job = tuple[life.Effect, trio.CancelScope]
_SWITCHING = frozenset({life.Phase.ACTIVATING, life.Phase.ROLLING_BACK})
_BACK = frozenset({life.Phase.ROLLING_BACK, life.Phase.ROLLED_BACK})


def _lifecycle_config(install: InstallSection) -> life.LifecycleConfig:
    return life.LifecycleConfig(
        automatic=install.automatic, check_seconds=install.health_timeout + _CHECK_GRACE_SECONDS,
        check_attempts=install.health_attempts, retry_seconds=install.retry_seconds,
        retry_max_seconds=install.retry_max_seconds,
    )  # fmt: skip


class Follower(Following):
    """A subscription that installs; see `Following`.

    Effects wait in a queue and are performed in order. What the machine gives up (`CancelFetch`, `StopActivate`, a check before a
    `RollBack`) is cancelled as soon as it says so, also while it waits in the queue, so that its answer never meets a later phase.

    Raises:
        ConfigError: The subscription has no target.
    """

    def __init__(self, node: Node, subscribe: SubscribeSection) -> None:
        super().__init__(node, subscribe)
        if subscribe.install is None:
            raise ConfigError(f"{self.name} has no target to install to")
        self._install = subscribe.install
        self._target = Target(node, subscribe.product, subscribe.channel, subscribe.install)
        self._machine = life.Lifecycle(_lifecycle_config(subscribe.install))
        self._effects, self._queue = trio.open_memory_channel[_Job](math.inf)
        self._scope, self._wake = trio.CancelScope(), trio.CancelScope()
        self._moved = trio.Event()
        self._ready = False
        self._times_back = 0

    async def _run(self) -> None:
        self._effects, self._queue = trio.open_memory_channel[_Job](math.inf)  # a handful a release
        try:
            async with plain_nursery() as nursery:
                await self._load()
                nursery.start_soon(self._follow)
                async for effect, scope in self._queue:
                    await self._perform(effect, scope, nursery)
        finally:
            self._ready = False
            self._tell()

    async def _load(self) -> None:
        state = await in_thread(partial(load_state, self._node.store, self.subscribe.product, self.subscribe.channel))
        self._machine = life.Lifecycle(_lifecycle_config(self._install), state)
        active = await self._target.active()
        self.version = active.version if active is not None else ""
        await self._share()  # cheap, and needed where the store's index had to be rebuilt
        self._ready = True
        self._feed(life.Restarted(active.manifest if active is not None else b""))

    async def _follow(self) -> None:
        async for channel, release in self._channel:
            offer = life.Offer(release.product, release.version, release.manifest, channel.sequence)
            self._feed(life.Offered(offer))

    def _feed(self, event: life.Event) -> None:
        for effect in self._machine.handle(event, trio.current_time()):
            if isinstance(effect, life.CancelFetch | life.StopActivate | life.RollBack):
                self._scope.cancel()
            elif isinstance(effect, life.Fetch | life.Activate | life.Check):
                self._scope = trio.CancelScope()
            self._effects.send_nowait((effect, self._scope))
        self._tell()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def _perform(self, effect: life.Effect, scope: trio.CancelScope, nursery: trio.Nursery) -> None:
        match effect:
            case life.Save(state=state):
                await self._save(state)
            case life.Fetch(offer=offer):
                nursery.start_soon(self._fetch_and_stage, offer, scope)
            case life.Activate(offer=offer):
                nursery.start_soon(self._activate, offer, scope)
            case life.Check():
                nursery.start_soon(self._check, effect, scope)
            case life.Confirm(offer=offer):
                await self._confirm(offer)
                nursery.start_soon(self._share)
            case life.RollBack():
                nursery.start_soon(self._switch_back, effect)
            case life.WakeAt(at=at):
                self._wake.cancel()
                self._wake = trio.CancelScope()
                nursery.start_soon(self._wake_up, at, self._wake)

    async def _save(self, state: life.LifecycleState) -> None:
        name = state_object(self.subscribe.product, self.subscribe.channel)
        try:
            await in_thread(partial(self._node.store.save_object, name, life.encode_state(state)))
        except StoreError as error:
            if state.phase not in _BACK:
                raise
            # A release that fills the disk must not be able to prevent that it is rolled back. If the node dies now, the target
            # tells the next start that it was.
            self.last_error = str(error)
            _log.warning("%s: rolling back all the same: %s", self.name, error)

    async def _confirm(self, offer: life.Offer) -> None:
        try:
            await self._target.confirm()
        except (ActivationError, StoreError) as error:  # it is repeated after a restart, and stops nothing else
            self.last_error = str(error)
            _log.warning("%s: %s cannot be confirmed now: %s", self.name, offer.version, error)
        else:
            _log.info("%s: %s is confirmed", self.name, offer.version)

    async def _wake_up(self, at: float, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_until(at)
            self._feed(life.Woke())

    # What takes long. A job that was cancelled by the machine answers nothing, unless the machine waits for it.

    async def _fetch_and_stage(self, offer: life.Offer, scope: trio.CancelScope) -> None:
        error: Exception | None = None
        with scope:
            try:
                await self._bring(offer)
            except (EdgeswarmError, OSError) as caught:
                error = caught
        if scope.cancel_called:
            return
        if error is None:
            self._feed(life.Staged(offer.manifest))
            return
        self.last_error = str(error)
        _log.warning("%s %s: %s", offer.product, offer.version, error)
        # A malformed tree stays malformed; a chunk that rotted, or a disk that was not ready, may be better next time.
        final = isinstance(error, ContentError) and not isinstance(error, BaseMissingError)
        self._feed(life.StageFailed(offer.manifest, str(error), final=final))

    async def _bring(self, offer: life.Offer) -> None:
        """Fetch a release and write it beside the target."""
        release, _ = await self._node.find(offer.product, version=offer.version)
        if release.manifest != offer.manifest:
            raise TrustError(f"{release.path} was replaced while it was fetched")
        active = await self._target.active()
        if active is not None and active.manifest == offer.manifest:
            return
        fetch = self._node.fetch(release)
        await finish(fetch)
        if fetch.manifest is None:
            raise FetchError(f"{release.path} ended without a manifest")
        await self._target.stage(fetch.manifest, offer.version)
        await self._share()  # staging took slots away: what was in them is not passed on any more

    async def _activate(self, offer: life.Offer, scope: trio.CancelScope) -> None:
        reason = "stopped before the switch"
        with scope:
            try:
                if not await self._holds(offer):
                    await self._target.activate()
                reason = ""
            except (ActivationError, StoreError) as error:
                reason = self.last_error = str(error)
        active = await self._target.active()
        switched = active is not None and active.manifest == offer.manifest
        if active is not None:
            self.version = active.version
        if reason:
            self._feed(life.ActivateFailed(offer.manifest, reason, switched=switched))
            return
        self.last_error = ""
        _log.info("%s: %s is installed at %s", self.name, offer.version, self._install.target)
        self._feed(life.Activated(offer.manifest))

    async def _holds(self, offer: life.Offer) -> bool:
        active = await self._target.active()
        return active is not None and active.manifest == offer.manifest

    async def _check(self, check: life.Check, scope: trio.CancelScope) -> None:
        if not self._install.health:
            self._feed(life.CheckPassed(check.offer.manifest, check.attempt))
            return
        result = None
        with scope:
            result = await self._target.check(check, lambda: self._feed(life.CheckStarted(check.offer.manifest, check.attempt)))
        if result is None or scope.cancel_called:
            return
        if result.passed:
            self.last_error = ""
            self._feed(life.CheckPassed(check.offer.manifest, check.attempt))
        else:
            self.last_error = result.reason
            _log.warning("%s %s: %s", check.offer.product, check.offer.version, result.reason)
            self._feed(life.CheckFailed(check.offer.manifest, check.attempt, result.reason))

    async def _switch_back(self, effect: life.RollBack) -> None:
        try:
            installed = await self._target.roll_back(effect.manifest)
        except (ActivationError, StoreError) as error:
            self.last_error = str(error)
            _log.error("%s cannot be rolled back now: %s", self.name, error)
            final = False
            with suppress(ActivationError, StoreError):
                final = await self._target.previous() is None
            self._feed(life.RollBackFailed(str(error), final=final))
            return
        _log.warning("%s: rolled back to %s: %s", self.name, installed.version, effect.reason)
        self.version = installed.version
        self._times_back += 1
        self._feed(life.RolledBack(installed.manifest))

    async def _share(self) -> None:
        """Read chunks from what is installed from now on, and free the copies of them in the store, as far as that works now."""
        try:
            await self._target.share()
        except EdgeswarmError as error:
            self.last_error = f"what is installed cannot be shared yet: {error}"
            _log.warning("%s: %s", self.name, self.last_error)

    # What an operator asks for.

    async def roll_back(self, reason: str) -> None:
        """Go back to the release before the active one, whatever is going on, and wait until that is done.

        Raises:
            ActivationError: There is none, or it did not work.
        """
        await self._until_ready()
        if self._machine.state.phase not in _SWITCHING and await self._target.previous() is None:
            raise ActivationError(f"{self.subscribe.product}: there is no previous release to go back to")
        before = self._times_back
        self._feed(life.RollBackRequested(reason))
        while self._times_back == before:
            state = self._machine.state
            waits = state.phase in _SWITCHING and self._machine.retry_at is None
            if not waits or not self._ready:
                again = ", which is tried again" if self._machine.retry_at is not None else ""
                raise ActivationError(f"{self.subscribe.product} was not rolled back{again}: {state.reason or self.last_error}")
            await self._moved.wait()

    async def activate(self) -> None:
        """Switch to the release that is staged, and wait until that is done; its health check follows.

        Raises:
            ActivationError: None is staged, or it did not work.
        """
        await self._until_ready()
        try:
            self._feed(life.ActivateRequested())
        except LocalProtocolError as error:
            raise ActivationError(f"{self.subscribe.product}: {error}") from error
        while self._machine.state.phase is life.Phase.ACTIVATING and self._ready:
            await self._moved.wait()
        state = self._machine.state
        if state.phase not in {life.Phase.CHECKING, life.Phase.CONFIRMED}:
            raise ActivationError(f"{self.subscribe.product} was not activated: {state.reason or self.last_error}")

    async def _until_ready(self) -> None:
        while not self._ready:
            await self._moved.wait()

    def status(self) -> dict[str, Any]:
        """Return what a person wants to know, as JSON has it."""
        state, retry_at = self._machine.state, self._machine.retry_at
        return super().status() | {
            "phase": str(state.phase), "wanted": state.offer.version if state.offer is not None else "", "reason": state.reason,
            "target": str(self._install.target), "job": self._target.job,
            "retry_seconds": max(0.0, round(retry_at - trio.current_time(), 1)) if retry_at is not None else None,
        }  # fmt: skip
