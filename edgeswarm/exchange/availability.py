"""Which neighbour has which chunk, and what is still missing here."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from .events import Peer


class Availability:
    """Chunks by neighbour, for one manifest.

    Costs one byte a chunk and neighbour, and a dict entry for each chunk that a neighbour has and this node lacks.

    Args:
        chunks: Number of chunks of the manifest.
        here: Indices that are here already.
    """

    def __init__(self, chunks: int, here: Iterable[int]) -> None:
        self.chunks = chunks
        self._here = bytearray(chunks)
        self._holders = array("H", bytes(2 * chunks))
        self._peers: dict[Peer, bytearray] = {}
        self._offers: dict[Peer, dict[int, None]] = {}
        self._counts: dict[Peer, int] = {}
        self.missing = chunks
        self.add_here(here)

    def add_here(self, chunks: Iterable[int]) -> list[int]:
        """Note chunks that are here now and return those that are new."""
        fresh = [chunk for chunk in chunks if not self._here[chunk]]
        for chunk in fresh:
            self._here[chunk] = 1
            for offers in self._offers.values():
                offers.pop(chunk, None)
        self.missing -= len(fresh)
        return fresh

    def is_here(self, chunk: int) -> bool:
        """Tell if the chunk is here."""
        return bool(self._here[chunk])

    def here(self) -> list[int]:
        """Return the indices that are here, ascending."""
        return [chunk for chunk, held in enumerate(self._here) if held]

    def add_peer(self, peer: Peer) -> None:
        """Know a neighbour that has nothing yet."""
        self._peers.setdefault(peer, bytearray(self.chunks))
        self._offers.setdefault(peer, {})
        self._counts.setdefault(peer, 0)

    def remove_peer(self, peer: Peer) -> None:
        """Forget a neighbour."""
        for chunk, held in enumerate(self._peers.pop(peer, b"")):
            self._holders[chunk] -= held
        self._offers.pop(peer, None)
        self._counts.pop(peer, None)

    def peer_has(self, peer: Peer, chunks: Sequence[int]) -> None:
        """Note that a neighbour has chunks; indices outside the manifest are ignored."""
        held = self._peers[peer]
        for chunk in chunks:
            if 0 <= chunk < self.chunks and not held[chunk]:
                held[chunk] = 1
                self._holders[chunk] += 1
                self._counts[peer] += 1
                if not self._here[chunk]:
                    self._offers[peer][chunk] = None

    def peer_dropped(self, peer: Peer, chunk: int) -> None:
        """Note that a neighbour does not have a chunk."""
        held = self._peers.get(peer)
        if held is not None and 0 <= chunk < self.chunks and held[chunk]:
            held[chunk] = 0
            self._holders[chunk] -= 1
            self._counts[peer] -= 1
            self._offers[peer].pop(chunk, None)

    def has(self, peer: Peer, chunk: int) -> bool:
        """Tell if a neighbour has a chunk."""
        held = self._peers.get(peer)
        return held is not None and bool(held[chunk])

    def holders(self, chunk: int) -> int:
        """Return how many neighbours have a chunk."""
        return self._holders[chunk]

    def offers(self, peer: Peer) -> Iterator[int]:
        """Return the chunks that a neighbour has and this node lacks, in the order in which they were heard of."""
        return iter(self._offers.get(peer, ()))

    def held_by(self, peer: Peer) -> int:
        """Return how many chunks a neighbour has."""
        return self._counts.get(peer, 0)

    def peers(self) -> list[Peer]:
        """Return the neighbours in the order in which they came."""
        return list(self._peers)
