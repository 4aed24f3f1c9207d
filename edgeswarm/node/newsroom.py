"""Getting newer metadata: from the origin at intervals, by one node of the site; from any peer that says it has some."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import trio

from ..errors import EdgeswarmError, FetchError, TrustError
from ..exchange import ranking
from ..origin.deadlines import within
from ..trust.client import Want
from .links import Links
from .metadata import Metadata
from .peer import Peer
from .uplink import Uplink

_log = logging.getLogger("edgeswarm.news")
_LOOK_SECONDS = 1.0
_LONG_AGO = -1e12  # finite: with an endless pause it must not make NaN
_SILENT_INTERVALS = 3
"""Whoever has the duty to ask the origin says NEWS after each answer; silent for so many intervals it counts no more. A guess."""
_AUDIT_INTERVALS = 8
"""The next in rank asks all the same, this much more rarely: whoever has the duty may lie about having asked. A guess."""
_PEER_SECONDS = 60.0
"""Longest that a peer may take for all files of one refresh. A guess: 1.4 MB of metadata (10,000 targets) at 1 Mbit/s take 11 s."""
_TURN_SECONDS = 2.0
"""Peers are asked one after the other, since the first usually brings everything; a slow one is not waited for longer. A guess."""
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.5, 60.0  # what does not verify now may do so once this node's clock is set
_LAST_LOOK_SECONDS = 600.0
"""Longest pause between looks for a role that nobody has: a guess. Newer metadata, which may bring it, is noticed without them."""


class Newsroom:
    """Keeps the metadata fresh.

    Args:
        metadata: Verifies and keeps it.
        uplink: This node's own, or None.
        poll_seconds: How often the origin is asked.
        own: This node's id.
        dice: For jitter.
    """

    def __init__(self, metadata: Metadata, uplink: Uplink | None, poll_seconds: float, own: bytes, dice: Random) -> None:
        self.links: Links | None = None
        self.checked_at: float | None = None
        self.on_disproved: Callable[[bytes, int], None] = lambda _node, _version: None
        self._metadata = metadata
        self._uplink = uplink
        self._poll_seconds = poll_seconds
        self._own = own
        self._dice = dice
        self._answered = False
        self._asking: dict[bytes, None] = {}
        self._owing: dict[bytes, None] = {}  # peers that have been asked for a missing role and have not answered yet
        self._late: dict[bytes, None] = {}  # peers that took longer than a turn, the last time
        self._sought: dict[str, None] = {}
        self._looking: dict[str, None] = {}
        self._look_turn = trio.Lock()
        self._origin_turn = trio.Lock()  # not held for ever: reads of an origin have a deadline
        self._peer_turn = trio.Semaphore(1)
        self._nursery: trio.Nursery | None = None

    async def run(self, on_change: Callable[[], None], on_checked: Callable[[], None] = lambda: None) -> None:
        """Look for news until cancelled.

        Args:
            on_change: Called when there was some.
            on_checked: Called when the origin was asked, as this node's duty, and has answered.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._look_for_missing()  # what was saved may lack a file
            if self._uplink is not None:
                nursery.start_soon(self._poll, self._uplink, on_checked)
            changed = self._metadata.changed
            while True:
                await changed.wait()
                changed = self._metadata.changed  # before anything else runs: no change may be missed
                on_change()

    async def _poll(self, uplink: Uplink, on_checked: Callable[[], None]) -> None:
        """Ask the origin whenever that is due."""
        asked = trio.current_time() - self._poll_seconds
        jitter = 1.0
        while True:
            due = asked + jitter * self._poll_seconds
            now = trio.current_time()
            if uplink.usable and now >= due and now >= asked + jitter * self._pause():
                jitter, asked = self._dice.uniform(0.9, 1.1), now
                changed = await self._ask_origin()
                if not uplink.usable:
                    asked = _LONG_AGO  # a dead link is tried again as soon as it counts as usable
                elif changed is not None:
                    on_checked()
                due = asked + jitter * self._poll_seconds
            left = due - trio.current_time()
            await trio.sleep(min(_LOOK_SECONDS, self._poll_seconds, left if left > 0 else _LOOK_SECONDS))

    def _pause(self) -> float:
        """Return how long this node lets pass between its questions to the origin.

        The first in rank has the duty and says NEWS after each answer. When those before it have been silent for some intervals,
        the next takes over, one after the other.
        """
        uplinks = {peer.id: peer for peer in self._peers() if peer.uplink}
        order = ranking(b"poll", [self._own, *uplinks])
        before = [uplinks[node] for node in order[: order.index(self._own)]]
        silent = trio.current_time() - max((peer.news_at for peer in before), default=-math.inf)
        if silent >= (_SILENT_INTERVALS + len(before) - 1) * self._poll_seconds:
            return self._poll_seconds
        is_audit = len(before) == 1 or self._metadata.origin.is_refused  # an alarm that is over must end
        return _AUDIT_INTERVALS * self._poll_seconds if is_audit else math.inf

    def _peers(self) -> list[Peer]:
        return list(self.links.peers.values()) if self.links is not None else []

    async def check_now(self) -> bool:
        """Ask the origin now; return whether there was newer metadata. Failures are logged and kept for the status."""
        return bool(self._uplink is not None and await self._ask_origin())

    @property
    def is_current(self) -> bool:
        """Whether the origin answered when it was asked last, and its uplink has not failed since."""
        return self._answered and self._uplink is not None and self._uplink.proven

    def is_sought(self, product: str) -> bool:
        """Tell if nothing more is to be expected of a product: the origin has answered, and if its role is missing, so have all.

        What its source only broke off at, and what nobody was asked for yet, may come by itself.
        """
        if self.checked_at is None or self._metadata.origin.waits(product):
            return False
        return self._metadata.knows(product) or product in self._sought

    async def _ask_origin(self) -> bool | None:
        """Return whether the origin had newer metadata; None: it had no answer that verifies."""
        try:
            async with self._origin_turn:
                changed = await self._metadata.refresh(self._from_origin, self._metadata.origin)
            self._look_for_missing()
        except EdgeswarmError as error:
            _log.warning("metadata from the origin: %s", error)
            self._answered = False
            return None
        except Exception:  # a bug: it must not end the node
            _log.exception("metadata from the origin")
            return None
        self._answered, self.checked_at = True, time.time()
        return changed

    def look_for(self, product: str) -> None:
        """Get a product's role that is not here, though the metadata may not get newer."""
        if self._nursery is not None and product not in self._looking:
            self._looking[product] = None
            self._nursery.start_soon(self._look_for, product)

    def _look_for_missing(self) -> None:
        for product in self._metadata.missing:
            self.look_for(product)

    async def _look_for(self, product: str) -> None:
        pause = _FIRST_PAUSE_SECONDS
        try:
            while self._metadata.wants(product) and not self._metadata.knows(product):
                async with self._look_turn:  # who looks for one product brings the others
                    await self._look_around(product)
                self._sought[product] = None
                await trio.sleep(pause)
                pause = min(2 * pause, _LAST_LOOK_SECONDS)
        finally:
            del self._looking[product]

    async def _look_around(self, product: str) -> None:
        if self._uplink is not None and self._uplink.usable and not self._metadata.knows(product):
            await self.check_now()
        for peer in sorted(self._peers(), key=lambda peer: peer.id in self._late):
            is_useful = peer.timestamp_version >= max(1, self._metadata.version) and peer.id not in self._owing
            if is_useful and not self._metadata.knows(product):
                await self._ask_aside(peer)

    async def _ask_aside(self, peer: Peer) -> None:
        """Ask a peer, and wait a turn for its answer; one that comes later still counts. A late peer comes last the next time."""
        assert self._nursery is not None  # noqa: S101  # who looks runs in it
        answered = trio.Event()

        async def ask() -> None:
            try:
                await self._ask_once(peer)
            finally:
                del self._owing[peer.id]
                answered.set()

        self._owing[peer.id] = self._late[peer.id] = None
        self._nursery.start_soon(ask)
        with trio.move_on_after(_TURN_SECONDS):
            await answered.wait()
            self._late.pop(peer.id, None)

    async def _from_origin(self, want: Want) -> bytes | None:
        assert self._uplink is not None  # noqa: S101  # asked only with an uplink
        try:
            return await self._uplink.read(f"metadata/{want.name}", limit=want.max_bytes)
        except FetchError as error:
            if error.temporary or not want.name.endswith(".root.json"):
                raise  # only the next root may be missing: everything else is named by what is there
            return None

    def consider(self, peer: Peer) -> None:
        """Ask a peer if it says that it has newer metadata; what it brings is verified like any other."""
        if self._is_newer(peer) and peer.id not in self._asking and self._nursery is not None:
            self._asking[peer.id] = None
            self._nursery.start_soon(self._ask, peer)

    def _is_newer(self, peer: Peer) -> bool:
        return peer.timestamp_version > self._metadata.version and not peer.closed.is_set()

    async def _ask(self, peer: Peer) -> None:
        """Take a peer's metadata; tried again with growing pauses for as long as it says that its own is newer."""
        try:
            pause = _FIRST_PAUSE_SECONDS
            while self._is_newer(peer):
                async with self._turn():
                    if self._is_newer(peer):
                        await self._ask_once(peer)
                if self._is_newer(peer):
                    self.on_disproved(peer.id, peer.timestamp_version)
                    await trio.sleep(pause)
                    pause = min(2 * pause, _LAST_PAUSE_SECONDS)
        finally:
            self._asking.pop(peer.id, None)
            self._consider_others(peer)

    def _consider_others(self, asked: Peer) -> None:
        """Go on with the other links: one to the same node may have come in place of the one that was asked."""
        for peer in self._peers():
            if peer is not asked:
                self.consider(peer)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        mine = False
        with trio.move_on_after(_TURN_SECONDS):
            await self._peer_turn.acquire()
            mine = True
        try:
            yield
        finally:
            if mine:
                self._peer_turn.release()

    async def _ask_once(self, peer: Peer) -> None:
        deadline = trio.current_time() + _PEER_SECONDS

        async def answer(want: Want) -> bytes | None:
            # Of what came in time everything that verifies is kept: the deadline must not cancel the refresh.
            with within(f"{want.name} from {peer.name}", deadline - trio.current_time()):
                return await peer.get_object("metadata", want.name, want.max_bytes)

        try:
            await self._metadata.refresh(answer)
            self._look_for_missing()
        except TrustError as error:
            _log.warning("metadata from %s: %s", peer.name, error)
        except EdgeswarmError as error:
            _log.info("metadata from %s: %s", peer.name, error)
        except Exception:  # a bug: it must not end the node
            _log.exception("metadata from %s", peer.name)
