"""Delta units: bytes that turn ranges of a base into whole chunks of a new artifact. Port, codecs and engine."""

from .covers.matching import MATCH_MEMORY_BYTES, MatchOptions, check_matcher
from .engine import EngineOptions, MapBlob, PairEncoder
from .port import DeltaCodec, PairMap, Place
from .registry import codec_for, decode_unit, open_map
from .zstd_ranges import ZstdRanges

__all__ = [
    "MATCH_MEMORY_BYTES", "DeltaCodec", "EngineOptions", "MapBlob", "MatchOptions", "PairEncoder", "PairMap", "Place", "ZstdRanges",
    "check_matcher", "codec_for", "decode_unit", "open_map",
]  # fmt: skip
