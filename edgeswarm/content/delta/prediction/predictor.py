"""Predicts copied references: an opened map, and what a unit of method 4 asks of it.

A unit's output is made of copied ranges of the base. What of them lies in an area of a file of which the map knows is searched for
references, and each field is replaced by what it will be when its target has moved like the map says. A prediction that is wrong
costs a correction, nothing else.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..port import ReadBase
from .addresses import MAX_MOVES, AddressMap, Move, moves_of
from .areas import CODE_KINDS, Area, DataField
from .code import References
from .files import FileMap, FileMoves, FileReferences, Walk, windows
from .near import NEAR_RULES, NearMoves
from .values import ABSOLUTE, gather, new_value, new_values, scatter, width_of
from .walked import WalkedFields

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..covers.encoder import Covers

    Numbers = npt.NDArray[np.int64]

WINDOW_GAP_BYTES = 256
"""Parts of the base that are at most so far apart are searched together. A guess."""
_NUMPY_FROM = 200
"""References from which on numpy is worth its calls. A guess."""


_WITHOUT_ADDRESS = frozenset({DataField.ABSOLUTE, DataField.OFFSET, DataField.INDEX})
"""Fields that are the same wherever they stand."""


class Segment(NamedTuple):
    """A copied range.

    Attributes:
        old: Where in the base's stream.
        new: Where in the new stream.
        length: Bytes.
    """

    old: int
    new: int
    length: int


class Predictor:
    """An opened map.

    Args:
        olds: Where each cover is in the base's stream.
        news: Where it is in the new stream; ascending, covers are apart from each other.
        lengths: Bytes of each.
        files: Ascending by `new_start`, apart from each other in the new stream.

    Raises:
        ContentError: Covers mean more than `MAX_MOVES` moves in all.
    """

    def __init__(self, olds: array[int], news: array[int], lengths: array[int], files: Sequence[FileMap]) -> None:
        self.olds, self.news, self.lengths = olds, news, lengths
        self.files = tuple(files)
        self._walked: dict[Walk, WalkedFields] = {}
        self._maps = list(self._followed())

    def count(self, start: int, stop: int) -> int:
        """Return how many covers there are to copy from, at most, for a range of the new stream."""
        return bisect_left(self.news, stop) - max(0, bisect_right(self.news, start) - 1)

    def segments(self, start: int, stop: int) -> list[Segment]:
        """Return what is copied into a range of the new stream, ascending by `new`."""
        return list(self._clipped(start, stop))

    def _clipped(self, start: int, stop: int) -> Iterator[Segment]:
        at = max(0, bisect_right(self.news, start) - 1)
        for number in range(at, bisect_left(self.news, stop)):
            new, length = self.news[number], self.lengths[number]
            first, last = max(new, start), min(new + length, stop)
            if first < last:
                yield Segment(self.olds[number] + first - new, first, last - first)

    def covers(self) -> Covers:
        """Return all covers as rows (old, new, length)."""
        import numpy as np

        return np.stack([np.array(column, np.int64) for column in (self.olds, self.news, self.lengths)], axis=1)

    def _followed(self) -> Iterator[FileMoves]:
        """Find out where the addresses of each file went: once, before units are decoded in several threads."""
        room = MAX_MOVES
        for file in self.files:
            moves = self.moves(file, room)
            room -= len(moves)
            yield FileMoves(file, moves)

    def moves(self, file: FileMap, most: int) -> list[Move]:
        """Return where the addresses of a file went, by the covers within it; `ContentError` if that are more than `most` moves."""
        covers = (within(segment, file) for segment in self._clipped(file.new_start, file.new_start + file.new_size))
        return moves_of((part for part in covers if part is not None), file.old_spaces, file.new_spaces, most)

    def predict(self, out: bytearray, origin: int, segments: Sequence[Segment], read_base: ReadBase) -> None:
        """Replace references in copied bytes.

        Args:
            out: Output with all of its copies in place.
            origin: Where in the new stream it begins.
            segments: What was copied; ascending by `new`.
            read_base: Reads the base.
        """
        for file, moved in zip(self.files, self._maps, strict=True):
            stop = file.new_start + file.new_size
            if segments and file.new_start < origin + len(out) and stop > origin:
                first = max(0, bisect_right(segments, file.new_start, key=_new_of) - 1)
                near = segments[first : bisect_left(segments, stop, key=_new_of)]
                inner = sorted(part for segment in near if (part := within(segment, file)) is not None)
                if inner:
                    predict_file(out, origin, inner, FileReferences(file, read_base, self._walked), moved)


def _new_of(segment: Segment) -> int:
    return segment.new


def within(segment: Segment, file: FileMap) -> Segment | None:
    """Return the part of a segment that lies in a file in both streams; None if there is none."""
    shift = segment.new - segment.old
    first = max(segment.old, file.old_start, file.new_start - shift)
    stop = min(segment.old + segment.length, file.old_start + file.old_size, file.new_start + file.new_size - shift)
    return Segment(first, first + shift, stop - first) if first < stop else None


def predict_file(out: bytearray, origin: int, segments: Sequence[Segment], refers: FileReferences, moved: FileMoves) -> None:
    """Replace the references of one file.

    Args:
        out: See `Predictor.predict`.
        origin: Likewise.
        segments: What lies in the file; ascending by `old`.
        refers: Finds references.
        moved: The file's address map.
    """
    for area, parts, found in references_of(segments, refers):
        if len(found.places) >= _NUMPY_FROM and "numpy" in sys.modules:
            _apply_at_once(out, origin, parts, found, area, refers.file, moved)
        else:
            _apply_one_by_one(out, origin, parts, found, area, refers.file, moved)


def references_of(segments: Sequence[Segment], refers: FileReferences) -> Iterator[tuple[Area, list[Segment], References]]:
    """Yield for each area in which segments lie: the area, the parts of them in it, and its references in these.

    Args:
        segments: What lies in the file; ascending by `old`.
        refers: Finds references.
    """
    for area, parts in parts_by_area(segments, refers.file.areas):
        places, targets, fields, extras, classes = array("q"), array("q"), bytearray(), array("q"), bytearray()
        for start, stop in windows([(part.old, part.old + part.length) for part in parts], WINDOW_GAP_BYTES):
            found = refers.find(area, start, stop)
            places.extend([place + start for place in found.places])
            targets.extend(iter(found.targets))
            extras.extend(iter(found.extras))
            fields += bytes(found.fields)
            classes += bytes(found.classes)
        if places:
            yield area, parts, References(places, targets, fields, extras, classes)


def parts_by_area(segments: Sequence[Segment], areas: Sequence[Area]) -> list[tuple[Area, list[Segment]]]:
    """Return the parts of segments in each area, ascending by `old`."""
    starts = [area.offset for area in areas]
    found: list[list[Segment]] = [[] for _ in areas]
    for old, new, length in segments:
        number = max(0, bisect_right(starts, old) - 1)
        while number < len(areas) and starts[number] < old + length:
            first, stop = max(old, starts[number]), min(old + length, starts[number] + areas[number].size)
            if first < stop:
                found[number].append(Segment(first, new + first - old, stop - first))
            number += 1
    return [(area, parts) for area, parts in zip(areas, found, strict=True) if parts]


def _apply_one_by_one(
    out: bytearray, origin: int, parts: Sequence[Segment], found: References, area: Area, file: FileMap, moved: FileMoves
) -> None:
    news: dict[int, int] = {}
    places, targets, fields, extras, classes = found
    is_code = area.kind in CODE_KINDS
    for part in parts:
        end, here = part.old + part.length, part.new - part.old - origin
        for first, stop, to_address in _loaded(part, file):
            for number in range(bisect_left(places, first), bisect_left(places, min(stop, end - 3))):
                place, field, rule = places[number], fields[number], classes[number]
                if not area.classes >> rule & 1 or (field == ABSOLUTE and place + 8 > end):
                    continue
                if to_address is None and field not in _WITHOUT_ADDRESS:
                    continue
                address, old = place + (to_address or 0), targets[number]
                if is_code and rule in NEAR_RULES:
                    target = moved.around(address, old)
                elif old in news:
                    target = news[old]
                else:
                    target = news[old] = moved(old)
                _write(out, here + place, field, extras[number], target, address)


def _loaded(part: Segment, file: FileMap) -> Iterator[tuple[int, int, int | None]]:
    """Yield (start, stop, what makes an address of a place in the base) of what a part is made of; None if it is not loaded."""
    at, end = part.old, part.old + part.length
    for behind, size, address in file.new_spaces.parts(part.new, part.length):
        first = part.old + behind
        if at < first:
            yield at, first, None
        yield first, first + size, address - first
        at = first + size
    if at < end:
        yield at, end, None


def _write(out: bytearray, at: int, field: int, extra: int, target: int, address: int) -> None:
    if field == ABSOLUTE:
        out[at : at + 8] = (target - extra & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
    else:
        word = int.from_bytes(out[at : at + 4], "little")
        out[at : at + 4] = new_value(field, extra, target, address, word).to_bytes(4, "little")


def _apply_at_once(
    out: bytearray, origin: int, parts: Sequence[Segment], found: References, area: Area, file: FileMap, moved: FileMoves
) -> None:
    import numpy as np

    view = np.frombuffer(out, np.uint8)
    for group in incidences(parts, found, area, file, moved, moved.near):
        at = group.news - origin
        words = gather(view, at, 4)
        scatter(view, at, width_of(group.field), new_values(group.field, group.extras, group.targets, group.addresses, words))


class Incidences(NamedTuple):
    """References of one kind of field that are copied, each as often as it is.

    Attributes:
        field: The kind.
        olds: Old targets.
        targets: New ones.
        extras: What the field needs further.
        places: Where in the base's stream each field stands.
        news: Where in the new stream it is copied to.
        addresses: New addresses of these places.
        classes: Rules that found them.
    """

    field: int
    olds: Numbers
    targets: Numbers
    extras: Numbers
    places: Numbers
    news: Numbers
    addresses: Numbers
    classes: Numbers


def incidences(
    parts: Sequence[Segment], found: References, area: Area, file: FileMap, moved: AddressMap, near: NearMoves | None
) -> Iterator[Incidences]:
    """Yield all copied references, by kind of field, ascending.

    Args:
        parts: What is copied of an area; ascending by `old`.
        found: References in it.
        area: The area.
        file: Its file.
        moved: Where targets went.
        near: Where short branches look first; None: nowhere.
    """
    import numpy as np

    places, targets, extras = (np.array(column, np.int64) for column in (found.places, found.targets, found.extras))
    fields, classes = (np.frombuffer(bytes(column), np.uint8).astype(np.int64) for column in (found.fields, found.classes))
    olds, news, lengths = (np.array(column, np.int64) for column in zip(*parts, strict=True))
    used = ((area.classes >> classes) & 1) == 1
    for field in np.unique(fields).tolist():
        rows = np.flatnonzero((fields == field) & used)
        here = places[rows]
        first = np.searchsorted(here, olds)
        last = np.searchsorted(here, olds + lengths - width_of(field), side="right")
        counts = np.maximum(last - first, 0)
        part = np.repeat(np.arange(len(parts)), counts)
        row = rows[np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))]
        copied = places[row] - olds[part] + news[part]
        addresses = file.new_spaces.addresses_of(copied)
        loaded = (addresses >= 0) | (field in _WITHOUT_ADDRESS)
        if np.any(loaded):
            row = row[loaded]
            old, address = targets[row], addresses[loaded]
            new = moved.at_once(old)
            short = np.isin(classes[row], list(NEAR_RULES))
            if near is not None and area.kind in CODE_KINDS and short.any():
                new[short] = near.at_once(address[short], old[short], new[short])
            yield Incidences(field, old, new, extras[row], places[row], copied[loaded], address, classes[row])
