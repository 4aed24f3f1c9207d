"""The uplink: what had come is not read twice, and a dead link is left alone for a while."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
import trio

from edgeswarm.content.digest import digest
from edgeswarm.content.index import PackIndex, Piece, pack_name
from edgeswarm.content.plan import PackRead
from edgeswarm.errors import ContentError, FetchError, ObjectMissingError
from edgeswarm.node.partials import Partials
from edgeswarm.node.uplink import Uplink

from .world import MemoryOrigin, until

PIECE = 50_000
DATA = Random(1).randbytes(3 * PIECE)
PACK = digest(DATA)
NAME = pack_name(PACK)


def pack_read(*, wrong: int | None = None) -> PackRead:
    pieces = tuple(
        Piece(i, 1, 0, i * PIECE, PIECE, digest(b"" if i == wrong else DATA[i * PIECE : (i + 1) * PIECE])) for i in range(3)
    )  # fmt: skip
    return PackRead(PackIndex(bytes(32), bytes(32), (PACK,), (), (), pieces), PACK, 0, len(DATA), pieces)


class Reader:
    """An uplink and what it brought."""

    def __init__(self, *, rate: float = 0.0, retry_seconds: float = 8.0, folder: Path | None = None) -> None:
        self.origin = MemoryOrigin({NAME: DATA, "small": b"12"}, rate)
        self.changes: list[bool] = []
        self.uplink = Uplink(
            self.origin, Partials(folder), retry_seconds=retry_seconds, dice=Random(1), on_change=self.changes.append
        )  # fmt: skip
        self.pieces: dict[int, bytes] = {}
        self.bytes = 0
        self.shared: list[tuple[int, int, bytes]] = []

    async def read(self, read: PackRead) -> None:
        await self.uplink.read_pack(
            read, self._on_bytes, self._on_piece, lambda p, at, data: self.shared.append((p.first, at, data))
        )

    def _on_bytes(self, count: int) -> None:
        self.bytes += count

    async def _on_piece(self, piece: Piece, data: bytes) -> None:
        assert piece.first not in self.pieces
        self.pieces[piece.first] = data

    def rest(self) -> PackRead:
        """What a new plan would read: the pieces that did not come."""
        whole = pack_read()
        pieces = tuple(piece for piece in whole.pieces if piece.first not in self.pieces)
        return PackRead(whole.index, PACK, pieces[0].offset, len(DATA) - pieces[0].offset, pieces)

    @property
    def whole(self) -> bytes:
        return b"".join(self.pieces[i] for i in sorted(self.pieces))


@pytest.mark.parametrize("blocks", range(1, 10))
async def test_a_cut_repeats_no_byte(blocks: int, autojump_clock: trio.testing.MockClock) -> None:
    reader = Reader()
    reader.origin.cut_after = blocks
    with pytest.raises(FetchError):
        await reader.read(pack_read())
    reader.origin.down, reader.origin.cut_after = False, None
    await reader.read(reader.rest())
    assert reader.whole == DATA
    assert reader.bytes == len(DATA) == reader.uplink.bytes_read
    assert reader.origin.repeated_bytes("packs/") == 0


async def test_a_cancelled_read_repeats_no_byte(autojump_clock: trio.testing.MockClock) -> None:
    reader = Reader(rate=16384)
    with trio.move_on_after(4.5):
        await reader.read(pack_read())
    await reader.read(reader.rest())
    assert reader.whole == DATA
    assert reader.origin.repeated_bytes("packs/") == 0


async def test_a_beginning_in_the_middle_of_a_later_read_is_not_read_again() -> None:
    reader, whole = Reader(), pack_read()
    reader.origin.cut_after = 2
    with pytest.raises(FetchError):
        await reader.read(PackRead(whole.index, PACK, PIECE, 2 * PIECE, whole.pieces[1:]))
    assert 0 < reader.bytes < PIECE
    reader.origin.down, reader.origin.cut_after = False, None
    await reader.read(whole)
    assert reader.whole == DATA
    assert reader.bytes == len(DATA)
    assert reader.origin.repeated_bytes("packs/") == 0


async def test_a_beginning_that_costs_more_than_it_saves_is_no_request_of_its_own() -> None:
    reader = Reader()
    reader.uplink.take_partial(b"peer", PACK, PIECE, 0, DATA[PIECE : PIECE + 100])
    await reader.read(pack_read())
    assert reader.whole == DATA
    assert reader.bytes == len(DATA)


@pytest.mark.parametrize("block_bytes", [1000, 16384])
@pytest.mark.parametrize("blocks", range(1, 10))
async def test_what_a_neighbour_shared_is_not_read_again(blocks: int, block_bytes: int) -> None:
    """Neither what it had of a piece when its read broke off, nor pieces that it had whole and did not get to decode."""
    reader, dying = Reader(), Reader()
    dying.origin.cut_after, dying.origin.block_bytes = blocks, block_bytes
    with pytest.raises(FetchError):
        await dying.read(pack_read())
    for first, at, data in dying.shared:
        reader.uplink.take_partial(b"peer", PACK, first * PIECE, at, data)
    await reader.read(pack_read())
    assert reader.whole == DATA
    assert reader.bytes == len(DATA) - dying.bytes


async def test_what_two_nodes_had_is_read_by_neither() -> None:
    """One goes on from what another shared, breaks off too, and the first one goes on again."""
    first, second = Reader(), Reader()
    for reader, other, blocks in [(first, second, 1), (second, first, 1), (first, second, None)]:
        reader.origin.down, reader.origin.cut_after = False, blocks
        with suppress(FetchError):
            await reader.read(pack_read())
        for piece, at, data in reader.shared:
            other.uplink.take_partial(b"peer", PACK, piece * PIECE, at, data)
    assert first.whole == DATA
    assert first.bytes + second.bytes == len(DATA)


async def test_a_lie_of_a_neighbour_costs_one_piece_once() -> None:
    reader = Reader()
    reader.uplink.take_partial(b"peer", PACK, 0, 0, bytes(1000))
    with pytest.raises(ContentError):
        await reader.read(pack_read())
    assert not reader.uplink.usable
    await reader.read(pack_read())
    assert reader.whole == DATA


async def test_after_a_lie_nothing_shared_is_taken() -> None:
    reader = Reader()
    reader.uplink.failed(ContentError("a chunk was wrong"))
    reader.uplink.take_partial(b"peer", PACK, 0, 0, bytes(1000))
    await reader.read(pack_read())
    assert reader.whole == DATA


async def test_a_wrong_piece_makes_the_uplink_wait() -> None:
    reader = Reader()
    with pytest.raises(ContentError, match="chunk 1"):
        await reader.read(pack_read(wrong=1))
    assert list(reader.pieces) == [0]
    assert reader.changes == [False]


async def test_a_clear_answer_does_not_mark_the_link_as_dead() -> None:
    reader = Reader()
    with pytest.raises(ObjectMissingError):
        await reader.uplink.read("nowhere", limit=10)
    assert reader.uplink.usable
    assert reader.changes == []


async def test_back_off_doubles_up_to_the_maximum(autojump_clock: trio.testing.MockClock) -> None:
    reader = Reader(retry_seconds=4.0)
    reader.origin.down = True
    waits = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.uplink.run)
        for _ in range(6):
            with pytest.raises(FetchError):
                await reader.uplink.read("small", limit=10)
            start = trio.current_time()
            await until(lambda: reader.uplink.usable)
            waits.append(trio.current_time() - start)
        nursery.cancel_scope.cancel()
    for wait, wanted in zip(waits, [0.5, 1, 2, 4, 4, 4], strict=True):
        assert 0.75 * wanted <= wait <= 1.25 * wanted + 0.02
    assert reader.changes == [False, True] * 6


@pytest.mark.parametrize(("asked", "waited"), [(30.0, 30.0), (0.1, 0.5), (1e9, 3600.0), (None, 0.5)])
async def test_an_origin_that_asks_for_patience_gets_it(
    asked: float | None, waited: float, autojump_clock: trio.testing.MockClock
) -> None:
    reader = Reader(retry_seconds=4.0)

    async def refuse(_name: str, *, limit: int) -> bytes:
        raise FetchError("status 503", retry_after=asked)

    reader.origin.read = refuse
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.uplink.run)
        with pytest.raises(FetchError):
            await reader.uplink.read("small", limit=10)
        start = trio.current_time()
        await until(lambda: reader.uplink.usable, seconds=4000)
        assert 0.75 * waited <= trio.current_time() - start <= 1.25 * waited + 0.02
        nursery.cancel_scope.cancel()


async def test_what_works_ends_the_back_off(autojump_clock: trio.testing.MockClock) -> None:
    reader = Reader()
    reader.origin.down = True
    for _ in range(3):
        with pytest.raises(FetchError):
            await reader.uplink.read("small", limit=10)
    reader.origin.down = False
    assert await reader.uplink.read("small", limit=10) == b"12"
    assert reader.changes == [False, True]
    assert await reader.uplink.read_range(NAME, 5, 7) == DATA[5:12]


async def test_an_idle_uplink_does_nothing(autojump_clock: trio.testing.MockClock) -> None:
    reader = Reader()
    with trio.move_on_after(1000):
        await reader.uplink.run()
    assert reader.changes == []


async def test_what_came_survives_two_deaths_of_the_process_in_one_outage(tmp_path: Path) -> None:
    first = Reader(folder=tmp_path)
    first.origin.cut_after = 3
    with pytest.raises(FetchError):
        await first.read(pack_read())
    Reader(folder=tmp_path)  # killed before it went on
    third = Reader(folder=tmp_path)
    await third.read(pack_read())
    assert third.whole == DATA
    assert third.bytes <= len(DATA) - 2 * 16384
    for piece in pack_read().pieces:
        third.uplink.kept(PACK, piece.offset)
    assert Partials(tmp_path).take(PACK, pack_read().pieces[0].offset) == b""


async def test_a_wrong_beginning_does_not_survive_the_process(tmp_path: Path) -> None:
    first = Reader(folder=tmp_path)
    first.uplink._partial.save(PACK, 0, 0, bytes(1000))
    second = Reader(folder=tmp_path)
    with pytest.raises(ContentError) as caught:
        await second.read(pack_read())
    second.uplink.failed(caught.value)
    third = Reader(folder=tmp_path)
    await third.read(pack_read())
    assert third.whole == DATA


def test_beginnings_of_all_that_an_index_names_are_dropped(tmp_path: Path) -> None:
    """A release that came from elsewhere leaves neither those of pieces nor those of pages and maps."""
    partials = Partials(tmp_path)
    uplink = Uplink(MemoryOrigin({}), partials, retry_seconds=1.0, dice=Random(1), on_change=lambda _: None)
    page, piece, one = (Piece(0, 1, 0, offset, 100, bytes(32)) for offset in (0, 100, 200))
    for offset in (0, 100, 200, 300):
        partials.keep(PACK, offset, b"begun")
        partials.save(PACK, offset, 0, b"begun")
    uplink.drop_partials(PackIndex(bytes(32), bytes(32), (PACK,), (bytes(32),), (page,), (piece,), (one,)))
    assert partials.keys == {(PACK, 300)}
    assert len(list(tmp_path.iterdir())) == 1
