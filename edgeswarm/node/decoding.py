"""Where pieces lie at the origin, and from a piece to verified chunks. Blocking; for threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..content.codec import PLAIN_METHODS, decode_piece
from ..content.delta import PairMap, Place, decode_unit
from ..content.digest import digest, short
from ..content.index import PackIndex, Piece
from ..content.manifest import Manifest, pages_of
from ..errors import ContentError
from .artifacts import StoredStream

if TYPE_CHECKING:
    from .maps import Maps


@dataclass(frozen=True, slots=True)
class Indexes:
    """Where a manifest's pieces lie at the origin, as far as this node knows.

    Attributes:
        delta: Index of units against `base`, or None.
        base: The base's manifest; its chunks are in the store.
        load_full: Fetches the full index when it is needed; None where there is no uplink.
        maps: Those of the delta index; None if there is none.
    """

    delta: PackIndex | None
    base: Manifest | None
    load_full: Callable[[], Awaitable[PackIndex]] | None
    maps: Maps | None = None


class Pages:
    """Makes manifest pages out of pieces, with the base's pages where they are differences to those.

    Attributes:
        index: Says where pages lie; None: nobody but a peer has them.
        load_full: Fetches the full index, whose pages need no base; None where there is no uplink.

    Args:
        index: See above.
        base: The base of the index, if it is one of units.
        load_full: See above.
    """

    def __init__(
        self, index: PackIndex | None, base: Manifest | None, load_full: Callable[[], Awaitable[PackIndex]] | None
    ) -> None:
        self.index = index
        self.load_full = load_full
        self._base = base
        self._stream: bytes | None = None

    def decode(self, piece: bytes, size: int) -> bytes:
        """Return a page of `size` bytes; `ContentError` if it does not decode. Its digest is not looked at."""
        if piece[:1] and piece[0] in PLAIN_METHODS:
            return decode_piece(piece, size)
        if self._stream is None:
            self._stream = b"".join(page for _, page in pages_of(self._base)) if self._base is not None else b""
        stream = self._stream
        return decode_unit(piece, lambda offset, length: stream[offset : offset + length], len(stream), size)


def decode_fast() -> None:
    """Load numpy, if it is installed: who has it decodes programs twice as fast, for some 25 MB of memory."""
    with suppress(ImportError):
        import numpy  # noqa: F401


def decode_chunks(
    manifest: Manifest, index: PackIndex, base: StoredStream | None, piece: Piece, data: bytes, its_map: PairMap | None = None
) -> list[bytes]:
    """Return the chunks that a piece makes, each with its digest checked, in order.

    Args:
        manifest: What the piece is part of.
        index: Names the piece; says whether it is a delta unit.
        base: Stream of the artifact that delta units refer to.
        piece: Which chunks.
        data: Its encoded bytes.
        its_map: The map of a delta unit whose chunks have one.

    Raises:
        BaseMissingError: A range of the base is not here.
        ContentError: It does not decode, or not to what the manifest says.
    """
    chunks = [manifest.chunk(piece.first + i) for i in range(piece.count)]
    start, size = chunks[0].offset, sum(chunk.size for chunk in chunks)
    if index.base is None or base is None:
        plain = decode_piece(data, size)
    else:
        plain = decode_unit(data, base.read, base.manifest.root.size, size, Place(start, its_map))
    parts = [plain[c.offset - start : c.offset - start + c.size] for c in chunks]
    for chunk, part in zip(chunks, parts, strict=True):
        if digest(part) != chunk.digest:
            raise ContentError(f"chunk {chunk.index} of {short(manifest.digest)} from the origin has another digest")
    return parts
