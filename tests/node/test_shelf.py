"""What a node keeps: nothing that is wanted goes, nothing that nobody remembers stays."""

from __future__ import annotations

from random import Random

import pytest

from edgeswarm.content.digest import digest
from edgeswarm.content.index import index_name
from edgeswarm.node.artifacts import load_stored_manifest, map_object, page_object, root_object
from edgeswarm.node.shelf import Shelf
from edgeswarm.store import MemoryStore
from edgeswarm.trust.catalogue import Release

from .world import World

BIG = Random(5).randbytes(30_000_000)  # its manifest has pages


def stock(world: World, store: MemoryStore, release: Release) -> None:
    """Put a release's manifest and index into a store, as a fetch does."""
    built, _ = world.built[release.version]
    store.save_object(root_object(release.manifest), built.manifest.root_bytes)
    for name, page in built.pages:
        store.save_object(page_object(name), page)
    for ref in release.indexes:
        store.save_object(f"index/{ref.digest.hex()}", world.objects[index_name(ref.digest)])


def shelf_of(store: MemoryStore) -> Shelf:
    ticks = iter(range(1000))
    return Shelf(store, clock=lambda: float(next(ticks)))


def test_rows_tell_what_is_held_and_what_was_begun() -> None:
    store = MemoryStore()
    shelf = shelf_of(store)
    one, two, three = (bytes([number]) * 32 for number in (9, 1, 5))
    shelf.begin(one, "app", "1")
    shelf.begin(two, "app", "2")
    shelf.begin(three, "tool", "7")
    assert [name for name, _ in shelf.begun()] == [one, two, three]
    assert [about["version"] for _, about in shelf.begun("app")] == ["1", "2"]
    shelf.hold(two, "app", "2")
    assert [name for name, _ in shelf.held()] == [two]
    assert [name for name, _ in shelf.begun("app")] == [one]
    shelf.begin(two, "app", "base of 3")
    assert [name for name, _ in shelf.begun("app")] == [one], "what is held is not begun again"
    assert set(store.pins()) == {one, two, three}
    shelf.forget(one)
    shelf.forget(two)
    assert set(store.pins()) == {three}
    assert (shelf.held(), shelf.begun("app")) == ([], [])


def test_tidy_keeps_the_maps_of_indexes_that_it_keeps() -> None:
    world, store = World(), MemoryStore()
    shelf = shelf_of(store)
    old, new = world.publish("1", b"old"), world.publish("2", b"new", base="1", map_data=b"map of 2")
    other = world.publish("3", b"other", base="1", map_data=b"map of 3")
    for release, data in ((old, b"of nothing"), (new, b"map of 2"), (other, b"map of 3")):
        stock(world, store, release)
        store.save_object(map_object(digest(data)), data)
    shelf.hold(new.manifest, "app", "2")
    shelf.begin(other.manifest, "app", "3")
    shelf.tidy()
    assert store.list_objects("map/") == sorted(map_object(digest(data)) for data in (b"map of 2", b"map of 3"))
    shelf.forget(other.manifest)
    shelf.tidy()
    assert store.list_objects("map/") == [map_object(digest(b"map of 2"))]
    shelf.forget(new.manifest)
    shelf.tidy()
    assert store.list_objects("map/") == []


def test_a_map_that_comes_while_it_is_tidied_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    world, store = World(), MemoryStore()
    shelf = shelf_of(store)
    world.publish("1", b"old")
    new = world.publish("2", b"new", base="1", map_data=b"map of 2")
    shelf.begin(new.manifest, "app", "2")
    listed, whole = list[str](), store.list_objects

    def list_objects(prefix: str) -> list[str]:
        found = whole(prefix)
        if prefix in {"map/", "index/"} and not listed:  # behind the first of the two
            stock(world, store, new)
            store.save_object(map_object(digest(b"map of 2")), b"map of 2")
        listed.append(prefix)
        return found

    monkeypatch.setattr(store, "list_objects", list_objects)
    shelf.tidy()
    assert whole("map/") == [map_object(digest(b"map of 2"))]


def test_tidy_removes_what_belongs_to_nothing_that_is_kept() -> None:
    world, store = World(), MemoryStore()
    shelf = shelf_of(store)
    old, new = world.publish("1", BIG), world.publish("2", BIG[:20_000_000] + bytes(5_000_000))
    assert world.built["1"][0].pages
    for release in (old, new):
        shelf.begin(release.manifest, "app", release.version)
        stock(world, store, release)
        shelf.hold(release.manifest, "app", release.version)
    store.save_object("metadata/timestamp.json", b"{}")
    everything = store.list_objects("")
    assert shelf.tidy() == 0
    assert store.list_objects("") == everything
    shelf.forget(old.manifest)
    shared = {name for name, _ in world.built["1"][0].pages} & {name for name, _ in world.built["2"][0].pages}
    gone = 2 + len({name for name, _ in world.built["1"][0].pages} - shared)
    assert shelf.tidy() == gone
    assert load_stored_manifest(store, old.manifest) is None
    kept = load_stored_manifest(store, new.manifest)
    assert kept is not None
    assert len(store.list_objects("index/")) == 1
    assert store.load_object("metadata/timestamp.json") == b"{}"


def test_no_page_goes_while_a_manifest_is_on_its_way() -> None:
    world, store = World(), MemoryStore()
    shelf = shelf_of(store)
    release = world.publish("1", BIG)
    shelf.begin(release.manifest, "app", "1")
    stock(world, store, release)
    (_, *_), (last, _) = world.built["1"][0].pages[:1], world.built["1"][0].pages[-1]
    store.delete_object(root_object(release.manifest))
    before = store.list_objects("page/")
    shelf.tidy()
    assert store.list_objects("page/") == before
    store.save_object(root_object(release.manifest), world.built["1"][0].manifest.root_bytes)
    store.delete_object(page_object(last))
    shelf.tidy()
    assert set(store.list_objects("page/")) == set(before) - {page_object(last)}


def test_damaged_objects_are_no_obstacle() -> None:
    world, store = World(), MemoryStore()
    shelf = shelf_of(store)
    release = world.publish("1", b"x" * 100_000)
    shelf.begin(release.manifest, "app", "1")
    stock(world, store, release)
    store.save_object(f"index/{bytes(32).hex()}", b"garbage")
    store.save_object("index/nonsense", b"garbage")
    assert shelf.tidy() == 2
    assert load_stored_manifest(store, release.manifest) is not None
