"""What a caller holds of a fetch that runs in the background of a node."""

from __future__ import annotations

import trio

from ..content.manifest import Manifest
from ..errors import FetchError
from ..trust.catalogue import Release
from .fetch import Job
from .progress import Progress
from .transfer import Transfer

_MOMENT_SECONDS = 0.25


class Fetch:
    """One caller's interest in a release that is on its way.

    Several callers may want the same release: it is fetched once, and until the last of them has cancelled.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._over = job.join()

    @property
    def release(self) -> Release:
        """What is fetched."""
        return self._job.release

    @property
    def manifest(self) -> Manifest | None:
        """Its chunk table, once that is known."""
        return self._job.manifest

    @property
    def transfer(self) -> Transfer | None:
        """The transfer with the neighbours, while it runs."""
        return self._job.transfer

    @property
    def progress(self) -> Progress:
        """The moment."""
        return self._job.progress

    @property
    def finished(self) -> bool:
        """Whether it has ended for this caller, well or not."""
        return self._over.is_set()

    def cancel(self) -> None:
        """Want it no more; what was verified is kept, and a later fetch goes on from there. Safe at any time, also twice."""
        if not self.finished:
            self._job.leave(self._over)

    async def ended(self) -> None:
        """Wait until it is over, well or not: done, failed, or cancelled by everybody who wanted it."""
        await self._job.finished.wait()

    async def wait(self) -> Progress:
        """Wait until the whole release is here.

        Raises:
            FetchError: It was cancelled, or the origin no longer has it.
            TrustError: It does not verify.
            NoSpaceError: It does not fit; nothing was harmed.
        """
        await self._over.wait()
        if self._job.error is not None:
            raise self._job.error
        if not self.progress.complete:
            raise FetchError(f"the fetch of {self.release.path} was cancelled; what came is kept")
        return self.progress

    def moments(self) -> Moments:
        """Watch: `async for progress in fetch.moments():`; the last one is the end."""
        return Moments(self)

    async def wait_a_little(self, seconds: float) -> None:
        """Wait until the end, but not longer than this."""
        with trio.move_on_after(seconds):
            await self._over.wait()


class Moments:
    """The progress of a fetch, four times a second, and once more at the end."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._first = True
        self._ended = False

    def __aiter__(self) -> Moments:
        return self

    async def __anext__(self) -> Progress:
        """Return the moment."""
        if self._ended:
            raise StopAsyncIteration
        if not self._first:
            await self._fetch.wait_a_little(_MOMENT_SECONDS)
        self._first = False
        self._ended = self._fetch.finished
        return self._fetch.progress
