from __future__ import annotations

from random import Random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeswarm.content.codec import ZSTD_RANGES, compress, encode_piece
from edgeswarm.content.delta import Place, codec_for, decode_unit
from edgeswarm.content.delta.zstd_ranges import MAX_DICTIONARY_BYTES, MAX_RANGES, encode_ranges
from edgeswarm.content.varint import pack_varints, zigzag
from edgeswarm.errors import BaseMissingError, ContentError

BASE = Random(1).randbytes(700_000)


def read(offset: int, length: int) -> bytes:
    assert 0 <= offset <= offset + length <= len(BASE)
    assert length
    return BASE[offset : offset + length]


def unread(offset: int, length: int) -> bytes:
    raise AssertionError(f"read {offset}+{length} of a unit that must be refused before")


def head(*ranges: tuple[int, int], count: int | None = None) -> bytes:
    """Return the head of a unit over (offset, length) ranges of the base."""
    numbers, end = [len(ranges) if count is None else count], 0
    for offset, length in ranges:
        numbers += [zigzag(offset - end), length]
        end = offset + length
    return bytes([ZSTD_RANGES]) + pack_varints(numbers)


def frame_over(dictionary: bytes, plain: bytes) -> bytes:
    raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(dict_data=raw, write_content_size=False).compress(plain)


# ---------------------------------------------------------------------- round trips


@given(cuts=st.lists(st.tuples(st.integers(0, 699_999), st.integers(1, 40_000), st.binary(max_size=20)), max_size=5))
@settings(max_examples=40)
def test_what_is_in_the_base_costs_little_and_comes_back(cuts: list[tuple[int, int, bytes]]) -> None:
    new = b"".join(BASE[at : at + length] + fresh for at, length, fresh in cuts)
    unit = encode_ranges(new, [(0, len(BASE))], read, 3)
    assert decode_unit(unit, read, len(BASE), len(new)) == new
    assert decode_unit(memoryview(unit), read, len(BASE), len(new)) == new
    if len(new) > 20_000 and all(length > 2000 for _, length, _ in cuts):
        assert len(unit) < len(new) // 4


def test_every_encoding_is_the_same_again() -> None:
    new = BASE[5000:60_000] + b"!" + BASE[300_000:310_000]
    units = {encode_ranges(new, [(0, 65_536), (262_144, 65_536)], read, 3) for _ in range(3)}
    assert len(units) == 1


def test_units_may_be_plain_pieces() -> None:
    assert decode_unit(encode_piece(b"plain"), unread, 0, 5) == b"plain"
    assert decode_unit(encode_piece(bytes(999)), unread, 0, 999) == bytes(999)


def test_ranges_may_go_back_and_overlap() -> None:
    ranges = ((600_000, 500), (10, 90), (50, 100), (699_999, 1))
    dictionary = b"".join(BASE[at : at + length] for at, length in ranges)
    plain = BASE[600_100:600_400] + BASE[20:120]
    assert decode_unit(head(*ranges) + frame_over(dictionary, plain), read, len(BASE), len(plain)) == plain


def test_most_ranges_and_largest_dictionary() -> None:
    seen = 0

    def zeros(_offset: int, length: int) -> bytes:
        nonlocal seen
        seen += length
        return bytes(length)

    step = MAX_DICTIONARY_BYTES // MAX_RANGES
    unit = head(*((i * step, step) for i in range(MAX_RANGES))) + compress(b"plain", 3)
    assert decode_unit(unit, zeros, MAX_DICTIONARY_BYTES, 5) == b"plain"
    assert seen == MAX_DICTIONARY_BYTES


# ---------------------------------------------------------------------- malformed units


@pytest.mark.parametrize(
    "wrong",
    {
        "nothing": b"",
        "no head": bytes([ZSTD_RANGES]),
        "no ranges": head(),
        "ranges cut off": head((0, 5))[:-1],
        "fewer ranges than said": head((0, 5), count=2),
        "too many ranges": head(*((0, 1) for _ in range(MAX_RANGES + 1))),
        "endless ranges": head(count=2**64 - 1),
        "empty range": head((5, 0)),
        "before the base": head((-1, 5)),
        "behind the base": head((699_999, 2)),
        "far behind the base": head((2**62, 5)),
        "longer than the base": head((0, 2**63)),
        "too much in all": head(*((0, 700_000) for _ in range(13))),
        "no varint": bytes([ZSTD_RANGES]) + b"\xff" * 12,
    }.items(),
    ids=lambda item: item[0],
)
def test_bad_ranges_are_refused_before_anything_is_read(wrong: tuple[str, bytes]) -> None:
    unit = wrong[1] + (
        compress(b"plain", 3) if wrong[0] not in {"nothing", "no head", "ranges cut off", "fewer ranges than said"} else b""
    )
    with pytest.raises(ContentError):
        decode_unit(unit, unread, len(BASE), 5)


def test_a_base_that_is_too_short_is_refused_before_it_is_read() -> None:
    unit = head((100, 400)) + frame_over(BASE[100:500], BASE[200:400])
    assert decode_unit(unit, read, 500, 200) == BASE[200:400]
    with pytest.raises(ContentError, match=r"range 100\+400 of a base of 499 bytes"):
        decode_unit(unit, unread, 499, 200)


def test_a_reader_without_the_range_says_so_itself() -> None:
    def gone(offset: int, length: int) -> bytes:
        raise BaseMissingError(f"{offset}+{length}")

    with pytest.raises(BaseMissingError, match=r"^100\+400$"):
        decode_unit(head((100, 400)) + compress(b"plain", 3), gone, len(BASE), 5)


@pytest.mark.parametrize("size", [0, 199, 201, 4 << 20])
def test_another_size_is_refused(size: int) -> None:
    unit = head((100, 400)) + frame_over(BASE[100:500], BASE[200:400])
    with pytest.raises(ContentError):
        decode_unit(unit, read, len(BASE), size)


def test_bytes_behind_the_frame_are_refused() -> None:
    unit = head((100, 400)) + frame_over(BASE[100:500], BASE[200:400])
    with pytest.raises(ContentError):
        decode_unit(unit + b"\0", read, len(BASE), 200)


@pytest.mark.parametrize("method", [5, 127, 255])
def test_unknown_methods_are_refused(method: int) -> None:
    with pytest.raises(ContentError, match="a newer edgeswarm made it"):
        decode_unit(bytes([method]) + b"abc", unread, len(BASE), 3)


def test_a_codec_decodes_its_own_method_only() -> None:
    assert codec_for(ZSTD_RANGES).method == ZSTD_RANGES
    with pytest.raises(ContentError, match="wanted method 2"):
        codec_for(ZSTD_RANGES).decode(memoryview(encode_piece(b"plain")), unread, len(BASE), 5, Place(0, None))


@given(st.data())
@settings(max_examples=200)
def test_changed_units_make_the_size_or_raise_content_error(data: st.DataObject) -> None:
    unit = bytearray(head((100, 400), (5000, 64)) + frame_over(BASE[100:500] + BASE[5000:5064], BASE[200:400]))
    for _ in range(data.draw(st.integers(1, 3))):
        unit[data.draw(st.integers(0, len(unit) - 1))] = data.draw(st.integers(0, 255))
    try:
        plain = decode_unit(bytes(unit), read, len(BASE), 200)
    except ContentError:
        return
    assert len(plain) == 200


@given(st.binary(max_size=100), st.integers(0, 300))
def test_any_bytes_make_the_size_or_raise_content_error(data: bytes, size: int) -> None:
    for unit in (data, b"\2" + data, head((0, 50)) + b"\x28\xb5\x2f\xfd" + data):
        try:
            plain = decode_unit(unit, read, len(BASE), size)
        except ContentError:
            continue
        assert len(plain) == size
