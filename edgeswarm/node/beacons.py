"""Beacons on the local network: heard and sent by the machine of `gossip`, over multicast."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from random import Random

import trio

from ..errors import EdgeswarmError
from ..gossip.announce import Announce, Announcer, Approach, Disproved, Effect, Heard, Holds
from ..gossip.beacon import NONCE_BYTES, TAG_BYTES, Beacon, open_beacon, seal_beacon, site_tag
from ..gossip.trickle import SetTimer, Start, Tick, Trickle
from ..transport.multicast import Beacons as BeaconSocket

_log = logging.getLogger("edgeswarm.beacons")


class BeaconLoop:
    """Announces what this node holds and tells who else is there.

    Args:
        socket: Sends and receives datagrams.
        site_key: 32 bytes that the site shares.
        fleet: Name of the fleet.
        site: Name of the site.
        own: This node's id.
        epoch: Number that grows with every start.
        port: Where this node accepts links; 0: it does not.
        dice: For the timer.
        on_address: Called with the first 8 bytes of the id and `host:port` of a node that was heard.
        timestamp_version: The metadata that this node holds to begin with.
    """

    def __init__(
        self,
        socket: BeaconSocket,
        site_key: bytes,
        fleet: str,
        site: str,
        own: bytes,
        epoch: int,
        port: int,
        dice: Random,
        on_address: Callable[[bytes, str], None],
        timestamp_version: int = 0,
    ) -> None:
        self._socket = socket
        self._key = site_key
        self._tag = site_tag(fleet, site)
        self._own = own[:TAG_BYTES]
        self._epoch = epoch
        self._sequence = 0
        self._port = port
        self._on_address = on_address
        self._machine = Announcer(Trickle(dice), node=self._own, timestamp_version=timestamp_version)
        self._timer = trio.Event()
        self._due = float("inf")
        self._out, self._queue = trio.open_memory_channel[int](16)

    def holds(self, timestamp_version: int) -> None:
        """Tell the site of newer metadata."""
        self._feed(Holds(timestamp_version))

    def disproved(self, node: bytes, timestamp_version: int) -> None:
        """Note that a peer, named by its whole id, could not show the metadata that it says it holds."""
        self._feed(Disproved(node[:TAG_BYTES], timestamp_version))

    async def run(self) -> None:
        """Send and hear until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            nursery.start_soon(self._send)
            self._feed(Start())
            await self._tick()

    def _feed(self, event: Start | Tick | Heard | Holds | Disproved) -> None:
        for effect in self._machine.handle(event, trio.current_time()):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case SetTimer(at=at):
                self._due = at
                self._timer.set()
            case Announce(timestamp_version=version):
                try:
                    self._out.send_nowait(version)
                except trio.WouldBlock:
                    _log.debug("a beacon is left out: the network is slow")
            case Approach(node=node, address=address):
                self._on_address(node, address)

    async def _tick(self) -> None:
        while True:
            self._timer = trio.Event()
            with trio.move_on_at(self._due):
                await self._timer.wait()
                continue
            self._due = float("inf")
            self._feed(Tick())

    async def _send(self) -> None:
        async for version in self._queue:
            self._sequence += 1
            beacon = Beacon(
                site=self._tag,
                node=self._own,
                epoch=self._epoch,
                sequence=self._sequence,
                timestamp_version=version,
                port=self._port,
            )
            try:
                await self._socket.send(seal_beacon(beacon, key=self._key, nonce=secrets.token_bytes(NONCE_BYTES)))
            except (EdgeswarmError, OSError) as error:
                _log.info("beacon not sent: %s", error)

    async def _hear(self) -> None:
        while True:
            data, host = await self._socket.receive()
            try:
                beacon = open_beacon(data, keys=[self._key], site=self._tag)
            except EdgeswarmError as error:
                _log.debug("datagram from %s: %s", host, error)
                continue
            self._feed(Heard(beacon, host))
