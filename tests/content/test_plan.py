from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.content.digest import digest
from edgeswarm.content.index import PackIndex, Piece
from edgeswarm.content.plan import PackRead, coalesce, pieces_for, plan_reads

A, B, C = (digest(bytes([i])) for i in range(3))


def index(*pieces: Piece, base: bytes | None = None) -> PackIndex:
    return PackIndex(A, base, (B, C), (), (), pieces)


def full(count: int, length: int = 10) -> PackIndex:
    return index(*(Piece(i, 1, 0, i * length, length) for i in range(count)))


DELTA = index(Piece(0, 4, 1, 0, 7, A), Piece(4, 2, 1, 7, 3, A), Piece(10, 5, 1, 10, 9, A), base=C)


def made(reads: list[PackRead]) -> list[int]:
    return sorted(chunk for read in reads for piece in read.pieces for chunk in range(piece.first, piece.first + piece.count))


def places(reads: list[PackRead]) -> list[tuple[int, int]]:
    return [(read.offset, read.length) for read in reads]


def test_pieces_for() -> None:
    found, rest = pieces_for(DELTA, [0, 3, 5, 6, 9, 10, 14, 15])
    assert found == list(DELTA.pieces)
    assert rest == [6, 9, 15]
    assert pieces_for(DELTA, []) == ([], [])
    assert pieces_for(index(), [3]) == ([], [3])


def test_chunks_before_the_first_piece_are_left() -> None:
    assert pieces_for(index(Piece(5, 1, 0, 0, 1)), [0, 4, 5]) == ([Piece(5, 1, 0, 0, 1)], [0, 4])


def test_touching_pieces_are_one_read() -> None:
    reads, rest = plan_reads([0, 1, 2, 5, 6], full(10), None)
    assert (places(reads), rest) == ([(0, 30), (50, 20)], [])


def test_reads_keep_the_limit_but_for_a_single_long_piece() -> None:
    whole = full(10)
    assert places(coalesce(whole, whole.pieces, 25)) == [(0, 20), (20, 20), (40, 20), (60, 20), (80, 20)]
    assert places(coalesce(whole, whole.pieces, 9)) == [(i * 10, 10) for i in range(10)]


def test_packs_are_read_apart_and_in_pack_order() -> None:
    mixed = index(Piece(0, 1, 1, 10, 5), Piece(1, 1, 0, 10, 5), Piece(2, 1, 1, 5, 5))
    reads = coalesce(mixed, mixed.pieces, 1000)
    assert [(read.pack, read.offset, read.length) for read in reads] == [(B, 10, 5), (C, 5, 10)]
    assert [piece.first for piece in reads[1].pieces] == [2, 0]


def test_equal_chunks_at_one_place_are_read_once() -> None:
    zeros = index(*(Piece(i, 1, 0, 100, 23) for i in range(50)), Piece(50, 1, 0, 123, 7))
    reads, rest = plan_reads(range(51), zeros, None)
    assert (places(reads), rest) == ([(100, 30)], [])
    assert made(reads) == [0, 50]
    assert made(plan_reads([17, 18], zeros, None)[0]) == [17]


def test_units_are_used_where_they_are() -> None:
    reads, rest = plan_reads([1, 2, 5, 8, 9], full(20), DELTA)
    assert [read.index for read in reads] == [DELTA, full(20)]
    assert places(reads) == [(0, 10), (80, 20)]
    assert rest == []


def test_refused_units_give_way_to_whole_chunks() -> None:
    reads, rest = plan_reads([1, 2, 5, 8], full(20), DELTA, refused={0})
    assert made(reads) == [1, 2, 4, 5, 8]
    assert rest == []
    assert places(reads) == [(7, 3), (10, 20), (80, 10)]


def test_what_has_no_unit_waits_for_the_full_index() -> None:
    reads, rest = plan_reads([1, 2, 5, 8, 9], None, DELTA, refused=[4])
    assert places(reads) == [(0, 7)]
    assert rest == [5, 8, 9]
    assert plan_reads([3], None, None) == ([], [3])


def test_chunks_that_stand_in_no_index_are_told() -> None:
    assert plan_reads([1, 99], full(20), DELTA)[1] == [99]


@st.composite
def indexed(draw: st.DrawFn, base: bytes | None) -> PackIndex:
    """Draw an index over chunks 0..39 with its pieces anywhere in two packs, never two at one place."""
    first, ends, pieces = 0, [0, 0], []
    while first < 40:
        first += draw(st.integers(0, 3))
        count = draw(st.integers(1, 6)) if base else 1
        pack, gap, length = draw(st.integers(0, 1)), draw(st.sampled_from([0, 0, 0, 11])), draw(st.integers(1, 30))
        pieces.append(Piece(first, count, pack, ends[pack] + gap, length))
        ends[pack] += gap + length
        first += count
    return index(*pieces, base=base)


@given(
    whole=indexed(None),
    delta=indexed(C),
    wanted=st.sets(st.integers(0, 60)),
    refused=st.sets(st.integers(0, 60)),
    limit=st.integers(1, 99),
)
@pytest.mark.slow
def test_plans_bring_each_wanted_chunk_once(
    whole: PackIndex, delta: PackIndex, wanted: set[int], refused: set[int], limit: int
) -> None:
    reads, rest = plan_reads(sorted(wanted), whole, delta, refused=refused, limit=limit)
    assert rest == sorted(rest)
    assert {*made(reads), *rest} >= wanted
    assert not wanted.intersection(made(reads)).intersection(rest)
    by_unit = {chunk for read in reads if read.index is delta for p in read.pieces for chunk in range(p.first, p.first + p.count)}
    for read in reads:
        assert read.length <= limit or len(read.pieces) == 1
        assert [p.offset for p in read.pieces] == [
            read.offset + sum(q.length for q in read.pieces[:i]) for i in range(len(read.pieces))
        ]
        assert read.length == sum(piece.length for piece in read.pieces)
        assert all(read.index.packs[piece.pack] == read.pack for piece in read.pieces)
        assert all(wanted.intersection(range(p.first, p.first + p.count)) for p in read.pieces)
        if read.index is delta:
            assert not refused.intersection(piece.first for piece in read.pieces)
        else:
            assert not by_unit.intersection(piece.first for piece in read.pieces)
    known = {chunk for p in whole.pieces for chunk in range(p.first, p.first + p.count)}
    assert not known.intersection(rest)


def test_a_large_index_is_not_walked_for_a_few_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    class Counting(tuple[Piece, ...]):
        def __getitem__(self, at: object) -> Piece:
            nonlocal looked
            looked += 1
            return super().__getitem__(at)  # type: ignore[index, return-value, call-overload]  # as bisect calls it

        def __iter__(self) -> object:  # type: ignore[override]  # nobody may walk it
            raise AssertionError("walked through all pieces")

    large = full(20_000)
    assert pieces_for(replace(large, pieces=Counting(large.pieces)), [5, 17_000])[1] == []
    assert looked < 100
