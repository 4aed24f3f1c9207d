"""Manifest pages as differences: small, decodable from the base's manifest alone, and noticed when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeswarm.content.codec import PLAIN_METHODS
from edgeswarm.content.delta import decode_unit
from edgeswarm.content.digest import digest
from edgeswarm.content.index import PackIndex, pack_name
from edgeswarm.content.manifest import pages_of
from edgeswarm.publish import reassemble

from .world import World, program


@pytest.fixture
def tree(world: World) -> Path:
    folder = world.folder / "tree"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number:03}").write_bytes(program(number, 16_400))
    return folder


def delta_of(world: World, version: str, base: bytes) -> PackIndex:
    ref = world.catalogue().release("app", version).index_for(base)
    assert ref is not None
    return reassemble.load_index(world.writer, ref)


@pytest.fixture
def delta(world: World, tree: Path) -> PackIndex:
    """The delta index of a release in which one file of 300 has changed."""
    report = world.publish(str(tree), "1")
    (tree / "150").write_bytes(program(999, 16_400))
    world.publish(str(tree), "2")
    return delta_of(world, "2", report.manifest)


def test_a_page_costs_what_changed_in_it(world: World, delta: PackIndex) -> None:
    full = world.artifact("2").full
    whole = dict(zip(full.page_digests, full.pages, strict=True))
    stream = b"".join(page for _, page in pages_of(world.artifact("1").manifest))
    assert delta.pages
    for name, piece in zip(delta.page_digests, delta.pages, strict=True):
        data = world.writer.read(pack_name(delta.packs[piece.pack]), offset=piece.offset, length=piece.length)
        assert data[0] not in PLAIN_METHODS
        assert piece.length < whole[name].length / 4
        size = next(len(page) for known, page in pages_of(world.artifact("2").manifest) if known == name)
        page = decode_unit(data, lambda at, n: stream[at : at + n], len(stream), size)
        assert digest(page) == name


def test_pages_follow_from_a_manifest(world: World, tree: Path) -> None:
    world.publish(str(tree), "1")
    artifact = world.artifact("1")
    assert [name for name, _ in pages_of(artifact.manifest)] == list(artifact.full.page_digests)


def test_pages_lie_in_a_pack_of_their_own(delta: PackIndex) -> None:
    packs = {piece.pack for piece in delta.pages}
    assert len(packs) == 1
    assert packs.isdisjoint(piece.pack for piece in delta.pieces)


def test_a_damaged_page_is_noticed_and_repaired(world: World, tree: Path, delta: PackIndex) -> None:
    piece = delta.pages[0]
    pack = world.origin / pack_name(delta.packs[piece.pack])
    good = pack.read_bytes()
    damaged = bytearray(good)
    damaged[piece.offset + piece.length // 2] ^= 1
    pack.write_bytes(damaged)
    world.publish(str(tree), "2")
    assert pack.read_bytes() == good


def test_publishing_again_changes_nothing(world: World, tree: Path, delta: PackIndex) -> None:
    assert not world.publish(str(tree), "2").changed
