"""Leases: who fetches which span of a manifest over an uplink, so that a site pays for each byte once.

Theory of operation. All nodes with a usable uplink rank themselves for each span by rendezvous hashing. The first claims it and
says so; the others leave a claimed span alone while its holder makes progress. A node that has nothing of its own left takes over
spans that stay unclaimed, after a delay that grows with its rank. When two claim the same span, the better rank keeps it. A claim
is void when the link to its holder is gone, when the holder releases it, or when it makes no progress for a while. Progress is the
holder's word; what counts in the end are chunks that came here (`credit`).

Times are seconds on the caller's monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .credit import Credit
from .events import Peer
from .rendezvous import rank_of, ranking

TAKEOVER_SECONDS = 0.75
"""Wait per rank before an unclaimed span of another node is taken: a guess, far above the time to hear a claim on a LAN."""
STALL_SECONDS = 10.0
"""A claim without progress for this long is void: a guess, 64 KiB at 52 kbit/s."""
RENEW_SECONDS = 1.0
"""A holder repeats its claim this often while it makes progress."""
_HEIRS = 2  # the best may be busy, or its uplink about to fail too; the others cost LAN bytes only
_MOST_CREDITS = 1024  # nodes that were once here; twice a site of 500


@dataclass(slots=True)
class _Claim:
    holder: Peer
    progress: int
    moved: float


@dataclass(slots=True)
class Leases:
    """The claims on one manifest's spans, as this node knows them.

    Attributes:
        key: Digest of the manifest root, so that every release spreads differently.
        own: This node's id.
        uplinks: Ids of the neighbours with a usable uplink; changed by `set_uplink` only.
    """

    key: bytes
    own: Peer
    uplinks: dict[Peer, None] = field(default_factory=dict)
    _broken: dict[Peer, None] = field(default_factory=dict)  # uplinks that were usable and may be again
    _ranks: dict[int, int] = field(default_factory=dict)
    _claims: dict[int, _Claim] = field(default_factory=dict)
    _renewed: dict[int, float] = field(default_factory=dict)
    _credits: dict[Peer, Credit] = field(default_factory=dict)

    def set_uplink(self, peer: Peer, *, usable: bool) -> None:
        """Note whether a neighbour has a usable uplink."""
        if usable != (peer in self.uplinks):
            self._ranks.clear()
        if usable:
            self.uplinks[peer] = None
            self._broken.pop(peer, None)
        elif peer in self.uplinks:
            del self.uplinks[peer]
            self._broken[peer] = None

    def rank(self, span: int, node: Peer | None = None) -> int:
        """Return the rank of a node (this one if None) for a span, among this node and all uplinks. Own ranks are remembered."""
        if node is None and span in self._ranks:
            return self._ranks[span]
        key = self.key + span.to_bytes(4, "big")
        rank = rank_of(node or self.own, key, [self.own, *self.uplinks])
        if node is None:
            self._ranks[span] = rank
        return rank

    def heirs(self, span: int) -> list[Peer]:
        """Return the neighbours that would take a span of this node over, most likely first; two at most.

        Those whose uplinks are broken come last: they may have healed by then.
        """
        key = self.key + span.to_bytes(4, "big")
        return [*ranking(key, self.uplinks), *ranking(key, self._broken)][:_HEIRS]

    def heirs_of_object(self, key: bytes, span: int) -> list[Peer]:
        """Return the neighbours that would go on with what several spans need, most likely first; two at most.

        Those that hold spans wait for it, and go by their rank for it; else it is who takes the span over.

        Args:
            key: What nodes are ranked by for it.
            span: The span of this node that needs it.
        """
        waiting = {claim.holder: None for claim in self._claims.values() if claim.holder in self.uplinks}
        return list(dict.fromkeys([*ranking(key, waiting), *self.heirs(span)]))[:_HEIRS]

    def heard(self, peer: Peer, span: int, progress: int, now: float) -> bool:
        """Note a neighbour's claim; return whether this node must give up its own claim on the span.

        A claim that has stalled gives way to any other. One of a neighbour that never said that it has an uplink counts for
        nothing, nor does one of a neighbour whose claims brought nothing for too long.
        """
        if peer not in self.uplinks:
            return False
        known = self._claims.get(span)
        if known is not None and known.holder != peer and not self._gives_way(span, known, peer, now):
            return False
        self._credits.setdefault(peer, Credit()).pass_to(now, holds=self._holds(peer, now))
        moved = now if known is None or known.holder != peer or progress > known.progress else known.moved
        self._claims[span] = _Claim(peer, progress, moved)
        return known is not None and known.holder == self.own

    def _gives_way(self, span: int, known: _Claim, peer: Peer, now: float) -> bool:
        """Tell if the holder of a span must leave it to a neighbour that claims it too."""
        if not self._believes(peer, now):
            return False
        stalled = now - known.moved >= STALL_SECONDS
        return stalled or self.rank(span, known.holder) > self.rank(span, peer)

    def _holds(self, peer: Peer, now: float) -> bool:
        return any(claim.holder == peer and now - claim.moved < STALL_SECONDS for claim in self._claims.values())

    def _believes(self, peer: Peer, now: float) -> bool:
        credit = self._credits.get(peer)
        if credit is None:
            return True
        credit.pass_to(now, holds=self._holds(peer, now))
        return now >= credit.doubted_until

    def delivered(self, chunks: Counter[int], now: float) -> None:
        """Note how many chunks of each span have come here, verified: whoever holds the span is believed for longer."""
        for span, count in chunks.items():
            claim = self._claims.get(span)
            if claim is not None and claim.holder in self._credits:
                self._credits[claim.holder].earn(count, now)

    def claim(self, span: int, now: float) -> None:
        """Claim a span for this node."""
        self._claims[span] = _Claim(self.own, 0, now)
        self._renewed[span] = now

    def progress(self, span: int, progress: int, now: float) -> bool:
        """Note progress of an own claim; return whether it is time to tell the others again."""
        claim = self._claims.get(span)
        if claim is None or claim.holder != self.own:
            return False
        claim.progress, claim.moved = progress, now
        if now - self._renewed[span] < RENEW_SECONDS:
            return False
        self._renewed[span] = now
        return True

    def release(self, peer: Peer, span: int, now: float) -> bool:
        """Drop a node's claim on a span; return whether it had one."""
        claim = self._claims.get(span)
        if claim is None or claim.holder != peer:
            return False
        if peer in self._credits:
            self._credits[peer].pass_to(now, holds=self._holds(peer, now))
        del self._claims[span]
        self._renewed.pop(span, None)
        return True

    def remove(self, peer: Peer, now: float) -> None:
        """Forget a neighbour's uplink and claims; not what its claims were worth: it may come back."""
        if peer in self._credits:
            self._credits[peer].pass_to(now, holds=self._holds(peer, now))
        while len(self._credits) > _MOST_CREDITS:
            del self._credits[next(iter(self._credits))]
        self.set_uplink(peer, usable=False)
        self._broken.pop(peer, None)
        for span in [s for s, claim in self._claims.items() if claim.holder == peer]:
            del self._claims[span]

    def held_by_other(self, span: int, now: float) -> bool:
        """Tell if a neighbour holds the span and makes progress."""
        claim = self._claims.get(span)
        if claim is None or claim.holder == self.own or now - claim.moved >= STALL_SECONDS:
            return False
        return self._believes(claim.holder, now)

    def own_spans(self) -> list[int]:
        """Return the spans that this node holds."""
        return [span for span, claim in self._claims.items() if claim.holder == self.own]
