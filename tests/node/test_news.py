"""Metadata and small objects: who asks the origin, what a lie does, what survives a restart."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import pytest
import trio

from edgeswarm.abc import PeerIdentity
from edgeswarm.errors import NotPublishedError, StoreError, TrustError
from edgeswarm.exchange import ranking
from edgeswarm.node import Node, SubscribeSection
from edgeswarm.store import MemoryStore
from edgeswarm.trust.client import Want
from edgeswarm.trust.keys import Keyring, SigningKey
from edgeswarm.wire.messages import GetObject, Have, News, ObjectData, Ping, Pong

from .remote import Remote, identity_of, remote
from .test_scenarios import BLOB, content_of
from .test_swarm import fetch_all, wait_until_version
from .world import NOW, MemoryOrigin, World, current, until

CLOCK = trio.testing.MockClock


class CountingOrigin(MemoryOrigin):
    """Counts how often the timestamp was asked for."""

    polls = reads = 0

    async def read(self, name: str, *, limit: int) -> bytes:
        self.reads += 1
        self.polls += name == "metadata/timestamp.json"
        return await super().read(name, limit=limit)


async def three_uplinks(world: World, stack: AsyncExitStack) -> tuple[list[Node], list[CountingOrigin]]:
    origins = [CountingOrigin(world.objects) for _ in range(3)]
    nodes = [
        await stack.enter_async_context(world.node(name, origin=origin, peers=("a:7651", "b:7651")))
        for name, origin in zip("abc", origins, strict=True)
    ]
    await until(lambda: all(len(node.links.peers) == 2 for node in nodes))
    await trio.sleep(2)
    for origin in origins:
        origin.polls = 0
    return nodes, origins


@pytest.mark.slow
async def test_one_of_several_uplinks_polls_and_another_takes_over(autojump_clock: CLOCK) -> None:
    world = World()
    async with AsyncExitStack() as stack:
        nodes, origins = await three_uplinks(world, stack)
        looks = 0

        def look(pause: Callable[[], float]) -> float:
            nonlocal looks
            looks += 1
            return pause()

        for node in nodes:
            node.news._pause = partial(look, node.news._pause)
        await trio.sleep(60)
        assert looks < 3 * 70  # those whose duty it is not look once a second, too
        nothing, audits, polls = sorted(origin.polls for origin in origins)
        assert nothing == 0
        assert 50 <= polls <= 70
        assert 60 // 8 - 1 <= audits <= 60 // 8 + 1, "the next in rank does not rely on what the first says"
        (poller,) = [origin for origin in origins if origin.polls == polls]
        poller.down = True
        await trio.sleep(20)
        world.publish("1", b"x")
        await until(lambda: all(node.metadata.version == 2 for node in nodes), 10)


async def first_in_rank(world: World, others: list[Node]) -> PeerIdentity:
    """Return a node that has the duty to ask the origin before all others."""
    while True:
        identity = identity_of(world, "remote")
        if ranking(b"poll", [identity.key, *(node.own.key for node in others)])[0] == identity.key:
            return identity


@pytest.mark.parametrize("lies", [False, True], ids=["says nothing", "says that it asked"])
@pytest.mark.slow
async def test_a_node_that_neglects_its_duty_does_not_silence_the_site(lies: bool, autojump_clock: CLOCK) -> None:
    world = World()
    async with AsyncExitStack() as stack:
        nodes, _ = await three_uplinks(world, stack)
        identity = await first_in_rank(world, nodes)
        idlers = [
            await stack.enter_async_context(remote(world, identity=identity, to=f"{name}:7651", uplink=True)) for name in "abc"
        ]
        await until(lambda: all(len(node.links.peers) == 3 for node in nodes))

        async def idle(idler: Remote) -> None:
            while True:
                event = await idler.hear()
                if isinstance(event, Ping):
                    await idler.say(Pong(nonce=event.nonce))
                    if lies:
                        await idler.say(News(timestamp_version=0, uplink=True))

        async with trio.open_nursery() as nursery:
            for idler in idlers:
                nursery.start_soon(idle, idler)
            await trio.sleep(20)
            world.publish("1", b"x")
            await until(lambda: all(node.metadata.version == 2 for node in nodes), 12)
            nursery.cancel_scope.cancel()


async def test_a_dead_uplink_is_asked_again_as_soon_as_it_works(autojump_clock: CLOCK) -> None:
    world = World()
    origin = CountingOrigin(world.objects)
    origin.down = True
    async with world.node("a", origin=origin) as node:
        node.news._poll_seconds = 1000.0
        await trio.sleep(20)
        assert 5 < origin.reads < 30
        origin.down = False
        await until(lambda: node.metadata.version == 1, 5)


async def test_metadata_that_goes_back_is_refused(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    store, old = MemoryStore(), dict(world.objects)
    world.publish("2", b"y")
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await current(node)
        version = node.metadata.version
    async with world.node("a", origin=MemoryOrigin(old), store=store) as node:
        await trio.sleep(10)
        assert node.metadata.version == version
        assert (await current(node)).version == "2"
        assert isinstance(node.metadata.origin.error, TrustError)
        assert node.uplink is not None
        assert node.uplink.usable


async def test_floors_hold_when_the_files_are_lost(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    store, old = MemoryStore(), dict(world.objects)
    world.publish("2", b"y")
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await current(node)
    for name in store.list_objects("metadata/"):
        store.delete_object(name)
    async with world.node("a", origin=MemoryOrigin(old), store=store) as node:
        await trio.sleep(10)
        assert node.metadata.version == 0
        with pytest.raises(NotPublishedError):
            await node.find("app", channel="stable")


async def test_a_gateway_brings_the_role_of_a_product_that_only_a_device_follows(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", b"content" * 1000)
    async with world.node("gateway", role="gateway", origin=MemoryOrigin(world.objects)) as gateway:
        await until(lambda: gateway.metadata.version == 2)
        assert not gateway.metadata.knows("app")
        async with world.node("a", peers=("gateway:7651",)) as node:
            with trio.fail_after(30):
                assert await current(node) == release
                assert gateway.metadata.knows("app")
                gateway.fetch(release)
                await node.fetch(release).wait()
            async with remote(world) as peer:
                for number, name in enumerate(("3.nonsense.json", "1.app.json", "snapshot.json", "x"), 1):
                    await peer.say(GetObject(request=2 * number + 1, kind="metadata", name=name, limit=1000))
                    await peer.hear_a(ObjectData)
            assert list(gateway.metadata._guests) == ["app"], "only what is published is sought"


@pytest.mark.parametrize("grace_days", [0, 3650])
async def test_expired_metadata(grace_days: int, autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    store = MemoryStore()
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await current(node)
    world.now = NOW + timedelta(days=300)
    async with world.node("a", store=store, grace_days=grace_days) as node:
        if grace_days:
            assert (await current(node)).version == "1"
            assert node.metadata.status()["stale"] is True
        else:
            assert node.metadata.version == 0
            assert [row["source"] for row in node.metadata.errors()] == ["saved"]
            assert "expired" in node.metadata.errors()[0]["error"]


async def test_a_product_that_is_wanted_later_is_fetched(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    async with (
        world.node("gateway", origin=MemoryOrigin(world.objects)) as gateway,
        world.node("a", peers=("gateway:7651",)) as device,
    ):
        await wait_until_version([gateway, device], 2)
        with trio.fail_after(30), pytest.raises(NotPublishedError):
            await device.find("app", channel="stable")
        await current(gateway)
        assert (await current(device)).version == "1"


async def test_a_peer_that_cannot_prove_its_news_is_asked_less_and_less(autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("gateway", origin=MemoryOrigin(world.objects)) as node, remote(world) as peer:
        await wait_until_version([node], 1)
        asked = 0
        await peer.say(News(timestamp_version=10**6, uplink=False))
        with trio.move_on_after(600):
            while True:
                event = await peer.hear()
                if isinstance(event, GetObject):
                    asked += 1
                    await peer.say(ObjectData(request=event.request, last=True, data=b"nonsense"[: event.limit]))
                elif isinstance(event, Ping):
                    await peer.say(Pong(nonce=event.nonce))
        assert 5 < asked < 60
        assert node.metadata.version == 1


async def lie(peer: Remote, chunks: int, manifest: bytes) -> None:
    """Answer each question for an object with nonsense."""
    await peer.say(*Have.announce(manifest=manifest, flags=bytes([1]) * chunks, complete=True))
    while type(event := await peer.hear()).__name__ != "Closed":
        if isinstance(event, GetObject) and event.kind != "metadata":
            await peer.say(ObjectData(request=event.request, last=True, data=b"nonsense"[: event.limit]))
        elif isinstance(event, GetObject):
            await peer.say(ObjectData(request=event.request, found=False, last=True))


@pytest.mark.slow
async def test_a_wrong_page_bans_the_peer_and_is_fetched_elsewhere(autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", BLOB)
    async with (
        world.node("gateway", role="gateway", origin=MemoryOrigin(world.objects)) as gateway,
        world.node("device0", peers=("gateway:7651",)) as device,
        remote(world, to="device0:7651", role="gateway") as peer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(lie, peer, 3, release.manifest)
        await until(lambda: len(device.links.peers) == 2)
        await fetch_all([gateway, device], release)
        assert content_of(device, release) == BLOB
        nursery.cancel_scope.cancel()


class Rotten(MemoryStore):
    """A disk that finds out that an object was damaged: one that says "rot"."""

    def load_object(self, name: str) -> bytes | None:
        data = super().load_object(name)
        if data == b"rot":
            raise StoreError(f"{name} is damaged")
        return data


async def test_a_damaged_object_is_fetched_again(autojump_clock: CLOCK) -> None:
    world, store = World(), Rotten()
    release = world.publish("1", b"x" * 1000)
    store.save_object(f"manifest/{release.manifest.hex()}", b"rot")
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await fetch_all([node], release)
        assert content_of(node, release) == b"x" * 1000


def publish_tools(world: World) -> None:
    """Publish a second product, with a key of its own, and go on without that key."""
    key = SigningKey.generate()
    world.repository.delegate("tools", Keyring((key.public,)))
    world.keys.append(key)
    world.sign()
    world.keys.remove(key)


async def test_a_product_that_no_neighbour_has_does_not_stop_the_others(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    publish_tools(world)
    world.publish("1", b"x")
    async with world.node("neighbour", origin=MemoryOrigin(world.objects), store=store) as node:
        await current(node)
    both = tuple(SubscribeSection(product=product, channel="stable") for product in ("tools", "app"))
    async with (
        world.node("neighbour", store=store, subscribe=both[1:]),
        world.node("device", peers=("neighbour:7651",), subscribe=both) as device,
    ):
        with trio.fail_after(30):
            assert (await current(device)).version == "1"
        with pytest.raises(NotPublishedError, match="not here yet"):
            await device.find("tools", channel="stable")
        status = device.metadata.status()["products"]
        assert status["app"] == ""
        assert "tools" in status["tools"]


async def test_a_role_that_expired_stops_its_own_product_only(autojump_clock: CLOCK) -> None:
    world = World()
    publish_tools(world)
    world.publish("1", b"x")
    app = (SubscribeSection(product="app", channel="stable"),)
    async with world.node("gateway", origin=MemoryOrigin(world.objects), subscribe=app) as gateway:
        await current(gateway)
        async with remote(world) as peer:
            await peer.say(GetObject(request=3, kind="metadata", name="1.tools.json", limit=9999))
            await peer.hear_a(ObjectData)
        await until(lambda: gateway.metadata.knows("tools"))
        before = gateway.metadata.version
        world.now = NOW + timedelta(days=400)
        for name, data in world.repository.renew(world.keys, now=world.now).items():
            world.objects[f"metadata/{name}"] = data
        await until(lambda: gateway.metadata.version > before, 10)
        assert (await current(gateway)).version == "1"
        assert gateway.metadata.status()["stale"] is False
        assert "expired" in gateway.metadata.status()["products"]["tools"]


async def test_a_role_that_was_lost_is_sought_again_after_a_restart(autojump_clock: CLOCK) -> None:
    world, store = World(), MemoryStore()
    world.publish("1", b"x")
    app = (SubscribeSection(product="app", channel="stable"),)
    origin = CountingOrigin(world.objects)
    async with world.node("a", origin=origin, store=store, subscribe=app) as node:
        await current(node)
    (lost,) = [name for name in store.list_objects("metadata/") if name.endswith(".app.json")]
    store.delete_object(lost)
    async with world.node("a", store=store, subscribe=app) as node:
        assert node.metadata.version > 0
        assert node.metadata.missing == ["app"]
    async with (
        world.node("gateway", origin=origin, subscribe=app) as gateway,
        world.node("a", peers=("gateway:7651",), store=store, subscribe=app) as node,
    ):
        await current(gateway)
        assert (await current(node)).version == "1"


class MuteOrigin(MemoryOrigin):
    """Takes every question and answers none."""

    async def read(self, name: str, *, limit: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


async def test_an_origin_that_never_answers_does_not_lock_out_the_neighbours(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    async with (
        world.node("gateway", origin=MemoryOrigin(world.objects)) as gateway,
        world.node("a", peers=("gateway:7651",), origin=MuteOrigin(world.objects)) as node,
    ):
        await wait_until_version([gateway, node], 2)


async def test_of_two_refreshes_at_once_the_newer_wins(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    old = dict(world.objects)
    world.publish("2", b"y")
    asked, goes_on = trio.Event(), trio.Event()
    news: list[bool] = []

    async def slow(want: Want) -> bytes | None:
        if want.name == "2.app.json":
            asked.set()
            await goes_on.wait()
        return old.get(f"metadata/{want.name}")

    async def fast(want: Want) -> bytes | None:
        return world.objects.get(f"metadata/{want.name}")

    async def hear_slow(node: Node) -> None:
        news.append(await node.metadata.refresh(slow))

    async with world.node("a", subscribe=(SubscribeSection(product="app", channel="stable"),)) as node:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_slow, node)
            await asked.wait()
            assert await node.metadata.refresh(fast)
            goes_on.set()
        assert news == [False]
        assert node.metadata.version == 3
        assert (await current(node)).version == "2"
        assert "metadata/3.app.json" in node.store.list_objects("metadata/")


async def test_a_peer_has_one_deadline_for_all_that_it_brings(autojump_clock: CLOCK) -> None:
    world = World()
    world.publish("1", b"x")
    async with world.node("gateway") as node, remote(world) as peer:
        await peer.say(News(timestamp_version=2, uplink=False))
        asked: list[str] = []

        async def answer_late(event: GetObject) -> None:
            await trio.sleep(18)
            data = world.objects.get(f"metadata/{event.name}", b"")
            await peer.say(ObjectData(request=event.request, last=True, found=bool(data), data=data))

        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 200
            while len(asked) < 5:
                event = await peer.hear()
                if isinstance(event, GetObject):
                    asked.append(event.name)
                    nursery.start_soon(answer_late, event)
                elif isinstance(event, Ping):
                    await peer.say(Pong(nonce=event.nonce))
            nursery.cancel_scope.cancel()
        assert asked == ["2.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", "2.root.json"]
        assert node.metadata.version == 0


@pytest.mark.parametrize("lies", [False, True])
async def test_who_breaks_off_is_told_from_who_lies(lies: bool, autojump_clock: CLOCK) -> None:
    """A peer that has newer metadata goes in the middle of it, or sends a snapshot that is none."""
    world = World()
    world.publish("1", b"x")
    old = dict(world.objects)
    world.publish("2", b"y")
    async with world.node("gateway", origin=MemoryOrigin(old)) as node:
        await until(lambda: node.metadata.version == 2)
        assert node.metadata.errors() == []
        async with remote(world) as peer:
            await peer.say(News(timestamp_version=3, uplink=False))
            while (event := await peer.hear_a(GetObject)).name != "3.snapshot.json":
                data = world.objects.get(f"metadata/{event.name}", b"")
                await peer.say(ObjectData(request=event.request, last=True, found=bool(data), data=data))
            if lies:
                await peer.say(ObjectData(request=event.request, last=True, data=b"{}"))
        with trio.fail_after(0.5):  # before the next poll
            await until(lambda: bool(node.metadata.errors()))
        (told,) = node.status()["metadata"]["errors"]
        assert (told["source"], told["exit_code"], node.metadata.version) == ("peers", 77 if lies else 3, 2)
        assert lies or "the link to remote ended before 3.snapshot.json came" in told["error"]


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "1.targets.json", "2.app.json"])
async def test_a_damaged_metadata_file_is_fetched_again(name: str, autojump_clock: CLOCK) -> None:
    world, store = World(), Rotten()
    world.publish("1", b"x")
    app = (SubscribeSection(product="app", channel="stable"),)
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store, subscribe=app) as node:
        await current(node)
    whole = store.load_object(f"metadata/{name}")
    assert whole
    store.save_object(f"metadata/{name}", b"rot")
    async with world.node("a", store=store, subscribe=app) as node:
        assert name in str(node.metadata.status()["troubles"])
        assert f"metadata/{name}" not in store.list_objects("metadata/")
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store, subscribe=app) as node:
        assert (await current(node)).version == "1"
        assert store.load_object(f"metadata/{name}") == whole


async def keep_alive(peer: Remote, asked: list[str]) -> None:
    """Answer pings alone, and note what else is asked."""
    while type(event := await peer.hear()).__name__ != "Closed":
        if isinstance(event, Ping):
            await peer.say(Pong(nonce=event.nonce))
        elif isinstance(event, GetObject) and event.kind != "metadata":
            asked.append(event.name)


@pytest.mark.parametrize("uplink", [False, True])
async def test_a_mute_peer_delays_objects_by_a_moment(uplink: bool, autojump_clock: CLOCK) -> None:
    world = World()
    release = world.publish("1", b"x" * 1000)
    async with (
        world.node("gateway", origin=MemoryOrigin(world.objects)) as gateway,
        world.node("device", peers=("gateway:7651",), origin=MemoryOrigin(world.objects) if uplink else None) as device,
        remote(world, to="device:7651", role="gateway") as peer,
        trio.open_nursery() as nursery,
    ):
        asked: list[str] = []
        nursery.start_soon(keep_alive, peer, asked)
        await fetch_all([gateway], release)
        await current(device)
        await until(lambda: len(device.links.peers) == 2)
        start = trio.current_time()
        for number in range(10):
            name, data = f"{number:064x}", str(number).encode()
            gateway.store.save_object(f"page/{name}", data)
            obtain = device._fetcher._objects.obtain("page", name, 100, lambda _data: None, None)
            assert await obtain == data
        assert len(asked) >= 1
        assert trio.current_time() - start < 3
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("has_uplink", "most"), [(True, 4 * 19 + 4), (False, 19 + 4)])
async def test_a_peer_that_says_no_slowly_delays_objects_once(has_uplink: bool, most: float, autojump_clock: CLOCK) -> None:
    """A no that took long may come of an honest try, but not for every object."""
    world = World()
    names = [f"{number:064x}" for number in range(10)]
    world.objects |= {f"pages/{name}": name.encode() for name in names}

    async def say_no(peer: Remote, nursery: trio.Nursery) -> None:
        while True:
            event = await peer.hear()
            if isinstance(event, Ping):
                await peer.say(Pong(nonce=event.nonce))
            elif isinstance(event, GetObject):
                nursery.start_soon(answer, peer, event, 0.0 if event.kind == "metadata" else 19.0)

    async def answer(peer: Remote, question: GetObject, seconds: float) -> None:
        await trio.sleep(seconds)
        await peer.say(ObjectData(request=question.request, last=True, found=False))

    async with (
        world.node("gateway", origin=MemoryOrigin(world.objects)) as node,
        remote(world, to="gateway:7651", uplink=has_uplink) as peer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(say_no, peer, nursery)
        await until(lambda: len(node.links.peers) == 1)
        assert node.uplink is not None
        start = trio.current_time()
        for name in names:
            read = partial(node.uplink.read, f"pages/{name}", limit=100)
            assert await node._fetcher._objects.obtain("page", name, 100, lambda _data: None, read) == name.encode()
        assert 19 <= trio.current_time() - start < most + 2 * len(names)
        nursery.cancel_scope.cancel()


async def test_a_damaged_manifest_of_a_held_release_is_fetched_again(autojump_clock: CLOCK) -> None:
    world, store = World(), Rotten()
    release = world.publish("1", b"x" * 1000)
    app = (SubscribeSection(product="app", channel="stable"),)
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store, subscribe=app) as node:
        await fetch_all([node], release)
    store.save_object(f"manifest/{release.manifest.hex()}", b"rot")
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store, subscribe=app) as node:
        await until(lambda: release.manifest in node._hub.held, 10)


async def test_a_damaged_manifest_of_a_base_does_not_stop_what_is_new(autojump_clock: CLOCK) -> None:
    world, store = World(), Rotten()
    old = world.publish("1", BLOB)
    async with world.node("a", origin=MemoryOrigin(world.objects), store=store) as node:
        await fetch_all([node], old)
        new = world.publish("2", b"new" + BLOB, base="1")
        store.save_object(f"manifest/{old.manifest.hex()}", b"rot")
        await until(lambda: node.metadata.version == 3)
        await fetch_all([node], new)
        assert content_of(node, new) == b"new" + BLOB


async def test_a_slow_object_crosses_one_uplink(autojump_clock: CLOCK) -> None:
    world = World()
    world.objects["indexes/slow"] = data = bytes(400_000)
    origins = [MemoryOrigin(world.objects, rate=10_000) for _ in range(3)]
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(world.node(name, origin=origin, peers=("a:7651", "b:7651")))
            for name, origin in zip("abc", origins, strict=True)
        ]
        await until(lambda: all(len(node.links.peers) == 2 for node in nodes))
        got: list[bytes] = []

        async def obtain(node: Node) -> None:
            assert node.uplink is not None
            read = partial(node.uplink.read, "indexes/slow", limit=400_000)
            got.append(await node._fetcher._objects.obtain("index", "00" * 32, 400_000, lambda _data: None, read))

        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(obtain, node)
        assert got == [data] * 3
        assert sum(origin.bytes_of("indexes/slow") for origin in origins) == len(data)


async def test_a_second_object_waits_for_a_peer_that_holds_a_question_open(autojump_clock: CLOCK) -> None:
    """The peer fetches both over its uplink, slowly; that it has not answered the first question does not make it mute."""
    world = World()
    names = ["indexes/one", "indexes/two"]
    world.objects |= dict.fromkeys(names, bytes(50_000))
    origins = [MemoryOrigin(world.objects, rate=10_000) for _ in range(2)]
    async with (
        world.node("a", origin=origins[0]) as first,
        world.node("b", origin=origins[1], peers=("a:7651",)) as second,
        trio.open_nursery() as nursery,
    ):
        await until(lambda: first.links.peers and second.links.peers)

        async def obtain(node: Node, name: str) -> None:
            assert node.uplink is not None
            read = partial(node.uplink.read, name, limit=50_000)
            digest_of = f"{names.index(name):064x}"
            await node._fetcher._objects.obtain("index", digest_of, 50_000, lambda _data: None, read)

        for node in (first, second):
            for name in names:
                nursery.start_soon(obtain, node, name)
            if node is first:
                await until(lambda: all(first._objects.coming("index", f"{n:064x}") is not None for n in range(2)))
    assert [sum(origin.bytes_of(name) for name in names) for origin in origins] == [100_000, 0]
