"""Makes what a map says of one pair of files: which rules help, and how far old addresses moved. Publisher only.

Theory of operation. A first match of both files tells about where addresses went. In both, what refers to something is rewritten to
what it refers to, the old one by what is known so far: what was only moved is then the same in both, and a further match finds
fewer and longer covers, which say better where addresses went. Needs numpy and hdiffpatch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..port import ReadBase
from .addresses import AddressMap, Move, moves_of
from .areas import Area, AreaKind, DataField
from .code import Bounds, Field, References
from .corrections import Evidence, agreed, target_error
from .elf import areas_of
from .files import FileMap, FileMoves, FileReferences
from .golang import data_bases
from .pairing import Pair
from .predictor import Incidences, Segment, incidences, parts_by_area, references_of
from .values import gather, new_values, scatter, width_of
from .walked import GO_DATA

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..covers.encoder import Covers

    Numbers = npt.NDArray[np.int64]

ROUNDS = 2
"""Further matches. [A second one takes a fifth of the time of it all, and 1.7 % off ruff, 4 % off libnode.]"""
_LITERAL_COST, _RUN_COST, _COVER_COST, _CORRECTION_COST = 0.45, 1.1, 3.0, 3.0
"""Encoded bytes of a literal, a run of wrong bytes, a cover and a corrected address, in proportion to each other. Guesses."""

Match = Callable[[bytes, bytes], "Covers"]


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of a pair of files.

    Attributes:
        covers: Of the whole new file, in stream offsets.
        file: What the map says of it.
        gain: About how many encoded bytes predictions save, less what the map takes.
    """

    covers: Covers
    file: FileMap
    gain: float


class FileMaker:
    """Makes what a map says of one pair of files.

    Args:
        pair: The files.
        read_old: Reads the base's stream.
        read_new: Reads the new stream.
        match: Finds covers of new bytes in old ones.
    """

    def __init__(self, pair: Pair, read_old: ReadBase, read_new: ReadBase, match: Match) -> None:
        self._pair = pair
        self._match = match
        self._old = read_old(pair.old.start, pair.old.size)
        self._new = read_new(pair.new.start, pair.new.size)
        self._old_references: dict[int, References] = {}
        old, new = pair.old, pair.new
        self._read_old, self._read_new = _reader(self._old, old.start), _reader(self._new, new.start)
        areas, new_areas = areas_of(old, self._read_old, new, self._read_new), areas_of(new, self._read_new, new, self._read_new)
        self._plain = FileMap(
            old.start, old.size, new.start, new.size, old.spaces, new.spaces, _wide(old.bounds), tuple(areas), _anchors(pair)
        )  # fmt: skip
        self._new_side = FileMap(
            new.start, new.size, new.start, new.size, new.spaces, new.spaces, _wide(new.bounds), tuple(new_areas)
        )  # fmt: skip

    def make(self, covers: Covers | None = None) -> Made | None:
        """Return the best of all rounds; None if predictions don't help.

        Args:
            covers: Those of the whole new file in the old one, in stream offsets, if these were sought before.
        """
        if covers is None:
            covers = self._matched(self._old, self._new)
        self._old_references = _references(self._plain, self._read_old)
        self._settle_go_data(covers)
        new_image = _image(self._new, self._new_side, _references(self._new_side, self._read_new), AddressMap([]))
        best, least = None, (unpredicted := self._cost(covers, self._plain, None))
        for number in range(ROUNDS + 1):
            moves = self._moves(covers)
            moved = FileMoves(self._plain, moves)
            file = self._chosen(covers, moved)
            moved = moved.corrected(file.corrections)
            cost = self._cost(covers, file, moved)
            if cost < least:
                best, least = Made(covers, file, unpredicted - cost), cost
            if number < ROUNDS:
                old_image = _image(self._old, self._plain, self._old_references, moved)
                covers = self._matched(old_image, new_image)
        return best

    def _matched(self, old: bytes, new: bytes) -> Covers:
        import numpy as np

        return self._match(old, new) + np.array([self._pair.old.start, self._pair.new.start, 0], np.int64)

    def _moves(self, covers: Covers) -> list[Move]:
        rows = [(old, new, length) for old, new, length in covers.tolist()]
        return moves_of(rows, self._plain.old_spaces, self._plain.new_spaces)

    def _copied(self, covers: Covers, file: FileMap, moved: FileMoves) -> Iterator[tuple[Area, Incidences]]:
        """Yield copied references with their area: nearly those that a receiver finds, who looks at each unit alone."""
        segments = sorted(Segment(*row) for row in covers.tolist())
        for area, parts in parts_by_area(segments, file.areas):
            if area.offset in self._old_references:
                for group in incidences(parts, self._old_references[area.offset], area, file, moved, moved.near):
                    yield area, group

    def _values(self, group: Incidences) -> tuple[Numbers, Numbers, Numbers]:
        """Return what stands in the fields: in the new file, in the old one, and by prediction."""
        import numpy as np

        width = width_of(group.field)
        true = gather(np.frombuffer(self._new, np.uint8), group.news - self._pair.new.start, width)
        old = gather(np.frombuffer(self._old, np.uint8), group.places - self._pair.old.start, width)
        return true, old, new_values(group.field, group.extras, group.targets, group.addresses, old)

    # Which rules help, and which addresses need a correction.

    def _chosen(self, covers: Covers, moved: FileMoves) -> FileMap:
        """Return the file's map with the rules that help, and corrections."""
        tallies: dict[tuple[int, int], int] = {}
        evidence: list[tuple[int, Numbers, Evidence]] = []
        for area, group in self._copied(covers, self._plain, moved):
            true, old, predicted = self._values(group)
            gains = (old != true).astype(int) - (predicted != true).astype(int)
            for rule in set(group.classes.tolist()):
                key = (area.offset, rule)
                tallies[key] = tallies.get(key, 0) + int(gains[group.classes == rule].sum())
            error = target_error(group.field, true, predicted)
            if error is not None:
                evidence.append((area.offset, group.classes, Evidence(group.olds, error)))
        helps = {key for key, gain in tallies.items() if gain > 0}
        areas = [
            area._replace(classes=sum(1 << rule for place, rule in helps if place == area.offset)) for area in self._plain.areas
        ]
        used = [found.of([(place, rule) in helps for rule in classes.tolist()]) for place, classes, found in evidence]
        return replace(
            self._plain, areas=tuple(area for area in areas if area.classes), corrections=agreed(used, self._plain.bounds)
        )

    def _settle_go_data(self, covers: Covers) -> None:
        """Find out what Go's data of functions count from: the word of all that may be it with which most come out right."""
        area = next((one for one in self._plain.areas if one.kind is AreaKind.GO_FUNCTIONS), None)
        if area is None:
            return
        begun, moved = area.columns[GO_DATA], FileMoves(self._plain, self._moves(covers))
        found: list[tuple[Numbers, Numbers]] = []
        for _, group in self._copied(covers, replace(self._plain, areas=(area,)), moved):
            mine = group.classes == GO_DATA
            found.append((group.olds[mine] - begun.old, self._values(group)[0][mine]))
        olds, news = ({row.name: row for row in file.sections} for file in (self._pair.old, self._pair.new))
        pairs = data_bases(olds, self._read_old, news, self._read_new)
        right = [sum(int((moved.at_once(values + old) - new == true).sum()) for values, true in found) for old, new in pairs]
        if any(right):
            old, new = pairs[right.index(max(right))]
            self._plain = _with_go_data(self._plain, old, new)
            self._new_side = _with_go_data(self._new_side, new, new)
            self._old_references = _references(self._plain, self._read_old)

    # What it costs.

    def _cost(self, covers: Covers, file: FileMap, moved: FileMoves | None) -> float:
        """Return about how many encoded bytes the file takes, with or without predictions."""
        import numpy as np

        new = np.frombuffer(self._new, np.uint8)
        made, is_copied = np.zeros(len(new), np.uint8), np.zeros(len(new), bool)
        for old, at, length in (covers - np.array([self._pair.old.start, self._pair.new.start, 0])).tolist():
            made[at : at + length] = np.frombuffer(self._old, np.uint8, length, old)
            is_copied[at : at + length] = True
        for _, group in self._copied(covers, file, moved) if moved is not None else ():
            scatter(made, group.news - self._pair.new.start, width_of(group.field), self._values(group)[2])
        differs = (made != new) & is_copied
        runs = int((differs[1:] & ~differs[:-1]).sum())
        literals = len(new) - int(is_copied.sum())
        return literals * _LITERAL_COST + runs * _RUN_COST + len(covers) * _COVER_COST + len(file.corrections) * _CORRECTION_COST


def _references(file: FileMap, read: ReadBase) -> dict[int, References]:
    """Return all references in the old bytes of a file by their area's offset."""
    whole = [Segment(file.old_start, file.old_start, file.old_size)]
    return {area.offset: found for area, _, found in references_of(whole, FileReferences(file, read))}


def _image(data: bytes, file: FileMap, references: Mapping[int, References], moved: AddressMap) -> bytes:
    """Return the old bytes of a file, every reference replaced by the new address of what it refers to."""
    import numpy as np

    image = np.frombuffer(data, np.uint8).copy()
    plain = replace(file, new_spaces=file.old_spaces, new_start=file.old_start, new_size=file.old_size)
    for area in file.areas:
        parts = [Segment(area.offset, area.offset, area.size)]
        for group in incidences(parts, references[area.offset], area, plain, moved, None) if area.offset in references else ():
            at, width = group.places - file.old_start, width_of(group.field)
            scatter(image, at, width, _absolute(group.field, group.targets, gather(image, at, width)))
    return image.tobytes()


def _with_go_data(file: FileMap, old: int, new: int) -> FileMap:
    """Return a file's map where Go's data of functions count from other addresses."""
    areas = []
    for area in file.areas:
        if area.kind is AreaKind.GO_FUNCTIONS:
            columns = list(area.columns)
            columns[GO_DATA] = columns[GO_DATA]._replace(old=old, new=new)
            areas.append(area._replace(columns=tuple(columns)))
        else:
            areas.append(area)
    return replace(file, areas=tuple(areas))


def _reader(data: bytes, start: int) -> ReadBase:
    def read(offset: int, length: int) -> bytes:
        return data[offset - start : offset - start + length]

    return read


def _wide(bounds: Bounds) -> Bounds:
    """Return the bounds with the address behind the last: ends of tables are referred to as well."""
    return Bounds(bounds.low, bounds.high + 1, bounds.code_low, bounds.code_high)


def _anchors(pair: Pair) -> tuple[Move, ...]:
    """Return where what takes no bytes of the file went: its beginning moves with the end of what does."""
    (old_file, old_all), (new_file, _) = pair.old.end, pair.new.end
    return (Move(old_file, old_all - old_file, new_file - old_file),) if old_all > old_file else ()


def _absolute(field: int, targets: Numbers, words: Numbers) -> Numbers:
    """Return what an image has in a field: something that follows from the target, and from nothing else of the place."""
    if field == DataField.ABSOLUTE:
        return targets
    if field == Field.B26:
        return (words & ~0x03FFFFFF) | (targets >> 2 & 0x03FFFFFF)
    if field in (Field.B19, Field.B14, Field.LO12):
        return words
    if field in (Field.ADR, Field.ADRP):
        page = targets >> 12 if field == Field.ADRP else targets
        return (words & ~0x60FFFFE0 & 0xFFFFFFFF) | ((page >> 2 & 0x7FFFF) << 5) | ((page & 3) << 29)
    return targets & 0xFFFFFFFF
