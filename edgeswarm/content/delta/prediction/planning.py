"""Plans the map of a pair of streams: what is predicted, and the covers that go with it. Publisher only; needs numpy."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ....errors import BaseMissingError, ContentError
from ..port import ReadBase
from .areas import WALKED_KINDS
from .layout import MAX_FILES, MAX_MAP_COVERS, MAX_WALKED_BYTES, encode_map
from .maker import FileMaker, Made, Match
from .pairing import Pair, pairs_of

if TYPE_CHECKING:
    from ..covers.encoder import Covers

Range = tuple[int, int]
"""Offset and length."""


class Plan(NamedTuple):
    """A map, and what it is about.

    Attributes:
        start: Where the run of the new stream begins that it is for.
        end: Where that ends.
        data: Its bytes.
        gain: About how many encoded bytes it saves, by estimates.
    """

    start: int
    end: int
    data: bytes
    gain: float


def plan_map(
    read_old: ReadBase,
    old_size: int,
    read_new: ReadBase,
    new_size: int,
    covers: Covers,
    wanted: Sequence[Range],
    match: Match,
    most_file_bytes: int,
) -> Plan | None:
    """Return the map of a pair; None if predictions do not help.

    Args:
        read_old: Reads the base's stream.
        old_size: Its bytes.
        read_new: Reads the new stream.
        new_size: Its bytes.
        covers: Covers of what is wanted.
        wanted: Ascending, apart from each other.
        match: Finds covers of new bytes in old ones.
        most_file_bytes: Larger files are not predicted: matching takes memory.
    """
    if not wanted:
        return None
    made: list[Made] = []
    runs = joined(wanted)
    for pair in pairs_of(read_old, old_size, read_new, new_size, covers):
        at = bisect_left(runs, pair.new.start + pair.new.size, key=lambda run: run[0])
        touched = at > 0 and sum(runs[at - 1]) > pair.new.start
        if touched and max(pair.old.size, pair.new.size) <= most_file_bytes:
            try:
                one = FileMaker(pair, read_old, read_new, match).make(_sought(covers, runs, pair))
            except BaseMissingError:
                raise
            except ContentError:  # more than a receiver takes
                continue
            if one is not None:
                made.append(one)
    if not made:
        return None
    made = list(_limited(made))
    merged = _merged(covers, made)
    if len(merged) > MAX_MAP_COVERS:
        return None
    start, (last, length) = wanted[0][0], wanted[-1]
    start = min(start, int(merged[0, 1]))
    return Plan(
        start,
        max(last + length, int(merged[-1].sum() - merged[-1, 0])),
        encode_map(merged.tolist(), [one.file for one in made], start),
        sum(one.gain for one in made),
    )


def _limited(made: Sequence[Made]) -> Iterator[Made]:
    """Yield what a receiver takes: not too many files, of which not too much is walked through."""
    room = MAX_WALKED_BYTES
    for one in made[:MAX_FILES]:
        walked = sum(area.size for area in one.file.areas if area.kind in WALKED_KINDS)
        if walked <= room:
            room -= walked
            yield one
        else:
            rest = tuple(area for area in one.file.areas if area.kind not in WALKED_KINDS)
            yield replace(one, file=replace(one.file, areas=rest))


def _sought(covers: Covers, runs: Sequence[Range], pair: Pair) -> Covers | None:
    """Return the covers of a new file in its old one; None if they were not sought in all of it."""
    from ..covers.encoder import clip

    start, stop = pair.new.start, pair.new.start + pair.new.size
    if not any(offset <= start and stop <= offset + length for offset, length in runs):
        return None
    found = clip(covers, start, stop)
    return found[(found[:, 0] >= pair.old.start) & (found[:, 0] + found[:, 2] <= pair.old.start + pair.old.size)]


def joined(ranges: Sequence[Range]) -> list[Range]:
    """Return the ranges, those that touch as one."""
    found: list[Range] = []
    for offset, length in ranges:
        if found and sum(found[-1]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + length)
        else:
            found.append((offset, length))
    return found


def _merged(covers: Covers, made: Sequence[Made]) -> Covers:
    """Return the covers of what lies outside of the files, and those that were made for these."""
    import numpy as np

    from ..covers.encoder import clip

    parts, at = [], 0
    for one in made:
        parts += [clip(covers, at, one.file.new_start), one.covers]
        at = one.file.new_start + one.file.new_size
    parts.append(clip(covers, at, 1 << 62))
    return np.concatenate(parts)
