"""What a reference will be in the new file: the value of its field, from its new target and its new address.

Two ways that give the same: number by number, and with numpy all at once. Addresses are Python integers or int64; fields take of a
value as many bits as they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .areas import DataField
from .code import Field

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

# Plain numbers: comparing members of enumerations takes half of the time of it all.
REL32, ADR, ADRP, LO12 = int(Field.REL32), int(Field.ADR), int(Field.ADRP), int(Field.LO12)
ABSOLUTE, RELATIVE, BACKWARDS, OFFSET, INDEX = (int(field) for field in DataField)

_MASK32 = 0xFFFFFFFF
_PAGE = 0xFFF
# Bits of an instruction word that are the field, and how far up they begin. The value is shifted down by two bits first.
_BITS = {int(Field.B26): (0x03FFFFFF, 0), int(Field.B19): (0x00FFFFE0, 5), int(Field.B14): (0x0007FFE0, 5)}
_ADR_BITS = 0x60FFFFE0
_LO12_BITS = 0x003FFC00


def width_of(field: int) -> int:
    """Return the bytes of a field."""
    return 8 if field == ABSOLUTE else 4


def new_value(field: int, extra: int, target: int, address: int, word: int) -> int:
    """Return the bytes of a field as a number.

    Args:
        field: `Field` or `DataField`.
        extra: What the field needs further.
        target: New address that it refers to.
        address: Its own new address.
        word: The old instruction word.
    """
    if field == REL32:
        return target - address - extra & _MASK32
    if field in _BITS:
        bits, up = _BITS[field]
        return (word & ~bits) | ((target - address >> 2) << up & bits)
    if field == LO12:
        return (word & ~_LO12_BITS) | (((target & _PAGE) >> extra) << 10 & _LO12_BITS)
    if field in (ADR, ADRP):
        value = (target >> 12) - (address >> 12) if field == ADRP else target - address
        return (word & ~_ADR_BITS) | ((value >> 2 & 0x7FFFF) << 5) | ((value & 3) << 29)
    if field == ABSOLUTE:
        return target - extra & 0xFFFFFFFFFFFFFFFF
    if field == RELATIVE:
        return target - address & _MASK32
    if field == BACKWARDS:
        return address - target & _MASK32
    return (target - extra >> 2 if field == INDEX else target - extra) & _MASK32


def new_values(field: int, extras: Numbers, targets: Numbers, addresses: Numbers, words: Numbers) -> Numbers:
    """Return the same for many references with the same kind of field."""
    if field == REL32:
        return (targets - addresses - extras) & _MASK32
    if field in _BITS:
        bits, up = _BITS[field]
        return (words & ~bits) | ((targets - addresses >> 2) << up & bits)
    if field == LO12:
        return (words & ~_LO12_BITS) | (((targets & _PAGE) >> extras) << 10 & _LO12_BITS)
    if field in (ADR, ADRP):
        values = (targets >> 12) - (addresses >> 12) if field == ADRP else targets - addresses
        return (words & ~_ADR_BITS) | ((values >> 2 & 0x7FFFF) << 5) | ((values & 3) << 29)
    if field == ABSOLUTE:
        return targets - extras
    if field == RELATIVE:
        return (targets - addresses) & _MASK32
    if field == BACKWARDS:
        return (addresses - targets) & _MASK32
    return ((targets - extras >> 2) if field == INDEX else targets - extras) & _MASK32


def gather(data: npt.NDArray[np.uint8], places: Numbers, width: int) -> Numbers:
    """Return little-endian fields, unsigned; those of eight bytes bit for bit."""
    import numpy as np

    values = np.zeros(len(places), np.uint64)
    for byte in range(width):
        values |= data[places + byte].astype(np.uint64) << np.uint64(8 * byte)
    return values.view(np.int64)


def scatter(data: npt.NDArray[np.uint8], places: Numbers, width: int, values: Numbers) -> None:
    """Write little-endian fields."""
    import numpy as np

    bits = values.astype(np.int64).view(np.uint64)
    for byte in range(width):
        data[places + byte] = (bits >> np.uint64(8 * byte)).astype(np.uint8)
