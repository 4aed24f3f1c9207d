"""Whether a fetch can tell that a release is the newest, and what it does if not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from node.world import MemoryOrigin, World

from edgeswarm.cli.confirmed import PEER_SECONDS, Doubt, doubt_of
from edgeswarm.cli.fetch import _find, _in_time, _tell_doubt
from edgeswarm.errors import FetchError, NotPublishedError
from edgeswarm.store import MemoryStore

CLOCK = trio.testing.MockClock


class NoRoute(MemoryOrigin):
    async def read(self, name: str, *, limit: int) -> bytes:
        raise FetchError("no route")


def forged(world: World) -> MemoryOrigin:
    """Return an origin whose newest timestamp is not signed as it should be."""
    world.publish("2", b"y")
    timestamp = world.objects["metadata/timestamp.json"]
    return MemoryOrigin(world.objects | {"metadata/timestamp.json": timestamp.replace(b'"sig":"', b'"sig":"00', 1)})


async def seeded(world: World) -> MemoryStore:
    """Return the store of a node that was up to date once."""
    store = MemoryStore()
    world.publish("1", b"x")
    async with world.node("a", origin=MemoryOrigin(dict(world.objects)), store=store) as node:
        await node.metadata.want_product("app")
        await node.news.check_now()
    return store


async def test_an_origin_that_verifies_confirms(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        release, doubt = await _find(node, "app", "stable", "")
    assert (release.version, doubt) == ("1", None)


async def test_an_origin_that_is_gone_confirms_nothing(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    async with world.node("a", origin=NoRoute({}), store=store) as node:
        release, doubt = await _find(node, "app", "stable", "")
        assert release.version == "1"
        assert doubt is not None
        assert doubt == (
            f"the origin was not reached: {node.uplink.last_error}; no neighbour was reached whose origin has answered",
            3,
        )  # type: ignore[union-attr]  # it has one


async def test_an_answer_that_does_not_verify_is_told(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    async with world.node("a", origin=forged(world), store=store) as node:
        release, doubt = await _find(node, "app", "stable", "")
    assert release.version == "1"
    assert doubt is not None
    assert doubt.exit_code == 77
    assert doubt.why.startswith("what the origin says does not verify: ")


async def test_a_neighbour_with_an_uplink_confirms(autojump_clock: CLOCK) -> None:
    """The case of a device that has no uplink: what is saved does not do before the neighbour has spoken."""
    world = World()
    store = await seeded(world)
    world.publish("2", b"y")
    async with world.node("gateway", origin=MemoryOrigin(world.objects)) as gateway:
        await gateway.metadata.want_product("app")
        await gateway.news.check_now()
        async with world.node("a", peers=("gateway:7651",), store=store) as node:
            release, doubt = await _find(node, "app", "stable", "")
    assert (release.version, doubt) == ("2", None)


async def test_neighbours_without_an_uplink_confirm_nothing(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    async with world.node("b", store=await seeded(world)), world.node("a", peers=("b:7651",), store=store) as node:
        start = trio.current_time()
        doubt = await doubt_of(node, "app")
        assert doubt == ("no neighbour was reached whose origin has answered", 3)
        assert trio.current_time() - start == pytest.approx(PEER_SECONDS)


async def test_a_version_needs_no_confirmation(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    async with world.node("a", store=store) as node:
        start = trio.current_time()
        _, doubt = await _find(node, "app", "", "1")
    assert doubt is None
    assert trio.current_time() == start


@pytest.mark.parametrize("has_uplink", [True, False])
async def test_a_version_that_was_pruned_is_a_final_answer(has_uplink: bool, autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    world.publish("2", b"y")
    world.repository.remove_release("app", "1")
    world.sign()
    origin = MemoryOrigin(world.objects)
    async with world.node("gateway", origin=origin) as gateway:
        await gateway.metadata.want_product("app")
        await gateway.news.check_now()
        async with world.node("a", peers=("gateway:7651",), store=store, origin=origin if has_uplink else None) as node:
            if not has_uplink:
                await node.metadata.changed.wait()  # until then the device has what it saved, in which the version stands
            with trio.fail_after(60), pytest.raises(NotPublishedError, match="no longer offered") as caught:
                await _find(node, "app", "", "1")
    assert caught.value.exit_code == 75


def test_a_doubt_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert _tell_doubt(None) == 0
    assert _tell_doubt(Doubt("nobody knows", 3)) == 3
    assert capsys.readouterr() == ("", "edgeswarm: this release is not confirmed to be the newest: nobody knows\n")


@asynccontextmanager
async def slow_to_close(seconds: float) -> AsyncIterator[str]:
    yield "node"
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)
    await trio.lowlevel.checkpoint()


async def test_time_that_runs_out_while_a_node_closes_spoils_nothing(autojump_clock: CLOCK) -> None:
    async def work(node: str) -> str:
        await trio.sleep(1)
        return f"all of {node}"

    assert await _in_time(2, slow_to_close(5), work) == "all of node"
    assert await _in_time(0.5, slow_to_close(0), work) is None
