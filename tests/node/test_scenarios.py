"""Whole sites under faults, in virtual time: everything arrives, and what crosses an uplink crosses it once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import trio

from edgeswarm.content.digest import digest
from edgeswarm.content.index import PackIndex, decode_index, index_name
from edgeswarm.errors import FetchError, NoSpaceError
from edgeswarm.exchange import ranking
from edgeswarm.node import Node, SubscribeSection
from edgeswarm.node.fetch import Fetcher
from edgeswarm.node.transfer import HOPE_SECONDS, Transfer
from edgeswarm.store import MemoryStore
from edgeswarm.trust.catalogue import Release
from edgeswarm.wire.messages import ChunkData, Have, Want

from .remote import Remote, remote
from .test_swarm import fetch_all, fetch_one, two_versions, wait_until_version
from .world import MemoryOrigin, World, current, site, until

pytestmark = pytest.mark.slow
CLOCK = trio.testing.MockClock
RATE = 500_000
UNIT = 64 * 1024
BLOB = Random(3).randbytes(1_000_000)


def content_of(node: Node, release: Release) -> bytes:
    manifest = node._hub.manifest(release.manifest)
    assert manifest is not None
    return node.open_stream(manifest)(0, release.size)


@asynccontextmanager
async def limit(seconds: float = 600) -> AsyncIterator[None]:
    with trio.fail_after(seconds):
        yield


# Odd artifacts.


@pytest.mark.parametrize("data", [b"", b"x", bytes(3 * 2**20), BLOB[:300_000] * 3], ids=["empty", "tiny", "zeros", "repeats"])
async def test_odd_artifacts(data: bytes, autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", data)
    origin = MemoryOrigin(world.objects)
    async with limit(), site(world, origin, 2) as nodes:
        await fetch_all(nodes, release)
        for node in nodes:
            assert content_of(node, release) == data


# Nodes that die, links that break.


async def test_a_device_with_an_uplink_finishes_what_the_gateway_began(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    one, other = MemoryOrigin(world.objects, RATE), MemoryOrigin(world.objects, RATE)
    async with limit(), AsyncExitStack() as stack:
        device = await stack.enter_async_context(world.node("device", origin=other, peers=("gateway:7651",)))
        gateway = AsyncExitStack()
        first = await gateway.enter_async_context(world.node("gateway", role="gateway", origin=one))
        await until(lambda: device.links.peers and first.links.peers)
        await current(device)
        await current(first)
        first.fetch(release)
        fetch = device.fetch(release)
        await until(lambda: one.bytes_of("packs/") + other.bytes_of("packs/") > 400_000)
        await gateway.aclose()
        await fetch.wait()
        assert content_of(device, release) == BLOB
        total = one.bytes_of("packs/") + other.bytes_of("packs/")
        index = release.index_for(None)
        assert index is not None
        # One unit in flight at the death, and what had come and was not passed on yet.
        assert total - index.payload_bytes <= 4 * UNIT


async def test_two_uplinks_share_a_release(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", Random(9).randbytes(3_000_000))
    origins = [MemoryOrigin(world.objects, RATE) for _ in range(2)]
    async with limit(), AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(world.node(name, origin=origin, peers=("a:7651",)))
            for name, origin in zip("ab", origins, strict=True)
        ]
        nodes.append(await stack.enter_async_context(world.node("c", peers=("a:7651",))))
        await until(lambda: all(len(node.links.peers) == 2 for node in nodes))
        await fetch_all(nodes, release)
        index = release.index_for(None)
        assert index is not None
        assert sum(origin.bytes_of("packs/") for origin in origins) == pytest.approx(index.payload_bytes, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
async def test_an_uplink_that_breaks_all_the_time(seed: int, autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    origin = MemoryOrigin(world.objects, RATE)
    dice = Random(seed)

    async def flap() -> None:
        while True:
            await trio.sleep(dice.uniform(0.1, 1.0))
            origin.down = True
            await trio.sleep(dice.uniform(0.1, 1.0))
            origin.down = False

    async with limit(), site(world, origin, 2, seed=seed) as nodes, trio.open_nursery() as nursery:
        nursery.start_soon(flap)
        await fetch_all(nodes, release)
        nursery.cancel_scope.cancel()
        assert origin.repeated_bytes("packs/") == 0


@pytest.mark.parametrize("seed", range(3))
async def test_links_that_break_all_the_time(seed: int, autojump_clock: CLOCK) -> None:
    world = World()
    world.network.conditions.latency_seconds = 0.002
    release = world.publish("1", BLOB)
    origin = MemoryOrigin(world.objects, RATE)
    dice = Random(seed)
    names = ["gateway", "device0", "device1", "device2"]

    async def cut() -> None:
        while True:
            await trio.sleep(dice.uniform(0.05, 0.5))
            one, other = dice.sample(names, 2)
            world.network.cut(one, other)
            await trio.sleep(dice.uniform(0.05, 1.0))
            world.network.heal(one, other)

    async with limit(), site(world, origin, 3, seed=seed) as nodes, trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        await fetch_all(nodes, release)
        nursery.cancel_scope.cancel()
        assert origin.repeated_bytes("packs/") == 0
        assert all(content_of(node, release) == BLOB for node in nodes)


# Bases.


async def test_a_new_device_gets_its_base_from_nobody_and_the_delta_is_fetched_once(autojump_clock: CLOCK) -> None:
    world = World()
    old, new = two_versions()
    origin = MemoryOrigin(world.objects, RATE)
    v1 = world.publish("1", old)
    async with limit(), site(world, origin, 2) as nodes:
        await fetch_all(nodes, v1)
        origin.ranges.clear()
        v2 = world.publish("2", new, base="1")
        async with world.node("late", peers=("gateway:7651",)) as late:
            await wait_until_version([*nodes, late], 3)
            await fetch_all([*nodes, late], v2)
            assert content_of(late, v2) == new
        delta = v2.index_for(v1.manifest)
        assert delta is not None
        assert origin.bytes_of("packs/") == delta.payload_bytes


async def test_a_wiped_gateway_finds_the_base_on_the_lan(autojump_clock: CLOCK) -> None:
    world = World()
    old, new = two_versions()
    origin = MemoryOrigin(world.objects, RATE)
    v1 = world.publish("1", old)
    store = MemoryStore()
    async with limit(), world.node("device0", store=store, peers=("gateway:7651",)) as device:
        async with world.node("gateway", role="gateway", origin=origin) as gateway:
            await fetch_all([gateway, device], v1)
        origin.ranges.clear()
        v2 = world.publish("2", new, base="1")
        async with world.node("gateway", role="gateway", origin=origin, seed=2) as gateway:
            await until(lambda: gateway.links.peers)
            await current(gateway)
            await wait_until_version([gateway, device], 3)
            await until(lambda: device.metadata.knows("app"))  # until then it goes by what it knew before
            await fetch_all([gateway, device], v2)
        delta = v2.index_for(v1.manifest)
        assert delta is not None
        assert origin.bytes_of("packs/") == delta.payload_bytes


class RottenStore(MemoryStore):
    """Some of its chunks turn out to be gone when they are read."""

    def rot(self, share: int) -> None:
        for number, name in enumerate(sorted(self._chunks)):
            if number % share == 0:
                self._chunks[name] = b"rot"

    def get(self, digest: bytes) -> bytes:
        if self._chunks.get(digest) == b"rot":
            del self._chunks[digest]
        return super().get(digest)


async def test_rotten_base_chunks_are_replaced_by_whole_ones(autojump_clock: CLOCK) -> None:
    world = World()
    old, new = two_versions(edits=10)
    origin = MemoryOrigin(world.objects, RATE)
    v1 = world.publish("1", old)
    store = RottenStore()
    async with limit(), world.node("gateway", role="gateway", origin=origin, store=store) as node:
        await fetch_one(node, v1)
        v2 = world.publish("2", new, base="1")
        await wait_until_version([node], 3)
        store.rot(2)
        assert (await current(node)).version == "2"
        await node.fetch(v2).wait()
        manifest = node._hub.manifest(v2.manifest)
        assert manifest is not None
        wrong = 0
        for index in range(len(manifest)):
            chunk = manifest.chunk(index)
            try:
                assert store.get(chunk.digest) == new[chunk.offset : chunk.offset + chunk.size]
            except Exception:
                wrong += 1  # a chunk of both releases that rotted after it had been found here
        assert wrong <= len(manifest) // 2 + 1


# Fetches.


async def test_cancel_and_resume(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    origin = MemoryOrigin(world.objects, RATE)
    async with limit(), world.node("gateway", role="gateway", origin=origin) as node:
        await current(node)
        for share in (3, 2):
            fetch = node.fetch(release)
            await until(lambda share=share: origin.bytes_of("packs/") > len(BLOB) // share)
            fetch.cancel()
            with pytest.raises(FetchError, match="cancelled"):
                await fetch.wait()
        fetch = node.fetch(release)
        fetch.cancel()
        again = node.fetch(release)  # before the old one has ended
        assert again is not fetch
        assert (await again.wait()).complete
        assert node.fetch(release) is not again
        assert origin.repeated_bytes("packs/") == 0


async def test_the_same_fetch_is_not_run_twice(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    async with limit(), world.node("gateway", origin=MemoryOrigin(world.objects, RATE)) as node:
        await current(node)
        assert node.fetch(release)._job is node.fetch(release)._job
        moments = [moment async for moment in node.fetch(release).moments()]
        assert moments[-1].complete
        done = [moment.done for moment in moments]
        assert done == sorted(done)
        assert done[-1] == len(BLOB)


async def test_a_base_and_its_successor_at_the_same_time(autojump_clock: CLOCK) -> None:
    world = World()
    old, new = two_versions()
    origin = MemoryOrigin(world.objects, RATE)
    v1 = world.publish("1", old)
    v2 = world.publish("2", new, base="1")
    async with limit(), site(world, origin, 2) as nodes:
        for node in nodes:
            await current(node)
        fetches = [node.fetch(release) for node in nodes for release in (v1, v2)]
        for fetch in fetches:
            assert (await fetch.wait()).complete


async def test_a_full_disk_ends_the_fetch_and_not_the_node(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    origin = MemoryOrigin(world.objects, RATE)
    async with (
        limit(),
        site(world, origin, 1) as (gateway, device),
        world.node("small", store=MemoryStore(quota_bytes=300_000), peers=("gateway:7651",)) as small,
    ):
        for node in (gateway, device, small):
            await current(node)
        fetches = [node.fetch(release) for node in (gateway, device)]
        with pytest.raises(NoSpaceError):
            await small.fetch(release).wait()
        for fetch in fetches:
            await fetch.wait()
        assert small.links.peers
        assert "quota" in small.status()["ended"][0]["error"]


async def test_what_cannot_fit_is_not_fetched_over_a_metered_uplink(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    zeros = world.publish("2", bytes(3_000_000))
    origin = MemoryOrigin(world.objects)
    store = MemoryStore(quota_bytes=len(BLOB) + 300_000)
    async with limit(), world.node("small", origin=origin, store=store) as node:
        await current(node)
        store.put([(digest(BLOB[:500_000]), BLOB[:500_000])], owner=bytes(32))
        store.keep(bytes(32), "something else")
        with pytest.raises(NoSpaceError):
            await node.fetch(release).wait()
        assert origin.bytes_of("packs/") == 0
        assert (await node.fetch(zeros).wait()).complete, "the same chunk over and over takes the room of one"
        await node.forget(zeros.manifest)
        store.release(bytes(32))
        assert (await node.fetch(release).wait()).complete, "what nothing needs makes room"


async def test_a_pack_that_is_gone_ends_the_fetch(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    for name in [name for name in world.objects if name.startswith("packs/")]:
        del world.objects[name]
    async with limit(), world.node("gateway", origin=MemoryOrigin(world.objects)) as node:
        await current(node)
        with pytest.raises(FetchError, match="packs/"):
            await node.fetch(release).wait()
        assert node.uplink is not None
        assert node.uplink.usable


@pytest.mark.parametrize("data", [BLOB, BLOB[:20_000]], ids=["pages", "one page"])
@pytest.mark.parametrize("has_peer", [True, False])
async def test_a_release_whose_indexes_were_dropped_is_no_longer_offered(
    data: bytes, has_peer: bool, autojump_clock: CLOCK
) -> None:
    world = World()
    release = world.publish("1", data)
    world.publish("2", b"other")
    world.repository.forget_indexes("app", keep=())
    world.sign()
    origin, peers = MemoryOrigin(world.objects), ("gateway:7651",) if has_peer else ()
    async with limit(), world.node("gateway", role="gateway", origin=origin), world.node("a", origin=origin, peers=peers) as node:
        await current(node)
        old, _ = await node.find("app", version="1")
        assert (old.manifest, old.indexes) == (release.manifest, ())
        with pytest.raises(FetchError, match="1/any is no longer offered") as caught:
            await node.fetch(old).wait()
        assert (caught.value.temporary, caught.value.exit_code) == (False, 75)


@pytest.mark.parametrize("missing", ["packs/", "index/", "manifests/"])
async def test_what_the_origin_has_no_more_is_taken_from_neighbours(missing: str, autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    pruned = MemoryOrigin({name: data for name, data in world.objects.items() if not name.startswith(missing)})
    async with limit(), world.node("gateway", role="gateway", origin=MemoryOrigin(world.objects)) as gateway:
        await gateway.fetch(await current(gateway)).wait()
        async with world.node("a", origin=pruned, peers=("gateway:7651",)) as node:
            await current(node)
            progress = await node.fetch(release).wait()
            assert progress.by_source["gateway"] == len(BLOB)


@pytest.mark.parametrize("missing", ["packs/", "index/"])
async def test_a_fetch_that_nobody_can_finish_ends_with_the_reason(missing: str, autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    pruned = MemoryOrigin({name: data for name, data in world.objects.items() if not name.startswith(missing)})
    async with limit(), world.node("a", origin=pruned) as one, world.node("b", origin=pruned, peers=("a:7651",)) as other:
        await current(other)
        await until(lambda: one.links.peers)
        with pytest.raises(FetchError, match=missing):
            await other.fetch(release).wait()
        assert one.links.peers, "the link and the node live on"


async def test_a_neighbour_that_goes_on_delivering_is_waited_for(autojump_clock: CLOCK) -> None:
    """Slower than the pause after which a refused transfer gives up, in all, but never silent for so long."""
    world = World()
    release = world.publish("1", BLOB)
    slow = MemoryOrigin(world.objects, rate=len(BLOB) / (6 * HOPE_SECONDS))
    pruned = MemoryOrigin({name: data for name, data in world.objects.items() if not name.startswith("packs/")})
    async with limit(), world.node("gateway", role="gateway", origin=slow) as gateway:
        await current(gateway)
        start = trio.current_time()
        first_span = release.manifest + bytes(4)
        while True:  # whose turn it is to fetch the only span: the node's, whose origin has it no more
            identity = world.identity("a")
            if ranking(first_span, [identity.node_id, gateway.own.key])[0] == identity.node_id:
                break
        async with world.node("a", origin=pruned, peers=("gateway:7651",), identity=identity) as node:
            await current(node)
            await until(lambda: node.links.peers)
            fetch = node.fetch(release)
            gateway.fetch(release)
            await fetch.wait()
            assert trio.current_time() - start > 3 * HOPE_SECONDS
            assert fetch.progress.by_source["gateway"] == len(BLOB)


# Malicious peers.


async def serve_wrong(peer: Remote, release: Release, chunks: int) -> None:
    """Offer everything, and send nonsense for it."""
    await peer.say(*Have.announce(manifest=release.manifest, flags=bytes([1]) * chunks, complete=True))
    while True:
        event = await peer.hear()
        if isinstance(event, Want):
            with suppress(FetchError):
                await peer.say(*[ChunkData(request=event.request, index=index, data=b"wrong") for index in event.indices()])
        elif type(event).__name__ == "Closed":
            return


async def serve_nothing(peer: Remote, release: Release, chunks: int) -> None:
    """Offer everything, answer pings, and send nothing."""
    from edgeswarm.wire.messages import Ping, Pong

    await peer.say(*Have.announce(manifest=release.manifest, flags=bytes([1]) * chunks, complete=True))
    while type(event := await peer.hear()).__name__ != "Closed":
        if isinstance(event, Ping):
            await peer.say(Pong(nonce=event.nonce))


@pytest.mark.parametrize("behaviour", [serve_wrong, serve_nothing])
async def test_a_malicious_peer_stops_nobody(
    behaviour: Callable[[Remote, Release, int], Awaitable[None]], autojump_clock: CLOCK
) -> None:
    world = World()
    release = world.publish("1", BLOB)
    chunks = len(world.built["1"][0].manifest)
    origin = MemoryOrigin(world.objects, RATE)
    async with limit(), site(world, origin, 1) as (gateway, device), remote(world, to="device0:7651") as peer:
        await until(lambda: len(device.links.peers) == 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(behaviour, peer, release, chunks)
            await trio.sleep(0.1)
            await fetch_all([gateway, device], release)
            nursery.cancel_scope.cancel()
        assert content_of(device, release) == BLOB
        if behaviour is serve_wrong:
            assert peer.key in device.links.banned
            assert device.status()["ended"][0]["refused_chunks"] >= 1


async def test_a_chunk_that_a_node_has_no_more_is_taken_from_another(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    origin = MemoryOrigin(world.objects, RATE)
    store = RottenStore()
    async with limit(), site(world, origin, 1) as (gateway, device):
        await fetch_all([gateway, device], release)
        async with world.node("rotten", store=store, peers=("gateway:7651",)) as rotten:
            await fetch_all([rotten], release)
            store.rot(3)
            async with world.node("late", peers=("rotten:7651", "gateway:7651")) as late:
                await fetch_all([late], release)
                assert content_of(late, release) == BLOB
        assert origin.repeated_bytes("packs/") == 0


# Finding each other.


async def test_devices_meet_through_the_gateway(autojump_clock: CLOCK) -> None:
    world = World()
    async with limit(), site(world, MemoryOrigin(world.objects), 3) as nodes:
        await until(lambda: all(len(node.links.peers) == 3 for node in nodes))


async def test_nodes_meet_by_beacons_and_news_spread(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"hello")
    origin = MemoryOrigin(world.objects)
    async with limit(), AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(world.node(name, origin=origin if name == "a" else None, beacons=True))
            for name in "abcd"
        ]
        await until(lambda: all(len(node.links.peers) == 3 for node in nodes), 30)
        await wait_until_version(nodes, 2)
        start = trio.current_time()
        world.publish("2", b"hello again")
        await wait_until_version(nodes, 3)
        assert trio.current_time() - start < 3


async def test_a_late_device_takes_everything_from_its_neighbours(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    origin = MemoryOrigin(world.objects, RATE)
    async with limit(), site(world, origin, 2) as nodes:
        await fetch_all(nodes, release)
        origin.down = True
        async with world.node("late", peers=("device0:7651",)) as late:
            await fetch_all([late], release)
            assert origin.repeated_bytes("packs/") == 0


async def test_a_site_restarts_offline(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    origin = MemoryOrigin(world.objects, RATE)
    stores = [MemoryStore() for _ in range(2)]
    identities = [world.identity(name) for name in ("a", "b")]
    async with (
        limit(),
        world.node("a", origin=origin, store=stores[0], identity=identities[0]) as one,
        world.node("b", peers=("a:7651",), store=stores[1], identity=identities[1]) as other,
    ):
        await fetch_all([one, other], release)
    origin.down = True
    async with (
        limit(),
        world.node("a", origin=origin, store=stores[0], identity=identities[0], seed=2) as one,
        world.node("c", peers=("a:7651",)) as new,
    ):
        assert one.metadata.version == 2
        await fetch_all([one, new], release)
        assert content_of(new, release) == BLOB


# What is kept.


async def test_what_was_begun_is_let_go_when_a_newer_release_is_here(autojump_clock: CLOCK) -> None:
    world = World()
    store = MemoryStore()
    origin = MemoryOrigin(world.objects, rate=RATE)
    async with limit(), world.node("gateway", origin=origin, store=store) as node:
        first = world.publish("1", BLOB)
        await until(lambda: node.metadata.version == 2)
        fetch = node.fetch(first)
        await until(lambda: fetch.progress.done > 300_000)
        fetch.cancel()
        await fetch.ended()
        assert set(store.pins()) == {first.manifest}
    async with limit(), world.node("gateway", origin=origin, store=store) as node:
        second = world.publish("2", Random(9).randbytes(500_000))
        await until(lambda: node.metadata.version == 3)
        await node.fetch(second).wait()
        await until(lambda: set(store.pins()) == {second.manifest})
        store.collect()
        assert store.statistics().chunk_bytes == 500_000
        assert store.list_objects("begun/") == []


@pytest.mark.parametrize("held", [True, False], ids=["held", "borrowed"])
async def test_a_base_stays_while_it_is_needed_and_not_longer(held: bool, autojump_clock: CLOCK) -> None:
    """Something else collects in the middle of the fetch: the base's chunks must not go, whoever brought them."""
    world = World()
    first = world.publish("1", BLOB)
    store = MemoryStore()
    origin = MemoryOrigin(world.objects, rate=RATE)
    async with limit(), world.node("other", role="gateway", origin=MemoryOrigin(world.objects)) as other:
        await other.fetch(await current(other)).wait()
        async with world.node("gateway", origin=origin, store=store, peers=("other:7651",)) as node:
            await current(node)
            if held:
                await node.fetch(first).wait()
            else:
                await until(lambda: node.links.peers and first.manifest in next(iter(node.links.peers.values())).holdings)
            other.uplink.usable = False
            changed = bytearray(BLOB)
            for at in range(0, len(changed), 150_000):
                changed[at : at + 50] = bytes(50)
            second = world.publish("2", bytes(changed), base="1")
            await until(lambda: node.metadata.version == 3)
            fetch = node.fetch(second)
            await until(lambda: fetch.transfer is not None)
            store.collect()
            await fetch.wait()
            assert origin.bytes_of("packs/") < len(BLOB) // 4
            await until(lambda: (first.manifest in store.pins()) is held)


async def test_a_gateway_that_lost_chunks_fetches_them_again(autojump_clock: CLOCK) -> None:
    """Bits rot at a gateway that holds a release: it stops offering them, fetches what is lost, and devices get everything."""
    world = World()
    release = world.publish("1", BLOB)
    store = MemoryStore()
    origin = MemoryOrigin(world.objects)
    async with limit(), world.node("gateway", role="gateway", origin=origin, store=store) as gateway:
        gateway.config = replace(gateway.config, subscribe=(SubscribeSection(product="app", channel="stable"),))
        await gateway.fetch(await current(gateway)).wait()
        before = origin.bytes_of("packs/")
        rotten = list(store._chunks)[3:5]
        for name in rotten:
            del store._chunks[name]
        async with world.node("a", peers=("gateway:7651",)) as node:
            await current(node)
            await node.fetch(release).wait()
            assert content_of(node, release) == BLOB
        assert all(name in store._chunks for name in rotten)
        assert release.manifest in gateway._hub.held
        lost = sum(len(store._chunks[name]) for name in rotten)
        assert 0 < origin.bytes_of("packs/") - before <= lost + 1000


# Several who want the same.


async def test_who_cancels_does_so_for_itself(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    async with limit(), world.node("gateway", origin=MemoryOrigin(world.objects, RATE)) as node:
        await current(node)
        one, other = node.fetch(release), node.fetch(release)
        await until(lambda: one.progress.done)
        one.cancel()
        one.cancel()
        with pytest.raises(FetchError, match="cancelled"):
            await one.wait()
        assert one.finished
        assert not other.finished
        assert (await other.wait()).complete
        third, fourth = node.fetch(release), node.fetch(release)
        third.cancel()
        fourth.cancel()
        with pytest.raises(FetchError, match="cancelled"):
            await fourth.wait()


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.5, 3.0])
async def test_two_releases_may_borrow_the_same_base(delay: float, autojump_clock: CLOCK, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if looking at the store takes long, as for a large artifact, and if the base is wanted for itself at the same time."""
    slow = Fetcher._transfer

    async def slowly(*arguments: Any, **named: Any) -> Transfer:
        made = await slow(*arguments, **named)
        await trio.sleep(1.0)
        return made

    monkeypatch.setattr(Fetcher, "_transfer", slowly)
    world = World()
    first = world.publish("1", BLOB)
    async with limit(), world.node("peer", origin=MemoryOrigin(world.objects)) as peer:
        await current(peer)
        await peer.fetch(first).wait()
        second = world.publish("2", BLOB[:700_000] + b"z" * 1000 + BLOB[700_000:], base="1")
        third = world.publish("3", BLOB[:900_000] + b"y" * 1000 + BLOB[900_000:], base="1", channel="beta")
        world.network.conditions.latency_seconds = 0.3
        origin = MemoryOrigin(world.objects, rate=RATE)
        async with world.node("gateway", role="gateway", origin=origin, peers=("peer:7651",)) as node:
            await until(lambda: node.links.peers and node.metadata.version == 4)
            await until(lambda: first.manifest in next(iter(node.links.peers.values())).holdings)
            fetches = [node.fetch(second)]
            await trio.sleep(delay)
            fetches += [node.fetch(third), node.fetch(first)]
            for fetch in fetches:
                assert (await fetch.wait()).complete
            assert origin.bytes_of("packs/") < len(BLOB) // 2


@pytest.mark.parametrize("differ", [False, True])
async def test_pages_of_a_manifest_come_as_differences(
    differ: bool, autojump_clock: CLOCK, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the base's pages here are not those that it was published with, they come whole, and nothing fails."""
    world = World()
    old = Random(8).randbytes(9_000_000)
    first = world.publish("1", old)
    second = world.publish("2", old[:5_000_000] + b"!" + old[5_000_001:], base="1")
    pages = sum(len(page) for _, page in world.built["2"][0].pages)
    assert pages > 4000
    origin = MemoryOrigin(world.objects)
    async with world.node("a", origin=origin) as node:
        await current(node)
        await node.fetch(first).wait()
        before = origin.bytes_of("packs/")
        if differ:
            monkeypatch.setattr("edgeswarm.node.decoding.pages_of", lambda _manifest: ((b"", bytes(20_000)),))
        await node.fetch(second).wait()
        taken = origin.bytes_of("packs/") - before - sum(piece.length for piece in delta_index(world, second).pieces)
    assert pages <= taken < 2 * pages if differ else 0 < taken < pages / 4


def delta_index(world: World, release: Release) -> PackIndex:
    ref = next(ref for ref in release.indexes if ref.base is not None)
    return decode_index(world.objects[index_name(ref.digest)], ref.digest)
