"""What is damaged at the origin is not built upon, and is made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeswarm.content.index import index_name, pack_name
from edgeswarm.errors import ContentError, PublishError
from edgeswarm.publish.reassemble import load_index
from edgeswarm.trust.catalogue import IndexRef

from .world import World, edited, program, updated

V1 = program(1, 700_000)
V2 = V1[:1000] + b"other" + V1[1005:]


def _packs(world: World) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in world.origin.glob("packs/*/*")}


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def _delta_ref(world: World, version: str, base: str) -> IndexRef:
    ref = world.release_of(version).index_for(world.release_of(base).manifest)
    assert ref is not None
    return ref


@pytest.mark.parametrize("damage", ["flipped", "cut", "lost"])
def test_a_release_is_not_built_on_a_damaged_pack(world: World, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    world.publish(V1, "1")
    (pack,) = _packs(world)
    old, index = world.artifact("1").manifest, world.artifact("1").full
    last = max(index.pieces, key=lambda piece: piece.offset)
    assert V2[old.chunk(last.first).offset :] == V1[old.chunk(last.first).offset :]  # both releases have it
    changes = {"flipped": lambda: _flip(pack, last.offset + 1), "cut": lambda: pack.write_bytes(pack.read_bytes()[:-1])}
    changes.get(damage, pack.unlink)()
    report = world.publish(V2, "2", level=3)  # the pack is of level 1: it cannot be made again with this one
    assert world.artifact("2").read(0, len(V2)) == V2
    if damage != "lost":  # then nothing of it can be read back, and nothing is reused
        assert report.new_chunks < report.chunks  # what is sound still is
        assert "written anew" in caplog.text


@pytest.mark.parametrize("what", ["first", "last"])
def test_publishing_again_repairs_a_damaged_pack(world: World, what: str) -> None:
    world.publish(V1, "1")
    ((pack, good),) = _packs(world).items()
    pieces = sorted([*world.artifact("1").full.pieces, *world.artifact("1").full.pages], key=lambda piece: piece.offset)
    _flip(pack, {"first": pieces[0], "last": pieces[-1]}[what].offset + 1)
    world.publish(V1, "1")
    assert pack.read_bytes() == good


def test_publishing_again_repairs_chunks_that_lie_in_the_pack_of_another_release(world: World) -> None:
    world.publish(V1, "1")
    world.publish(V2, "2")
    index = world.artifact("2").full
    shared = next(piece for piece in index.pieces if index.packs[piece.pack] in world.artifact("1").full.packs)
    _flip(world.origin / pack_name(index.packs[shared.pack]), shared.offset + 1)
    assert world.publish(V2, "2", level=3).changed
    assert world.artifact("2").read(0, len(V2)) == V2


@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_the_pack_of_another_release_is_mended_where_it_lies(world: World, version: str, damage: str) -> None:
    """By the release that has the damaged pieces too, published again or for the first time: so all that use the pack are whole."""
    world.publish(V1, "1")
    ((pack, good),) = _packs(world).items()
    world.publish(V2, "2")
    old, last = world.artifact("1").manifest, max(world.artifact("1").full.pieces, key=lambda piece: piece.offset)
    assert world.artifact("2").manifest.find(old.chunk(last.first).digest) is not None
    if damage == "cut":
        pack.write_bytes(good[:-1])
    else:
        _flip(pack, last.offset + 1)
    before = set(_packs(world))
    report = world.publish(V2 if version == "2" else V2[:2000] + b"third" + V2[2005:], version)
    assert pack.read_bytes() == good
    assert report.changed == (version == "3")
    assert (set(_packs(world)) == before) == (version == "2")
    assert world.artifact("1").read(0, len(V1)) == V1


def test_a_pack_that_is_damaged_elsewhere_too_is_left_as_it_is(world: World) -> None:
    world.publish(V1, "1")
    (pack,) = _packs(world)
    world.publish(V2, "2")
    index, old = world.artifact("1").full, world.artifact("1").manifest
    new = world.artifact("2").manifest
    theirs = next(piece for piece in index.pieces if new.find(old.chunk(piece.first).digest) is None)
    _flip(pack, theirs.offset + 1)
    _flip(pack, max(index.pieces, key=lambda piece: piece.offset).offset + 1)
    damaged = pack.read_bytes()
    assert world.publish(V2, "2").changed
    assert pack.read_bytes() == damaged
    assert world.artifact("2").read(0, len(V2)) == V2


@pytest.mark.parametrize("damage", ["lost pack", "flipped pack", "lost index"])
def test_publishing_again_makes_a_lost_delta_again(world: World, damage: str) -> None:
    world.publish(V1, "1")
    first = world.publish(V2, "2")
    ref = _delta_ref(world, "2", "1")
    index = load_index(world.writer, ref)
    path = world.origin / pack_name(index.packs[-1])
    if damage == "lost pack":
        path.unlink()
    elif damage == "flipped pack":
        _flip(path, index.pieces[-1].offset + 1)
    else:
        (world.origin / index_name(ref.digest)).unlink()
    again = world.publish(V2, "2")
    assert again.deltas == first.deltas
    assert updated(world, "2", "1") == V2


def test_publishing_again_replaces_indexes_of_an_older_format(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr("edgeswarm.content.index._VERSION", 1)
        world.publish(V1, "1")
    with pytest.raises(ContentError, match="wanted version 2, got 1"):
        world.artifact("1")
    assert world.publish(V1, "1").changed
    world.publish(V2, "2")
    assert world.artifact("1").read(0, len(V1)) == V1
    assert updated(world, "2", "1") == V2


def test_a_delta_whose_base_no_longer_counts_is_made_again_too(world: World) -> None:
    for version, data in (("1", V1), ("2", V2), ("3", edited(V2, 3))):
        last = world.publish(data, version)
    (world.origin / index_name(_delta_ref(world, "3", "1").digest)).unlink()
    assert world.publish(edited(V2, 3), "3", delta_from=0).deltas == last.deltas
    assert updated(world, "3", "1") == edited(V2, 3)


def test_a_delta_that_cannot_be_made_again_is_promised_no_more(world: World) -> None:
    world.publish(V1, "1")
    full = world.release_of("1").index_for(None)
    assert full is not None
    world.publish(V2, "2")
    (world.origin / index_name(_delta_ref(world, "2", "1").digest)).unlink()
    (world.origin / index_name(full.digest)).unlink()
    assert world.publish(V2, "2").deltas == ()
    assert [ref.base for ref in world.release_of("2").indexes] == [None]


def test_a_check_can_be_cancelled(world: World) -> None:
    world.publish(V1, "1")
    before, stages = world.snapshot(), list[str]()
    with pytest.raises(PublishError, match="cancelled"):
        world.publish(V1, "1", progress=lambda stage, *_: stages.append(stage), cancelled=lambda: "check" in stages)
    assert world.snapshot() == before
