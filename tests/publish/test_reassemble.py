from __future__ import annotations

from dataclasses import replace

import pytest

from edgeswarm.content.digest import digest
from edgeswarm.errors import BaseMissingError, ContentError, PublishError
from edgeswarm.publish import reassemble
from edgeswarm.publish.reassemble import open_published

from .world import World, program

DATA = program(1, 600_000)


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (599_999, 1), (100_000, 300_000), (0, 600_000)])
def test_any_range_reads_back(world: World, offset: int, length: int) -> None:
    world.publish(DATA, "1")
    assert world.artifact("1").read(offset, length) == DATA[offset : offset + length]


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (599_999, 2), (0, -1)])
def test_ranges_outside_are_refused(world: World, offset: int, length: int) -> None:
    world.publish(DATA, "1")
    with pytest.raises(BaseMissingError, match="of 600000 bytes"):
        world.artifact("1").read(offset, length)


def test_what_is_kept_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(DATA, "1")
    monkeypatch.setattr(reassemble, "_KEPT_BYTES", 300_000)
    artifact = world.artifact("1")
    assert artifact.read(0, len(DATA)) == DATA
    pack = next(path for path in world.origin.glob("packs/*/*"))
    pack.write_bytes(b"")
    assert artifact.chunk(len(artifact.manifest) - 1)  # kept
    with pytest.raises(BaseMissingError):
        artifact.chunk(0)


def test_a_flipped_bit_is_noticed(world: World) -> None:
    world.publish(DATA, "1")
    artifact = world.artifact("1")
    pack = next(path for path in world.origin.glob("packs/*/*"))
    data = bytearray(pack.read_bytes())
    data[artifact.full.pieces[1].offset + 50] ^= 1
    pack.write_bytes(data)
    assert artifact.chunk(0)
    with pytest.raises(BaseMissingError, match="chunk 1"):
        artifact.chunk(1)


@pytest.mark.parametrize("kind", ["manifests", "index"])
def test_a_missing_or_wrong_object_is_noticed(world: World, kind: str) -> None:
    world.publish(DATA, "1")
    release = world.catalogue().release("app", "1")
    path = next(path for path in (world.origin / kind).rglob("*") if path.is_file())
    path.write_bytes(b"x")
    with pytest.raises(ContentError):
        open_published(world.writer, release)
    path.unlink()
    with pytest.raises(PublishError, match="is missing"):
        open_published(world.writer, release)


def test_a_release_without_a_full_index_cannot_be_read(world: World) -> None:
    world.publish(DATA, "1")
    bare = replace(world.catalogue().release("app", "1"), indexes=())
    with pytest.raises(PublishError, match="full index"):
        open_published(world.writer, bare)


def test_a_manifest_with_pages_reads_back(world: World) -> None:
    tree = world.folder / "tree"
    tree.mkdir()
    for number in range(300):
        (tree / f"{number:03}").write_bytes(program(number, 16_400))
    report = world.publish(str(tree), "1")
    artifact = world.artifact("1")
    assert artifact.manifest.root.height == 1
    assert artifact.full.pages[0].offset == 0  # pages come first in the pack
    (tree / "150").write_bytes(program(999, 16_400))
    second = world.publish(str(tree), "2", delta_from=1)
    new = world.artifact("2")
    known = set(artifact.full.page_digests)
    ref = world.catalogue().release("app", "2").index_for(report.manifest)
    assert ref is not None
    delta = reassemble.load_index(world.writer, ref)
    assert set(delta.page_digests) == set(new.full.page_digests) - known != set()
    assert digest(new.read(0, new.manifest.root.size)) != digest(artifact.read(0, artifact.manifest.root.size))
    assert second.new_chunks < 10
