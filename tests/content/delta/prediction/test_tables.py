"""References in data: what is written by hand is found, and nothing else, however the data are cut."""

from __future__ import annotations

import struct
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content.delta.prediction.areas import Column, DataClass, DataField
from edgeswarm.content.delta.prediction.code import Bounds, References
from edgeswarm.content.delta.prediction.tables import pointers, table, target_of
from edgeswarm.content.delta.prediction.values import width_of

BOUNDS = Bounds(low=0x400000, high=0x500000, code_low=0x410000, code_high=0x420000)
ABSOLUTE, RELATIVE = int(DataField.ABSOLUTE), int(DataField.RELATIVE)
POINTER, JUMP = int(DataClass.POINTER), int(DataClass.JUMP_TABLE)
Row = tuple[int, int, int, int, int]


def rows_of(found: References) -> list[Row]:
    return [tuple(map(int, row)) for row in zip(*found, strict=True)]  # type: ignore[misc]


def in_all(data: bytes, address: int) -> list[Row]:
    return rows_of(pointers(data, address, 0, len(data), BOUNDS))


def test_addresses_are_found_where_eight_divides() -> None:
    words = [0x400000, 0x3FFFFF, 0x4FFFFF, 0x500000, 0x400008 | 1 << 32, 0, 2**64 - 1]
    data = b"\1\2\3" + struct.pack("<7Q", *words) + b"\0\0"
    wanted = [(3, 0x400000, ABSOLUTE, 0, POINTER), (19, 0x4FFFFF, ABSOLUTE, 0, POINTER)]
    assert [row for row in in_all(data, 0x480005) if row[2] == ABSOLUTE] == wanted
    assert [row for row in in_all(data, 0x480006) if row[2] == ABSOLUTE] == []


def test_small_numbers_are_no_addresses() -> None:
    bounds = Bounds(0, 0x500000, 0, 0)
    data = struct.pack("<3Q", 4095, 4096, 0)
    assert rows_of(pointers(data, 0x1000, 0, 24, bounds)) == [(8, 4096, ABSOLUTE, 0, POINTER)]


def test_jump_tables_count_from_their_entries() -> None:
    at = 0x480000
    words = [0x410000 - at, 0x410000 - at - 5, 0x41FFFF - at - 8, 0x420000 - at - 12, 0, 16]
    data = struct.pack("<6i", *words)
    assert in_all(data, at) == [(0, 0x410000, RELATIVE, 0, JUMP), (8, 0x41FFFF, RELATIVE, 0, JUMP)]
    near = Bounds(0, 0, 0x47F000, 0x482000)
    data = struct.pack("<4i", 4096, 4097, -4096, -4097)
    found = rows_of(pointers(data, at, 0, 16, near))
    assert [row[:2] for row in found] == [(4, at + 4 + 4097), (12, at + 12 - 4097)]  # 4096 and less are small numbers


def test_half_of_an_address_is_no_entry_of_a_table() -> None:
    """The low half of this address would lie in code, seen from there."""
    address, low = 0x480000, 0x4FFFF8
    bounds = Bounds(0x400000, 0x500000, 0x900000, 0xA00000)
    data = struct.pack("<QQ", low, low)
    assert rows_of(pointers(data, address, 0, 16, bounds)) == [(0, low, ABSOLUTE, 0, POINTER), (8, low, ABSOLUTE, 0, POINTER)]
    assert rows_of(pointers(data, address, 0, 12, bounds)) == [(0, low, ABSOLUTE, 0, POINTER)]
    assert rows_of(pointers(data, address, 4, 16, bounds)) == [(8, low, ABSOLUTE, 0, POINTER)]


COLUMNS = (
    Column(DataField.OFFSET, 0, 0x400000, 0x700000), Column(DataField.ABSOLUTE, 4, 0, 0),
    Column(DataField.INDEX, 16, 0x410000, 0x710000),
)  # fmt: skip


def entry(offset: int, absolute: int, index: int) -> bytes:
    return struct.pack("<iQiI", offset, absolute, 77, index % 2**32)


def test_a_table_has_columns() -> None:
    data = b"".join(
        [
            entry(0x20, 0x400010, 3),
            entry(-1, 2**64 - 1, -1),  # all ones mean nothing, ...
            entry(0, 0, 0),  # ... and so does nothing
            entry(-0x20, 0x3FFFFF, 0x3C000),  # out of bounds
            entry(0x0FFFFF, 0x4FFFFF, 0x3BFFF),
        ]
    )
    offset, absolute, index = (int(column.field) for column in COLUMNS)
    assert rows_of(table(data, 0, 20, COLUMNS, BOUNDS)) == [
        (0, 0x400020, offset, 0x700000, 0), (4, 0x400010, absolute, 0, 1), (16, 0x41000C, index, 0x710000, 2),
        (80, 0x4FFFFF, offset, 0x700000, 0), (84, 0x4FFFFF, absolute, 0, 1), (96, 0x4FFFFC, index, 0x710000, 2),
    ]  # fmt: skip


def test_offsets_are_signed_and_indices_are_not() -> None:
    bounds = Bounds(0, 1 << 40, 0, 0)
    assert target_of(2**32 - 4, Column(DataField.OFFSET, 0, 0x5000, 0), bounds) == 0x4FFC
    assert target_of(2**32 - 4, Column(DataField.INDEX, 0, 0x5000, 0), bounds) == 0x5000 + 4 * (2**32 - 4)
    assert target_of(2**32 - 1, Column(DataField.ABSOLUTE, 0, 0, 0), bounds) == 2**32 - 1
    assert [target_of(2**32 - 1, Column(field, 0, 0x5000, 0), bounds) for field in (DataField.OFFSET, DataField.INDEX)] == [
        None
    ] * 2


@pytest.mark.parametrize("size", range(8))
def test_what_is_too_short_for_a_field_has_none(size: int) -> None:
    assert rows_of(pointers(b"\x10" * size, 0x480000, 0, size, Bounds(0, 1 << 63, 0, 1 << 63)))[1:] == []
    assert rows_of(table(b"\x10" * size, 0, 8, (Column(DataField.ABSOLUTE, 0, 0, 0),), Bounds(0, 1 << 63, 0, 0))) == []


def seeded(seed: int, size: int) -> bytes:
    """Return data with addresses, jump tables and other things in it, not all of them aligned."""
    dice, out = Random(seed), bytearray()
    while len(out) < size:
        kind = dice.randrange(5)
        if kind == 0:
            out += dice.randrange(0x3F0000, 0x510000).to_bytes(8, "little")
        elif kind == 1:
            out += (dice.randrange(0x40F000, 0x421000) - 0x480000 - len(out)).to_bytes(4, "little", signed=True)
        else:
            out += dice.choice([bytes(4), b"\xff" * 8, dice.randbytes(dice.randrange(4))])
    return bytes(out[:size])


@given(
    seed=st.integers(0, 2000),
    size=st.integers(0, 300),
    odd=st.integers(0, 7),
    cuts=st.tuples(st.integers(0, 300), st.integers(0, 300)),
)
@settings(max_examples=300)
def test_a_window_has_what_lies_in_it_of_the_whole(seed: int, size: int, odd: int, cuts: tuple[int, int]) -> None:
    data, address = seeded(seed, size), 0x480000 + odd
    first, stop = sorted(min(cut, size) for cut in cuts)
    whole = in_all(data, address)
    assert rows_of(pointers(data, address, first, stop, BOUNDS)) == [
        row for row in whole if first <= row[0] and row[0] + width_of(row[2]) <= stop
    ]
    tabled = rows_of(table(data, 0, 20, COLUMNS, BOUNDS))
    part = rows_of(table(data[first:stop], first % 20, 20, COLUMNS, BOUNDS))
    assert [(place + first, *rest) for place, *rest in part] == [
        row for row in tabled if first <= row[0] and row[0] + width_of(row[2]) <= stop
    ]
    for rows in (whole, tabled):
        assert all(here[0] + width_of(here[2]) <= after[0] for here, after in pairwise(rows))
