"""References in areas that are walked through: records of their own sizes, one behind the other. Pure Python."""

from __future__ import annotations

import struct
from array import array
from itertools import pairwise
from typing import NamedTuple

from .areas import DataClass

_CIE_ID = 0
_MOST_CIES = 4096
"""A walk stops at one more. A program has some few; each is remembered."""
_POINTER_ENCODING = 0x1B  # DW_EH_PE_pcrel | DW_EH_PE_sdata4: what compilers use
_HEAD_BYTES = 44
"""Bytes of Go's `_func` before its lists."""
(GO_ENTRY, GO_FUNCTION, GO_NAME, GO_PC, GO_UNIT, GO_DATA) = range(6)
"""Columns of `GO_FUNCTIONS`: addresses of code, places of functions in the table, of names, of tables of program counters, of
compilation units, and of data of functions."""


class WalkedFields(NamedTuple):
    """Where an area refers to something: places of fields of four bytes behind its start, ascending, and what each is.

    Attributes:
        places: Of the fields.
        rules: `DataClass` or number of the column of each.
    """

    places: array[int]
    rules: bytes


def frame_fields(data: bytes) -> WalkedFields:
    """Walk `.eh_frame`; stops where it makes no sense.

    Source: Linux Standard Base, Core 5.0, "Exception Frames".
    """
    places, rules = array("I"), bytearray()
    encodings: dict[int, tuple[bool, bool]] = {}  # of CIEs: whether code pointers and LSDA pointers are four relative bytes
    at, end = 0, len(data)
    while at + 8 <= end:
        length = int.from_bytes(data[at : at + 4], "little")
        if length in (0, 0xFFFFFFFF):
            at += 4
            if length:
                break
            continue
        back = int.from_bytes(data[at + 4 : at + 8], "little")
        if back == _CIE_ID:
            known = _cie(data[at + 8 : at + 4 + length]) if len(encodings) < _MOST_CIES else None
            if known is None:
                break
            encodings[at], personality = known
            if personality:
                places.append(at + 8 + personality)
                rules.append(DataClass.FRAME_START)
        elif at + 12 <= end:
            code, lsda = encodings.get(at + 4 - back, (True, False))
            fields = ((4, DataClass.FRAME_CIE, True), (8, DataClass.FRAME_START, code), (17, DataClass.FRAME_START, lsda))
            for place, rule, here in fields:
                if here and place <= length and at + place + 4 <= end:
                    places.append(at + place)
                    rules.append(rule)
        at += 4 + length
    return WalkedFields(places, bytes(rules))


def _cie(data: bytes) -> tuple[tuple[bool, bool], int] | None:
    """Return how pointers are encoded in the FDEs of a CIE, and where its own pointer to a personality routine is, or 0.

    Args:
        data: The CIE from its version on; None is returned if it ends too early.
    """
    try:
        return _parsed_cie(data)
    except IndexError:
        return None


def _parsed_cie(data: bytes) -> tuple[tuple[bool, bool], int]:
    stop = data.find(b"\0", 1)
    augmentation, at = data[1:stop] if stop > 0 else b"", stop + 1
    if not augmentation.startswith(b"z"):
        return (False, False), 0
    for _ in range(4):  # alignments, return address register, length of what follows
        while data[at] & 0x80:
            at += 1
        at += 1
    code, lsda, personality = False, False, 0
    for letter in augmentation[1:].decode("latin-1"):
        if letter == "R":
            code = data[at] == _POINTER_ENCODING
            at += 1
        elif letter == "L":
            lsda = data[at] == _POINTER_ENCODING
            at += 1
        elif letter == "P":
            if data[at] & 0x0F != _POINTER_ENCODING & 0x0F or not data[at] & 0x10:
                break
            personality = at + 1 if at + 5 <= len(data) else 0
            at += 5
        elif letter not in "SB":
            break
    return (code, lsda), personality


def go_fields(data: bytes, count: int) -> WalkedFields:
    """Walk through Go's table of functions: pairs of entry and place, and there for each function a `_func`; stops at nonsense.

    Args:
        data: The table, and all that its places refer to.
        count: Functions.

    Source: Go, src/runtime/symtab.go and src/cmd/link/internal/ld/pcln.go, since version 1.18.
    """
    places, rules = array("I"), bytearray()
    table = 8 * count + 4
    if table > len(data):
        return WalkedFields(places, b"")
    for at in range(0, table, 4):
        places.append(at)
        rules.append(GO_FUNCTION if at % 8 else GO_ENTRY)
    starts = [*struct.unpack_from(f"<{2 * count}I", data)[1::2], len(data)]
    end = table
    for start, following in pairwise(starts):
        if start < end or start % 4 or start + _HEAD_BYTES > len(data):
            break
        n_tables = int.from_bytes(data[start + 28 : start + 32], "little")
        end = start + _HEAD_BYTES + 4 * (n_tables + data[start + 43])
        if end > min(following, len(data)):
            break
        fixed = ((0, GO_ENTRY), (4, GO_NAME), (16, GO_PC), (20, GO_PC), (24, GO_PC), (32, GO_UNIT))
        for place, rule in fixed:
            places.append(start + place)
            rules.append(rule)
        places.extend(range(start + _HEAD_BYTES, end, 4))
        rules += bytes([GO_PC]) * n_tables + bytes([GO_DATA]) * data[start + 43]
    return WalkedFields(places, bytes(rules))
