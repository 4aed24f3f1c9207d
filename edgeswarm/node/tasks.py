"""Nurseries whose first real error comes out plain, so that callers can catch what is documented."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def plain_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery; if tasks in it fail, raise the first error that is not a cancellation, with the group as its context."""
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        error = first_error(group)
        if error is None:
            raise
        raise error from group


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the first leaf of a group that is not a cancellation, or None."""
    for error in group.exceptions:
        leaf = first_error(error) if isinstance(error, BaseExceptionGroup) else error
        if leaf is not None and not isinstance(leaf, trio.Cancelled):
            return leaf
    return None
