"""Maps of a delta: written once, before their units; proved, counted, checked and kept like these."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace

import pytest
import toy_maps

from bench.update import decode
from edgeswarm.content.chunking import chunk_lengths
from edgeswarm.content.delta import MapBlob, PairEncoder
from edgeswarm.content.digest import digest
from edgeswarm.content.index import PIECE_MAX_BYTES, PackIndex, pack_name
from edgeswarm.content.manifest import ArtifactKind, Manifest, build_manifest
from edgeswarm.errors import PublishError
from edgeswarm.publish import PruneOptions, prune
from edgeswarm.publish.maps import DeltaMaps
from edgeswarm.publish.packs import PackFile
from edgeswarm.publish.reassemble import load_index
from edgeswarm.trust.catalogue import IndexRef

from .world import World, program, read_piece, updated

V1 = program(1, 3_000_000)
V2 = b"a" + V1[1:1_000_000] + b"b" + V1[1_000_001:2_000_000] + b"c" + V1[2_000_001:2_999_999] + b"d"
"""In four places other: so many runs of chunks are wanted."""


class MappingEncoder(PairEncoder):
    """Makes two maps, of the first wanted range and of the third and those behind it, and toy units there."""

    wrong_by = 0
    large = 0

    def __init__(self, read_base, base_size, read_new, new_size, wanted: Sequence[tuple[int, int]], options=None) -> None:  # type: ignore[no-untyped-def]
        super().__init__(read_base, base_size, read_new, new_size, wanted, options)
        self.maps = self.layout(wanted)

    def layout(self, wanted: Sequence[tuple[int, int]]) -> list[MapBlob]:
        return [
            MapBlob(wanted[0][0], sum(wanted[0]), toy_maps.HEAD + bytes(1000)),
            MapBlob(wanted[2][0], sum(wanted[-1]), toy_maps.HEAD + bytes(self.large or 2000)),
        ]

    def encode(self, new: bytes, start: int) -> bytes:
        for one in self.maps:
            if one.start <= start < one.end:
                assert start + len(new) <= one.end
                return toy_maps.encode_toy(new, start + self.wrong_by, one.data)
        return super().encode(new, start)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> type[MappingEncoder]:
    """Encode deltas with maps."""
    toy_maps.install(monkeypatch)
    monkeypatch.setattr("edgeswarm.publish.encode.PairEncoder", MappingEncoder)
    monkeypatch.setattr(MappingEncoder, "wrong_by", 0)
    monkeypatch.setattr(MappingEncoder, "large", 0)
    return MappingEncoder


def ref_of(world: World) -> IndexRef:
    ref = world.release_of("2").index_for(world.release_of("1").manifest)
    assert ref is not None
    return ref


def delta_of(world: World) -> PackIndex:
    return load_index(world.writer, ref_of(world))


@pytest.fixture
def delta(world: World, encoder: type[MappingEncoder]) -> PackIndex:
    """The delta index of a release with two maps."""
    world.publish(V1, "1")
    world.publish(V2, "2")
    return delta_of(world)


def test_a_site_makes_the_release_with_maps(world: World, delta: PackIndex) -> None:
    needy = [piece for piece in delta.pieces if delta.map_for(piece) is not None]
    assert {read_piece(world, delta, piece)[0] for piece in needy} == {toy_maps.METHOD}
    assert 0 < len(needy) < len(delta.pieces)
    assert updated(world, "2", "1") == V2


def test_maps_lie_before_the_units(world: World, delta: PackIndex) -> None:
    assert [read_piece(world, delta, one) for one in delta.maps] == [toy_maps.HEAD + bytes(size) for size in (1000, 2000)]
    assert [one.offset for one in delta.maps] == [0, 1003]
    assert {piece.pack for piece in (*delta.maps, *delta.pieces)} == {delta.maps[0].pack}
    assert min(piece.offset for piece in delta.pieces) == 1003 + 2003


def test_runs_of_maps_begin_and_end_with_units(world: World, delta: PackIndex) -> None:
    units = {chunk for piece in delta.pieces for chunk in range(piece.first, piece.first + piece.count)}
    for one in delta.maps:
        assert {one.first, one.first + one.count - 1} <= units


def test_reports_count_maps(world: World, delta: PackIndex) -> None:
    report = world.publish(V2, "2")
    assert not report.changed
    units_and_pages = sum(piece.length for piece in (*delta.pieces, *delta.pages))
    assert report.deltas[0].delta_bytes == units_and_pages + 1003 + 2003 == ref_of(world).payload_bytes
    assert report.as_dict()["deltas"][0]["delta_bytes"] == report.deltas[0].delta_bytes


def test_the_bench_applies_units_with_maps(world: World, delta: PackIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.update.PRODUCT", "app")
    monkeypatch.setattr("bench.update.open_map", toy_maps.open_toy)
    monkeypatch.setattr("bench.update.datetime", SimpleNamespace(now=lambda _zone: world.now))
    made = world.folder / "made"
    assert decode(world.fleet, world.write(V1, "old"), str(made))["size"] == len(V2)
    assert made.read_bytes() == V2


@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_map_is_noticed_and_made_again(world: World, delta: PackIndex, which: int) -> None:
    pack = world.origin / pack_name(delta.packs[delta.maps[which].pack])
    good = pack.read_bytes()
    damaged = bytearray(good)
    damaged[delta.maps[which].offset + 500] ^= 1
    pack.write_bytes(damaged)
    world.publish(V2, "2")
    assert pack.read_bytes() == good
    assert delta_of(world) == delta


def test_pruning_keeps_packs_with_maps(world: World, delta: PackIndex) -> None:
    report = prune(world.fleet, "app", now=world.now + timedelta(hours=1), options=PruneOptions(grace=timedelta(0)))
    assert not report.troubles
    assert updated(world, "2", "1") == V2


def test_a_unit_that_its_map_does_not_decode_is_not_published(world: World, encoder: type[MappingEncoder]) -> None:
    world.publish(V1, "1")
    encoder.wrong_by = 1
    with pytest.raises(PublishError, match="does not decode to what was encoded"):
        world.publish(V2, "2")


def test_a_map_larger_than_any_piece_is_not_published(world: World, encoder: type[MappingEncoder]) -> None:
    world.publish(V1, "1")
    encoder.large = PIECE_MAX_BYTES
    with pytest.raises(PublishError, match=f"{PIECE_MAX_BYTES + 3} bytes, wanted 1 to {PIECE_MAX_BYTES}"):
        world.publish(V2, "2")


# ---------------------------------------------------------------------- borders


def test_no_unit_crosses_a_border_within_a_group(
    world: World, encoder: type[MappingEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish(V1, "1")
    other = program(2, 1_000_000)
    border = sum(chunk_lengths(other)[:5])
    monkeypatch.setattr(
        encoder, "layout", lambda _self, _wanted: [MapBlob(0, border, b"map 1"), MapBlob(border, len(other), b"map 2")]
    )
    world.publish(other, "2")
    assert [(one.first, one.count) for one in delta_of(world).maps] == [(0, 5), (5, len(chunk_lengths(other)) - 5)]
    assert updated(world, "2", "1") == other


def manifest_of(chunks: int) -> Manifest:
    return build_manifest(ArtifactKind.FILE, [(digest(bytes([i])), 100) for i in range(chunks)]).manifest


def maps_of(*ranges: tuple[int, int], chunks: int = 10) -> DeltaMaps:
    with PackFile() as pack:
        return DeltaMaps([MapBlob(start, end, b"map") for start, end in ranges], manifest_of(chunks), pack, 1 << 40)


@pytest.mark.parametrize(
    ("ranges", "cut"),
    [
        ([], [range(10)]),
        ([(0, 1000)], [range(10)]),
        ([(300, 500)], [range(3), range(3, 5), range(5, 10)]),
        ([(0, 300), (300, 1000)], [range(3), range(3, 10)]),
        ([(250, 450)], [range(3), range(3, 5), range(5, 10)]),  # in chunks that the base has
        ([(310, 390)], [range(10)]),  # of no chunk
    ],
)
def test_groups_are_cut_at_the_borders_of_maps(ranges: list[tuple[int, int]], cut: list[range]) -> None:
    assert maps_of(*ranges).cut([range(10)]) == cut


def test_groups_that_no_border_crosses_stay(encoder: type[MappingEncoder]) -> None:
    groups = [range(2), range(3, 5), range(5, 6), range(8, 10)]
    assert maps_of((200, 700), (700, 1000)).cut(groups) == groups


def test_the_map_of_a_chunk(encoder: type[MappingEncoder]) -> None:
    maps = maps_of((100, 300), (300, 900))
    found = [maps.opened(chunk) for chunk in range(10)]
    assert [one is None for one in found] == [True, *[False] * 8, True]
    assert found[1] is found[2]
