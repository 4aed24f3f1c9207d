"""The codec of method 4: covers stand in the map, and what they copy is predicted before it is corrected."""

from __future__ import annotations

from ....errors import ContentError
from ..covers.decoder import Segment, copy, correct, corrections_of
from ..covers.layout import RUN_BYTES, Stream, unpack_unit
from ..port import Place, ReadBase
from .predictor import Predictor

METHOD = 4
MAX_COVERS = 1 << 15
"""Of one unit: each costs a search for references around it. [The most of any stream of 25 MB measured is 90,000.]"""


class Predicted:
    """The codec of method 4."""

    method = METHOD

    def decode(self, unit: memoryview, read_base: ReadBase, base_size: int, size: int, place: Place) -> bytes:
        """Return exactly `size` bytes; see `DeltaCodec.decode`."""
        if not isinstance(place.map, Predictor):
            raise ContentError("delta unit: method 4 needs a map, and there is none for its chunks")
        unpacked = unpack_unit(unit, size, METHOD)
        streams = unpacked.streams
        if streams[Stream.CONTROL] or unpacked.start:
            raise ContentError("delta unit: covers in a unit whose covers stand in a map")
        count = place.map.count(place.start, place.start + size)
        if count > MAX_COVERS:
            raise ContentError(f"delta unit: {count} covers of its map, at most {MAX_COVERS} are taken")
        covers = place.map.segments(place.start, place.start + size)
        out = bytearray(size + RUN_BYTES)
        segments, copied = [], 0
        for cover in covers:
            segments.append(Segment(copied, cover.new - place.start, cover.length, cover.old))
            copied += cover.length
        places, values = corrections_of(streams, segments)
        copy(out, segments, streams[Stream.LITERALS], size, read_base)
        place.map.predict(out, place.start, covers, read_base)
        if places:
            correct(out, places, values, segments)
        return bytes(memoryview(out)[:size])
