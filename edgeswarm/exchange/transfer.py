"""The transfer of one manifest at one node: what to ask of which neighbour, and which spans to take over the uplink.

Theory of operation. The machine knows which chunks are here and which neighbour has which. It keeps a window of requests open to
each neighbour that offers something missing, as large as its rate allows. A chunk is asked of one neighbour at a time, so that a
wrong one has one culprit.

Fresh chunks spread like a tree rather than a star: the nodes that lack a chunk take turns by its index, and a node asks at once
only if more neighbours hold the chunk than nodes come before it in that order; the others wait a little, by which time the first
have it to pass on. Thus a gateway sends each chunk about once, and the devices do the rest among themselves. Of the neighbours
that have a chunk, the one with the fewest chunks is asked first: whoever has everything has the most to do.

What no neighbour has is taken over the uplink, if there is one, by the rules of `leases`. Before it fetches anything the machine
waits until each neighbour has said what it has, or for a short time.

Times are seconds on the caller's monotonic clock. Nothing here depends on iteration over sets, hashes of objects or the real time.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .availability import Availability
from .events import (
    AskPeer,
    CancelSpan,
    ChunkFailed,
    ChunkHere,
    Claim,
    Complete,
    Effect,
    Event,
    FetchSpan,
    Peer,
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
    UplinkUsable,
    WakeAt,
)
from .leases import TAKEOVER_SECONDS, Leases
from .window import Window

if TYPE_CHECKING:
    from random import Random


_LATE_CHUNKS = 8
"""Chunks asked for at a time out of turn [a seeder with all of 256 chunks sends each to 10 devices 2.2 times; with 32: 3.0, with 2:
2.1; asking out of turn at any time: 6.6; tests/exchange/test_site.py]. Fewer would make a slow link wait for round trips."""


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """What can be set.

    Attributes:
        window_chunks: Most chunks asked of one neighbour and not yet come; a slow one gets fewer (`window`). 32 are 2 MiB at the
            average size: two round trips of 10 ms at 1 Gbit/s.
        open_chunks: Chunks asked of all neighbours together and not yet come: what may have to be held in memory at once. 64 are
            4 MiB at the average size.
        spans_at_once: Spans that this node fetches over the uplink at the same time.
        span_chunks: Chunks a span, as the manifest's indexes have it.
        settle_seconds: How long neighbours may take to say what they have before the uplink is used.
        turn_seconds: How long a node waits, per doubling, for those before it to have a fresh chunk. A guess: 64 KiB take 50 ms at
            10 Mbit/s.
        stall_seconds: A neighbour that was asked and sent nothing for this long is not waited for, and not asked for as long again.
    """

    window_chunks: int = 32
    open_chunks: int = 64
    spans_at_once: int = 1
    span_chunks: int = 64
    settle_seconds: float = 0.5
    turn_seconds: float = 0.1
    stall_seconds: float = 15.0


class TransferMachine:
    """One transfer. Feed it with `handle`; perform the effects in order.

    Args:
        manifest: Digest of the manifest root.
        chunks: Number of chunks.
        here: Indices that are here already.
        own: This node's id.
        now: Time of the start.
        dice: For ties; one a node, seeded by the caller.
        config: What can be set.
        may_use_uplink: Whether this transfer may ever fetch over the uplink of this node.
    """

    def __init__(
        self,
        manifest: bytes,
        chunks: int,
        here: Iterable[int],
        own: Peer,
        now: float,
        dice: Random,
        config: TransferConfig = TransferConfig(),
        *,
        may_use_uplink: bool = True,
    ) -> None:
        self.config = config
        self.availability = Availability(chunks, here, config.span_chunks)
        self.leases = Leases(manifest, own)
        self._own = own
        self._line = [own]
        self._dice = dice
        self._start = now
        self._uplink = False
        self._may_use_uplink = may_use_uplink
        self._asked: dict[int, Peer] = {}
        self._open: dict[Peer, int] = {}
        self._windows: dict[Peer, Window] = {}
        self._heard: dict[Peer, float] = {}
        self._told: dict[Peer, None] = {}
        self._fresh_since = array("d", [math.inf]) * chunks  # when a neighbour first said that it has the chunk
        self._rested: dict[Peer, float] = {}
        self._doubted: dict[Peer, list[int]] = {}
        self._fetching: dict[int, None] = {}
        self._free_since: dict[int, float] = {}
        self._said_complete = False
        self._handlers: dict[type, Callable[[Any, float], list[Effect]]] = {
            PeerJoined: self._on_joined, PeerLeft: self._on_left, PeerUplink: self._on_peer_uplink, PeerHas: self._on_has,
            PeerDropped: self._on_dropped, PeerClaims: self._on_claims, PeerReleases: self._on_releases, ChunkHere: self._on_here,
            ChunkFailed: self._on_failed, UplinkUsable: self._on_uplink, SpanProgress: self._on_progress,
            SpanEnded: self._on_ended, Tick: lambda _event, _now: [],
        }  # fmt: skip

    @property
    def complete(self) -> bool:
        """Whether every chunk is here."""
        return self.availability.missing == 0

    @property
    def hopeful(self) -> bool:
        """Whether some neighbour has a chunk that is missing here, or an uplink to fetch it."""
        lone = sum(len(self.availability.lone_chunks(span)) for span in self.availability.lone_spans())
        return bool(self.leases.uplinks) or lone < self.availability.missing

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event and return what is to be done, in order. Cost: linear in the open windows and the manifest's spans."""
        effects = self._handlers[type(event)](event, now)
        if self.complete:
            if not self._said_complete:
                self._said_complete = True
                effects.append(Complete())
            return effects
        effects += self._ask_all(now)
        effects += self._use_uplink(now)
        effects.append(WakeAt(self._next_wake(now)))
        return effects

    def _on_joined(self, event: PeerJoined, now: float) -> list[Effect]:
        self.availability.add_peer(event.peer)
        self._open.setdefault(event.peer, 0)
        self._windows.setdefault(event.peer, Window(self.config.window_chunks))
        self._heard[event.peer] = now
        return self._on_peer_uplink(PeerUplink(event.peer, event.uplink), now)

    def _on_left(self, event: PeerLeft, now: float) -> list[Effect]:
        for chunk in [chunk for chunk, peer in self._asked.items() if peer == event.peer]:
            self._unask(chunk)
        for table in (self._open, self._windows, self._heard, self._told, self._rested, self._doubted):
            table.pop(event.peer, None)
        self.availability.remove_peer(event.peer)
        self.leases.remove(event.peer, now)
        return []

    def _on_peer_uplink(self, event: PeerUplink, _now: float) -> list[Effect]:
        self.leases.set_uplink(event.peer, usable=event.usable and event.peer in self._open)
        return []

    def _on_has(self, event: PeerHas, now: float) -> list[Effect]:
        if event.peer not in self._open:
            return []
        self._told[event.peer] = None
        self.availability.peer_has(event.peer, event.chunks)
        for chunk in event.chunks:
            if 0 <= chunk < self.availability.chunks and not self.availability.is_here(chunk):
                self._fresh_since[chunk] = min(self._fresh_since[chunk], now)
        return self._leave_what_neighbours_have()

    def _leave_what_neighbours_have(self) -> list[Effect]:
        """Stop fetching spans of which neighbours turn out to have most that is missing; what only the origin has is begun anew."""
        effects: list[Effect] = []
        for span in self._fetching:
            first = span * self.config.span_chunks
            chunks = range(first, min(first + self.config.span_chunks, self.availability.chunks))
            missing = sum(not self.availability.is_here(chunk) for chunk in chunks)
            if len(self.availability.lone_chunks(span)) * 2 < missing:
                effects.append(CancelSpan(span))
        return effects

    def _on_dropped(self, event: PeerDropped, now: float) -> list[Effect]:
        self.availability.peer_dropped(event.peer, event.chunk)
        return self._on_failed(ChunkFailed(event.peer, [event.chunk]), now)

    def _on_claims(self, event: PeerClaims, now: float) -> list[Effect]:
        known = event.peer in self._open and 0 <= event.span * self.config.span_chunks < self.availability.chunks
        if known and self.leases.heard(event.peer, event.span, event.progress, now):
            # It stays among the fetches until `SpanEnded`: it could be begun anew before the old one has ended.
            return [CancelSpan(event.span), Release(event.span)]
        return []

    def _on_releases(self, event: PeerReleases, now: float) -> list[Effect]:
        self.leases.release(event.peer, event.span, now)
        return []

    def _on_here(self, event: ChunkHere, now: float) -> list[Effect]:
        fresh = self.availability.add_here(event.chunks)
        came = Counter(peer for chunk in fresh if (peer := self._asked.pop(chunk, None)) is not None)
        for peer, count in came.items():
            self._open[peer] -= count
            self._windows[peer].came(count, now - self._heard[peer])
            self._heard[peer] = now
        self.leases.delivered(Counter(chunk // self.config.span_chunks for chunk in fresh), now)
        return []

    def _on_failed(self, event: ChunkFailed, _now: float) -> list[Effect]:
        for chunk in event.chunks:
            if self._asked.get(chunk) == event.peer:
                self._unask(chunk)
                self._open[event.peer] -= 1
        return []

    def _on_uplink(self, event: UplinkUsable, _now: float) -> list[Effect]:
        self._uplink = event.usable
        return []

    def _on_progress(self, event: SpanProgress, now: float) -> list[Effect]:
        return [Claim(event.span, event.progress)] if self.leases.progress(event.span, event.progress, now) else []

    def _on_ended(self, event: SpanEnded, now: float) -> list[Effect]:
        self._fetching.pop(event.span, None)
        return [Release(event.span)] if self.leases.release(self._own, event.span, now) else []

    def _unask(self, chunk: int) -> None:
        del self._asked[chunk]
        self.availability.not_asked(chunk)

    # Neighbours.

    def _ask_all(self, now: float) -> list[Effect]:
        """Fill the windows, least complete neighbour first."""
        self._line = sorted([self._own, *self._told])
        self._give_up_stalled(now)
        peers = sorted(self._open, key=lambda peer: (self.availability.held_by(peer), peer))
        effects: list[Effect] = []
        for peer in peers:
            room = min(self._windows[peer].chunks - self._open[peer], self.config.open_chunks - len(self._asked))
            if room <= 0 or now < self._rested.get(peer, now):
                continue
            chosen = self._choose(peer, room, now)
            if chosen:
                for chunk in chosen:
                    self._asked[chunk] = peer
                    self.availability.asked(chunk)
                self._heard[peer] = now if not self._open[peer] else self._heard[peer]
                self._open[peer] += len(chosen)
                effects.append(AskPeer(peer, tuple(chosen)))
        return effects

    def _give_up_stalled(self, now: float) -> None:
        """Leave neighbours alone for a while that were asked and sent nothing; others may have what was asked of them."""
        for peer in [peer for peer, until in self._rested.items() if now >= until]:
            del self._rested[peer]
            self.availability.peer_has(peer, self._doubted.pop(peer))
        for peer in [peer for peer, count in self._open.items() if count]:
            if now - self._heard[peer] >= self.config.stall_seconds:
                self._rested[peer] = now + self.config.stall_seconds
                # What it said counts for nothing for as long: others, or the uplink, are to bring it.
                self._doubted[peer] = self.availability.forget(peer)
                self._on_failed(ChunkFailed(peer, [chunk for chunk, asked in self._asked.items() if asked == peer]), now)

    def _choose(self, peer: Peer, room: int, now: float) -> list[int]:
        """Return up to `room` chunks to ask of a neighbour: those whose turn it is, rarest first, ties by dice.

        If it is the turn of none, and the neighbour owes nothing, those whose turn was left unused.
        """
        ready: list[tuple[bool, int, float, int]] = []
        for chunk in self.availability.offers(peer):
            rounds = self._rounds_to_wait(chunk)
            if not rounds or (not self._open[peer] and now - self._fresh_since[chunk] >= rounds * self.config.turn_seconds):
                ready.append((rounds > 0, self.availability.holders(chunk), self._dice.random(), chunk))
                if len(ready) >= 4 * room:  # a sample: looking at all of a large release each time would cost too much
                    break
        ready.sort()
        most = min(room, _LATE_CHUNKS) if ready and ready[0][0] else room
        return [chunk for late, _, _, chunk in ready[:most] if late == ready[0][0]]

    def _rounds_to_wait(self, chunk: int) -> int:
        """Return after how many doublings of its holders it is this node's turn to have a chunk; 0: now."""
        return (self._place_in_line(chunk) // max(1, self.availability.holders(chunk))).bit_length()

    def _place_in_line(self, chunk: int) -> int:
        """Return how many nodes that lack a chunk come before this one; who is first turns with the chunk's index."""
        first = chunk % len(self._line)
        before = itertools.takewhile(lambda node: node != self._own, itertools.chain(self._line[first:], self._line[:first]))
        return sum(not self.availability.has(node, chunk) for node in before)

    # Uplink.

    def _settled(self, now: float) -> bool:
        waited = now - self._start >= self.config.settle_seconds
        return waited or (bool(self._open) and all(peer in self._told for peer in self._open))

    def _use_uplink(self, now: float) -> list[Effect]:
        room = self.config.spans_at_once - len(self._fetching)
        if not (self._uplink and self._may_use_uplink) or room <= 0 or not self._settled(now):
            self._free_since.clear()
            return []
        lone = (span for span in self.availability.lone_spans() if span not in self._fetching)
        free = [span for span in lone if not self.leases.held_by_other(span, now)]
        mine = [span for span in free if self.leases.rank(span) == 0]
        # Counted from when this node has nothing of its own and the span nobody: else all would take what a dead node leaves.
        self._free_since = {} if mine else {span: self._free_since.get(span, now) for span in free}
        effects: list[Effect] = []
        for span in (mine or self._to_take_over(free, now))[:room]:
            self.leases.claim(span, now)
            self._fetching[span] = None
            effects += [Claim(span, 0), FetchSpan(span, tuple(self.availability.lone_chunks(span)))]
        return effects

    def _to_take_over(self, free: list[int], now: float) -> list[int]:
        """Return the spans of others that have stayed unclaimed for longer than this node's rank makes it wait."""
        # From the back: their owners work from the front.
        return [span for span in reversed(free) if now - self._free_since[span] >= self.leases.rank(span) * TAKEOVER_SECONDS]

    def _next_wake(self, now: float) -> float:
        """Return when something may change without an event: turns while chunks are on offer, takeovers and stalls otherwise."""
        if any(True for peer in self._open for _ in self.availability.offers(peer)):
            return now + self.config.turn_seconds
        return now + TAKEOVER_SECONDS / 2
