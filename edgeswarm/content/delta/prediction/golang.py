"""Go's table of functions: where it is, and what its columns count from. Publisher only.

Source: Go, src/runtime/symtab.go, `pcHeader` and `moduledata`; src/debug/gosym/pclntab.go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..port import ReadBase
from .areas import Area, AreaKind, Column, DataField
from .walked import GO_UNIT

if TYPE_CHECKING:
    from .elf import Section

_HEAD = struct.Struct("<IHBB8Q")
_MAGICS = (0xFFFFFFF0, 0xFFFFFFF1)  # 1.18, 1.20
_TABLE = b".gopclntab"
_WORDS = 80
_MOST_ADDRESS = 1 << 62
_DATA_SECTIONS = (b".go.module", b".noptrdata", b".data")


class _Head(NamedTuple):
    """Addresses and counts of `.gopclntab`."""

    magic: int
    functions: int
    text: int
    names: int
    units: int
    files: int
    tables: int
    table: int


def _head(sections: Mapping[bytes, Section], read: ReadBase) -> _Head | None:
    row, text = sections.get(_TABLE), sections.get(b".text")
    if row is None or text is None or row.size < _HEAD.size:
        return None
    magic, _, _, pointer, functions, _, start, names, units, files, tables, table = _HEAD.unpack(read(row.offset, _HEAD.size))
    if magic not in _MAGICS or pointer != 8 or not max(names, units, files, tables, table) < row.size or 8 * functions > row.size:
        return None
    if start >= _MOST_ADDRESS:
        return None
    return _Head(magic, functions, start or text.address, *(row.address + one for one in (names, units, files, tables, table)))


def go_areas(olds: Mapping[bytes, Section], read: ReadBase, news: Mapping[bytes, Section], read_new: ReadBase) -> Iterator[Area]:
    """Yield the areas of an old `.gopclntab`.

    Args:
        olds: All old sections by name; it is one of them.
        read: Reads the old stream.
        news: All new ones by name.
        read_new: Reads the new stream.
    """
    row = olds[_TABLE]
    old, new = _head(olds, read), _head(news, read_new)
    if old is None or new is None or old.magic != new.magic:
        return
    if old.units < old.files:
        column = Column(DataField.OFFSET, 0, old.files, new.files)
        yield Area(AreaKind.TABLE, -1, row.offset + old.units - row.address, (old.files - old.units) // 4 * 4, 4, (column,))
    bases = ((old.text, new.text), (old.table, new.table), (old.names, new.names), (old.tables, new.tables), (old.units, new.units))
    columns = [Column(DataField.OFFSET, 0, *pair) for pair in (*bases, (old.text, new.text))]  # the last one is settled later
    columns[GO_UNIT] = columns[GO_UNIT]._replace(field=DataField.INDEX)
    start = row.offset + old.table - row.address
    yield Area(AreaKind.GO_FUNCTIONS, -1, start, row.offset + row.size - start, old.functions, tuple(columns))


def data_bases(
    olds: Mapping[bytes, Section], read: ReadBase, news: Mapping[bytes, Section], read_new: ReadBase
) -> list[tuple[int, int]]:
    """Return what data of functions may count from, old and new address: words of `moduledata`, whose layout changes."""
    pairs = zip(_module(olds, read), _module(news, read_new), strict=False)
    return [pair for pair in dict.fromkeys(pairs) if all(0 < address < _MOST_ADDRESS for address in pair)]


def _module(sections: Mapping[bytes, Section], read: ReadBase) -> tuple[int, ...]:
    """Return the words of `moduledata`: it begins with the address of the table."""
    wanted = sections[_TABLE].address.to_bytes(8, "little") if _TABLE in sections else b"none"
    for row in (sections[name] for name in _DATA_SECTIONS if name in sections):
        data = read(row.offset, row.size)
        at = data.find(wanted)
        while at >= 0 and at % 8:
            at = data.find(wanted, at + 1)
        if at >= 0:
            return struct.unpack_from(f"<{min(_WORDS, (len(data) - at) // 8)}Q", data, at)
    return ()
