"""Machine code of programs that happen to be on the machine that runs the tests."""

from __future__ import annotations

import struct
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeswarm.content.delta.prediction.code import Bounds

X86_64 = 62
_MOST_BYTES = 400_000


def code_of(machine: int) -> list[tuple[str, bytes, int, Bounds]]:
    """Return name, code, its address and the bounds of programs for a machine; skips the test if there is none."""
    found = [(path.name, *parsed) for path in _candidates() if (parsed := _parsed(path.read_bytes(), machine))]
    if not found:
        pytest.skip(f"no ELF file for machine {machine} is here")
    return found


def _candidates() -> list[Path]:
    libraries = [path for folder in ("/lib64", "/lib", "/usr/lib") for path in Path(folder).glob("*/libc.so.6")]
    numpy = find_spec("numpy")
    modules = sorted(Path(numpy.origin).parent.glob("_core/_multiarray_umath*.so")) if numpy and numpy.origin else []
    return [Path(sys.executable).resolve(), *sorted({path.resolve() for path in libraries}), *modules]


def _parsed(data: bytes, machine: int) -> tuple[bytes, int, Bounds] | None:
    if data[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", data, 18) != (machine,):
        return None
    at, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    heads = [struct.unpack_from("<IIQQQQQQ", data, at + i * size) for i in range(count)]
    loads = sorted(
        (address, offset, length, memory, flags) for kind, flags, offset, address, _, length, memory, _ in heads if kind == 1
    )
    code = max((load for load in loads if load[4] & 1), key=lambda load: load[2])
    bounds = Bounds(loads[0][0], max(load[0] + load[3] for load in loads), code[0], code[0] + code[3])
    return data[code[1] : code[1] + min(code[2], _MOST_BYTES)], code[0], bounds
