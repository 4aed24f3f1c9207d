"""Pieces: how chunks and pages are encoded in packs, and on a link that asks for it.

A piece is one method byte and a payload. Whoever decodes knows the plain size beforehand, from a manifest that is signed, so that
memory is bounded whatever the payload claims.
"""

from __future__ import annotations

import zstandard

from ..errors import ContentError

STORED = 0
ZSTD = 1
ZSTD_RANGES = 2
PLAIN_METHODS = frozenset({STORED, ZSTD})
"""Methods of pieces that need no base."""

# A frame that asks for more is not one of ours: chunks have at most 256 KiB, units 4 MiB of output over 8 MiB of base.
MAX_WINDOW_BYTES = 16 * 1024 * 1024
DEFAULT_LEVEL = 12

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_RLE_BLOCK = 1
_BLOCK_HEAD_BYTES = 3
_CHECKSUM_BYTES = 4


def compress(plain: bytes | memoryview, level: int) -> bytes:
    """Return one zstd frame without size, checksum or dictionary id: those stand in the manifest."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(plain), write_content_size=False, write_checksum=False, write_dict_id=False
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(plain)


def _frame_end(frame: memoryview) -> int:
    """Return where the first zstd frame ends, from its block heads alone: the library ignores what stands behind it.

    Source: RFC 8878, sections 3.1.1 and 3.1.1.2.
    """
    if frame[:4] != _ZSTD_MAGIC:
        raise ContentError(f"zstd frame of {len(frame)} bytes: starts with {bytes(frame[:4]).hex() or 'nothing'}")
    at, last = zstandard.frame_header_size(frame), 0
    while not last:
        head = int.from_bytes(frame[at : at + _BLOCK_HEAD_BYTES], "little")
        last, kind, size = head & 1, head >> 1 & 3, head >> 3
        at += _BLOCK_HEAD_BYTES + (1 if kind == _RLE_BLOCK else size)
        if at > len(frame):
            raise ContentError(f"zstd frame of {len(frame)} bytes: cut off")
    return at + (_CHECKSUM_BYTES if frame[4] & 4 else 0)


def decompress(frame: bytes | memoryview, size: int, dictionary: zstandard.ZstdCompressionDict | None = None) -> bytes:
    """Decompress one zstd frame that must give exactly `size` bytes.

    Never allocates more than `size` and the window, whatever the frame claims: `decompress(max_output_size=)` of the library is
    ignored for frames that declare a size, so the frame is read as a stream up to the size wanted and one byte more.

    Raises:
        ContentError: Not a frame, a window above 16 MiB, more or fewer bytes, or bytes behind the frame.
    """
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=MAX_WINDOW_BYTES)
    plain = b""
    try:
        end = _frame_end(memoryview(frame))
        if end != len(frame):
            raise ContentError(f"zstd frame of {len(frame)} bytes: the frame itself has {end}")
        with decompressor.stream_reader(frame, read_across_frames=False) as reader:
            plain = reader.read(size)
            if len(plain) == size and not reader.read(1):
                return plain
    except zstandard.ZstdError as error:
        raise ContentError(f"zstd frame of {len(frame)} bytes: {error}") from error
    raise ContentError(f"zstd frame of {len(frame)} bytes: wanted exactly {size} bytes of output, got {len(plain)} or more")


def encode_piece(plain: bytes | memoryview, level: int = DEFAULT_LEVEL) -> bytes:
    """Return the smaller of stored and zstd, with the method byte in front."""
    frame = compress(plain, level)
    if len(frame) < len(plain):
        return bytes([ZSTD]) + frame
    return bytes([STORED]) + bytes(plain)


def decode_piece(piece: bytes | memoryview, size: int) -> bytes:
    """Decode a stored or zstd piece that must give exactly `size` bytes.

    Raises:
        ContentError: Another method (a delta unit needs its base: `delta.decode_unit`), or not `size` bytes.
    """
    view = memoryview(piece)
    if not len(view):
        raise ContentError("piece: empty")
    if view[0] == STORED:
        if len(view) - 1 != size:
            raise ContentError(f"stored piece: wanted {size} bytes, got {len(view) - 1}")
        return bytes(view[1:])
    if view[0] == ZSTD:
        return decompress(view[1:], size)
    raise ContentError(f"piece: method {view[0]} is not known here, or needs a base")
