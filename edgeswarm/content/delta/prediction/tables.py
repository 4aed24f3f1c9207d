"""References in data: addresses, jump tables, and tables of entries of one size. Pure Python: these are simple.

Nothing and all ones are values that mean nothing, in every table.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Literal

from .areas import EMPTY, Column, DataClass, DataField
from .code import Bounds, References
from .values import width_of

_SIGN = 1 << 31
_ALL_ONES = {DataField.ABSOLUTE: (1 << 64) - 1, DataField.OFFSET: (1 << 32) - 1, DataField.INDEX: (1 << 32) - 1}
_LEAST_POINTER = 4096
"""Below are small numbers, not addresses. Source: the page at 0 is never mapped."""


def pointers(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> References:
    """Return what looks like addresses, aligned to eight bytes, and like entries of jump tables, aligned to four.

    An entry is the distance of a label from the table's beginning. That is not known here; the entry's own address is near enough,
    since most of what is near to a label moved with it.

    Args:
        data: The window, and what stands before and behind it up to the next address that eight divides: half of an address is no
            entry of a table.
        address: Of the first byte.
        first: Where in `data` the window begins: fields are found that lie in it.
        stop: Where it ends.
        bounds: What there is to refer to.
    """
    begin = -address % 8
    low, high = max(bounds.low, _LEAST_POINTER), bounds.high
    found = {begin + 8 * number: word for number, word in enumerate(_words("Q", data, begin)) if low <= word < high}
    rows = [(place, word, DataField.ABSOLUTE, 0, DataClass.POINTER) for place, word in found.items() if first <= place <= stop - 8]
    begin = -address % 4
    low, high = bounds.code_low - address, bounds.code_high - address
    for place, word in enumerate(_words("i", data, begin)):
        at = begin + 4 * place
        if low <= word + at < high and (word < -_LEAST_POINTER or word > _LEAST_POINTER) and first <= at <= stop - 4:
            eighth = at - (address + at) % 8
            if eighth not in found:
                rows.append((at, address + at + word, DataField.RELATIVE, 0, DataClass.JUMP_TABLE))
    rows.sort()
    return References(*zip(*rows, strict=True)) if rows else EMPTY


def _words(code: Literal["Q", "i"], data: bytes, begin: int) -> Sequence[int]:
    size = 8 if code == "Q" else 4
    words = array(code, data[begin : len(data) - (len(data) - begin) % size] if begin < len(data) else b"")
    if sys.byteorder == "big":
        words.byteswap()
    return words


def table(data: bytes, phase: int, entry: int, columns: Sequence[Column], bounds: Bounds) -> References:
    """Return the values in a table.

    Args:
        data: Bytes of the table.
        phase: Where in its entry `data` begins.
        entry: Bytes of an entry.
        columns: Ascending by place, apart from each other, within the entry.
        bounds: What a value may refer to.
    """
    rows: list[tuple[int, int, int, int, int]] = []
    for number, column in enumerate(columns):
        width = width_of(column.field)
        for at in range((column.place - phase) % entry, len(data) - width + 1, entry):
            target = target_of(int.from_bytes(data[at : at + width], "little"), column, bounds)
            if target is not None:
                rows.append((at, target, column.field, column.new, number))
    rows.sort()
    return References(*zip(*rows, strict=True)) if rows else EMPTY


def target_of(value: int, column: Column, bounds: Bounds) -> int | None:
    """Return the old address that a value means; None if it means none."""
    if value in (0, _ALL_ONES[column.field]):
        return None
    if column.field == DataField.OFFSET:
        value = (value ^ _SIGN) - _SIGN
    target = column.old + (4 * value if column.field == DataField.INDEX else value)
    return target if bounds.low <= target < bounds.high else None
