"""Executable files in a stream: where they are, what is loaded where, and which areas hold references. Publisher only.

A stream is a file, a tree, an archive or an image: ELF files are found in it by their magic, wherever they lie in one piece.

Source: System V ABI, "Object Files" (ELF-64), and the processor supplements for x86-64 and AArch64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..port import ReadBase
from .addresses import Space, Spaces
from .areas import MAX_AREAS, Area, AreaKind, Column, DataField
from .code import Bounds
from .golang import go_areas

_MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
_HEAD = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_EXECUTABLE, _SHARED = 2, 3  # e_type
_MACHINES = {62: AreaKind.X86_64, 183: AreaKind.AARCH64}
_LOAD, _FRAME_HEAD = 1, 0x6474E550  # p_type: PT_LOAD, PT_GNU_EH_FRAME
_RUNS = 1  # p_flags: PF_X
_SYMTAB, _RELA, _NOBITS, _DYNSYM = 2, 4, 8, 11  # sh_type
_DATA_TYPES = frozenset({1, 6, 14, 15, 16})  # SHT_PROGBITS, DYNAMIC, INIT_ARRAY, FINI_ARRAY, PREINIT_ARRAY
_ALLOCATED, _CODE = 2, 4  # sh_flags
_MOST_HEADERS = 64
_MOST_SECTIONS = 4096
_MOST_ADDRESS = 1 << 62
_BLOCK_BYTES = 4 * 1024 * 1024
_HEAD_OF_TABLE = 12  # of .eh_frame_hdr: four bytes of encodings, the address of .eh_frame, the number of entries
_SPECIAL = frozenset({b".eh_frame", b".eh_frame_hdr", b".gopclntab", b".typelink"})
_ENCODED_TABLE = b"\x01\x1b\x03\x3b"


class Section(NamedTuple):
    """A section header.

    Attributes:
        name: The section's.
        kind: `sh_type`.
        flags: `sh_flags`.
        address: Where it is loaded.
        offset: Where in the stream.
        size: Bytes.
        number: Its number.
        link: `sh_link`: the number of another section.
    """

    name: bytes
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    number: int
    link: int


@dataclass(frozen=True, slots=True)
class ElfFile:
    """An executable or shared object in a stream.

    Attributes:
        start: Where it begins.
        size: Its bytes.
        code: Kind of its machine code.
        spaces: What is loaded where.
        bounds: Addresses that it may refer to.
        sections: Those that take bytes of the file.
        end: Address behind the last byte that stands in the file, and behind all that is loaded.
    """

    start: int
    size: int
    code: AreaKind
    spaces: Spaces
    bounds: Bounds
    sections: tuple[Section, ...]
    end: tuple[int, int]


def find_files(read: ReadBase, size: int) -> list[ElfFile]:
    """Return the executables and shared objects in a stream of `size` bytes, ascending, none overlapping."""
    found: list[ElfFile] = []
    for start in _magics(read, size):
        if found and start < found[-1].start + found[-1].size:
            continue
        file = _parse(read, start, size)
        if file is not None:
            found.append(file)
    return found


def _magics(read: ReadBase, size: int) -> Iterator[int]:
    for block in range(0, size, _BLOCK_BYTES):
        data = read(block, min(_BLOCK_BYTES + len(_MAGIC) - 1, size - block))
        at = data.find(_MAGIC)
        while at >= 0:
            yield block + at
            at = data.find(_MAGIC, at + 1)


def _parse(read: ReadBase, start: int, limit: int) -> ElfFile | None:
    """Return the file that begins at `start`; None if it is none, or of a kind that is not predicted."""
    if start + _HEAD.size > limit:
        return None
    _, kind, machine, _, _, segments_at, sections_at, _, _, segment_size, n_segments, section_size, n_sections, names = (
        _HEAD.unpack(read(start, _HEAD.size))
    )  # fmt: skip
    sound = kind in (_EXECUTABLE, _SHARED) and machine in _MACHINES and segment_size == _SEGMENT.size
    if not sound or not 0 < n_segments <= _MOST_HEADERS or start + segments_at + n_segments * _SEGMENT.size > limit:
        return None
    segments = list(_SEGMENT.iter_unpack(read(start + segments_at, n_segments * _SEGMENT.size)))
    loads = sorted((row for row in segments if row[0] == _LOAD and row[5]), key=lambda row: row[2])
    end = max((row[2] + row[5] for row in segments), default=0)
    if any(row[2] + row[5] > limit - start or row[3] + row[6] >= _MOST_ADDRESS for row in segments) or not loads:
        return None
    if any(row[5] > row[6] for row in loads):
        return None
    rows: list[Section] = []
    rows_end = sections_at + n_sections * _SECTION.size
    if sections_at and section_size == _SECTION.size and n_sections <= _MOST_SECTIONS and start + rows_end <= limit:
        rows = list(_sections(read, start, sections_at, n_sections, names, limit))
        end = max(end, rows_end, *(row.offset - start + row.size for row in rows))
    spaces = _spaces(loads, start)
    bounds = _bounds([row for row in segments if row[0] == _LOAD])
    if spaces is None or bounds is None or start + end > limit:
        return None
    last = max((row for row in segments if row[0] == _LOAD), key=lambda row: row[3])
    return ElfFile(start, end, _MACHINES[machine], spaces, bounds, tuple(rows), (last[3] + last[5], last[3] + last[6]))


def _sections(read: ReadBase, start: int, at: int, count: int, names: int, limit: int) -> Iterator[Section]:
    raw = list(_SECTION.iter_unpack(read(start + at, count * _SECTION.size)))
    table = b""
    if names < len(raw) and start + raw[names][4] + raw[names][5] <= limit and raw[names][5] < _BLOCK_BYTES:
        table = read(start + raw[names][4], raw[names][5])
    for number, (name, kind, flags, address, offset, size, link, *_) in enumerate(raw):
        if kind and kind != _NOBITS and start + offset + size <= limit and address < _MOST_ADDRESS:
            yield Section(table[name : table.find(b"\0", name)], kind, flags, address, start + offset, size, number, link)


def _spaces(loads: Sequence[tuple[int, ...]], start: int) -> Spaces | None:
    rows, end = [], 0
    for _, _, offset, address, _, size, _, _ in loads:
        first = max(offset, end)  # the pages of two segments may share bytes of the file: the first one counts
        if first < offset + size:
            rows.append(Space(start + first, address + first - offset, offset + size - first))
        end = max(end, offset + size)
    return Spaces(rows) if rows else None


def _bounds(loads: Sequence[tuple[int, ...]]) -> Bounds | None:
    code = [(row[3], row[3] + row[5]) for row in loads if row[1] & _RUNS]
    if not code:
        return None
    low, high = min(row[3] for row in loads), max(row[3] + row[6] for row in loads)
    return Bounds(low, high, min(first for first, _ in code), max(last for _, last in code))


def areas_of(file: ElfFile, read: ReadBase, new: ElfFile, read_new: ReadBase) -> list[Area]:
    """Return the areas of an old file, every rule on; ascending, none overlapping. Of very many, the largest.

    Args:
        file: The old file.
        read: Reads its stream.
        new: The new one.
        read_new: Reads the new stream.
    """
    twins = {row.name: row for row in new.sections}
    areas: list[Area] = []
    end = file.start
    for row in sorted(file.sections, key=lambda one: one.offset):
        for area in _areas_in(row, file, read, twins, read_new):
            parts = file.spaces.parts(area.offset, area.size)
            loaded = len(parts) == 1 and parts[0][1] == area.size
            if area.offset >= end and area.size > 0 and (loaded or area.kind is AreaKind.TABLE):
                areas.append(area)
                end = area.offset + area.size
    largest = sorted(areas, key=lambda area: -area.size)[:MAX_AREAS]
    return sorted(largest, key=lambda area: area.offset)


def _areas_in(row: Section, file: ElfFile, read: ReadBase, twins: Mapping[bytes, Section], read_new: ReadBase) -> Iterator[Area]:
    """Yield the areas in a section."""
    if row.kind in (_SYMTAB, _DYNSYM):
        yield Area(AreaKind.TABLE, -1, row.offset, row.size, 24, (*_names(row, file, twins), Column(DataField.ABSOLUTE, 8, 0, 0)))
    elif not row.flags & _ALLOCATED:
        return
    elif row.kind == _RELA:
        yield Area(
            AreaKind.TABLE, -1, row.offset, row.size, 24, tuple(Column(DataField.ABSOLUTE, place, 0, 0) for place in (0, 16))
        )
    elif row.name in _SPECIAL:
        yield from _special(row, file, read, twins, read_new)
    elif row.kind in _DATA_TYPES:
        yield Area(file.code if row.flags & _CODE else AreaKind.POINTERS, -1, row.offset, row.size)


def _special(row: Section, file: ElfFile, read: ReadBase, twins: Mapping[bytes, Section], read_new: ReadBase) -> Iterator[Area]:
    """Yield the areas in sections that have a form of their own."""
    twin = twins.get(row.name)
    if row.name == b".eh_frame":
        yield Area(AreaKind.EH_FRAME, -1, row.offset, row.size)
    elif twin is None:
        return
    elif row.name == b".gopclntab":
        yield from go_areas({one.name: one for one in file.sections}, read, twins, read_new)
    elif row.name == b".typelink":
        types, moved = next((one for one in file.sections if one.name == b".rodata"), None), twins.get(b".rodata")
        if types is not None and moved is not None:
            yield Area(AreaKind.TABLE, -1, row.offset, row.size, 4, (Column(DataField.OFFSET, 0, types.address, moved.address),))
    elif row.size > _HEAD_OF_TABLE and read(row.offset, 4) == _ENCODED_TABLE:
        columns = tuple(Column(DataField.OFFSET, place, row.address, twin.address) for place in (0, 4))
        yield Area(AreaKind.TABLE, -1, row.offset + _HEAD_OF_TABLE, row.size - _HEAD_OF_TABLE, 8, columns)


def _names(row: Section, file: ElfFile, twins: Mapping[bytes, Section]) -> Iterator[Column]:
    """Yield the column of names in a table of symbols, if these are loaded."""
    strings = next((one for one in file.sections if one.number == row.link), None)
    twin = twins.get(strings.name) if strings is not None else None
    if strings is not None and twin is not None and strings.flags & _ALLOCATED:
        yield Column(DataField.OFFSET, 0, strings.address, twin.address)
