"""Address maps: painted by hand they say the same, one by one and all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")

import numpy as np

from edgeswarm.content.delta.prediction.addresses import NOWHERE, AddressMap, Move, Space, Spaces, moves_of

Map = Callable[[int], int]


def painted(moves: Sequence[Move], corrections: dict[int, int]) -> Map:
    """Return a map that looks at every address, as the module says that it is."""
    shifts: dict[int, int] = {}
    for move in sorted(reversed(moves), key=lambda one: one.size):  # what is painted last counts: the longest, the first
        shifts.update(dict.fromkeys(range(move.old, move.old + move.size), move.shift))

    def new_of(old: int) -> int:
        if not shifts:
            return old
        nearest = min(shifts, key=lambda at: (abs(at - old), at))  # of two as near the lower one
        return old + shifts[nearest] + corrections.get(old, 0)

    return new_of


MOVES = st.lists(st.builds(Move, st.integers(0, 60), st.integers(1, 25), st.integers(-9, 9).map(lambda n: 1000 * n)), max_size=9)
CORRECTIONS = st.dictionaries(st.integers(0, 90), st.integers(-5, 5), max_size=4)


@given(moves=MOVES, corrections=CORRECTIONS)
@settings(max_examples=300)
def test_a_map_is_what_is_painted_by_hand(moves: list[Move], corrections: dict[int, int]) -> None:
    by_hand, found = painted(moves, corrections), AddressMap(moves, corrections)
    olds = range(-10, 100)
    assert [found(old) for old in olds] == [by_hand(old) for old in olds]


@given(moves=MOVES, corrections=CORRECTIONS)
@settings(max_examples=300)
def test_many_at_once_are_as_one_by_one(moves: list[Move], corrections: dict[int, int]) -> None:
    found, olds = AddressMap(moves, corrections), list(range(-10, 100))
    assert found.at_once(np.array(olds, np.int64)).tolist() == [found(old) for old in olds]


_FAR = st.integers(0, 1 << 62)


@given(
    moves=st.lists(st.builds(Move, _FAR, st.integers(1, 1 << 60), st.integers(-(1 << 62), 1 << 62)), max_size=5),
    corrections=st.dictionaries(_FAR, st.integers(-(1 << 62) + 1, (1 << 62) - 1), max_size=3),
    olds=st.lists(_FAR | st.integers(-(1 << 32), 0), min_size=1, max_size=9),
)  # fmt: skip
def test_numbers_as_large_as_a_map_may_hold_give_the_same_in_64_bits(
    moves: list[Move], corrections: dict[int, int], olds: list[int]
) -> None:
    found = AddressMap(moves, corrections)
    olds += [move.old for move in moves] + list(corrections)
    at_once = found.at_once(np.array(olds, np.int64)).tolist()
    assert [new % 2**64 for new in at_once] == [found(old) % 2**64 for old in olds]


@pytest.mark.parametrize(
    ("moves", "old", "new"),
    [
        ([], 5, 5),
        ([Move(10, 10, 100), Move(12, 4, 200)], 13, 113),  # the longer one counts
        ([Move(12, 4, 200), Move(10, 10, 100)], 13, 113),
        ([Move(10, 4, 100), Move(12, 4, 200)], 13, 113),  # of equals the first
        ([Move(12, 4, 200), Move(10, 4, 100)], 13, 213),
        ([Move(10, 5, 100), Move(21, 5, 200)], 17, 117),  # 3 behind the last, 4 before the first
        ([Move(10, 5, 100), Move(20, 5, 200)], 17, 117),  # as near: the lower one
        ([Move(10, 5, 100), Move(20, 5, 200)], 18, 218),
        ([Move(10, 5, 100)], 3, 103),
        ([Move(10, 5, 100)], 99, 199),
    ],
)
def test_which_move_counts(moves: list[Move], old: int, new: int) -> None:
    found = AddressMap(moves)
    assert [found(old), *found.at_once(np.array([old])).tolist()] == [new, new]


def test_neighbours_that_move_alike_are_one() -> None:
    assert len(AddressMap([Move(0, 10, 5), Move(10, 10, 5), Move(20, 10, 6)])) == 2


def test_a_map_of_nothing_corrects_nothing() -> None:
    found = AddressMap([], {7: 1})
    assert [found(7), *found.at_once(np.array([7, 8])).tolist()] == [7, 7, 8]


@st.composite
def spaces(draw: st.DrawFn) -> Spaces:
    """Up to five of them, some next to each other."""
    rows, at = [], draw(st.integers(0, 5))
    for _ in range(draw(st.integers(0, 5))):
        rows.append(Space(at, draw(st.integers(0, 4000)), draw(st.integers(1, 12))))
        at += rows[-1].size + draw(st.integers(0, 6))
    return Spaces(rows)


@given(made=spaces(), offset=st.integers(0, 90), size=st.integers(0, 90))
def test_addresses_are_the_same_whichever_way_one_asks(made: Spaces, offset: int, size: int) -> None:
    offsets = range(offset, offset + size)
    expected = [
        next((row.address + at - row.offset for row in made.rows if row.offset <= at < row.offset + row.size), NOWHERE)
        for at in offsets
    ]
    assert [made.address_of(at) for at in offsets] == expected
    assert made.addresses_of(np.array(offsets, np.int64)).tolist() == expected
    by_parts = [NOWHERE] * size
    for behind, length, address in made.parts(offset, size):
        assert length > 0
        by_parts[behind : behind + length] = range(address, address + length)
    assert by_parts == expected


def test_moves_are_split_where_spaces_end() -> None:
    old = Spaces([Space(0, 1000, 10), Space(10, 5000, 10), Space(30, 9000, 10)])
    new = Spaces([Space(0, 2000, 14), Space(20, 7000, 100)])
    assert moves_of([(5, 3, 30), (0, 200, 5), (36, 50, 2), (10, 18, 5)], old, new) == [
        Move(1005, 5, 2003 - 1005),
        Move(5000, 6, 2008 - 5000),  # 6, 7, 8 and 9 of it went where nothing is loaded, ...
        Move(9000, 5, 7008 - 9000),  # ... as did what lies between the spaces
        Move(9006, 2, 7030 - 9006),
        Move(5002, 3, 7000 - 5002),
    ]
