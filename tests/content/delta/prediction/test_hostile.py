"""What a map says that is accepted: units decode to something or are refused, by both paths, for a bounded cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")
pytest.importorskip("hdiffpatch", reason="the [publish] extra is not installed")

from edgeswarm.content.delta import Place, decode_unit
from edgeswarm.content.delta.prediction import decode_map
from edgeswarm.content.delta.prediction.addresses import Move, Space, Spaces
from edgeswarm.content.delta.prediction.areas import CODE_KINDS, Area, AreaKind, Column, DataField
from edgeswarm.content.delta.prediction.code import Bounds
from edgeswarm.content.delta.prediction.files import FileMap
from edgeswarm.content.delta.prediction.layout import encode_map
from edgeswarm.errors import BaseMissingError, ContentError

from .programs import path
from .test_layout import FILES, FIRST, MOST, columns_of, decoded, good, packed, unit_of
from .test_predictor import BASE, reader

_LARGE = st.sampled_from(
    [0, 1, 2, 3, 4, 7, 8, 63, 64, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 61, (1 << 62) - 1, 1 << 62, 1 << 63, (1 << 64) - 1]
)


_WHICH = st.sampled_from([FILES] * 6 + list(range(6)))


def outcome(data: bytes, start: int, size: int, *, at_once: bool) -> bytes | str:
    try:
        return decoded(data, start, size, at_once=at_once)
    except (ContentError, BaseMissingError) as error:
        return str(error)


@given(
    changes=st.lists(st.tuples(_WHICH, st.integers(0, 2000), _LARGE | st.integers(0, 300)), min_size=1, max_size=4),
    start=st.integers(0, 1 << 17) | st.integers(100_000, 116_000), size=st.integers(0, 20_000),
)  # fmt: skip
@settings(max_examples=600, deadline=None)
def test_any_map_decodes_units_to_something_or_is_refused(changes: list[tuple[int, int, int]], start: int, size: int) -> None:
    first, columns = columns_of(good())
    for which, at, value in changes:
        columns[which][at % len(columns[which])] = value
    data = packed(first, columns)
    plainly = outcome(data, start, size, at_once=False)
    assert outcome(data, start, size, at_once=True) == plainly
    assert isinstance(plainly, str) or len(plainly) == size


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_damaged_map_is_refused_or_decodes_units_to_something(flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(good())
    for at, bits in flips:
        damaged[at % len(damaged)] ^= bits
    outcome(bytes(damaged), 0, 3000, at_once=False)


@pytest.mark.parametrize("at_once", [False, True])
def test_addresses_as_large_as_any_are_predicted_by_both_paths(at_once: bool) -> None:
    """All numbers at their ends at once: shifts, corrections and columns."""
    old = Spaces([Space(FIRST.old_start, MOST - FIRST.old_size, FIRST.old_size)])
    new = Spaces([Space(0, 0, 5000), Space(5000, MOST - (1 << 20), 1 << 20)])
    columns = (
        Column(DataField.OFFSET, 0, MOST, 0),
        Column(DataField.ABSOLUTE, 4, 0, MOST),
        Column(DataField.INDEX, 12, 0, MOST),
    )
    table = Area(AreaKind.TABLE, 7, FIRST.old_start, FIRST.areas[0].size, 16, columns)
    file = replace(
        FIRST, new_size=1 << 20, old_spaces=old, new_spaces=new, bounds=Bounds(0, MOST, 0, MOST), areas=(table, *FIRST.areas[1:]),
        anchors=(Move(MOST, 0, 0), Move(0, 5, MOST), Move(1 << 40, 1 << 40, -(1 << 40))),
        corrections={5: -(MOST >> 1), MOST - 4: MOST >> 1, MOST - 1: MOST - 1},
    )  # fmt: skip
    data = encode_map([(FIRST.old_start, 0, FIRST.old_size)], [file], 0)
    out = decoded(data, 0, FIRST.old_size, at_once=at_once)
    assert out == decoded(data, 0, FIRST.old_size)
    assert out != BASE[FIRST.old_start :]


def counted_reads(data: bytes, start: int, size: int, base: bytes) -> int:
    """Return how many bytes of the base a unit reads."""
    total = 0

    def noted(offset: int, length: int) -> bytes:
        nonlocal total
        total += length
        return reader(base)(offset, length)

    its_map = decode_map(data, len(base))
    missing = size - sum(segment.length for segment in its_map.segments(start, start + size))
    with path(at_once=False):
        decode_unit(unit_of(size, missing), noted, len(base), size, Place(start, its_map))
    return total


@pytest.mark.parametrize("kind", [*CODE_KINDS, AreaKind.POINTERS, AreaKind.TABLE])
def test_a_large_area_is_searched_only_around_what_is_copied(kind: AreaKind) -> None:
    base = bytes(3_000_000)
    area = Area(kind, 1, 0, len(base), 1 if kind is AreaKind.TABLE else 0)
    spaces = Spaces([Space(0, 0x1000, len(base))])
    file = FileMap(0, len(base), 0, len(base), spaces, spaces, Bounds(0, MOST, 0, MOST), (area,))
    rows = [(1000 * n, 10 * n, 10) for n in range(100)]
    assert counted_reads(encode_map(rows, [file], 0), 0, 1000, base) <= 100 * (2 * 10 + 2 * 192)


def test_one_area_in_many_files_is_walked_once() -> None:
    base = bytes(400_000)
    spaces = Spaces([Space(0, 0x1000, len(base))])
    area = Area(AreaKind.EH_FRAME, 1 << 18, 0, 100_000)
    files = [
        FileMap(0, len(base), 10 * n, 10, spaces, Spaces([Space(10 * n, 0, 10)]), Bounds(0, MOST, 0, MOST), (area,))
        for n in range(500)
    ]
    rows = [(10 * n, 10 * n, 10) for n in range(500)]
    assert counted_reads(encode_map(rows, files, 0), 0, 5000, base) < 2 * 100_000


def test_a_base_that_is_not_here_is_said_to_be_missing() -> None:
    """Of what is copied, and of what is looked at around it."""
    its_map = decode_map(good(), len(BASE))
    needed: list[tuple[int, int]] = []

    def noted(offset: int, length: int) -> bytes:
        needed.append((offset, length))
        return reader(BASE)(offset, length)

    unit = unit_of(900, 900 - sum(segment.length for segment in its_map.segments(30_000, 30_900)))
    decode_unit(unit, noted, len(BASE), 900, Place(30_000, its_map))
    assert len(set(needed)) > 9
    for gone in set(needed):

        def without(offset: int, length: int, gone: tuple[int, int] = gone) -> bytes:
            if (offset, length) == gone:
                raise BaseMissingError(f"{offset}+{length}")
            return reader(BASE)(offset, length)

        with pytest.raises(BaseMissingError, match=f"^{gone[0]}\\+{gone[1]}$"):
            decode_unit(unit, without, len(BASE), 900, Place(30_000, its_map))
