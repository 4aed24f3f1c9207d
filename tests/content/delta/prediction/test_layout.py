"""Maps: what was made comes back, and what is malformed is refused before it costs anything."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")
pytest.importorskip("hdiffpatch", reason="the [publish] extra is not installed")

from edgeswarm.content.delta import Place, decode_unit
from edgeswarm.content.delta.covers.layout import Unit, pack_stream, pack_unit, unpack_stream
from edgeswarm.content.delta.prediction import decode_map, decoder, layout, predictor
from edgeswarm.content.delta.prediction.addresses import Move, Space, Spaces
from edgeswarm.content.delta.prediction.areas import Area, AreaKind, Column, DataField
from edgeswarm.content.delta.prediction.code import Bounds
from edgeswarm.content.delta.prediction.decoder import METHOD
from edgeswarm.content.delta.prediction.files import FileMap
from edgeswarm.content.delta.prediction.layout import MAP_MAX_BYTES, encode_map
from edgeswarm.content.varint import all_varints, pack_varints, read_varint, write_varint, zigzag
from edgeswarm.errors import ContentError

from .programs import path
from .test_predictor import BASE, base_files, reader

LITERALS, LENGTHS, JUMPS, FILES, PLACES, VALUES = range(6)
MOST = 1 << 62


def columns_of(data: bytes) -> tuple[int, list[list[int]]]:
    """Return where a map's run begins, and its columns."""
    start, at = read_varint(data, 1)
    heads = []
    for _ in range(6):
        coding = data[at]
        plain, at = read_varint(data, at + 1)
        coded, at = read_varint(data, at)
        heads.append((coding, plain, coded))
    columns = []
    for coding, plain, coded in heads:
        columns.append(all_varints(unpack_stream(coding, memoryview(data)[at : at + coded], plain)))
        at += coded
    return start, columns


def packed(start: int, columns: Sequence[Sequence[int]]) -> bytes:
    """Return a map of columns of numbers."""
    out, bodies = bytearray([layout.VERSION]), []
    write_varint(start, out)
    for column in columns:
        plain = pack_varints(column)
        coding, body = pack_stream(plain, preset=0)
        out.append(coding)
        write_varint(len(plain), out)
        write_varint(len(body), out)
        bodies.append(body)
    return bytes(out) + b"".join(bodies)


def unit_of(size: int, literals: int, corrections: Sequence[tuple[int, int]] = ()) -> bytes:
    """Return a unit of method 4."""
    words = b"".join(gap.to_bytes(4, "little") + value.to_bytes(4, "little") for gap, value in corrections)
    return pack_unit(
        Unit(0, (b"", b"", b"", words, bytes(range(256)) * (literals // 256) + bytes(literals % 256))), METHOD, fast=True
    )


def decoded(data: bytes, start: int, size: int, *, at_once: bool = False, base: bytes = BASE) -> bytes:
    with path(at_once=at_once):
        its_map = decode_map(data, len(base))
        missing = size - sum(segment.length for segment in its_map.segments(start, start + size))
        return decode_unit(unit_of(size, missing), reader(base), len(base), size, Place(start, its_map))


# ---------------------------------------------------------------------- what was made comes back


@st.composite
def maps(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], list[FileMap], int]:
    dice, base_size = Random(draw(st.integers(0, 2**32))), 100_000
    start = draw(st.integers(0, 1 << 40))
    rows, new = [], start
    for _ in range(dice.randrange(30)):
        new += dice.choice((0, 1, 300))
        length = dice.choice((1, 20, 4000))
        rows.append((dice.randrange(base_size - length), new, length))
        new += length
    files, at = [], start
    for _ in range(dice.randrange(4)):
        at += dice.choice((0, 10))
        old_start = dice.randrange(40_000)
        offset, areas = old_start, []
        for kind in dice.sample(list(AreaKind), 4):
            offset += dice.choice((0, 8))
            entry, columns = 0, []
            if kind is AreaKind.TABLE:
                entry, columns = 24, [Column(DataField.ABSOLUTE, 8, 0, MOST), Column(DataField.INDEX, 16, 1, 2)]
            if kind is AreaKind.GO_FUNCTIONS:
                entry, columns = dice.choice((3, MOST)), [Column(DataField.OFFSET, 0, n, n + 1) for n in range(6)]
            areas.append(Area(kind, dice.choice((1, 1 << 19, MOST)), offset, dice.choice((1, 5000)), entry, tuple(columns)))
            offset = areas[-1].offset + areas[-1].size
        low = dice.choice((0, 1 << 40))
        bounds = Bounds(low, low + dice.choice((0, 1 << 61)), low + 3, low + 9)
        corrections = {low + dice.randrange(1 << 30): dice.randrange(-(1 << 40), 1 << 40) for _ in range(dice.randrange(5))}
        anchors = tuple(Move(dice.randrange(1 << 40), 5, dice.choice((1 << 41, 0))) for _ in range(dice.randrange(3)))
        size = dice.randrange(1, 5000)
        files.append(
            FileMap(
                old_start, 50_000, at, size, Spaces([Space(old_start, 1 << 40, 50_000)]),
                Spaces([Space(at + 3, 7, 5), Space(at + 8, 9, 1)]),
                bounds, tuple(areas), anchors, corrections,
            )
        )  # fmt: skip
        at += size
    return rows, files, start


@given(maps())
@settings(max_examples=200, deadline=None)
def test_what_was_encoded_comes_back(made: tuple[list[tuple[int, int, int]], list[FileMap], int]) -> None:
    rows, files, start = made
    found = decode_map(encode_map(rows, files, start), 100_000)
    assert list(zip(found.olds, found.news, found.lengths, strict=True)) == rows
    assert [comparable(file) for file in found.files] == [comparable(file) for file in files]


def comparable(file: FileMap) -> FileMap:
    return replace(file, old_spaces=file.old_spaces.rows, new_spaces=file.new_spaces.rows)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- malformed maps


@cache
def good() -> bytes:
    """A map of two programs and of a file of all else, whose units copy everything."""
    files, at = [], 0
    for file in base_files():
        spaces = Spaces([Space(at, 0x500000, file.old_size)])
        files.append(replace(file, new_start=at, new_size=file.old_size, new_spaces=spaces, corrections={file.bounds.low + 5: 3}))
        at += file.old_size
    rows = [(old, old + 7 * (old > 5000), 97 if old < len(BASE) - 200 else 60) for old in range(0, len(BASE) - 60, 100)]
    return encode_map(rows, files, 0)


def test_the_map_is_good() -> None:
    assert len(good()) < 4000
    assert decoded(good(), 0, 60_000, at_once=True) == decoded(good(), 0, 60_000)


def changed(column: int, change: Callable[[list[int]], object], data: bytes | None = None) -> bytes:
    """Return the good map with one of its columns changed."""
    start, columns = columns_of(data or good())
    change(columns[column])
    return packed(start, columns)


def set_to(at: int, value: int) -> Callable[[list[int]], object]:
    return lambda column: column.__setitem__(at, value)


def test_a_map_that_is_cut_off_is_refused() -> None:
    for end in range(len(good())):
        with pytest.raises(ContentError):
            decode_map(good()[:end], len(BASE))


def test_a_byte_too_many_is_refused() -> None:
    with pytest.raises(ContentError, match="its columns end elsewhere"):
        decode_map(good() + b"\0", len(BASE))


def test_another_version_is_refused() -> None:
    with pytest.raises(ContentError, match="wanted version 1, got 02"):
        decode_map(b"\2" + good()[1:], len(BASE))
    with pytest.raises(ContentError, match="got nothing"):
        decode_map(b"", len(BASE))


def test_a_map_larger_than_a_piece_is_refused() -> None:
    with pytest.raises(ContentError, match="bytes, at most 4194304 are taken"):
        decode_map(good() + bytes(MAP_MAX_BYTES), len(BASE))


@pytest.mark.parametrize(
    ("column", "change", "says"),
    [
        (LENGTHS, lambda column: column.pop(), "covers of"),
        (LITERALS, lambda column: column.append(0), "covers of"),
        (JUMPS, lambda column: column.append(0), "covers of"),
        (LENGTHS, set_to(3, 0), "cover of no bytes"),
        (LENGTHS, set_to(3, 1 << 62), "beyond any stream"),
        (LITERALS, set_to(3, (1 << 64) - 1), "beyond any stream"),
        (LENGTHS, set_to(3, len(BASE)), "of a base of"),
        (JUMPS, set_to(0, zigzag(-1)), "range -1"),
        (JUMPS, set_to(5, zigzag(len(BASE))), "of a base of"),
        (JUMPS, set_to(5, (1 << 64) - 1), "of a base of"),
        (FILES, lambda column: column.append(0), "numbers too many"),
        (FILES, lambda column: column.pop(), "wanted a number of at most .*, got none"),
        (PLACES, lambda column: column.append(0), "numbers too many"),
        (PLACES, lambda column: column.pop(), "got none"),
        (VALUES, lambda column: column.append(0), "numbers too many"),
        (VALUES, lambda column: column.pop(), "got none"),
        (VALUES, set_to(0, (1 << 63) + 1), "wanted a number of at most"),
        (VALUES, set_to(0, 1 << 63), "a correction above any"),
        (PLACES, set_to(0, 1 << 62), "a correction above any"),
        (FILES, set_to(0, 4097), "at most 4096, got 4097"),
        (FILES, set_to(0, 4), "got none|at most"),
        (FILES, set_to(1, 1 << 62), "a file at"),
        (FILES, set_to(3, zigzag(-1)), "a file at -1"),
        (FILES, set_to(4, len(BASE) + 1), "a file at"),
        (FILES, set_to(5, 1 << 62), "an address above any"),
        (FILES, set_to(6, 1 << 62), "an address above any"),
        (FILES, set_to(8, 1 << 62), "an address above any"),
        (FILES, set_to(9, 65), "at most 64, got 65"),
        (FILES, set_to(11, 1 << 62), "an impossible space"),
        (FILES, set_to(12, 1 << 62), "an impossible space"),
        (FILES, set_to(12, 0), "an impossible space"),
        (FILES, set_to(10, 1 << 62), "an impossible space"),
    ],
)  # fmt: skip
def test_numbers_that_do_not_fit_are_refused(column: int, change: Callable[[list[int]], object], says: str) -> None:
    with pytest.raises(ContentError, match=says):
        decode_map(changed(column, change), len(BASE))


FIRST = base_files()[2]
GO = FIRST.areas[1]
TABLE_AREA = FIRST.areas[2]
WIDE = Column(DataField.ABSOLUTE, 0, 0, 0)


@pytest.mark.parametrize(
    ("areas", "says"),
    [
        ([FIRST.areas[0]._replace(size=0)], "an area at"),
        ([TABLE_AREA._replace(size=0)], "an area at"),
        ([FIRST.areas[3]._replace(size=100_000)], "an area at"),
        ([TABLE_AREA._replace(size=1 << 61)], "an area at"),
        ([FIRST.areas[0]._replace(offset=FIRST.old_start + n, size=1) for n in range(65)], "at most 64, got 65"),
        ([TABLE_AREA._replace(columns=(WIDE,) * 65)], "at most 64, got 65"),
        ([TABLE_AREA._replace(entry=0)], "columns"),
        ([TABLE_AREA._replace(entry=0, columns=())], "columns"),
        ([TABLE_AREA._replace(entry=7, columns=(WIDE,))], "columns"),
        ([TABLE_AREA._replace(entry=20, columns=(WIDE, WIDE._replace(place=7)))], "columns"),
        ([TABLE_AREA._replace(entry=20, columns=(WIDE._replace(place=8), WIDE))], "columns"),
        ([TABLE_AREA._replace(columns=(WIDE._replace(field=DataField.RELATIVE),))], "fields of kind 17"),
        ([TABLE_AREA._replace(columns=(WIDE._replace(old=(1 << 62) + 1),))], "wanted a number of at most"),
        ([FIRST.areas[0]._replace(columns=(WIDE,))], "1 columns in an area of kind EH_FRAME"),
        ([FIRST.areas[0]._replace(entry=1)], "entries of 1 bytes in an area of kind EH_FRAME"),
        ([GO._replace(columns=GO.columns[:5])], "5 columns in an area of kind GO_FUNCTIONS"),
        ([GO._replace(columns=(WIDE, *GO.columns[1:]))], "fields of four bytes"),
        ([GO._replace(columns=(GO.columns[0]._replace(place=4), *GO.columns[1:]))], "fields of four bytes"),
        ([FIRST.areas[0]._replace(kind=6)], "kind 6 are not known here; a newer edgeswarm made it"),  # type: ignore[arg-type]
    ],
)
def test_areas_that_do_not_fit_are_refused(areas: list[Area], says: str) -> None:
    spread = [area._replace(offset=FIRST.areas[0].offset) for area in areas[:1]] if len(areas) == 1 else areas
    file = replace(FIRST, areas=tuple(spread))
    with pytest.raises(ContentError, match=says):
        decode_map(encode_map([], [file], 0), len(BASE))


@pytest.mark.parametrize("kind", [kind for kind in AreaKind if kind is not AreaKind.TABLE])
def test_an_area_of_addresses_is_loaded_as_a_whole(kind: AreaKind) -> None:
    area = Area(kind, 1, FIRST.old_start + 5, 50, 0, GO.columns if kind is AreaKind.GO_FUNCTIONS else ())
    for spaces in ([], [(0, 54)], [(6, 90)], [(0, 20), (20, 90)]):
        rows = [Space(FIRST.old_start + first, 0x1000, stop - first) for first, stop in spaces]
        with pytest.raises(ContentError, match="not loaded as a whole"):
            decode_map(encode_map([], [replace(FIRST, old_spaces=Spaces(rows), areas=(area,))], 0), len(BASE))
    whole = Spaces([Space(FIRST.old_start, 0x1000, 55)])
    assert decode_map(encode_map([], [replace(FIRST, old_spaces=whole, areas=(area,))], 0), len(BASE)).files[0].areas == (area,)


def test_what_is_walked_is_bounded_in_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_WALKED_BYTES", 5 * GO.size)
    files = [replace(FIRST, areas=(GO,), new_start=10 * n, new_size=10) for n in range(6)]
    assert len(decode_map(encode_map([], files[:5], 0), len(BASE)).files) == 5
    with pytest.raises(ContentError, match="frames of"):
        decode_map(encode_map([], files, 0), len(BASE))


@pytest.mark.parametrize("move", [(5, 1 << 62, 0), (0, 1, -1), (1 << 62, 0, 1)])
def test_anchors_that_go_nowhere_are_refused(move: tuple[int, int, int]) -> None:
    with pytest.raises(ContentError, match="an impossible move"):
        decode_map(encode_map([], [replace(FIRST, areas=(), anchors=(Move(*move),))], 0), len(BASE))


@pytest.mark.parametrize("which", range(6))
@pytest.mark.parametrize("coding", [1, 2 + 3])
def test_a_column_that_claims_too_much_is_refused_before_it_is_expanded(which: int, coding: int) -> None:
    """A few bytes of LZMA of 16 MB of zeros, and of more."""
    for claimed in (16 << 20, 1 << 62):
        out = bytearray([layout.VERSION, 0])
        for column in range(6):
            out += bytes([coding]) + pack_varints([claimed, 5]) if column == which else bytes([0, 0, 0])
        with pytest.raises(ContentError, match=f"a column of {claimed} bytes, at most"):
            decode_map(bytes(out) + bytes(5), len(BASE))


def test_a_column_makes_what_it_claims() -> None:
    body = lzma.compress(bytes(1 << 20), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 4096}])
    for claimed in (1000, (1 << 20) - 1, (1 << 20) + 1):
        out = bytearray([layout.VERSION, 0])
        for column in range(6):
            out += bytes([2 + 3 + 25 * 2]) + pack_varints([claimed, len(body)]) if column == FILES else bytes([0, 0, 0])
        with pytest.raises(ContentError, match="wanted exactly"):
            decode_map(bytes(out) + body, len(BASE))


def test_more_covers_than_a_map_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(columns_of(good())[1][LITERALS])
    monkeypatch.setattr(layout, "MAX_MAP_COVERS", count)
    decode_map(good(), len(BASE))
    monkeypatch.setattr(layout, "MAX_MAP_COVERS", count - 1)
    with pytest.raises(ContentError, match="covers of"):
        decode_map(good(), len(BASE))


def test_more_covers_than_a_unit_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_COVERS", 20)
    assert len(decoded(good(), 0, 2000)) == 2000
    with pytest.raises(ContentError, match="21 covers of its map, at most 20"):
        decoded(good(), 0, 2001)


def test_covers_over_many_ends_of_spaces_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "MAX_MOVES", 1000)
    spaces = Spaces([Space(FIRST.old_start + n, 1000 * n, 1) for n in range(64)])
    area = Area(AreaKind.TABLE, 1, FIRST.old_start, 64, 4, (Column(DataField.OFFSET, 0, 0, 0),))
    file = replace(FIRST, new_size=1 << 20, new_spaces=Spaces([Space(0, 0, 1 << 20)]), old_spaces=spaces, areas=(area,))
    few, many = ([(FIRST.old_start, 64 * n, 64) for n in range(count)] for count in (15, 16))
    assert len(decoded(encode_map(few, [file], 0), 0, 64)) == 64
    with pytest.raises(ContentError, match="more than 1000 moves"):
        decoded(encode_map(many, [file], 0), 0, 64)


def test_a_unit_needs_a_map_and_no_covers_of_its_own() -> None:
    with pytest.raises(ContentError, match="needs a map"):
        decode_unit(unit_of(5, 5), reader(BASE), len(BASE), 5, Place(0, None))
    with pytest.raises(ContentError, match="needs a map"):
        decode_unit(unit_of(5, 5), reader(BASE), len(BASE), 5, Place(0, object()))
    its_map = decode_map(encode_map([], [], 0), len(BASE))
    assert decode_unit(unit_of(5, 5), reader(BASE), len(BASE), 5, Place(0, its_map)) == bytes(5)
    for unit in (Unit(0, (pack_varints([0, 5, 0]), b"", b"", b"", b"")), Unit(1, (b"", b"", b"", b"", bytes(5)))):
        with pytest.raises(ContentError, match="covers in a unit whose covers stand in a map"):
            decode_unit(pack_unit(unit, METHOD), reader(BASE), len(BASE), 5, Place(0, its_map))
