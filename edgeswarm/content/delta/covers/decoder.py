"""Makes the output of a unit over covers; with numpy where it is there, without it just the same, byte for byte."""

from __future__ import annotations

import array
import sys
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from ....errors import ContentError
from ...varint import all_varints, unzigzag
from ..port import Place, ReadBase
from .layout import MAX_COVERS, METHOD, RUN_BYTES, Stream, unpack_unit

_NUMPY_FROM = 2000
"""Corrections from which on numpy is worth its calls. A guess."""


_TOO_FAR = "delta unit: a correction reaches into another one, or beyond its cover"


class Segment(NamedTuple):
    """Copied bytes: where they are among all copied bytes, where in the output, how many, and where in the base."""

    copied: int
    out: int
    length: int
    old: int


class Covers:
    """The codec of method 3."""

    method = METHOD

    def decode(self, unit: memoryview, read_base: ReadBase, base_size: int, size: int, place: Place) -> bytes:
        """Return exactly `size` bytes; see `DeltaCodec.decode`."""
        return decode_covers(unit, read_base, base_size, size)


def decode_covers(data: memoryview, read_base: ReadBase, base_size: int, size: int) -> bytes:
    """Return exactly `size` bytes; see `DeltaCodec.decode`."""
    unit = unpack_unit(data, size)
    out = bytearray(size + RUN_BYTES)  # a correction near the end is added in a field of four bytes
    segments = _lay_out(unit.start, unit.streams, base_size, size)
    places, values = corrections_of(unit.streams, segments)
    copy(out, segments, unit.streams[Stream.LITERALS], size, read_base)
    if places:
        correct(out, places, values, segments)
    return bytes(memoryview(out)[:size])


def copy(out: bytearray, segments: Sequence[Segment], literals: bytes, size: int, read_base: ReadBase) -> None:
    """Write what is copied, and the literals between; `ContentError` if these are too many or too few.

    Args:
        out: Of at least `size` bytes.
        segments: Ascending in the output, apart from each other.
        literals: All other bytes of the output.
        size: Bytes of output.
        read_base: Reads the base.
    """
    missing = size - sum(segment.length for segment in segments)
    if len(literals) != missing:
        raise ContentError(f"delta unit: {len(literals)} literals, wanted {missing}")
    view, at, taken = memoryview(literals), 0, 0
    for segment in segments:
        gap = segment.out - at
        out[at : segment.out] = view[taken : taken + gap]
        at, taken = segment.out + segment.length, taken + gap
    out[at:size] = view[taken:]
    for segment in sorted(segments, key=lambda one: one.old):  # ascending: each chunk of the base is needed for a while, once
        out[segment.out : segment.out + segment.length] = read_base(segment.old, segment.length)


def corrections_of(streams: tuple[bytes, ...], segments: Sequence[Segment]) -> tuple[list[int], Sequence[int]]:
    """Return places among the copied bytes, and values; `ContentError` if one lies outside, or where another one is."""
    gaps, values = _corrections(streams)
    places = list(accumulate(gaps))
    if places and (not segments or places[-1] >= segments[-1].copied + segments[-1].length or 0 in gaps[1:]):
        raise ContentError("delta unit: a correction lies outside of what is copied, or where another one is")
    return places, values


def _corrections(streams: tuple[bytes, ...]) -> tuple[Sequence[int], Sequence[int]]:
    """Return gaps and values, whichever way they are given."""
    records = _words(streams[Stream.RECORDS])
    gaps, values = all_varints(streams[Stream.GAPS]), _words(streams[Stream.VALUES])
    if len(records) % 2 or len(gaps) != len(values) or (gaps and records):
        raise ContentError(f"delta unit: {len(gaps)} gaps for {len(values)} corrections, and {len(records)} words of records")
    return (records[::2], records[1::2]) if records else (gaps, values)


def _words(data: bytes) -> array.array[int]:
    """Return little-endian words of four bytes."""
    if len(data) % RUN_BYTES:
        raise ContentError(f"delta unit: {len(data)} bytes of words of {RUN_BYTES}")
    words = array.array("I", data)
    if sys.byteorder == "big":
        words.byteswap()
    return words


def _lay_out(start: int, streams: tuple[bytes, ...], base_size: int, size: int) -> list[Segment]:
    """Check all covers, and return what is to be copied where, ascending in the output."""
    control = all_varints(streams[Stream.CONTROL])
    count, odd = divmod(len(control), 3)
    if odd or count > MAX_COVERS:
        raise ContentError(f"delta unit: {len(control)} numbers of control, wanted three for each of at most {MAX_COVERS} covers")
    if sum(control[: 2 * count]) > size:
        raise ContentError(f"delta unit: its covers make more than {size} bytes")
    segments, at, copied, old = [], 0, 0, start
    for literal, length, jump in zip(control[:count], control[count : 2 * count], control[2 * count :], strict=True):
        at, old = at + literal, old + literal + unzigzag(jump)
        if not 0 <= old <= old + length <= base_size or not length:
            raise ContentError(f"delta unit: range {old}+{length} of a base of {base_size} bytes")
        segments.append(Segment(copied, at, length, old))
        at, copied, old = at + length, copied + length, old + length
    return segments


def correct(out: bytearray, places: list[int], values: Sequence[int], segments: list[Segment]) -> None:
    """Add corrections to the output.

    Args:
        out: With four bytes more than there is output.
        places: Where each starts, counted in copied bytes; ascending.
        values: What is added to the four bytes there, modulo 2**32.
        segments: Where copied bytes lie, ascending.
    """
    if len(places) >= _NUMPY_FROM and "numpy" in sys.modules:
        _correct_at_once(out, places, values, segments)
    else:
        _correct_one_by_one(out, places, values, segments)


def _correct_one_by_one(out: bytearray, places: list[int], values: Sequence[int], segments: list[Segment]) -> None:
    following = iter(segments)
    segment = next(following)
    end = segment.copied + segment.length
    for place, value, after in zip(places, values, [*places[1:], sys.maxsize], strict=True):
        while place >= end:
            segment = next(following)
            end = segment.copied + segment.length
        at = place - segment.copied + segment.out
        field = int.from_bytes(out[at : at + RUN_BYTES], "little")
        new = field + value & 0xFFFFFFFF
        if (field ^ new) >> 8 * min(RUN_BYTES, after - place, end - place):
            raise ContentError(_TOO_FAR)
        out[at : at + RUN_BYTES] = new.to_bytes(RUN_BYTES, "little")


def _correct_at_once(out: bytearray, places: list[int], values: Sequence[int], segments: list[Segment]) -> None:
    import numpy as np

    starts, outs, lengths, _ = (np.array(column, np.int64) for column in zip(*segments, strict=True))
    where = np.array(places, np.int64)
    which = np.searchsorted(starts, where, side="right") - 1
    at = where - starts[which] + outs[which]
    view = np.frombuffer(out, np.uint8)
    fields = np.zeros(len(at), np.uint32)
    for byte in range(RUN_BYTES):
        fields |= view[at + byte].astype(np.uint32) << np.uint32(8 * byte)
    changed = fields ^ (fields + np.array(values, np.uint32))
    room = np.minimum(starts[which] + lengths[which] - where, np.append(np.diff(where), RUN_BYTES))
    if np.any(changed.astype(np.uint64) >> (8 * np.minimum(room, RUN_BYTES)).astype(np.uint64)):
        raise ContentError(_TOO_FAR)
    for byte in range(RUN_BYTES):  # where two fields overlap, only one of them changes a byte
        view[at + byte] ^= (changed >> np.uint32(8 * byte)).astype(np.uint8)
