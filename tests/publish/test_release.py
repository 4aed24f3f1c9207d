from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edgeswarm.content.index import SPAN_CHUNKS, manifest_name
from edgeswarm.content.manifest import ArtifactKind
from edgeswarm.errors import ConfigError, PublishError, TrustError
from edgeswarm.origin import DirectoryWriter
from edgeswarm.publish import Fleet, PublishOptions, site_cost
from edgeswarm.publish.reassemble import load_index

from .world import World, edited, program, updated

V1 = program(1, 700_000)
V2 = edited(V1, 2)


def test_a_first_release_can_be_read_back(world: World) -> None:
    report = world.publish(V1, "1")
    assert world.artifact("1").read(0, len(V1)) == V1
    assert (report.changed, report.sequence, report.size, report.deltas) == (True, 1, len(V1), ())
    assert report.chunks == report.new_chunks > 3
    assert report.full_bytes < len(V1)
    assert world.catalogue().channel("app", "stable").version == "1"


def test_an_update_is_a_small_delta_that_makes_the_release(world: World) -> None:
    world.publish(V1, "1")
    report = world.publish(V2, "2", level=6)
    assert updated(world, "2", "1") == V2
    assert world.artifact("2").read(0, len(V2)) == V2
    assert [delta.base_version for delta in report.deltas] == ["1"]
    assert site_cost(report, "1") < site_cost(report) / 20
    assert world.catalogue().channel("app", "stable").sequence == 2


def test_the_report_counts_what_lies_at_the_origin(world: World) -> None:
    world.publish(V1, "1")
    before = world.snapshot()
    report = world.publish(V2, "2")
    new = {name: data for name, data in world.snapshot().items() if before.get(name) != data}
    sizes = {kind: sum(len(data) for name, data in new.items() if name.startswith(kind)) for kind in ("metadata", "manifests")}
    assert report.metadata_bytes == sizes["metadata"]
    assert report.root_bytes == sizes["manifests"]
    assert report.stored_bytes == sum(map(len, new.values())) - sum(sizes.values())
    release = world.catalogue().release("app", "2")
    ref = release.index_for(world.artifact("1").manifest.digest)
    assert ref is not None
    delta = report.deltas[0]
    assert (delta.index_bytes, delta.delta_bytes) == (ref.length, load_index(world.writer, ref).payload_bytes)
    assert site_cost(report, "1") == report.metadata_bytes + report.root_bytes + delta.index_bytes + delta.delta_bytes


def test_chunks_that_an_older_release_has_are_not_stored_again(world: World) -> None:
    world.publish(V1, "1")
    report = world.publish(V1 + program(9, 100_000), "2")
    assert report.new_chunks < report.chunks / 2
    full = world.artifact("2").full
    assert len(full.packs) == 2
    assert set(world.artifact("1").full.packs) < set(full.packs)


def test_the_same_again_changes_nothing(world: World) -> None:
    world.publish(V1, "1")
    first = world.publish(V2, "2")
    before = world.snapshot()
    again = world.publish(V2, "2")
    assert world.snapshot() == before
    assert (again.changed, again.stored_bytes, again.new_chunks) == (False, 0, 0)
    assert (again.deltas, again.full_bytes, again.manifest) == (first.deltas, first.full_bytes, first.manifest)


def test_an_old_timestamp_is_signed_again_in_passing(world: World) -> None:
    world.publish(V1, "1")
    before = world.snapshot()
    world.now += timedelta(days=7)
    assert not world.publish(V1, "1").changed
    assert world.snapshot() == before
    world.now += timedelta(days=1)
    assert not world.publish(V1, "1").changed
    after = world.snapshot()
    assert {name for name in after if after[name] != before.get(name)} == {"metadata/timestamp.json"}


def test_a_version_is_never_given_other_content(world: World) -> None:
    world.publish(V1, "1")
    before = world.snapshot()
    with pytest.raises(PublishError, match="new version"):
        world.publish(V2, "1")
    assert world.snapshot() == before


def test_bytes_are_the_same_at_any_parallelism(tmp_path: Path) -> None:
    origins = []
    for threads in (1, 4):
        folder = tmp_path / str(threads)
        folder.mkdir()
        world = World.create(folder)
        world.options = replace(world.options, threads=threads, unit_bytes=2048)
        world.publish(V1, "1")
        world.publish(V2, "2")
        origins.append({name: data for name, data in world.snapshot().items() if not name.startswith("metadata/")})
    assert origins[0] == origins[1]


def test_units_are_as_small_as_wanted_and_stay_in_their_span(world: World) -> None:
    old = program(3, 6_000_000)
    world.publish(old, "1")
    world.publish(edited(old, 5, 400)[:3_000_000] + program(4, 3_000_000), "2", unit_bytes=50_000)
    ref = next(ref for ref in world.catalogue().release("app", "2").indexes if ref.base is not None)
    pieces = load_index(world.writer, ref).pieces
    assert all(piece.length <= 50_000 or piece.count == 1 for piece in pieces)
    assert all(piece.first // SPAN_CHUNKS == (piece.first + piece.count - 1) // SPAN_CHUNKS for piece in pieces)
    assert max(piece.count for piece in pieces) > 3  # and not smaller than they must be
    assert len(world.artifact("2").manifest) > SPAN_CHUNKS


def test_deltas_are_made_from_the_last_releases_and_metadata_stays_small(world: World) -> None:
    data = program(5, 150_000)
    versions = [edited(data, seed) for seed in range(6)]
    reports = [world.publish(data, str(number), delta_from=2) for number, data in enumerate(versions)]
    assert [[delta.base_version for delta in report.deltas] for report in reports[-2:]] == [["3", "2"], ["4", "3"]]
    named = {release.version: len(release.indexes) for release in world.catalogue().releases("app")}
    assert named == {"0": 0, "1": 0, "2": 0, "3": 1, "4": 1, "5": 3}
    assert updated(world, "5", "3") == versions[5]


def test_promotion_to_another_channel_adds_the_delta_that_its_sites_need(world: World) -> None:
    a, b, c = V1[:200_000], V2[:200_000], edited(V2[:200_000], 3)
    world.publish(a, "a", "stable")
    world.publish(b, "b", "beta", delta_from=1)
    first = world.publish(c, "c", "beta", delta_from=1)
    assert [delta.base_version for delta in first.deltas] == ["b"]
    report = world.publish(c, "c", "stable", delta_from=1)
    assert report.changed
    assert {delta.base_version for delta in report.deltas} == {"a", "b"}
    assert report.new_chunks == 0
    assert updated(world, "c", "a") == c
    catalogue = world.catalogue()
    assert [catalogue.channel("app", name).version for name in ("beta", "stable")] == ["c", "c"]


def test_another_variant_of_an_old_version_does_not_take_the_channel_back(world: World) -> None:
    world.publish(V1, "1")
    world.publish(V2, "2")
    with pytest.raises(PublishError, match="--back"):
        world.publish(V1, "1", compatible="board-7")
    assert world.catalogue().channel("app", "stable").version == "2"


def test_a_channel_goes_back_only_when_told_to(world: World) -> None:
    world.publish(V1, "1")
    world.publish(V2, "2")
    with pytest.raises(PublishError, match="--back"):
        world.publish(V1, "1")
    report = world.publish(V1, "1", back=True)
    assert (report.sequence, world.catalogue().channel("app", "stable").version) == (3, "1")
    assert updated(world, "1", "2") == V1


def test_variants_share_chunks_and_have_deltas_of_their_own(world: World) -> None:
    arm = edited(V1, 7, edits=2)
    world.publish(V1, "1", compatible="x86")
    report = world.publish(arm, "1", compatible="arm")
    assert report.new_chunks < report.chunks
    assert report.sequence == 1
    world.publish(V2, "2", compatible="x86")
    new = edited(arm, 8)
    report = world.publish(new, "2", compatible="arm")
    bases = {ref.base for ref in world.catalogue().release("app", "2", "arm").indexes}
    assert bases == {None, world.artifact("1", "arm").manifest.digest}
    assert world.artifact("2", "arm").read(0, len(new)) == new


def test_the_same_content_under_a_new_version_costs_nothing_but_metadata(world: World) -> None:
    world.publish(V1, "1")
    report = world.publish(V1, "2")
    assert (report.new_chunks, report.deltas, report.sequence) == (0, (), 2)
    assert world.catalogue().release("app", "2").manifest == world.catalogue().release("app", "1").manifest


def test_an_empty_file_can_be_published(world: World) -> None:
    report = world.publish(b"", "1")
    assert (report.size, report.chunks, report.full_bytes) == (0, 0, 0)
    world.publish(V1, "2")
    assert updated(world, "2", "1") == V1


def test_a_tree_can_be_published_and_updated(world: World) -> None:
    tree = world.folder / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "app").write_bytes(V1[:300_000])
    (tree / "readme").write_bytes(b"hello\n")
    os.symlink("bin/app", tree / "app")
    report = world.publish(str(tree), "1")
    assert report.kind == "tree"
    (tree / "bin" / "app").write_bytes(V2[:300_000])
    report = world.publish(str(tree), "2")
    manifest = world.artifact("2").manifest
    assert updated(world, "2", "1") == world.artifact("2").read(0, manifest.root.size)
    assert report.deltas[0].delta_bytes < report.full_bytes / 5


def test_a_file_can_be_published_as_an_image(world: World) -> None:
    assert world.publish(V1, "1", kind=ArtifactKind.IMAGE).kind == "image"
    with pytest.raises(ConfigError, match="cannot be published as a tree"):
        world.publish(V1, "2", kind=ArtifactKind.TREE)


def test_a_damaged_base_costs_its_delta_and_nothing_else(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.publish(V1, "1")
    pack = next(path for path in world.origin.glob("packs/*/*"))
    pack.write_bytes(bytes(pack.stat().st_size))
    fresh = program(8, 300_000)
    report = world.publish(fresh, "2")
    assert report.deltas == ()
    assert "no delta is made" in caplog.text
    assert world.artifact("2").read(0, len(fresh)) == fresh


def test_a_lost_pack_is_written_again(world: World) -> None:
    world.publish(V1, "1")
    next(path for path in world.origin.glob("packs/*/*")).unlink()
    world.publish(V1, "1")
    assert world.artifact("1").read(0, len(V1)) == V1


@pytest.mark.parametrize("kind", ["manifests", "index"])
@pytest.mark.parametrize("damage", ["lost", "flipped", "longer"])
def test_a_damaged_object_is_written_again(world: World, kind: str, damage: str) -> None:
    world.publish(V1, "1")
    (path,) = (path for path in world.origin.glob(f"{kind}/**/*") if path.is_file())
    data = path.read_bytes()
    changes = {"lost": path.unlink, "flipped": lambda: path.write_bytes(data[::-1]), "longer": lambda: path.write_bytes(data * 2)}
    changes[damage]()
    world.publish(V1, "1")
    assert path.read_bytes() == data
    assert world.artifact("1").read(0, len(V1)) == V1


@pytest.mark.parametrize("data", [b"", b"junk" * 5000, None])
def test_a_damaged_root_of_an_old_release_does_not_stop_new_ones(world: World, data: bytes | None) -> None:
    world.publish(V1, "1")
    world.publish(V2, "2")
    world.publish(edited(V2, 4), "3", "beta")
    path = world.origin / manifest_name(world.release_of("2").manifest)
    path.unlink() if data is None else path.write_bytes(data)
    world.publish(edited(V2, 4), "3", "stable")  # and 2 needs its full index from now on, no more
    assert world.catalogue().channel("app", "stable").version == "3"
    assert len(world.release_of("2").indexes) == 1


@pytest.mark.parametrize("name", ["targets", "snapshot", "timestamp"])
def test_a_release_that_could_not_be_signed_is_refused_before_it_is_read(world: World, name: str) -> None:
    os.unlink(world.fleet.path("keys", f"{name}.pem"))
    before, said = world.snapshot(), []
    with pytest.raises(TrustError, match=f"role '{name}' takes 1"):
        world.publish(V1, "1", progress=lambda *moment: said.append(moment))
    assert (world.snapshot(), said) == (before, [])
    assert not os.path.exists(world.fleet.path("keys", "product-app.pem"))


def test_it_can_be_cancelled(world: World) -> None:
    before = world.snapshot()
    asked = itertools.count()
    with pytest.raises(PublishError, match="cancelled"):
        world.publish(V1, "1", cancelled=lambda: next(asked) > 3)
    assert world.snapshot() == before


def test_progress_reaches_its_totals(world: World) -> None:
    world.publish(V1, "1")
    last: dict[str, tuple[int, int]] = {}
    world.publish(V2, "2", progress=lambda stage, done, total: last.update({stage: (done, total)}))
    assert sorted(last) == ["delta from 1", "encode", "read"]
    assert all(done == total > 0 for done, total in last.values())


def test_a_source_that_changes_meanwhile_is_refused(world: World) -> None:
    path = Path(world.write(V1))
    before = world.snapshot()

    def meddle(stage: str, _done: int, _total: int) -> None:
        if stage == "encode":
            path.write_bytes(V2)

    with pytest.raises(PublishError, match="changed while it was published"):
        world.publish(str(path), "1", progress=meddle)
    assert {name: data for name, data in world.snapshot().items() if name.startswith("metadata/")} == before


def test_a_tree_that_changes_while_it_is_encoded_is_refused(world: World) -> None:
    tree = world.folder / "tree"
    tree.mkdir()
    (tree / "app").write_bytes(V1)
    with pytest.raises(PublishError, match="changed while it was published"):
        world.publish(str(tree), "1", progress=lambda stage, _done, _total: stage == "encode" and (tree / "new").touch())
    assert world.catalogue_paths() == []


class _StopError(Exception):
    pass


class _FailingWriter(DirectoryWriter):
    """Stops before its n-th write, like a publisher that is killed."""

    def __init__(self, folder: str, left: int) -> None:
        super().__init__(folder)
        self.left = left

    def put(self, name, data, *, replace=False):  # type: ignore[no-untyped-def]  # as its base
        if not self.left:
            raise _StopError
        self.left -= 1
        super().put(name, data, replace=replace)


@contextmanager
def _stopping(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, left: int):  # type: ignore[no-untyped-def]  # a generator
    writer = _FailingWriter(fleet.origin, left)
    with monkeypatch.context() as patch:
        patch.setattr(Fleet, "writer", lambda _: writer)
        yield


@pytest.mark.slow
def test_it_can_be_interrupted_at_any_write_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = V1[:200_000], V2[:200_000]
    for writes in itertools.count():
        folder = tmp_path / str(writes)
        folder.mkdir()
        world = World.create(folder)
        world.publish(old, "1")
        try:
            with _stopping(world.fleet, monkeypatch, writes):
                world.publish(new, "2")
        except _StopError:
            catalogue = world.catalogue()  # a device sees the old release, whole
            assert catalogue.channel("app", "stable").version == "1"
        else:
            break
        world.publish(new, "2")
        assert world.catalogue().channel("app", "stable").version == "2"
        assert updated(world, "2", "1") == new
        assert world.artifact("2").read(0, len(new)) == new
    assert writes == 8  # two packs, two indexes, root, product, snapshot, timestamp


def test_two_publishers_do_not_lose_each_others_release(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(V1, "1")
    other = world.write(V1 + b"other", "other")
    done = False

    def meanwhile(stage: str, _done: int, _total: int) -> None:
        nonlocal done
        if stage == "encode" and not done:
            done = True
            world.publish(other, "other", "beta")

    world.publish(V2, "2", progress=meanwhile)
    catalogue = world.catalogue()
    assert (catalogue.channel("app", "stable").version, catalogue.channel("app", "beta").version) == ("2", "other")


def test_two_publishers_of_the_same_release_keep_both_deltas(world: World) -> None:
    world.publish(V1, "1", "stable")
    world.publish(V1 + b"beta", "b", "beta", delta_from=0)
    done = False

    def meanwhile(stage: str, _done: int, _total: int) -> None:
        nonlocal done
        if stage == "encode" and not done:
            done = True
            world.publish(V2, "2", "beta", delta_from=1)

    world.publish(world.write(V2, "same"), "2", "stable", delta_from=1, progress=meanwhile)
    bases = {ref.base for ref in world.catalogue().release("app", "2").indexes}
    assert bases == {None, world.release_of("1").manifest, world.release_of("b").manifest}


def test_without_its_keys_nothing_is_signed(world: World) -> None:
    world.publish(V1, "1")
    os.unlink(world.fleet.path("keys", "snapshot.pem"))
    before = world.snapshot()
    with pytest.raises(TrustError, match="snapshot"):
        world.publish(V2, "2")
    after = world.snapshot()
    assert {name: data for name, data in after.items() if name.startswith("metadata/")} == {
        name: data for name, data in before.items() if name.startswith("metadata/")
    }


def test_a_published_product_needs_no_targets_key(world: World) -> None:
    world.publish(V1, "1")
    for name in ("targets", "root-1"):  # what a CI job has no business with
        os.unlink(world.fleet.path("keys", f"{name}.pem"))
    assert world.publish(V2, "2").changed


@pytest.mark.parametrize(("field", "value"), [("delta_from", 16), ("level", 0), ("unit_bytes", 1), ("threads", -1)])
def test_options_are_checked(field: str, value: int) -> None:
    with pytest.raises(ConfigError, match=field.replace("_", "-")):
        PublishOptions(**{field: value})  # type: ignore[arg-type]  # fields by name


def test_bad_names_are_refused_before_anything_is_done(world: World) -> None:
    before = world.snapshot()
    for version, channel in (("../1", "stable"), ("1", "a/b")):
        with pytest.raises(ConfigError):
            world.publish(V1, version, channel)
    assert world.snapshot() == before
