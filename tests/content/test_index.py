from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content import index as module
from edgeswarm.content.codec import encode_piece
from edgeswarm.content.digest import digest
from edgeswarm.content.index import PackIndex, Piece, check_index, decode_index, named_index
from edgeswarm.content.manifest import MAX_CHUNKS, ArtifactKind, Manifest, build_manifest
from edgeswarm.content.varint import pack_varints, zigzag
from edgeswarm.errors import ContentError

A, B, C, D = (digest(bytes([i])) for i in range(4))
FULL = PackIndex(
    A, None, (B, C), (D,), (Piece(0, 1, 0, 0, 77),), (Piece(0, 1, 0, 77, 5), Piece(1, 1, 1, 900, 6), Piece(3, 1, 1, 0, 900))
)
DELTA = PackIndex(A, D, (B,), (), (), (Piece(2, 3, 0, 10, 900, C), Piece(64, 64, 0, 910, 65536, B)))
MAPPED = replace(DELTA, maps=(Piece(1, 4, 0, 0, 10, A), Piece(60, 70, 0, 66446, 400_000, D)))
EMPTY = [0, b"", b"", b"", b"", b"", b""]


def wrap(fields: Any) -> bytes:
    body = msgpack.packb(fields)
    return b"\2" + len(body).to_bytes(4, "big") + encode_piece(body)


def decode(data: bytes) -> PackIndex:
    return decode_index(data, digest(data))


def table(*rows: tuple[int, int, int, int, int], digests: bytes = b"") -> list[Any]:
    """Return the table of pieces (gap, count, pack, jump, length)."""
    columns = [[row[i] for row in rows] for i in range(5)]
    columns[3] = [zigzag(jump) for jump in columns[3]]
    return [len(rows), *(pack_varints(column) for column in columns), digests]


# ---------------------------------------------------------------------- round trips


@pytest.mark.parametrize("index", [FULL, DELTA, MAPPED, replace(FULL, pieces=(), pages=(), page_digests=(), packs=())])
def test_round_trip(index: PackIndex) -> None:
    name, data = named_index(index)
    assert decode_index(data, name) == index
    assert index.payload_bytes == sum(piece.length for piece in (*index.pieces, *index.pages, *index.maps))


def test_bytes_that_are_good_for_several_chunks_count_once() -> None:
    assert replace(FULL, pages=(), pieces=tuple(Piece(i, 1, 0, 100, 23) for i in range(9))).payload_bytes == 23


@st.composite
def indexes(draw: st.DrawFn) -> PackIndex:
    packs, delta, first, pieces = draw(st.integers(1, 4)), draw(st.booleans()), 0, []
    for _ in range(draw(st.integers(0, 12))):
        first += draw(st.integers(0, 5))
        count = draw(st.integers(1, 64)) if delta else 1
        name = draw(st.binary(min_size=32, max_size=32)) if delta else b""
        place = draw(st.integers(0, packs - 1)), draw(st.integers(0, 1 << 40)), draw(st.integers(1, module.PIECE_MAX_BYTES))
        pieces.append(Piece(first, count, *place, name))
        first += count
    maps = tuple(draw(runs(packs))) if delta else ()
    return PackIndex(A, B if delta else None, (A, B, C, D)[:packs], (), (), tuple(pieces), maps)


@st.composite
def runs(draw: st.DrawFn, packs: int = 1) -> list[Piece]:
    """Maps anywhere: from none to some that touch."""
    found, first = [], 0
    for _ in range(draw(st.integers(0, 4))):
        first += draw(st.integers(0, 5))
        count = draw(st.integers(1, 1000))
        place = draw(st.integers(0, packs - 1)), draw(st.integers(0, 1 << 40)), draw(st.integers(1, module.PIECE_MAX_BYTES))
        found.append(Piece(first, count, *place, draw(st.binary(min_size=32, max_size=32))))
        first += count
    return found


@given(indexes())
@settings(max_examples=50)
def test_any_index_round_trips(index: PackIndex) -> None:
    name, data = named_index(index)
    assert decode_index(data, name) == index


def test_consecutive_pieces_cost_little() -> None:
    pieces = tuple(Piece(i, 1, 0, 20_000 * i, 20_000) for i in range(10_000))
    assert len(named_index(replace(FULL, pieces=pieces))[1]) < 1000


# ---------------------------------------------------------------------- malformed indexes


def test_another_digest_is_refused_before_anything_is_parsed() -> None:
    with pytest.raises(ContentError, match="index: wanted digest"):
        decode_index(b"anything", A)


@pytest.mark.parametrize("data", [b"", b"\2", b"\2\0\0\0\0", b"\2\xff\xff\xff\xff\0abc", b"\2\0\0\0\1\0ab"])
def test_malformed_heads_are_refused(data: bytes) -> None:
    with pytest.raises(ContentError):
        decode(data)


@pytest.mark.parametrize(
    ("version", "why"), [(0, "publish the release again"), (1, "publish the release again"), (3, "a newer edgeswarm made it")]
)
def test_other_versions_are_refused_with_what_to_do(version: int, why: str) -> None:
    data = bytes([version]) + named_index(DELTA)[1][1:]
    with pytest.raises(ContentError, match=f"wanted version 2, got {version}; .*{why}"):
        decode(data)


@pytest.mark.parametrize(
    "fields",
    [
        None,
        5,
        [],
        {},
        "text",
        [A, None, b"", b"", EMPTY, EMPTY],
        [A, None, b"", b"", EMPTY, EMPTY, EMPTY, EMPTY],
        [A[:31], None, b"", b"", EMPTY, EMPTY, EMPTY],
        [A, b"", b"", b"", EMPTY, EMPTY, EMPTY],
        [A, A[:31], b"", b"", EMPTY, EMPTY, EMPTY],
        [A, "text", b"", b"", EMPTY, EMPTY, EMPTY],
        [A, None, A[:31], b"", EMPTY, EMPTY, EMPTY],
        [A, None, b"", A[:31], EMPTY, EMPTY, EMPTY],
        [A, None, b"", A, EMPTY, EMPTY, EMPTY],
        [A, None, b"", b"", EMPTY, EMPTY, None],
        [A, None, b"", b"", EMPTY, EMPTY, [A, None, b"", b"", EMPTY, EMPTY, EMPTY]],
        [A, None, b"", b"", EMPTY, EMPTY, [0, b"", b"", b"", b"", b""]],
        [A, None, b"", b"", EMPTY, [True, b"", b"", b"", b"", b"", b""], EMPTY],
        [A, None, b"", b"", EMPTY, [-1, b"", b"", b"", b"", b"", b""], EMPTY],
        [A, None, b"", b"", EMPTY, [2**63, b"", b"", b"", b"", b"", b""], EMPTY],
        [A, None, b"", b"", EMPTY, EMPTY, [2**63, b"", b"", b"", b"", b"", b""]],
        [A, None, b"", b"", EMPTY, [[], b"", b"", b"", b"", b"", b""], EMPTY],
    ],
    ids=lambda fields: str(fields)[-40:],
)
def test_wrong_shapes_are_refused(fields: Any) -> None:
    with pytest.raises(ContentError):
        decode(wrap(fields))


GOOD_FULL, GOOD_DELTA = (0, 1, 0, 0, 1), (0, 64, 0, 0, 1)


def test_the_rows_below_are_good_but_for_one_thing() -> None:
    assert decode(wrap([A, None, B, b"", EMPTY, table(GOOD_FULL), EMPTY])).pieces == (Piece(0, 1, 0, 0, 1),)
    assert decode(wrap([A, C, B, b"", EMPTY, table(GOOD_DELTA, digests=D), EMPTY])).pieces == (Piece(0, 64, 0, 0, 1, D),)


@pytest.mark.parametrize(
    "row",
    [
        (0, 0, 0, 0, 1),  # makes nothing
        (0, 257, 0, 0, 1),  # too many chunks
        (0, 2**63, 0, 0, 1),
        (0, 1, 1, 0, 1),  # a pack that is not in the list
        (0, 1, 0, -1, 1),  # before the pack
        (0, 1, 0, 1 << 48, 1),  # beyond any pack
        (0, 1, 0, 0, 0),  # no bytes
        (0, 1, 0, 0, module.PIECE_MAX_BYTES + 1),
        (MAX_CHUNKS, 1, 0, 0, 1),
        (2**64 - 1, 1, 0, 0, 1),
    ],
)
def test_impossible_pieces_are_refused(row: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ContentError, match="impossible piece"):
        decode(wrap([A, C, B, b"", EMPTY, table(row, digests=D), EMPTY]))


@pytest.mark.parametrize(
    "row",
    [
        (0, 0, 0, 0, 1),  # of no chunk
        (0, MAX_CHUNKS + 1, 0, 0, 1),
        (1, MAX_CHUNKS, 0, 0, 1),
        (2**64 - 1, 1, 0, 0, 1),
        (0, 1, 1, 0, 1),  # a pack that is not in the list
        (0, 1, 0, -1, 1),  # before the pack
        (0, 1, 0, 0, 0),  # no bytes
        (0, 1, 0, 0, module.PIECE_MAX_BYTES + 1),
    ],
)
def test_impossible_maps_are_refused(row: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ContentError, match="impossible piece"):
        decode(wrap([A, C, B, b"", EMPTY, EMPTY, table(row, digests=D)]))


def test_a_map_may_be_of_all_chunks_that_a_manifest_can_have() -> None:
    row = (0, MAX_CHUNKS, 0, 7, module.PIECE_MAX_BYTES)
    found = decode(wrap([A, C, B, b"", EMPTY, EMPTY, table(row, digests=D)]))
    assert found.maps == (Piece(0, MAX_CHUNKS, 0, 7, module.PIECE_MAX_BYTES, D),)


@pytest.mark.parametrize("digests", [b"", D])
def test_a_full_index_has_no_maps(digests: bytes) -> None:
    with pytest.raises(ContentError, match="digests" if digests else "impossible piece"):
        decode(wrap([A, None, B, b"", EMPTY, EMPTY, table((0, 1, 0, 0, 1), digests=digests)]))


def test_a_piece_of_a_full_index_and_a_page_make_one() -> None:
    for fields in ([A, None, B, b"", EMPTY, table((0, 2, 0, 0, 1)), EMPTY], [A, None, B, D, table((0, 2, 0, 0, 1)), EMPTY, EMPTY]):
        with pytest.raises(ContentError, match="impossible piece"):
            decode(wrap(fields))


@pytest.mark.parametrize("base", [None, C])
def test_digests_stand_in_delta_indexes_and_nowhere_else(base: bytes | None) -> None:
    wrong = D if base is None else b""
    with pytest.raises(ContentError, match="bytes of digests"):
        decode(wrap([A, base, B, b"", EMPTY, table(GOOD_FULL, digests=wrong), EMPTY]))
    with pytest.raises(ContentError, match="bytes of digests"):
        decode(wrap([A, base, B, D, table(GOOD_FULL, digests=D), EMPTY, EMPTY]))


@pytest.mark.parametrize("column", range(1, 6))
@pytest.mark.parametrize("data", [b"", b"\1\1", b"\x80", b"\x80\0"])
def test_malformed_columns_are_refused(column: int, data: bytes) -> None:
    rows = table(GOOD_FULL)
    rows[column] = data
    with pytest.raises(ContentError):
        decode(wrap([A, None, B, b"", EMPTY, rows, EMPTY]))


def test_a_size_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = named_index(FULL)[1]
    monkeypatch.setattr(module, "INDEX_MAX_BYTES", 10)
    with pytest.raises(ContentError, match="at most 10 are allowed"):
        decode(data)


def test_too_many_packs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_PACKS", 1)
    with pytest.raises(ContentError, match="at most 1 digests"):
        decode(named_index(FULL)[1])


def _nested(levels: int) -> bytes:
    row = b"\x90"
    for _ in range(levels):
        row = b"\x97" + row * 7
    return row


@pytest.mark.parametrize("bomb", [_nested(7), b"\x97" * 1_000_000, b"\x80" * 1_000_000], ids=["wide", "deep", "maps"])
def test_bombs_take_little_memory(bomb: bytes) -> None:
    """A few bytes on the wire, millions of empty containers behind them."""
    data = b"\2" + len(bomb).to_bytes(4, "big") + encode_piece(bomb)
    assert len(data) < 1000
    tracemalloc.start()
    try:
        with pytest.raises(ContentError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


@given(st.data())
@settings(max_examples=150)
def test_changed_bodies_decode_or_raise_content_error(data: st.DataObject) -> None:
    mapped = table((2, 900, 0, 5, 70), digests=A)
    body = bytearray(msgpack.packb([A, D, B, b"", EMPTY, table((2, 3, 0, 10, 900), (59, 64, 0, 0, 65536), digests=C + B), mapped]))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(b"\2" + len(body).to_bytes(4, "big") + b"\0" + body)
    except ContentError:
        return
    assert decode(named_index(found)[1]) == found


@given(st.binary(max_size=200))
def test_any_bytes_raise_content_error(data: bytes) -> None:
    for wrong in (data, b"\2" + data, b"\2" + len(data).to_bytes(4, "big") + b"\0" + data):
        with pytest.raises(ContentError):
            decode(wrong)


# ---------------------------------------------------------------------- an index and its manifest


def manifest(chunks: int, size: int = 5) -> Manifest:
    return build_manifest(ArtifactKind.FILE, [(bytes([i]) * 32, size) for i in range(chunks)]).manifest


def test_an_index_that_fits() -> None:
    whole = manifest(130)
    check_index(replace(DELTA, manifest=whole.digest), whole)
    check_index(replace(DELTA, manifest=whole.digest, pieces=()), whole)


def test_an_index_that_does_not_fit_is_refused() -> None:
    short, large = manifest(127), manifest(130, 262_144)
    with pytest.raises(ContentError, match="of manifest"):
        check_index(DELTA, short)
    with pytest.raises(ContentError, match="in a manifest of 127 chunks"):
        check_index(replace(DELTA, manifest=short.digest), short)
    with pytest.raises(ContentError, match="makes more than 4194304 bytes"):
        check_index(replace(DELTA, manifest=large.digest), large)
    with pytest.raises(ContentError, match="in a manifest of 129 chunks"):
        check_index(replace(MAPPED, manifest=manifest(129).digest), manifest(129))


def mapped(*runs: range) -> PackIndex:
    """DELTA, whose units make chunks 2 to 4 and 64 to 127, with maps of these runs."""
    maps = tuple(Piece(run.start, len(run), 0, 100_000 * run.start, 9, A) for run in runs)
    return replace(DELTA, manifest=manifest(130).digest, maps=maps)


@pytest.mark.parametrize(
    "runs",
    [
        [range(2, 5)],
        [range(130)],
        [range(2), range(2, 5), range(5, 64), range(64, 128), range(128, 130)],
        [range(5, 64)],
        [range(1)],
        [range(63, 130)],
    ],
)
def test_units_may_lie_within_the_run_of_a_map_or_outside(runs: list[range]) -> None:
    check_index(mapped(*runs), manifest(130))


@pytest.mark.parametrize(
    ("runs", "border"),
    [
        ([range(3)], 3),
        ([range(3, 4)], 3),
        ([range(4, 64)], 4),
        ([range(4), range(4, 130)], 4),
        ([range(2, 5), range(5, 65)], 65),
        ([range(2, 5), range(127, 128)], 127),
    ],
)
def test_a_unit_across_the_border_of_a_map_is_refused(runs: list[range], border: int) -> None:
    with pytest.raises(ContentError, match=f"crosses the border of a map at chunk {border}"):
        check_index(mapped(*runs), manifest(130))


def test_the_map_of_a_unit() -> None:
    index = mapped(range(1, 5), range(5, 6), range(64, 130))
    found = [index.map_for(Piece(first, 1, 0, 0, 1)) for first in (0, 1, 4, 5, 6, 63, 64, 129, 130)]
    a, b, c = index.maps
    assert found == [None, a, a, b, None, None, c, c, None]
    assert DELTA.map_for(DELTA.pieces[0]) is None
