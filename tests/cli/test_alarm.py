"""What `status` and `fetch` make of an origin or of peers that are wrong: the exit code, and when to stop waiting."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing
from node.test_metadata import APP, Wrong, forge_app, forge_top, lying_peer, mute_peer, seeded, withhold_app
from node.test_process import parts_of
from node.world import MemoryOrigin, World, current, until

from edgeswarm.cli.confirmed import PEER_SECONDS, Doubt, doubt_of
from edgeswarm.cli.fetch import _find
from edgeswarm.cli.status import _exit_code
from edgeswarm.cli.trouble import trouble
from edgeswarm.errors import FetchError, NoSpaceError, NotPublishedError, TrustError
from edgeswarm.node import LanSection, Node, NodeConfig, NodeSection, UplinkSection, open_node
from edgeswarm.node.threads import IN_PLACE
from edgeswarm.store import MemoryStore

CLOCK = trio.testing.MockClock


def code_of(node: Node) -> int:
    return _exit_code(node.status() | {"subscriptions": []})


class Breaks(MemoryOrigin):
    """A link that breaks for a while whenever the role of the product is read."""

    until = 0.0

    async def read(self, name: str, *, limit: int) -> bytes:
        if name.endswith(".app.json") and trio.current_time() < self.until:
            raise FetchError("link broke")
        return await super().read(name, limit=limit)


class Hole(MemoryOrigin):
    """A link that takes everything and gives nothing."""

    async def read(self, name: str, *, limit: int) -> bytes:
        await trio.sleep(49)
        raise FetchError("stalled")


class Forbidden(MemoryOrigin):
    async def read(self, name: str, *, limit: int) -> bytes:
        raise FetchError(f"{name}: refused (status 403)", temporary=False)


class Full(MemoryStore):
    """A disk that gets full."""

    is_full = False

    def save_objects(self, objects: dict[str, bytes], gone: object = ()) -> None:  # type: ignore[override]  # enough for here
        if self.is_full:
            raise NoSpaceError("the disk is full")
        super().save_objects(objects, gone=gone)  # type: ignore[arg-type]  # passed on


@pytest.mark.parametrize("seconds", [0.1, 30.0])
@pytest.mark.parametrize(("channel", "version"), [("stable", ""), ("", "1")])
async def test_a_link_that_breaks_does_not_end_a_fetch(channel: str, version: str, seconds: float, autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    origin = Breaks(world.objects)
    origin.until = trio.current_time() + seconds
    async with world.node("a", origin=origin) as node:
        with trio.fail_after(60):
            release, doubt = await _find(node, "app", channel, version)
    assert (release.version, doubt) == ("1", None)


@pytest.mark.parametrize("mute", [0, 4])
@pytest.mark.parametrize(("channel", "version"), [("stable", ""), ("", "1")])
async def test_what_the_origin_lacks_is_taken_from_a_peer(channel: str, version: str, mute: int, autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    origin = Wrong(world.objects)
    origin.forge = withhold_app
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(world.node("gateway", origin=MemoryOrigin(world.objects), subscribe=APP))
        await current(gateway)
        node = await stack.enter_async_context(world.node("a", origin=origin))
        for number in range(mute):
            await stack.enter_async_context(mute_peer(world, f"mute{number}"))
        await until(lambda: len(node.links.peers) == mute)
        node.links.suggest("gateway:7651")
        with trio.fail_after(60):
            release, doubt = await _find(node, "app", channel, version)
    assert (release.version, doubt) == ("1", None)


async def test_what_a_neighbour_knows_to_be_nowhere_ends_a_fetch(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    async with (
        world.node("gateway", origin=MemoryOrigin(world.objects), subscribe=APP) as gateway,
        world.node("a", peers=("gateway:7651",), store=store) as node,
    ):
        await current(gateway)
        with trio.fail_after(60), pytest.raises(NotPublishedError, match="beta"):
            await _find(node, "app", "beta", "")


@pytest.mark.parametrize(("forge", "error"), [(withhold_app, NotPublishedError), (forge_app, TrustError)])
async def test_what_nobody_has_ends_a_fetch(forge: object, error: type[Exception], autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    origin = Wrong(world.objects)
    origin.forge = forge  # type: ignore[assignment]  # one of two
    async with world.node("a", origin=origin) as node:
        with trio.fail_after(60), pytest.raises(error, match=r"2\.app\.json"):
            await _find(node, "app", "stable", "")


@pytest.mark.parametrize(("forge", "code"), [(withhold_app, 3), (forge_app, 77)])
async def test_the_newest_role_that_is_wrong_leaves_a_doubt(forge: object, code: int, autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    world.publish("2", b"y")
    origin = Wrong(world.objects)
    origin.forge = forge  # type: ignore[assignment]  # one of two
    async with world.node("a", origin=origin, store=store, subscribe=APP) as node:
        release, doubt = await _find(node, "app", "stable", "")
        assert release.version == "1"
        assert doubt is not None
        assert (doubt.exit_code, "3.app.json" in doubt.why) == (code, True)
        assert code_of(node) == code


async def test_a_neighbour_that_did_not_reach_the_origin_confirms_nothing(autojump_clock: CLOCK) -> None:
    world = World()
    store, store_of_gateway = await seeded(world), await seeded(world)
    world.publish("2", b"y")
    async with (
        world.node("gateway", origin=Hole({}), store=store_of_gateway, subscribe=APP) as gateway,
        world.node("a", peers=("gateway:7651",), store=store) as node,
    ):
        assert gateway.uplink is not None
        assert gateway.uplink.usable
        release, doubt = await _find(node, "app", "stable", "")
        assert release.version == "1"
        assert doubt == ("no neighbour was reached whose origin has answered", 3)
        await trio.sleep(300)  # its uplink counts as usable now and then
        assert not any(peer.checked for peer in node.links.peers.values())


async def test_a_neighbour_that_asked_before_confirms_at_once(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    async with world.node("gateway", origin=MemoryOrigin(world.objects), subscribe=APP) as gateway:
        await until(lambda: gateway.news.is_current)
        gateway.news._poll_seconds = 1e6
        await trio.sleep(5)
        async with world.node("a", peers=("gateway:7651",), store=store) as node:
            start = trio.current_time()
            release, doubt = await _find(node, "app", "stable", "")
            assert (release.version, doubt) == ("1", None)
            assert trio.current_time() - start < PEER_SECONDS / 2


@pytest.mark.parametrize("falls", ["link", "signature"])
async def test_a_neighbour_whose_origin_failed_since_confirms_nothing(falls: str, autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    origin = Wrong(world.objects)
    async with world.node("gateway", origin=origin, subscribe=APP) as gateway:
        await until(lambda: gateway.news.is_current)
        if falls == "link":
            origin.down = True
        else:
            origin.forge = forge_top
        await until(lambda: not gateway.news.is_current)
        async with world.node("a", peers=("gateway:7651",), store=store) as node:
            assert await doubt_of(node, "app") == ("no neighbour was reached whose origin has answered", 3)


async def test_a_read_that_fails_between_two_questions_counts(autojump_clock: CLOCK) -> None:
    world = World()
    origin = MemoryOrigin(world.objects)
    async with world.node("gateway", origin=origin) as gateway:
        await until(lambda: gateway.news.is_current)
        gateway.news._poll_seconds = 1e6
        origin.down = True
        assert gateway.uplink is not None
        with pytest.raises(FetchError):
            await gateway.uplink.read("packs/x", limit=9)
        assert not gateway.news.is_current


async def test_a_neighbour_that_hears_something_newer_says_that_it_asked(autojump_clock: CLOCK) -> None:
    world = World()
    origin = MemoryOrigin(world.objects)
    origin.down = True
    async with world.node("gateway", origin=origin) as gateway, world.node("a", peers=("gateway:7651",)) as node:
        gateway.news._poll_seconds = 1e6
        await until(lambda: node.links.peers)
        origin.down = False
        await until(lambda: gateway.metadata.version == 1)
        await until(lambda: all(peer.checked for peer in node.links.peers.values()), 5)


async def test_an_origin_that_refuses_is_no_matter_of_trust(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    async with world.node("a", origin=Forbidden({}), store=store, subscribe=APP) as node:
        doubt = await doubt_of(node, "app")
        assert doubt is not None
        assert doubt.exit_code == 3
        assert doubt.why.startswith("the origin does not give it: metadata/timestamp.json: refused (status 403)")
        assert code_of(node) == 3


@pytest.mark.parametrize("source", ["origin", "peers"])
async def test_a_full_disk_is_told_as_one(source: str, autojump_clock: CLOCK) -> None:
    world, store = World(), Full()
    world.publish("1", b"x")
    async with world.node("seed", origin=MemoryOrigin(dict(world.objects)), store=store, subscribe=APP) as node:
        await current(node)
    world.publish("2", b"y")
    async with world.node("gateway", origin=MemoryOrigin(world.objects), subscribe=APP) as gateway:
        await current(gateway)
        store.is_full = True
        has_origin = source == "origin"
        peers = () if has_origin else ("gateway:7651",)
        async with world.node("a", origin=MemoryOrigin(world.objects) if has_origin else None, peers=peers, store=store) as node:
            release, doubt = await _find(node, "app", "stable", "")
            assert release.version == "1"
            assert doubt == Doubt("there is no room to save newer metadata: the disk is full", 28)
            assert code_of(node) == 28
            with trio.fail_after(60), pytest.raises(NoSpaceError):
                await _find(node, "app", "beta", "")


async def test_a_lying_peer_raises_no_alarm(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    async with world.node("a", origin=MemoryOrigin(world.objects), subscribe=APP) as node:
        await until(lambda: node.metadata.knows("app"))
        async with lying_peer(world, "a", forge_top, 99):
            await until(lambda: node.metadata.peers.error is not None)
            codes = set()
            for _ in range(100):
                codes.add(code_of(node))
                await trio.sleep(0.1)
            assert codes == {0}


async def test_a_forged_origin_is_told_though_a_peer_is_well(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    origin = Wrong(world.objects)
    origin.forge = forge_top
    async with world.node("a", origin=origin, subscribe=APP) as node, lying_peer(world, "a", lambda _name, data: data, 2):
        await until(lambda: node.metadata.knows("app"))
        await until(lambda: node.metadata.origin.error is not None)
        assert code_of(node) == 77


@pytest.mark.parametrize("has_origin", [False, True])
async def test_what_peers_say_is_not_shown_as_the_origins(has_origin: bool, tmp_path: Path, autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    IN_PLACE.set(True)
    config = NodeConfig(
        node=NodeSection(state=tmp_path, identity=tmp_path),
        lan=LanSection(listen="a:7651"),
        uplink=UplinkSection(origin="http://x/", retry_seconds=0.5) if has_origin else None,
    )
    origin = MemoryOrigin(world.objects) if has_origin else None
    async with open_node(config, parts_of(world, origin=origin)) as node, lying_peer(world, "a", forge_top, 99):
        await until(lambda: node.metadata.peers.error is not None)
        assert trouble(node) == ("" if has_origin else f"neighbours: {node.metadata.peers.error}")
