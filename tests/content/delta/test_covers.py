"""Units over covers: what is made comes back, by both paths; what is malformed is refused before it is read or allocated."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numpy", reason="the [publish] extra is not installed")

import numpy as np

from edgeswarm.content.delta import decode_unit
from edgeswarm.content.delta.covers import decoder, layout
from edgeswarm.content.delta.covers.encoder import clip, encode_covers, pack_numbers
from edgeswarm.content.delta.covers.layout import METHOD, Stream, Unit, pack_unit, unpack_unit
from edgeswarm.content.varint import all_varints, pack_varints, zigzag
from edgeswarm.errors import BaseMissingError, ContentError

BASE = Random(1).randbytes(100_000)
Row = tuple[int, int, int]


def read(offset: int, length: int) -> bytes:
    assert 0 <= offset <= offset + length <= len(BASE)
    return BASE[offset : offset + length]


def unread(offset: int, length: int) -> bytes:
    raise AssertionError(f"read {offset}+{length} of a unit that must be refused before")


def unit_of(new: bytes, rows: list[Row], start: int = 0) -> bytes:
    covers = np.array(rows, np.int64).reshape(-1, 3)
    return encode_covers(covers, [read(old, length) for old, _, length in rows], new, start)


def by_hand(
    start: int, control: list[int], literals: bytes, gaps: list[int] | None = None, values: bytes = b"", records: bytes = b""
) -> bytes:
    streams = (pack_varints(control), pack_varints(gaps or []), values, records, literals)
    return pack_unit(Unit(start, streams))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, list[Row]]:
    """New bytes made of changed copies and literals, and the covers that made them."""
    new, rows = bytearray(), []
    for _ in range(draw(st.integers(0, 6))):
        new += draw(st.binary(max_size=30))
        old = draw(st.integers(0, len(BASE) - 1))
        length = draw(st.integers(1, min(3000, len(BASE) - old)))
        part = bytearray(BASE[old : old + length])
        for _ in range(draw(st.integers(0, 12))):
            at = draw(st.integers(0, length - 1))
            change = draw(st.binary(min_size=1, max_size=9))
            part[at : at + len(change)] = change[: length - at]
        rows.append((old, len(new), length))
        new += part
    return bytes(new + draw(st.binary(max_size=30))), rows


@given(made=mutated(), start=st.integers(0, 2**40))
@settings(max_examples=300)
def test_what_was_encoded_comes_back_by_both_paths(made: tuple[bytes, list[Row]], start: int) -> None:
    new, rows = made
    unit = unit_of(new, [(old, at + start, length) for old, at, length in rows], start)
    assert decode_unit(unit, read, len(BASE), len(new)) == new
    known = decoder._NUMPY_FROM
    decoder._NUMPY_FROM = 0
    try:
        assert decode_unit(memoryview(unit), read, len(BASE), len(new)) == new
    finally:
        decoder._NUMPY_FROM = known


def test_an_address_that_moved_is_one_correction() -> None:
    """A carry through all four bytes of a field, and back."""
    old = b"".join((0xFF00 + 7 * n).to_bytes(4, "little") for n in range(500))
    new = b"".join((0xFF00 + 7 * n + 0x100).to_bytes(4, "little") for n in range(500))
    unit = encode_covers(np.array([[0, 0, 2000]]), [old], new, 0)
    assert decode_unit(unit, lambda at, n: old[at : at + n], len(old), len(new)) == new
    gaps, values = decoder._corrections(unpack_unit(memoryview(unit), len(new)).streams)
    assert (set(gaps[1:]), set(values)) == ({4}, {1})  # the second byte of each, whatever it carried
    assert len(unit) < 120


def test_a_correction_does_not_reach_into_the_next_cover() -> None:
    new = bytearray(BASE[100:110] + BASE[5000:5010])
    new[9], new[10] = new[9] ^ 1, new[10] ^ 0x80
    unit = unit_of(bytes(new), [(100, 0, 10), (5000, 10, 10)])
    assert decode_unit(unit, read, len(BASE), 20) == bytes(new)
    assert list(decoder._corrections(unpack_unit(memoryview(unit), 20).streams)[0]) == [9, 1]


def test_a_correction_at_the_very_end_fits() -> None:
    new = BASE[:50] + bytes([BASE[50] ^ 0xFF])
    assert decode_unit(unit_of(new, [(0, 0, 51)]), read, len(BASE), 51) == new


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_literals_alone_are_a_unit(size: int) -> None:
    new = Random(size).randbytes(size)
    assert decode_unit(unit_of(new, []), unread, 0, size) == new


def test_covers_are_clipped_to_a_unit() -> None:
    covers = np.array([[10, 0, 100], [500, 100, 50], [900, 200, 10]], np.int64)
    assert clip(covers, 50, 120).tolist() == [[60, 50, 50], [500, 100, 20]]
    assert clip(covers, 150, 200).tolist() == []
    assert clip(covers, 205, 300).tolist() == [[905, 205, 5]]


@given(st.lists(st.integers(0, 2**63 - 1), max_size=50))
def test_numbers_are_the_varints_of_all_formats(values: list[int]) -> None:
    assert pack_numbers(np.array(values, np.int64)) == pack_varints(values)
    assert all_varints(pack_varints(values)) == values


# ---------------------------------------------------------------------- malformed units


GOOD = by_hand(40, [3, 100, zigzag(0)], b"abcde", [5, 10], bytes(8))


def test_the_unit_by_hand_is_good() -> None:
    assert decode_unit(GOOD, read, len(BASE), 105) == b"abc" + BASE[43:143] + b"de"


@pytest.mark.parametrize(
    ("unit", "size", "says"),
    [
        (by_hand(40, [3, 100, 0], b"abcd"), 105, "4 literals, wanted 5"),
        (by_hand(40, [3, 100, 0], b"abcdef"), 105, "bytes of literals|6 literals"),
        (by_hand(40, [3, 100], b"abcde"), 105, "wanted three for each of at most"),
        (by_hand(0, [0, 40, 0, 0, 65, 0, 0, 0, 99], b""), 105, "covers make more|literals|range"),
        (by_hand(40, [3, 0, 0], b"abcde"), 5, r"range 43\+0"),
        (by_hand(40, [0, 2**40, 0], b""), 105, "make more than 105 bytes"),
        (by_hand(99_999, [0, 105, 0], b""), 105, r"range 99999\+105 of a base of 100000 bytes"),
        (by_hand(0, [0, 105, zigzag(-1)], b""), 105, r"range -1\+105"),
        (by_hand(0, [0, 105, 0], b"", [105], bytes(4)), 105, "lies outside of what is copied"),
        (by_hand(0, [0, 105, 0], b"", [3, 0], bytes(8)), 105, "or where another one is"),
        (by_hand(0, [0, 105, 0], b"", [3], bytes(8)), 105, "1 gaps for 2 corrections"),
        (by_hand(0, [0, 105, 0], b"", [3], bytes(3)), 105, "3 bytes of words"),
        (by_hand(0, [0, 105, 0], b"", records=bytes(4)), 105, "1 words of records"),
        (by_hand(0, [0, 105, 0], b"", [104], b"\xff\xff\xff\x7f"), 105, "beyond its cover"),
        (by_hand(0, [0, 105, 0], b"", [3, 1], b"\xff\xff\0\0" + bytes(4)), 105, "reaches into another one"),
        (by_hand(0, [0, 50, 0, 50, 0, 50], b"", [49], b"\xff\xff\0\0"), 105, r"range 0\+0"),
        (pack_unit(Unit(0, (b"\x80\0", b"", b"", b"", b""))), 105, "padded"),
        (pack_unit(Unit(0, (b"\xff" * 9 + b"\x7f", b"", b"", b"", b""))), 105, "64 bits"),
        (pack_unit(Unit(0, (b"\x80", b"", b"", b"", b""))), 105, "cut off in a number"),
        (pack_unit(Unit(0, (b"\xff" * 20, b"", b"", b"", b""))), 105, "more than 64 bits"),
    ],
)
def test_what_does_not_fit_is_refused(unit: bytes, size: int, says: str) -> None:
    with pytest.raises(ContentError, match=says):
        decode_unit(unit, read, len(BASE), size)


@pytest.mark.parametrize("length", range(1, len(GOOD)))
def test_a_unit_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(ContentError):
        decode_unit(GOOD[:length], read, len(BASE), 105)


def test_a_byte_too_many_is_refused() -> None:
    with pytest.raises(ContentError, match="its streams end elsewhere"):
        decode_unit(GOOD + b"\0", read, len(BASE), 105)


@pytest.mark.parametrize("which", list(Stream))
def test_a_stream_that_claims_too_much_is_refused_before_it_is_expanded(which: Stream) -> None:
    head = bytearray([METHOD, 0])
    for stream in Stream:
        head += bytes([1]) + pack_varints([2**50, 5]) if stream is which else bytes([0, 0])
    with pytest.raises(ContentError, match=f"bytes of {which.name.lower()} for 1000 bytes"):
        decode_unit(bytes(head) + bytes(5), unread, len(BASE), 1000)


@pytest.mark.parametrize("coding", [0, 1, 2, 2 + 3, 2 + 1 + 25 * 2])
def test_each_coding_gives_exactly_what_was_said(coding: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import lzma

    plain = Random(5).randbytes(200) * 3
    bodies = {0: plain, 1: __import__("zstandard").ZstdCompressor(write_content_size=False).compress(plain)}
    if coding >= 2:
        lc, lp, pb = (coding - 2) % 5, (coding - 2) // 5 % 5, (coding - 2) // 25
        bodies[coding] = lzma.compress(plain, lzma.FORMAT_RAW, filters=[layout._filter(len(plain), lc, lp, pb)])
    body = bodies[coding]
    assert layout.unpack_stream(coding, memoryview(body), len(plain)) == plain
    if coding:
        for size in (0, len(plain) - 1, len(plain) + 1, 10 * len(plain)):
            with pytest.raises(ContentError):
                layout.unpack_stream(coding, memoryview(body), size)
        for wrong in (body[:-1], body[: len(body) // 2], b"", body + b"\0"):
            with pytest.raises(ContentError):
                layout.unpack_stream(coding, memoryview(wrong), len(plain))


@pytest.mark.parametrize("coding", [2 + 125, 255, 2 + 4 + 5])
def test_an_unknown_coding_is_refused(coding: int) -> None:
    with pytest.raises(ContentError, match=f"coding {coding} of a stream is not known"):
        layout.unpack_stream(coding, memoryview(bytes(20)), 20)


@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=8))
@settings(max_examples=300)
def test_a_damaged_unit_is_refused_or_makes_so_many_bytes(flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(_LARGE)
    for at, bits in flips:
        damaged[at % len(damaged)] ^= bits
    try:
        made = decode_unit(bytes(damaged), read, len(BASE), 30_000)
    except ContentError:
        return
    assert len(made) == 30_000


def _large() -> bytes:
    new = bytearray(BASE[20_000:50_000])
    for at in range(0, 30_000, 37):
        new[at] = at & 0xFF
    return unit_of(bytes(new), [(20_000, 0, 30_000)])


_LARGE = _large()


@given(
    control=st.lists(st.integers(0, 40), max_size=12), literals=st.binary(max_size=20),
    records=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**32 - 1) | st.integers(0, 300)), max_size=8),
)  # fmt: skip
@settings(max_examples=500)
def test_both_paths_agree_on_units_that_no_encoder_makes(
    control: list[int], literals: bytes, records: list[tuple[int, int]]
) -> None:
    words = b"".join(gap.to_bytes(4, "little") + value.to_bytes(4, "little") for gap, value in records)
    unit = by_hand(50_000, control, literals, records=words)
    size = sum(control[len(control) // 3 : 2 * (len(control) // 3)]) + len(literals)
    assert _outcome(unit, size, at_once=False) == _outcome(unit, size, at_once=True)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "records",
    [
        [(3, 0xFFFF), (1, 0)],  # over the next one
        [(39, 0xFFFF)],  # into the next cover
        [(78, 0xFFFFFF)],  # behind the output
    ],
)
def test_a_correction_that_reaches_too_far_is_refused_by_both_paths(records: list[tuple[int, int]], at_once: bool) -> None:
    def unit(rows: list[tuple[int, int]]) -> bytes:
        words = b"".join(gap.to_bytes(4, "little") + value.to_bytes(4, "little") for gap, value in rows)
        return by_hand(0, [0, 0, 40, 40, 0, 0], b"", records=words)

    assert _outcome(unit([(gap, 0) for gap, _ in records]), 80, at_once=at_once) == BASE[:80]
    assert _outcome(unit(records), 80, at_once=at_once) is None


def _outcome(unit: bytes, size: int, *, at_once: bool) -> bytes | None:
    known, decoder._NUMPY_FROM = decoder._NUMPY_FROM, 0 if at_once else 1 << 60
    try:
        return decode_unit(unit, read, len(BASE), size)
    except ContentError:
        return None
    finally:
        decoder._NUMPY_FROM = known


def test_each_chunk_of_the_base_is_read_in_one_go() -> None:
    """Covers that jump about would read and verify the same chunks again and again."""
    order: list[int] = []

    def noted(offset: int, length: int) -> bytes:
        order.append(offset)
        return read(offset, length)

    rows = [(90_000 - 40 * n if n % 2 else 40 * n, 20 * n, 20) for n in range(500)]
    new = b"".join(BASE[old : old + 20] for old, _, _ in rows)
    assert decode_unit(unit_of(new, rows), noted, len(BASE), len(new)) == new
    assert order == sorted(order)


def test_more_covers_than_a_receiver_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = by_hand(0, [0] * 11 + [1] * 11 + [0] * 11, b"")
    assert decode_unit(unit, read, len(BASE), 11) == BASE[:11]
    monkeypatch.setattr(decoder, "MAX_COVERS", 10)
    with pytest.raises(ContentError, match="at most 10 covers"):
        decode_unit(unit, unread, len(BASE), 11)


def test_a_reader_without_the_range_says_so_itself() -> None:
    def gone(offset: int, length: int) -> bytes:
        raise BaseMissingError(f"{offset}+{length}")

    with pytest.raises(BaseMissingError, match=r"^43\+100$"):
        decode_unit(GOOD, gone, len(BASE), 105)
