"""Peers of before are dialled at once after a start; what is damaged is no obstacle."""

from __future__ import annotations

from random import Random

import pytest
import trio

from edgeswarm.node.acquaintances import load_acquaintances, save_acquaintances
from edgeswarm.store import MemoryStore

from .world import MemoryOrigin, World, current, until

CLOCK = trio.testing.MockClock


def test_the_latest_come_first_and_there_is_an_end() -> None:
    store = MemoryStore()
    assert load_acquaintances(store) == []
    save_acquaintances(store, ["a:1", "b:2"])
    save_acquaintances(store, ["c:3", "a:1"])
    assert load_acquaintances(store) == ["c:3", "a:1", "b:2"]
    save_acquaintances(store, [f"x{number}:1" for number in range(100)])
    assert load_acquaintances(store) == [f"x{number}:1" for number in range(32)]


@pytest.mark.parametrize("data", [b"", b"{", b"7", b"null", b"[1, 2]", b'["no address"]', b"\xff"])
def test_nonsense_is_nothing(data: bytes) -> None:
    store = MemoryStore()
    store.save_object("node/acquaintances", data)
    assert load_acquaintances(store) == []


async def test_a_gateway_that_comes_back_empty_handed_does_not_pay_again(autojump_clock: CLOCK) -> None:
    """Its devices hold the release; it lost its own copy, and only the devices know its address."""
    world = World()
    data = Random(8).randbytes(1_500_000)
    release = world.publish("1", data)
    store, origin = MemoryStore(), MemoryOrigin(world.objects, rate=200_000)
    with trio.fail_after(3000):
        async with world.node("device", peers=("gateway:7651",)) as device:
            async with world.node("gateway", role="gateway", origin=origin, store=store) as gateway:
                await current(device)
                gateway.fetch(release)
                await device.fetch(release).wait()
                await until(lambda: load_acquaintances(store) == ["device:7651"])
            await trio.sleep(600)
            fresh = MemoryStore()
            save_acquaintances(fresh, load_acquaintances(store))
            before = origin.bytes_of("packs/")
            async with world.node("gateway", role="gateway", origin=origin, store=fresh) as gateway:
                await current(gateway)
                progress = await gateway.fetch(release).wait()
                assert progress.by_source["peer"] > len(data) * 9 // 10
            assert origin.bytes_of("packs/") - before < len(data) // 10
