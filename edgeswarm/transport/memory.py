"""A network in memory: links and beacons between nodes of one process, for tests under trio's virtual clock.

`drop` breaks the links between two hosts and loses what was in flight; `cut` does that and refuses new ones; `stall` says nothing
and delivers nothing, like a cable that was pulled; `heal` ends `cut` and `stall`. With dice, reads end anywhere, so that a reader
that counts on whole messages fails.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random

import trio

from ..abc import Link, PeerIdentity, Started
from ..address import join_address, split_address
from ..errors import ConfigError, FetchError, TrustError
from .admission import Admit, check_membership
from .memory_link import Conditions, MemoryLink, Pipe

# The first of the ports that nobody registers. Source: RFC 6335, section 6.
_FIRST_PORT = 49_152

# As TlsLimits.handshake_seconds.
_CONNECT_SECONDS = 10.0

# Beacons that wait for a slow reader; more are lost, as a socket would lose them. Source: a guess.
_BEACON_QUEUE = 256

_log = logging.getLogger(__name__)


class MemoryNetwork:
    """The cable between memory transports, and the hand that pulls it.

    Hosts are named by the caller, by default as their node is. Pairs of hosts are unordered.

    Args:
        latency_seconds: One way.
        window_bytes: What is in flight in one direction of a link before its sender waits.
        dice: If given, every read is cut at a random place, and beacons can get lost.
        beacon_loss: Share of the beacons that get lost, 0 to 1; needs dice.

    Attributes:
        conditions: The arguments; may be changed while the network runs.
    """

    def __init__(
        self, *, latency_seconds: float = 0.0, window_bytes: int = 256 * 1024, dice: Random | None = None, beacon_loss: float = 0.0
    ) -> None:
        if beacon_loss and dice is None:
            raise ConfigError("beacon_loss needs dice")
        self.conditions = Conditions(latency_seconds, window_bytes, dice, beacon_loss)
        self._listeners: dict[str, _Listener] = {}
        self._links: list[tuple[frozenset[str], MemoryLink]] = []
        self._cut: dict[frozenset[str], None] = {}
        self._stalled: dict[frozenset[str], trio.Event] = {}
        self._beacons: list[MemoryBeacons] = []
        self._next_port = _FIRST_PORT

    def transport(
        self, identity: PeerIdentity, *, host: str | None = None, allow_sites: Sequence[str] = (), admit: Admit | None = None
    ) -> MemoryTransport:
        """Return the transport of one node.

        Args:
            identity: What its peers will see; the address is replaced.
            host: Its place on the network; by default the node's name.
            allow_sites: As for `TlsTransport`.
            admit: As for `TlsTransport`.
        """
        return MemoryTransport(self, identity, host or identity.node, allow_sites, admit)

    @asynccontextmanager
    async def open_beacons(self, host: str) -> AsyncIterator[MemoryBeacons]:
        """Give one host a beacon socket, as `open_beacon_socket` does."""
        beacons = MemoryBeacons(self, host)
        self._beacons.append(beacons)
        try:
            yield beacons
        finally:
            self._beacons.remove(beacons)

    def drop(self, one: str, other: str) -> None:
        """Break the links between two hosts, once: what is in flight is lost, both ends raise `FetchError`."""
        for link in self._between(frozenset((one, other))):
            link.break_off(f"the link between {one} and {other} dropped")

    def cut(self, one: str, other: str) -> None:
        """Break the links between two hosts and refuse new ones, until `heal`."""
        self._cut[frozenset((one, other))] = None
        self.drop(one, other)

    def stall(self, one: str, other: str) -> None:
        """Deliver nothing between two hosts, without a word, until `heal`; new links hang."""
        pair = frozenset((one, other))
        self._stalled.setdefault(pair, trio.Event())
        for link in self._between(pair):
            link.stall(True)

    def heal(self, one: str, other: str) -> None:
        """End `cut` and `stall` between two hosts; what was stalled is delivered."""
        pair = frozenset((one, other))
        self._cut.pop(pair, None)
        if (stalled := self._stalled.pop(pair, None)) is not None:
            stalled.set()
        for link in self._between(pair):
            link.stall(False)

    def bind(self, address: str) -> str:
        """Return an address to listen at, with a port; for `MemoryTransport.serve`.

        Raises:
            ConfigError: The address is malformed or taken.
        """
        host, port = split_address(address)
        bound = join_address(host, port or self.take_port())
        if bound in self._listeners:
            raise ConfigError(f"cannot listen at {bound}: the address is in use")
        return bound

    def listen(self, bound: str, listener: _Listener) -> None:
        """Register who listens at an address that was just bound."""
        self._listeners[bound] = listener

    def leave(self, bound: str) -> None:
        """Forget who listens at an address."""
        del self._listeners[bound]

    def take_port(self) -> int:
        """Return a port that nobody uses."""
        self._next_port += 1
        return self._next_port - 1

    async def reach(self, host: str, address: str) -> _Listener:
        """Travel from a host to whoever listens at an address, and back.

        Raises:
            FetchError: Nobody listens there, or the way is cut.
        """
        await trio.sleep(self.conditions.latency_seconds)
        listener = self._find(host, address)
        pair = frozenset((host, listener.transport.host))
        while (stalled := self._stalled.get(pair)) is not None:
            await stalled.wait()
        await trio.sleep(self.conditions.latency_seconds)
        return self._find(host, address)

    def join(self, client: MemoryTransport, address: str, listener: _Listener) -> MemoryLink:
        """Make a link and start the listener's handler on its other end; return the client's end."""
        there, back = Pipe(self.conditions), Pipe(self.conditions)
        server = listener.transport
        ours = MemoryLink(replace(server.identity, address=address), back, there)
        theirs = MemoryLink(replace(client.identity, address=join_address(client.host, self.take_port())), there, back)
        pair = frozenset((client.host, server.host))
        self._links += [(pair, ours), (pair, theirs)]
        listener.nursery.start_soon(listener.greet, theirs)
        return ours

    def spread(self, sender: str, data: bytes) -> None:
        """Deliver a datagram to every beacon socket that the sender can reach, its own too."""
        due = trio.current_time() + self.conditions.latency_seconds
        dice, loss = self.conditions.dice, self.conditions.beacon_loss
        for beacons in self._beacons:
            pair = frozenset((sender, beacons.host))
            if pair not in self._cut and pair not in self._stalled and not (dice and dice.random() < loss):
                beacons.deliver(due, data, sender)

    def _find(self, host: str, address: str) -> _Listener:
        listener = self._listeners.get(address)
        if listener is None or frozenset((host, listener.transport.host)) in self._cut:
            raise FetchError(f"nobody answers at {address}")
        return listener

    def _between(self, pair: frozenset[str]) -> list[MemoryLink]:
        self._links = [entry for entry in self._links if not entry[1].closed]
        return [link for hosts, link in self._links if hosts == pair]


class MemoryTransport:
    """A `Transport` in memory; made by `MemoryNetwork.transport`.

    Attributes:
        identity: Who this node is.
        host: Its place on the network, for `MemoryNetwork.cut` and the like.
    """

    def __init__(
        self, network: MemoryNetwork, identity: PeerIdentity, host: str, allow_sites: Sequence[str] = (), admit: Admit | None = None
    ) -> None:
        self.identity = identity
        self.host = host
        self._network = network
        self._allow_sites = tuple(allow_sites)
        self._admit = admit

    async def serve(
        self, address: str, handler: Callable[[Link], Awaitable[object]], *, task_status: Started = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See `Transport.serve`. A link is closed when its handler returns; an error that leaves a handler ends the server.

        Raises:
            ConfigError: The address is malformed or taken.
        """
        bound = self._network.bind(address)
        async with trio.open_nursery() as nursery:
            self._network.listen(bound, _Listener(self, handler, nursery))
            try:
                task_status.started(bound)
                await trio.sleep_forever()
            finally:
                self._network.leave(bound)

    async def connect(self, address: str) -> MemoryLink:
        """See `Transport.connect`. As with TLS, a peer that refuses us closes the link before its first byte."""
        split_address(address)
        with trio.move_on_after(_CONNECT_SECONDS):
            listener = await self._network.reach(self.host, address)
            self.check(replace(listener.transport.identity, address=address))
            return self._network.join(self, address, listener)
        raise FetchError(f"no link to {address} within {_CONNECT_SECONDS} s")

    def check(self, peer: PeerIdentity) -> None:
        """Refuse a peer that this node makes no links with; raises `TrustError`."""
        check_membership(self.identity, peer, self._allow_sites)
        if self._admit is not None:
            self._admit(peer)


class MemoryBeacons:
    """The beacon socket of one host in memory: the twin of `BeaconSocket`; made by `MemoryNetwork.open_beacons`.

    Attributes:
        host: Whose it is.
    """

    __slots__ = ("_arrived", "_changed", "_network", "host")

    def __init__(self, network: MemoryNetwork, host: str) -> None:
        self.host = host
        self._network = network
        self._arrived: deque[tuple[float, bytes, str]] = deque()
        self._changed = trio.lowlevel.ParkingLot()

    async def send(self, data: bytes) -> None:
        """Send one datagram to every host, this one too; it may get lost."""
        await trio.lowlevel.checkpoint()
        self._network.spread(self.host, bytes(data))

    async def receive(self) -> tuple[bytes, str]:
        """Return the next datagram and the host it came from."""
        await trio.lowlevel.checkpoint()
        while not self._arrived:
            await self._changed.park()
        await trio.sleep_until(self._arrived[0][0])
        _, data, sender = self._arrived.popleft()
        return data, sender

    def deliver(self, due: float, data: bytes, sender: str) -> None:
        """Take a datagram that arrives at `due`; one too many is lost."""
        if len(self._arrived) < _BEACON_QUEUE:
            self._arrived.append((due, data, sender))
            self._changed.unpark_all()


@dataclass(frozen=True, slots=True)
class _Listener:
    transport: MemoryTransport
    handler: Callable[[Link], Awaitable[object]]
    nursery: trio.Nursery

    async def greet(self, link: MemoryLink) -> None:
        """Take one link to the handler, if its peer may come in."""
        try:
            self.transport.check(link.peer)
        except TrustError as exc:
            _log.info("refused %s: %s", link.peer.address, exc)
            await link.aclose()
            return
        try:
            await self.handler(link)
        finally:
            await link.aclose()
