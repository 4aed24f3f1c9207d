"""A subscription's target on a node: one job at a time, in a thread, that ends soon when it is cancelled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from ..abc import Installed
from ..activation import HealthContext, HealthResult, run_health_check
from ..activation import lifecycle as life
from ..content.digest import Digest
from ..content.manifest import ArtifactKind, Manifest
from ..errors import EdgeswarmError
from .artifacts import StoredStream, load_stored_manifest
from .config import InstallSection
from .installers import open_installer
from .keeping import let_go
from .node import Node
from .sharing import link_slots, links_object, unlink_gone
from .threads import check_cancelled, in_thread, in_waiting_thread

_log = logging.getLogger("edgeswarm.target")
_T = TypeVar("_T")


async def write_out(node: Node, manifest: Manifest, version: str, target: Path) -> Installed:
    """Install a release that is held at a path, without any subscription; what was there is kept as the previous one."""
    kind = "directory" if manifest.root.kind is ArtifactKind.TREE else "file"
    installer = open_installer(InstallSection(target=target, kind=kind))

    def install() -> Installed:
        installer.stage(manifest, version, node.open_stream(manifest), lambda _written: check_cancelled())
        installed = installer.activate(lambda _read: check_cancelled())
        installer.confirm()
        return installed

    return await in_thread(install)


class Target:
    """The installer of a subscription, for tasks.

    All that changes the target, and the health check that judges it, is one job at a time: another one waits. A job whose task is
    cancelled ends at the next chunk boundary, or kills its health check, before the next one begins.

    Args:
        node: The node.
        product: Whose releases it holds.
        channel: Which of them.
        install: What the configuration says.
    """

    def __init__(self, node: Node, product: str, channel: str, install: InstallSection) -> None:
        self._node = node
        self._product = product
        self._links = links_object(product, channel)
        self._install = install
        self._installer = open_installer(install)
        self._lock = trio.Lock()
        self._doing, self._done, self._size = "", 0, 0

    @property
    def job(self) -> dict[str, Any] | None:
        """What is done now, with bytes done so far and of how many; None: nothing that takes long."""
        return {"doing": self._doing, "done": self._done, "size": self._size} if self._doing else None

    async def active(self) -> Installed | None:
        """Return what the target holds."""
        return await in_thread(self._installer.active)

    async def previous(self) -> Installed | None:
        """Return what a roll back leads to."""
        return await in_thread(self._installer.previous)

    async def stage(self, manifest: Manifest, version: str) -> Installed:
        """Write a release beside the target; see `abc.Installer`."""
        stream = StoredStream(self._node.store, manifest)
        return await self._work(
            lambda progress: self._installer.stage(manifest, version, stream.read, progress), "staging", manifest.root.size
        )

    async def activate(self) -> Installed:
        """Verify what is staged and switch to it; see `abc.Installer`. Cancelled in time it switches nothing."""
        staged = await in_thread(self._installer.staged)
        manifest = self._manifest_of(staged)
        return await self._work(self._installer.activate, "verifying", manifest.root.size if manifest is not None else 0)

    async def _work(self, function: Callable[[Callable[[int], None]], _T], doing: str, size: int) -> _T:
        def progress(count: int) -> None:
            check_cancelled()
            self._done += count

        async with self._lock:
            self._doing, self._done, self._size = doing, 0, size
            try:
                return await in_thread(partial(function, progress))
            finally:
                self._doing = ""
                with trio.CancelScope(shield=True):
                    await in_thread(self._forget_gone)

    async def confirm(self) -> None:
        """Declare the active release good."""
        async with self._lock:
            await in_thread(self._installer.confirm)

    async def roll_back(self, manifest: Digest) -> Installed:
        """Leave a release, if the target holds it still; return what it holds then.

        Raises:
            ActivationError: See `abc.Installer`.
        """

        def switch() -> Installed:
            active = self._installer.active()
            if active is not None and active.manifest != manifest:
                return active
            return self._installer.rollback()

        async with self._lock:
            return await in_thread(switch)

    async def check(self, check: life.Check, started: Callable[[], None]) -> HealthResult:
        """Run the health check; when cancelled it is killed.

        Args:
            check: What to check.
            started: Called when it begins: it may have to wait for its turn.
        """
        async with self._lock:
            previous = await in_thread(self._installer.previous)
            context = HealthContext(
                product=check.offer.product, version=check.offer.version, path=str(self._install.target),
                previous_version=previous.version if previous is not None else "",
            )  # fmt: skip
            started()
            return await in_waiting_thread(
                partial(
                    run_health_check, self._install.health, context, timeout_seconds=self._install.health_timeout,
                    check_stop=check_cancelled,
                )
            )  # fmt: skip

    # What is installed, as a part of the node's store.

    async def share(self) -> None:
        """Read chunks from what is installed from now on, and let go of what nothing needs.

        Raises:
            EdgeswarmError: It does not work now; nothing is lost.
        """
        async with self._lock:
            await in_thread(self._link)
            await let_go(self._node, self._product)
            await in_thread(self._node.store.collect)

    def _forget_gone(self) -> None:
        """Forget slots that a job removed, as far as that works now: it is no part of the job, and done again with the next one."""
        try:
            unlink_gone(self._node.store, self._links)
        except EdgeswarmError as error:
            _log.warning("%s: %s", self._product, error)

    def _link(self) -> None:
        self._forget_gone()
        both = [one for one in (self._installer.active(), self._installer.previous()) if one is not None]
        found = [(manifest, one.path) for one in both if (manifest := self._manifest_of(one)) is not None]
        link_slots(self._node.store, self._links, found)

    def _manifest_of(self, installed: Installed | None) -> Manifest | None:
        if installed is None or not installed.manifest:
            return None
        try:
            return load_stored_manifest(self._node.store, installed.manifest)
        except EdgeswarmError as error:
            _log.warning("%s %s cannot be shared: %s", self._product, installed.version, error)
            return None
