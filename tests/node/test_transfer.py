"""One transfer and its node: nothing that was paid for is lost, counted twice or refused to others in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from random import Random

import pytest
import trio

from edgeswarm.content.digest import digest
from edgeswarm.content.manifest import ArtifactKind, build_manifest
from edgeswarm.exchange import TransferConfig
from edgeswarm.node.artifacts import find_twins, missing_bytes
from edgeswarm.node.decoding import Indexes
from edgeswarm.node.progress import PEER
from edgeswarm.node.spans import Arrived
from edgeswarm.node.threads import IN_PLACE
from edgeswarm.node.transfer import Transfer
from edgeswarm.store import MemoryStore
from edgeswarm.wire.messages import Have, Want

from .remote import identity_of, remote
from .test_scenarios import BLOB, content_of
from .world import MemoryOrigin, World, current, until

CLOCK = trio.testing.MockClock


class NoNeighbours:
    """Nobody to tell."""

    def have(self, *_arguments: object) -> None:
        pass

    want = claim = release = partial = blame = have


def alone(chunks: Sequence[bytes]) -> Transfer:
    manifest = build_manifest(ArtifactKind.FILE, [(digest(chunk), len(chunk)) for chunk in chunks]).manifest
    return Transfer(
        manifest, MemoryStore(), bytes(32), NoNeighbours(), None, Indexes(None, None, None), Random(1), TransferConfig(),
        here=[], twins=find_twins(manifest),
    )  # fmt: skip


async def test_a_chunk_that_comes_twice_at_once_is_counted_once() -> None:
    IN_PLACE.set(True)
    chunks = [BLOB[i * 20_000 : (i + 1) * 20_000] for i in range(3)]
    transfer = alone(chunks)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(transfer._keep, [Arrived(1, chunks[1], PEER)])
    assert transfer.progress.done == 20_000
    assert transfer.here == [1]


@pytest.mark.parametrize("arrived", [[0], [2, 0], [1, 0, 2, 3]])
async def test_one_arrival_serves_all_twins(arrived: list[int]) -> None:
    IN_PLACE.set(True)
    chunks = [BLOB[:20_000], BLOB[20_000:40_000], BLOB[:20_000], BLOB[:20_000]]
    transfer = alone(chunks)
    await transfer._keep([Arrived(index, chunks[index], PEER) for index in arrived])
    assert transfer.here == sorted({0, 2, 3, *arrived})
    assert transfer.progress.done == 20_000 * len(transfer.here)


def test_what_is_missing_is_counted_once_for_each_content() -> None:
    chunks = [BLOB[:20_000], BLOB[20_000:50_000], BLOB[:20_000], BLOB[50_000:51_000], BLOB[:20_000]]
    manifest = build_manifest(ArtifactKind.FILE, [(digest(chunk), len(chunk)) for chunk in chunks]).manifest
    twins = find_twins(manifest)
    assert missing_bytes(manifest, [], twins) == 20_000 + 30_000 + 1000
    assert missing_bytes(manifest, [0, 2, 4], twins) == 30_000 + 1000
    assert missing_bytes(manifest, [1, 3], twins) == 20_000
    assert missing_bytes(manifest, range(5), twins) == 0


class HookedOrigin(MemoryOrigin):
    """Calls a function once, before the n-th block of a pack that it would send."""

    def __init__(self, objects: dict[str, bytes], before: int, hook: Callable[[], None]) -> None:
        super().__init__(objects)
        self.before = before
        self.hook = hook

    async def _blocks(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        async for block in super()._blocks(name, offset, length):
            yield block
            if name.startswith("packs/"):
                self.before -= 1
                if self.before == 0:
                    self.hook()


@pytest.mark.slow
@pytest.mark.parametrize("before", range(1, 40, 3))
async def test_pieces_that_wait_to_be_decoded_survive_a_cancel(before: int, autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    origin = HookedOrigin(world.objects, before, lambda: node.fetch(release).cancel())
    with trio.fail_after(60):
        async with world.node("gateway", origin=origin) as node:
            await current(node)
            await node.fetch(release).ended()
            await node.fetch(release).wait()
            assert origin.before <= 0
            assert origin.repeated_bytes("packs/") == 0


async def test_a_release_is_served_from_the_moment_it_is_whole(autojump_clock: CLOCK) -> None:
    """A peer that hears MISS for a chunk does not ask again: there must be no gap between the transfer and what is held."""
    world = World()
    release = world.publish("1", BLOB[:50_000])
    async with world.node("gateway", origin=MemoryOrigin(world.objects)) as node:
        await current(node)
        hold, blocked = node._hold, trio.Event()

        async def slowly(fetch: object) -> None:
            await blocked.wait()
            await hold(fetch)

        node._hold = slowly
        fetch = node.fetch(release)
        await until(lambda: fetch.progress.complete)
        await trio.sleep(1)
        assert not fetch.finished
        async with remote(world) as peer:
            await peer.say(Want.ask(request=1, manifest=release.manifest, indices=[0]))
            assert type(await peer.hear_a((Have,))) is Have
            await until(lambda: node.status()["peers"][0]["sent_bytes"] > 0)
        blocked.set()
        await fetch.wait()


async def test_a_link_that_was_replaced_does_not_speak_for_the_new_one(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    manifest = world.built["1"][0].manifest
    identity = identity_of(world, "remote")
    offer = Have.announce(manifest=release.manifest, flags=bytes([1]) * len(manifest), complete=True)
    origin = MemoryOrigin(world.objects, rate=5000)
    async with world.node("gateway", origin=origin) as node:
        await current(node)
        fetch = node.fetch(release)
        async with remote(world, identity=identity) as first:
            await first.say(*offer)
            await first.hear_a(Want)
            (old,) = node.links.peers.values()
            async with remote(world, identity=identity) as second:
                await second.say(*offer)
                await second.hear_a(Want)
                assert fetch.transfer is not None
                before = fetch.transfer._machine.availability.held_by(identity.key)
                node._hub.on_no_chunks(old, release.manifest, [0, 1, 2])
                assert fetch.transfer._machine.availability.held_by(identity.key) == before == len(manifest)
        await fetch.wait()
        assert content_of(node, release) == BLOB
