"""Beginnings of pieces: bounded in memory and on disk, and an own one is safe from all neighbours."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio

from edgeswarm.node import Node
from edgeswarm.node.partial_files import PartialFiles
from edgeswarm.node.partials import Partials
from edgeswarm.store import MemoryStore

from .world import MemoryOrigin, World, current, until

CLOCK = trio.testing.MockClock
MIB = 2**20
PACK = bytes(range(32))


def files(folder: Path, *, most_bytes: int = 100, most_files: int = 10) -> PartialFiles:
    return PartialFiles(folder, most_bytes=most_bytes, most_files=most_files)


def offsets(folder: Path) -> list[int]:
    return sorted(int(path.name.partition("-")[2]) for path in folder.iterdir())


# In memory.


@pytest.mark.parametrize(("at", "size"), [(5, 10), (0, 5 * MIB)])
def test_parts_that_do_not_fit_are_ignored(at: int, size: int) -> None:
    partials = Partials(None)
    partials.share(b"a", PACK, 0, at, bytes(size))
    assert partials.take(PACK, 0) == b""


def test_parts_add_up() -> None:
    partials = Partials(None)
    for at, data in [(0, b"abc"), (3, b"def"), (3, b"xyz"), (1, b"xx")]:
        partials.share(b"a", PACK, 0, at, data)
    assert partials.take(PACK, 0) == b"abcdef"
    assert partials.take(PACK, 0) == b""


def test_a_read_that_was_begun_again_lengthens_what_was_shared() -> None:
    partials = Partials(None)
    for at, data in [(0, b"abc"), (0, b"abcde"), (4, b"efg")]:
        partials.share(b"a", PACK, 0, at, data)
    assert partials.take(PACK, 0) == b"abcdefg"


def test_the_longest_that_goes_on_from_the_own_one_is_taken() -> None:
    partials = Partials(None)
    partials.keep(PACK, 0, b"abc")
    partials.share(b"a", PACK, 0, 0, b"xxxxxx")
    partials.share(b"b", PACK, 0, 0, b"abcde")
    assert partials.take(PACK, 0) == b"abcde"
    assert partials.take(PACK, 0) == b""


def test_the_longest_that_was_shared_is_taken_but_rather_an_own_one() -> None:
    partials = Partials(None)
    partials.share(b"a", PACK, 0, 0, b"ab")
    partials.share(b"b", PACK, 0, 0, b"abc")
    assert partials.take(PACK, 0) == b"abc"
    partials.share(b"b", PACK, 0, 0, b"abc")
    partials.keep(PACK, 0, b"own")
    assert partials.take(PACK, 0) == b"own"
    assert partials.take(PACK, 0) == b""


def test_neighbours_cannot_drive_out_what_is_this_node_s_own() -> None:
    partials = Partials(None)
    partials.keep(PACK, 0, bytes(60_000))
    for number in range(1, 900):
        partials.share(number.to_bytes(2, "big"), PACK, number, 0, bytes(10_000))
    assert len(partials.take(PACK, 0)) == 60_000


def test_a_neighbour_drives_out_only_its_own() -> None:
    partials = Partials(None)
    partials.share(b"honest", PACK, 0, 0, bytes(60_000))
    for number in range(1, 300):
        partials.share(b"loud", PACK, number, 0, b"x")
    for number in range(300, 304):
        partials.share(b"large", PACK, number, 0, bytes(4 * MIB))
    assert len(partials.take(PACK, 0)) == 60_000
    assert sum(bool(partials.take(PACK, number)) for number in range(1, 300)) == 24


def test_all_that_is_shared_takes_bounded_memory() -> None:
    partials = Partials(None)
    for number in range(40):
        partials.share(b"%d" % (number % 7), PACK, number, 0, bytes(MIB))
    assert sum(len(partials.take(PACK, number)) for number in range(40)) == 8 * MIB


def test_what_is_own_takes_bounded_memory() -> None:
    partials = Partials(None)
    for number in range(40):
        partials.keep(PACK, number, bytes(MIB))
    assert [bool(partials.take(PACK, number)) for number in range(40)] == [False] * 32 + [True] * 8
    for number in range(1000):
        partials.keep(PACK, number, b"x")
    assert sum(bool(partials.take(PACK, number)) for number in range(1000)) == 256


def test_an_own_read_that_goes_on_replaces_its_beginning() -> None:
    partials = Partials(None)
    partials.keep(PACK, 0, b"abc")
    partials.keep(PACK, 0, b"abcd")
    assert partials.take(PACK, 0) == b"abcd"


# On disk.


def test_beginnings_survive_the_process_until_they_are_removed(tmp_path: Path) -> None:
    first = Partials(tmp_path / "partial")
    first.save(PACK, 7, 0, b"abc")
    first.save(PACK, 7, 3, b"def")
    first.save(PACK, 9, 0, b"gone")
    first.remove(PACK, 9)
    for _ in range(3):
        again = Partials(tmp_path / "partial")
        assert again.take(PACK, 7) == b"abcdef"
        assert again.take(PACK, 9) == b""
    again.clear()
    assert Partials(tmp_path / "partial").take(PACK, 7) == b""


def test_pieces_that_were_begun_and_then_came_from_elsewhere_leave_few_files(tmp_path: Path) -> None:
    partials = Partials(tmp_path)
    for number in range(600):
        partials.save(PACK, number, 0, bytes(40_000))
    assert offsets(tmp_path) == list(range(600 - 8 * MIB // 40_000, 600))


def test_the_file_that_was_written_to_longest_ago_makes_room(tmp_path: Path) -> None:
    kept = files(tmp_path, most_files=3)
    for offset in (1, 2, 3):
        kept.write((PACK, offset), 0, b"ab")
    kept.write((PACK, 1), 2, b"c")
    kept.write((PACK, 4), 0, b"ab")
    assert offsets(tmp_path) == [1, 3, 4]
    kept.write((PACK, 2), 2, b"c")  # its beginning is gone
    assert offsets(tmp_path) == [1, 3, 4]


def test_a_read_that_starts_over_replaces_the_file(tmp_path: Path) -> None:
    kept = files(tmp_path)
    kept.write((PACK, 1), 0, b"abcdef")
    kept.write((PACK, 1), 0, b"xyz")
    assert kept.load() == [((PACK, 1), b"xyz")]
    assert files(tmp_path).load() == [((PACK, 1), b"xyz")]


def test_too_many_files_of_earlier_processes_go_oldest_first(tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / f"{PACK.hex()}-{number}"
        path.write_bytes(b"x")
        os.utime(path, ns=(10**9, 10**9 * (100 - number)))
    assert [key[1] for key, _ in files(tmp_path).load()] == list(range(9, -1, -1))
    assert offsets(tmp_path) == list(range(10))


def test_files_that_are_none_of_ours_are_left_alone(tmp_path: Path) -> None:
    names = ["stranger", f"{PACK.hex()}-x", f"{PACK.hex()}-07", f"{PACK.hex().upper()}-7", "00-7", f"{PACK.hex()}"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(1000))
    kept = files(tmp_path)
    assert kept.load() == []
    kept.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_what_is_longer_than_any_piece_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{PACK.hex()}-7").write_bytes(bytes(5 * MIB))
    assert files(tmp_path, most_bytes=9 * MIB).load() == []
    assert offsets(tmp_path) == []


def test_a_folder_that_is_gone_costs_only_what_it_held(tmp_path: Path) -> None:
    kept = files(tmp_path / "partial")
    kept.write((PACK, 1), 0, b"ab")
    (tmp_path / "partial" / f"{PACK.hex()}-1").unlink()
    (tmp_path / "partial").rmdir()
    assert kept.load() == []
    kept.write((PACK, 1), 2, b"c")
    kept.write((PACK, 2), 0, b"c")
    assert kept._sizes == {}


@pytest.mark.parametrize("restart", [False, True])
async def test_what_was_finished_elsewhere_leaves_no_file(tmp_path: Path, restart: bool, autojump_clock: CLOCK) -> None:
    """The uplink breaks in the middle of a piece, and a neighbour brings the rest, maybe to the next process."""
    world, store = World(), MemoryStore()
    release = world.publish("1", Random(1).randbytes(1_000_000))
    stranger = tmp_path / f"{PACK.hex()}-0"
    stranger.write_bytes(b"of another release, which goes on")
    origin = MemoryOrigin(world.objects, rate=400_000)
    identity = world.identity("device")

    @asynccontextmanager
    async def device() -> AsyncIterator[Node]:
        async with world.node("device", origin=origin, store=store, identity=identity, peers=("gateway:7651",)) as node:
            assert node.uplink is not None
            node.uplink._partial = Partials(tmp_path)
            yield node

    async with AsyncExitStack() as stack, AsyncExitStack() as first:
        node = await first.enter_async_context(device())
        await current(node)
        node.fetch(release)
        await until(lambda: len(offsets(tmp_path)) > 1)
        origin.down = True
        await trio.sleep(1)
        assert len(offsets(tmp_path)) > 1
        if restart:
            await first.aclose()
        inner = stack if restart else first  # what was opened last closes first
        gateway = await inner.enter_async_context(world.node("gateway", origin=MemoryOrigin(world.objects)))
        await gateway.fetch(await current(gateway)).wait()
        if restart:
            node = await first.enter_async_context(device())
        await node.fetch(release).wait()
        assert offsets(tmp_path) == [0]
        assert node.uplink is not None
        assert node.uplink._partial.keys == {(PACK, 0)}
