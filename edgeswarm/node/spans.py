"""One span over the uplink: maps of its units are brought, then its reads are planned, read, and decoded behind the reading."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import trio

from ..content.digest import Digest, short
from ..content.index import PackIndex, Piece, check_index
from ..content.manifest import Manifest
from ..content.plan import PackRead, pieces_for, plan_reads
from ..errors import BaseMissingError, ContentError, FetchError
from ..exchange.leases import Leases
from .artifacts import StoredStream
from .decoding import Indexes, decode_chunks
from .neighbours import Neighbours
from .objects import rank_key
from .progress import ORIGIN
from .tasks import plain_nursery
from .threads import in_thread
from .uplink import OnPartial, Uplink

_log = logging.getLogger("edgeswarm.transfer")
# Units that are fetched and not yet decoded: enough to keep one decoder busy, few enough to lose little when killed.
_DECODE_AHEAD = 8


@dataclass(slots=True)
class Arrived:
    """A verified chunk that is not kept yet.

    Attributes:
        chunk: Its index.
        data: Its bytes.
        source: Where it came from.
    """

    chunk: int
    data: bytes
    source: str


class SpanReader:
    """Brings chunks over the uplink: as units where the base is here, else whole.

    Args:
        manifest: What they are chunks of.
        uplink: This node's own.
        indexes: Where pieces lie.
        base: Stream of the artifact that units refer to, or None.
        leases: Say who would go on with a span.
        neighbours: Get the beginnings of pieces.
        is_here: Tells if a chunk is here.
        keep: Awaited with chunks; they are durable when it returns.
        on_bytes: Called with a span and the number of bytes of it that just came.
    """

    def __init__(
        self,
        manifest: Manifest,
        uplink: Uplink,
        indexes: Indexes,
        base: StoredStream | None,
        leases: Leases,
        neighbours: Neighbours,
        *,
        is_here: Callable[[int], bool],
        keep: Callable[[list[Arrived]], Awaitable[None]],
        on_bytes: Callable[[int, int], None],
    ) -> None:
        self._manifest = manifest
        self._uplink = uplink
        self._indexes = indexes
        self._base = base
        self._leases = leases
        self._neighbours = neighbours
        self._is_here = is_here
        self._keep = keep
        self._on_bytes = on_bytes
        self._full: PackIndex | None = None
        self._refused: dict[int, None] = {}

    async def fetch(self, span: int, chunks: Sequence[int]) -> None:
        """Fetch chunks as units where the base is here; the chunks of units that turn out not to decode are fetched whole.

        Raises:
            FetchError: The uplink broke, or the origin has no such pack.
            ContentError: What came is wrong.
        """
        await self._fetch_planned(span, chunks)
        left = [chunk for chunk in chunks if not self._is_here(chunk)]
        if left and self._refused:
            await self._fetch_planned(span, left)

    async def _fetch_planned(self, span: int, chunks: Sequence[int]) -> None:
        await self._bring_maps(span, chunks)
        reads, rest = plan_reads(chunks, self._full, self._indexes.delta, refused=self._refused)
        if rest and self._full is None:
            await self._load_full()
            reads, rest = plan_reads(chunks, self._full, self._indexes.delta, refused=self._refused)
        if rest:
            raise ContentError(f"chunks {rest[0]} and {len(rest) - 1} more stand in no index of {short(self._manifest.digest)}")
        for read in reads:
            await self._read(span, read)

    async def _bring_maps(self, span: int, chunks: Sequence[int]) -> None:
        """Have the maps of units here before these are read; units whose map cannot be had are not read at all."""
        delta, maps = self._indexes.delta, self._indexes.maps
        if delta is None or maps is None:
            return
        units, _ = pieces_for(delta, chunks)
        for unit in units:
            needed = delta.map_for(unit)
            if needed is None or unit.first in self._refused:
                continue
            on_partial = self._map_sharer(span, delta.packs[needed.pack], needed.digest)
            if not await maps.bring(needed, partial(self._on_bytes, span), on_partial):
                self._refused[unit.first] = None

    async def _load_full(self) -> None:
        if self._indexes.load_full is None:
            raise FetchError("the full index is needed and there is no way to it", temporary=False)
        full = await self._indexes.load_full()
        check_index(full, self._manifest)
        self._full = full

    async def _read(self, span: int, read: PackRead) -> None:
        """Read consecutive pieces, decoding behind the reading."""
        send, receive = trio.open_memory_channel[tuple[Piece, bytes]](_DECODE_AHEAD)

        async def on_piece(piece: Piece, data: bytes) -> None:
            with trio.CancelScope(shield=True), suppress(trio.BrokenResourceError):  # broken: decoding failed, which ends this
                await send.send((piece, data))

        on_partial = self._sharer(span, read.pack)
        async with plain_nursery() as nursery:
            nursery.start_soon(self._decode_all, read.index, receive)
            with send:
                await self._uplink.read_pack(read, partial(self._on_bytes, span), on_piece, on_partial)

    def _sharer(self, span: int, pack: Digest) -> OnPartial:
        """Return what shares the beginnings of pieces of a pack with those who would go on."""
        heirs: list[bytes] = []

        def on_partial(piece: Piece, at: int, data: bytes) -> None:
            nonlocal heirs
            if not at:  # who gets the rest of a piece must have its beginning
                heirs = self._leases.heirs(span)
            for heir in heirs:
                self._neighbours.partial(heir, pack, piece.offset, at, data)

        return on_partial

    def _map_sharer(self, span: int, pack: Digest, name: Digest) -> OnPartial:
        """Return what shares the beginning of a map, which takes long: who comes to need it meanwhile gets all that has come."""
        come, told = bytearray(), dict[bytes, int]()

        def on_partial(piece: Piece, at: int, data: bytes) -> None:
            come[at:] = data
            if not at:
                told.clear()
            for heir in self._leases.heirs_of_object(rank_key(name.hex()), span):
                known = told.get(heir, 0)
                self._neighbours.partial(heir, pack, piece.offset, known, bytes(come[known:]))
                told[heir] = len(come)

        return on_partial

    async def _decode_all(self, index: PackIndex, pieces: trio.MemoryReceiveChannel[tuple[Piece, bytes]]) -> None:
        """Decode and keep pieces until no more come, also when cancelled: the few that wait here have been paid for."""
        with trio.CancelScope(shield=True), pieces:
            async for first in pieces:
                batch = [first]
                with suppress(trio.WouldBlock, trio.EndOfChannel):
                    while len(batch) < _DECODE_AHEAD:
                        batch.append(pieces.receive_nowait())
                arrived = [chunk for piece, data in batch for chunk in await self._decode_one(index, piece, data)]
                await self._keep(arrived)
                for piece, _ in batch:
                    self._uplink.kept(index.packs[piece.pack], piece.offset)

    async def _decode_one(self, index: PackIndex, piece: Piece, data: bytes) -> list[Arrived]:
        """Return the chunks of a piece; none if its base or its map is not here, and then they are taken whole."""
        try:
            maps = self._indexes.maps if index.base is not None else None
            its_map = await maps.opened(piece) if maps is not None else None
            plain = await in_thread(partial(decode_chunks, self._manifest, index, self._base, piece, data, its_map))
        except ContentError as error:
            if index.base is not None:
                self._refused[piece.first] = None
            if not isinstance(error, BaseMissingError):
                raise
            _log.warning("delta unit of chunks %d+%d: %s; its chunks are taken whole", piece.first, piece.count, error)
            return []
        return [Arrived(piece.first + i, part, ORIGIN) for i, part in enumerate(plain)]
