"""How many chunks one neighbour may owe at a time: about what it sends in a second.

A window that a slow neighbour keeps full is memory, and chunks, that a fast one does not get. Source: the bandwidth-delay product
with a generous delay; RFC 7323 says why it must be at least one round trip.
"""

from __future__ import annotations

import math

FIRST_CHUNKS = 8
"""Before anything is known of a neighbour; a guess: half a MiB."""
LEAST_CHUNKS = 2
"""One on its way, and the next asked for."""
_SECONDS = 1.0
_WEIGHT = 0.3  # of the newest measurement; a guess: three or four make a new rate known
_LEAST_SECONDS = 0.001


class Window:
    """The window of one neighbour.

    Args:
        most: It never grows beyond this.
    """

    __slots__ = ("_most", "_rate")

    def __init__(self, most: int) -> None:
        self._most = most
        self._rate: float | None = None

    @property
    def chunks(self) -> int:
        """How many chunks it may owe now."""
        if self._rate is None:
            return min(self._most, FIRST_CHUNKS)
        return min(self._most, max(LEAST_CHUNKS, math.ceil(self._rate * _SECONDS)))

    def came(self, chunks: int, seconds: float) -> None:
        """Note that chunks came within so many seconds after the ones before, or after they were asked for."""
        rate = chunks / max(seconds, _LEAST_SECONDS)
        self._rate = rate if self._rate is None else self._rate + _WEIGHT * (rate - self._rate)
