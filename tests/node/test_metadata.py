"""Products that fail alone: what keeps working, who is blamed, how long that takes."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest
import trio
import trio.testing

from edgeswarm.errors import ExpiredError, FetchError, NotPublishedError, ObjectMissingError, TrustError
from edgeswarm.exchange import ranking
from edgeswarm.node import Node, SubscribeSection
from edgeswarm.store import MemoryStore
from edgeswarm.trust.ceremony import Expiries
from edgeswarm.trust.client import Want
from edgeswarm.trust.keys import Keyring, SigningKey
from edgeswarm.wire.messages import GetObject, News, ObjectData, Ping, Pong

from .remote import Remote, identity_of, remote
from .test_news import publish_tools
from .world import NOW, MemoryOrigin, World, current, until

CLOCK = trio.testing.MockClock
APP = (SubscribeSection(product="app", channel="stable"),)
TOOLS = (SubscribeSection(product="tools", channel="stable"),)
Forge = Callable[[str, bytes], bytes | None]


def withhold_app(name: str, data: bytes) -> bytes | None:
    return None if name.endswith(".app.json") else data


def forge_app(name: str, data: bytes) -> bytes | None:
    return data.replace(b'"sig":"', b'"sig":"00', 1)[: len(data)] if name.endswith(".app.json") else data


def forge_top(name: str, data: bytes) -> bytes | None:
    return b"nonsense" if name == "timestamp.json" else data


class Wrong(MemoryOrigin):
    """An origin that holds something back, or forges it."""

    forge: Forge = staticmethod(lambda _name, data: data)

    async def read(self, name: str, *, limit: int) -> bytes:
        data = self.forge(name.removeprefix("metadata/"), await super().read(name, limit=limit))
        if data is None:
            raise ObjectMissingError(name)
        return data[:limit]


@asynccontextmanager
async def lying_peer(world: World, to: str, forge: Forge, version: int) -> AsyncIterator[Remote]:
    """Link a peer that says that it has some metadata, and hands it on as `forge` says."""

    async def serve(peer: Remote) -> None:
        while type(event := await peer.hear()).__name__ != "Closed":
            if isinstance(event, Ping):
                await peer.say(Pong(nonce=event.nonce))
            elif isinstance(event, GetObject):
                whole = world.objects.get(f"metadata/{event.name}")
                data = forge(event.name, whole) if whole is not None else None
                await peer.say(ObjectData(request=event.request, last=True, found=data is not None, data=data or b""))

    async with remote(world, to=f"{to}:7651", timestamp_version=version) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(serve, peer)
        yield peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def mute_peer(world: World, name: str, asked: list[str] | None = None) -> AsyncIterator[Remote]:
    """Link a peer that says that it has metadata, and answers nothing but pings."""

    async def keep_alive(peer: Remote) -> None:
        while type(event := await peer.hear()).__name__ != "Closed":
            if isinstance(event, Ping):
                await peer.say(Pong(nonce=event.nonce))
            elif isinstance(event, GetObject) and asked is not None:
                asked.append(event.name)

    async with remote(world, name, to="a:7651", timestamp_version=2) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive, peer)
        yield peer
        nursery.cancel_scope.cancel()


async def seeded(world: World) -> MemoryStore:
    """Return the store of a node that was up to date with release 1."""
    store = MemoryStore()
    world.publish("1", b"x")
    async with world.node("seed", origin=MemoryOrigin(dict(world.objects)), store=store, subscribe=APP) as node:
        await current(node)
    return store


def signed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"metadata/{name}": data for name, data in files.items()}


async def version_of(node: Node) -> str:
    release, _ = await node.find("app", channel="stable")
    return release.version


@pytest.mark.parametrize("forge", [withhold_app, forge_app])
async def test_what_was_verified_goes_on_working(forge: Forge, autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    world.publish("2", b"y")
    async with world.node("a", store=store, subscribe=APP) as node, lying_peer(world, "a", forge, 3):
        await until(lambda: node.metadata.version == 3, 20)
        await trio.sleep(5)
        assert await version_of(node) == "1"
        assert (await node.find("app", version="1"))[0].version == "1"
        assert [release.version for release in node.metadata.releases("app")] == ["1"]
        assert "3.app.json" in node.metadata.status()["products"]["app"]
        (row,) = node.metadata.errors()
        assert (row["source"], row["product"]) == ("peers", "app")
        assert row["exit_code"] == (3 if forge is withhold_app else 77)
    async with world.node("a", store=store, subscribe=APP) as node:
        assert node.metadata.version == 3
        assert await version_of(node) == "1"
        assert [(row["source"], row["exit_code"]) for row in node.metadata.errors()] == [("saved", 3)]
    async with world.node("a", store=store, subscribe=APP, origin=MemoryOrigin(world.objects)) as node:
        await until(lambda: node.metadata.knows("app"), 20)
        assert await version_of(node) == "2"
        assert node.metadata.errors() == []
    assert [name for name in store.list_objects("metadata/") if ".app." in name] == ["metadata/3.app.json"]


async def test_what_was_verified_does_not_come_back(autojump_clock: CLOCK) -> None:
    """A role that lags behind, when the newest of its own channel was followed here, is no way back."""
    world = World()
    store = await seeded(world)
    old = {name: store.load_object(name) for name in store.list_objects("metadata/") if ".app." in name}
    world.publish("2", b"y")
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store, subscribe=APP) as node:
        await until(lambda: node.metadata.version == 3, 20)
        assert await version_of(node) == "2"
    for name in [name for name in store.list_objects("metadata/") if ".app." in name]:
        store.delete_object(name)
    for name, data in old.items():
        store.save_object(name, data or b"")
    async with world.node("a", store=store, subscribe=APP) as node:
        with pytest.raises(TrustError, match="went back"):
            await version_of(node)


async def test_a_key_that_was_revoked_does_not_go_on_working(autojump_clock: CLOCK) -> None:
    world = World()
    store = await seeded(world)
    world.repository.delegate("app", Keyring((world.keys[1].public,)))
    world.publish("2", b"y")
    async with world.node("a", store=store, subscribe=APP) as node, lying_peer(world, "a", withhold_app, 3):
        await until(lambda: node.metadata.version == 3, 20)
        with pytest.raises(NotPublishedError, match="not here yet"):
            await version_of(node)


async def test_an_own_product_that_expired_is_told(autojump_clock: CLOCK) -> None:
    world = World()
    publish_tools(world)
    async with world.node("a", origin=MemoryOrigin(world.objects), subscribe=TOOLS) as node:
        await until(lambda: node.metadata.knows("tools"))
        before = node.metadata.version
        world.now = NOW + timedelta(days=400)
        world.objects.update(signed(world.repository.renew(world.keys, now=world.now)))
        await until(lambda: node.metadata.version > before, 30)
        await until(lambda: node.metadata.origin.products, 30)
        (row,) = node.metadata.errors()
        assert (row["source"], row["product"], row["exit_code"]) == ("origin", "tools", 3)
        assert "expired" in row["error"]
        with pytest.raises(ExpiredError, match=r"1\.tools\.json"):
            await node.find("tools", channel="stable")


async def test_what_the_newest_replaced_does_not_speak_when_that_has_expired(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    key = SigningKey.generate()
    world.repository.delegate("tools", Keyring((key.public,)))
    world.objects |= signed(world.repository.sign([*world.keys, key], now=NOW))
    async with world.node("a", origin=MemoryOrigin(dict(world.objects)), store=store, subscribe=TOOLS) as node:
        await until(lambda: node.metadata.knows("tools"))
    short = Expiries(targets=timedelta(days=10))
    world.objects |= signed(world.repository.renew([*world.keys, key], now=NOW, expiries=short, every=True))
    world.now = NOW + timedelta(days=20)
    world.objects |= signed(world.repository.renew(world.keys, now=world.now))
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store, subscribe=TOOLS) as node:
        await until(lambda: node.metadata.origin.products, 20)
        assert "2.tools.json" in str(node.metadata.origin.products["tools"])
        with pytest.raises(ExpiredError, match=r"2\.tools\.json"):
            await node.find("tools", channel="stable")


async def test_an_own_product_that_is_forged_is_told(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    origin = Wrong(world.objects)
    origin.forge = forge_app
    async with world.node("a", origin=origin, subscribe=APP) as node:
        await until(lambda: node.metadata.version == 2, 20)
        await trio.sleep(20)
        (row,) = node.metadata.errors()
        assert (row["source"], row["product"], row["exit_code"]) == ("origin", "app", 77)
        with pytest.raises(TrustError, match="signed metadata names"):
            await version_of(node)


async def test_a_guest_that_is_forged_is_not_told(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    origin = Wrong(world.objects)
    origin.forge = forge_app
    async with world.node("gateway", origin=origin) as node, remote(world) as peer:
        await until(lambda: node.metadata.version == 2)
        await peer.say(GetObject(request=3, kind="metadata", name="2.app.json", limit=9999))
        await peer.hear_a(ObjectData)
        await until(lambda: "app" in node.metadata.origin.products, 20)
        assert node.metadata.errors() == []


async def test_a_lying_peer_is_not_taken_for_the_origin(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    origin = Wrong(world.objects)
    async with world.node("a", origin=origin, subscribe=APP) as node:
        await until(lambda: node.metadata.knows("app"), 20)
        async with lying_peer(world, "a", forge_top, 99):
            await until(lambda: node.metadata.peers.error is not None, 20)
            for _ in range(100):
                assert {row["source"] for row in node.metadata.errors()} <= {"peers"}
                await trio.sleep(0.1)
            assert isinstance(node.metadata.peers.error, TrustError)


async def test_a_peer_does_not_hide_that_the_origin_is_forged(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    origin = Wrong(dict(world.objects))
    async with world.node("a", origin=origin, subscribe=APP) as node:
        await until(lambda: node.metadata.knows("app"), 20)
        origin.forge = forge_top
        await until(lambda: node.metadata.origin.error is not None, 20)
        world.publish("2", b"y")
        async with lying_peer(world, "a", lambda _name, data: data, 3):
            await until(lambda: node.metadata.version == 3, 20)
            assert isinstance(node.metadata.origin.error, TrustError)
            origin.objects, origin.forge = world.objects, lambda _name, data: data
            await until(lambda: node.metadata.origin.error is None, 20)


async def test_an_origin_that_was_not_reached_is_made_good_by_a_peer(autojump_clock: CLOCK) -> None:
    """Not every node asks the origin again: one of the site has the duty."""
    world = World()
    world.publish("1", b"x")
    origin = MemoryOrigin(world.objects)
    origin.down = True
    async with world.node("a", origin=origin, subscribe=APP) as node:
        await until(lambda: node.metadata.origin.error is not None, 20)
        node.news._poll_seconds = 1e6
        async with lying_peer(world, "a", lambda _name, data: data, 2):
            await until(lambda: node.metadata.knows("app"), 20)
        assert node.metadata.errors() == []


class Stalls(MemoryOrigin):
    """A link that dies at the role of a product, after 49 s each time."""

    reads = 0

    async def read(self, name: str, *, limit: int) -> bytes:
        if name.startswith("metadata/") and name.split(".")[1].startswith("p"):
            self.reads += 1
            await trio.sleep(49)
            raise FetchError("stalled")
        return await super().read(name, limit=limit)


async def test_a_link_that_died_is_not_tried_for_each_product(autojump_clock: CLOCK) -> None:
    world = World()
    names = [f"p{number}" for number in range(12)]
    for name in names:
        world.repository.delegate(name, Keyring((world.keys[0].public,)))
    world.sign()
    origin = Stalls(world.objects)
    async with world.node("a", origin=origin) as node:
        for name in names:
            await node.metadata.want_product(name)
        await node.news.check_now()
        assert origin.reads <= 2, "one for each of the two refreshes of a node that starts"
        assert list(node.metadata.origin.products) == names
        assert all(map(node.metadata.origin.waits, names))


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_mute_peers_delay_a_missing_role_by_moments(count: int, autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    store = MemoryStore()
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await until(lambda: node.metadata.version == 2)
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(world.node("gateway", origin=MemoryOrigin(world.objects), subscribe=APP))
        await until(lambda: gateway.metadata.knows("app"))
        node = await stack.enter_async_context(world.node("a", store=store))
        for number in range(count):
            await stack.enter_async_context(mute_peer(world, f"mute{number}"))
        await until(lambda: len(node.links.peers) == count)
        node.links.suggest("gateway:7651")
        await until(lambda: len(node.links.peers) == count + 1)
        start = trio.current_time()
        with pytest.raises(NotPublishedError):
            await node.find("app", channel="stable")
        await until(lambda: node.metadata.knows("app"), 100)
        assert trio.current_time() - start < 2.5 * count + 1
        late = [peer.name for peer in node.links.peers.values() if peer.id in node.news._late]
        assert len(late) == count


async def test_a_mute_peer_is_not_asked_again_meanwhile(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    asked: list[str] = []
    store = MemoryStore()
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await until(lambda: node.metadata.version == 2)
    async with world.node("a", store=store, subscribe=APP) as node, mute_peer(world, "mute", asked):
        await until(lambda: asked, 20)
        await trio.sleep(50)
        assert asked == ["2.root.json"]
        await trio.sleep(30)
        assert node.links.peers
        assert asked[1:]


async def test_peers_that_were_late_come_last(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    asked: list[str] = []

    async def note(peer: Remote, name: str) -> None:
        while type(event := await peer.hear()).__name__ != "Closed":
            if isinstance(event, GetObject):
                asked.append(name)
                await peer.say(ObjectData(request=event.request, found=False, last=True))
            elif isinstance(event, Ping):
                await peer.say(Pong(nonce=event.nonce))

    async with (
        world.node("gateway", origin=MemoryOrigin(world.objects)) as node,
        remote(world, "first", timestamp_version=2) as first,
        remote(world, "second", timestamp_version=2) as second,
        trio.open_nursery() as nursery,
    ):
        await until(lambda: node.metadata.version == 2 and len(node.links.peers) == 2)
        node.uplink.usable = False  # type: ignore[union-attr]  # it has one
        nursery.start_soon(note, first, "first")
        nursery.start_soon(note, second, "second")
        node.news._late[first.key] = None
        await node.metadata.want_product("app")
        await node.news._look_around("app")
        assert list(dict.fromkeys(asked)) == ["second", "first"]
        await until(lambda: not node.news._late, 5)  # who answers in time is late no more
        nursery.cancel_scope.cancel()


async def test_only_news_that_is_said_again_tells_that_the_origin_answers(autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("gateway") as node, remote(world, uplink=True, timestamp_version=1) as peer:
        await until(lambda: node.links.peers)
        (known,) = node.links.peers.values()
        said = [(1, False, False), (1, True, False), (2, True, False), (2, True, True), (3, True, True), (3, False, False)]
        for version, uplink, checked in [(1, True, True), *said, (3, False, False)]:
            heard = known.news_at
            await trio.sleep(0.1)
            await peer.say(News(timestamp_version=version, uplink=uplink))
            await until(lambda heard=heard: known.news_at > heard, 5)
            assert known.checked is checked, (version, uplink)


async def test_what_changes_nothing_is_not_said_again(autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("gateway") as node, remote(world) as peer:
        await until(lambda: node.links.peers)
        node._on_metadata()
        node._on_metadata()
        await peer.say(Ping(nonce=1))
        while not isinstance(event := await peer.hear(), Pong):
            assert not isinstance(event, News)
        node._hub.say_news(checked=True)
        await peer.hear_a(News)


async def test_a_source_that_broke_off_is_judged_so_when_another_was_faster(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    asked, goes_on = trio.Event(), trio.Event()

    async def slow(want: Want) -> bytes | None:
        if want.name == "2.app.json":
            asked.set()
            await goes_on.wait()
            raise FetchError("the link broke")
        return world.objects.get(f"metadata/{want.name}")

    async def fast(want: Want) -> bytes | None:
        return None if want.name == "2.app.json" else world.objects.get(f"metadata/{want.name}")

    async with world.node("a", subscribe=APP) as node, trio.open_nursery() as nursery:
        nursery.start_soon(node.metadata.refresh, slow, node.metadata.origin)
        await asked.wait()
        assert await node.metadata.refresh(fast)
        goes_on.set()
        await until(lambda: node.metadata.origin.products)
        assert node.metadata.origin.waits("app")
        assert not node.metadata.peers.waits("app")


async def test_a_node_without_the_duty_looks_whether_an_alarm_is_over(autojump_clock: CLOCK) -> None:
    world = World()
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(world.node("gateway", origin=MemoryOrigin(world.objects)))
        while len(node.links.peers) < 2:
            identity = identity_of(world, "remote")
            if ranking(b"poll", [identity.key, node.own.key])[0] == identity.key:
                await stack.enter_async_context(remote(world, identity=identity, uplink=True))
                await until(lambda key=identity.key: key in node.links.peers)
        assert node.news._pause() == math.inf
        node.metadata.origin.failed(TrustError("forged"))
        assert 1 < node.news._pause() < 60
