"""How long a whole object may take: a link that trickles is given up like one that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ..errors import FetchError

STALL_SECONDS = 30.0
"""Longest wait for the next byte where nothing else is set. A guess."""
_SLOWEST_BYTES_PER_SECOND = 4000.0  # a guess: below a 2G phone (EDGE brings 10 to 30 kB/s); a narrower link cannot carry updates


def whole_seconds(length: int, stall_seconds: float = STALL_SECONDS) -> float:
    """Return how long an object of at most `length` bytes may take in all."""
    return stall_seconds + length / _SLOWEST_BYTES_PER_SECOND


@contextmanager
def within(what: str, seconds: float) -> Iterator[None]:
    """Cancel the block after some time; it then raises `FetchError`.

    Args:
        what: What is read, for people.
        seconds: How long the block may take; not above 0: it does not wait at all.
    """
    try:
        with trio.fail_after(max(0.0, seconds)):
            yield
    except trio.TooSlowError as exc:
        raise FetchError(
            f"{what}: did not come within {seconds:.0f} s: the link is stalled, or slower than it can be used"
        ) from exc
