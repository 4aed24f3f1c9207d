"""Subscriptions: install, check, roll back, supersede, start again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from edgeswarm.activation import SlotInstaller
from edgeswarm.activation.lifecycle import Phase, decode_state, encode_state
from edgeswarm.errors import ActivationError, NoSpaceError, StoreError
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
    others: tuple[SubscribeSection, ...] = (),
    **changes: Any,
) -> AsyncIterator[tuple[Node, Following, MemoryOrigin]]:
    install = InstallSection(target=target, health=health, health_timeout=5, **changes) if target is not None else None
    section = SubscribeSection(product="app", channel="stable", install=install, keep=keep)
    origin = MemoryOrigin(world.objects, rate)
    with trio.fail_after(3000):
        async with (
            world.node("node", origin=origin, store=store, subscribe=(section, *others)) as node,
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


# An operator.


async def install_two(world: World, follower: Following) -> None:
    await until(lambda: phase(follower) == "confirmed")
    world.publish("2", V2, base="1")
    await until(lambda: follower.version == "2" and phase(follower) == "confirmed")


async def test_an_operator_rolls_back_while_something_newer_is_fetched(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    async with following(world, target) as (node, follower, origin):
        await install_two(world, follower)
        origin.rate = 50_000
        world.publish("3", V3)
        await until(lambda: phase(follower) == "fetching" and node.status()["fetches"])
        answer = await control_verbs(node, [follower])["rollback"]({})
        assert (answer["phase"], answer["version"], answer["wanted"]) == ("rolled_back", "1", "3")
        assert target.read_bytes() == V1
        await trio.sleep(1000)
        assert (phase(follower), node.status()["fetches"], target.read_bytes()) == ("rolled_back", [], V1)
        world.publish("4", V2 + b"4")
        await until(lambda: phase(follower) == "confirmed")
        assert target.read_bytes() == V2 + b"4"


async def test_an_operator_activates_what_is_staged(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    async with following(world, target, automatic=False, health=GOOD) as (node, follower, _):
        verbs = control_verbs(node, [follower])
        await until(lambda: phase(follower) == "staged")
        await trio.sleep(1000)
        assert not target.exists()
        assert (await verbs["activate"]({"product": "app"}))["version"] == "1"
        assert target.read_bytes() == V1
        await until(lambda: phase(follower) == "confirmed")
        with pytest.raises(ActivationError, match="app: cannot activate: wanted a staged release, the subscription is confirmed"):
            await verbs["activate"]({})


async def test_rolling_back_what_is_staged_only_goes_back_from_what_is_active(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    async with following(world, target, automatic=False) as (node, follower, _):
        verbs = control_verbs(node, [follower])
        for version, data in (("1", V1), ("2", V2)):
            world.publish(version, data)
            await until(lambda version=version: follower.status()["wanted"] == version and phase(follower) == "staged")
            await verbs["activate"]({})
            await until(lambda: phase(follower) == "confirmed")
        world.publish("3", V3)
        await until(lambda: phase(follower) == "staged")
        assert (await verbs["rollback"]({}))["version"] == "1"
        with pytest.raises(ActivationError, match="the subscription is rolled_back"):
            await verbs["activate"]({})


async def test_with_nothing_to_go_back_to_an_operator_is_told_so(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", V1)
    async with following(world, tmp_path / "app", rate=50_000) as (node, follower, _):
        await until(lambda: phase(follower) == "fetching")
        with pytest.raises(ActivationError, match="app: there is no previous release to go back to"):
            await control_verbs(node, [follower])["rollback"]({})
        await until(lambda: phase(follower) == "confirmed")


IN_THE_WAY = ("/bin/sh", "-c", 'test "$EDGESWARM_VERSION" = 1 || { rm "$EDGESWARM_PATH" && mkdir "$EDGESWARM_PATH"; exit 1; }')


async def test_a_roll_back_that_fails_is_tried_again_until_it_works(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target, store = World(), tmp_path / "app", MemoryStore()
    world.publish("1", V1)
    async with following(world, target, store=store, health=IN_THE_WAY) as (node, follower, _):
        await until(lambda: phase(follower) == "confirmed")
        world.publish("2", V2, base="1")
        await until(lambda: follower.status()["retry_seconds"] is not None)
        status = follower.status()
        assert (status["phase"], 0 < status["retry_seconds"] <= 60) == ("rolling_back", True)
        assert "ended with 1; then rolling back failed: " in status["reason"]
        with pytest.raises(ActivationError, match=r"app was not rolled back, which is tried again: .*is a directory"):
            await control_verbs(node, [follower])["rollback"]({})
    async with following(world, target, store=store, health=IN_THE_WAY) as (_, follower, _origin):
        await until(lambda: follower.status()["retry_seconds"] is not None)
        target.rmdir()
        await until(lambda: phase(follower) == "rolled_back", 1000)
        assert (target.read_bytes(), follower.version) == (V1, "1")
        assert "rolling back failed" not in follower.status()["reason"]


async def test_a_full_disk_prevents_no_roll_back(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target, store = World(), tmp_path / "app", MemoryStore()
    world.publish("1", V1)
    full = False

    def save(name: str, data: bytes) -> None:
        if full:
            raise NoSpaceError("full")
        MemoryStore.save_object(store, name, data)

    store.save_object = save  # type: ignore[method-assign]  # a disk that somebody else fills
    async with following(world, target, store=store) as (node, follower, _):
        await install_two(world, follower)
        full = True
        assert (await control_verbs(node, [follower])["rollback"]({}))["version"] == "1"
        section = follower.subscribe
    full = False
    async with following(world, target, store=store) as (_, follower, _origin):
        await trio.sleep(30)
        assert (phase(follower), target.read_bytes()) == ("rolled_back", V1)
    full = True
    with pytest.raises(ActivationError, match="no previous release"):
        roll_back_offline(store, section)


async def test_rolling_back_offline_in_the_middle_of_an_activation(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target, store = World(), tmp_path / "app", MemoryStore()
    world.publish("1", V1)
    async with following(world, target, store=store) as (_, follower, _origin):
        await install_two(world, follower)
        section = follower.subscribe
    name = state_object("app", "stable")
    state = decode_state(store._objects[name])
    assert state.offer is not None
    newer = replace(state.offer, version="3", manifest=bytes(32), sequence=3)
    store.save_object(name, encode_state(replace(state, phase=Phase.ACTIVATING, offer=newer)))
    assert roll_back_offline(store, section).version == "1"
    state = decode_state(store._objects[name])
    assert (state.phase, state.offer) == (Phase.ROLLED_BACK, newer)
    assert [bad.manifest for bad in state.bad] == [world.built["2"][0].manifest.digest]


async def test_a_damaged_state_is_no_reason_to_stop(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target, store = World(), tmp_path / "app", MemoryStore()
    world.publish("1", V1)
    async with following(world, target, store=store) as (_, follower, _origin):
        await install_two(world, follower)
    damaged = True

    def load(name: str) -> bytes | None:
        if damaged and name == state_object("app", "stable"):
            raise StoreError("damaged")
        return MemoryStore.load_object(store, name)

    store.load_object = load  # type: ignore[method-assign]  # a disk that rots
    async with following(world, target, store=store) as (_, follower, _origin):
        await until(lambda: phase(follower) == "confirmed")
        assert follower.version == "2"


async def test_a_release_that_cannot_be_confirmed_now_can_be_rolled_back(
    tmp_path: Path, autojump_clock: CLOCK, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def confirm(_self: SlotInstaller) -> None:
        raise NoSpaceError("the disk is full")

    monkeypatch.setattr(SlotInstaller, "confirm", confirm)
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    async with following(world, target) as (node, follower, _):
        await install_two(world, follower)
        assert (await control_verbs(node, [follower])["rollback"]({}))["version"] == "1"
        assert "the disk is full" in follower.status()["error"]
    assert not [message for message in caplog.messages if "starts again" in message]


# What is shown.


async def test_what_was_done_is_logged(tmp_path: Path, autojump_clock: CLOCK, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edgeswarm.follower")
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    async with following(world, target) as (node, follower, _):
        await install_two(world, follower)
        await control_verbs(node, [follower])["rollback"]({})
    assert caplog.messages == [
        f"app/stable: 1 is installed at {target}", "app/stable: 1 is confirmed",
        f"app/stable: 2 is installed at {target}", "app/stable: 2 is confirmed",
        "app/stable: rolled back to 1: asked for by the operator",
    ]  # fmt: skip


async def test_a_channel_with_nothing_for_this_node_says_so(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", V1)
    async with following(world, tmp_path / "app") as (_, follower, _origin):
        await until(lambda: phase(follower) == "confirmed")
        assert follower.status()["channel_error"] == ""
        world.publish("2", V2, compatible="press-mk9")
        await until(lambda: follower.status()["channel_error"])
        assert "2" in follower.status()["channel_error"]
        assert (phase(follower), follower.version) == ("confirmed", "1")
        world.publish("3", V3)
        await until(lambda: follower.version == "3")
        assert follower.status()["channel_error"] == ""


# What is held.


@pytest.mark.parametrize("installs", [True, False], ids=["installed", "seeded"])
async def test_subscriptions_of_one_product_let_nothing_go_that_another_one_needs(
    tmp_path: Path, autojump_clock: CLOCK, installs: bool
) -> None:
    world = World()
    beta = SubscribeSection(
        product="app", channel="beta", keep=1, install=InstallSection(target=tmp_path / "b") if installs else None
    )
    world.publish("1b", V2 + b"beta", channel="beta")
    world.publish("1", V1)
    target = tmp_path / "app" if installs else None
    async with following(world, target, keep=1, others=(beta,)) as (node, follower, _), trio.open_nursery() as nursery:
        other = open_follower(node, beta)
        nursery.start_soon(other.run)
        await until(lambda: (follower.version, other.version) == ("1", "1b"))
        for version, data in (("2", V2), ("3", V3)):
            world.publish(version, data, base="1")
            await until(lambda version=version: follower.version == version)
        await trio.sleep(10)
        held = sorted(str(about["version"]) for _, about in await node.held())
        assert held == (["1b", "2", "3"] if installs else ["1b", "3"])
        nursery.cancel_scope.cancel()


async def test_chunks_of_a_slot_that_is_gone_are_fetched_again_at_once(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    async with following(world, target) as (_, follower, _origin):
        await install_two(world, follower)
        world.publish("3", V3)
        await until(lambda: follower.version == "3" and phase(follower) == "confirmed")
        world.publish("4", V1 + b"4")
        await until(lambda: follower.version == "4", 30)  # less than a pause after a failure
        assert target.read_bytes() == V1 + b"4"


async def test_what_a_release_that_was_rolled_back_has_is_not_fetched_again(tmp_path: Path, autojump_clock: CLOCK) -> None:
    world, target = World(), tmp_path / "app"
    world.publish("1", V1)
    check = ("/bin/sh", "-c", 'test "$EDGESWARM_VERSION" != 2')
    async with following(world, target, health=check) as (_, follower, origin):
        await until(lambda: phase(follower) == "confirmed")
        world.publish("2", V2)
        await until(lambda: phase(follower) == "rolled_back")
        before = origin.bytes_of("packs/")
        world.publish("3", V2 + b"fixed")
        await until(lambda: follower.version == "3", 30)
        assert target.read_bytes() == V2 + b"fixed"
        assert origin.bytes_of("packs/") - before < 200_000
