"""Areas of an executable file: what lies where, and how values in it follow from addresses.

All rules look at old bytes only, so that a receiver finds what the publisher found. A rule that finds too much costs little: the
publisher measures each and switches off those that do not help.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from ....errors import ContentError
from .code import References

_GO_COLUMNS = 6
MAX_AREAS = 64
"""Of one file. A guess: linked programs have about 30 sections."""
EMPTY = References((), (), (), (), ())


class AreaKind(IntEnum):
    """What lies in an area.

    Attributes:
        X86_64: Machine code.
        AARCH64: Machine code.
        POINTERS: Data, with addresses of eight bytes and jump tables in it.
        TABLE: Entries of one size, with columns of values.
        EH_FRAME: What unwinding needs, `.eh_frame`.
        GO_FUNCTIONS: Go's table of functions with what is known of each, the end of `.gopclntab`.
    """

    X86_64 = 0
    AARCH64 = 1
    POINTERS = 2
    TABLE = 3
    EH_FRAME = 4
    GO_FUNCTIONS = 5


CODE_KINDS = frozenset({AreaKind.X86_64, AreaKind.AARCH64})
WALKED_KINDS = frozenset({AreaKind.EH_FRAME, AreaKind.GO_FUNCTIONS})
"""Where references stand follows from what is before them: such an area is walked through as a whole."""


class DataField(IntEnum):
    """Fields outside of machine code; further to `code.Field`. Little-endian.

    Attributes:
        ABSOLUTE: Eight bytes: target - extra.
        RELATIVE: Four bytes: target - address of the field.
        BACKWARDS: Four bytes: address of the field - target.
        OFFSET: Four bytes: target - extra.
        INDEX: Four bytes: (target - extra) / 4.
    """

    ABSOLUTE = 16
    RELATIVE = 17
    BACKWARDS = 18
    OFFSET = 19
    INDEX = 20


class DataClass(IntEnum):
    """Rules in areas without columns, further to `code.Class`; with columns it is the number of the column."""

    POINTER = 16
    JUMP_TABLE = 17
    FRAME_START = 18
    FRAME_CIE = 19


class Column(NamedTuple):
    """Values that stand in a table.

    Attributes:
        field: `DataField`: ABSOLUTE, OFFSET or INDEX.
        place: Where in an entry of a `TABLE`; else 0.
        old: Old address that values count from.
        new: The new one.
    """

    field: DataField
    place: int
    old: int
    new: int


class Area(NamedTuple):
    """Consecutive bytes of the base's stream.

    Attributes:
        kind: What lies there.
        classes: Bit mask of the rules or columns that are used.
        offset: Where in the base's stream.
        size: Bytes.
        entry: Bytes of an entry of a `TABLE`; functions in `GO_FUNCTIONS`; else 0.
        columns: Of `TABLE` and `GO_FUNCTIONS`.
    """

    kind: AreaKind
    classes: int
    offset: int
    size: int
    entry: int = 0
    columns: tuple[Column, ...] = ()


def check_area(area: Area, base_size: int) -> None:
    """Raise `ContentError` if an area is empty, does not lie in the base, or if its columns are not of its kind."""
    if not 0 <= area.offset < area.offset + area.size <= base_size:
        raise ContentError(f"map: an area at {area.offset}+{area.size} of a base of {base_size} bytes")
    if area.kind is AreaKind.TABLE:
        ends = [0, *(column.place + (8 if column.field is DataField.ABSOLUTE else 4) for column in area.columns)]
        begins = [*(column.place for column in area.columns), area.entry]
        if any(begin < end for begin, end in zip(begins, ends, strict=True)) or not area.entry:
            raise ContentError(f"map: columns {area.columns} of entries of {area.entry} bytes")
    elif len(area.columns) != (_GO_COLUMNS if area.kind is AreaKind.GO_FUNCTIONS else 0):
        raise ContentError(f"map: {len(area.columns)} columns in an area of kind {area.kind.name}")
    elif any(column.field is DataField.ABSOLUTE or column.place for column in area.columns):
        raise ContentError(f"map: columns {area.columns} of fields of four bytes")  # longer ones would overlap
    elif area.entry and area.kind is not AreaKind.GO_FUNCTIONS:
        raise ContentError(f"map: entries of {area.entry} bytes in an area of kind {area.kind.name}")
