"""Write the golden vectors of maps and of the units that need them.

    PYTHONPATH=. python tests/vectors/make_maps.py

Apart from `make.py`, whose rules hold here, too. The old file has an area of each kind, with references of each kind of field, and
is loaded in two pieces. In the new stream it is longer by some bytes in the midst of its code, behind the table and before the end.
"""

from __future__ import annotations

import json
import struct
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeswarm.content.delta.covers.encoder import encode_covers
from edgeswarm.content.delta.prediction.addresses import Move, Space, Spaces
from edgeswarm.content.delta.prediction.areas import Area, AreaKind, Column, DataField
from edgeswarm.content.delta.prediction.code import Bounds
from edgeswarm.content.delta.prediction.decoder import METHOD
from edgeswarm.content.delta.prediction.files import FileMap
from edgeswarm.content.delta.prediction.layout import encode_map
from edgeswarm.content.delta.prediction.predictor import Predictor

CODE, DATA = 0x400000, 0x410000
BEFORE = 40
"""Bytes of the base before the file."""
START = 1000
"""Where the file begins in the new stream."""
ALL = (1 << 20) - 1


def x86_64() -> bytes:
    """CALL, JMP, JE, and LEA, MOV to memory and CMP relative to RIP."""
    out = bytearray()
    for head, extra, target in (
        ("e8", 4, CODE + 96), ("e9", 4, CODE + 4), ("0f84", 4, CODE + 100), ("488d05", 4, DATA + 4), ("c705", 8, DATA + 60),
        ("833d", 5, DATA + 0x8000),
    ):  # fmt: skip
        out += bytes.fromhex(head)
        out += (target - CODE - len(out) - extra).to_bytes(4, "little", signed=True) + bytes([0x11] * (extra - 4))
    return bytes(out.ljust(64, b"\x90"))


def aarch64() -> bytes:
    """BL, B.EQ, TBZ, ADR, LDR literal, and ADRP with ADD and LDR."""
    here = CODE + 64
    pages = (DATA >> 12) - (here >> 12)
    words = [
        0x94000000 | (CODE - here >> 2) & 0x3FFFFFF, 0x54000000 | 9 << 5, 0x36000000 | 8 << 5, 0x10000000 | 5 << 5,
        0x58000000 | 6 << 5, 0x90000000 | (pages & 3) << 29 | (pages >> 2) << 5, 0x91000000 | 0x18 << 10, 0xF9400000 | 3 << 10 | 1,
        *[0xD503201F] * 8,
    ]  # fmt: skip
    return struct.pack("<16I", *words)


def pointers() -> bytes:
    """Addresses, and a jump table."""
    jumps = (CODE + 32 + 4 * n - DATA - 32 - 4 * n for n in range(4))
    return struct.pack("<4Q4i", CODE, CODE + 70, DATA + 8, DATA + 0x9000, *jumps)


def table() -> bytes:
    """Entries of 20 bytes: an offset, an address, four bytes of anything, and an index; nothing, and all ones."""
    rows = [(8, CODE + 5, 7, 16), (-4 % 2**32, DATA + 4, 7, 0), (0, 0, 7, 0), (2**32 - 1, 2**64 - 1, 7, 2**32 - 1)]
    return b"".join(struct.pack("<IQII", *row) for row in rows)


def frames(at: int) -> bytes:
    """A CIE and two FDEs, at an address."""
    out = struct.pack("<II", 16, 0) + b"\1zR\0\1\x78\x10\1\x1b\x0c\x07\x08"
    for target in (CODE, CODE + 64):
        out += struct.pack("<IIiII", 16, len(out) + 4, target - at - len(out) - 8, 32, 0)
    return out + bytes(4)


def functions() -> bytes:
    """Two functions of Go, the second with two tables and one datum."""
    one = struct.pack("<IiIIIIIIIIBBBB", 0, 4, 0, 0, 8, 12, 16, 0, 1, 7, 0, 0, 0, 0)[:44]
    two = struct.pack("<IiIIIIIIIIBBBB", 64, 8, 0, 0, 8, 12, 16, 2, 2, 7, 0, 0, 0, 1)[:44] + struct.pack("<III", 8, 12, 20)
    return struct.pack("<5I", 0, 20, 64, 64, 96) + one + two


def old_file() -> tuple[bytes, FileMap]:
    """Return the old file, and what the map says of it but for where it is in the new stream."""
    parts = [x86_64(), aarch64(), pointers(), table()]
    parts += [frames(DATA + sum(map(len, parts[2:])))]
    parts += [functions()]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    starts = [BEFORE + end - len(part) for end, part in zip(ends, parts, strict=True)]
    columns = (
        Column(DataField.OFFSET, 0, CODE + 64, CODE + 64), Column(DataField.ABSOLUTE, 4, 0, 0),
        Column(DataField.INDEX, 16, CODE, CODE + 8),
    )  # fmt: skip
    go = [(CODE, CODE), (DATA, DATA + 12), (CODE, CODE + 9), (CODE + 30, CODE + 42), (CODE, CODE), (CODE, CODE + 9)]
    go_columns = tuple(Column(DataField.INDEX if n == 4 else DataField.OFFSET, 0, *pair) for n, pair in enumerate(go))
    tables = {AreaKind.TABLE: (20, columns), AreaKind.GO_FUNCTIONS: (2, go_columns)}
    kinds = (AreaKind.X86_64, AreaKind.AARCH64, AreaKind.POINTERS, AreaKind.TABLE, AreaKind.EH_FRAME, AreaKind.GO_FUNCTIONS)
    areas = tuple(
        Area(kind, ALL, start, len(part), *tables.get(kind, (0, ())))
        for kind, start, part in zip(kinds, starts, parts, strict=True)
    )
    size = ends[-1]
    spaces = Spaces([Space(BEFORE, CODE, 128), Space(BEFORE + 128, DATA, size - 128)])
    bounds = Bounds(CODE, DATA + 0xA001, CODE, CODE + 128)
    file = FileMap(
        BEFORE, size, START, size + 30, spaces, Spaces([]), bounds, areas, (Move(DATA + size, 0x9000, 0x30),),
        {DATA + 4: -4, CODE + 100: 8}
    )  # fmt: skip
    return b"".join(parts), file


def main() -> None:
    """Write them."""
    body, file = old_file()
    base = bytes(range(BEFORE)) + body + b"end of the base"
    size, cut = len(body), 128 + 48 + 80
    rows = [
        (3, START - 10, 10), (BEFORE, START, 40), (BEFORE + 40, START + 48, cut - 40),
        (BEFORE + cut, START + cut + 12, size - cut - 6),
        (BEFORE + 64, START + size + 10, 16),
    ]  # fmt: skip
    spaces = Spaces([Space(START, CODE, 136), Space(START + 136, DATA + 0x100, size - 100)])
    file = replace(file, new_spaces=spaces)
    data = encode_map(rows, [file], START - 10)
    opened = Predictor(*(array("q", column) for column in zip(*rows, strict=True)), [file])
    total = size + 40
    out = bytearray(total + 4)
    segments = opened.segments(START - 10, START - 10 + total)
    for old, new, length in segments:
        out[new - START + 10 : new - START + 10 + length] = base[old : old + length]
    opened.predict(out, START - 10, segments, lambda offset, length: base[offset : offset + length])
    plain = bytearray(out[:total])
    copied = [bytes(plain[new - START + 10 : new - START + 10 + length]) for _, new, length in segments]
    plain[20] ^= 0x80  # not all comes as it was predicted
    for at, byte in enumerate(b"code"):
        plain[51 + at] = byte
    unit = encode_covers(np.array(segments, np.int64), copied, bytes(plain), START - 10, METHOD)
    made = {
        "base": base.hex(), "map": data.hex(), "unit": unit.hex(), "start": START - 10, "covers": rows, "plain": bytes(plain).hex(),
        "areas": [[area.kind.name, area.offset, area.size] for area in file.areas],
    }  # fmt: skip
    (Path(__file__).parent / "map.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
