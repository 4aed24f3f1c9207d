"""Between peers and transfers: who is told what, and what comes from whom. Implements what both sides expect of a node."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import trio

from ..abc import ChunkStore
from ..content.digest import Digest
from ..content.manifest import Manifest
from ..errors import ChunkMissingError, RemoteProtocolError, StoreError
from ..exchange import PeerClaims, PeerDropped, PeerHas, PeerJoined, PeerLeft, PeerReleases, PeerUplink
from ..wire.messages import MAX_PARTIAL_BYTES, Claim, Drop, Have, Message, News, Partial, Peers, Release
from .introductions import Introductions
from .links import Links
from .metadata import Metadata
from .peer import Peer
from .progress import GATEWAY, PEER
from .threads import in_thread
from .transfer import Transfer

_log = logging.getLogger("edgeswarm.hub")
# Chunks read for all peers together, 1 MiB at the average size: a thread hop costs 116 us, and each peer holds what is read for it.
_SERVE_CHUNKS = 16
_SERVE_LEAST_CHUNKS = 2


class Hub:
    """Passes on what peers say to the transfers it concerns, and what transfers want to the peers.

    Implements `peer.Host` and `neighbours.Neighbours`.

    Args:
        store: Chunks and objects that peers may have.
        metadata: Verified files that peers may have.
        news: Returns what this node tells of itself at the moment.
        on_news: Called with a peer that came or told news.
        on_partial: Called with a peer and what it shares of a piece that arrives over its uplink.
        on_lost: Called with a release that was held whole and is not any more.
        on_wanted: Called with a product that a peer asks about and this node does not follow, and with who asks.
        coming: See `Source.coming`.
    """

    def __init__(
        self,
        store: ChunkStore,
        metadata: Metadata,
        *,
        news: Callable[[], News],
        on_news: Callable[[Peer], None],
        on_partial: Callable[[Peer, Partial], None],
        on_lost: Callable[[Digest], None],
        on_wanted: Callable[[str, bytes], None],
        coming: Callable[[str, str], trio.Event | None],
    ) -> None:
        self.transfers: dict[Digest, Transfer] = {}
        self.held: dict[Digest, Manifest] = {}
        self._said: News | None = None
        self._links: Links | None = None
        self._introductions = Introductions(lambda address, node: self.links.is_proven(address, node))
        self._store = store
        self._metadata = metadata
        self._news = news
        self._on_news = on_news
        self._on_partial = on_partial
        self._on_lost = on_lost
        self._on_wanted = on_wanted
        self.coming = coming
        # Above every number of an earlier run: claims of before a restart must look old.
        self._sequence = time.time_ns()

    @property
    def links(self) -> Links:
        """The links; set once, since they need the hub to begin with."""
        assert self._links is not None  # noqa: S101  # set by the node before anything runs
        return self._links

    @links.setter
    def links(self, links: Links) -> None:
        self._links = links

    def post_all(self, message: Message) -> None:
        """Tell all peers something."""
        for peer in self.links.peers.values():
            peer.post(message)

    def say_news(self, *, checked: bool = False) -> None:
        """Tell all peers what is new here, if anything is.

        Args:
            checked: The origin has answered: say it once more, unchanged, which is how peers know.
        """
        news = self._news()
        if news != self._said:
            self._said = news
            self.post_all(news)
        if checked:
            self.post_all(news)

    def manifest(self, digest: Digest) -> Manifest | None:
        """Return the manifest of a release that is held or being transferred."""
        transfer = self.transfers.get(digest)
        return transfer.manifest if transfer is not None else self.held.get(digest)

    # What transfers need (`Neighbours`).

    def want(self, peer: bytes, manifest: Digest, chunks: Sequence[int]) -> None:
        """See `Neighbours.want`."""
        if peer in self.links.peers:
            self.links.peers[peer].want(manifest, chunks)

    def have(self, peer: bytes, manifest: Digest, chunks: Sequence[int], n_chunks: int) -> None:
        """See `Neighbours.have`."""
        if peer in self.links.peers:
            _post_have(self.links.peers[peer], manifest, chunks, n_chunks, replace=False)

    def claim(self, manifest: Digest, span: int, progress: int) -> None:
        """See `Neighbours.claim`."""
        self._sequence += 1
        self.post_all(Claim(manifest=manifest, span=span, sequence=self._sequence, progress=progress))

    def release(self, manifest: Digest, span: int) -> None:
        """See `Neighbours.release`."""
        self._sequence += 1
        self.post_all(Release(manifest=manifest, span=span, sequence=self._sequence, reason="done"))

    def partial(self, peer: bytes, pack: Digest, offset: int, at: int, data: bytes) -> None:
        """See `Neighbours.partial`."""
        known = self.links.peers.get(peer)
        if known is None or known.busy:
            return
        for start in range(0, len(data), MAX_PARTIAL_BYTES):
            known.post(Partial(pack=pack, offset=offset, at=at + start, data=data[start : start + MAX_PARTIAL_BYTES]))

    def blame(self, peer: bytes, reason: str) -> None:
        """See `Neighbours.blame`."""
        self.links.ban(peer, reason)

    def on_transfer(self, transfer: Transfer, running: bool) -> None:
        """Join a transfer that starts with all peers: they hear what is here, and the transfer what they have."""
        name = transfer.manifest.digest
        if not running:
            if self.transfers.get(name) is transfer:
                del self.transfers[name]
            if transfer.progress.complete:  # at once: peers that hear no for a chunk do not ask again
                self.held[name] = transfer.manifest
            return
        self.transfers[name] = transfer
        for peer in list(self.links.peers.values()):
            self._join(transfer, peer)

    def _join(self, transfer: Transfer, peer: Peer) -> None:
        _post_have(peer, transfer.manifest.digest, transfer.here, len(transfer.manifest), replace=True)
        self._repeat_claims(transfer, peer)
        transfer.feed(PeerJoined(peer.id, peer.uplink))
        if transfer.manifest.digest in peer.holdings:
            try:
                chunks = peer.holdings.chunks(transfer.manifest.digest, len(transfer.manifest))
            except RemoteProtocolError as error:
                self.links.ban(peer.id, str(error))
            else:
                transfer.feed(PeerHas(peer.id, chunks))

    def _repeat_claims(self, transfer: Transfer, peer: Peer) -> None:
        """Tell a peer that joins which spans are on their way here, or it would fetch them over an uplink of its own."""
        for span in transfer.claims:
            self._sequence += 1
            peer.post(Claim(manifest=transfer.manifest.digest, span=span, sequence=self._sequence))

    # What peers need (`Host`).

    async def find_object(self, asker: bytes, kind: str, name: str, limit: int) -> bytes | None:
        """See `Host.find_object`."""

        def find() -> bytes | None:
            try:
                data = self._metadata.file(name) if kind == "metadata" else self._store.load_object(f"{kind}/{name}")
            except StoreError as error:
                _log.warning("%s %s for a peer: %s", kind, name, error)
                return None
            return data if data is not None and len(data) <= limit else None

        data = await in_thread(find)
        product = self._metadata.product_of_others(name) if kind == "metadata" else ""
        if product:  # if it is not here the peer asks again; it may have no other source
            self._on_wanted(product, asker)
        return data

    async def read_chunks(self, manifest: Digest, chunks: Sequence[int]) -> list[bytes | None]:
        """See `Host.read_chunks`."""
        known = self.manifest(manifest)

        def read(index: int) -> bytes | None:
            if known is None or index >= len(known):
                return None
            try:
                return self._store.get(known.chunk(index).digest)
            except ChunkMissingError as error:
                _log.warning("chunk %d for a peer: %s", index, error)
                return None

        readers = sum(peer.serving.busy for peer in self.links.peers.values())
        chunks = chunks[: max(_SERVE_LEAST_CHUNKS, _SERVE_CHUNKS // max(1, readers))]
        found = await in_thread(lambda: [read(chunk) for chunk in chunks])
        if known is not None and any(data is None for data in found):
            self._lost(manifest, [chunk for chunk, data in zip(chunks, found, strict=True) if data is None])
        return found

    def _lost(self, manifest: Digest, chunks: Sequence[int]) -> None:
        """Say that a release that was held whole is not: what is missing is not offered any more."""
        if self.held.pop(manifest, None) is not None:
            for chunk in chunks:
                self.post_all(Drop(manifest=manifest, index=chunk))
            self._on_lost(manifest)

    def on_chunk(self, peer: Peer, manifest: Digest, chunk: int, data: bytes) -> None:
        """See `Host.on_chunk`."""
        transfer = self.transfers.get(manifest)
        if transfer is not None:
            transfer.chunk_came(peer.id, GATEWAY if peer.hello.role == "gateway" else PEER, chunk, data)

    def on_no_chunks(self, peer: Peer, manifest: Digest, chunks: Sequence[int]) -> None:
        """See `Host.on_no_chunks`."""
        transfer = self.transfers.get(manifest)
        if transfer is not None and self._is_current(peer):
            for chunk in chunks:
                transfer.feed(PeerDropped(peer.id, chunk))

    def on_message(self, peer: Peer, message: Message) -> None:
        """See `Host.on_message`."""
        if not self._is_current(peer):
            return
        if isinstance(message, News):
            self._on_news(peer)
            for transfer in list(self.transfers.values()):
                transfer.feed(PeerUplink(peer.id, message.uplink))
        elif isinstance(message, Partial):
            self._on_partial(peer, message)
        elif isinstance(message, Peers):
            for address in message.addresses:
                self.links.suggest(address, peer)
        else:
            self._on_transfer_message(peer, message)

    def _is_current(self, peer: Peer) -> bool:
        """Tell if this is the link to its node: one that was replaced must not speak for the one in its place."""
        return self.links.peers.get(peer.id) is peer

    def _on_transfer_message(self, peer: Peer, message: Message) -> None:
        transfer = self.transfers.get(getattr(message, "manifest", b""))
        if transfer is None:
            return
        match message:
            case Have():
                if message.complete:
                    self._repeat_claims(transfer, peer)
                transfer.peer_has(peer.id, message.flags(len(transfer.manifest)), complete=message.complete)
            case Drop(index=index):
                transfer.feed(PeerDropped(peer.id, index))
            case Claim(span=span, progress=progress, sequence=sequence) if peer.is_news(sequence):
                transfer.feed(PeerClaims(peer.id, span, progress))
            case Release(span=span, sequence=sequence) if peer.is_news(sequence):
                transfer.feed(PeerReleases(peer.id, span))

    # Changes.

    def on_peer(self, peer: Peer, came: bool) -> None:
        """Note that a link to a peer is up, or gone."""
        if not came:
            for transfer in list(self.transfers.values()):
                transfer.feed(PeerLeft(peer.id))
            return
        self._said = self._said or self._news()  # in the greeting
        for digest, manifest in self.held.items():
            if digest not in self.transfers:
                _post_have(peer, digest, range(len(manifest)), len(manifest), replace=True)
        for transfer in list(self.transfers.values()):
            self._join(transfer, peer)
        self._introductions.introduce(peer, [other for other in self.links.peers.values() if other is not peer])
        self._on_news(peer)

    def on_uplink(self) -> None:
        """Note that the uplink can be used from now on, or no more."""
        self.say_news()  # before any claim: one of a node without an uplink counts for nothing
        for transfer in list(self.transfers.values()):
            transfer.uplink_changed()


def _post_have(peer: Peer, manifest: Digest, chunks: Sequence[int], n_chunks: int, *, replace: bool) -> None:
    flags = bytearray(n_chunks)
    for chunk in chunks:
        flags[chunk] = 1
    for message in Have.announce(manifest=manifest, flags=flags, complete=replace):
        peer.post(message)
