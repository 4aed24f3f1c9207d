from __future__ import annotations

import tracemalloc
from random import Random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.content.codec import MAX_WINDOW_BYTES, STORED, ZSTD, compress, decode_piece, decompress, encode_piece
from edgeswarm.errors import ContentError

_TEXT = b"the same line again and again\n" * 1000
_EMPTY_FRAME = compress(b"", 3)
_SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


def zstd(plain: bytes, **options: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, **options)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(plain)


@given(st.binary(max_size=3000), st.sampled_from([1, 3, 12, 19]))
def test_round_trip(plain: bytes, level: int) -> None:
    piece = encode_piece(plain, level)
    assert decode_piece(piece, len(plain)) == plain
    assert decode_piece(memoryview(piece), len(plain)) == plain
    assert len(piece) <= len(plain) + 1


def test_the_smaller_method_is_taken() -> None:
    assert encode_piece(_TEXT)[0] == ZSTD
    assert len(encode_piece(_TEXT)) < 200
    noise = Random(1).randbytes(5000)
    assert encode_piece(noise) == bytes([STORED]) + noise


def test_frames_carry_no_size_checksum_or_dictionary_id() -> None:
    head = zstandard.get_frame_parameters(compress(_TEXT, 12))
    assert not head.has_checksum
    assert head.dict_id == 0
    assert head.content_size in {0, zstandard.CONTENTSIZE_UNKNOWN}


@pytest.mark.parametrize("plain", [b"", b"x", _TEXT, bytes(262_144)])
def test_other_writers_may_add_size_and_checksum(plain: bytes) -> None:
    assert decompress(zstd(plain, write_checksum=1, write_content_size=1), len(plain)) == plain


@pytest.mark.parametrize("size", [0, 1, len(_TEXT) - 1, len(_TEXT) + 1])
@pytest.mark.parametrize("method", [STORED, ZSTD])
def test_another_size_is_refused(method: int, size: int) -> None:
    body = compress(_TEXT, 3) if method == ZSTD else _TEXT
    with pytest.raises(ContentError, match=r"wanted"):
        decode_piece(bytes([method]) + body, size)


@pytest.mark.parametrize("tail", [b"\0", b"P", _EMPTY_FRAME, _SKIPPABLE, b"junk and more junk"], ids=bytes.hex)
def test_bytes_behind_a_frame_are_refused(tail: bytes) -> None:
    with pytest.raises(ContentError):
        decompress(compress(_TEXT, 3) + tail, len(_TEXT))


@pytest.mark.parametrize("head", [_SKIPPABLE, _EMPTY_FRAME], ids=["skippable", "empty"])
def test_frames_before_the_frame_are_refused(head: bytes) -> None:
    with pytest.raises(ContentError):
        decompress(head + compress(_TEXT, 3), len(_TEXT))


def test_every_cut_is_refused() -> None:
    frame = compress(Random(2).randbytes(200) + _TEXT, 3)
    for end in range(len(frame)):
        with pytest.raises(ContentError):
            decompress(frame[:end], 200 + len(_TEXT))


def test_a_frame_that_makes_all_bytes_but_has_no_last_block_is_refused() -> None:
    raw_block = (100 << 3).to_bytes(3, "little") + bytes(100)  # not marked as the last one
    with pytest.raises(ContentError, match="cut off"):
        decompress(b"\x28\xb5\x2f\xfd\x00\x58" + raw_block, 100)


@pytest.mark.parametrize("method", [2, 3, 255])
def test_other_methods_are_refused(method: int) -> None:
    with pytest.raises(ContentError, match=f"method {method} is not known"):
        decode_piece(bytes([method]) + b"abc", 3)


def test_an_empty_piece_is_refused() -> None:
    with pytest.raises(ContentError, match="empty"):
        decode_piece(b"", 0)


@pytest.mark.parametrize("declared", [0, 1])
def test_a_bomb_takes_no_more_memory_than_wanted(declared: int) -> None:
    """64 MiB of zeros in 2 KB, with and without the size in the frame, which the library would trust."""
    bomb = zstd(bytes(64 << 20), write_content_size=declared)
    assert len(bomb) < 10_000
    tracemalloc.start()
    try:
        with pytest.raises(ContentError, match="wanted exactly 65536 bytes"):
            decompress(bomb, 65536)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_wide_window_is_refused() -> None:
    frame = bytearray(compress(b"x" * 100, 3))
    for window_log, allowed in ((24, True), (25, False), (41, False)):
        frame[5] = window_log - 10 << 3  # RFC 8878, 3.1.1.1.2: the exponent of the window descriptor
        if allowed:
            assert zstandard.get_frame_parameters(bytes(frame)).window_size == MAX_WINDOW_BYTES
            assert decompress(bytes(frame), 100) == b"x" * 100
        else:
            with pytest.raises(ContentError, match="zstd frame of"):
                decompress(bytes(frame), 100)


def test_many_empty_blocks_take_little_time() -> None:
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + bytes(3) * 50_000 + b"\1\0\0"
    assert decompress(frame, 0) == b""
    with pytest.raises(ContentError):
        decompress(frame, 1)


@given(st.binary(max_size=200), st.integers(0, 1000))
def test_any_bytes_decode_or_raise_content_error(data: bytes, size: int) -> None:
    for piece in (data, b"\1\x28\xb5\x2f\xfd" + data):
        try:
            plain = decode_piece(piece, size)
        except ContentError:
            continue
        assert len(plain) == size


@given(st.data())
def test_a_changed_piece_decodes_to_the_size_or_raises_content_error(data: st.DataObject) -> None:
    piece = bytearray(encode_piece(_TEXT))
    for _ in range(data.draw(st.integers(1, 4))):
        piece[data.draw(st.integers(0, len(piece) - 1))] = data.draw(st.integers(0, 255))
    try:
        plain = decode_piece(bytes(piece), len(_TEXT))
    except ContentError:
        return
    assert len(plain) == len(_TEXT)
