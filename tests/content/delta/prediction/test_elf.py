"""Executables in a stream: found wherever they lie, and nothing else, whatever their headers claim."""

from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content.delta.prediction import elf
from edgeswarm.content.delta.prediction.addresses import Space
from edgeswarm.content.delta.prediction.areas import MAX_AREAS, Area, AreaKind, Column, DataField, check_area
from edgeswarm.content.delta.prediction.elf import ElfFile, areas_of, find_files
from edgeswarm.content.delta.prediction.golang import data_bases, go_areas
from edgeswarm.content.delta.prediction.walked import GO_DATA

from .programs import AARCH64, NEW, OLD, X86_64, program
from .test_walked import TABLE

PROGRAM = program()
HEADS = 64 + 3 * 56
_TABLE_AT = struct.unpack_from("<Q", PROGRAM, 40)[0]


class Stream:
    """Reads bytes, and nothing outside of them."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(self.data), f"read {offset}+{length} of {len(self.data)} bytes"
        return self.data[offset : offset + length]


def files_in(data: bytes) -> list[ElfFile]:
    return find_files(Stream(data).read, len(data))


def changed(data: bytes, at: int, packed: bytes) -> bytes:
    return data[:at] + packed + data[at + len(packed) :]


def test_what_a_program_is() -> None:
    (file,) = files_in(PROGRAM)
    assert (file.start, file.size, file.code) == (0, len(PROGRAM), AreaKind.X86_64)
    code = next(row for row in file.sections if row.name == b".text")
    data = next(row for row in file.sections if row.name == b".data")
    assert [row.name for row in file.sections] == [
        b".dynsym", b".dynstr", b".rela.dyn", b".rodata", b".eh_frame_hdr", b".eh_frame", b".text", b".data", b".shstrtab",
    ]  # fmt: skip
    assert file.spaces.rows[1:] == (Space(code.offset, code.address, code.size), Space(data.offset, data.address, data.size))
    assert file.spaces.rows[0][:2] == (0, 0x400000)
    assert (file.bounds.low, file.bounds.high) == (0x400000, data.address + data.size + 0x200)
    assert (file.bounds.code_low, file.bounds.code_high) == (code.address, code.address + code.size)
    assert file.end == (data.address + data.size, data.address + data.size + 0x200)


@pytest.mark.parametrize(("machine", "kind"), [(X86_64, AreaKind.X86_64), (AARCH64, AreaKind.AARCH64)])
def test_areas_of_a_program(machine: int, kind: AreaKind) -> None:
    old, new = program(OLD, machine), program(NEW, machine)
    (file,), (twin,) = files_in(old), files_in(new)
    areas = areas_of(file, Stream(old).read, twin, Stream(new).read)
    at = {row.name: row for row in file.sections}
    there = {row.name: row for row in twin.sections}

    def place(name: bytes, head: int = 0) -> tuple[int, int]:
        return at[name].offset + head, at[name].size - head

    hdr, names = b".eh_frame_hdr", b".dynstr"
    assert areas == [
        Area(
            AreaKind.TABLE, -1, *place(b".dynsym"), 24,
            (Column(DataField.OFFSET, 0, at[names].address, there[names].address), Column(DataField.ABSOLUTE, 8, 0, 0)),
        ),
        Area(AreaKind.TABLE, -1, *place(b".rela.dyn"), 24, tuple(Column(DataField.ABSOLUTE, n, 0, 0) for n in (0, 16))),
        Area(AreaKind.POINTERS, -1, *place(b".rodata")),
        Area(
            AreaKind.TABLE, -1, *place(hdr, 12), 8,
            tuple(Column(DataField.OFFSET, n, at[hdr].address, there[hdr].address) for n in (0, 4)),
        ),
        Area(AreaKind.EH_FRAME, -1, *place(b".eh_frame")), Area(kind, -1, *place(b".text")),
        Area(AreaKind.POINTERS, -1, *place(b".data")),
    ]  # fmt: skip


@pytest.mark.parametrize("starts", [(1,), (4093,), (0, 60_000), (5, 55_000, 200_001)])
def test_files_are_found_wherever_they_lie(starts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "_BLOCK_BYTES", 4096)  # names of sections are shorter, too
    data = bytearray(Random(1).randbytes(300_000))
    for start in starts:
        data[start : start + len(PROGRAM)] = PROGRAM
    found = files_in(bytes(data))
    assert [(file.start, file.size) for file in found] == [(start, len(PROGRAM)) for start in starts]
    (alone,) = files_in(PROGRAM)
    assert [row.offset - starts[-1] for row in found[-1].sections] == [row.offset for row in alone.sections]
    assert found[-1].bounds == alone.bounds


def test_a_file_within_another_is_a_part_of_it() -> None:
    offset = struct.unpack_from("<Q", PROGRAM, 64 + 2 * 56 + 8)[0]
    size = 2 * len(PROGRAM) - offset
    outer = changed(PROGRAM, 64 + 2 * 56 + 32, struct.pack("<QQ", size, size)) + PROGRAM
    assert [(file.start, file.size) for file in files_in(outer)] == [(0, 2 * len(PROGRAM))]
    assert [file.start for file in files_in(PROGRAM * 2)] == [0, len(PROGRAM)]


def test_names_that_lie_outside_are_none() -> None:
    for field, value in ((24, len(PROGRAM) - 5), (32, len(PROGRAM)), (32, 1 << 63)):
        broken = changed(PROGRAM, len(PROGRAM) - 64 + field, struct.pack("<Q", value))
        assert {row.name for file in files_in(broken) for row in file.sections} <= {b""}


@pytest.mark.parametrize(
    ("at", "packed"),
    [
        (4, b"\1"),  # 32 bits
        (5, b"\2"),  # big-endian
        (6, b"\2"),
        (16, b"\1\0"),  # relocatable
        (16, b"\4\0"),  # a core dump
        (18, b"\x28\0"), (18, b"\xf3\0"), (18, b"\0\0"),  # ARM, RISC-V, none
        (54, b"\x38\1"), (54, b"\0\0"),  # size of a program header
        (56, b"\0\0"), (56, b"\x41\0"), (56, b"\xff\xff"),  # number of them
        (32, b"\xff" * 8), (32, struct.pack("<Q", len(PROGRAM) - 100)),  # where they are
        (64 + 32, struct.pack("<Q", len(PROGRAM) + 1)),  # a segment of more bytes than there are, ...
        (64 + 8, struct.pack("<Q", 1 << 63)),  # ... or of others
        (64 + 40, struct.pack("<Q", 5)),  # fewer in memory than in the file
        (64 + 16, struct.pack("<Q", 1 << 62)),  # loaded above any address
        (64 + 56 + 4, struct.pack("<I", 4)),  # no code
    ],
)  # fmt: skip
def test_what_is_not_predicted_is_no_file(at: int, packed: bytes) -> None:
    assert len(files_in(changed(PROGRAM, at, packed))) == 0


@pytest.mark.parametrize("size", [0, 1, 16, 63, 64, 100, HEADS - 1, HEADS, 5000, len(PROGRAM) - 1])
def test_a_file_that_is_cut_off_is_none_or_has_no_sections(size: int) -> None:
    assert all(not file.sections for file in files_in(PROGRAM[:size]))


def test_sections_at_impossible_addresses_are_left_out() -> None:
    assert len(files_in(changed(PROGRAM, _TABLE_AT + 64 + 16, struct.pack("<Q", 1 << 63)))[0].sections) == 8


@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    cut=st.integers(0, 99), before=st.integers(0, 20),
)  # fmt: skip
@settings(max_examples=500, deadline=None)
def test_broken_headers_raise_nothing(flips: list[tuple[int, bytes]], cut: int, before: int) -> None:
    data = bytearray(PROGRAM)
    places = [*range(HEADS), *range(_TABLE_AT, len(PROGRAM))]
    for at, packed in flips:
        place = places[at % len(places)]
        data[place : place + len(packed)] = packed
    size = len(data) if cut < 80 else len(data) * cut // 100
    stream = Stream(bytes(before) + bytes(data[:size]))
    good = Stream(PROGRAM)
    (twin,) = find_files(good.read, len(PROGRAM))
    for file in find_files(stream.read, len(stream.data)):
        assert before <= file.start < file.start + file.size <= len(stream.data)
        for area in (*areas_of(file, stream.read, twin, good.read), *areas_of(twin, good.read, file, stream.read)):
            check_area(area, max(len(stream.data), len(PROGRAM)))
            assert all(0 <= address < 1 << 62 for column in area.columns for address in (column.old, column.new))


def test_of_very_many_areas_the_largest_are_taken() -> None:
    row = next(one for one in files_in(PROGRAM)[0].sections if one.name == b".text")
    (file,) = files_in(PROGRAM)
    rows = tuple(row._replace(offset=row.offset + 40 * n, size=20 + n % 2, number=n) for n in range(100))
    many = ElfFile(file.start, file.size, file.code, file.spaces, file.bounds, rows, file.end)
    areas = areas_of(many, Stream(PROGRAM).read, many, Stream(PROGRAM).read)
    assert len(areas) == MAX_AREAS
    assert [area.offset for area in areas] == sorted(area.offset for area in areas)
    assert sum(area.size == 21 for area in areas) == 50


# ---------------------------------------------------------------------- Go


def go_stream(
    shift: int, *, magic: int = 0xFFFFFFF1, text: int = 0x401000, functions: int = 3
) -> tuple[bytes, dict[bytes, elf.Section]]:
    """Return a stream with `.gopclntab` and `moduledata`, and its sections."""
    places = [72, 80, 88, 100, 104]  # names, units, files, tables, functions
    head = struct.pack("<IHBB8Q", magic, 0, 1, 8, functions, 2, text, *(place + shift for place in places))
    tab = head + bytes(shift) + bytes(32) + TABLE
    module = bytes(16) + struct.pack("<4Q", 0x500000 + shift, 0x600000 + shift, 0, 1 << 63) + bytes(24)
    rows = [(b".text", 0x401000, 0, 0), (b".gopclntab", 0x500000 + shift, 100, len(tab)), (b".data", 0x700000, 1000, len(module))]
    sections = {name: elf.Section(name, 1, 2, address, at, size, n, 0) for n, (name, address, at, size) in enumerate(rows)}
    return bytes(100) + tab + bytes(900 - len(tab)) + module, sections


def test_where_the_functions_of_a_go_program_are() -> None:
    (old, olds), (new, news) = go_stream(0), go_stream(16)
    table, functions = go_areas(olds, Stream(old).read, news, Stream(new).read)
    assert table == Area(AreaKind.TABLE, -1, 180, 8, 4, (Column(DataField.OFFSET, 0, 0x500058, 0x500078),))
    assert functions[:5] == (AreaKind.GO_FUNCTIONS, -1, 204, len(TABLE), 3)
    assert old[204 : 204 + len(TABLE)] == TABLE
    assert [(column.field, column.old, column.new) for column in functions.columns] == [
        (DataField.OFFSET, 0x401000, 0x401000), (DataField.OFFSET, 0x500068, 0x500088), (DataField.OFFSET, 0x500048, 0x500068),
        (DataField.OFFSET, 0x500064, 0x500084), (DataField.INDEX, 0x500050, 0x500070), (DataField.OFFSET, 0x401000, 0x401000),
    ]  # fmt: skip
    assert functions.columns[GO_DATA].old == 0x401000
    assert data_bases(olds, Stream(old).read, news, Stream(new).read) == [(0x500000, 0x500010), (0x600000, 0x600010)]


@pytest.mark.parametrize("broken", [{"magic": 0xFFFFFFFA}, {"text": 1 << 63}, {"functions": 1 << 40}, {"magic": 0xFFFFFFF0}])
def test_another_layout_of_functions_is_not_predicted(broken: dict[str, int]) -> None:
    good, bad = go_stream(0), go_stream(0, **broken)
    for (old, olds), (new, news) in ((good, bad), (bad, good)):
        assert list(go_areas(olds, Stream(old).read, news, Stream(new).read)) == []


@given(st.lists(st.tuples(st.integers(0, 71), st.integers(0, 255)), max_size=3), st.integers(0, 300))
@settings(max_examples=300)
def test_broken_heads_of_functions_raise_nothing(flips: list[tuple[int, int]], size: int) -> None:
    data, sections = go_stream(0)
    damaged = bytearray(data)
    for at, value in flips:
        damaged[100 + at] = value
    row = sections[b".gopclntab"]
    some = sections | {row.name: row._replace(size=min(size, row.size))}
    for area in go_areas(some, Stream(bytes(damaged)).read, some, Stream(bytes(damaged)).read):
        if area.size:
            check_area(area, row.offset + min(size, row.size))
        assert all(0 <= address < 1 << 63 for column in area.columns for address in (column.old, column.new))


def test_a_program_without_module_data_has_no_bases() -> None:
    data, sections = go_stream(0)
    assert data_bases({}, Stream(data).read, sections, Stream(data).read) == []
    assert data_bases(sections, Stream(bytes(len(data))).read, sections, Stream(data).read) == []
