"""Finds references in x86-64 machine code, without taking it apart into instructions. These rules are a part of the format.

A field is four bytes at any place: a signed little-endian displacement. Its target is address of the field + extra + displacement;
extra, the bytes from the start of the field to the end of the instruction, is 4 and the size of an immediate behind the field. What
follows the field is not looked at. A byte before the start of the data fits nothing.

CALL: the byte before the field is E8. JUMP: it is E9, or it is 80 to 8F behind a 0F. Extra is 4; the target must be executable.

RIP: it is a ModRM byte (& C7 = 05: relative to RIP) behind an opcode. With `e4 e3 e2 e1 opcode ModRM` before the field, the first
of these that fits gives the extra; the target must be loaded.

1. Map 2: 4.
2. Map 3: 5.
3. Map 1: 5 if the opcode is in `_MAP_1_IMM8`, 4 if it is in `_MAP_1`.
4. One byte, whatever is before it: 4 and the size of the immediate in the row of `_ONE_BYTE` that has both the opcode and the
   ModRM byte. An immediate of four bytes is one of two if e1 is 66, or if e2 is 66 and e1 is 40 to 47 (REX without W, which
   overrules 66).

Map 1 is e1 = 0F; map 2 is e2 e1 = 0F 38; map 3 is e2 e1 = 0F 3A. Or by a prefix: map 1 is e2 = C5 (VEX of two bytes); map n, 1 to
3, is e3 = C4 and e2 & 7F = 60 + n (VEX of three bytes; without index and base its inverted bits X and B are 1), or e4 = 62 and
e3 & 6F = 60 + n and e2 & 04 = 04 (EVEX).

Places whose whole field is in the window are gone through in ascending order. One that fits is kept, unless it is less than four
bytes behind the last one that was kept.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2 and appendix A. Of the opcodes that take
a ModRM byte, some are left out: a reference is rare with them and a coincidence is not (of one byte: most operations on bytes, ADC
and SBB, shifts). [Against a disassembler, on CPython, numpy, ruff and the GNU C library: over 99.6 % of the references are found,
and less than 0.6 % of what is found is none.]
"""

from __future__ import annotations

import re
import sys
from functools import cache
from struct import Struct
from typing import TYPE_CHECKING

from .references import Bounds, Class, Field, References, as_references, check_window, columns_as_references, within

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _I64 = npt.NDArray[np.int64]
    _U8 = npt.NDArray[np.uint8]
    _Bools = npt.NDArray[np.bool_]

_FIELD_BYTES = 4
_LONGEST_EXTRA = 8
_BEFORE_BYTES = 6
"""How far before its field a reference is looked at."""
_NUMPY_FROM_BYTES = 6144
"""Where a window begins to take longer without numpy. [Measured: 0.3 to 0.4 ms, on code of CPython.]"""
_REL32 = Struct("<i")

_RIP = bytes.fromhex("05 0d 15 1d 25 2d 35 3d")
"""ModRM bytes, by what is in their bits 5:3: a register, or more of the opcode."""
_MAP_1_IMM8 = bytes.fromhex("70 a4 ac ba c2 c4 c6")
_MAP_1 = bytes.fromhex(
    "0d 101112131415161718 28292a2b2c2d2e2f 404142434445464748494a4b4c4d4e4f 5152535455565758595a5b5c5d5e5f"
    "606162636465666768696a6b6c6d6e6f 747576 7c7d7e7f 909192939495969798999a9b9c9d9e9f a3 abaeaf b0b1b3b6b7b8bbbcbdbebf c0c1c3"
    "d0d1d2d3d4d5d6d8d9dadbdcdddedf e0e1e2e3e4e5e6e7e8e9eaebecedeeef f0f1f2f3f4f5f6f8f9fafbfcfdfe"
)
_ONE_BYTE = (
    (bytes.fromhex("01 03 09 0b 21 23 29 2b 31 33 39 3b 63 85 86 87 88 89 8a 8b 8d d8 d9 db dc dd df"), _RIP, 0),
    (bytes.fromhex("f6 f7"), bytes.fromhex("15 1d 25 2d 35 3d"), 0),
    (bytes.fromhex("ff"), bytes.fromhex("05 0d 15 25 35"), 0),
    (bytes.fromhex("6b 80 83"), _RIP, 1),
    (bytes.fromhex("c6 f6"), bytes.fromhex("05"), 1),
    (bytes.fromhex("69 81"), _RIP, 4),
    (bytes.fromhex("c7 f7"), bytes.fromhex("05"), 4),
)
"""Opcodes, the ModRM bytes that they take, and the bytes of the immediate."""

_KINDS = (
    (Field.REL32, 4, Class.CALL), (Field.REL32, 4, Class.JUMP),
    (Field.REL32, 4, Class.RIP), (Field.REL32, 5, Class.RIP), (Field.REL32, 6, Class.RIP), (Field.REL32, 8, Class.RIP),
)  # fmt: skip
_CALL, _JUMP, _RIP_4, _RIP_5, _RIP_6, _RIP_8 = range(len(_KINDS))
_NONE = len(_KINDS)
_IMMEDIATES = {0: _RIP_4, 1: _RIP_5, 4: _RIP_8}
_STARTS = b"\xe8\xe9" + bytes(range(0x80, 0x90)) + _RIP
"""What stands before a field."""


def find_x86_64(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> References:
    """Return the references whose whole field is in `data[first:stop]`.

    Linear in the length of the window, whatever is in it. With numpy where that is imported and worth it, without it just the same.

    Args:
        data: Consecutive bytes of an old file's machine code. Up to 6 bytes before the window are looked at, none behind it.
        address: Of the first of them.
        first: Where in `data` the window begins.
        stop: Where it ends.
        bounds: What there is to refer to.

    Raises:
        ContentError: The data leave the address space.
        LocalProtocolError: The window is not within the data.
    """
    if stop - first >= _NUMPY_FROM_BYTES and "numpy" in sys.modules:
        return find_x86_64_at_once(data, address, first, stop, bounds)
    return find_x86_64_plainly(data, address, first, stop, bounds)


def find_x86_64_plainly(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> References:
    """Do what `find_x86_64` does, without numpy."""
    check_window(data, address, first, stop)
    pattern, kinds = _pattern(*_top_bytes(*_displacements(address, first, stop, bounds)))
    low, high, code_low, code_high = bounds.low, bounds.high, bounds.code_low, bounds.code_high
    displacement = _REL32.unpack_from
    rows, free = [], 0
    for match in pattern.finditer(data, max(0, first - 1), stop):
        place = match.end()
        kind, ahead = kinds[match.lastindex or 0]
        target = address + place + ahead + displacement(data, place)[0]
        if (low <= target < high if kind >= _RIP_4 else code_low <= target < code_high) and place >= free:
            rows.append((place, target, kind))
            free = place + _FIELD_BYTES
    return as_references(rows, _KINDS)


def _displacements(address: int, first: int, stop: int, bounds: Bounds) -> tuple[int, int]:
    """Return the least and the most that a displacement can be, if a reference in the window is to be in bounds."""
    low, high = min(bounds.low, bounds.code_low), max(bounds.high, bounds.code_high)
    return low - address - stop - _LONGEST_EXTRA, high - address - first


def _top_bytes(least: int, most: int) -> tuple[int, int]:
    """Return a range of the signed top byte of a displacement that holds all that are possible, and is one of few."""
    need = max(-(least >> 24), (most >> 24) + 1, 1)
    reach = min(128, 1 << (need - 1).bit_length())
    return -reach, reach


def _bytes_of(low: int, high: int) -> bytes:
    """Return signed bytes from `low` to before `high`."""
    return bytes(byte & 0xFF for byte in range(low, high))


@cache
def _pattern(low: int, high: int) -> tuple[re.Pattern[bytes], list[tuple[int, int]]]:
    """Return a pattern of the byte before a field, and of each of its groups what kind of reference it is, and its extra.

    Args:
        low: The least that the top byte of the field is, signed.
        high: One beyond the most.
    """
    branches = [(rb"(?<=\xe8)", _CALL), (rb"(?<=\xe9)", _JUMP), (rb"(?<=\x0f[\x80-\x8f])", _JUMP)]
    rip_forms = _rip_forms()
    top = b"(?=..." + _any_of(_bytes_of(low, high)) + b")"
    rip = _behind([b""], _any_of(_RIP)) + b"(?:" + _alternatives(rip_forms) + b")"
    pattern = _any_of(_STARTS) + top + b"(?:" + _alternatives(branches) + b"|" + rip + b")"
    kinds = [0, *(kind for _, kind in branches + rip_forms)]  # groups count from 1
    return re.compile(pattern, re.DOTALL), [(kind, _KINDS[kind][1]) for kind in kinds]


def _alternatives(forms: list[tuple[bytes, int]]) -> bytes:
    """Return a pattern of any form, with a group behind each to tell which it was."""
    return b"|".join(pattern + b"()" for pattern, _ in forms)


def _rip_forms() -> list[tuple[bytes, int]]:
    """Return patterns that look back at a ModRM byte and what is before it, the first to be tried first."""
    maps = {n: _escapes(n) for n in (1, 2, 3)}
    forms = [
        (_behind(maps[2], b"." + _any_of(_RIP)), _RIP_4),
        (_behind(maps[3], b"." + _any_of(_RIP)), _RIP_5),
        (_behind(maps[1], _any_of(_MAP_1_IMM8) + _any_of(_RIP)), _RIP_5),
        (_behind(maps[1], _any_of(_MAP_1) + _any_of(_RIP)), _RIP_4),
    ]
    for opcodes, modrms, immediate in _ONE_BYTE:
        code = _any_of(opcodes) + _any_of(modrms)
        if immediate == _FIELD_BYTES:
            forms.append((_behind([b"\x66", b"\x66[\x40-\x47]"], code), _RIP_6))
        forms.append((_behind([b""], code), _IMMEDIATES[immediate]))
    return forms


def _escapes(number: int) -> list[bytes]:
    """Return patterns of what stands before an opcode of a map."""
    vex = _any_of(bytes([0x60 + number, 0xE0 + number]))
    evex = _any_of(bytes([0x60 + number, 0x70 + number, 0xE0 + number, 0xF0 + number]))
    payload = _any_of(bytes(byte for byte in range(256) if byte & 0x04))
    legacy = {1: [b"\x0f", b"\xc5."], 2: [b"\x0f\x38"], 3: [b"\x0f\x3a"]}[number]
    return [*legacy, b"\xc4" + vex + b".", b"\x62" + evex + payload + b"."]


def _behind(escapes: list[bytes], code: bytes) -> bytes:
    return b"(?:" + b"|".join(b"(?<=" + escape + code + b")" for escape in escapes) + b")"


def _any_of(values: bytes) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % value for value in values) + b"]"


def find_x86_64_at_once(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> References:
    """Do what `find_x86_64` does, with numpy."""
    import numpy as np

    check_window(data, address, first, stop)
    begin = max(first, 1)
    if stop - begin < _FIELD_BYTES:
        return as_references([], _KINDS)
    lead = max(0, begin - _BEFORE_BYTES)
    # Places count from `begin` here; `seen` begins 6 bytes before it, with 0, which fits nothing, for what is not in the data.
    seen = np.frombuffer(bytes(_BEFORE_BYTES - (begin - lead)) + data[lead:stop], np.uint8)
    tops = _bytes_of(*_top_bytes(*_displacements(address, first, stop, bounds)))
    can_be = _table(_STARTS)[seen[_BEFORE_BYTES - 1 : -_FIELD_BYTES]] & _table(tops)[seen[_BEFORE_BYTES + _FIELD_BYTES - 1 :]]
    places = np.flatnonzero(can_be)
    kinds = _kinds_at(seen, places)
    places, kinds = places[kinds != _NONE], kinds[kinds != _NONE]
    displacements = np.ndarray(len(seen) - _FIELD_BYTES + 1, np.dtype("<i4"), seen, strides=(1,))[places + _BEFORE_BYTES]
    offsets = places + np.array([extra for _, extra, _ in _KINDS])[kinds] + displacements
    fits = np.where(
        kinds >= _RIP_4,
        within(offsets, address + begin, bounds.low, bounds.high),
        within(offsets, address + begin, bounds.code_low, bounds.code_high),
    )
    kept = np.flatnonzero(fits)
    kept = kept[_apart(places[kept])]
    return columns_as_references(places[kept] + begin, address + begin, offsets[kept], kinds[kept], _KINDS)


def _kinds_at(seen: _U8, places: _I64) -> _U8:
    """Return the kind of reference at each place, or `_NONE`."""
    import numpy as np

    before = seen[places + _BEFORE_BYTES - 1]
    kinds = np.full(len(places), _NONE, np.uint8)
    kinds[before == 0xE8] = _CALL
    kinds[(before == 0xE9) | ((before & 0xF0 == 0x80) & (seen[places + _BEFORE_BYTES - 2] == 0x0F))] = _JUMP
    rip = np.flatnonzero(before & 0xC7 == 0x05)
    kinds[rip] = _rip_kinds(*(seen[places[rip] + back] for back in range(_BEFORE_BYTES)))
    return kinds


def _rip_kinds(e4: _U8, e3: _U8, e2: _U8, e1: _U8, opcode: _U8, modrm: _U8) -> _U8:
    """Return the kind of reference that each row of bytes says, or `_NONE`."""
    import numpy as np

    number = np.where((e4 == 0x62) & (e3 & 0x6C == 0x60) & (e2 & 0x04 == 0x04), e3 & 3, 0)
    evex = [number == n for n in range(4)]
    number = np.where((e3 == 0xC4) & (e2 & 0x7C == 0x60), e2 & 3, 0)
    vex = [number == n for n in range(4)]
    in_map_1 = (e1 == 0x0F) | (e2 == 0xC5) | vex[1] | evex[1]
    in_map_2, in_map_3 = (((e2 == 0x0F) & (e1 == last)) | vex[n] | evex[n] for n, last in ((2, 0x38), (3, 0x3A)))
    one_byte = _one_byte_kinds()[opcode, modrm >> 3]
    is_short = (e1 == 0x66) | ((e2 == 0x66) & (e1 & 0xF8 == 0x40))
    one_byte[(one_byte == _RIP_8) & is_short] = _RIP_6
    fits = [in_map_2, in_map_3, in_map_1 & _table(_MAP_1_IMM8)[opcode], in_map_1 & _table(_MAP_1)[opcode]]
    return np.select(fits, [np.uint8(kind) for kind in (_RIP_4, _RIP_5, _RIP_5, _RIP_4)], one_byte)


@cache
def _one_byte_kinds() -> _U8:
    """Return what `_ONE_BYTE` says, without regard to prefixes; shape (256 opcodes, 8): bits 5:3 of the ModRM byte."""
    import numpy as np

    kinds = np.full((256, 8), _NONE, np.uint8)
    for opcodes, modrms, immediate in _ONE_BYTE:
        for opcode in opcodes:
            kinds[opcode, [modrm >> 3 for modrm in modrms]] = _IMMEDIATES[immediate]
    return kinds


@cache
def _table(values: bytes) -> _Bools:
    """Return which bytes are among some; shape (256,)."""
    import numpy as np

    return np.isin(np.arange(256), list(values))


def _apart(places: _I64) -> _Bools:
    """Tell which of ascending places stay if each that is less than a field behind the last one that stayed goes."""
    import numpy as np

    stays = np.ones(len(places), bool)
    last = behind = -1
    close = np.flatnonzero(np.diff(places) < _FIELD_BYTES) + 1
    for index, place, previous in zip(close.tolist(), places[close].tolist(), places[close - 1].tolist(), strict=True):
        if index != behind:  # the one before this is not close to another
            last = previous
        if place - last < _FIELD_BYTES:
            stays[index] = False
        else:
            last = place
        behind = index + 1
    return stays
