"""What a reference in machine code is: where its field stands, what it refers to, and how the one follows from the other.

Publisher and receivers find references in the same old bytes, and must find the same ones for ever: the rules of each finder are a
part of the format. Addresses are plain integers of 0 to 2**64, sums of them are not reduced: one that leaves this range is outside
of all bounds, so that it is no reference.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from .....errors import ContentError, LocalProtocolError

ADDRESS_SPACE = 1 << 64
"""One beyond the last address."""


if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _I64 = npt.NDArray[np.int64]
    _U8 = npt.NDArray[np.uint8]
    _Bools = npt.NDArray[np.bool_]

_FAR = 1 << 62
"""Farther than any offset of a target from the start of the code."""


class Field(IntEnum):
    """What the field of a reference is, and how its value follows from the target. All are little-endian, and signed but LO12.

    Attributes:
        REL32: Four bytes at any place: target - (address of the field + extra).
        B26: Bits 25:0 of an A64 word: (target - address) / 4. B, BL.
        B19: Bits 23:5 of an A64 word: (target - address) / 4. B.cond, CBZ, CBNZ, LDR literal.
        B14: Bits 18:5 of an A64 word: (target - address) / 4. TBZ, TBNZ.
        ADR: Bits 23:5 and, below them, 30:29 of an A64 word: target - address.
        ADRP: In the same bits: page of the target - page of the address, in pages of 4096 bytes.
        LO12: Bits 21:10 of an A64 word: (target & 0xFFF) >> extra. ADD immediate, LDR and STR unsigned offset.
    """

    REL32 = 0
    B26 = 1
    B19 = 2
    B14 = 3
    ADR = 4
    ADRP = 5
    LO12 = 6


class Class(IntEnum):
    """Which rule found a reference: a publisher switches each on or off. `CALL` to `RIP` are x86-64, the others aarch64."""

    CALL = 0
    JUMP = 1
    RIP = 2
    BL = 3
    B = 4
    BCOND = 5
    TB = 6
    ADR = 7
    LDR_LITERAL = 8
    ADRP = 9
    LO12 = 10


class References(NamedTuple):
    """References as columns of one length, ascending by place; no two fields overlap.

    The columns of a finder are arrays and bytes: they compare with `==`, and numpy takes them as they are (`np.frombuffer`).

    Attributes:
        places: Where each field starts in the data; `array("q")`.
        targets: The old address that it refers to; `array("Q")`.
        fields: Its `Field`; bytes.
        extras: Of REL32, bytes from the start of its field to the end of its instruction; of LO12, the scale in bits; bytes.
        classes: Its `Class`; bytes.
    """

    places: Sequence[int]
    targets: Sequence[int]
    fields: Sequence[int]
    extras: Sequence[int]
    classes: Sequence[int]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The addresses of an old file that a reference can refer to; either range may be empty.

    Attributes:
        low: The first address of all that is loaded.
        high: One beyond the last of them.
        code_low: The first address of what is executable.
        code_high: One beyond the last of them.

    Raises:
        ContentError: A range ends before it begins, or leaves the address space.
    """

    low: int
    high: int
    code_low: int
    code_high: int

    def __post_init__(self) -> None:
        for name, low, high in (("loaded", self.low, self.high), ("executable", self.code_low, self.code_high)):
            if not 0 <= low <= high <= ADDRESS_SPACE:
                raise ContentError(f"{name} addresses {low:#x} to {high:#x}: wanted an ascending range of 64 bits")


def check_window(data: bytes, address: int, first: int, stop: int) -> None:
    """Check what a finder is asked for.

    Raises:
        ContentError: The data do not fit into the address space.
        LocalProtocolError: The window is not within the data.
    """
    if not 0 <= address <= ADDRESS_SPACE - len(data):
        raise ContentError(f"machine code: {len(data)} bytes at address {address:#x} leave the 64 bits of addresses")
    if not 0 <= first <= stop <= len(data):
        raise LocalProtocolError(f"references are wanted from {first} to {stop}, in {len(data)} bytes of machine code")


def as_references(rows: list[tuple[int, int, int]], kinds: Sequence[tuple[Field, int, Class]]) -> References:
    """Return references as columns.

    Args:
        rows: Place, target, and index of `kinds`, ascending by place.
        kinds: Field, extra and class.
    """
    places, targets, which = zip(*rows, strict=True) if rows else ((), (), ())
    return References(array("q", places), array("Q", targets), *_by_kind(bytes(which), kinds))


def columns_as_references(
    places: _I64, address: int, offsets: _I64, which: _U8, kinds: Sequence[tuple[Field, int, Class]]
) -> References:
    """Return the same from columns of numpy.

    Args:
        places: Ascending.
        address: What the offsets are from.
        offsets: Of the targets.
        which: Index of `kinds`.
        kinds: Field, extra and class.
    """
    import numpy as np

    targets = offsets.astype(np.uint64) + np.uint64(address)  # wraps at 2**64, as it must for an offset below 0
    return References(
        array("q", places.astype(np.int64).tobytes()),
        array("Q", targets.tobytes()),
        *_by_kind(which.astype(np.uint8).tobytes(), kinds),
    )


def _by_kind(which: bytes, kinds: Sequence[tuple[Field, int, Class]]) -> Iterator[bytes]:
    return (which.translate(bytes(column).ljust(256, b"\0")) for column in zip(*kinds, strict=True))


def within(offsets: _I64, address: int, low: int, high: int) -> _Bools:
    """Tell which offsets from an address are in [low, high)."""
    return (offsets >= _near(low - address)) & (offsets < _near(high - address))


def _near(offset: int) -> int:
    """Return an offset that compares with those of targets as the given one does, and fits into 64 bits."""
    return max(-_FAR, min(_FAR, offset))
