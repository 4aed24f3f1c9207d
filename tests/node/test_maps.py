"""Maps of delta units on whole sites: here before units are read, over one uplink once, and no obstacle when they are bad."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

import pytest
import toy_maps
import trio

from edgeswarm.content.digest import digest
from edgeswarm.content.index import PackIndex, decode_index, index_name, pack_name
from edgeswarm.errors import FetchError
from edgeswarm.node import Node
from edgeswarm.node.shelf import Shelf
from edgeswarm.store import MemoryStore
from edgeswarm.trust.catalogue import Release
from edgeswarm.wire.messages import Claim, GetObject, ObjectData, Ping, Pong
from edgeswarm.wire.messages import Release as GivenUp

from .remote import Remote, remote
from .test_scenarios import content_of, limit
from .test_swarm import fetch_all
from .world import MemoryOrigin, World, current, until

pytestmark = pytest.mark.slow
CLOCK = trio.testing.MockClock
RATE = 100_000
CUT_BYTES = 64 * 1024
MAP = toy_maps.HEAD + Random(1).randbytes(300_000)
MAP_PACK = pack_name(digest(MAP))
OLD, BLOCK = Random(2).randbytes(300_000), 512


def like(map_data: bytes, size: int) -> bytes:
    """Bytes of which a map knows every other block."""
    known, new = toy_maps.tiled(map_data, 0, size), Random(3).randbytes(size)
    return b"".join((known, new)[at // BLOCK % 2][at : at + BLOCK] for at in range(0, size, BLOCK))


NEW = like(MAP, 6_000_000)
"""Two spans; units take half of it."""


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_maps.install(monkeypatch)


@dataclass
class Update:
    """Two releases, and an origin of which nobody has read anything yet but the old one."""

    world: World
    old: Release
    new: Release

    def origin(self, *, rate: float = 0.0, less: tuple[str, ...] = ()) -> MemoryOrigin:
        return MemoryOrigin({name: data for name, data in self.world.objects.items() if name not in less}, rate)

    @property
    def delta(self) -> PackIndex:
        ref = next(ref for ref in self.new.indexes if ref.base is not None)
        return decode_index(self.world.objects[index_name(ref.digest)], ref.digest)

    @property
    def unit_pack(self) -> str:
        return pack_name(self.delta.packs[self.delta.pieces[0].pack])

    @property
    def full_bytes(self) -> int:
        ref = self.new.index_for(None)
        assert ref is not None
        return ref.payload_bytes

    def held(self) -> MemoryStore:
        """A store with the old release in it."""
        store = MemoryStore()
        built, data = self.world.built["1"]
        manifest = built.manifest
        store.save_object(f"manifest/{manifest.digest.hex()}", manifest.root_bytes)
        for name, page in built.pages:
            store.save_object(f"page/{name.hex()}", page)
        Shelf(store).hold(manifest.digest, "app", "1")
        store.keep(manifest.digest, "app 1")
        chunks = [manifest.chunk(i) for i in range(len(manifest))]
        store.put([(chunk.digest, data[chunk.offset : chunk.offset + chunk.size]) for chunk in chunks], owner=manifest.digest)
        return store


def update(map_data: bytes = MAP, new: bytes = NEW) -> Update:
    world = World()
    old = world.publish("1", OLD)
    return Update(world, old, world.publish("2", new, base="1", map_data=map_data))


@asynccontextmanager
async def nodes_of(made: Update, **origins: MemoryOrigin | None) -> AsyncIterator[list[Node]]:
    """Run nodes that hold the old release and know each other."""
    peers = tuple(f"{name}:7651" for name in origins)
    async with limit(), AsyncExitStack() as stack:
        nodes = []
        for name, origin in origins.items():
            others = tuple(peer for peer in peers if peer != f"{name}:7651")
            nodes.append(await stack.enter_async_context(made.world.node(name, origin=origin, peers=others, store=made.held())))
        await until(lambda: all(len(node.links.peers) == len(nodes) - 1 for node in nodes))
        for node in nodes:
            await current(node)
        yield nodes


# The good case.


async def test_a_map_crosses_the_uplinks_of_a_site_once(autojump_clock: CLOCK) -> None:
    made = update()
    one, other = made.origin(rate=RATE), made.origin(rate=RATE)
    async with nodes_of(made, a=one, b=other, c=None) as nodes:
        await fetch_all(nodes, made.new)
        for node in nodes:
            assert content_of(node, made.new) == NEW
        assert one.bytes_of(MAP_PACK) + other.bytes_of(MAP_PACK) == len(MAP)
        assert min(one.bytes_of(made.unit_pack), other.bytes_of(made.unit_pack)) > len(NEW) // 8, "both used it"
        assert [node.store.load_object(f"map/{digest(MAP).hex()}") for node in nodes] == [MAP, MAP, None]


async def test_the_bytes_of_a_map_are_counted(autojump_clock: CLOCK) -> None:
    made = update()
    origin = made.origin()
    async with nodes_of(made, a=origin) as (node,):
        progress = await node.fetch(made.new).wait()
        assert progress.uplink_bytes == len(MAP) + sum(piece.length for piece in made.delta.pieces)
        assert content_of(node, made.new) == NEW


async def test_no_unit_is_read_before_its_map_is_here(autojump_clock: CLOCK) -> None:
    made = update()
    origin = made.origin(rate=RATE)
    async with nodes_of(made, a=origin) as (node,):
        fetch = node.fetch(made.new)
        await until(lambda: origin.bytes_of(MAP_PACK) > len(MAP) // 2)
        pages = sum(page.length for page in made.delta.pages)
        assert origin.bytes_of(made.unit_pack) == pages
        await fetch.wait()
        assert origin.repeated_bytes("packs/") == 0


async def test_a_map_is_opened_once_for_all_spans(autojump_clock: CLOCK, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []
    monkeypatch.setattr("edgeswarm.node.maps.open_map", lambda data, size: opened.append(data) or toy_maps.open_toy(data, size))
    made = update()
    async with nodes_of(made, a=made.origin()) as (node,):
        await node.fetch(made.new).wait()
        assert opened == [MAP]


async def test_progress_grows_over_map_and_units(autojump_clock: CLOCK) -> None:
    """A claim whose progress starts anew would count as stalled until it is where it was."""
    made = update()
    claims: list[Claim | GivenUp] = []
    async with (
        nodes_of(made, a=made.origin(rate=RATE)) as (node,),
        remote(made.world, to="a:7651") as peer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, peer, None, [], claims)
        await node.fetch(made.new).wait()
        nursery.cancel_scope.cancel()
    for span in (0, 1):
        progress = [claim.progress for claim in claims if isinstance(claim, Claim) and claim.span == span]
        assert progress == sorted(progress)
    units = sum(piece.length for piece in made.delta.pieces if piece.first < 64)
    assert len(MAP) + units // 2 < max(claim.progress for claim in claims if isinstance(claim, Claim)) <= len(MAP) + units


# Broken uplinks.


class CutOrigin(MemoryOrigin):
    """Goes down after so many bytes of the map; of several with the same plan, the first that comes so far."""

    plan: list[int]

    async def _blocks(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        async for block in super()._blocks(name, offset, length):
            yield block
            if self.plan and self.bytes_of(MAP_PACK) >= self.plan[0]:
                self.down = True
                self.plan.clear()


def cut_origins(made: Update, count: int, most: int) -> list[CutOrigin]:
    plan, origins = [most], [CutOrigin(made.world.objects, RATE) for _ in range(count)]
    for origin in origins:
        origin.plan = plan
    return origins


@pytest.mark.parametrize("most", [16_384, 160_000, 290_000])
async def test_a_cut_in_the_middle_of_a_map_resumes(most: int, autojump_clock: CLOCK) -> None:
    made = update()
    (origin,) = cut_origins(made, 1, most)
    async with nodes_of(made, a=origin) as (node,):
        fetch = node.fetch(made.new)
        await until(lambda: origin.down)
        await trio.sleep(5)
        origin.down = False
        await fetch.wait()
        assert content_of(node, made.new) == NEW
        assert origin.bytes_of(MAP_PACK) == len(MAP)
        assert origin.repeated_bytes("packs/") == 0


@pytest.mark.parametrize("uplinks", [2, 3, 4])
async def test_another_node_goes_on_with_a_map(uplinks: int, autojump_clock: CLOCK) -> None:
    """The first uplink that is used for it breaks for good: one other node has its beginning, and the others wait for that."""
    made = update()
    origins = cut_origins(made, uplinks, 200_000)
    async with nodes_of(made, **dict(zip("abcd", origins, strict=False))) as nodes:
        await fetch_all(nodes, made.new)
        assert sum(origin.down for origin in origins) == 1
        total = sum(origin.bytes_of(MAP_PACK) for origin in origins)
        assert len(MAP) <= total <= len(MAP) + CUT_BYTES
        assert content_of(nodes[0], made.new) == NEW


async def test_a_node_goes_on_with_the_map_of_one_that_died(autojump_clock: CLOCK) -> None:
    made = update()
    origins = [made.origin(rate=RATE) for _ in range(3)]

    async def run(name: str, origin: MemoryOrigin, *, task_status: trio.TaskStatus[tuple[Node, trio.CancelScope]]) -> None:
        others = tuple(f"{other}:7651" for other in "abc" if other != name)
        with trio.CancelScope() as scope:
            async with made.world.node(name, origin=origin, peers=others, store=made.held()) as node:
                task_status.started((node, scope))
                await trio.sleep_forever()

    async with limit(), trio.open_nursery() as nursery:
        running = [await nursery.start(run, name, origin) for name, origin in zip("abc", origins, strict=True)]
        await until(lambda: all(len(node.links.peers) == 2 for node, _ in running))
        for node, _ in running:
            await current(node)
        fetches = [node.fetch(made.new) for node, _ in running]
        await until(lambda: any(origin.bytes_of(MAP_PACK) > 150_000 for origin in origins))
        dead = max(range(3), key=lambda i: origins[i].bytes_of(MAP_PACK))
        running[dead][1].cancel()
        for i in {0, 1, 2} - {dead}:
            await fetches[i].wait()
            assert content_of(running[i][0], made.new) == NEW
        assert len(MAP) <= sum(origin.bytes_of(MAP_PACK) for origin in origins) <= len(MAP) + CUT_BYTES
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("most", range(20_000, 320_000, 50_000))
async def test_a_fetch_that_is_cancelled_at_any_point_of_a_map_repeats_no_byte(most: int, autojump_clock: CLOCK) -> None:
    made = update(new=NEW[:2_000_000])
    origin = made.origin(rate=RATE)
    async with nodes_of(made, a=origin) as (node,):
        fetch = node.fetch(made.new)
        await until(lambda: origin.bytes_of(MAP_PACK) >= min(most, len(MAP)))
        fetch.cancel()
        await fetch.ended()
        await node.fetch(made.new).wait()
        assert origin.repeated_bytes("packs/") == 0


class LastBlockOrigin(MemoryOrigin):
    """Calls a function before it sends the last block of the map, once."""

    hook: Callable[[], None] | None = None

    async def _blocks(self, name: str, offset: int, length: int) -> AsyncIterator[bytes]:
        async for block in super()._blocks(name, offset, length):
            if self.hook is not None and self.bytes_of(MAP_PACK) == len(MAP):
                self.hook()
                self.hook = None
            yield block


async def test_a_map_that_is_whole_when_its_fetch_is_cancelled_is_kept(autojump_clock: CLOCK) -> None:
    made = update(new=NEW[:2_000_000])
    origin = LastBlockOrigin(made.world.objects, RATE)
    async with nodes_of(made, a=origin) as (node,):
        fetch = node.fetch(made.new)
        origin.hook = fetch.cancel
        await fetch.ended()
        assert origin.hook is None
        await node.fetch(made.new).wait()
        assert origin.repeated_bytes("packs/") == 0


async def test_a_span_is_left_to_others_when_its_map_breaks_off(autojump_clock: CLOCK) -> None:
    """At once: not when its claim has stalled, nor when the uplink is whole again."""
    made = update()
    (origin,) = cut_origins(made, 1, 100_000)
    heard: list[Claim | GivenUp] = []
    async with (
        nodes_of(made, a=origin) as (node,),
        remote(made.world, to="a:7651") as peer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, peer, None, [], heard)
        fetch = node.fetch(made.new)
        await until(lambda: origin.down)
        await until(lambda: isinstance(heard[-1], GivenUp), 3)
        fetch.cancel()
        nursery.cancel_scope.cancel()


# Bad maps.


def tampered(made: Update) -> MemoryOrigin:
    origin = made.origin()
    origin.objects[MAP_PACK] = MAP[:-1] + bytes([MAP[-1] ^ 1])
    return origin


def without(made: Update) -> MemoryOrigin:
    return made.origin(less=(MAP_PACK,))


@pytest.mark.parametrize(("spoil", "why", "read"), [(tampered, "another one", len(MAP)), (without, "packs/", 0)])
@pytest.mark.parametrize("peers", [0, 1])
async def test_what_needs_a_map_that_is_not_to_be_had_comes_whole(
    spoil: Callable[[Update], MemoryOrigin],
    why: str,
    read: int,
    peers: int,
    autojump_clock: CLOCK,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = update()
    origin = spoil(made)
    async with nodes_of(made, a=origin, **dict.fromkeys("b"[:peers])) as (node, *_):
        progress = await node.fetch(made.new).wait()
        assert content_of(node, made.new) == NEW
        assert origin.bytes_of(MAP_PACK) == read
        assert progress.uplink_bytes == read + whole_bytes(made)
        assert origin.bytes_of(made.unit_pack) == sum(page.length for page in made.delta.pages)
    (warning,) = [record.message for record in caplog.records if "taken whole" in record.message]
    assert why in warning


def whole_bytes(made: Update) -> int:
    """Bytes of all chunks of the new release alone."""
    ref = made.new.index_for(None)
    assert ref is not None
    full = decode_index(made.world.objects[index_name(ref.digest)], ref.digest)
    return sum(piece.length for piece in full.pieces)


async def test_what_needs_a_malformed_map_comes_whole(autojump_clock: CLOCK, caplog: pytest.LogCaptureFixture) -> None:
    bad = b"not" + MAP[3:]
    made = update(map_data=bad)
    origin = made.origin()
    async with nodes_of(made, a=origin) as (node,):
        progress = await node.fetch(made.new).wait()
        assert content_of(node, made.new) == NEW
        assert origin.bytes_of(pack_name(digest(bad))) == len(bad)
        assert progress.uplink_bytes == len(bad) + whole_bytes(made)
        assert node.uplink is not None
        assert node.uplink.usable
    assert caplog.text.count("toy map: malformed; the chunks of its delta units are taken whole") == 1


async def test_a_map_that_vanished_from_the_store_leaves_whole_chunks(
    autojump_clock: CLOCK, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeswarm.node.maps._OPENED", 0)
    made = update(new=NEW[:2_000_000])
    origin = made.origin(rate=RATE)
    async with nodes_of(made, a=origin) as (node,):
        fetch = node.fetch(made.new)
        await until(lambda: origin.bytes_of(made.unit_pack) > 100_000)
        node.store.delete_object(f"map/{digest(MAP).hex()}")
        await fetch.wait()
        assert content_of(node, made.new) == NEW[:2_000_000]
    assert "its map is not here any more; its chunks are taken whole" in caplog.text


async def test_a_lie_about_the_beginning_of_a_map_costs_one_more_read(autojump_clock: CLOCK) -> None:
    made = update()
    origin = made.origin()
    async with nodes_of(made, a=origin) as (node,):
        assert node.uplink is not None
        node.uplink.take_partial(b"liar", digest(MAP), 0, 0, b"x" * 10_000)
        await node.fetch(made.new).wait()
        assert content_of(node, made.new) == NEW
        assert origin.bytes_of(MAP_PACK) == 2 * len(MAP) - 10_000
        assert origin.bytes_of(made.unit_pack) > len(NEW) // 4


# Neighbours.


async def test_a_node_whose_origin_has_no_map_takes_that_of_a_neighbour(autojump_clock: CLOCK) -> None:
    made = update()
    poor = without(made)
    async with nodes_of(made, a=poor, b=None) as (node, neighbour):
        neighbour.store.save_object(f"map/{digest(MAP).hex()}", MAP)
        await node.fetch(made.new).wait()
        assert content_of(node, made.new) == NEW
        assert poor.bytes_of(made.unit_pack) > len(NEW) // 4


async def answer(peer: Remote, map_data: bytes | None, asked: list[str], claims: list[Claim | GivenUp]) -> None:
    """Answer questions for a map with some bytes, or no, and all others with no; note what is asked and claimed."""
    with suppress(FetchError):
        while type(event := await peer.hear()).__name__ != "Closed":
            if isinstance(event, Ping):
                await peer.say(Pong(nonce=event.nonce))
            elif isinstance(event, GetObject):
                asked.append(event.kind)
                found = map_data if event.kind == "map" else None
                await peer.say(ObjectData(request=event.request, found=found is not None, last=True, data=found or b""))
            elif isinstance(event, Claim | GivenUp):
                claims.append(event)


async def test_a_peer_with_a_wrong_map_is_shut_out(autojump_clock: CLOCK) -> None:
    made = update()
    origin, asked = made.origin(), list[str]()
    async with (
        nodes_of(made, a=origin) as (node,),
        remote(made.world, to="a:7651", role="gateway", capabilities=("map",)) as peer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, peer, b"wrong", asked, [])
        await until(lambda: len(node.links.peers) == 1)
        await node.fetch(made.new).wait()
        assert asked.count("map") == 1
        assert peer.key in node.links.banned
        assert content_of(node, made.new) == NEW
        assert origin.bytes_of(MAP_PACK) == len(MAP)
        nursery.cancel_scope.cancel()


async def test_a_peer_of_an_older_version_is_not_asked_for_a_map(autojump_clock: CLOCK) -> None:
    made = update()
    asked: list[str] = []
    async with (
        nodes_of(made, a=made.origin()) as (node,),
        remote(made.world, to="a:7651", role="gateway") as peer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(answer, peer, MAP, asked, [])
        await until(lambda: len(node.links.peers) == 1)
        await node.fetch(made.new).wait()
        assert "index" in asked
        assert "map" not in asked
        nursery.cancel_scope.cancel()


async def test_a_peer_gets_a_map(autojump_clock: CLOCK) -> None:
    made = update()
    async with nodes_of(made, a=made.origin()) as (node,):
        await node.fetch(made.new).wait()
        name = digest(MAP).hex()
        async with remote(made.world, to="a:7651") as peer:
            assert peer.session.peer is not None
            assert "map" in peer.session.peer.capabilities
            await peer.say(GetObject(request=1, kind="map", name=name, limit=len(MAP)))
            parts = [await peer.hear_a(ObjectData), await peer.hear_a(ObjectData)]
            assert b"".join(part.data for part in parts) == MAP
            await peer.say(GetObject(request=3, kind="map", name=name, limit=len(MAP) - 1))
            assert not (await peer.hear_a(ObjectData)).found


async def test_a_node_without_an_uplink_fetches_no_map(autojump_clock: CLOCK) -> None:
    made = update()
    async with nodes_of(made, a=made.origin(), b=None) as (node, device):
        asked: list[str] = []
        find = node._hub.find_object

        async def noted(asker: bytes, kind: str, name: str, limit: int) -> bytes | None:
            asked.append(kind)
            return await find(asker, kind, name, limit)

        node._hub.find_object = noted  # type: ignore[method-assign]
        await fetch_all([node, device], made.new)
        assert content_of(device, made.new) == NEW
        assert "manifest" in asked
        assert "map" not in asked
