"""The bytes of a unit of method 3: a head, and five streams that are compressed apart. Bytes: docs/reference/formats.md.

A unit copies runs of the base (covers), in the order of the output, with literals before, between and behind them. The copied
bytes, joined, differ from the output in places; each run of up to four bytes that differ is one correction: how far it starts
behind the start of the last one, and the difference of both runs read as little-endian numbers, so that an address that moved is
one number however its bytes carried. Gaps and differences are two streams, or one of records, where that is smaller.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from ....errors import ContentError
from ...codec import compress, decompress
from ...varint import read_varint, write_varint

METHOD = 3
RUN_BYTES = 4
"""Most bytes of a correction: a 32-bit field of machine code. Longer runs of differences are several corrections."""
MAX_COVERS = 32_768
MAX_CORRECTIONS = 1 << 20
"""Of one unit: bound what a malicious one costs in time and memory; a unit of 64 KiB has a tenth of it."""
_STORED, _ZSTD, _LZMA = 0, 1, 2  # from 2 on: lc + 5 lp + 25 pb, LZMA's properties
_PROPERTIES = 5 * 5 * 5
_LEAST_DICTIONARY = 4096  # LZMA's own least
_ZSTD_LEVEL, _FAST_LEVEL = 19, 3


class Stream(IntEnum):
    """The streams of a unit, in their order. With `RECORDS` there are neither `GAPS` nor `VALUES`."""

    CONTROL = 0
    GAPS = 1
    VALUES = 2
    RECORDS = 3
    LITERALS = 4


# (lc, lp, pb) that are tried: of numbers, of records of four and eight bytes, of bytes. [Measured: more of them save under 0.5 %.]
_TRIED = {
    Stream.CONTROL: ((3, 0, 0),),
    Stream.GAPS: ((3, 0, 0),),
    Stream.VALUES: ((0, 2, 2),),
    Stream.RECORDS: ((0, 3, 3),),
    Stream.LITERALS: ((3, 0, 2), (4, 0, 0)),
}
_PRESET = 9
_EXTREME = frozenset(Stream) - {Stream.LITERALS}  # [there it takes as long, and makes them 0.1 % larger]
_SMALL_BYTES = 4096
"""Streams below are tried with zstd, too, which has less overhead. [Larger ones are 5 to 20 % smaller with LZMA.]"""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit with its streams expanded.

    Attributes:
        start: Where in the base the first cover is expected.
        streams: In the order of `Stream`.
    """

    start: int
    streams: tuple[bytes, ...]


def pack_unit(unit: Unit, method: int = METHOD, *, fast: bool = False) -> bytes:
    """Return the bytes of a unit, each stream as small as it gets; of corrections given both ways, those that are smaller.

    Args:
        unit: What it holds.
        method: The method byte: this one, or one that has its covers from elsewhere, and no control.
        fast: Compress in a tenth of the time, to about a fifth more.
    """
    streams = dict(zip(Stream, unit.streams, strict=True))
    coded = {which: _smallest(which, plain, fast=fast) for which, plain in streams.items()}
    sizes = {which: len(body) for which, (_, body) in coded.items()}
    if streams[Stream.GAPS] and streams[Stream.RECORDS]:
        is_joint = sizes[Stream.RECORDS] < sizes[Stream.GAPS] + sizes[Stream.VALUES]
        for which in (Stream.GAPS, Stream.VALUES) if is_joint else (Stream.RECORDS,):
            streams[which], coded[which] = b"", (_STORED, b"")
    out = bytearray([method])
    write_varint(unit.start, out)
    for which, (coding, body) in coded.items():
        out.append(coding)
        write_varint(len(streams[which]), out)
        if coding != _STORED:
            write_varint(len(body), out)
    return bytes(out) + b"".join(body for _, body in coded.values())


def _smallest(which: Stream, plain: bytes, *, fast: bool) -> tuple[int, bytes]:
    if fast:
        return min([(_STORED, plain), (_ZSTD, compress(plain, _FAST_LEVEL))], key=lambda coded: len(coded[1]))
    return pack_stream(plain, _TRIED[which], _PRESET | (lzma.PRESET_EXTREME if which in _EXTREME else 0))


def pack_stream(
    plain: bytes, tried: Iterable[tuple[int, int, int]] = ((3, 0, 0),), preset: int = _PRESET | lzma.PRESET_EXTREME
) -> tuple[int, bytes]:
    """Return the coding of a stream that makes it smallest, and its bytes.

    Args:
        plain: The stream.
        tried: LZMA's (lc, lp, pb) to try.
        preset: LZMA's.
    """
    best = (_STORED, plain)
    if not plain:
        return best
    coded = [(_ZSTD, compress(plain, _ZSTD_LEVEL))] if len(plain) < _SMALL_BYTES else []
    for lc, lp, pb in tried:
        filters = [_filter(len(plain), lc, lp, pb) | {"preset": preset}]
        coded.append((_LZMA + lc + 5 * lp + 25 * pb, lzma.compress(plain, lzma.FORMAT_RAW, filters=filters)))
    return min([best, *coded], key=lambda one: len(one[1]))


def _filter(size: int, lc: int, lp: int, pb: int) -> dict[str, int]:
    return {"id": lzma.FILTER_LZMA1, "dict_size": max(_LEAST_DICTIONARY, size), "lc": lc, "lp": lp, "pb": pb}


def unpack_unit(data: memoryview, size: int, method: int = METHOD) -> Unit:
    """Check and expand a unit; every length is checked before anything is allocated.

    Args:
        data: With its method byte.
        size: Bytes of output, as the manifest says.
        method: The method byte that it must have.

    Raises:
        ContentError: Malformed, or a stream is longer than any that makes `size` bytes.
    """
    if not len(data) or data[0] != method:
        raise ContentError(f"delta unit: wanted method {method}, got {bytes(data[:1]).hex() or 'nothing'}")
    start, at = read_varint(data, 1)
    heads = []
    for which in Stream:
        if at >= len(data):
            raise ContentError("delta unit: cut off in its head")
        coding = data[at]
        plain, at = read_varint(data, at + 1)
        coded, at = (plain, at) if coding == _STORED else read_varint(data, at)
        if plain > _most_bytes(which, size):
            raise ContentError(f"delta unit: {plain} bytes of {which.name.lower()} for {size} bytes of output")
        heads.append((coding, plain, coded))
    if at + sum(coded for _, _, coded in heads) != len(data):
        raise ContentError(f"delta unit: {len(data)} bytes, its streams end elsewhere")
    streams = []
    for coding, plain, coded in heads:
        streams.append(unpack_stream(coding, data[at : at + coded], plain))
        at += coded
    return Unit(start, tuple(streams))


def _most_bytes(which: Stream, size: int) -> int:
    """Return the most bytes of a stream of a unit that makes `size` bytes."""
    covers, corrections = min(size, MAX_COVERS), min(size, MAX_CORRECTIONS)
    return {
        Stream.CONTROL: 30 * covers, Stream.GAPS: 5 * corrections, Stream.VALUES: 4 * corrections,
        Stream.RECORDS: 8 * corrections, Stream.LITERALS: size,
    }[which]  # fmt: skip


def unpack_stream(coding: int, body: memoryview, size: int) -> bytes:
    """Return exactly `size` bytes of a stream; `ContentError` if it makes anything else."""
    if coding == _STORED:
        if len(body) != size:
            raise ContentError(f"delta unit: a stream of {len(body)} bytes, wanted {size}")
        return bytes(body)
    if coding == _ZSTD:
        return decompress(body, size)
    lc, lp, pb = (coding - _LZMA) % 5, (coding - _LZMA) // 5 % 5, (coding - _LZMA) // 25
    if coding - _LZMA >= _PROPERTIES or lc + lp > 4:
        raise ContentError(f"delta unit: coding {coding} of a stream is not known here")
    try:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_filter(size, lc, lp, pb)])
        plain = decompressor.decompress(body, size)
        rest = b"" if decompressor.eof else decompressor.decompress(b"", 1)
    except (lzma.LZMAError, EOFError) as error:
        raise ContentError(f"delta unit: a stream is no LZMA: {error}") from error
    if len(plain) != size or rest or not decompressor.eof or decompressor.unused_data:
        raise ContentError(f"delta unit: a stream makes {len(plain)} or more bytes, wanted exactly {size}")
    return plain
