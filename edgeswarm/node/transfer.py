"""The transfer of one manifest on a real node: the pure machine of `exchange`, driven by peers, the uplink and the store."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from random import Random

import trio

from ..abc import ChunkStore
from ..content.digest import digest, short
from ..content.manifest import Manifest
from ..errors import ContentError, FetchError
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
from .decoding import Indexes
from .neighbours import Neighbours
from .progress import LOCAL, Meter, Progress
from .spans import Arrived, SpanReader
from .tasks import plain_nursery
from .threads import in_thread
from .uplink import Uplink

_log = logging.getLogger("edgeswarm.transfer")
# One fdatasync, one commit and one thread hop for at most this much; less if less has come while the last was written. [512 KiB: 15
# CPU s/GB on a slow disk, 2 MiB: 12, `python -m bench.lan`; what waits here is in memory anyway.]
_BATCH_BYTES = 2 * 1024 * 1024
_HAVE_SECONDS = 0.05  # SWARM: announcements are batched over 50 ms
HOPE_SECONDS = 10.0
"""What an origin has no more is waited for from the neighbours until nothing new has come for so long. A guess."""


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
        self._refusal = refused  # the origin's final answer: only neighbours can help
        self._refused_now = trio.Event()
        self._twins = twins
        self._machine = TransferMachine(manifest.digest, len(manifest), held, own, trio.current_time(), dice, config)
        self._arrivals, self._inbox = trio.open_memory_channel[Arrived](math.inf)  # bounded by the windows of the machine
        self._wake_at = math.inf
        self._wake = trio.Event()
        self._to_announce: list[int] = []
        self._fresh = trio.Event()
        self._spans: dict[int, trio.CancelScope] = {}
        self._span_bytes: dict[int, int] = {}
        self._reader = self._open_reader(uplink, indexes) if uplink is not None else None
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
        self._arrivals.send_nowait(Arrived(chunk, data, source))

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

    async def _keep(self, batch: list[Arrived]) -> None:
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

    def _open_reader(self, uplink: Uplink, indexes: Indexes) -> SpanReader:
        base = StoredStream(self._store, indexes.base) if indexes.base is not None else None
        return SpanReader(
            self.manifest, uplink, indexes, base, self._machine.leases, self._neighbours,
            is_here=self._machine.availability.is_here, keep=self._keep, on_bytes=self._note_bytes,
        )  # fmt: skip

    def _note_bytes(self, span: int, count: int) -> None:
        """Count bytes that came over the uplink; those of all reads of a span together are its progress, which must grow."""
        self.meter.uplink_bytes += count
        self._span_bytes[span] += count
        self.feed(SpanProgress(span, self._span_bytes[span]))

    def _start_span(self, span: int, chunks: tuple[int, ...]) -> None:
        assert self._nursery is not None  # noqa: S101  # effects come from `feed`, which `run` calls first
        _log.info("span %d of %s: %d chunks over the uplink", span, short(self.manifest.digest), len(chunks))
        self._spans[span], self._span_bytes[span] = trio.CancelScope(), 0
        self._nursery.start_soon(self._fetch_span, span, chunks, self._spans[span])

    async def _fetch_span(self, span: int, chunks: tuple[int, ...], scope: trio.CancelScope) -> None:
        """Fetch chunks over the uplink; whatever happens, the machine is told that the span has ended."""
        uplink, reader = self._uplink, self._reader
        assert uplink is not None  # noqa: S101  # the machine fetches spans only with an uplink
        assert reader is not None  # noqa: S101
        try:
            with scope:
                await reader.fetch(span, chunks)
        except FetchError as error:
            _log.warning("span %d of %s over the uplink: %s", span, short(self.manifest.digest), error)
            if not error.temporary:
                self._refuse(error)
        except ContentError as error:
            _log.warning("span %d of %s over the uplink: %s", span, short(self.manifest.digest), error)
            uplink.failed(error)  # wait before asking again: it would bring the same bytes
        finally:
            self._spans.pop(span, None)
            self._span_bytes.pop(span, None)
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
