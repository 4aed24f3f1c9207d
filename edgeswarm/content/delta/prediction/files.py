"""One executable file in both streams, and what of it refers to what."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..port import ReadBase
from .addresses import AddressMap, Move, Spaces
from .areas import CODE_KINDS, EMPTY, WALKED_KINDS, Area, AreaKind, DataClass, DataField
from .code import Bounds, References, find_aarch64, find_x86_64
from .near import NearMoves
from .tables import pointers, table, target_of
from .walked import WalkedFields, frame_fields, go_fields

_X86_CONTEXT, _A64_CONTEXT = 8, 4 * 48
Walk = tuple[AreaKind, int, int, int]
"""Of an area that is walked: its kind, offset, size and entry, which is all that a walk depends on."""


@dataclass(frozen=True, slots=True)
class FileMap:
    """What a map says of one file.

    Attributes:
        old_start: Where it begins in the base's stream.
        old_size: Bytes.
        new_start: Where it begins in the new stream.
        new_size: Bytes.
        old_spaces: What of it is loaded where.
        new_spaces: The same for the new file.
        bounds: Old addresses that references may have.
        areas: Ascending by offset, none overlapping.
        anchors: Moves of addresses that no bytes of the file stand for.
        corrections: What is added to the new address of an old one, by old address.
    """

    old_start: int
    old_size: int
    new_start: int
    new_size: int
    old_spaces: Spaces
    new_spaces: Spaces
    bounds: Bounds
    areas: tuple[Area, ...]
    anchors: tuple[Move, ...] = ()
    corrections: dict[int, int] = field(default_factory=dict)


class FileReferences:
    """Finds references in the old bytes of one file.

    Args:
        file: What the map says.
        read_base: Reads the base.
        walked: Remembers what takes a walk through a whole area.
    """

    def __init__(self, file: FileMap, read_base: ReadBase, walked: dict[Walk, WalkedFields] | None = None) -> None:
        self.file = file
        self._read = read_base
        self._walked = walked if walked is not None else {}

    def find(self, area: Area, start: int, stop: int) -> References:
        """Return the references whose fields lie from `start` to before `stop` of the base's stream; places count from `start`."""
        if area.kind in CODE_KINDS:
            return self._in_code(area, start, stop)
        if area.kind in WALKED_KINDS:
            return self._in_walked(area, start, stop)
        if area.kind is AreaKind.POINTERS:
            return self._in_pointers(area, start, stop)
        data = self._read(start, stop - start)
        return table(data, (start - area.offset) % area.entry, area.entry, area.columns, self.file.bounds)

    def _in_pointers(self, area: Area, start: int, stop: int) -> References:
        address = self.file.old_spaces.address_of(start)
        first, last = max(area.offset, start - address % 8), min(area.offset + area.size, stop + -(address + stop - start) % 8)
        data = self._read(first, last - first)
        found = pointers(data, address - (start - first), start - first, stop - first, self.file.bounds)
        return found if start == first else found._replace(places=[place + first - start for place in found.places])

    def _in_code(self, area: Area, start: int, stop: int) -> References:
        before, behind = (_A64_CONTEXT, _A64_CONTEXT) if area.kind is AreaKind.AARCH64 else (_X86_CONTEXT, 0)
        first, last = max(area.offset, start - before), min(area.offset + area.size, stop + behind)
        data, address = self._read(first, last - first), self.file.old_spaces.address_of(first)
        find = find_aarch64 if area.kind is AreaKind.AARCH64 else find_x86_64
        found = find(data, address, start - first, stop - first, self.file.bounds)
        return found if start == first else found._replace(places=[place + first - start for place in found.places])

    def _in_walked(self, area: Area, start: int, stop: int) -> References:
        walk = (area.kind, area.offset, area.size, area.entry)
        fields = self._walked.get(walk)
        if fields is None:
            whole = self._read(area.offset, area.size)
            fields = frame_fields(whole) if area.kind is AreaKind.EH_FRAME else go_fields(whole, area.entry)
            self._walked[walk] = fields
        behind = start - area.offset
        first, last = bisect_left(fields.places, behind), bisect_left(fields.places, max(behind, stop - area.offset - 3))
        data, address = self._read(start, stop - start), self.file.old_spaces.address_of(start)
        rows = []
        for place, rule in zip(fields.places[first:last], fields.rules[first:last], strict=True):
            at = place - behind
            value = int.from_bytes(data[at : at + 4], "little")
            if area.kind is AreaKind.GO_FUNCTIONS:
                column = area.columns[rule]
                target = target_of(value, column, self.file.bounds)
                if target is not None:
                    rows.append((at, target, column.field, column.new, rule))
            elif rule == DataClass.FRAME_CIE:
                rows.append((at, address + at - value, DataField.BACKWARDS, 0, rule))
            elif value:
                rows.append((at, address + at + (value ^ 0x80000000) - 0x80000000, DataField.RELATIVE, 0, rule))
        return References(*zip(*rows, strict=True)) if rows else EMPTY


def windows(parts: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Return (start, stop) of joined ranges, of which two are one if at most `gap` lies between; `parts` ascend by start."""
    found: list[tuple[int, int]] = []
    for start, stop in parts:
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


class FileMoves(AddressMap):
    """The address map of a file, and where short branches go.

    Attributes:
        near: See `NearMoves`.

    Args:
        file: The file.
        moves: What its covers mean.
    """

    def __init__(self, file: FileMap, moves: Sequence[Move]) -> None:
        super().__init__([*moves, *file.anchors], file.corrections)
        self.near = NearMoves(moves)

    def around(self, address: int, old: int) -> int:
        """Return where the target of a short branch at a new address went."""
        near = self.near(address, old)
        return self(old) if near is None else near
