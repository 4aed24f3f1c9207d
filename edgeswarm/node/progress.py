"""What a person or program may see of a running fetch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LOCAL, PEER, GATEWAY, ORIGIN = "local", "peer", "gateway", "origin"
SOURCES = (LOCAL, PEER, GATEWAY, ORIGIN)


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of a fetch.

    Attributes:
        size: Bytes of the artifact.
        done: Bytes of it that are verified and here.
        by_source: Bytes of it by where they came from: local, peer, gateway, origin; sums up to `done`.
        uplink_bytes: Encoded bytes that this node read from the origin for it, bodies only.
        refused_chunks: Chunks that came and did not have their digest.
        complete: Whether all of it is here.
    """

    size: int
    done: int
    by_source: dict[str, int]
    uplink_bytes: int
    refused_chunks: int
    complete: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON has them."""
        return {
            "size": self.size, "done": self.done, "by_source": dict(self.by_source),
            "uplink_bytes": self.uplink_bytes, "refused_chunks": self.refused_chunks, "complete": self.complete,
        }  # fmt: skip


@dataclass(slots=True)
class Meter:
    """Counts while a fetch runs."""

    size: int
    by_source: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0))
    uplink_bytes: int = 0
    refused_chunks: int = 0

    def now(self, *, complete: bool) -> Progress:
        """Return the moment."""
        return Progress(
            self.size, sum(self.by_source.values()), dict(self.by_source), self.uplink_bytes, self.refused_chunks, complete
        )
