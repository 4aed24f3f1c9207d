"""Small objects (manifest roots, pages, indexes, maps): from the store, else a peer, else the uplink of one node of the site."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio

from ..abc import ChunkStore
from ..content.digest import Digest
from ..errors import ContentError, FetchError, StoreError
from ..exchange import rank_of
from ..wire.messages import can_ask
from .links import Links
from .peer import Peer
from .tasks import plain_nursery
from .threads import in_thread
from .uplink import Uplink

_log = logging.getLogger("edgeswarm.objects")
_ASK_AGAIN_SECONDS = 0.5
_PEER_SECONDS = 20.0
_HEDGE_SECONDS = 1.0
"""The next peer is asked when those before it have not answered for so long. A guess: a LAN answers in milliseconds."""
_HELD_SECONDS, _PATIENCE = 5.0, 4
"""A no after so long means that the peer held the question open while it asked the origin, and did not get it in time: if it has an
uplink it is asked again before this node's own is used, so many times in all. Guesses: 5 MB at 1 Mbit/s take 40 s."""
_MUTE_SECONDS, _MOST_DOUBLINGS = 60.0, 6
"""A peer that made this node wait for nothing comes last for so long, twice as long each time that it does so again. Guesses."""
_TURN_SECONDS = 1.5
"""Wait per rank before another node's uplink fetch of an object is doubted: a guess, above a satellite's round trip."""
_AFRESH_SECONDS = 0.4
"""Turns begin anew so long after a peer did not get an object: not when others come new to it, who take spans over after multiples
of 0.75 s. A guess."""
_HOPE_SECONDS = 5.0
"""What the origin has no more is sought among the neighbours for so long. A guess: they may be about to get it from elsewhere."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    kind: str
    name: str
    limit: int
    check: Callable[[bytes], None]
    manifest: Digest | None
    is_patient: bool


@dataclass(slots=True)
class _Round:
    """What came of asking all peers once.

    Attributes:
        data: A good answer.
        in_vain: A peer held the question open, as one does that is getting the object, and then had nothing.
    """

    data: bytes | None = None
    in_vain: bool = False


def rank_key(name: str) -> bytes:
    """Return what nodes are ranked by for who asks the origin for an object."""
    return name.encode()


class Objects:
    """Finds small objects, checks them, and keeps them in the store.

    Args:
        store: Where they are kept, as `<kind>/<name>`.
        links: The peers that are asked.
        uplink: This node's own, or None.
        own: This node's id.
    """

    def __init__(self, store: ChunkStore, links: Links, uplink: Uplink | None, own: bytes) -> None:
        self._store = store
        self._links = links
        self._uplink = uplink
        self._own = own
        self._coming: dict[str, trio.Event] = {}  # set when the origin has answered, well or not
        self._mute: dict[bytes, float] = {}  # until when a peer comes last that made this node wait for nothing
        self._idle_waits: dict[bytes, int] = {}  # how often it did, since it last gave something

    async def obtain(
        self,
        kind: str,
        name: str,
        limit: int,
        check: Callable[[bytes], None],
        from_origin: Callable[[], Awaitable[bytes]] | None,
        manifest: Digest | None = None,
        *,
        is_patient: bool = True,
    ) -> bytes:
        """Return an object that `check` accepts; waits for a peer or the uplink for as long as it takes.

        Args:
            kind: "manifest", "page", "index" or "map".
            name: Digest in hex.
            limit: Most bytes.
            check: Raises `ContentError` for wrong bytes; a peer that sent them is shut out.
            from_origin: Fetches it over this node's uplink; None if it can't be.
            manifest: What it belongs to: peers that hold chunks of that are asked first.
            is_patient: Go on when the uplink breaks.

        Raises:
            FetchError: The origin says finally that it has no such object, and no peer has it; or the uplink broke.
        """
        wanted = _Wanted(kind, name, limit, check, manifest, is_patient)
        start = refused_at = trio.current_time()
        asked: dict[bytes, float] = {}
        refusal: FetchError | None = None
        while True:
            data = await in_thread(partial(self._load, f"{kind}/{name}"))
            if data is not None:
                return data
            found = await self._from_peers(wanted, asked)
            data = found.data
            if found.in_vain:  # all that waited for the same node would go at once
                start = trio.current_time() + _AFRESH_SECONDS
            if data is None and from_origin is not None and refusal is None and self._my_turn(name, start):
                try:
                    data = await self._from_origin(wanted, from_origin)
                except FetchError as error:
                    if error.temporary:
                        raise
                    refusal, refused_at = error, trio.current_time()
            if data is not None:
                await in_thread(partial(self._store.save_object, f"{kind}/{name}", data))
                return data
            if refusal is not None and not (self._links.peers and trio.current_time() - refused_at < _HOPE_SECONDS):
                raise refusal
            await trio.sleep(_ASK_AGAIN_SECONDS / 5)

    def _load(self, name: str) -> bytes | None:
        try:
            return self._store.load_object(name)
        except StoreError as error:
            _log.warning("%s is fetched again: %s", name, error)
            return None

    async def _from_peers(self, wanted: _Wanted, asked: dict[bytes, float]) -> _Round:
        """Ask peers, one after the other unless one is slow: then the next one too. The first good answer wins."""
        now = trio.current_time()
        peers = [
            peer
            for peer in self._links.peers.values()
            if now - asked.get(peer.id, -math.inf) >= _ASK_AGAIN_SECONDS and can_ask(wanted.kind, peer.hello.capabilities)
        ]
        found = _Round()
        async with plain_nursery() as nursery:
            for peer in sorted(peers, key=partial(self._order, wanted)):
                asked[peer.id] = trio.current_time()
                answered = trio.Event()
                nursery.start_soon(self._ask, peer, wanted, answered, found, nursery.cancel_scope)
                with trio.move_on_after(_HEDGE_SECONDS):
                    await answered.wait()
        return found

    async def _ask(self, peer: Peer, wanted: _Wanted, answered: trio.Event, found: _Round, everybody: trio.CancelScope) -> None:
        # One that was mute before gets no second chance to keep the uplink waiting; a question that is open still proves nothing,
        # since a peer holds it open while the object is on its way there.
        has_uplink = self._uplink is not None and self._uplink.usable
        seconds = _HEDGE_SECONDS if self._is_mute(peer) and has_uplink else _PEER_SECONDS
        data, start = None, trio.current_time()
        try:
            for _ in range(_PATIENCE if peer.uplink else 1):
                asked_at = trio.current_time()
                with trio.move_on_after(seconds) as scope:
                    data = await ask_peer(peer, wanted.kind, wanted.name, wanted.limit)
                if scope.cancelled_caught or data is not None or trio.current_time() - asked_at < _HELD_SECONDS:
                    break
        finally:  # also when another peer was faster
            self._note(peer, trio.current_time() - start, gave=data is not None)
        answered.set()
        if data is not None and self._is_good(peer, wanted, data):
            found.data = data
            everybody.cancel()
        elif data is None and not scope.cancelled_caught and trio.current_time() - start >= _HEDGE_SECONDS:
            found.in_vain = True

    def _is_good(self, peer: Peer, wanted: _Wanted, data: bytes) -> bool:
        try:
            wanted.check(data)
        except ContentError as error:
            self._links.ban(peer.id, f"sent a wrong {wanted.kind} {wanted.name[:12]}: {error}")
            return False
        return True

    def _note(self, peer: Peer, seconds: float, *, gave: bool) -> None:
        """Note what came of a question after so long. Who says no at once is neither trusted more nor less for it."""
        if not gave and seconds >= _HEDGE_SECONDS:
            times = self._idle_waits.get(peer.id, 0)
            self._idle_waits[peer.id] = times + 1
            self._mute[peer.id] = trio.current_time() + _MUTE_SECONDS * 2 ** min(times, _MOST_DOUBLINGS)
        elif gave:
            self._mute.pop(peer.id, None)
            self._idle_waits.pop(peer.id, None)

    def _is_mute(self, peer: Peer) -> bool:
        return self._mute.get(peer.id, -math.inf) > trio.current_time()

    def _order(self, wanted: _Wanted, peer: Peer) -> tuple[bool, bool, bool, bytes]:
        """Tell who is asked first: who did not stall lately, who has chunks of the same manifest, gateways."""
        return (
            self._is_mute(peer),
            wanted.manifest is None or wanted.manifest not in peer.holdings,
            peer.hello.role != "gateway",
            peer.id,
        )

    def _my_turn(self, name: str, start: float) -> bool:
        """Tell if this node is the one to use its uplink: the first in rank, or those behind it have waited long enough."""
        if self._uplink is None or not self._uplink.usable:
            return False
        rank = rank_of(self._own, rank_key(name), [peer.id for peer in self._links.peers.values() if peer.uplink])
        return trio.current_time() - start >= rank * _TURN_SECONDS

    def coming(self, kind: str, name: str) -> trio.Event | None:
        """Return what is set when the origin has answered, well or not, if it is being asked for an object; else None."""
        return self._coming.get(f"{kind}/{name}")

    async def _from_origin(self, wanted: _Wanted, from_origin: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """Ask the origin, and keep what it has before peers that wait for it hear of that."""
        key = f"{wanted.kind}/{wanted.name}"
        answered = self._coming.setdefault(key, trio.Event())
        try:
            data = await self._read_origin(wanted, from_origin)
            if data is not None:
                await in_thread(partial(self._store.save_object, key, data))
            return data
        finally:
            answered.set()
            if self._coming.get(key) is answered:
                del self._coming[key]

    async def _read_origin(self, wanted: _Wanted, from_origin: Callable[[], Awaitable[bytes]]) -> bytes | None:
        try:
            data = await from_origin()
            wanted.check(data)
        except FetchError as error:
            if not (error.temporary and wanted.is_patient):
                raise
            return None
        except ContentError as error:
            _log.warning("%s from the origin: %s", wanted.name[:12], error)
            if self._uplink is not None:
                self._uplink.failed(error)
            return None
        return data


async def ask_peer(peer: Peer, kind: str, name: str, limit: int) -> bytes | None:
    """Return an object that a peer has, or None: it has none, or the link ended."""
    try:
        return await peer.get_object(kind, name, limit)
    except FetchError:
        return None
