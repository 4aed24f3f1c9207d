"""Blocking work off the trio thread, under one limit; or in place, where time is virtual."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

import trio
from trio.lowlevel import RunVar

_T = TypeVar("_T")
# Disk and zstd use both cores of a small board with two; more threads would only take memory.
_THREADS = 4
_limiter: RunVar[trio.CapacityLimiter] = RunVar("edgeswarm blocking work")

IN_PLACE: ContextVar[bool] = ContextVar("IN_PLACE", default=False)
"""Set to True under a virtual clock, which would run ahead of threads: blocking work is then done on the spot."""


async def in_thread(function: Callable[[], _T]) -> _T:
    """Run `function` in a worker thread and return its result [a hop costs 116 us: give it at least 1 MiB of work].

    Not cancellable half-way: when this is cancelled it waits for `function` to end, so that nothing is left half done. A function
    that takes long calls `check_cancelled` where it can stop.
    """
    if IN_PLACE.get():
        await trio.lowlevel.checkpoint()
        return function()
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await trio.to_thread.run_sync(function, limiter=limiter)


async def in_waiting_thread(function: Callable[[], _T]) -> _T:
    """Run `function`, which mostly waits for another process, in a thread that counts for nobody's limit; else as `in_thread`."""
    if IN_PLACE.get():
        return await in_thread(function)
    return await trio.to_thread.run_sync(function, limiter=trio.CapacityLimiter(1))


def check_cancelled() -> None:
    """Called in the thread of an `in_thread` or `in_waiting_thread`: raises `trio.Cancelled` if who waits for it was cancelled."""
    if not IN_PLACE.get():
        trio.from_thread.check_cancelled()
