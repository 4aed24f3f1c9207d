"""The first delta codec: zstd with ranges of the base as a raw dictionary.

A unit names 1 to 512 ranges of the base, 8 MiB at most; joined, they are the dictionary of one zstd frame.

Bytes: docs/reference/formats.md, "Delta unit, method 2". Figures: docs/explanation/delta.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from ...errors import ContentError
from ..codec import MAX_WINDOW_BYTES, ZSTD_RANGES, decompress
from ..varint import read_varint, unzigzag, write_varint, zigzag
from .port import Place, ReadBase

MAX_RANGES = 512
MAX_DICTIONARY_BYTES = 8 * 1024 * 1024


class ZstdRanges:
    """The codec of method 2."""

    method = ZSTD_RANGES

    def decode(self, unit: memoryview, read_base: ReadBase, base_size: int, size: int, place: Place) -> bytes:
        """Return exactly `size` bytes; see `DeltaCodec.decode`."""
        ranges, at = _read_ranges(unit, base_size)
        dictionary = b"".join(read_base(offset, length) for offset, length in ranges)
        raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        del dictionary
        return decompress(unit[at:], size, raw)


def encode_ranges(new: bytes, ranges: Sequence[tuple[int, int]], read_base: ReadBase, level: int) -> bytes:
    """Return a unit that makes `new` with ascending (offset, length) ranges of the base as its dictionary."""
    dictionary = b"".join(read_base(offset, length) for offset, length in ranges)
    unit = bytearray([ZSTD_RANGES])
    _write_ranges(ranges, unit)
    return bytes(unit + _compress_with(new, dictionary, level))


def _compress_with(new: bytes, dictionary: bytes, level: int) -> bytes:
    """Compress with tables sized for the dictionary: at low levels the defaults, made for `new` alone, lose seven times."""
    log = max(17, (len(new) + len(dictionary) - 1).bit_length())
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=min(log, MAX_WINDOW_BYTES.bit_length() - 1), hash_log=log, chain_log=log,
        write_content_size=False, write_checksum=False, write_dict_id=False,
    )  # fmt: skip
    raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=raw).compress(new)


def _write_ranges(ranges: Sequence[tuple[int, int]], out: bytearray) -> None:
    write_varint(len(ranges), out)
    end = 0
    for offset, length in ranges:
        write_varint(zigzag(offset - end), out)
        write_varint(length, out)
        end = offset + length


def _read_ranges(unit: memoryview, base_size: int) -> tuple[list[tuple[int, int]], int]:
    """Return the base ranges that a unit names and where its frame starts; every bound is checked before anything is read."""
    if not len(unit) or unit[0] != ZSTD_RANGES:
        raise ContentError(f"delta unit: wanted method {ZSTD_RANGES}, got {bytes(unit[:1]).hex() or 'nothing'}")
    count, at = read_varint(unit, 1)
    if not 0 < count <= MAX_RANGES:
        raise ContentError(f"delta unit: {count} ranges, wanted 1 to {MAX_RANGES}")
    ranges, end, total = [], 0, 0
    for _ in range(count):
        jump, at = read_varint(unit, at)
        length, at = read_varint(unit, at)
        offset = end + unzigzag(jump)
        end, total = offset + length, total + length
        if offset < 0 or not length or end > base_size or total > MAX_DICTIONARY_BYTES:
            raise ContentError(f"delta unit: range {offset}+{length} of a base of {base_size} bytes, {total} bytes in all")
        ranges.append((offset, length))
    return ranges, at
