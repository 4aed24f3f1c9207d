"""Delta units: bytes that turn ranges of a base into whole chunks of a new artifact. Port, codecs and engine."""

from .covers.matching import MATCH_MEMORY_BYTES, MatchOptions, check_matcher
from .engine import EngineOptions, PairEncoder
from .port import DeltaCodec
from .registry import codec_for, decode_unit
from .zstd_ranges import ZstdRanges

__all__ = [
    "MATCH_MEMORY_BYTES", "DeltaCodec", "EngineOptions", "MatchOptions", "PairEncoder", "ZstdRanges", "check_matcher", "codec_for",
    "decode_unit",
]  # fmt: skip
