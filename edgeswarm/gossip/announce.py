"""Who says what when: beacons heard and sent, over a Trickle timer.

Theory of operation. The node says the version of the newest timestamp metadata it holds. A beacon heard with the same version
agrees. One with an older version does not: its sender should hear ours soon. One with a newer version does not either. Every sender
is approached, whatever it holds: a link serves the exchange as well as news, and over the link metadata proves the version or not.

Beacons can lie, though only nodes of the site can send them, so that a lie must not keep the site busy:

- Each beacon of a node must be newer (epoch, sequence) than its last: a recorded one does nothing, whatever address it came from.
- One node's word resets the timer once in the longest interval, and besides only with a version that is above ours and above all it
  told before: a node that cannot update, or will not, is answered and then left alone.
- What is heard resets the timer eight times, and then once in the longest interval, whoever said it: the name in a beacon is its
  sender's choice. News that is true does not need more: it comes over a link, and what is held (`Holds`) always resets.
- A version that its sender could not prove over a link (`Disproved`) resets nothing from then on, nor does any above it from that
  sender, until that version is held here and so was proved by somebody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..address import join_address
from .beacon import Beacon
from .trickle import Consistent, Inconsistent, SetTimer, Start, Tick, Transmit, Trickle

# Twice the nodes of the largest site (500); the one that was heard longest ago makes room.
_MAX_NODES = 1024
# A reset costs a dozen beacons until the interval is the longest again; all nodes of a large site that restart at once need a few.
# A guess.
_MOST_RESETS = 8


@dataclass(frozen=True, slots=True)
class Heard:
    """A beacon of this site came, opened.

    Attributes:
        beacon: What it says.
        host: The address that its datagram came from.
    """

    beacon: Beacon
    host: str


@dataclass(frozen=True, slots=True)
class Holds:
    """The node now holds this version of the timestamp metadata, verified."""

    timestamp_version: int


@dataclass(frozen=True, slots=True)
class Disproved:
    """The node whose id starts with `node` could not show the version that its beacon told."""

    node: bytes
    timestamp_version: int


class Announce(NamedTuple):
    """Effect: send a beacon with this version now."""

    timestamp_version: int


class Approach(NamedTuple):
    """Effect: the node whose id starts with `node` says it is at `address` (`host:port`): connect to it, unless there is a link."""

    node: bytes
    address: str


Effect = Announce | Approach | SetTimer


@dataclass(slots=True)
class _Peer:
    """What is remembered of a sender.

    Attributes:
        last: Epoch and sequence of its last beacon.
        version: The highest version that it reset the timer with.
        reset: When it last did, in seconds.
        doubted: Versions from this one on count for nothing; 0: all count.
    """

    last: tuple[int, int] = (-1, -1)
    version: int = -1
    reset: float = 0.0
    doubted: int = 0


class Announcer:
    """Decides when to send beacons and what those of others mean.

    Args:
        trickle: A timer that is not started yet.
        node: First 8 bytes of this node's id: its own beacons come back and are skipped.
        timestamp_version: What the node holds now.
    """

    def __init__(self, trickle: Trickle, *, node: bytes, timestamp_version: int) -> None:
        self._trickle = trickle
        self._node = node
        self._version = timestamp_version
        self._resets_paid = 0.0  # when all resets by what was heard are paid for, at one in the longest interval
        self._peers: dict[bytes, _Peer] = {}  # in the order in which they were last heard

    def handle(self, event: Start | Tick | Heard | Holds | Disproved, now: float) -> list[Effect]:
        """Take one event at time `now` (seconds, any monotonic clock) and return what to do, in order."""
        return _HANDLERS[type(event)](self, event, now)

    def _on_timer(self, event: Start | Tick | Consistent | Inconsistent, now: float) -> list[Effect]:
        """Run the Trickle timer and say what its transmissions carry."""
        effects = self._trickle.handle(event, now)
        return [Announce(self._version) if isinstance(effect, Transmit) else effect for effect in effects]

    def _on_holds(self, event: Holds, now: float) -> list[Effect]:
        if event.timestamp_version <= self._version:
            return []
        self._version = event.timestamp_version
        return self._on_timer(Inconsistent(), now)

    def _on_disproved(self, event: Disproved, now: float) -> list[Effect]:
        if event.timestamp_version > self._version:
            peer = self._peer(event.node)
            peer.doubted = min(peer.doubted or event.timestamp_version, event.timestamp_version)
        return []

    def _on_heard(self, event: Heard, now: float) -> list[Effect]:
        beacon = event.beacon
        if beacon.node == self._node:
            return []
        peer = self._peer(beacon.node)
        if (beacon.epoch, beacon.sequence) <= peer.last:
            return []
        peer.last = (beacon.epoch, beacon.sequence)
        return [*_approach(event), *self._weigh(peer, beacon.timestamp_version, now)]

    def _weigh(self, peer: _Peer, version: int, now: float) -> list[Effect]:
        """Let the timer know what another node holds."""
        if version == self._version:
            return self._on_timer(Consistent(), now)
        return [] if self._is_doubted(peer, version) else self._reset(peer, version, now)

    def _is_doubted(self, peer: _Peer, version: int) -> bool:
        if peer.doubted <= self._version:
            peer.doubted = 0  # proved since, by whomever
        return bool(peer.doubted) and version >= peer.doubted

    def _reset(self, peer: _Peer, version: int, now: float) -> list[Effect]:
        rises = version > max(self._version, peer.version)
        if not rises and peer.version >= 0 and now < peer.reset + self._trickle.longest:
            return []
        if not self._may_reset(now):
            return []
        peer.version, peer.reset = max(version, peer.version), now
        return self._on_timer(Inconsistent(), now)

    def _may_reset(self, now: float) -> bool:
        """Count a reset by what was heard; return whether it is allowed. One of an interval that is the shortest is none."""
        if self._trickle.interval <= self._trickle.shortest:
            return True
        paid = max(self._resets_paid, now) + self._trickle.longest
        if paid > now + _MOST_RESETS * self._trickle.longest:
            return False
        self._resets_paid = paid
        return True

    def _peer(self, node: bytes) -> _Peer:
        """Return what is known of a sender, and count it as heard last."""
        peer = self._peers.pop(node, None) or _Peer()
        while len(self._peers) >= _MAX_NODES:
            del self._peers[next(iter(self._peers))]
        self._peers[node] = peer
        return peer


def _approach(event: Heard) -> list[Approach]:
    beacon = event.beacon
    return [Approach(beacon.node, join_address(beacon.address or event.host, beacon.port))] if beacon.port else []


_HANDLERS: dict[type[object], Callable[[Announcer, Any, float], list[Effect]]] = {
    Start: Announcer._on_timer,
    Tick: Announcer._on_timer,
    Heard: Announcer._on_heard,
    Holds: Announcer._on_holds,
    Disproved: Announcer._on_disproved,
}
