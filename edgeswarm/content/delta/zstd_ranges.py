"""The first delta codec: zstd with ranges of the base as a raw dictionary.

A unit names 1 to 512 ranges of the base, 8 MiB at most; joined, they are the dictionary of one zstd frame. The publisher chooses
the ranges by content: it samples positions of the base whose 16-byte hash falls on a grid, and gives a grain of 64 KiB one vote for
every sampled hash that the new bytes share with it.

Bytes: docs/reference/formats.md, "Delta unit, method 2". Figures: docs/explanation/delta.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import zstandard

from ...errors import ContentError
from ..codec import DEFAULT_LEVEL, MAX_WINDOW_BYTES, ZSTD_RANGES, decompress, encode_piece
from ..varint import read_varint, unzigzag, write_varint, zigzag
from .port import ReadBase

if TYPE_CHECKING:
    from .sampling import SampledBase

MAX_RANGES = 512
MAX_DICTIONARY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ZstdRanges:
    """The codec and what a publisher may set.

    Attributes:
        level: zstd level, 1 to 22. 12 takes a fiftieth of 19's time for 11 % more bytes (docs/explanation/delta.md).
        dictionary_bytes: Most bytes of base ranges a unit; a receiver needs about three times as much memory to decode it.
    """

    level: int = DEFAULT_LEVEL
    dictionary_bytes: int = 4 * 1024 * 1024
    method: int = ZSTD_RANGES

    def encoder(self, read_base: ReadBase, base_size: int) -> _Encoder:
        """Return an encoder; samples the whole base once (needs numpy)."""
        from .sampling import SampledBase

        return _Encoder(self, read_base, SampledBase(read_base, base_size))

    def decode(self, unit: memoryview, read_base: ReadBase, base_size: int, size: int) -> bytes:
        """Return exactly `size` bytes; see `DeltaCodec.decode`."""
        ranges, at = _read_ranges(unit, base_size)
        dictionary = b"".join(read_base(offset, length) for offset, length in ranges)
        raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        del dictionary
        return decompress(unit[at:], size, raw)


class _Encoder:
    def __init__(self, codec: ZstdRanges, read_base: ReadBase, base: SampledBase) -> None:
        self._codec = codec
        self._read = read_base
        self._base = base

    def encode(self, new: bytes) -> bytes:
        plain = partial(encode_piece, new, self._codec.level)
        ranges = self._base.ranges_like(new, min(self._codec.dictionary_bytes, MAX_DICTIONARY_BYTES))
        if not ranges:
            return plain()
        dictionary = b"".join(self._read(offset, length) for offset, length in ranges)
        unit = bytearray([ZSTD_RANGES])
        _write_ranges(ranges, unit)
        unit += _compress_with(new, dictionary, self._codec.level)
        # A unit close to the plain size may be beaten by a plain piece, which needs no base to decode.
        return bytes(unit) if len(unit) * 2 < len(new) else min(bytes(unit), plain(), key=len)


def _compress_with(new: bytes, dictionary: bytes, level: int) -> bytes:
    """Compress with tables sized for the dictionary: at low levels the defaults, made for `new` alone, lose seven times."""
    log = max(17, (len(new) + len(dictionary) - 1).bit_length())
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, window_log=min(log, MAX_WINDOW_BYTES.bit_length() - 1), hash_log=log, chain_log=log,
        write_content_size=False, write_checksum=False, write_dict_id=False,
    )  # fmt: skip
    raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=raw).compress(new)


def _write_ranges(ranges: list[tuple[int, int]], out: bytearray) -> None:
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
