"""Worker threads of one origin, any of which may hang for as long as a dead share does.

A thread cannot be ended. One whose caller was cancelled or waited long enough goes on, and keeps its place until it comes back. So
the places are this origin's own: trio's default limit is there for everybody, name look-ups too. When no place is left that could
become free, there is no use in waiting for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from ..errors import FetchError
from .deadlines import within

THREADS = 8
"""Threads of one origin. Source: a guess, twice what a node asks at a time: three reads and a look for news."""

_T = TypeVar("_T")


class Threads:
    """Runs blocking reads; a thread that hangs is left alone, and takes a place from no other origin."""

    def __init__(self) -> None:
        self._places = trio.CapacityLimiter(THREADS)
        self._left: list[_Job] = []

    async def run(self, what: str, seconds: float, use: Callable[[], _T]) -> _T:
        """Return what `use` returns, or raise what it raises.

        Args:
            what: What is read, for people.
            seconds: How long it may take, waiting for a place included.
            use: Goes on by itself when this is cancelled or takes too long: it must clean up by itself.

        Raises:
            FetchError: It took too long; or each thread hangs in what was asked before, and nothing was tried.
        """
        self._left = [job for job in self._left if job.is_running]
        if len(self._left) >= THREADS:
            await trio.lowlevel.checkpoint()
            raise FetchError(f"{what}: all {THREADS} reads before this one hang: is the share dead?")
        job, ended = _Job(), False

        def work() -> _T:
            with job:
                return use()

        try:
            with within(what, seconds):
                result = await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._places)
            ended = True
            return result
        finally:
            if not ended:
                self._left.append(job)


class _Job:
    """Tells if a thread is at work: entered and left there, asked anywhere."""

    def __init__(self) -> None:
        self.is_running = False

    def __enter__(self) -> None:
        self.is_running = True

    def __exit__(self, *_: object) -> None:
        self.is_running = False
