"""Following one channel: fetch, stage, activate, check, confirm or roll back, by the machine of `activation.lifecycle`."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ..abc import ChunkStore, Installed, Installer
from ..activation import DirectoryInstaller, FileInstaller, HealthContext, run_health_check
from ..activation import lifecycle as life
from ..content.digest import Digest
from ..content.manifest import ArtifactKind, Manifest
from ..errors import (
    ActivationError,
    BaseMissingError,
    ContentError,
    EdgeswarmError,
    FetchError,
    LocalProtocolError,
    StoreError,
    TrustError,
)
from ..trust.catalogue import Release
from .artifacts import StoredStream, load_stored_manifest
from .config import InstallSection, SubscribeSection
from .fetch import Fetch
from .node import Node
from .tasks import plain_nursery
from .threads import in_thread

_log = logging.getLogger("edgeswarm.follower")
_AGAIN_SECONDS = 30.0
"""Pause before what failed is tried again: a guess; a full disk or a damaged target is nothing that passes in a second."""


def open_installer(install: InstallSection) -> Installer:
    """Return the installer that a subscription's configuration names."""
    target = str(install.target)
    if install.kind == "file":
        return FileInstaller(target, mode=install.mode or 0o644)
    return DirectoryInstaller(target, mode=install.mode or 0o755)


def state_object(product: str, channel: str) -> str:
    """Return the store's object name of a subscription's lifecycle state."""
    return f"lifecycle/{product}/{channel}"


def roll_back_offline(store: ChunkStore, subscribe: SubscribeSection) -> Installed | None:
    """Put a subscription's previous release back while no node runs. Blocking.

    Args:
        store: The node's store: its lock keeps a node from starting meanwhile.
        subscribe: The subscription.

    Returns:
        What the target holds now, or None if there is nothing to go back to.

    Raises:
        ActivationError: It could not be switched.
    """
    if subscribe.install is None:
        return None
    installer = open_installer(subscribe.install)
    if installer.previous() is None:
        return None
    name = state_object(subscribe.product, subscribe.channel)
    data = store.load_object(name)
    machine = life.Lifecycle(life.LifecycleConfig(), life.decode_state(data) if data is not None else None)
    try:
        effects = machine.handle(life.RollBackRequested("asked for by the operator"), 0.0)
    except LocalProtocolError as error:
        raise ActivationError(f"{subscribe.product}: {error}") from error
    _save_all(store, name, effects)
    installed = installer.rollback()
    _save_all(store, name, machine.handle(life.RolledBack(installed.manifest), 0.0))
    return installed


def _save_all(store: ChunkStore, name: str, effects: list[life.Effect]) -> None:
    for effect in effects:
        if isinstance(effect, life.Save):
            store.save_object(name, life.encode_state(effect.state))


async def write_out(node: Node, manifest: Manifest, version: str, target: Path) -> Installed:
    """Install a release that is held at a path, without any subscription; what was there is kept as the previous one."""
    kind = "directory" if manifest.root.kind is ArtifactKind.TREE else "file"
    installer = open_installer(InstallSection(target=target, kind=kind))

    def install() -> Installed:
        installer.stage(manifest, version, node.open_stream(manifest), lambda _written: None)
        installed = installer.activate()
        installer.confirm()
        return installed

    return await in_thread(install)


async def _finish(fetch: Fetch) -> None:
    """Wait for a fetch; who is cancelled meanwhile wants it no more."""
    try:
        await fetch.wait()
    except trio.Cancelled:
        fetch.cancel()
        raise


class Follower:
    """One subscription of a node.

    Args:
        node: The node.
        subscribe: What to follow, and where to install it.
    """

    def __init__(self, node: Node, subscribe: SubscribeSection) -> None:
        self.subscribe = subscribe
        self._node = node
        self._installer = open_installer(subscribe.install) if subscribe.install is not None else None
        self._machine = life.Lifecycle(life.LifecycleConfig())
        self._jobs, self._queue = trio.open_memory_channel[life.Effect](math.inf)
        self._fetch_scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self.settled = trio.Event()
        self.last_error = ""
        self.version = ""

    async def run(self) -> None:
        """Follow until cancelled. What goes wrong with one subscription, its target say, does not end the node."""
        while True:
            try:
                await self._run()
            except (EdgeswarmError, OSError) as error:
                self.last_error = str(error)
                _log.exception("%s/%s starts again", self.subscribe.product, self.subscribe.channel)
            await trio.sleep(_AGAIN_SECONDS)

    async def _run(self) -> None:
        self._jobs, self._queue = trio.open_memory_channel[life.Effect](math.inf)  # a handful a release
        async with plain_nursery() as nursery:
            self._nursery = nursery
            if self._installer is None:
                await self._seed(nursery)
            await self._load()
            nursery.start_soon(self._follow)
            async for effect in self._queue:
                await self._perform(effect)

    # Without a target: fetch and keep for others.

    async def _seed(self, nursery: trio.Nursery) -> None:
        async for _, release in self._node.subscribe(self.subscribe.product, self.subscribe.channel):
            self._fetch_scope.cancel()  # what is superseded has no more use; what both releases have in common is here
            self._fetch_scope = trio.CancelScope()
            self.settled = trio.Event()
            nursery.start_soon(self._seed_one, release, self._fetch_scope)

    async def _seed_one(self, release: Release, scope: trio.CancelScope) -> None:
        """Bring one release, however long it takes, unless a newer one comes."""
        with scope:
            while True:
                try:
                    await _finish(self._node.fetch(release))
                    self.version, self.last_error = release.version, ""
                    await self._keep_newest()
                except EdgeswarmError as error:
                    self.last_error = str(error)
                    _log.warning("%s: %s", release.path, error)
                    await trio.sleep(_AGAIN_SECONDS)
                else:
                    self.settled.set()
                    return

    async def _keep_newest(self) -> None:
        """Let go of releases of this product beyond the number to keep."""
        rows = [digest for digest, about in await self._node.held() if about["product"] == self.subscribe.product]
        for digest in rows[: -self.subscribe.keep]:
            await self._node.forget(digest)
        await in_thread(self._node.store.collect)

    # With a target.

    @property
    def _install(self) -> InstallSection:
        if self.subscribe.install is None:
            raise LocalProtocolError(f"{self.subscribe.product}/{self.subscribe.channel} has no target to install to")
        return self.subscribe.install

    @property
    def _target(self) -> Installer:
        if self._installer is None:
            raise LocalProtocolError(f"{self.subscribe.product}/{self.subscribe.channel} has no target to install to")
        return self._installer

    async def _load(self) -> None:
        name = state_object(self.subscribe.product, self.subscribe.channel)
        data = await in_thread(partial(self._node.store.load_object, name))
        state = life.decode_state(data) if data is not None else None
        config = life.LifecycleConfig(
            check_seconds=self._install.health_timeout + 5, check_attempts=self._install.health_attempts
        )  # fmt: skip
        self._machine = life.Lifecycle(config, state)
        active = await in_thread(self._target.active)
        self.version = active.version if active is not None else ""
        await self._use_installed()  # cheap, and needed where the store's index had to be rebuilt
        self._feed(life.Restarted(active.manifest if active is not None else b""))

    async def _follow(self) -> None:
        async for channel, release in self._node.subscribe(self.subscribe.product, self.subscribe.channel):
            offer = life.Offer(release.product, release.version, release.manifest, channel.sequence)
            self._feed(life.Offered(offer))

    def _feed(self, event: life.Event) -> None:
        for effect in self._machine.handle(event, trio.current_time()):
            self._jobs.send_nowait(effect)
        if self._machine.state.phase in {life.Phase.CONFIRMED, life.Phase.ROLLED_BACK, life.Phase.FAILED}:
            self.settled.set()
        elif self.settled.is_set():
            self.settled = trio.Event()

    async def roll_back(self, reason: str) -> None:
        """Go back to the previous release because somebody wants it; `LocalProtocolError` if nothing can be rolled back now."""
        self._feed(life.RollBackRequested(reason))

    async def _perform(self, effect: life.Effect) -> None:
        assert self._nursery is not None  # noqa: S101  # set by `run`
        match effect:
            case life.Save(state=state):
                name = state_object(self.subscribe.product, self.subscribe.channel)
                await in_thread(partial(self._node.store.save_object, name, life.encode_state(state)))
            case life.Fetch(offer=offer):
                self._fetch_scope = trio.CancelScope()
                self._nursery.start_soon(self._fetch_and_stage, offer, self._fetch_scope)
            case life.CancelFetch():
                self._fetch_scope.cancel()
            case life.Activate(offer=offer):
                await self._activate(offer)
            case life.Check():
                self._nursery.start_soon(self._check, effect)
            case life.Confirm():
                await in_thread(self._target.confirm)
            case life.RollBack(reason=reason):
                await self._switch_back(reason)
            case life.WakeAt(at=at):
                self._nursery.start_soon(self._wake, at)

    async def _wake(self, at: float) -> None:
        await trio.sleep_until(at)
        self._feed(life.Woke())

    async def _fetch_and_stage(self, offer: life.Offer, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await self._bring(offer)
                self._feed(life.Staged(offer.manifest))
        except (EdgeswarmError, OSError) as error:
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
        active = await in_thread(self._target.active)
        if active is not None and active.manifest == offer.manifest:
            return
        fetch = self._node.fetch(release)
        await _finish(fetch)
        if fetch.manifest is None:
            raise FetchError(f"{release.path} ended without a manifest")
        stream = StoredStream(self._node.store, fetch.manifest)
        await in_thread(partial(self._target.stage, fetch.manifest, offer.version, stream.read, lambda _written: None))

    async def _activate(self, offer: life.Offer) -> None:
        active = await in_thread(self._target.active)
        if active is not None and active.manifest == offer.manifest:
            self._feed(life.Activated(offer.manifest))
            return
        try:
            installed = await in_thread(self._target.activate)
        except (ActivationError, StoreError) as error:
            active = await in_thread(self._target.active)
            switched = active is not None and active.manifest == offer.manifest
            self._feed(life.ActivateFailed(offer.manifest, str(error), switched=switched))
            return
        self.version = installed.version
        self._feed(life.Activated(installed.manifest))
        await self._use_installed()

    async def _use_installed(self) -> None:
        """Read chunks from what is installed from now on, and free the copies of them in the store, as far as that works now."""
        try:
            await self._link_installed()
        except EdgeswarmError as error:
            self.last_error = f"what is installed cannot be shared yet: {error}"
            _log.warning("%s: %s", self.subscribe.product, self.last_error)

    async def _link_installed(self) -> None:
        def link() -> None:
            for installed in (self._target.active(), self._target.previous()):
                manifest = self._manifest_of(installed)
                if installed is not None and manifest is not None:
                    self._node.store.link(manifest, installed.path)
            self._node.store.collect()

        await in_thread(link)
        await self._forget_others()

    def _manifest_of(self, installed: Installed | None) -> Manifest | None:
        if installed is None or not installed.manifest:
            return None
        return load_stored_manifest(self._node.store, installed.manifest)

    async def _forget_others(self) -> None:
        """Hold what the target has as active and previous, and nothing older of this product."""
        kept: list[Digest] = []
        for find in (self._target.active, self._target.previous, self._target.staged):
            installed = await in_thread(find)
            if installed is not None:
                kept.append(installed.manifest)
        for digest, about in await self._node.held():
            if about["product"] == self.subscribe.product and digest not in kept:
                await self._node.forget(digest)

    async def _check(self, check: life.Check) -> None:
        install = self._install
        if not install.health:
            self._feed(life.CheckPassed(check.offer.manifest, check.attempt))
            return
        previous = await in_thread(self._target.previous)
        context = HealthContext(
            product=check.offer.product, version=check.offer.version, path=str(install.target),
            previous_version=previous.version if previous is not None else "",
        )  # fmt: skip
        run = partial(run_health_check, install.health, context, timeout_seconds=install.health_timeout)
        result = await in_thread(run)
        if result.passed:
            self.last_error = ""
            self._feed(life.CheckPassed(check.offer.manifest, check.attempt))
        else:
            self.last_error = result.reason
            _log.warning("%s %s: %s", check.offer.product, check.offer.version, result.reason)
            self._feed(life.CheckFailed(check.offer.manifest, check.attempt, result.reason))

    async def _switch_back(self, reason: str) -> None:
        try:
            installed = await in_thread(self._target.rollback)
        except (ActivationError, StoreError) as error:
            self._feed(life.RollBackFailed(str(error)))
            return
        _log.warning("rolled back to %s: %s", installed.version, reason)
        self.version = installed.version
        self._feed(life.RolledBack(installed.manifest))

    def status(self) -> dict[str, Any]:
        """Return what a person wants to know, as JSON has it."""
        state = self._machine.state
        return {
            "product": self.subscribe.product, "channel": self.subscribe.channel, "phase": str(state.phase),
            "version": self.version,
            "wanted": state.offer.version if state.offer is not None else "", "reason": state.reason, "error": self.last_error,
            "target": str(self.subscribe.install.target) if self.subscribe.install is not None else "",
        }  # fmt: skip
