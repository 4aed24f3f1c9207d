"""A toy of method 4: a unit is what differs from a map that is repeated over the whole stream, compressed."""

from __future__ import annotations

import sys

import pytest

from edgeswarm.content.codec import decode_piece, encode_piece
from edgeswarm.content.delta import PairMap, Place, registry
from edgeswarm.content.delta.port import ReadBase
from edgeswarm.errors import ContentError

METHOD = 4
HEAD = b"map"
_OPENERS = ("edgeswarm.content.delta", "edgeswarm.publish.maps", "edgeswarm.node.maps")


class ToyMap:
    """An opened map."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def open_toy(data: bytes, base_size: int) -> PairMap:
    """Open a map, which starts with `HEAD`."""
    if not data.startswith(HEAD):
        raise ContentError("toy map: malformed")
    return ToyMap(data)


def tiled(map_data: bytes, start: int, size: int) -> bytes:
    """Return what a map says that a stream is."""
    first = start % len(map_data)
    return (map_data * ((first + size) // len(map_data) + 1))[first : first + size]


def _changed(data: bytes, map_data: bytes, start: int) -> bytes:
    says = int.from_bytes(tiled(map_data, start, len(data)), "big")
    return (int.from_bytes(data, "big") ^ says).to_bytes(len(data), "big")


def encode_toy(plain: bytes, start: int, map_data: bytes) -> bytes:
    """Return a unit that makes `plain` at `start` of the new stream with a map."""
    return bytes([METHOD]) + encode_piece(_changed(plain, map_data, start), 1)


class ToyCodec:
    """The codec of such units."""

    method = METHOD

    def decode(self, unit: memoryview, read_base: ReadBase, base_size: int, size: int, place: Place) -> bytes:
        if place.map is None:
            raise ContentError("toy unit: its map is not given")
        assert isinstance(place.map, ToyMap)
        return _changed(decode_piece(unit[1:], size), place.map.data, place.start)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode units of method 4 with the toy everywhere."""
    monkeypatch.setitem(registry._CODECS, METHOD, ToyCodec())
    for name in _OPENERS:
        __import__(name)
        monkeypatch.setattr(sys.modules[name], "open_map", open_toy)
