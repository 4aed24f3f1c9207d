"""Programs to predict: ELF files of functions that call each other and refer to data, linked by hand.

What a function is follows from its number alone, so that two programs of nearly the same functions are a release and the next one:
nothing of the functions changed, and everything that refers to something did.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

X86_64, AARCH64 = 62, 183
COMMON = 160
"""Functions that others refer to: a program has all of these numbers."""
OLD = tuple(range(COMMON))
NEW = (*range(40), 900, 901, *range(40, 90), 902, *range(90, COMMON), 903)

_PLAIN = (b"\x48\x89\xd8", b"\x31\xc0", b"\x90", b"\x48\x83\xc0\x11", b"\x55", b"\x5d", b"\x48\x85\xc0\x74\x05")
_BASE = 0x400000
_PAGE = 0x1000


class Ref(NamedTuple):
    """A reference in code: to a function, or to its data."""

    kind: str
    function: int


@dataclass(frozen=True, slots=True)
class Symbols:
    """Where things are loaded."""

    functions: dict[int, int]
    texts: dict[int, int]


def _code(number: int, machine: int) -> Iterator[bytes | Ref]:
    dice = Random(number)
    for _ in range(dice.randrange(4, 9)):
        if machine == X86_64:
            yield b"".join(dice.choices(_PLAIN, k=6)) + b"\xb8" + dice.randrange(1 << 16).to_bytes(4, "little")
        else:
            yield b"".join((0x8B000000 | dice.randrange(1 << 21)).to_bytes(4, "little") for _ in range(6))
        yield Ref(dice.choice(("call", "text")), dice.randrange(COMMON))
    yield b"\xc3" + b"\xcc" * 7 if machine == X86_64 else b"\xc0\x03\x5f\xd6"


def _size(part: bytes | Ref, machine: int) -> int:
    if isinstance(part, bytes):
        return len(part)
    return {("call", X86_64): 5, ("text", X86_64): 7, ("call", AARCH64): 4, ("text", AARCH64): 8}[part.kind, machine]


def _encode(ref: Ref, at: int, symbols: Symbols, machine: int) -> bytes:
    target = (symbols.functions if ref.kind == "call" else symbols.texts)[ref.function]
    if machine == X86_64:
        head = b"\xe8" if ref.kind == "call" else b"\x48\x8d\x3d"
        return head + (target - at - len(head) - 4).to_bytes(4, "little", signed=True)
    if ref.kind == "call":
        return (0x94000000 | (target - at >> 2) & 0x3FFFFFF).to_bytes(4, "little")
    pages = (target >> 12) - (at >> 12)
    adrp = 0x90000000 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    return struct.pack("<II", adrp, 0x91000000 | (target & 0xFFF) << 10)


def _text(number: int) -> bytes:
    dice = Random(-number - 1)
    text = bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz ", k=dice.randrange(8, 40)))
    return text + bytes(4 - len(text) % 4)


class _Part(NamedTuple):
    name: bytes
    kind: int
    flags: int
    address: int
    offset: int
    data: bytes
    link: int = 0


def program(numbers: Sequence[int] = OLD, machine: int = X86_64) -> bytes:
    """Return an ELF file with these functions."""
    codes = {number: list(_code(number, machine)) for number in numbers}
    sizes = {number: sum(_size(part, machine) for part in code) for number, code in codes.items()}
    names = b"\0" + b"".join(b"function%d\0" % number for number in numbers)
    n = len(numbers)
    plan = [  # (name, bytes) of what the first segment holds
        (b".dynsym", 24 * (n + 1)), (b".dynstr", len(names)), (b".rela.dyn", 24 * n),
        (b".rodata", sum(len(_text(number)) + 16 for number in numbers)), (b".eh_frame_hdr", 12 + 8 * n),
        (b".eh_frame", 20 + 20 * n + 4),
    ]  # fmt: skip
    offset, where = 64 + 3 * 56, {}
    for name, size in plan:
        offset = -(-offset // 16) * 16
        where[name] = offset
        offset += size
    first_end = offset
    text_at = -(-offset // 16) * 16
    text_end = text_at + sum(sizes.values())
    data_at = -(-text_end // 16) * 16
    to_text, to_data = _BASE + _PAGE, _BASE + 2 * _PAGE
    functions, at = {}, text_at + to_text
    for number in numbers:
        functions[number] = at
        at += sizes[number]
    texts, at = {}, _BASE + where[b".rodata"]
    for number in numbers:
        texts[number] = at
        at += len(_text(number)) + 16
    symbols = Symbols(functions, texts)
    code = bytearray()
    for number in numbers:
        for part in codes[number]:
            code += part if isinstance(part, bytes) else _encode(part, functions[numbers[0]] + len(code), symbols, machine)
    rodata = bytearray()
    for number in numbers:
        rodata += _text(number)
        here = _BASE + where[b".rodata"] + len(rodata)
        rodata += struct.pack("<4i", *(functions[number] + 4 * label - here for label in range(4)))
    data = b"".join(struct.pack("<QQQ", functions[number], texts[number], number) for number in numbers)
    frames = struct.pack("<II", 16, 0) + b"\1zR\0\1\x78\x10\1\x1b\x0c\x07\x08"
    fdes = []
    for number in numbers:
        fdes.append(len(frames))
        here = _BASE + where[b".eh_frame"] + len(frames)
        frames += struct.pack(
            "<IIiII", 16, len(frames) + 4, functions[number] - here - 8, sizes[number], number * 0x1F351 << 8 & 0xFFFFFFFF
        )
    head = _BASE + where[b".eh_frame_hdr"]
    table = b"\x01\x1b\x03\x3b" + struct.pack("<iI", where[b".eh_frame"] + _BASE - head - 4, n)
    for number, fde in zip(numbers, fdes, strict=True):
        table += struct.pack("<ii", functions[number] - head, _BASE + where[b".eh_frame"] + fde - head)
    relocations = b"".join(
        struct.pack("<QQQ", data_at + to_data + 24 * i, 8, functions[number]) for i, number in enumerate(numbers)
    )
    dynsym = bytes(24)
    for number in numbers:
        dynsym += struct.pack("<IBBHQQ", names.index(b"function%d\0" % number), 0x12, 0, 7, functions[number], sizes[number])
    made = {
        b".dynsym": (11, dynsym), b".dynstr": (3, names), b".rela.dyn": (4, relocations), b".rodata": (1, bytes(rodata)),
        b".eh_frame_hdr": (1, table), b".eh_frame": (1, frames + bytes(4)),
    }  # fmt: skip
    parts = [_Part(name, made[name][0], 2, _BASE + where[name], where[name], made[name][1], 2) for name, _ in plan]
    parts.append(_Part(b".text", 1, 6, to_text + text_at, text_at, bytes(code)))
    parts.append(_Part(b".data", 1, 3, to_data + data_at, data_at, data))
    segments = [
        (1, 4, 0, _BASE, _BASE, first_end, first_end, _PAGE),
        (1, 5, text_at, to_text + text_at, to_text + text_at, len(code), len(code), _PAGE),
        (1, 6, data_at, to_data + data_at, to_data + data_at, len(data), len(data) + 0x200, _PAGE),
    ]
    return _linked(machine, segments, parts)


def _linked(machine: int, segments: Sequence[tuple[int, ...]], parts: list[_Part]) -> bytes:
    names = b"\0" + b"".join(part.name + b"\0" for part in parts) + b".shstrtab\0"
    names_at = max(part.offset + len(part.data) for part in parts)
    table_at = -(-(names_at + len(names)) // 8) * 8
    out = bytearray(table_at)
    head = (3, machine, 1, parts[0].address, 64, table_at, 0, 64, 56, len(segments), 64, len(parts) + 2, len(parts) + 1)
    out[:64] = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", *head)
    for number, segment in enumerate(segments):
        out[64 + 56 * number : 120 + 56 * number] = struct.pack("<IIQQQQQQ", *segment)
    out += bytes(64)
    for part in parts:
        out[part.offset : part.offset + len(part.data)] = part.data
        name = names.index(part.name + b"\0")
        out += struct.pack(
            "<IIQQQQIIQQ", name, part.kind, part.flags, part.address, part.offset, len(part.data), part.link, 0, 1, 0
        )
    out[names_at : names_at + len(names)] = names
    out += struct.pack("<IIQQQQIIQQ", names.index(b".shstrtab"), 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    return bytes(out)


@contextmanager
def path(*, at_once: bool) -> Iterator[None]:
    """Decode with numpy wherever there is a way with it, or without it, as where it is not installed."""
    from edgeswarm.content.delta.covers import decoder
    from edgeswarm.content.delta.prediction import predictor
    from edgeswarm.content.delta.prediction.code import aarch64, x86_64

    limits = [(decoder, "_NUMPY_FROM"), (predictor, "_NUMPY_FROM"), (aarch64, "_NUMPY_FROM_BYTES"), (x86_64, "_NUMPY_FROM_BYTES")]
    known = [getattr(module, name) for module, name in limits]
    numpy = sys.modules.get("numpy")
    for module, name in limits:
        setattr(module, name, 0 if at_once else 1 << 60)
    if not at_once:
        sys.modules.pop("numpy", None)
    try:
        yield
    finally:
        for (module, name), value in zip(limits, known, strict=True):
            setattr(module, name, value)
        if numpy is not None:
            sys.modules["numpy"] = numpy
