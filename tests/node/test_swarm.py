"""Nodes with everything but sockets and disks: the real shell in virtual time."""

from __future__ import annotations

from random import Random

import pytest
import trio

from edgeswarm.node import Node
from edgeswarm.trust.catalogue import Release

from .world import MemoryOrigin, World, current, site, until

pytestmark = pytest.mark.slow


def two_versions(size: int = 1_500_000, edits: int = 40) -> tuple[bytes, bytes]:
    dice = Random(7)
    old = dice.randbytes(size)
    new = bytearray(old)
    for _ in range(edits):
        at = dice.randrange(size - 2000)
        new[at : at + 1000] = dice.randbytes(1000)
    return old, bytes(new)


async def fetch_all(nodes: list[Node], release: Release) -> None:
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(fetch_one, node, release)


async def fetch_one(node: Node, release: Release) -> None:
    assert (await current(node)).manifest == release.manifest
    progress = await node.fetch(release).wait()
    assert progress.complete
    assert sum(progress.by_source.values()) == release.size


async def wait_until_version(nodes: list[Node], version: int) -> None:
    await until(lambda: all(node.metadata.version >= version for node in nodes))


async def test_a_release_crosses_the_uplink_once(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    old, new = two_versions()
    origin = MemoryOrigin(world.objects, rate=500_000)
    v1 = world.publish("1", old)
    with trio.fail_after(300):
        async with site(world, origin, 4) as nodes:
            await fetch_all(nodes, v1)
            assert origin.repeated_bytes("packs/") == 0
            origin.ranges.clear()
            v2 = world.publish("2", new, base="1")
            await wait_until_version(nodes, nodes[0].metadata.version + 1)
            await fetch_all(nodes, v2)
            delta = v2.index_for(v1.manifest)
            assert delta is not None
            assert origin.bytes_of("packs/") == delta.payload_bytes
            for node in nodes:
                ((digest, _),) = [row for row in await node.held() if row[0] == v2.manifest]
                manifest = node._hub.manifest(digest)
                assert node.open_stream(manifest)(0, len(new)) == new
