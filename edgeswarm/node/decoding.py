"""Where pieces lie at the origin, and from a piece to verified chunks. Blocking; for threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..content.codec import decode_piece
from ..content.delta import decode_unit
from ..content.digest import digest, short
from ..content.index import PackIndex, Piece
from ..content.manifest import Manifest
from ..errors import ContentError
from .artifacts import StoredStream


@dataclass(frozen=True, slots=True)
class Indexes:
    """Where a manifest's pieces lie at the origin, as far as this node knows.

    Attributes:
        delta: Index of units against `base`, or None.
        base: The base's manifest; its chunks are in the store.
        load_full: Fetches the full index when it is needed; None where there is no uplink.
    """

    delta: PackIndex | None
    base: Manifest | None
    load_full: Callable[[], Awaitable[PackIndex]] | None


def decode_chunks(manifest: Manifest, index: PackIndex, base: StoredStream | None, piece: Piece, data: bytes) -> list[bytes]:
    """Return the chunks that a piece makes, each with its digest checked, in order.

    Args:
        manifest: What the piece is part of.
        index: Names the piece; says whether it is a delta unit.
        base: Stream of the artifact that delta units refer to.
        piece: Which chunks.
        data: Its encoded bytes.

    Raises:
        BaseMissingError: A range of the base is not here.
        ContentError: It does not decode, or not to what the manifest says.
    """
    chunks = [manifest.chunk(piece.first + i) for i in range(piece.count)]
    size = sum(chunk.size for chunk in chunks)
    if index.base is None or base is None:
        plain = decode_piece(data, size)
    else:
        plain = decode_unit(data, base.read, base.manifest.root.size, size)
    start = chunks[0].offset
    parts = [plain[c.offset - start : c.offset - start + c.size] for c in chunks]
    for chunk, part in zip(chunks, parts, strict=True):
        if digest(part) != chunk.digest:
            raise ContentError(f"chunk {chunk.index} of {short(manifest.digest)} from the origin has another digest")
    return parts
