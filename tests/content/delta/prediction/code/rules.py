"""The rules of the finders once more, as their docstrings say them, one place after another: slow, and written to be compared."""

from __future__ import annotations

from edgeswarm.content.delta.prediction.code import Bounds, Class, Field, References
from edgeswarm.content.delta.prediction.code import x86_64 as tables

Row = tuple[int, int, Field, int, Class]


def rows_of(found: References) -> list[Row]:
    columns = (found.places, found.targets, map(Field, found.fields), found.extras, map(Class, found.classes))
    return list(zip(*columns, strict=True))


def x86_64(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> list[Row]:
    kept: list[Row] = []
    for place in range(first, stop - 3):
        form = _x86_64_form(data[:place])
        if form is None or (kept and place - kept[-1][0] < 4):
            continue
        extra, kind = form
        target = address + place + extra + int.from_bytes(data[place : place + 4], "little", signed=True)
        low, high = (bounds.low, bounds.high) if kind is Class.RIP else (bounds.code_low, bounds.code_high)
        if low <= target < high:
            kept.append((place, target, Field.REL32, extra, kind))
    return kept


def _x86_64_form(before: bytes) -> tuple[int, Class] | None:
    padded = bytes(6) + before
    e4, e3, e2, e1, opcode, modrm = padded[-6:]
    if modrm == 0xE8 and before:
        return 4, Class.CALL
    if modrm == 0xE9 or (0x80 <= modrm <= 0x8F and opcode == 0x0F):
        return 4, Class.JUMP
    if modrm & 0xC7 != 0x05:
        return None
    maps = set()
    maps |= {1} if e1 == 0x0F or e2 == 0xC5 else set()
    maps |= {2} if (e2, e1) == (0x0F, 0x38) else set()
    maps |= {3} if (e2, e1) == (0x0F, 0x3A) else set()
    maps |= {n for n in (1, 2, 3) if e3 == 0xC4 and e2 & 0x7F == 0x60 + n}
    maps |= {n for n in (1, 2, 3) if e4 == 0x62 and e3 & 0x6F == 0x60 + n and e2 & 0x04}
    extra = _mapped(maps, opcode) or _one_byte(opcode, modrm, is_short=e1 == 0x66 or (e2 == 0x66 and 0x40 <= e1 <= 0x47))
    return (extra, Class.RIP) if extra else None


def _mapped(maps: set[int], opcode: int) -> int | None:
    if maps & {2, 3}:
        return 4 if 2 in maps else 5
    if 1 in maps and opcode in tables._MAP_1_IMM8:
        return 5
    return 4 if 1 in maps and opcode in tables._MAP_1 else None


def _one_byte(opcode: int, modrm: int, *, is_short: bool) -> int | None:
    for opcodes, modrms, immediate in tables._ONE_BYTE:
        if opcode in opcodes and modrm in modrms:
            return 6 if immediate == 4 and is_short else 4 + immediate
    return None
