"""Content-defined chunking: FastCDC 2020 with frozen parameters.

The algorithm is part of the format: two publishers that cut differently would share no chunks, and libraries of the same name do
cut differently. `pyfastcdc` is the fast backend [1.98 GB/s]; the pure twin below [8 MB/s] says what is right, and both are held to
the vectors in `tests/vectors/chunking.json`.

Source: Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage Systems", IEEE TPDS 31(9),
2020; masks and normalisation level 1 as published by its authors for 64 KiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache

MIN_CHUNK_BYTES = 16 * 1024
AVERAGE_CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 256 * 1024

CHUNKING = "fastcdc2020-16-64-256"
"""Name of algorithm and parameters, as it stands in every manifest."""

# Harder mask before the average size, easier one behind it (the paper's table for 128 KiB and 32 KiB: one step of normalisation).
_MASK_BEFORE = 0x0000D90703537000
_MASK_BEHIND = 0x0000D90F03530000
_U64 = (1 << 64) - 1

# Feeding the cutter this much at a time keeps the tail that is cut again below 4 % of the work.
_WINDOW_BYTES = 8 * 1024 * 1024

Cutter = Callable[[memoryview], int]
"""Return the length of the first chunk of a buffer that holds at least MAX_CHUNK_BYTES, or all that is left."""


@cache
def gear() -> tuple[int, ...]:
    """Return the 256 gear values: the first 8 bytes of MD5 over 64 copies of the byte, big-endian (the authors' table)."""
    rows = (hashlib.md5(bytes([byte]) * 64, usedforsecurity=False).digest() for byte in range(256))
    return tuple(int.from_bytes(row[:8], "big") for row in rows)


def first_cut(data: memoryview) -> int:
    """Return the length of the first chunk of `data`: the definition, in plain Python."""
    size = min(len(data), MAX_CHUNK_BYTES)
    if size <= MIN_CHUNK_BYTES:
        return size
    table, value, end = gear(), 0, size // 2 * 2
    middle = min(AVERAGE_CHUNK_BYTES, end)
    for start, stop, mask in ((MIN_CHUNK_BYTES, middle, _MASK_BEFORE), (middle, end, _MASK_BEHIND)):
        for position in range(start, stop):
            value = ((value << 1) + table[data[position]]) & _U64
            if not value & mask:
                return position
    return size


def _lengths_pure(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        length = first_cut(data[at:])
        yield length
        at += length


def _lengths_fast(data: memoryview) -> Iterator[int]:
    from pyfastcdc import FastCDC

    cutter = FastCDC(avg_size=AVERAGE_CHUNK_BYTES, min_size=MIN_CHUNK_BYTES, max_size=MAX_CHUNK_BYTES)
    for chunk in cutter.cut_buf(data):
        yield chunk.length


@cache
def _backend() -> Callable[[memoryview], Iterator[int]]:
    """Return the fast backend if it is installed and cuts a probe as the definition does."""
    try:
        import pyfastcdc  # noqa: F401  # only asked whether it is there
    except ImportError:
        return _lengths_pure
    probe = memoryview(b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(12288)))
    return _lengths_fast if list(_lengths_fast(probe)) == list(_lengths_pure(probe)) else _lengths_pure


def chunk_lengths(data: bytes | memoryview, *, pure: bool = False) -> list[int]:
    """Cut one whole run of bytes.

    Args:
        data: The run; any length, empty gives no chunks.
        pure: Use the plain Python definition, whatever is installed.

    Returns:
        Lengths in bytes, in order; they sum up to `len(data)`.
    """
    return list((_lengths_pure if pure else _backend())(memoryview(data)))


def cut_run(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut one run of bytes that arrives in blocks of any size into chunks, in bounded memory.

    The cuts are those of `chunk_lengths` over the joined blocks. A run is what lies between two boundaries that the publisher sets
    (`tree.runs`): no chunk crosses its end.
    """
    buffer = bytearray()
    for block in blocks:
        buffer += block
        if len(buffer) >= _WINDOW_BYTES:
            yield from _drain(buffer, keep=MAX_CHUNK_BYTES)
    yield from _drain(buffer, keep=0)


def _drain(buffer: bytearray, keep: int) -> Iterator[bytes]:
    """Cut off chunks from the front while `keep` bytes or more are left to look at: later bytes cannot move such a cut."""
    data = bytes(buffer)
    at = 0
    for length in _backend()(memoryview(data)):
        if len(data) - at < keep:
            break
        yield data[at : at + length]
        at += length
    del buffer[:at]
