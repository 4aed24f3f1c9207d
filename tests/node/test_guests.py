"""Products that only peers want: a peer that names every product of the fleet costs little, and takes nothing from the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
import trio

from edgeswarm.node import guests as guests_module
from edgeswarm.node.guests import MOST_GUESTS, Guests
from edgeswarm.trust.keys import Keyring
from edgeswarm.wire.messages import GetObject, Ping, Pong
from edgeswarm.wire.session import Closed

from .remote import Remote, remote
from .world import MemoryOrigin, World, current, until

CLOCK = trio.testing.MockClock
MANY = [f"product{number}" for number in range(100)]


def name_all(guests: Guests, products: Sequence[str], peer: bytes, now: float = 0.0) -> float:
    """Name products as fast as they are taken; return when that was over."""
    for product in products:
        while not guests.want(product, peer, now):
            now += 10
    return now


def test_so_many_and_no_more_and_what_was_wanted_longest_ago_makes_room() -> None:
    guests = Guests()
    now = name_all(guests, MANY[:MOST_GUESTS], b"a")
    assert not guests.want(MANY[0], b"a", now), "it is here"
    name_all(guests, MANY[MOST_GUESTS : MOST_GUESTS + 2], b"a", now)
    assert list(guests) == [*MANY[3:MOST_GUESTS], MANY[0], *MANY[MOST_GUESTS : MOST_GUESTS + 2]]
    assert list(guests.left) == MANY[1:3]


def test_a_peer_drives_out_only_its_own() -> None:
    guests = Guests()
    assert guests.want("app", b"honest", 0)
    now = name_all(guests, MANY, b"loud")
    assert "app" in guests
    assert guests.want("tool", b"honest", now)
    now = name_all(guests, MANY, b"loud", now)
    assert {"app", "tool"} <= set(guests)
    assert len(list(guests)) == MOST_GUESTS


def test_a_peer_names_new_products_slowly() -> None:
    guests = Guests()
    taken = sum(guests.want(f"p{number}", b"loud", now=number) for number in range(600))
    assert taken == 16 + 9
    assert guests.want("app", b"honest", 600), "others are not slowed down by it"


def test_what_this_node_follows_is_no_guest() -> None:
    guests = Guests()
    now = name_all(guests, MANY, b"a")
    for product in (MANY[0], MANY[-1]):
        guests.remove(product)
    assert MANY[0] not in guests.left
    assert MANY[-1] not in guests
    name_all(guests, [MANY[1]], b"a", now)
    assert MANY[1] not in guests.left


async def stay(peer: Remote) -> None:
    """Answer pings, so that the link stays."""
    while not isinstance(event := await peer.hear(), Closed):
        if isinstance(event, Ping):
            await peer.say(Pong(nonce=event.nonce))
    raise AssertionError("the link ended")


async def ask(peer: Remote, names: Sequence[str], numbers: Iterator[int]) -> None:
    for name in names:
        await peer.say(GetObject(request=next(numbers), kind="metadata", name=name, limit=10_000))
    await trio.sleep(1)


@pytest.mark.slow
async def test_a_peer_that_names_every_product(autojump_clock: CLOCK, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests_module, "MOST_GUESTS", 17)
    world = World()
    release = world.publish("1", b"content" * 1000)
    for product in MANY[:24]:
        world.repository.delegate(product, Keyring((world.keys[0].public,)))
    world.sign()
    origin = MemoryOrigin(world.objects)
    roles = [name.removeprefix("metadata/") for name in sorted(world.objects) if "product" in name]
    async with (
        world.node("gateway", role="gateway", origin=origin) as gateway,
        world.node("a", peers=("gateway:7651",)) as node,
        remote(world) as peer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(stay, peer)
        numbers = itertools.count(1, 2)
        await until(lambda: gateway.metadata.version)
        with trio.fail_after(60):
            assert await current(node) == release
        for _ in range(3):
            await ask(peer, roles, numbers)
        assert sum(name.removeprefix("metadata/") in roles for name, _, _ in origin.ranges) == 16
        for at in range(20, 24):  # as fast as they are taken
            await ask(peer, [roles[at]], numbers)
            await trio.sleep(60)
        assert len(gateway.metadata.status()["products"]) == 17
        kept = [name for name in roles if gateway.metadata.file(name) is not None]
        assert len(kept) == 16
        assert {f"metadata/{name}" for name in kept} <= set(gateway.store.list_objects("metadata/"))
        assert sum("product" in name for name in gateway.store.list_objects("metadata/")) == len(kept)
        newer = world.publish("2", b"newer" * 1000)
        with trio.fail_after(60):
            await until(lambda: node.metadata.version == gateway.metadata.version == 4 and node.metadata.knows("app"))
            assert await current(node) == newer
        nursery.cancel_scope.cancel()


async def test_what_had_to_make_room_is_sought_no_more(autojump_clock: CLOCK, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests_module, "MOST_GUESTS", 1)
    world = World()
    for product in ("lost", "other"):
        world.repository.delegate(product, Keyring((world.keys[0].public,)))
    world.sign()
    (lost,) = (name for name in world.objects if "lost" in name)
    del world.objects[lost]
    async with world.node("gateway", origin=MemoryOrigin(world.objects)) as node:
        await until(lambda: node.metadata.version)
        node._host("lost", b"peer")
        await trio.sleep(10)
        assert list(node.news._looking) == ["lost"]
        node._host("other", b"peer")
        await trio.sleep(60)
        assert list(node.news._looking) == []
        assert node.metadata.knows("other")
