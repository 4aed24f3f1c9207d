"""The links of a node: whom it dials, whom it accepts, and that there is one link to each peer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Any

import trio

from ..abc import Link, Transport
from ..errors import EdgeswarmError, FetchError, RemoteProtocolError, TrustError
from ..exchange import TokenBucket
from ..wire.messages import Hello
from .addresses import Addresses, Dial
from .greeting import greet
from .peer import Host, Peer

_log = logging.getLogger("edgeswarm.links")
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS, _LAST_FIXED_RETRY_SECONDS = 30.0, 5.0
"""Configured addresses are tried more often: a gateway that comes back must hear what its devices hold before it pays for it.
Guesses."""
_BAN_SECONDS = 3600.0
"""How long a peer that sent a wrong chunk is shut out: over TLS it can't be a bit error. A guess; revoking is the operator's."""
# New addresses that all beacons together may name: enough for a site that starts at once. One limit for all, since whoever has the
# site's key can send beacons in any node's name. Guesses.
_BEACON_HINTS_PER_SECOND, _MOST_BEACON_HINTS = 8.0, 256.0
# Links of one node: some at once when both dial each other at several addresses, then one a second; further ones wait. Each costs
# a greeting and all that is said to a new peer. Guesses.
_LINKS_PER_SECOND, _MOST_LINKS_AT_ONCE = 1.0, 8.0
_MOST_KEYS = 1024  # twice the nodes of the largest site (500); the one that was linked longest ago makes room
_MOST_GREETINGS = 2  # of one node at a time: it may dial while it is dialled


class Links:
    """Keeps links to the peers of a site.

    Args:
        transport: Makes links.
        host: What the peers talk to.
        hello: Returns this node's greeting of the moment.
        own: This node's id.
        limit: Most links at a time.
        dice: For jitter.
        on_change: Called with a peer and whether it came (True) or went (False).
    """

    def __init__(
        self,
        transport: Transport,
        host: Host,
        hello: Callable[[], Hello],
        own: bytes,
        limit: int,
        dice: Random,
        on_change: Callable[[Peer, bool], None],
    ) -> None:
        self.peers: dict[bytes, Peer] = {}
        self.refused: list[str] = []
        self._banned: dict[bytes, tuple[float, str]] = {}
        self._transport = transport
        self._host = host
        self._hello = hello
        self._own = own
        self._limit = limit
        self._dice = dice
        self._on_change = on_change
        self._addresses = Addresses(lambda node: node in self.peers)
        self._beacon_hints = TokenBucket(_BEACON_HINTS_PER_SECOND, _MOST_BEACON_HINTS)
        self._greetings: dict[bytes, int] = {}
        self._paces: dict[bytes, TokenBucket] = {}  # the node that was linked longest ago first
        self._dials_changed = trio.Event()
        self._nursery: trio.Nursery | None = None

    @property
    def banned(self) -> dict[bytes, tuple[float, str]]:
        """Who is shut out: until when on trio's clock, and why."""
        now = trio.current_time()
        self._banned = {peer: ban for peer, ban in self._banned.items() if now < ban[0]}
        return self._banned

    async def run(self, listen: str, fixed: Iterable[str], *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen (unless the address is empty) and dial, until cancelled; reports the bound address."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            bound = ""
            if listen:
                bound = await nursery.start(partial(self._transport.serve, listen, self._accepted))
            for address in fixed:
                self._addresses.fix(address)
            nursery.start_soon(self._dial_all)
            task_status.started(bound)

    def suggest(self, address: str, source: Peer | None = None) -> None:
        """Note an address where a peer may be: a hint, tried a few times.

        Args:
            address: `host:port`.
            source: The peer that named it; it may name so many and no more, since whom we dial is up to it.
        """
        if address and address not in self._addresses and (source is None or source.hints.try_take(trio.current_time())):
            self._add(address)

    def hear(self, node: bytes, address: str) -> None:
        """Note the address that a beacon names for a node without a link; the last one counts. All beacons share one limit.

        Args:
            node: First 8 bytes of the node's id, as the beacon says.
            address: `host:port`.
        """
        if address in self._addresses or any(peer.startswith(node) for peer in self.peers):
            return
        if self._beacon_hints.try_take(trio.current_time()):
            self._add(address, node)

    def is_proven(self, address: str, node: bytes) -> bool:
        """Tell if this node id answered when the address was dialled."""
        return self._addresses.is_proven(address, node)

    def _add(self, address: str, named: bytes = b"") -> None:
        if self._addresses.add(address, named):
            self._dials_changed.set()

    def ban(self, peer: bytes, reason: str) -> None:
        """Shut a peer out for an hour and close its link."""
        known = self.peers.get(peer)
        name = known.name if known else peer.hex()[:12]
        _log.warning("peer %s is shut out for an hour: it %s", name, reason)
        self._banned[peer] = (trio.current_time() + _BAN_SECONDS, f"{name} {reason}")
        if known:
            known.close()

    async def say_goodbye(self) -> None:
        """Tell all peers that this node stops."""
        async with trio.open_nursery() as nursery:
            for peer in list(self.peers.values()):
                nursery.start_soon(peer.say_goodbye, "stopping", "the node stops")

    # Dialing.

    async def _dial_all(self) -> None:
        assert self._nursery is not None  # noqa: S101  # set by `run`
        while True:
            now = trio.current_time()
            for address, dial in self._addresses.idle():
                if dial.next_try <= now and len(self.peers) < self._limit:
                    dial.busy = True
                    self._nursery.start_soon(self._dial, address, dial)
            with trio.move_on_after(_FIRST_RETRY_SECONDS / 2):
                await self._dials_changed.wait()
                self._dials_changed = trio.Event()

    async def _dial(self, address: str, dial: Dial) -> None:
        try:
            link = await self._transport.connect(address)
            self._addresses.prove(address, dial, link.peer.key)
            if await self._use(link, connected=True):
                dial.failures = 0
            else:
                dial.failures += 1
        except EdgeswarmError as error:
            dial.failures += 1
            _log.info("%s: %s", address, error)
            if isinstance(error, TrustError):
                self._refuse(f"{address}: {error}")
        except Exception:  # a bug: it ends this link, and not the node
            dial.failures += 1
            _log.exception("link with %s", address)
        finally:
            dial.busy = False
            longest = _LAST_FIXED_RETRY_SECONDS if dial.fixed else _LAST_RETRY_SECONDS
            wait = min(longest, _FIRST_RETRY_SECONDS * 2 ** min(dial.failures, 16)) * self._dice.uniform(0.75, 1.25)
            dial.next_try = trio.current_time() + wait
            if not dial.fixed and dial.failures > 3:
                self._addresses.forget(address)

    def _refuse(self, text: str) -> None:
        self.refused = [*[known for known in self.refused if known != text][-9:], text]

    # Both ways.

    async def _accepted(self, link: Link) -> None:
        try:
            await self._use(link, connected=False)
        except EdgeswarmError as error:
            _log.debug("%s: %s", link.peer.address, error)
        except Exception:  # a bug: it ends this link, and not the node
            _log.exception("link from %s", link.peer.address)

    async def _use(self, link: Link, *, connected: bool) -> bool:
        """Greet and serve a link until it ends; return whether it was used."""
        try:
            if link.peer.key in self.banned:
                raise TrustError(f"shut out: {self.banned[link.peer.key][1]}")
            if link.peer.key == self._own:
                raise TrustError("that is this node itself")
            if connected and link.peer.key in self.peers:
                return False  # it has several addresses: this one would only take the place of a link that works
            peer = await self._greet(link, connected=connected)
            if not self._admit(peer):
                await peer.say_goodbye("duplicate" if peer.id in self.peers else "busy", "there is a link already, or too many")
                return False
            await self._serve(peer)
            return True
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await link.aclose()

    async def _greet(self, link: Link, *, connected: bool) -> Peer:
        """Greet, once it is the node's turn; a node that opens links without ever greeting holds few of them at a time."""
        key = link.peer.key
        if self._greetings.get(key, 0) >= _MOST_GREETINGS:
            raise FetchError(f"{link.peer.node} has {_MOST_GREETINGS} links already on which it has not greeted")
        self._greetings[key] = self._greetings.get(key, 0) + 1
        try:
            await trio.sleep(self._pace(key).take(trio.current_time()))
            return await greet(link, self._hello(), connected=connected)
        finally:
            self._greetings[key] -= 1
            if not self._greetings[key]:
                del self._greetings[key]

    def _pace(self, key: bytes) -> TokenBucket:
        """Return what tells how long a node's next link has to wait."""
        pace = self._paces.pop(key, None) or TokenBucket(_LINKS_PER_SECOND, _MOST_LINKS_AT_ONCE)
        while len(self._paces) >= _MOST_KEYS:
            del self._paces[next(iter(self._paces))]
        self._paces[key] = pace
        return pace

    def _admit(self, peer: Peer) -> bool:
        """Keep one link a peer: the newer of the same direction, else the one that the smaller node id opened."""
        known = self.peers.get(peer.id)
        if known is None:
            return len(self.peers) < self._limit
        opened_by_smaller = peer.connected == (self._own < peer.id)
        if known.connected != peer.connected and not opened_by_smaller:
            return False
        self._remove(known)
        known.close()
        return True

    async def _serve(self, peer: Peer) -> None:
        self.peers[peer.id] = peer
        _log.info("link with %s (%s)", peer.name, peer.identity.address)
        reason = "cancelled"
        try:
            self._on_change(peer, True)
            reason = await peer.run(self._host)
        except RemoteProtocolError as error:
            reason = str(error)
            self._refuse(f"{peer.name}: {error}")
            _log.warning("%s broke the protocol: %s", peer.name, error)
        except EdgeswarmError as error:
            reason = str(error)
        finally:
            _log.info("link with %s ended: %s", peer.name, reason)
            self._remove(peer)

    def _remove(self, peer: Peer) -> None:
        if self.peers.get(peer.id) is peer:
            del self.peers[peer.id]
            self._on_change(peer, False)

    def status(self) -> list[dict[str, Any]]:
        """Return a row a peer, as `edgeswarm status` shows it."""
        return [
            {
                "node": peer.name, "role": peer.hello.role, "address": peer.identity.address, "uplink": peer.uplink,
                "metadata": peer.timestamp_version, "received_bytes": peer.received_bytes, "sent_bytes": peer.serving.sent_bytes,
            }
            for peer in self.peers.values()
        ]  # fmt: skip
