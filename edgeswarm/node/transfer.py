"""The transfer of one manifest on a real node: the pure machine of `exchange`, driven by peers, the uplink and the store."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random

import trio

from ..abc import ChunkStore
from ..content.digest import digest, short
from ..content.index import PackIndex, Piece, check_index
from ..content.manifest import Manifest
from ..content.plan import PackRead, plan_reads
from ..errors import BaseMissingError, ContentError, FetchError
from ..exchange import (
    AskPeer,
    CancelSpan,
    ChunkFailed,
    ChunkHere,
    Claim,
    Complete,
    Effect,
    Event,
    FetchSpan,
    PeerDropped,
    PeerHas,
    Release,
    SpanEnded,
    SpanProgress,
    Tick,
    TransferConfig,
    TransferMachine,
    UplinkUsable,
    WakeAt,
)
from .artifacts import StoredStream
from .decoding import Indexes, decode_chunks
from .neighbours import Neighbours
from .progress import LOCAL, ORIGIN, Meter, Progress
from .tasks import plain_nursery
from .threads import in_thread
from .uplink import Uplink

_log = logging.getLogger("edgeswarm.transfer")
# One fdatasync, one commit and one thread hop for at most this much; less if less has come while the last was written. [512 KiB: 15
# CPU s/GB on a slow disk, 2 MiB: 12, `python -m bench.lan`; what waits here is in memory anyway.]
_BATCH_BYTES = 2 * 1024 * 1024
_HAVE_SECONDS = 0.05  # SWARM: announcements are batched over 50 ms
# Units that are fetched and not yet decoded: enough to keep one decoder busy, few enough to lose little when killed.
_DECODE_AHEAD = 8
HOPE_SECONDS = 10.0
"""What an origin has no more is waited for from the neighbours until nothing new has come for so long. A guess."""


@dataclass(slots=True)
class _Arrived:
    chunk: int
    data: bytes
    source: str


class Transfer:
    """One running transfer. `run` it in a nursery; feed it with the methods below, from the trio thread."""

    def __init__(
        self,
        manifest: Manifest,
        store: ChunkStore,
        own: bytes,
        neighbours: Neighbours,
        uplink: Uplink | None,
        indexes: Indexes,
        dice: Random,
        config: TransferConfig,
        *,
        here: Iterable[int],
        twins: dict[int, list[int]],
        refused: FetchError | None = None,
    ) -> None:
        held = list(here)
        self.manifest = manifest
        self.meter = Meter(manifest.root.size)
        self.meter.by_source[LOCAL] = sum(manifest.sizes[chunk] for chunk in held)
        self.done = trio.Event()
        self.ended = trio.Event()  # set by whoever runs it
        self._store = store
        self._neighbours = neighbours
        self._uplink = uplink
        self._indexes = indexes
        self._full: PackIndex | None = None
        self._refused: dict[int, None] = {}
        self._refusal = refused  # the origin's final answer: only neighbours can help
        self._refused_now = trio.Event()
        self._twins = twins
        self._base = StoredStream(store, indexes.base) if indexes.base is not None else None
        self._machine = TransferMachine(manifest.digest, len(manifest), held, own, trio.current_time(), dice, config)
        self._arrivals, self._inbox = trio.open_memory_channel[_Arrived](math.inf)  # bounded by the windows of the machine
        self._wake_at = math.inf
        self._wake = trio.Event()
        self._to_announce: list[int] = []
        self._fresh = trio.Event()
        self._spans: dict[int, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._stopping = False
        self._changed = trio.Event()

    @property
    def progress(self) -> Progress:
        """The moment."""
        return self.meter.now(complete=self._machine.complete)

    @property
    def here(self) -> list[int]:
        """Indices of the chunks that are here, ascending."""
        return self._machine.availability.here()

    def peer_has(self, peer: bytes, flags: bytes | bytearray, *, complete: bool) -> None:
        """Take what a peer says that it has, one byte a chunk; with `complete` it has nothing else."""
        fresh, gone = self._machine.availability.changes(peer, flags)
        for chunk in gone if complete else ():
            self.feed(PeerDropped(peer, chunk))
        self.feed(PeerHas(peer, fresh))

    @property
    def claims(self) -> list[int]:
        """Spans that this node fetches over its uplink."""
        return self._machine.leases.own_spans()

    async def changed(self) -> None:
        """Wait until the progress has changed."""
        await self._changed.wait()

    async def run(self) -> None:
        """Transfer until every chunk is here, or until cancelled; what was verified is kept in any case.

        Raises:
            FetchError: The origin says finally that it has no such pack, and no neighbour has brought anything for a while.
            StoreError: The store cannot keep what came (`NoSpaceError` when it is full).
        """
        async with plain_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._tick)
            nursery.start_soon(self._keep_arrivals)
            nursery.start_soon(self._announce)
            nursery.start_soon(self._give_up)
            try:
                self.uplink_changed()
                await self.done.wait()
                self._flush_announcements()
            finally:
                self._stopping = True  # a span that ends because of this must not be begun again
            nursery.cancel_scope.cancel()

    def uplink_changed(self) -> None:
        """Look again whether the uplink can be used for this."""
        self.feed(UplinkUsable(self._uplink is not None and self._uplink.usable and self._refusal is None))

    def feed(self, event: Event) -> None:
        """Give the machine one event and perform what it wants."""
        for effect in self._machine.handle(event, trio.current_time()):
            if not self._stopping or isinstance(effect, Release):  # what this node leaves is free for others at once
                self._perform(effect)

    def chunk_came(self, peer: bytes, source: str, chunk: int, data: bytes) -> None:
        """Take a chunk that a peer sent; a wrong one is the peer's fault and is asked of another."""
        wanted = self.manifest.chunk(chunk)
        if len(data) != wanted.size or digest(data) != wanted.digest:
            self.meter.refused_chunks += 1
            self._neighbours.blame(peer, f"sent a wrong chunk {chunk} of artifact {short(self.manifest.digest)}")
            return
        self._arrivals.send_nowait(_Arrived(chunk, data, source))

    def failed(self, peer: bytes, chunks: Sequence[int]) -> None:
        """Note that a peer will not send chunks."""
        self.feed(ChunkFailed(peer, chunks))

    # Effects.

    def _perform(self, effect: Effect) -> None:
        name = self.manifest.digest
        match effect:
            case WakeAt(time=time):
                self._wake_at = time
                self._wake.set()
            case AskPeer(peer=peer, chunks=chunks):
                self._neighbours.want(peer, name, chunks)
            case FetchSpan(span=span, chunks=chunks):
                self._start_span(span, chunks)
            case CancelSpan(span=span):
                if span in self._spans:
                    _log.info("span %d of %s is left to a peer", span, short(self.manifest.digest))
                    self._spans[span].cancel()
            case Claim(span=span, progress=progress):
                self._neighbours.claim(name, span, progress)
            case Release(span=span):
                self._neighbours.release(name, span)
            case Complete():
                self.done.set()

    async def _tick(self) -> None:
        """Feed a tick when the machine asked for it."""
        while True:
            self._wake = trio.Event()
            with trio.move_on_at(self._wake_at):
                await self._wake.wait()
                continue
            self._wake_at = math.inf
            self.feed(Tick())

    # Chunks that came.

    async def _keep_arrivals(self) -> None:
        """Store what came in batches: while one is written the next gathers."""
        async for first in self._inbox:
            batch, size = [first], len(first.data)
            while size < _BATCH_BYTES:
                try:
                    batch.append(self._inbox.receive_nowait())
                except trio.WouldBlock:
                    break
                size += len(batch[-1].data)
            await self._keep(batch)

    async def _keep(self, batch: list[_Arrived]) -> None:
        """Store a batch durably, then let the machine and the neighbours know."""
        fresh = {a.chunk: a for a in batch if not self._machine.availability.is_here(a.chunk)}
        rows = [(self.manifest.chunk(chunk).digest, arrived.data) for chunk, arrived in fresh.items()]
        await in_thread(lambda: self._store.put(rows, owner=self.manifest.digest))
        fresh = {c: a for c, a in fresh.items() if not self._machine.availability.is_here(c)}  # it may have come twice meanwhile
        for arrived in fresh.values():
            self.meter.by_source[arrived.source] += len(arrived.data)
        self._to_announce += fresh
        # A chunk may stand in several places of the stream: one arrival serves them all.
        here = list(dict.fromkeys(twin for chunk in fresh for twin in self._twins.get(chunk, (chunk,))))
        twins = [chunk for chunk in here if chunk not in fresh and not self._machine.availability.is_here(chunk)]
        self.meter.by_source[LOCAL] += sum(self.manifest.sizes[chunk] for chunk in twins)
        self.feed(ChunkHere(here))
        self._to_announce += twins
        self._fresh.set()
        self._tell_changed()

    def _tell_changed(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _announce(self) -> None:
        """Announce the first new chunk at once, and what comes within the next moments together."""
        while True:
            await self._fresh.wait()
            self._fresh = trio.Event()
            self._flush_announcements()
            await trio.sleep(_HAVE_SECONDS)

    def _flush_announcements(self) -> None:
        """Tell each neighbour of the new chunks that it lacks."""
        chunks, self._to_announce = sorted(self._to_announce), []
        availability = self._machine.availability
        for peer in availability.peers() if chunks else ():
            lacking = [chunk for chunk in chunks if not availability.has(peer, chunk)]
            if lacking:
                self._neighbours.have(peer, self.manifest.digest, lacking, len(self.manifest))

    # The uplink.

    def _start_span(self, span: int, chunks: tuple[int, ...]) -> None:
        assert self._nursery is not None  # noqa: S101  # effects come from `feed`, which `run` calls first
        _log.info("span %d of %s: %d chunks over the uplink", span, short(self.manifest.digest), len(chunks))
        self._spans[span] = trio.CancelScope()
        self._nursery.start_soon(self._fetch_span, span, chunks, self._spans[span])

    async def _fetch_span(self, span: int, chunks: tuple[int, ...], scope: trio.CancelScope) -> None:
        """Fetch chunks over the uplink; whatever happens, the machine is told that the span has ended."""
        try:
            with scope:
                await self._fetch_chunks(span, chunks)
        except FetchError as error:
            _log.warning("span %d of %s over the uplink: %s", span, short(self.manifest.digest), error)
            if not error.temporary:
                self._refuse(error)
        except ContentError as error:
            _log.warning("span %d of %s over the uplink: %s", span, short(self.manifest.digest), error)
            assert self._uplink is not None  # noqa: S101  # the machine fetches spans only with an uplink
            self._uplink.failed(error)  # wait before asking again: it would bring the same bytes
        finally:
            self._spans.pop(span, None)
            self._flush_announcements()  # before the release of the span: or others would fetch what is here
            self.feed(SpanEnded(span))

    def _refuse(self, error: FetchError) -> None:
        """Take the origin's final answer: it is not asked again for this, the neighbours may have it all the same."""
        self._refusal = error
        self._refused_now.set()
        self.uplink_changed()

    async def _give_up(self) -> None:
        """End the transfer when the origin has refused it and the neighbours bring nothing either."""
        if self._refusal is None:
            await self._refused_now.wait()
        while self._machine.hopeful:
            with trio.move_on_after(HOPE_SECONDS):
                await self._changed.wait()
                continue
            break
        if self._refusal is not None and not self._machine.complete:
            self._stopping = True
            raise self._refusal

    async def _fetch_chunks(self, span: int, chunks: Sequence[int]) -> None:
        """Fetch chunks as units where the base is here; the chunks of units that turn out not to decode are fetched whole."""
        await self._fetch_planned(span, chunks)
        left = [chunk for chunk in chunks if not self._machine.availability.is_here(chunk)]
        if left and self._refused:
            await self._fetch_planned(span, left)

    async def _fetch_planned(self, span: int, chunks: Sequence[int]) -> None:
        reads, rest = plan_reads(chunks, self._full, self._indexes.delta, refused=self._refused)
        if rest and self._full is None:
            await self._load_full()
            reads, rest = plan_reads(chunks, self._full, self._indexes.delta, refused=self._refused)
        if rest:
            raise ContentError(f"chunks {rest[0]} and {len(rest) - 1} more stand in no index of {short(self.manifest.digest)}")
        for read in reads:
            await self._read(span, read)

    async def _load_full(self) -> None:
        if self._indexes.load_full is None:
            raise FetchError("the full index is needed and there is no way to it", temporary=False)
        full = await self._indexes.load_full()
        check_index(full, self.manifest)
        self._full = full

    async def _read(self, span: int, read: PackRead) -> None:
        """Read consecutive pieces, decoding behind the reading."""
        assert self._uplink is not None  # noqa: S101  # the machine fetches spans only with an uplink
        send, receive = trio.open_memory_channel[tuple[Piece, bytes]](_DECODE_AHEAD)
        total = 0

        def on_bytes(count: int) -> None:
            nonlocal total
            total += count
            self.meter.uplink_bytes += count
            self.feed(SpanProgress(span, total))

        async def on_piece(piece: Piece, data: bytes) -> None:
            with trio.CancelScope(shield=True), suppress(trio.BrokenResourceError):  # broken: decoding failed, which ends this
                await send.send((piece, data))

        heirs: list[bytes] = []

        def on_partial(piece: Piece, at: int, data: bytes) -> None:
            nonlocal heirs
            if not at:  # who gets the rest of a piece must have its beginning
                heirs = self._machine.leases.heirs(span)
            for heir in heirs:
                self._neighbours.partial(heir, read.pack, piece.offset, at, data)

        async with plain_nursery() as nursery:
            nursery.start_soon(self._decode_all, self._uplink, read.index, receive)
            with send:
                await self._uplink.read_pack(read, on_bytes, on_piece, on_partial)

    async def _decode_all(self, uplink: Uplink, index: PackIndex, pieces: trio.MemoryReceiveChannel[tuple[Piece, bytes]]) -> None:
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
                    uplink.kept(index.packs[piece.pack], piece.offset)

    async def _decode_one(self, index: PackIndex, piece: Piece, data: bytes) -> list[_Arrived]:
        """Return the chunks of a piece; none if its base is not here, and then they are taken whole."""
        try:
            plain = await in_thread(partial(decode_chunks, self.manifest, index, self._base, piece, data))
        except ContentError as error:
            if index.base is not None:
                self._refused[piece.first] = None
            if not isinstance(error, BaseMissingError):
                raise
            _log.warning("delta unit of chunks %d+%d: %s; its chunks are taken whole", piece.first, piece.count, error)
            return []
        return [_Arrived(piece.first + i, part, ORIGIN) for i, part in enumerate(plain)]
