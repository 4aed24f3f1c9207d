"""Where the target of a short branch went: with the code around the branch, whatever became of other copies of it.

An address map has one new address for each old one. Code that was copied several times has several, and a branch within it stays
within its own copy. So a branch looks at the covers around its own first.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .addresses import Move
from .code import Class

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

NEAR_RULES = frozenset({Class.JUMP, Class.B, Class.BCOND, Class.TB})
"""Rules whose references look around first."""
_AROUND = (0, *(step for near in range(1, 9) for step in (-near, near)))
_MOST_BYTES = 64
"""A target that is farther than that from all of them went elsewhere."""


class NearMoves:
    """The moves of one file, by where they went.

    Args:
        moves: Of covers.
    """

    def __init__(self, moves: Sequence[Move]) -> None:
        rows = sorted((move.old + move.shift, move.old, move.size) for move in moves)
        self._news, self._olds, self._sizes = (array("q", [row[column] for row in rows]) for column in range(3))

    def __call__(self, address: int, old: int) -> int | None:
        """Return where an old address went by the moves around a new one; None if it is in none of them, nor near to one.

        Args:
            address: New address of what refers to it.
            old: What it refers to.
        """
        own = bisect_right(self._news, address) - 1
        least, found = _MOST_BYTES + 1, None
        for step in _AROUND:
            at = own + step
            if 0 <= at < len(self._olds):
                behind = old - self._olds[at]
                distance = -behind if behind < 0 else max(0, behind - self._sizes[at] + 1)
                if distance < least:
                    least, found = distance, self._news[at] + behind
                    if not distance:
                        break
        return found

    def at_once(self, addresses: Numbers, olds: Numbers, otherwise: Numbers) -> Numbers:
        """Return the same for many; where it would be None, what `otherwise` says."""
        import numpy as np

        if not self._olds:
            return otherwise
        news, starts, sizes = (np.frombuffer(column, np.int64) for column in (self._news, self._olds, self._sizes))
        own = np.searchsorted(news, addresses, side="right") - 1
        least, found = np.full(len(olds), _MOST_BYTES + 1, np.int64), otherwise
        for step in _AROUND:
            at = own + step
            real = (at >= 0) & (at < len(starts))
            at = np.clip(at, 0, len(starts) - 1)
            behind = olds - starts[at]
            distances = np.where(behind < 0, -behind, np.maximum(0, behind - sizes[at] + 1))
            nearer = real & (distances < least)
            least, found = np.where(nearer, distances, least), np.where(nearer, news[at] + behind, found)
        return found
