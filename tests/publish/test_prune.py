"""Old releases leave the metadata first, and the origin when nobody can be reading them any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edgeswarm.content.index import index_name
from edgeswarm.errors import ConfigError, PublishError, TrustError
from edgeswarm.publish import PruneOptions, PruneReport, prune
from edgeswarm.publish.pruned import RECORD, read_record
from edgeswarm.publish.reassemble import load_index
from edgeswarm.trust import catalogue, repository

from .world import Device, World, program

GRACE = timedelta(days=7)
SIZE = 40_000


def content(version: str) -> bytes:
    return program(int.from_bytes(version.encode(), "big"), SIZE)


def publish_all(world: World, *versions: str, channel: str = "stable", **changes: object) -> None:
    for version in versions:
        world.publish(content(version), version, channel, **{"delta_from": 0, **changes})


def pruned(world: World, after: timedelta = timedelta(hours=1), **changes: object) -> PruneReport:
    world.now += after
    options = replace(PruneOptions(keep=2, grace=GRACE), **changes)  # type: ignore[arg-type]  # fields by name
    return prune(world.fleet, "app", now=world.now, options=options)


def versions(world: World) -> list[str]:
    return [release.version for release in world.catalogue().releases("app")]


def test_releases_leave_the_metadata_at_once_and_the_origin_after_the_grace(world: World) -> None:
    publish_all(world, "1", "2", "3", "4")
    device, old = Device(world), {version: world.artifact(version) for version in ("4",)}
    old_root = f"manifests/{world.release_of('1').manifest.hex()}"
    device.version()
    before = world.snapshot()
    report = pruned(world)
    assert (report.removed, report.kept, report.deleted) == (("1", "2"), ("3", "4"), ())
    assert versions(world) == ["3", "4"]
    assert set(before) <= set(world.snapshot())
    assert report.next_at == world.now + GRACE
    assert pruned(world, GRACE - timedelta(seconds=1)).deleted == ()
    report = pruned(world, timedelta(seconds=1))
    assert old_root in report.deleted
    assert set(before) - set(world.snapshot()) == set(report.deleted) & set(before)
    assert report.deleted_bytes == sum(len(before[name]) for name in report.deleted if name in before)
    assert device.version() == "4"
    assert old["4"].read(0, SIZE) == world.artifact("4").read(0, SIZE) == content("4")
    assert report.waiting == 0 or report.next_at is not None


def test_all_of_it_goes_but_what_the_kept_releases_take(world: World) -> None:
    publish_all(world, "1", "2", "3")
    with_one = World.create(_new(world.folder / "other"))
    publish_all(with_one, "3")
    pruned(world, keep=1)
    pruned(world, GRACE, keep=1)
    assert _content_of(world) == _content_of(with_one)
    metadata = {name for name in world.snapshot() if name.startswith("metadata/")}
    newest = {f"metadata/{version}.{role}.json" for role, version in _newest(world).items()}
    assert metadata == newest | {"metadata/1.root.json", "metadata/timestamp.json"}


def test_nothing_to_do_changes_nothing_and_takes_no_keys(world: World) -> None:
    publish_all(world, "1", "2", "3")
    pruned(world)
    for name in ("product-app.pem", "snapshot.pem"):
        (Path(world.fleet.directory) / "keys" / name).unlink()
    before = world.snapshot()
    assert pruned(world).removed == ()
    assert world.snapshot() == before
    assert pruned(world, GRACE).deleted != ()


def test_without_the_keys_nothing_is_done(world: World) -> None:
    publish_all(world, "1", "2", "3")
    (Path(world.fleet.directory) / "keys" / "product-app.pem").unlink()
    before = world.snapshot()
    with pytest.raises(TrustError, match="app"):
        pruned(world)
    assert world.snapshot() == before


def test_a_dry_run_says_the_same_and_changes_nothing(world: World) -> None:
    publish_all(world, "1", "2", "3", "4")
    pruned(world)
    publish_all(world, "5")
    for _ in range(2):
        before = world.snapshot()
        world.now += GRACE
        dry = pruned(world, timedelta(0), dry_run=True)
        assert world.snapshot() == before
        real = pruned(world, timedelta(0))
        assert (dry.removed, dry.kept, dry.deleted) == (real.removed, real.kept, real.deleted)
        assert dry.deleted_bytes == real.deleted_bytes > 0


def test_what_another_channel_points_to_or_a_kept_release_is_based_on_stays(world: World) -> None:
    publish_all(world, "1", channel="old")
    publish_all(world, "2", "3")
    publish_all(world, "4", "5", delta_from=3)
    assert pruned(world, keep=1).removed == ("2",)
    bases = {ref.base for ref in world.release_of("5").indexes if ref.base}
    assert {world.release_of(version).manifest for version in ("3", "4")} <= bases
    assert versions(world) == ["1", "3", "4", "5"]


def test_every_channel_keeps_its_last_ones_whatever_they_are_called(world: World) -> None:
    publish_all(world, "9", "1", "8", "2")
    publish_all(world, "7", "0", "6", channel="beta")
    assert pruned(world).kept == ("0", "2", "6", "8")


def test_a_channel_whose_history_nobody_kept_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_all(world, "7", "8", channel="beta")
    monkeypatch.setattr(repository, "MAX_HISTORY", 0)
    publish_all(world, "1", "2", "3")
    assert world.catalogue().channel("app", "stable").history == ()
    assert pruned(world, keep=1).removed == ()


def test_what_others_put_there_stays(world: World) -> None:
    publish_all(world, "1", "2", "3")
    foreign = [
        "packs/readme.txt",
        "packs/aa/bb",
        f"packs/aa/{'b' * 64}",
        "index.html",
        "metadata/1.other.json",
        "metadata/x/1.app.json",
    ]
    foreign += [f"manifests/{'a' * 64}.bak", f"index/{'c' * 64}", "metadata/99.app.json", "metadata/1.root.json"]
    for name in foreign:
        (world.origin / name).parent.mkdir(exist_ok=True)
        if name != "metadata/1.root.json":
            (world.origin / name).write_bytes(b"mine")
    pruned(world, grace=timedelta(0))
    assert set(foreign) <= set(world.snapshot())


def test_what_is_published_again_within_the_grace_stays(world: World) -> None:
    publish_all(world, "1", "2", "3")
    manifest = world.release_of("1").manifest
    pruned(world)
    publish_all(world, "1", back=True)
    report = pruned(world, GRACE)
    assert f"manifests/{manifest.hex()}" not in report.deleted
    assert world.artifact("1").read(0, SIZE) == content("1")
    publish_all(world, "4", "5")
    pruned(world)
    assert f"manifests/{manifest.hex()}" not in pruned(world, GRACE - timedelta(hours=2)).deleted  # it waits anew


def test_a_channel_does_not_go_back_to_what_was_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (catalogue, repository):
        monkeypatch.setattr(module, "MAX_HISTORY", 2)
    publish_all(world, "1", "2", "3", "4", "5")
    assert not world.catalogue().channel("app", "stable").remembers_all
    assert pruned(world).removed == ("1", "2", "3")
    for version in ("1", "3"):
        with pytest.raises(PublishError, match="--back"):
            publish_all(world, version)
    publish_all(world, "6")  # new ones are free to come
    publish_all(world, "1", back=True)
    assert world.catalogue().channel("app", "stable").version == "1"


def test_packs_stay_while_an_index_cannot_be_read(world: World) -> None:
    publish_all(world, "1", "2", "3")
    ref = world.release_of("3").index_for(None)
    assert ref is not None
    lost = world.origin / index_name(ref.digest)
    data = lost.read_bytes()
    pruned(world)
    since = {name: at for name, at in read_record(world.writer).unnamed.items() if name.startswith("packs/")}
    assert since
    lost.write_bytes(data[:-1])
    report = pruned(world, GRACE)
    assert report.troubles
    assert not [name for name in report.deleted if name.startswith("packs/")]
    lost.write_bytes(data)
    assert set(since) <= set(pruned(world).deleted)


def test_a_publisher_whose_pack_is_gone_meanwhile_signs_nothing(world: World) -> None:
    publish_all(world, "1")
    other = world.write(content("2"), "two")
    gone: list[str] = []

    def meanwhile(stage: str, _done: int, _total: int) -> None:
        if stage == "delta from 1" and not gone:  # the full index and its pack are there by now
            gone.extend(pruned(world, timedelta(0), grace=timedelta(0)).deleted)

    with pytest.raises(PublishError, match="publish again"):
        world.publish(other, "2", progress=meanwhile)
    assert [name for name in gone if name.startswith("packs/")]
    assert versions(world) == ["1"]
    world.publish(other, "2")
    assert world.artifact("2").read(0, SIZE) == content("2")


def test_a_publisher_that_reuses_what_is_gone_meanwhile_signs_nothing(world: World) -> None:
    publish_all(world, "1", "2")
    index = world.release_of("2").index_for(None)
    assert index is not None
    pack = world.origin / f"packs/{(name := load_index(world.writer, index).packs[0].hex())[:2]}/{name}"

    def meanwhile(stage: str, done: int, total: int) -> None:
        if stage == "check" and done == total:
            pack.unlink()

    with pytest.raises(PublishError, match="publish again"):
        publish_all(world, "2", channel="beta", progress=meanwhile)
    assert world.catalogue().channels("app") == ["stable"]


def test_a_damaged_record_is_named(world: World) -> None:
    publish_all(world, "1", "2", "3")
    pruned(world)
    path, good = world.origin / RECORD, (world.origin / RECORD).read_bytes()
    whole, versions_wrong = b'{"format": 1, "removed": {}, "unnamed": ', b'{"format": 1, "removed": {"app": "1"}, "unnamed": {}}'
    wrong = (b"{}", b"[]", b'{"format": 2}', whole + b"[]}", whole + b'{"packs/x": 7}}', versions_wrong)
    for data in (good[:-10], *wrong):
        path.write_bytes(data)
        with pytest.raises(PublishError, match=r"pruned\.json: is damaged"):
            pruned(world)
        with pytest.raises(PublishError, match=r"pruned\.json: is damaged"):
            publish_all(world, "4")
    path.write_bytes(good)
    publish_all(world, "4")


def test_what_makes_no_sense_is_refused(world: World) -> None:
    publish_all(world, "1")
    for changes in ({"keep": 0}, {"keep": 34}, {"grace": timedelta(seconds=-1)}):
        with pytest.raises(ConfigError, match="wanted"):
            pruned(world, **changes)
    with pytest.raises(PublishError, match=r"'other' is not published .* \['app'\]"):
        prune(world.fleet, "other", now=world.now)
    with pytest.raises(PublishError, match="clock"):
        pruned(world, timedelta(days=-3))


def test_the_default_grace_is_the_life_of_a_timestamp(world: World) -> None:
    publish_all(world, "1", "2", "3")
    assert pruned(world, grace=None).next_at == world.now + world.fleet.expiries.timestamp


def _newest(world: World) -> dict[str, int]:
    return world.fleet.repository(world.writer, now=world.now).versions()


def _content_of(world: World) -> set[str]:
    return {name for name in world.snapshot() if name.startswith(("packs/", "index/", "manifests/"))}


def _new(path: Path) -> Path:
    path.mkdir()
    return path
