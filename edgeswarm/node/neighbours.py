"""What a transfer needs of the links of a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..content.digest import Digest


class Neighbours(Protocol):
    """To tell peers things. A peer is named by its node id."""

    def want(self, peer: bytes, manifest: Digest, chunks: Sequence[int]) -> None:
        """Ask a peer for chunks; they come back through `Transfer.chunk_came` or `Transfer.failed`."""

    def have(self, peer: bytes, manifest: Digest, chunks: Sequence[int], n_chunks: int) -> None:
        """Tell a peer which chunks are here."""

    def claim(self, manifest: Digest, span: int, progress: int) -> None:
        """Tell all peers that this node fetches a span."""

    def release(self, manifest: Digest, span: int) -> None:
        """Tell all peers that this node no longer fetches a span."""

    def partial(self, peer: bytes, pack: Digest, offset: int, at: int, data: bytes) -> None:
        """Share bytes of a piece that is arriving over the uplink with the peer that would go on."""

    def blame(self, peer: bytes, reason: str) -> None:
        """Note that a peer sent a wrong chunk: its link is closed and it is not used again."""
