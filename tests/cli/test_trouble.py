"""What a fetch says of why it waits."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from node.test_process import parts_of
from node.world import MemoryOrigin, World

from edgeswarm.cli.trouble import trouble
from edgeswarm.errors import FetchError
from edgeswarm.node import LanSection, NodeConfig, NodeSection, UplinkSection, open_node
from edgeswarm.node.threads import IN_PLACE

CLOCK = trio.testing.MockClock


class NoRoute(MemoryOrigin):
    async def read(self, name: str, *, limit: int) -> bytes:
        raise FetchError("no route")


def config(folder: Path, *, peers: tuple[str, ...] = (), origin: bool = True) -> NodeConfig:
    uplink = UplinkSection(origin="http://x/", retry_seconds=0.5) if origin else None
    return NodeConfig(node=NodeSection(state=folder, identity=folder), lan=LanSection(peers=peers), uplink=uplink)


async def text_of(world: World, config: NodeConfig, origin: MemoryOrigin | None) -> str:
    IN_PLACE.set(True)  # a virtual clock does not wait for threads
    async with open_node(config, parts_of(world, origin=origin)) as node:
        await trio.sleep(0.1)
        return trouble(node)


@pytest.mark.parametrize(
    ("peers", "origin", "says"),
    [
        ((), NoRoute({}), "origin http://x/: no route"),
        (("y:1",), NoRoute({}), "origin http://x/: no route; no peer was reached at y:1"),
        ((), MemoryOrigin({}), "origin http://x/: metadata/timestamp.json"),
        ((), None, "this node has no origin of its own; no peer came: give --peer, --multicast or --origin"),
        (("y:1", "z:2"), None, "this node has no origin of its own; no peer was reached at y:1, z:2"),
    ],
)
async def test_what_keeps_a_node_from_getting_on(
    peers: tuple[str, ...], origin: MemoryOrigin | None, says: str, tmp_path: Path, autojump_clock: CLOCK
) -> None:
    assert await text_of(World(), config(tmp_path, peers=peers, origin=origin is not None), origin) == says


async def test_a_node_that_gets_on_says_nothing(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    assert await text_of(world, config(tmp_path, peers=("y:1",)), MemoryOrigin(world.objects)) == ""


async def test_a_linked_peer_is_no_trouble(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("gateway"):
        assert await text_of(world, config(tmp_path, peers=("gateway:7651",), origin=False), None) == ""
