"""A site of pure transfer machines in virtual time: links with latency, uploads and uplinks that take their time, deaths."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from edgeswarm.exchange import (
    AskPeer,
    CancelSpan,
    ChunkHere,
    Claim,
    Complete,
    Effect,
    Event,
    FetchSpan,
    PeerClaims,
    PeerDropped,
    PeerHas,
    PeerJoined,
    PeerLeft,
    PeerReleases,
    PeerUplink,
    Release,
    SpanEnded,
    SpanProgress,
    Tick,
    TransferConfig,
    TransferMachine,
    UplinkUsable,
    WakeAt,
)

LATENCY = 0.002
LAN_CHUNK_SECONDS = 0.005  # 64 KiB at 100 Mbit/s
MANIFEST = bytes(32)


def node_id(name: str) -> bytes:
    return sha256(name.encode()).digest()


@dataclass
class SimNode:
    name: str
    machine: TransferMachine
    chunk_seconds: float | None
    alive: bool = True
    usable: bool = True
    mute: bool = False
    links: dict[bytes, None] = field(default_factory=dict)
    fetching: dict[int, int] = field(default_factory=dict)
    upload_free: float = 0.0
    wake: float = 0.0
    done_at: float | None = None
    sent: Counter[int] = field(default_factory=Counter)
    received: Counter[int] = field(default_factory=Counter)
    from_origin: Counter[int] = field(default_factory=Counter)

    @property
    def id(self) -> bytes:
        return node_id(self.name)


class Site:
    """Nodes, and the queue of what happens next."""

    def __init__(self, chunks: int, seed: int = 1) -> None:
        self.chunks = chunks
        self.seed = seed
        self.now = 0.0
        self.nodes: dict[bytes, SimNode] = {}
        self.trace: list[str] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._fetches = 0

    # Building.

    def add(self, name: str, *, uplink: float | None = None, here: Iterable[int] = (), **config: float) -> SimNode:
        """Add a node; `uplink`: seconds a chunk takes over its uplink."""
        machine = TransferMachine(
            MANIFEST, self.chunks, here, node_id(name), self.now, Random(f"{name} {self.seed}"), TransferConfig(**config)
        )
        node = self.nodes[node_id(name)] = SimNode(name, machine, uplink)
        self.feed(node, UplinkUsable(uplink is not None))
        return node

    def link(self, one: SimNode, other: SimNode) -> None:
        for node, peer in [(one, other), (other, one)]:
            node.links[peer.id] = None
            self.feed(node, PeerJoined(peer.id, peer.chunk_seconds is not None and peer.usable))
        for node, peer in [(one, other), (other, one)]:
            self.tell(node, peer.id, PeerHas(node.id, node.machine.availability.here()))
            for span in node.fetching:
                self.tell(node, peer.id, PeerClaims(node.id, span, 0))

    def link_all(self) -> None:
        nodes = list(self.nodes.values())
        for i, one in enumerate(nodes):
            for other in nodes[i + 1 :]:
                self.link(one, other)

    # What happens.

    def at(self, time: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (time, self._count, action))

    def run(self, until: float = 1000.0) -> None:
        """Run until every living node has everything, or until a time."""
        while self._queue and self.now < until and not self.complete:
            self.now, _, action = heapq.heappop(self._queue)
            action()

    @property
    def complete(self) -> bool:
        return all(node.machine.complete for node in self.nodes.values() if node.alive and not node.mute)

    def origin_chunks(self) -> Counter[int]:
        return sum((node.from_origin for node in self.nodes.values()), Counter())

    def kill(self, node: SimNode) -> None:
        node.alive = False
        for peer in list(node.links):
            self.cut(node, self.nodes[peer])

    def cut(self, one: SimNode, other: SimNode) -> None:
        for node, peer in [(one, other), (other, one)]:
            if node.links.pop(peer.id, b"") is None:
                self.feed(node, PeerLeft(peer.id))

    def set_uplink(self, node: SimNode, usable: bool) -> None:
        node.usable = usable
        for peer in node.links:
            self.tell(node, peer, PeerUplink(node.id, usable))
        self.feed(node, UplinkUsable(usable))
        if not usable:
            for span in list(node.fetching):
                self._end_span(node, span)

    def tell(self, sender: SimNode, peer: bytes, event: Event) -> None:
        self.at(self.now + LATENCY, lambda: self._arrive(sender, self.nodes[peer], event))

    def _arrive(self, sender: SimNode, node: SimNode, event: Event) -> None:
        if sender.id in node.links:
            self.feed(node, event)

    def feed(self, node: SimNode, event: Event) -> None:
        if node.alive:
            for effect in node.machine.handle(event, self.now):
                self.trace.append(f"{self.now:.6f} {node.name} {effect}")
                self._perform(node, effect)

    def _perform(self, node: SimNode, effect: Effect) -> None:
        match effect:
            case AskPeer(peer=peer, chunks=chunks):
                self.at(self.now + LATENCY, lambda: self._upload(self.nodes[peer], node, chunks))
            case FetchSpan(span=span, chunks=chunks):
                assert span not in node.fetching, "a span was begun before the old fetch of it had ended"
                self._fetches += 1
                node.fetching[span] = self._fetches
                self._next_chunk(node, span, list(chunks), self._fetches, 0)
            case CancelSpan(span=span):
                self.at(self.now + LATENCY, lambda: self._end_span(node, span))
            case Claim(span=span, progress=progress):
                for peer in node.links:
                    self.tell(node, peer, PeerClaims(node.id, span, progress))
            case Release(span=span):
                for peer in node.links:
                    self.tell(node, peer, PeerReleases(node.id, span))
            case Complete():
                assert node.done_at is None, "complete was said twice"
                node.done_at = self.now
            case WakeAt(time=time):
                assert time > self.now
                node.wake = time
                self.at(time, lambda: self._tick(node, time))

    def _tick(self, node: SimNode, time: float) -> None:
        if node.wake == time:
            self.feed(node, Tick())

    def _upload(self, node: SimNode, peer: SimNode, chunks: tuple[int, ...]) -> None:
        if node.mute or not node.alive or peer.id not in node.links:
            return
        for chunk in chunks:
            if not node.machine.availability.is_here(chunk):
                self.tell(node, peer.id, PeerDropped(node.id, chunk))
                continue
            node.upload_free = max(node.upload_free, self.now) + LAN_CHUNK_SECONDS
            node.sent[chunk] += 1
            self.at(node.upload_free + LATENCY, lambda chunk=chunk: self._download(node, peer, chunk))

    def _download(self, sender: SimNode, node: SimNode, chunk: int) -> None:
        if sender.alive and sender.id in node.links:
            node.received[chunk] += 1
            self._have(node, chunk)

    def _have(self, node: SimNode, chunk: int) -> None:
        if node.machine.availability.is_here(chunk):
            return
        self.feed(node, ChunkHere([chunk]))
        for peer in node.links:
            self.tell(node, peer, PeerHas(node.id, [chunk]))

    def _next_chunk(self, node: SimNode, span: int, chunks: list[int], number: int, progress: int) -> None:
        assert node.chunk_seconds is not None
        if not chunks:
            self._end_span(node, span)
            return
        self.at(self.now + node.chunk_seconds, lambda: self._chunk_from_origin(node, span, chunks, number, progress))

    def _chunk_from_origin(self, node: SimNode, span: int, chunks: list[int], number: int, progress: int) -> None:
        if not node.alive or node.fetching.get(span) != number:
            return
        node.from_origin[chunks[0]] += 1
        self._have(node, chunks[0])
        self.feed(node, SpanProgress(span, progress + 65536))
        self._next_chunk(node, span, chunks[1:], number, progress + 65536)

    def _end_span(self, node: SimNode, span: int) -> None:
        if node.alive and node.fetching.pop(span, None) is not None:
            self.feed(node, SpanEnded(span))
