"""Beacons of a node: what others name and tell is bounded, whatever name they bear."""

from __future__ import annotations

import itertools

import trio

from edgeswarm.gossip import Beacon, open_beacon, seal_beacon, site_tag
from edgeswarm.node.peer import PING_SECONDS
from edgeswarm.transport.multicast import Beacons
from edgeswarm.wire.messages import GetObject, ObjectData, Ping

from .remote import Remote, remote
from .world import SITE_KEY, World, until

CLOCK = trio.testing.MockClock
SITE = site_tag("fleet", "site")


def sealed(node: bytes, sequence: int, address: str = "", port: int = 7651, version: int = 1) -> bytes:
    beacon = Beacon(site=SITE, node=node, epoch=1, sequence=sequence, timestamp_version=version, port=port, address=address)
    return seal_beacon(beacon, key=SITE_KEY, nonce=sequence.to_bytes(24, "big"))


async def test_a_replayed_beacon_names_nothing(autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("a", beacons=True) as node, world.network.open_beacons("liar") as liar:
        for number in range(200):
            await liar.send(sealed(b"somebody", 1, f"10.0.0.{number}"))
        await trio.sleep(0.2)
        assert list(node.links._addresses) == ["10.0.0.0:7651"]


async def test_a_flood_of_beacons_names_so_many_addresses_and_no_more(autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("a", beacons=True) as node, world.network.open_beacons("liar") as liar:
        added: list[str] = []
        add = node.links._addresses.add
        node.links._addresses.add = lambda address, named: added.append(address) or add(address, named)
        for number in range(2000):
            await liar.send(sealed(number.to_bytes(8, "big"), 1, f"10.0.{number // 250}.{number % 250}"))
            await trio.sleep(0.001)
        assert 256 <= len(added) <= 256 + 8 * 2 + 1
        await trio.sleep(20)
        async with world.node("b", beacons=True) as other:
            await until(lambda: other.own.key in node.links.peers, 10)


async def test_a_node_does_not_dial_what_its_own_beacon_names(autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("a", beacons=True) as node, world.network.open_beacons("mirror") as mirror:
        await trio.sleep(5)
        await mirror.send(sealed(node.own.key[:8], 1000))
        await trio.sleep(5)
        assert not len(node.links._addresses)
        assert not node.links.refused


async def test_a_beacon_of_a_linked_node_names_nothing(autojump_clock: CLOCK) -> None:
    world = World()
    async with (
        world.node("a", beacons=True) as node,
        world.network.open_beacons("liar") as liar,
        world.node("b", peers=("a:7651",)) as b,
    ):
        await until(lambda: node.links.peers)
        await liar.send(sealed(b.own.key[:8], 1000, "10.0.0.1"))
        await trio.sleep(0.2)
        assert not len(node.links._addresses)


async def deny(peer: Remote) -> None:
    """Answer that nothing is here, for ever."""
    for nonce in itertools.count():
        with trio.move_on_after(PING_SECONDS):
            wanted = await peer.hear_a(GetObject)
            await peer.say(ObjectData(request=wanted.request, found=False, last=True))
        await peer.say(Ping(nonce=nonce))


async def count_beacons(ear: Beacons, node: bytes, counted: list[int]) -> None:
    while True:
        data, _ = await ear.receive()
        beacon = open_beacon(data, keys=[SITE_KEY], site=SITE)
        if beacon.node == node:
            counted.append(beacon.sequence)


async def test_what_a_peer_could_not_prove_keeps_no_beacons_going(autojump_clock: CLOCK) -> None:
    world = World()
    async with (
        world.node("gateway", role="gateway", beacons=True) as node,
        world.network.open_beacons("liar") as liar,
        remote(world, "liar", timestamp_version=99) as peer,
        trio.open_nursery() as nursery,
    ):
        counted: list[int] = []
        nursery.start_soon(deny, peer)
        nursery.start_soon(count_beacons, liar, node.own.key[:8], counted)
        await trio.sleep(400)
        before = len(counted)
        for number in range(1, 21):
            await liar.send(sealed(peer.key[:8], number, version=99 + number))
            await trio.sleep(2)
        assert len(counted) - before <= 2
        assert peer.key in node.links.peers
        nursery.cancel_scope.cancel()
