"""Addresses: where bytes of a stream are loaded, and where an old address went.

An address map is made from covers: a cover says that old bytes became new ones, so whatever referred to the old place is likely to
refer to the new one. Where covers overlap in the old stream the longest counts; between them the nearest one does.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from copy import copy
from heapq import heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Self

from ....errors import ContentError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

MAX_MOVES = 1 << 20
"""Of one map: as many as covers. Bounds what a malicious one costs whose covers go over many ends of spaces."""
NOWHERE = -1
"""The address of a byte that is not loaded."""


class Space(NamedTuple):
    """Consecutive bytes of a stream that are loaded.

    Attributes:
        offset: Where in the stream.
        address: Of the first byte.
        size: Bytes.
    """

    offset: int
    address: int
    size: int


class Move(NamedTuple):
    """Old addresses that became new ones.

    Attributes:
        old: First old address.
        size: Addresses.
        shift: New minus old.
    """

    old: int
    size: int
    shift: int


class Spaces:
    """What of one file is loaded where.

    Args:
        rows: Ascending by offset, none overlapping.
    """

    def __init__(self, rows: Sequence[Space]) -> None:
        self.rows = tuple(rows)
        self._offsets = [row.offset for row in rows]

    def address_of(self, offset: int) -> int:
        """Return the address of a byte of the stream, `NOWHERE` if it is not loaded."""
        at = bisect_right(self._offsets, offset) - 1
        if at < 0 or offset >= self.rows[at].offset + self.rows[at].size:
            return NOWHERE
        return offset - self.rows[at].offset + self.rows[at].address

    def addresses_of(self, offsets: Numbers) -> Numbers:
        """Return the addresses of many bytes."""
        import numpy as np

        if not self.rows:
            return np.full(len(offsets), NOWHERE, np.int64)
        starts, addresses, sizes = (np.array(column, np.int64) for column in zip(*self.rows, strict=True))
        at = np.maximum(np.searchsorted(starts, offsets, side="right") - 1, 0)
        behind = offsets - starts[at]
        return np.where((behind >= 0) & (behind < sizes[at]), addresses[at] + behind, NOWHERE)

    def parts(self, offset: int, size: int) -> list[tuple[int, int, int]]:
        """Return what is loaded of consecutive bytes, as (bytes behind `offset`, bytes, address of the first of them)."""
        at = max(0, bisect_right(self._offsets, offset) - 1)
        if at < len(self.rows):
            first_row = self.rows[at]
            if size and first_row.offset <= offset and offset + size <= first_row.offset + first_row.size:  # as nearly always
                return [(0, size, first_row.address + offset - first_row.offset)]
        found = []
        while at < len(self.rows) and self.rows[at].offset < offset + size:
            row = self.rows[at]
            first, stop = max(offset, row.offset), min(offset + size, row.offset + row.size)
            if first < stop:
                found.append((first - offset, stop - first, row.address + first - row.offset))
            at += 1
        return found


def moves_of(covers: Iterable[tuple[int, int, int]], old: Spaces, new: Spaces, most: int = MAX_MOVES) -> list[Move]:
    """Return the moves that covers (old offset, new offset, length) mean, split where spaces end, in the order of the covers.

    Raises:
        ContentError: There are more than `most`.
    """
    moves: list[Move] = []
    for old_offset, new_offset, length in covers:
        for behind, size, old_address in old.parts(old_offset, length):
            for further, part, new_address in new.parts(new_offset + behind, size):
                moves.append(Move(old_address + further, part, new_address - old_address - further))
        if len(moves) > most:
            raise ContentError(f"map: covers of a file mean more than {most} moves of addresses, the most that are left of a map's")
    return moves


class AddressMap:
    """From old addresses to new ones.

    Args:
        moves: Where two overlap the longer counts, of two equally long ones the first.
        corrections: What is added to the new address of an old one, by old address.
    """

    def __init__(self, moves: Sequence[Move], corrections: dict[int, int] | None = None) -> None:
        rows = _flattened(moves)
        self._starts, self._ends, self._shifts = (array("q", [row[column] for row in rows]) for column in range(3))
        self.corrections = corrections or {}
        self._columns: tuple[Numbers, Numbers] | None = None

    def __len__(self) -> int:
        return len(self._starts)

    def corrected(self, corrections: dict[int, int]) -> Self:
        """Return the same map with other corrections."""
        other = copy(self)
        other.corrections, other._columns = corrections, None
        return other

    def __call__(self, old: int) -> int:
        """Return the new address of an old one."""
        starts = self._starts
        at = bisect_right(starts, old) - 1
        if at < 0:
            at = 0
            if not starts:
                return old
        elif old >= (end := self._ends[at]) and at + 1 < len(starts) and starts[at + 1] - old < old - end + 1:
            at += 1
        return old + self._shifts[at] + self.corrections.get(old, 0)

    def _corrected(self) -> tuple[Numbers, Numbers]:
        """Return corrected addresses, ascending, and their corrections."""
        import numpy as np

        if self._columns is None:
            rows = sorted(self.corrections.items())
            self._columns = np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.int64)
        return self._columns

    def at_once(self, olds: Numbers) -> Numbers:
        """Return the new addresses of many old ones."""
        import numpy as np

        if not self._starts:
            return olds.copy()
        starts, ends, shifts = (np.frombuffer(column, np.int64) for column in (self._starts, self._ends, self._shifts))
        at = np.maximum(np.searchsorted(starts, olds, side="right") - 1, 0)
        following = np.minimum(at + 1, len(starts) - 1)
        nearer = (olds >= ends[at]) & (following > at) & (starts[following] - olds < olds - ends[at] + 1)
        news = olds + shifts[np.where(nearer, following, at)]
        if self.corrections:
            places, values = self._corrected()
            which = np.minimum(np.searchsorted(places, olds), len(places) - 1)
            news = news + np.where(places[which] == olds, values[which], 0)
        return np.asarray(news)


def _flattened(moves: Sequence[Move]) -> list[tuple[int, int, int]]:
    """Return (start, end, shift) of what counts, ascending, none overlapping, neighbours with the same shift joined."""
    order = sorted(range(len(moves)), key=lambda number: moves[number].old)
    edges = sorted({edge for move in moves for edge in (move.old, move.old + move.size)})
    rows: list[tuple[int, int, int]] = []
    active: list[tuple[int, int, int, int]] = []  # (-size, number, end, shift)
    following = 0
    for start, end in pairwise(edges):
        while following < len(order) and moves[order[following]].old == start:
            number = order[following]
            move = moves[number]
            heappush(active, (-move.size, number, move.old + move.size, move.shift))
            following += 1
        while active and active[0][2] <= start:
            heappop(active)
        if not active:
            continue
        shift = active[0][3]
        if rows and rows[-1][1] == start and rows[-1][2] == shift:
            rows[-1] = (rows[-1][0], end, shift)
        else:
            rows.append((start, end, shift))
    return rows
