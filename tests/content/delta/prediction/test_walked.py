"""Areas that are walked through: what is written by hand is found, what makes no sense ends the walk and raises nothing."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content.delta.prediction import walked
from edgeswarm.content.delta.prediction.areas import DataClass
from edgeswarm.content.delta.prediction.walked import (
    GO_DATA,
    GO_ENTRY,
    GO_FUNCTION,
    GO_NAME,
    GO_PC,
    GO_UNIT,
    WalkedFields,
    frame_fields,
    go_fields,
)  # fmt: skip

START, CIE = int(DataClass.FRAME_START), int(DataClass.FRAME_CIE)
PCREL4, ABSPTR = b"\x1b", b"\0"


def rows_of(fields: WalkedFields) -> list[tuple[int, int]]:
    return list(zip(fields.places, fields.rules, strict=True))


def record(body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("<I", len(body)) + body


def cie(augmentation: bytes = b"zR", data: bytes = PCREL4) -> bytes:
    """A CIE: id, version, augmentation, alignments of code and data, return address register, length, data, instructions."""
    sized = bytes([len(data)]) + data if augmentation.startswith(b"z") else b""
    return record(bytes(4) + b"\1" + augmentation + b"\0" + b"\1\x78\x10" + sized + b"\x0c\x07\x08\x90\x01")


def fde(at: int, cie_at: int, *, lsda: bool = False) -> bytes:
    """An FDE: distance to its CIE, code and its length, augmentation, instructions."""
    return record(struct.pack("<IiI", at + 4 - cie_at, -0x1000, 0x40) + (b"\4" + struct.pack("<i", 0x99) if lsda else b"\0"))


def test_a_frame_section_by_hand() -> None:
    plain, other = cie(), cie(b"zPLR", b"\x9b" + struct.pack("<i", 0x500) + PCREL4 + PCREL4)
    first = len(plain)
    second = first + len(fde(0, 0))
    third = second + len(other)
    data = plain + fde(first, 0) + other + fde(third, second, lsda=True)
    data += bytes(4) + fde(len(data) + 4, 0) + bytes(4)  # a terminator within: what the linker joined goes on behind it
    personality = second + 4 + 4 + 1 + 5 + 3 + 1 + 1
    assert data[personality : personality + 4] == struct.pack("<i", 0x500)
    last = third + len(fde(0, 0, lsda=True)) + 4
    assert rows_of(frame_fields(data)) == [
        (first + 4, CIE), (first + 8, START), (personality, START),
        (third + 4, CIE), (third + 8, START), (third + 17, START), (last + 4, CIE), (last + 8, START),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("augmentation", "data", "rules"),
    [
        (b"zR", PCREL4, [CIE, START]),
        (b"zR", ABSPTR, [CIE]),  # pointers of eight bytes
        (b"zRS", PCREL4, [CIE, START]),
        (b"zRB", PCREL4, [CIE, START]),
        (b"", b"", [CIE]),  # pointers of eight bytes, without a word
        (b"zXR", PCREL4, [CIE]),  # nobody knows what X takes
        (b"zLR", PCREL4 + PCREL4, [CIE, START, START]),
        (b"zLR", ABSPTR + PCREL4, [CIE, START]),
        (b"zPR", ABSPTR + bytes(8) + PCREL4, [CIE]),
        (b"eh", b"", [CIE]),
    ],
)
def test_a_cie_says_how_its_fdes_point(augmentation: bytes, data: bytes, rules: list[int]) -> None:
    head = cie(augmentation, data)
    assert list(frame_fields(head + fde(len(head), 0, lsda=True)).rules) == rules


def test_numbers_of_more_bytes_are_skipped() -> None:
    head = record(bytes(4) + b"\1zR\0" + b"\x81\0" + b"\xf8\x7f" + b"\x90\0" + b"\x81\0" + PCREL4)
    assert rows_of(frame_fields(head + fde(len(head), 0))) == [(len(head) + 4, CIE), (len(head) + 8, START)]


def test_a_record_of_an_unknown_cie_is_taken_to_point_like_most() -> None:
    assert list(frame_fields(fde(0, -400)).rules) == [CIE, START]


def test_a_64_bit_length_ends_the_walk() -> None:
    head = cie()
    data = head + fde(len(head), 0) + b"\xff" * 4 + struct.pack("<Q", 20) + bytes(20) + fde(0, 0)
    assert len(frame_fields(data).places) == 2


def test_a_cie_that_is_too_short_for_its_pointer_has_none() -> None:
    head = record(bytes(4) + b"\1zSSSP\0" + b"\1\x78\x10" + b"\5\x9b")
    assert len(head) == 20
    assert rows_of(frame_fields(head + fde(20, 0))) == [(24, CIE)]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 8, 11, 17, 20, 0x7FFFFFFF, 0xFFFFFFFE])
def test_lengths_that_lie_give_no_field_outside_of_a_record(length: int) -> None:
    head = cie(b"zLR", PCREL4 + PCREL4)
    data = head + struct.pack("<IIII", length, len(head) + 4, 2**32 - 1, 2**32 - 1) + b"\xff" * 64
    fields = frame_fields(data)
    check_sound(fields, len(data))
    if length > 3:  # else what follows begins within this
        assert all(place + 4 <= len(head) + 4 + length for place in fields.places)


FRAMES = cie() + fde(len(cie()), 0) + cie(b"zPLR", b"\x9b" + bytes(4) + PCREL4 + PCREL4) + fde(60, 8, lsda=True) * 3 + bytes(4)


@pytest.mark.parametrize("size", range(len(FRAMES)))
def test_frames_that_are_cut_off_are_those_before(size: int) -> None:
    whole, part = rows_of(frame_fields(FRAMES)), rows_of(frame_fields(FRAMES[:size]))
    assert [row for row in part if row not in whole] == []
    assert [row for row in whole if row[0] + 24 <= size and row not in part] == []
    assert all(place + 4 <= size for place, _ in part)


def test_more_kinds_of_frames_than_any_program_has_end_the_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walked, "_MOST_CIES", 2)
    two = cie() + cie()
    data = two + fde(len(two), 0)
    assert len(frame_fields(data).places) == 2
    assert rows_of(frame_fields(data + cie() + fde(len(data) + len(cie()), 0))) == rows_of(frame_fields(data))


def check_sound(fields: WalkedFields, size: int) -> None:
    """Check what a reader of fields relies on."""
    assert len(fields.places) == len(fields.rules)
    assert all(here + 4 <= after for here, after in pairwise(fields.places))
    assert not fields.places or fields.places[-1] + 4 <= size


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Some of good bytes, with others in it."""
    data = bytearray(good)
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + 4] = draw(
            st.binary(min_size=1, max_size=4) | st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\4\0\0\0"])
        )
    return bytes(data[: draw(st.integers(0, len(data)))])


@given(damaged(FRAMES * 3) | st.binary(max_size=200))
@settings(max_examples=600)
def test_hostile_frames_raise_nothing_and_overlap_nowhere(data: bytes) -> None:
    check_sound(frame_fields(data), len(data))


class Counted(bytes):
    """Bytes that count how many of them are looked at, to hold a walk to linear time without a clock."""

    looked = 0

    def __getitem__(self, key):  # type: ignore[no-untyped-def]
        found = bytes.__getitem__(self, key)
        Counted.looked += len(found) if isinstance(key, slice) else 1
        return found

    def find(self, *args):  # type: ignore[no-untyped-def]
        found = bytes.find(self, *args)
        Counted.looked += (found if found >= 0 else args[2]) - args[1]
        return found


@pytest.mark.parametrize(
    "piece",
    [
        struct.pack("<II", 4, 0), struct.pack("<II", 4, 8), struct.pack("<II", 0x7FFFFFFF, 0), struct.pack("<II", 1, 0), bytes(8),
        struct.pack("<II", 12, 0) + b"\1zPPPPP\0", struct.pack("<II", 4, 0) + b"z" * 56, b"\x80" * 8,
        struct.pack("<II", 4, 0) + b"\1z\0\x80\x80\x80\x80\x80",
    ],
)  # fmt: skip
def test_a_walk_through_frames_is_linear(piece: bytes) -> None:
    looked = []
    for size in (4000, 32_000):
        Counted.looked = 0
        frame_fields(Counted((piece * size)[:size]))
        looked.append(Counted.looked)
    assert looked[1] <= 10 * looked[0] + 1000
    assert looked[1] < 20 * 32_000


# ---------------------------------------------------------------------- Go's table of functions


def go_function(entry: int, name: int, tables: list[int], data: list[int], unit: int = 5) -> bytes:
    """A `_func`: 44 bytes, then places of tables, then data."""
    head = struct.pack("<IiIIIIIII", entry, name, 0, 0, 0x11, 0x12, 0x13, len(tables), unit)
    return head + struct.pack("<IBBBB", 7, 0, 0, 0, len(data)) + struct.pack(f"<{len(tables) + len(data)}I", *tables, *data)


def go_table(functions: list[bytes]) -> bytes:
    """Pairs of entry and place, the end of the code, and the functions."""
    out, at = bytearray(), 8 * len(functions) + 4
    for number, function in enumerate(functions):
        out += struct.pack("<II", 16 * number, at)
        at += len(function)
    return bytes(out + struct.pack("<I", 16 * len(functions))) + b"".join(functions)


GO = [go_function(0, 1, [], []), go_function(16, 9, [0x21, 0x22], [0x31]), go_function(32, 17, [0x23], [0x32, 0x33, 0x34])]
TABLE = go_table(GO)
HEADS = [(0, GO_ENTRY), (4, GO_FUNCTION), (8, GO_ENTRY), (12, GO_FUNCTION), (16, GO_ENTRY), (20, GO_FUNCTION), (24, GO_ENTRY)]


def rows_at(start: int, n_tables: int, n_data: int) -> list[tuple[int, int]]:
    places = [(0, GO_ENTRY), (4, GO_NAME), (16, GO_PC), (20, GO_PC), (24, GO_PC), (32, GO_UNIT)]
    places += [(44 + 4 * n, GO_PC if n < n_tables else GO_DATA) for n in range(n_tables + n_data)]
    return [(start + place, rule) for place, rule in places]


def test_functions_by_hand() -> None:
    assert rows_of(go_fields(TABLE, 3)) == HEADS + rows_at(28, 0, 0) + rows_at(72, 2, 1) + rows_at(128, 1, 3)
    assert len(TABLE) == 188


@pytest.mark.parametrize("size", range(len(TABLE)))
def test_functions_that_are_cut_off_are_those_before(size: int) -> None:
    starts = (28, 72, 128, 188)
    counts = ((0, 0), (2, 1), (1, 3))
    whole = [rows_at(start, *n) for start, end, n in zip(starts, starts[1:], counts, strict=False) if end <= size]
    assert rows_of(go_fields(TABLE[:size], 3)) == (HEADS + [row for rows in whole for row in rows] if size >= 28 else [])


@pytest.mark.parametrize(
    ("at", "word", "kept"),
    [
        (4, 72, 0), (4, 24, 0), (12, 0, 0), (12, 2**32 - 4, 1), (12, 188, 1), (20, 132, 2), (20, 72, 1),  # out of order, or outside
        (72 + 28, 4, 1), (72 + 28, 2**32 - 1, 1), (72 + 40, 0xFF000000, 1),  # more of them than there is room
    ],
)  # fmt: skip
def test_functions_out_of_order_end_the_walk(at: int, word: int, kept: int) -> None:
    data = bytearray(TABLE)
    data[at : at + 4] = struct.pack("<I", word)
    found = go_fields(bytes(data), 3)
    assert rows_of(found) == HEADS + [*rows_at(28, 0, 0), *rows_at(72, 2, 1)][: (0, 6, 15)[kept]]


def test_functions_at_odd_places_end_the_walk() -> None:
    function = go_function(0, 1, [], [])
    for pad in range(5):
        data = struct.pack("<III", 0, 12 + pad, 16) + bytes(pad) + function
        assert len(go_fields(data, 1).places) == (9 if pad % 4 == 0 else 3)


@pytest.mark.parametrize("count", [24, 10**6, 2**60, 2**62])
def test_more_functions_than_there_is_room_for_are_none(count: int) -> None:
    assert rows_of(go_fields(TABLE, count)) == []


def test_no_functions_are_an_end() -> None:
    assert rows_of(go_fields(bytes(4), 0)) == [(0, GO_ENTRY)]
    assert rows_of(go_fields(bytes(3), 0)) == []


@given(damaged(TABLE) | st.binary(max_size=200), st.integers(0, 30))
@settings(max_examples=600)
def test_hostile_functions_raise_nothing_and_overlap_nowhere(data: bytes, count: int) -> None:
    check_sound(go_fields(data, count), len(data))


def test_the_head_of_a_function_is_as_long_as_it_is_here() -> None:
    assert len(GO[0]) == walked._HEAD_BYTES
