"""Subscriptions: install, check, roll back, supersede, start again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio

from edgeswarm.errors import ActivationError
from edgeswarm.node import InstallSection, Node, SubscribeSection
from edgeswarm.node.following import Following
from edgeswarm.node.installers import state_object
from edgeswarm.node.offline import roll_back_offline
from edgeswarm.node.process import control_verbs, open_follower
from edgeswarm.store import MemoryStore

from .world import MemoryOrigin, World, until

pytestmark = pytest.mark.slow
CLOCK = trio.testing.MockClock
V1, V2, V3 = (Random(seed).randbytes(300_000) for seed in range(3))
GOOD = ("/bin/true",)


@asynccontextmanager
async def following(
    world: World,
    target: Path | None,
    *,
    health: tuple[str, ...] = (),
    store: MemoryStore | None = None,
    rate: float = 0.0,
    keep: int = 2,
) -> AsyncIterator[tuple[Node, Following, MemoryOrigin]]:
    install = InstallSection(target=target, health=health, health_timeout=5) if target is not None else None
    section = SubscribeSection(product="app", channel="stable", install=install, keep=keep)
    origin = MemoryOrigin(world.objects, rate)
    with trio.fail_after(3000):
        async with (
            world.node("node", origin=origin, store=store, subscribe=(section,)) as node,
            trio.open_nursery() as nursery,
        ):
            follower = open_follower(node, section)
            nursery.start_soon(follower.run)
            yield node, follower, origin
            nursery.cancel_scope.cancel()


def phase(follower: Following) -> str:
    return str(follower.status()["phase"])


async def test_a_release_is_installed_and_the_next_one_too(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    async with following(world, target, health=GOOD) as (node, follower, _):
        await until(lambda: phase(follower) == "confirmed")
        assert target.read_bytes() == V1
        world.publish("2", V2, base="1")
        await until(lambda: follower.version == "2" and phase(follower) == "confirmed")
        assert target.read_bytes() == V2
        # What is installed is served from where it is, and not kept twice.
        await until(lambda: node.store.statistics().chunks == 0)
        assert len(node.status()["held"]) == 2


async def test_a_failed_check_rolls_back_by_itself_and_is_not_tried_again(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    check = ("/bin/sh", "-c", 'test "$EDGESWARM_VERSION" != 2')
    async with following(world, target, health=check) as (_, follower, _origin):
        await until(lambda: phase(follower) == "confirmed")
        world.publish("2", V2, base="1")
        await until(lambda: phase(follower) == "rolled_back")
        assert target.read_bytes() == V1
        assert follower.version == "1"
        await trio.sleep(100)
        assert phase(follower) == "rolled_back"
        world.publish("3", V3, base="1")
        await until(lambda: phase(follower) == "confirmed")
        assert target.read_bytes() == V3


async def test_an_operator_rolls_back(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    async with following(world, target) as (node, follower, _):
        rollback = control_verbs(node, [follower])["rollback"]
        await until(lambda: phase(follower) == "confirmed")
        world.publish("2", V2, base="1")
        await until(lambda: follower.version == "2" and phase(follower) == "confirmed")
        answer = await rollback({"product": "app"})
        assert (answer["phase"], answer["version"]) == ("rolled_back", "1")
        assert target.read_bytes() == V1
        with pytest.raises(ActivationError, match="no previous release to go back to"):
            await rollback({})


async def test_rolling_back_offline(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target, store = World(), tmp_path / "app", MemoryStore()
    world.publish("1", V1)
    async with following(world, target, store=store) as (_, follower, _origin):
        await until(lambda: phase(follower) == "confirmed")
        world.publish("2", V2, base="1")
        await until(lambda: follower.version == "2" and phase(follower) == "confirmed")
        section = follower.subscribe
    assert (roll_back_offline(store, section).version, target.read_bytes()) == ("1", V1)
    with pytest.raises(ActivationError, match="no previous release to go back to"):
        roll_back_offline(store, section)
    async with following(world, target, store=store) as (_, follower, _origin):
        await trio.sleep(30)
        assert target.read_bytes() == V1


async def test_a_restart_while_checking_checks_again(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target, store = World(), tmp_path / "app", MemoryStore()
    world.publish("1", V1)
    seen: list[bytes] = []

    class DiedError(Exception):
        pass

    original = store.save_object

    def save(name: str, data: bytes) -> None:
        original(name, data)
        if name == state_object("app", "stable") and b"checking" in data and not seen:
            seen.append(data)
            raise DiedError

    store.save_object = save  # type: ignore[method-assign]  # a crash right after the state was saved
    with pytest.raises(ExceptionGroup) as caught:
        async with following(world, target, health=GOOD, store=store):
            await trio.sleep(60)
    assert caught.group_contains(DiedError)
    assert target.read_bytes() == V1
    async with following(world, target, health=GOOD, store=store) as (_, follower, _origin):
        await until(lambda: phase(follower) == "confirmed")


async def test_a_newer_release_ends_the_fetch_of_the_old_one(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    async with following(world, target, rate=50_000) as (node, follower, origin):
        await until(lambda: origin.bytes_of("packs/") > 100_000)
        world.publish("2", V1[:150_000] + V2[150_000:])
        await until(lambda: phase(follower) == "confirmed")
        assert follower.version == "2"
        assert origin.repeated_bytes("packs/") == 0
        assert [row["version"] for row in node.status()["ended"]] == ["1", "2"]
        assert "cancelled" in node.status()["ended"][0]["error"]
        assert origin.bytes_of("packs/") < 460_000


async def test_a_gateway_keeps_the_newest_and_drops_what_is_superseded(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", V1)
    async with following(world, None, rate=50_000) as (node, follower, origin):
        await until(lambda: origin.bytes_of("packs/") > 100_000)
        world.publish("2", V2)
        await until(lambda: follower.version == "2")
        assert [about["version"] for _, about in await node.held()] == ["2"]
        for version, data in (("3", V3), ("4", V1)):
            world.publish(version, data)
            await until(lambda version=version: follower.version == version)
        assert [about["version"] for _, about in await node.held()] == ["3", "4"]
        assert node.store.statistics().chunk_bytes == len(V3) + len(V1)


async def test_a_full_gateway_goes_on_when_there_is_room(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore(quota_bytes=100_000)
    world.publish("1", V1)
    async with following(world, None, store=store) as (node, follower, _):
        await until(lambda: "quota" in follower.last_error)
        store._quota_bytes = None
        await until(lambda: follower.version == "1")
        assert follower.last_error == ""
        assert len(await node.held()) == 1


async def test_a_damaged_target_does_not_end_the_node(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    target.mkdir()
    (target / "in the way").touch()
    async with following(world, target) as (_, follower, _origin):
        await until(lambda: phase(follower) == "failed")
        (target / "in the way").unlink()
        target.rmdir()
        await until(lambda: phase(follower) == "confirmed", 2000)
        assert target.read_bytes() == V1
