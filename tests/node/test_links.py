"""Links: one to each peer, whoever dials; peers that misbehave lose theirs, and the node lives."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from random import Random

import pytest
import trio

from edgeswarm.abc import Link
from edgeswarm.errors import FetchError
from edgeswarm.exchange import ranking
from edgeswarm.node import Node
from edgeswarm.node.greeting import HELLO_SECONDS
from edgeswarm.node.peer import DEAD_SECONDS
from edgeswarm.wire.messages import (
    Bye,
    Cancel,
    ChunkData,
    Claim,
    Drop,
    GetObject,
    Have,
    Hello,
    Miss,
    News,
    ObjectData,
    Partial,
    Peers,
    Ping,
    Pong,
    Release,
    Want,
)
from edgeswarm.wire.session import Session

from .remote import Remote, identity_of, remote
from .world import MemoryOrigin, World, current, until

CLOCK = trio.testing.MockClock
DIGEST = bytes(32)


@asynccontextmanager
async def lone_node(world: World, **options: object) -> AsyncIterator[Node]:
    with trio.fail_after(4000):
        async with world.node("gateway", role="gateway", **options) as node:
            yield node


async def is_well(world: World) -> None:
    """Check that the node still greets and answers others."""
    async with remote(world, "another") as other:
        await other.say(Ping(nonce=1))
        assert await other.hear_a(Pong) == Pong(nonce=1)


# One link a peer.


@pytest.mark.parametrize("latency", [0.0, 0.01])
@pytest.mark.parametrize("seed", range(4))
async def test_of_duplicate_links_exactly_one_survives(latency: float, seed: int, autojump_clock: CLOCK) -> None:
    world = World()
    world.network.conditions.latency_seconds = latency
    with trio.fail_after(100):
        async with (
            world.node("a", peers=("b:7651",), seed=seed) as one,
            world.node("b", peers=("a:7651",), seed=seed) as other,
        ):
            await trio.sleep(20)
            assert list(one.links.peers) == [other.own.key]
            assert list(other.links.peers) == [one.own.key]
            (left,), (right,) = one.links.peers.values(), other.links.peers.values()
            assert left.connected is not right.connected
            await trio.sleep(60)
            assert list(one.links.peers.values()) == [left]
            assert list(other.links.peers.values()) == [right]


async def test_a_second_address_of_a_peer_does_not_break_its_link(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as gateway, world.node("a", peers=("gateway:7651",)) as node:
        await until(lambda: node.links.peers)
        (peer,) = node.links.peers.values()
        world.network._listeners["alias:1"] = world.network._listeners["gateway:7651"]
        node.links.suggest("alias:1")
        await trio.sleep(30)
        assert list(node.links.peers.values()) == [peer]
        assert len(gateway.links.peers) == 1
        del world.network._listeners["alias:1"]


async def test_a_peer_that_dials_again_replaces_its_dead_link(autojump_clock: CLOCK) -> None:
    world = World()
    identity = identity_of(world, "remote")
    async with lone_node(world) as node, remote(world, identity=identity) as old, remote(world, identity=identity) as new:
        await until(lambda: len(node.links.peers) == 1)
        await old.until_closed(5)
        await new.say(Ping(nonce=3))
        await new.hear_a(Pong)


async def test_a_node_refuses_itself(autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("a", peers=("a:7651",)) as node:
        await trio.sleep(10)
        assert not node.links.peers
        assert len(node.links.refused) == 1  # told once, however often it was tried
        assert "this node itself" in node.links.refused[0]


async def test_no_more_links_than_allowed(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node:
        node.links._limit = 1
        async with remote(world, "first"), remote(world, "second") as second:
            heard = await second.until_closed(5)
            assert [message.code for message in heard if isinstance(message, Bye)] == ["busy"]
            assert len(node.links.peers) == 1


async def test_dead_addresses_are_forgotten_but_for_configured_ones(autojump_clock: CLOCK) -> None:
    world = World()
    async with world.node("a", peers=("fixed:1",)) as node:
        for number in range(600):
            node.links.suggest(f"x{number}:1")
        assert len(node.links._addresses) == 512
        await trio.sleep(60)
        assert list(node.links._addresses) == ["fixed:1"]


async def test_a_node_that_stops_says_goodbye(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world), world.node("a", peers=("gateway:7651",)) as node:
        async with world.node("b", peers=("a:7651",)):
            await until(lambda: len(node.links.peers) == 2)
        await until(lambda: len(node.links.peers) == 1, seconds=1)


# Greetings.


async def test_a_silent_peer_is_given_up(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node:
        link = await world.network.transport(identity_of(world, "x"), host="x").connect("gateway:7651")
        start = trio.current_time()
        with trio.fail_after(60):
            while await link.receive():
                pass
        assert trio.current_time() - start == pytest.approx(HELLO_SECONDS, abs=1.5)
        assert not node.links.peers


async def test_a_peer_of_another_version_hears_why(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node:
        link = await world.network.transport(identity_of(world, "x"), host="x").connect("gateway:7651")
        session = Session(
            Hello(protocol=9, oldest=9, node="x", role="device", uplink=False, timestamp_version=0), is_client=True
        )  # fmt: skip
        await link.send(session.start())
        assert any(isinstance(m, Bye) and m.code == "version" for m in await Remote(link, session, b"").until_closed(5))
        assert not node.links.peers
        await is_well(world)


# Misbehaviour.


def frame(kind: int, body: bytes) -> bytes:
    return (len(body) + 1).to_bytes(4, "big") + bytes([kind]) + body


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 3,
        b"\xff" * 1000,
        frame(99, b""),
        frame(5, b"\xc1"),
        frame(5, b"\x90"),
        (2**31).to_bytes(4, "big") + b"\x05",
        bytes(8),
        frame(11, bytes(300_000)),
    ],
)
async def test_garbage_ends_the_link(data: bytes, autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer:
        await until(lambda: node.links.peers)
        await peer.link.send(data)
        await peer.until_closed(5)
        assert not node.links.peers
        assert "remote" in node.links.refused[-1]
        await is_well(world)


def raw(message: object) -> bytes:
    from edgeswarm.wire.codec import encode_message

    return encode_message(message)


@pytest.mark.parametrize(
    "message",
    [
        ChunkData(request=2, index=0, data=b"x"),
        Miss(request=2, index=0),
        ObjectData(request=2, last=True, data=b"x"),
        Pong(nonce=7),
        Hello(node="x", role="device", uplink=False, timestamp_version=0),
        GetObject(request=2, kind="metadata", name="x", limit=1),
        Want(request=4, manifest=DIGEST, form=1, data=b"\x00\x01"),
    ],
)
async def test_what_the_protocol_forbids_ends_the_link(message: object, autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer:
        await peer.link.send(raw(message))
        await peer.until_closed(5)
        assert not node.links.peers
        await is_well(world)


async def test_too_many_requests_end_the_link(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world), remote(world) as peer:
        await peer.link.send(
            b"".join(raw(GetObject(request=n, kind="metadata", name="x", limit=1)) for n in range(1, 2 * 65 + 1, 2))
        )
        await peer.until_closed(5)
        await is_well(world)


async def test_messages_about_unknown_things_are_harmless(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer:
        await peer.say(
            Drop(manifest=DIGEST, index=3), Claim(manifest=DIGEST, span=5, sequence=1, progress=0),
            Release(manifest=DIGEST, span=5, sequence=2, reason="x"), Partial(pack=DIGEST, offset=0, at=0, data=b"x"),
            Peers(addresses=("nobody:1",)), News(timestamp_version=0, uplink=True),
            Want.ask(request=1, manifest=DIGEST, indices=[0, 2**26 - 1]),
            GetObject(request=3, kind="metadata", name="no-such", limit=9), Ping(nonce=1),
        )  # fmt: skip
        await peer.link.send(raw(Cancel(request=5)))
        answers = [await peer.hear_a((Miss, ObjectData, Pong)) for _ in range(4)]
        assert {type(answer) for answer in answers} == {Miss, ObjectData, Pong}
        assert len(node.links.peers) == 1


async def test_a_cancelled_request_is_cancelled_once(autojump_clock: CLOCK) -> None:
    """Two CANCELs of one request, or one that crosses the last answer, must not break the link."""
    world = World()
    async with lone_node(world), remote(world) as peer:
        for request in range(1, 101, 2):
            await peer.say(Want.ask(request=request, manifest=DIGEST, indices=[0, 1]))
            await peer.link.send(2 * raw(Cancel(request=request)))
            await trio.sleep(0.1 * (request % 3))
        await peer.say(Ping(nonce=5))
        await peer.hear_a(Pong)


async def test_huge_claims_of_chunks_take_bounded_memory(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer:
        await until(lambda: node.links.peers)
        (known,) = node.links.peers.values()
        bitmap = bytes([0b01010101]) * (200 * 1024)
        for number in range(40):
            name = number.to_bytes(32, "big")
            await peer.say(Have(manifest=name, chunks=8 * len(bitmap), form=0, data=bitmap, complete=False))
        for _ in range(40):
            await peer.say(Have(manifest=DIGEST, chunks=8 * len(bitmap), form=0, data=bitmap, complete=False))
        await peer.say(Ping(nonce=1))
        await peer.hear_a(Pong)
        assert known.holdings.size <= 17 * len(bitmap)
        assert len(known.holdings.chunks(DIGEST, 8 * len(bitmap))) == 4 * len(bitmap)


async def test_two_counts_of_one_manifest_end_the_link(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer:
        for count in [5] * 16 + [6]:
            await peer.say(Have(manifest=DIGEST, chunks=count, form=1, data=b"\x00\x01", complete=False))
        await peer.until_closed(5)
        assert "wanted 6 chunks" in node.links.refused[-1]


async def test_who_talks_too_much_is_read_more_slowly(autojump_clock: CLOCK) -> None:
    """CLAIMs cost the node work and the peer nothing; answers to what was asked are not held back."""
    world = World()
    async with lone_node(world) as node, remote(world) as peer, trio.open_nursery() as nursery:
        await until(lambda: node.links.peers)
        heard: list[float] = []
        node._hub.on_message = lambda _peer, _message: heard.append(trio.current_time())

        async def talk() -> None:
            while True:
                await peer.say(*[Claim(manifest=DIGEST, span=0, sequence=number) for number in range(100)])

        start = trio.current_time()
        nursery.start_soon(talk)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
        assert 30 * 200 <= len(heard) <= 2000 + 31 * 200
        assert heard[1000] == pytest.approx(start, abs=1), "a burst is taken as it comes"


async def test_messages_that_come_together_leave_others_their_turns(autojump_clock: CLOCK) -> None:
    """A few kB may hold a thousand messages, each of which costs some work."""
    world = World()
    async with lone_node(world) as node, remote(world) as peer, trio.open_nursery() as nursery:
        await until(lambda: node.links.peers)
        heard = turns = 0

        def count(_peer: object, _message: object) -> None:
            nonlocal heard
            heard += 1

        node._hub.on_message = count
        have = Have.announce(manifest=DIGEST, flags=b"\x01" * 1000, complete=True)
        await peer.link.send(b"".join(peer.session.send(message) for _ in range(1000) for message in have))

        async def others() -> None:
            nonlocal turns
            while heard < 1000:
                turns += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(others)
        await until(lambda: heard == 1000)
        assert turns > 500


async def test_a_set_costs_by_its_size(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer, trio.open_nursery() as nursery:
        await until(lambda: node.links.peers)
        heard: list[float] = []
        node._hub.on_message = lambda _peer, _message: heard.append(trio.current_time())
        have = Have.announce(manifest=DIGEST, flags=b"\x01" * 81920, complete=True)

        async def talk() -> None:
            while True:
                await peer.say(*have)

        nursery.start_soon(talk)
        await trio.sleep(30)
        nursery.cancel_scope.cancel()
        assert 30 * 200 // 11 <= len(heard) <= (2000 + 31 * 200) // 11


async def test_what_a_peer_says_last_counts(autojump_clock: CLOCK) -> None:
    """A whole set takes the place of the one before, a DROP takes one chunk back, an old CLAIM is ignored."""
    world = World()
    release = world.publish("1", Random(7).randbytes(1_000_000))
    count = len(world.built["1"][0].manifest)
    async with lone_node(world, origin=MemoryOrigin(world.objects, rate=20_000)) as node, AsyncExitStack() as stack:
        identity = identity_of(world, "remote")
        while ranking(release.manifest + bytes(4), [identity.key, node.own.key])[0] != identity.key:
            identity = identity_of(world, "remote")  # one that has the better claim
        peer = await stack.enter_async_context(remote(world, identity=identity, uplink=True))
        nursery = await stack.enter_async_context(trio.open_nursery())

        async def answer() -> None:
            while True:
                event = await peer.hear()
                if isinstance(event, Ping):
                    await peer.say(Pong(nonce=event.nonce))
                elif isinstance(event, GetObject):
                    await peer.say(ObjectData(request=event.request, found=False, last=True))

        nursery.start_soon(answer)
        await current(node)
        (known,) = node.links.peers.values()
        await peer.say(*Have.announce(manifest=release.manifest, flags=b"\x01" * count, complete=True))
        await peer.say(Drop(manifest=release.manifest, index=3))
        all_but_3 = [index for index in range(count) if index != 3]
        await until(lambda: known.holdings.chunks(release.manifest, count) == all_but_3)
        fetch = node.fetch(release)
        await until(lambda: fetch.transfer is not None)
        machine = fetch.transfer._machine

        def had() -> list[int]:
            return [index for index in range(count) if machine.availability.has(peer.key, index)]

        await until(lambda: had() == all_but_3, 5)
        await peer.say(*Have.announce(manifest=release.manifest, flags=b"\x01" + bytes(count - 1), complete=True))
        await until(lambda: had() == [0], 5)
        await peer.say(Claim(manifest=release.manifest, span=0, sequence=7))
        await peer.say(Release(manifest=release.manifest, span=0, sequence=6, reason="done"))
        await peer.say(News(timestamp_version=0, uplink=True))
        heard = known.news_at
        await until(lambda: known.news_at > heard, 5)
        assert machine.leases._claims[0].holder == peer.key
        await peer.say(Release(manifest=release.manifest, span=0, sequence=8, reason="done"))
        await until(lambda: 0 not in machine.leases._claims or machine.leases._claims[0].holder == node.own.key, 5)
        nursery.cancel_scope.cancel()


async def test_a_peer_names_so_many_addresses_and_no_more(autojump_clock: CLOCK) -> None:
    world = World()
    dialled: list[str] = []
    async with lone_node(world) as node, remote(world) as peer:
        await until(lambda: node.links.peers)

        async def connect(address: str) -> Link:
            dialled.append(address)
            raise FetchError("nobody there")

        node.links._transport.connect = connect
        for number in range(100):
            await peer.say(Peers(addresses=tuple(f"10.0.{number}.{host}:1" for host in range(64))))
        await trio.sleep(30)
        assert 128 <= len(set(dialled)) <= 128 + 31
        node.links.suggest("10.9.9.9:1")
        await until(lambda: "10.9.9.9:1" in dialled, 5)


async def test_a_node_that_never_greets_holds_few_links(autojump_clock: CLOCK) -> None:
    world = World()
    identity = identity_of(world, "mute")
    async with lone_node(world) as node, trio.open_nursery() as nursery:
        ended: list[float] = []
        start = trio.current_time()

        async def mute() -> None:
            link = await world.network.transport(identity, host="mute").connect("gateway:7651")
            with suppress(FetchError):
                while await link.receive():
                    pass
            ended.append(trio.current_time() - start)

        for _ in range(20):
            nursery.start_soon(mute)
        await until(lambda: len(ended) == 18, 2)
        await is_well(world)
        await until(lambda: len(ended) == 20, HELLO_SECONDS + 2)
        assert not node.links._greetings


async def test_a_storm_of_news_is_survived(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer:
        for version in range(3000):
            await peer.say(News(timestamp_version=version, uplink=bool(version % 2)))
        await peer.say(Ping(nonce=1))
        await peer.hear_a(Pong)
        assert len(node.news._asking) == 1
        await is_well(world)


async def test_a_banned_peer_is_not_let_in_again(autojump_clock: CLOCK) -> None:
    world = World()
    identity = identity_of(world, "remote")
    async with lone_node(world) as node:
        async with remote(world, identity=identity) as peer:
            await until(lambda: node.links.peers)
            node.links.ban(peer.key, "sent nonsense")
            await peer.until_closed(5)
        with pytest.raises(AssertionError, match=r"ended before a .*Hello"):
            async with remote(world, identity=identity):
                pass
        assert node.status()["banned"] == ["remote sent nonsense"]
        await trio.sleep(3601)
        assert node.status()["banned"] == []
        assert not node.links._banned
        async with remote(world, identity=identity):
            await until(lambda: node.links.peers)


# Slow and dead peers.


async def test_a_dead_peer_is_noticed(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world):
        await until(lambda: node.links.peers)
        start = trio.current_time()
        await until(lambda: not node.links.peers)
        assert trio.current_time() - start <= DEAD_SECONDS + 2.5


async def test_a_peer_that_does_not_read_is_given_up(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer:
        await until(lambda: node.links.peers)
        (known,) = node.links.peers.values()
        part = Partial(pack=DIGEST, offset=0, at=0, data=bytes(32 * 1024))
        for _ in range(1000):
            known.post(part)
        assert known.busy
        await until(lambda: not node.links.peers)
        assert known._outbox_bytes < 20 * 2**20
        await is_well(world)
        del peer


# Objects.


async def test_an_object_request_after_the_link_has_ended(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node:
        async with remote(world):
            await until(lambda: node.links.peers)
            (known,) = node.links.peers.values()
        await until(lambda: not node.links.peers)
        with pytest.raises(FetchError, match="has ended"):
            await known.get_object("metadata", "x", 1)


@pytest.mark.parametrize("partly", [False, True])
async def test_a_link_that_ends_in_the_middle_of_an_object(partly: bool, autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, trio.open_nursery() as nursery, remote(world) as peer:
        await until(lambda: node.links.peers)
        (known,) = node.links.peers.values()

        async def ask() -> None:
            with pytest.raises(FetchError, match="before x came"):
                await known.get_object("metadata", "x", 100)

        nursery.start_soon(ask)
        wanted = await peer.hear_a(GetObject)
        if partly:
            await peer.say(ObjectData(request=wanted.request, last=False, data=b"half"))


async def test_objects_come_in_parts(autojump_clock: CLOCK) -> None:
    world = World()
    got: list[bytes | None] = []
    async with lone_node(world) as node, remote(world) as peer, trio.open_nursery() as nursery:
        await until(lambda: node.links.peers)
        (known,) = node.links.peers.values()

        async def ask(name: str) -> None:
            got.append(await known.get_object("metadata", name, 100))

        nursery.start_soon(ask, "x")
        wanted = await peer.hear_a(GetObject)
        await peer.say(ObjectData(request=wanted.request, last=False, data=b"ab"))
        await peer.say(ObjectData(request=wanted.request, last=True, data=b"c"))
        await until(lambda: got == [b"abc"])
        nursery.start_soon(ask, "y")
        wanted = await peer.hear_a(GetObject)
        await peer.say(ObjectData(request=wanted.request, found=False, last=True))
        await until(lambda: got == [b"abc", None])


async def test_an_object_in_tiny_parts_takes_no_more_memory_than_it_has(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer, trio.open_nursery() as nursery:
        await until(lambda: node.links.peers)
        (known,) = node.links.peers.values()
        nursery.start_soon(known.get_object, "metadata", "x", 100_000)
        wanted = await peer.hear_a(GetObject)
        tracemalloc.start()
        try:
            for _ in range(10_000):
                await peer.say(ObjectData(request=wanted.request, last=False, data=b"ab"))
            await until(lambda: known._objects and len(known._objects[wanted.request].data) == 20_000)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 250_000, "a list of parts would take 35 bytes each and more"
        nursery.cancel_scope.cancel()


async def test_what_is_read_for_many_peers_at_once_is_bounded(autojump_clock: CLOCK) -> None:
    """Each peer may ask for 4096 chunks at a time; they are read a few at a time, fewer if there are many such peers."""
    world = World()
    release = world.publish("1", Random(7).randbytes(4_000_000))
    reads: list[tuple[int, int]] = []
    async with lone_node(world, origin=MemoryOrigin(world.objects)) as node, AsyncExitStack() as stack:
        await node.fetch(await current(node)).wait()
        read = node._hub.read_chunks

        async def counted(manifest: bytes, chunks: Sequence[int]) -> list[bytes | None]:
            serving = sum(peer.serving.busy for peer in node.links.peers.values())
            found = await read(manifest, chunks)
            reads.append((serving, len(found)))
            return found

        node._hub.read_chunks = counted
        remotes = [await stack.enter_async_context(remote(world, f"r{number}")) for number in range(8)]
        chunks = range(len(world.built["1"][0].manifest))
        want = Want.ask(request=1, manifest=release.manifest, indices=chunks)
        for one in remotes:
            await one.say(want)
        for one in remotes:
            got = [(await one.hear_a(ChunkData)).index for _ in chunks]
            assert got == list(chunks)
        assert sum(count for _, count in reads) == 8 * len(chunks)
        assert all(serving * count <= 16 for serving, count in reads)
        assert (8, 2) in reads, "all were served at the same time"


async def test_requests_that_are_given_up_do_not_use_the_link_up(autojump_clock: CLOCK) -> None:
    world = World()
    async with lone_node(world) as node, remote(world) as peer, trio.open_nursery() as nursery:
        await until(lambda: node.links.peers)
        (known,) = node.links.peers.values()

        async def ask() -> None:
            with trio.move_on_after(1):
                await known.get_object("metadata", "x", 100)

        for _ in range(200):
            nursery.start_soon(ask)
        asked = cancelled = 0
        while asked < 8 or cancelled < 8:
            event = await peer.hear()
            if isinstance(event, GetObject):
                asked += 1
            elif isinstance(event, Cancel):
                cancelled += 1
                await peer.say(Cancel(request=event.request))
        await peer.say(Ping(nonce=1))
        await peer.hear_a(Pong)
        assert len(node.links.peers) == 1


async def test_wants_stay_within_what_a_session_allows(autojump_clock: CLOCK) -> None:
    """Many transfers at once may want more than 64 requests or 4096 chunks: the rest waits its turn."""
    world = World()
    async with lone_node(world) as node, remote(world) as peer:
        await until(lambda: node.links.peers)
        (known,) = node.links.peers.values()
        missed: list[tuple[bytes, int]] = []
        node._hub.on_no_chunks = lambda _peer, manifest, chunks: missed.extend((manifest, chunk) for chunk in chunks)
        for number in range(70):
            known.want(number.to_bytes(32, "big"), range(100))
        known.want(DIGEST, range(5000))

        async def refuse() -> None:
            while True:
                want = await peer.hear_a(Want)
                await peer.say(*[Miss(request=want.request, index=index) for index in want.indices()])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            await until(lambda: len(missed) == 70 * 100 + 5000)
            nursery.cancel_scope.cancel()
        assert len(set(missed)) == 69 * 100 + 5000
        assert len(node.links.peers) == 1


async def test_identity_names_the_peer(autojump_clock: CLOCK) -> None:
    world = World()
    identity = replace(identity_of(world, "true-name"), address="x")
    async with lone_node(world) as node, remote(world, "alias", identity=identity):
        await until(lambda: node.links.peers)
        assert [row["node"] for row in node.links.status()] == ["true-name"]
