"""What a transfer is told and what it wants done. A peer is named by its node id (32 bytes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Peer: TypeAlias = bytes


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A link to a peer is up. `uplink`: it has a usable uplink of its own."""

    peer: Peer
    uplink: bool


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """The link to a peer is gone: what was asked of it will not come, and its claims are void."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class PeerUplink:
    """A peer says whether its uplink is usable."""

    peer: Peer
    usable: bool


@dataclass(frozen=True, slots=True)
class PeerHas:
    """A peer says which chunks it has now, in addition to those it said before."""

    peer: Peer
    chunks: Sequence[int]


@dataclass(frozen=True, slots=True)
class PeerDropped:
    """A peer does not have a chunk after all."""

    peer: Peer
    chunk: int


@dataclass(frozen=True, slots=True)
class PeerClaims:
    """A peer says that it fetches a span over its uplink; repeated with growing `progress` in bytes."""

    peer: Peer
    span: int
    progress: int


@dataclass(frozen=True, slots=True)
class PeerReleases:
    """A peer says that it no longer fetches a span."""

    peer: Peer
    span: int


@dataclass(frozen=True, slots=True)
class ChunkHere:
    """Chunks are verified and durable here, wherever they came from."""

    chunks: Sequence[int]


@dataclass(frozen=True, slots=True)
class ChunkFailed:
    """A peer did not give chunks that it was asked for."""

    peer: Peer
    chunks: Sequence[int]


@dataclass(frozen=True, slots=True)
class UplinkUsable:
    """Whether this node's uplink can be used now."""

    usable: bool


@dataclass(frozen=True, slots=True)
class SpanProgress:
    """Bytes that have come so far for a span that this node fetches."""

    span: int
    progress: int


@dataclass(frozen=True, slots=True)
class SpanEnded:
    """This node's fetch of a span has ended, well or not; what it brought was told by `ChunkHere`."""

    span: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event: TypeAlias = (
    PeerJoined | PeerLeft | PeerUplink | PeerHas | PeerDropped | PeerClaims | PeerReleases
    | ChunkHere | ChunkFailed | UplinkUsable | SpanProgress | SpanEnded | Tick
)  # fmt: skip


class AskPeer(NamedTuple):
    """Ask a peer for chunks, in this order."""

    peer: Peer
    chunks: tuple[int, ...]


class FetchSpan(NamedTuple):
    """Fetch these chunks of a span over the uplink."""

    span: int
    chunks: tuple[int, ...]


class CancelSpan(NamedTuple):
    """Stop fetching a span: another node has the better claim. What was verified stays."""

    span: int


class Claim(NamedTuple):
    """Tell all peers that this node fetches a span."""

    span: int
    progress: int


class Release(NamedTuple):
    """Tell all peers that this node no longer fetches a span."""

    span: int


class Complete(NamedTuple):
    """Every chunk is here; said once."""


class WakeAt(NamedTuple):
    """Send a `Tick` at this time in seconds, unless an event comes before."""

    time: float


Effect: TypeAlias = AskPeer | FetchSpan | CancelSpan | Claim | Release | Complete | WakeAt
