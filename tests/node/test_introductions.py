"""Introductions: peers hear where the others are, and none of them can use that to name more than its share."""

from __future__ import annotations

import trio

from edgeswarm.errors import FetchError
from edgeswarm.node.introductions import Introductions
from edgeswarm.wire.messages import Hello, Message, Ping, Pong

from .remote import identity_of, remote
from .world import World, until

CLOCK = trio.testing.MockClock


class FakePeer:
    """A peer that listens at a port of its own and keeps what it is told."""

    def __init__(self, number: int, listen: str | None = None) -> None:
        self.id = number.to_bytes(32, "big")
        self.identity = None
        listen = f"10.0.0.1:{number}" if listen is None else listen
        self.hello = Hello(node=f"n{number}", role="device", uplink=False, timestamp_version=0, listen=listen)
        self.told: list[Message] = []
        self.post = self.told.append

    @property
    def named(self) -> list[str]:
        return [address for message in self.told for address in message.addresses]


async def test_each_hears_where_the_others_are() -> None:
    first, second, mute = FakePeer(1), FakePeer(2), FakePeer(3, listen="")
    introductions = Introductions(lambda _address, _node: False)
    introductions.introduce(first, [])
    introductions.introduce(second, [first])
    introductions.introduce(mute, [first, second])
    assert [peer.named for peer in (first, second, mute)] == [["10.0.0.1:2"], ["10.0.0.1:1"], ["10.0.0.1:1", "10.0.0.1:2"]]


async def test_a_node_is_introduced_once_a_minute_whatever_it_says(autojump_clock: CLOCK) -> None:
    witness = FakePeer(1)
    introductions = Introductions(lambda _address, _node: False)
    for second in range(120):
        introductions.introduce(FakePeer(2, listen=f"10.9.9.9:{second + 1}"), [witness])
        await trio.sleep(1)
    assert witness.named == ["10.9.9.9:1", "10.9.9.9:61"]
    introductions.introduce(FakePeer(3), [witness])
    assert witness.named[-1] == "10.0.0.1:3"


async def test_addresses_that_were_found_right_come_first() -> None:
    others = [FakePeer(number) for number in range(1, 101)]
    introductions = Introductions(lambda address, node: address == "10.0.0.1:90" and node == others[89].id)
    newcomer = FakePeer(200)
    introductions.introduce(newcomer, others)
    assert newcomer.named == ["10.0.0.1:90", *[f"10.0.0.1:{number}" for number in range(1, 64)]]


async def test_who_is_introduced_is_remembered_in_bounded_memory() -> None:
    introductions = Introductions(lambda _address, _node: False)
    for number in range(1, 3000):
        introductions.introduce(FakePeer(number), [])
    assert len(introductions._last) == 1024


async def test_a_node_that_comes_again_and_again_waits_and_names_one_address(autojump_clock: CLOCK) -> None:
    """What it says is charged to the peer that passes it on."""
    world = World()
    identity = identity_of(world, "restless")
    async with world.node("gateway", role="gateway"), world.node("a", peers=("gateway:7651",)) as device:
        await until(lambda: device.links.peers)
        named: list[str] = []
        device.links.suggest = lambda address, _source: named.append(address)
        start = trio.current_time()
        for number in range(20):
            async with remote(world, "restless", identity=identity, listen=f"10.9.9.9:{number + 1}"):
                pass
        assert 12 <= trio.current_time() - start <= 14
        assert named == ["10.9.9.9:1"]


async def test_links_that_wait_their_turn_are_few(autojump_clock: CLOCK) -> None:
    world = World()
    identity = identity_of(world, "restless")
    refused = 0
    async with world.node("gateway", role="gateway"), trio.open_nursery() as nursery:

        async def come() -> None:
            nonlocal refused
            try:
                async with remote(world, "restless", identity=identity):
                    pass
            except (AssertionError, FetchError):
                refused += 1

        for _ in range(8):
            await come()
        for _ in range(50):
            nursery.start_soon(come)
        await until(lambda: refused == 48, 0.5)
        async with remote(world, "another") as other:
            await other.say(Ping(nonce=1))
            assert await other.hear_a(Pong, 0.5) == Pong(nonce=1)


async def test_how_often_nodes_come_is_remembered_in_bounded_memory(autojump_clock: CLOCK) -> None:
    async with World().node("a") as node:
        for number in range(3000):
            node.links._pace(number.to_bytes(32, "big"))
        assert len(node.links._paces) == 1024
