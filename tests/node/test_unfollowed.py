"""Products that leave the configuration: their disk comes back, but neither at once nor where it is needed."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import trio

from edgeswarm.content.digest import digest
from edgeswarm.errors import StoreError
from edgeswarm.node import SubscribeSection
from edgeswarm.node.sharing import link_slots, links_object
from edgeswarm.node.shelf import Shelf
from edgeswarm.store import MemoryStore
from edgeswarm.trust.catalogue import Release

from .world import MemoryOrigin, World, current

CLOCK = trio.testing.MockClock
APP = (SubscribeSection(product="app", channel="stable"),)
TOOL = (SubscribeSection(product="tool", channel="stable"),)
DATA = Random(3).randbytes(300_000)


async def followed(world: World, store: MemoryStore) -> Release:
    """Fetch a release that the configuration names."""
    release = world.publish("1", DATA)
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store, subscribe=APP) as node:
        await node.fetch(await current(node)).wait()
    return release


async def restart(world: World, store: MemoryStore, subscribe: tuple[SubscribeSection, ...] = (), *, days: int = 7) -> None:
    async with world.node("a", store=store, subscribe=subscribe, unfollowed_days=days):
        await trio.sleep(1)


async def test_what_left_the_configuration_goes_after_some_days(autojump_clock: CLOCK, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "edgeswarm.unfollowed")
    world, store = World(), MemoryStore()
    release = await followed(world, store)
    await restart(world, store)
    world.now += timedelta(days=6)
    await restart(world, store)
    assert set(store.pins()) == {release.manifest}
    assert [record.getMessage() for record in caplog.records] == [
        "app is not in the configuration any more: what is kept of it goes in 7 days, or when room is needed"
    ]
    world.now += timedelta(days=1)
    await restart(world, store)
    assert store.pins() == {}
    assert store.statistics().chunk_bytes == 0
    assert store.list_objects("manifest/") + store.list_objects("index/") == []
    assert caplog.records[-1].getMessage().startswith("app is not followed any more: let go of 1 releases; ")
    said = len(caplog.records)
    await restart(world, store)
    assert len(caplog.records) == said


async def test_a_node_that_runs_for_long_lets_go_too(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    release = await followed(world, store)
    async with world.node("a", store=store) as node:
        assert list(node._hub.held) == [release.manifest]
        world.now += timedelta(days=8)
        await trio.sleep(3601)
        assert not node._hub.held
        assert store.pins() == {}


async def test_without_grace_it_goes_at_the_next_start(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    await followed(world, store)
    await restart(world, store, days=0)
    assert store.pins() == {}


async def test_a_typo_that_is_mended_costs_nothing(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    release = await followed(world, store)
    await restart(world, store)
    world.now += timedelta(days=6)
    await restart(world, store, APP)
    world.now += timedelta(days=6)
    await restart(world, store)
    world.now += timedelta(days=6)
    await restart(world, store)
    assert set(store.pins()) == {release.manifest}, "the days count from the last time that it was named"


async def test_a_clock_that_was_never_set_ends_no_grace(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    release = await followed(world, store)
    right = world.now
    world.now = right - timedelta(days=9000)
    await restart(world, store)
    world.now = right + timedelta(days=1)
    await restart(world, store)
    assert set(store.pins()) == {release.manifest}


@pytest.mark.parametrize("gone", [False, True], ids=["installed", "removed"])
async def test_what_is_installed_stays_while_it_is_there(gone: bool, tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    release = await followed(world, store)
    slot = tmp_path / "app"
    slot.write_bytes(DATA)
    link_slots(store, links_object("app", "stable"), [(world.built["1"][0].manifest, str(slot))])
    await restart(world, store, days=0)
    assert set(store.pins()) == {release.manifest}
    if gone:
        slot.unlink()
    await restart(world, store, days=0)
    assert set(store.pins()) == (set() if gone else {release.manifest})


async def test_what_is_fetched_by_hand_is_nobody_else_s_to_take(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    release = world.publish("1", DATA)
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await node.fetch(await current(node)).wait()
    await restart(world, store, days=0)
    assert set(store.pins()) == {release.manifest}, "it was never followed"
    await restart(world, store, APP)
    await restart(world, store)
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await node.fetch(await current(node)).wait()
    world.now += timedelta(days=8)
    await restart(world, store)
    assert set(store.pins()) == {release.manifest}, "it was fetched by hand after it had left"


async def test_what_is_followed_needs_the_room(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore(quota_bytes=500_000)
    old = bytes(32)
    await restart(world, store, TOOL)
    store.put([(digest(DATA), DATA)], owner=old)
    shelf = Shelf(store)
    shelf.begin(old, "tool", "1")
    shelf.hold(old, "tool", "1")
    await restart(world, store)
    assert set(store.pins()) == {old}
    release = world.publish("1", Random(4).randbytes(300_000))
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store, subscribe=APP) as node:
        await node.fetch(await current(node)).wait()
    assert set(store.pins()) == {release.manifest}


async def test_what_cannot_be_told_stays(autojump_clock: CLOCK, caplog: pytest.LogCaptureFixture) -> None:
    class Rotten(MemoryStore):
        def load_object(self, name: str) -> bytes | None:
            if name == "followed":
                raise StoreError("rot")
            return super().load_object(name)

    world, store = World(), Rotten()
    release = await followed(world, store)
    await restart(world, store, days=0)
    assert set(store.pins()) == {release.manifest}
    assert "what was followed is not known any more, and what is kept of it stays: rot" in caplog.text
