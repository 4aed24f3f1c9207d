"""Delta units: bytes that turn ranges of a base into whole chunks of a new artifact. A port, and the codecs behind it."""

from .port import DeltaCodec, UnitEncoder
from .registry import codec_for, decode_unit
from .zstd_ranges import ZstdRanges

__all__ = ["DeltaCodec", "UnitEncoder", "ZstdRanges", "codec_for", "decode_unit"]
