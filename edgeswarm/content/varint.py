"""Unsigned LEB128 and zigzag, as used by the formats of this package.

Source: DWARF 5, section 7.6; zigzag as in Protocol Buffers' encoding. Encodings are canonical: a padded number is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ContentError

_MAX_BYTES = 10  # 64 bits, 7 a byte
_LAST_SHIFT = 7 * (_MAX_BYTES - 1)


def write_varint(value: int, out: bytearray) -> None:
    """Append an unsigned number below 2**64 to `out`."""
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def pack_varints(values: Iterable[int]) -> bytes:
    """Return the numbers one after another."""
    out = bytearray()
    for value in values:
        write_varint(value, out)
    return bytes(out)


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return the number that starts at `at` and the position behind it.

    Raises:
        ContentError: The data ends inside the number, or it is padded or above 64 bits.
    """
    value = shift = 0
    for position in range(at, min(len(data), at + _MAX_BYTES)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if (byte == 0 and shift) or value >> 64:
                break
            return value, position + 1
        shift += 7
    raise ContentError(f"varint at byte {at}: cut off, padded or above 64 bits")


def unpack_varints(data: bytes | memoryview, count: int) -> list[int]:
    """Return exactly `count` numbers that fill `data`.

    Raises:
        ContentError: There are fewer or more, or one is malformed.
    """
    values, at = [], 0
    for _ in range(count):
        value, at = read_varint(data, at)
        values.append(value)
    if at != len(data):
        raise ContentError(f"column of {count} numbers: {len(data) - at} bytes too many")
    return values


def all_varints(data: bytes) -> list[int]:
    """Return all the numbers that fill `data`, in one pass: for long columns.

    Raises:
        ContentError: The data ends inside a number, or one is padded or above 64 bits.
    """
    values: list[int] = []
    value = shift = 0
    for byte in data:
        if byte < 0x80:
            if (shift and not byte) or (shift == _LAST_SHIFT and byte > 1):
                raise ContentError("varints: a number that is padded or has more than 64 bits")
            values.append(value | byte << shift)
            value = shift = 0
        else:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > _LAST_SHIFT:
                raise ContentError("varints: a number of more than 64 bits")
    if shift:
        raise ContentError("varints: cut off in a number")
    return values


def zigzag(value: int) -> int:
    """Map a signed number to an unsigned one, small magnitudes to small numbers."""
    return value * 2 if value >= 0 else -value * 2 - 1


def unzigzag(value: int) -> int:
    """Undo `zigzag`."""
    return value >> 1 if not value & 1 else -((value + 1) >> 1)
