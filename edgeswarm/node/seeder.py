"""Following one channel without a target: fetch what it points to, and keep it for others."""

from __future__ import annotations

import logging

import trio

from ..errors import EdgeswarmError
from ..trust.catalogue import Release
from .following import AGAIN_SECONDS, Following
from .handle import Fetch
from .keeping import let_go
from .tasks import plain_nursery
from .threads import in_thread

_log = logging.getLogger("edgeswarm.follower")


async def finish(fetch: Fetch) -> None:
    """Wait for a fetch; who is cancelled meanwhile wants it no more."""
    try:
        await fetch.wait()
    except trio.Cancelled:
        fetch.cancel()
        raise


class Seeder(Following):
    """A subscription that installs nothing; see `Following`."""

    async def _run(self) -> None:
        scope = trio.CancelScope()
        async with plain_nursery() as nursery:
            async for _, release in self._channel:
                scope.cancel()  # what is superseded has no more use; what both releases have in common is here
                scope = trio.CancelScope()
                nursery.start_soon(self._seed, release, scope)

    async def _seed(self, release: Release, scope: trio.CancelScope) -> None:
        """Bring one release, however long it takes, unless a newer one comes."""
        with scope:
            while True:
                try:
                    await self._bring(release)
                except EdgeswarmError as error:
                    self.last_error = str(error)
                    _log.warning("%s: %s", release.path, error)
                    await trio.sleep(AGAIN_SECONDS)
                else:
                    return

    async def _bring(self, release: Release) -> None:
        await finish(self._node.fetch(release))
        self.version, self.last_error = release.version, ""
        await let_go(self._node, self.subscribe.product)
        await in_thread(self._node.store.collect)
