"""Which codec decodes which method byte: the one place to add a codec to."""

from __future__ import annotations

from ...errors import ContentError
from ..codec import PLAIN_METHODS, decode_piece
from .covers import Covers
from .port import DeltaCodec, PairMap, Place, ReadBase
from .prediction import Predicted, decode_map
from .zstd_ranges import ZstdRanges

_CODECS: dict[int, DeltaCodec] = {codec.method: codec for codec in (ZstdRanges(), Covers(), Predicted())}
_NOWHERE = Place(0, None)


def codec_for(method: int) -> DeltaCodec:
    """Return the codec of a method byte; `ContentError` if there is none."""
    try:
        return _CODECS[method]
    except KeyError:
        raise ContentError(f"delta unit: method {method} is not known here; a newer edgeswarm made it") from None


def decode_unit(unit: bytes | memoryview, read_base: ReadBase, base_size: int, size: int, place: Place = _NOWHERE) -> bytes:
    """Decode a piece of a delta index: a unit of any codec, or a plain piece where that was smaller.

    Without a place, only units that need no map decode.

    Raises: as `DeltaCodec.decode`.
    """
    view = memoryview(unit)
    if not len(view):
        raise ContentError("delta unit: empty")
    if view[0] in PLAIN_METHODS:
        return decode_piece(view, size)
    return codec_for(view[0]).decode(view, read_base, base_size, size, place)


def open_map(data: bytes, base_size: int) -> PairMap:
    """Return a map, to decode the units of its chunks with; `ContentError` if it is malformed or no map of such a base."""
    return decode_map(data, base_size)
