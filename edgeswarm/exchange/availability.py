"""Which neighbour has which chunk, and what is still to be asked of whom."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress

from .events import Peer


class Availability:
    """Chunks by neighbour, for one manifest.

    Costs five bytes a chunk, and two more a chunk and neighbour; finding what a neighbour offers is a search of bytes [1 us for
    15,000 chunks]. A chunk is *lone* while neither this node nor any neighbour has it.

    Args:
        chunks: Number of chunks of the manifest.
        here: Indices that are here already.
        span_chunks: Chunks a span.
    """

    def __init__(self, chunks: int, here: Iterable[int], span_chunks: int = 64) -> None:
        self.chunks = chunks
        self._span_chunks = span_chunks
        self._lone = bytearray(b"\x01" * chunks)
        self._lone_in_span = array("I", [len(range(first, min(first + span_chunks, chunks))) for first in self._firsts()])
        self._here = bytearray(chunks)
        self._asked = bytearray(chunks)
        self._holders = array("H", bytes(2 * chunks))
        self._peers: dict[Peer, bytearray] = {}
        # What a neighbour has, that is not here and not asked of anybody: one byte a chunk.
        self._offers: dict[Peer, bytearray] = {}
        self._counts: dict[Peer, int] = {}
        self.missing = chunks
        self.add_here(here)

    def _firsts(self) -> range:
        return range(0, self.chunks, self._span_chunks)

    def _set_lone(self, chunk: int, lone: bool) -> None:
        self._lone_in_span[chunk // self._span_chunks] += lone - self._lone[chunk]
        self._lone[chunk] = lone

    def lone_spans(self) -> list[int]:
        """Return, ascending, the spans with a chunk that neither this node nor any neighbour has. Cost: linear in the spans."""
        return [span for span, count in enumerate(self._lone_in_span) if count]

    def lone_chunks(self, span: int) -> list[int]:
        """Return, ascending, the chunks of a span that neither this node nor any neighbour has."""
        first = span * self._span_chunks
        return [chunk for chunk in range(first, min(first + self._span_chunks, self.chunks)) if self._lone[chunk]]

    def add_here(self, chunks: Iterable[int]) -> list[int]:
        """Note chunks that are here now and return those that are new; indices outside the manifest are ignored."""
        fresh = []
        for chunk in chunks:
            if 0 <= chunk < self.chunks and not self._here[chunk]:
                self._here[chunk] = 1
                self._set_lone(chunk, lone=False)
                self._withdraw(chunk)
                fresh.append(chunk)
        self.missing -= len(fresh)
        return fresh

    def _withdraw(self, chunk: int) -> None:
        for offers in self._offers.values():
            offers[chunk] = 0

    def is_here(self, chunk: int) -> bool:
        """Tell if the chunk is here."""
        return bool(self._here[chunk])

    def here(self) -> list[int]:
        """Return the indices that are here, ascending."""
        return [chunk for chunk, held in enumerate(self._here) if held]

    def add_peer(self, peer: Peer) -> None:
        """Know a neighbour that has nothing yet; one that is known is left as it is."""
        if peer not in self._peers:
            self._peers[peer] = bytearray(self.chunks)
            self._offers[peer] = bytearray(self.chunks)
            self._counts[peer] = 0

    def remove_peer(self, peer: Peer) -> None:
        """Forget a neighbour."""
        for chunk in compress(range(self.chunks), self._peers.pop(peer, b"")):
            self._lose_holder(chunk)
        self._offers.pop(peer, None)
        self._counts.pop(peer, None)

    def _lose_holder(self, chunk: int) -> None:
        self._holders[chunk] -= 1
        if not self._holders[chunk] and not self._here[chunk]:
            self._set_lone(chunk, lone=True)

    def forget(self, peer: Peer) -> list[int]:
        """Forget what a neighbour said that it has, and return it."""
        said = list(compress(range(self.chunks), self._peers.get(peer, b"")))
        if peer in self._peers:
            self.remove_peer(peer)
            self.add_peer(peer)
        return said

    def peer_has(self, peer: Peer, chunks: Sequence[int]) -> None:
        """Note that a neighbour has chunks; indices outside the manifest are ignored."""
        held, offers = self._peers[peer], self._offers[peer]
        for chunk in chunks:
            if 0 <= chunk < self.chunks and not held[chunk]:
                held[chunk] = 1
                self._set_lone(chunk, lone=False)
                self._holders[chunk] += 1
                self._counts[peer] += 1
                offers[chunk] = not (self._here[chunk] or self._asked[chunk])

    def changes(self, peer: Peer, flags: bytes | bytearray) -> tuple[list[int], list[int]]:
        """Return which chunks of a set a neighbour is not known to have, and which it is known to have that are not in the set.

        Cost: a few passes over the bytes in C, whatever the neighbour repeats.

        Args:
            peer: The neighbour; one that is not known has nothing.
            flags: One byte a chunk, 1 = in the set; shape (chunks,).
        """
        said = int.from_bytes(flags, "little")
        known = int.from_bytes(self._peers.get(peer, b""), "little")
        return self._listed(said & ~known), self._listed(known & ~said)

    def _listed(self, flags: int) -> list[int]:
        return list(compress(range(self.chunks), flags.to_bytes(self.chunks, "little"))) if flags else []

    def peer_dropped(self, peer: Peer, chunk: int) -> None:
        """Note that a neighbour does not have a chunk."""
        if self.has(peer, chunk):
            self._peers[peer][chunk] = 0
            self._offers[peer][chunk] = 0
            self._counts[peer] -= 1
            self._lose_holder(chunk)

    def asked(self, chunk: int) -> None:
        """Note that a chunk is asked of a neighbour: nobody offers it until it is here or `not_asked`."""
        self._asked[chunk] = 1
        self._withdraw(chunk)

    def not_asked(self, chunk: int) -> None:
        """Note that a chunk that was asked for will not come."""
        self._asked[chunk] = 0
        if not self._here[chunk]:
            for peer, held in self._peers.items():
                self._offers[peer][chunk] = held[chunk]

    def has(self, peer: Peer, chunk: int) -> bool:
        """Tell if a neighbour has a chunk."""
        held = self._peers.get(peer)
        return held is not None and 0 <= chunk < self.chunks and bool(held[chunk])

    def holders(self, chunk: int) -> int:
        """Return how many neighbours have a chunk."""
        return self._holders[chunk]

    def offers(self, peer: Peer) -> Iterator[int]:
        """Return, ascending, the chunks that a neighbour has and that are not here and not asked of anybody."""
        offers = self._offers.get(peer, bytearray())
        chunk = offers.find(1)
        while chunk >= 0:
            yield chunk
            chunk = offers.find(1, chunk + 1)

    def held_by(self, peer: Peer) -> int:
        """Return how many chunks a neighbour has."""
        return self._counts.get(peer, 0)

    def peers(self) -> list[Peer]:
        """Return the neighbours in the order in which they came."""
        return list(self._peers)
