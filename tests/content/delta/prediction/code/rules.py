"""The rules of the finders once more, as their docstrings say them, one place after another: slow, and written to be compared."""

from __future__ import annotations

from dataclasses import dataclass

from edgeswarm.content.delta.prediction.code import Bounds, Class, Field, References
from edgeswarm.content.delta.prediction.code import aarch64 as aarch64_tables
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


def aarch64(data: bytes, address: int, first: int, stop: int, bounds: Bounds) -> list[Row]:
    rows: list[Row] = []
    live: dict[int, _Adrp] = {}
    for place in range(-address % 4, len(data) - 3, 4):
        word = int.from_bytes(data[place : place + 4], "little")
        effect = next(effect for mask, bits, effect in aarch64_tables._EFFECTS if word & mask == bits)
        _add_partner(rows, live, place, word, effect, bounds)
        _end(live, word, effect)
        if word & 0x9F000000 == 0x90000000:
            page = ((address + place) >> 12 << 12) + 4096 * _signed(word >> 5 & 0x7FFFF, word >> 29 & 3, 21)
            rows.append((place, page + 0x800, Field.ADRP, 0, Class.ADRP))
            if word & 31 != 31 and page < bounds.high and page + 4096 > bounds.low >> 12 << 12:
                live[word & 31] = _Adrp(place, page, len(rows) - 1)
        else:
            rows += _direct(place, address + place, word, bounds)
    inside = [row for row in rows if first <= row[0] and row[0] + 4 <= stop]
    return sorted(row for row in inside if row[4] is not Class.ADRP or bounds.low <= row[1] < bounds.high)


@dataclass
class _Adrp:
    place: int
    page: int
    row: int
    has_partner: bool = False


def _add_partner(rows: list[Row], live: dict[int, _Adrp], place: int, word: int, effect: int, bounds: Bounds) -> None:
    adrp = live.get(word >> 5 & 31)
    scale, offset = effect & 7, (word >> 10 & 0xFFF) << (effect & 7)
    if effect < 16 or adrp is None or place - adrp.place > 48 * 4 or offset >= 4096:
        return
    target = adrp.page + offset
    if bounds.low <= target < bounds.high:
        rows.append((place, target, Field.LO12, scale, Class.LO12))
        if not adrp.has_partner:
            rows[adrp.row] = (adrp.place, target, Field.ADRP, 0, Class.ADRP)
        adrp.has_partner = True


def _end(live: dict[int, _Adrp], word: int, effect: int) -> None:
    ended = set(range(32)) if effect == aarch64_tables._END else set()
    ended |= {*range(19), 30} if effect == aarch64_tables._CALL else set()
    ended |= {word & 31} if effect in (aarch64_tables._WRITES, aarch64_tables._WRITES_TWO) or effect >= 32 else set()
    ended |= {word >> 10 & 31} if effect == aarch64_tables._WRITES_TWO else set()
    for register in ended:
        live.pop(register, None)


def _signed(high: int, low: int, bits: int) -> int:
    value = high << 2 | low
    return value - (1 << bits) if value >> bits - 1 else value


def _direct(place: int, here: int, word: int, bounds: Bounds) -> list[Row]:
    code, loaded = (bounds.code_low, bounds.code_high), (bounds.low, bounds.high)
    top, imm19 = word >> 24, _signed(word >> 5 & 0x7FFFF, 0, 21)
    if top in range(0x94, 0x98) or top in range(0x14, 0x18):
        kind = Class.BL if top & 0x80 else Class.B
        form = (_signed(word & 0x3FFFFFF, 0, 28), Field.B26, kind, *code)
    elif top in (0x54, 0x34, 0x35, 0xB4, 0xB5):
        form = (imm19, Field.B19, Class.BCOND, *code)
    elif top in (0x36, 0x37, 0xB6, 0xB7):
        form = (_signed(word >> 5 & 0x3FFF, 0, 16), Field.B14, Class.TB, *code)
    elif top in (0x18, 0x1C, 0x58, 0x5C, 0x98, 0x9C, 0xD8):
        form = (imm19, Field.B19, Class.LDR_LITERAL, *loaded)
    elif top in (0x10, 0x30, 0x50, 0x70):
        form = (_signed(word >> 5 & 0x7FFFF, word >> 29 & 3, 21), Field.ADR, Class.ADR, *loaded)
    else:
        return []
    ahead, field, kind, low, high = form
    return [(place, here + ahead, field, 0, kind)] if low <= here + ahead < high else []
