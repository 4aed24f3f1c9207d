"""Sets of chunk indices, in the shorter of two forms.

    BITMAP  one bit per index from 0 on, least significant first, zero bytes at the end left out
    RUNS    pairs of varints: indices skipped since the last run, indices in the run

[4096 chunks: 512 bytes of bitmap, or 3 bytes of runs when they are all there.] Both are canonical and bounded before anything is
allocated. In memory a set is `flags`, one byte per chunk as `ChunkStore.have` gives it (1 = in the set), or a list of indices.
Bytes on the wire: docs/reference/wire.md, "Sets of chunks".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import compress

from ..content.manifest import MAX_CHUNKS
from ..content.varint import write_varint
from ..errors import LocalProtocolError

MAX_SET_BYTES = 250 * 1024
"""Longest encoded set: what fits into a control frame beside the other fields; a bitmap of 2 million chunks, 130 GB."""

# Indices are below 2**26, so a varint of more than 4 bytes is a lie.
_MAX_SHIFT = 21
_TO_TEXT = bytes.maketrans(b"\x00\x01", b"01")
_FROM_TEXT = bytes.maketrans(b"01", b"\x00\x01")


class Form(IntEnum):
    """How a set is encoded."""

    BITMAP = 0
    RUNS = 1


def encode_flags(flags: bytes | bytearray) -> tuple[Form, bytes]:
    """Return the shorter encoding of a set.

    Args:
        flags: One byte per chunk, 0 or 1; shape (n_chunks,).

    Returns:
        The form and its bytes; RUNS if both are equally long.
    """
    last = flags.rfind(1) + 1
    runs = bytearray()
    end = 0
    for start, stop in _flag_runs(flags):
        write_varint(start - end, runs)
        write_varint(stop - start, runs)
        end = stop
        if len(runs) * 8 > last + 7:
            return Form.BITMAP, _pack_bits(flags[:last])
    return Form.RUNS, bytes(runs)


def encode_indices(indices: Iterable[int]) -> tuple[Form, bytes]:
    """Return the shorter encoding of a set given as indices in any order.

    Raises:
        LocalProtocolError: An index is negative or not below 2**26.
    """
    chosen = list(indices)
    if chosen and not 0 <= min(chosen) <= max(chosen) < MAX_CHUNKS:
        raise LocalProtocolError(f"chunk index: wanted 0 to {MAX_CHUNKS - 1}, got {min(chosen)} to {max(chosen)}")
    flags = bytearray(max(chosen, default=-1) + 1)
    for index in chosen:
        flags[index] = 1
    return encode_flags(flags)


def split_flags(flags: bytes | bytearray, most: int = MAX_SET_BYTES) -> list[tuple[Form, bytes]]:
    """Return encodings of at most `most` bytes each that add up to the set; one, but for sets of millions of scattered chunks."""
    form, data = encode_flags(flags)
    if len(data) <= most:
        return [(form, data)]
    parts, part, end = [], bytearray(), 0
    for start, stop in _flag_runs(flags):
        if len(part) + 8 > most:
            parts.append((Form.RUNS, bytes(part)))
            part, end = bytearray(), 0
        write_varint(start - end, part)
        write_varint(stop - start, part)
        end = stop
    return [*parts, (Form.RUNS, bytes(part))]


def count_indices(form: int, data: bytes, chunks: int) -> int:
    """Check an encoded set and return how many indices it has, without expanding it.

    Args:
        form: A `Form`.
        data: Its bytes.
        chunks: All indices must be below this.

    Raises:
        LocalProtocolError: Unknown form, not canonical, too long, or an index out of range.
    """
    if len(data) > MAX_SET_BYTES:
        raise LocalProtocolError(f"set of chunks: wanted at most {MAX_SET_BYTES} bytes, got {len(data)}")
    if form == Form.RUNS:
        return sum(stop - start for start, stop in _encoded_runs(data, chunks))
    if form != Form.BITMAP:
        raise LocalProtocolError(f"set of chunks: wanted form {Form.BITMAP} or {Form.RUNS}, got {form}")
    bits = int.from_bytes(data, "little")
    if bits.bit_length() > chunks or (data and data[-1] == 0):
        raise LocalProtocolError(f"bitmap of {len(data)} bytes: wanted bits below {chunks} and no zero byte at the end")
    return bits.bit_count()


def decode_flags(form: int, data: bytes, chunks: int) -> bytearray:
    """Return a set as flags, one byte per chunk; shape (chunks,).

    Allocates `chunks` bytes: take the number from the verified manifest, not from the peer.

    Raises:
        LocalProtocolError: As for `count_indices`.
    """
    count_indices(form, data, chunks)
    if form == Form.BITMAP:
        return bytearray(_unpack_bits(data)[:chunks].ljust(chunks, b"\x00"))
    flags = bytearray(chunks)
    for start, stop in _encoded_runs(data, chunks):
        flags[start:stop] = b"\x01" * (stop - start)
    return flags


def decode_indices(form: int, data: bytes, chunks: int, *, most: int) -> list[int]:
    """Return a set as indices in ascending order; memory is bounded by `most` and the length of `data`.

    Args:
        form: A `Form`.
        data: Its bytes.
        chunks: All indices must be below this.
        most: Largest number of indices that is accepted.

    Raises:
        LocalProtocolError: As for `count_indices`, or more than `most` indices.
    """
    count = count_indices(form, data, chunks)
    if count > most:
        raise LocalProtocolError(f"set of chunks: wanted at most {most} indices, got {count}")
    if form == Form.BITMAP:
        return list(compress(range(len(data) * 8), _unpack_bits(data)))
    return [index for start, stop in _encoded_runs(data, chunks) for index in range(start, stop)]


def _flag_runs(flags: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of ones."""
    start = flags.find(1)
    while start >= 0:
        stop = flags.find(0, start)
        stop = len(flags) if stop < 0 else stop
        yield start, stop
        start = flags.find(1, stop)


def _encoded_runs(data: bytes, chunks: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of a RUNS encoding."""
    numbers = _varints(data)
    end = 0
    for gap in numbers:
        length = next(numbers, 0)
        if length == 0 or (gap == 0 and end):
            raise LocalProtocolError("runs of chunks: wanted pairs of a gap and a length, both above 0 but for the first gap")
        start, end = end + gap, end + gap + length
        if end > chunks:
            raise LocalProtocolError(f"runs of chunks: wanted indices below {chunks}, got {end - 1}")
        yield start, end


def _varints(data: bytes) -> Iterator[int]:
    """Yield the numbers; written out here because a call per number makes a hostile set ten times as dear."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        if byte >= 0x80:
            shift += 7
        elif byte == 0 and shift:
            break
        else:
            yield value
            value = shift = 0
        if shift > _MAX_SHIFT:
            break
    if shift:
        raise LocalProtocolError("runs of chunks: a varint is cut off, padded or longer than 4 bytes")


# Python turns text of base 2 into a number and back in linear time, which makes it the fastest packer of bits without numpy.
def _pack_bits(flags: bytes | bytearray) -> bytes:
    """Return one bit per flag, least significant first; `flags` ends with a 1."""
    return int(flags[::-1].translate(_TO_TEXT), 2).to_bytes((len(flags) + 7) // 8, "little")


def _unpack_bits(data: bytes) -> bytes:
    """Return one byte per bit."""
    text = f"{int.from_bytes(data, 'little'):0{len(data) * 8}b}" if data else ""
    return text.encode()[::-1].translate(_FROM_TEXT)
