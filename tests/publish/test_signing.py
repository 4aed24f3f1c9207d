"""`refresh`: what is signed when, and what it makes of a damaged origin. A device that saw the old state judges."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edgeswarm.errors import EdgeswarmError, PublishError, TrustError
from edgeswarm.publish import Fleet, RefreshReport, refresh
from edgeswarm.publish.signing import write_metadata
from edgeswarm.trust.ceremony import draft_root, sign_draft
from edgeswarm.trust.keys import Keyring, SigningKey

from .world import Device, World

DAY = timedelta(days=1)
V1, V2, V3 = b"program 1", b"program 2", b"program 3"


@pytest.fixture
def device(world: World) -> Device:
    """A device that saw two releases and some daily refreshes."""
    device = Device(world)
    for version, data in (("1", V1), ("2", V2)):
        world.publish(data, version)
        device.version()
    for _ in range(3):
        refreshed(world)
    assert device.version() == "2"
    return device


def refreshed(world: World, days: float = 1, **options: bool) -> RefreshReport:
    world.now += timedelta(days=days)
    return refresh(world.fleet, now=world.now, clock_is_right=True, **options)  # clocks are judged in test_clock


def take(world: World, *names: str) -> None:
    for name in names:
        os.unlink(world.fleet.path("keys", f"{name}.pem"))


def names_of(report: RefreshReport) -> list[str]:
    return [name.removeprefix("metadata/") for name in report.files]


# ---------------------------------------------------------------------- when what is signed


def test_each_role_is_signed_at_half_of_its_life(world: World) -> None:
    world.publish(V1, "1")
    assert names_of(refreshed(world, 44)) == ["timestamp.json"]
    assert names_of(refreshed(world, 2)) == ["3.snapshot.json", "timestamp.json"]
    assert names_of(refreshed(world, 137)) == ["3.targets.json", "2.app.json", "4.snapshot.json", "timestamp.json"]
    assert names_of(refreshed(world)) == ["timestamp.json"]


def test_a_fleet_that_is_refreshed_daily_lives_as_long_as_its_root(world: World) -> None:
    world.publish(V1, "1")
    device = Device(world)
    for _ in range(72):
        report = refreshed(world, 10)
        assert device.version() == "1"
    assert report.left == ("root",)


def test_all_can_be_signed_at_any_time(world: World) -> None:
    world.publish(V1, "1")
    report = refreshed(world, every=True)
    assert names_of(report) == ["3.targets.json", "2.app.json", "3.snapshot.json", "timestamp.json"]
    assert {role: (end - world.now).days for role, end in report.expiries.items()} == {
        "root": 728, "targets": 365, "app": 365, "snapshot": 90, "timestamp": 30,
    }  # fmt: skip
    assert Device(world).version() == "1"


def test_roles_whose_keys_are_elsewhere_are_left_and_told(world: World) -> None:
    world.publish(V1, "1")
    take(world, "targets", "product-app")
    assert refreshed(world, 100).left == ()
    report = refreshed(world, 100)
    assert (names_of(report), report.left) == (["4.snapshot.json", "timestamp.json"], ("app", "targets"))
    assert names_of(refreshed(world)) == ["timestamp.json"]
    assert report.as_dict()["left"] == ["app", "targets"]


def test_without_the_snapshot_key_the_timestamp_alone_is_signed(world: World) -> None:
    world.publish(V1, "1")
    take(world, "snapshot")
    report = refreshed(world, 50, every=True)
    assert (names_of(report), report.left) == (["timestamp.json"], ("snapshot",))
    take(world, "timestamp")
    with pytest.raises(TrustError, match="'timestamp' takes 1"):
        refreshed(world)


def test_too_few_keys_of_a_threshold_sign_nothing(world: World) -> None:
    world.publish(V1, "1")
    keys = [SigningKey.generate() for _ in range(2)]
    repository = world.fleet.repository(world.writer, now=world.now)
    repository.delegate("app", Keyring(tuple(key.public for key in keys), 2))
    write_metadata(world.writer, repository.sign([*world.fleet.signing_keys(), *keys], now=world.now))
    Path(world.fleet.path("keys", "a.pem")).write_bytes(keys[0].to_pem())
    report = refreshed(world, 200)
    assert report.left == ("app",)
    assert "3.app.json" not in names_of(report)
    Path(world.fleet.path("keys", "b.pem")).write_bytes(keys[1].to_pem())
    assert "3.app.json" in names_of(refreshed(world))


def test_the_end_of_the_root_is_told_half_a_year_before(world: World) -> None:
    assert refreshed(world, 540).left == ()
    assert refreshed(world, 10).left == ("root",)


def test_a_publisher_that_signs_meanwhile_is_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the lock reads what the other one signed."""
    world.publish(V1, "1")
    writer = world.writer
    lock = writer.lock

    def after_another() -> object:
        monkeypatch.undo()
        world.publish(V2, "2")
        return lock()

    monkeypatch.setattr(writer, "lock", after_another)
    monkeypatch.setattr(Fleet, "writer", lambda _: writer)
    refreshed(world, every=True)
    assert Device(world).version() == "2"


# ---------------------------------------------------------------------- repair


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b'"sig":"') + 9
    path.write_bytes(data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(6_000_000))


Damage = Callable[[Path], None]
DAMAGES: list[Damage] = [truncate, flip, grow, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "names", [["timestamp"], ["3.snapshot"], ["timestamp", "3.snapshot"], ["timestamp", "2.snapshot", "3.snapshot"]]
)
def test_timestamp_and_snapshot_are_made_anew(world: World, device: Device, names: list[str], damage: Damage) -> None:
    for name in names:
        damage(world.origin / "metadata" / f"{name}.json")
    for call in (lambda: refreshed(world), lambda: world.publish(V3, "3")):
        with pytest.raises(EdgeswarmError, match="refresh --repair"):
            call()
    refreshed(world, repair=True)
    assert device.version() == "2"
    assert Device(world).version() == "2"
    assert names_of(refreshed(world)) == ["timestamp.json"]
    world.publish(V3, "3")
    assert device.version() == "3"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["2.targets", "2.app"])
def test_a_lost_role_is_named_and_a_copy_repairs_it(world: World, device: Device, name: str, damage: Damage) -> None:
    path = world.origin / "metadata" / f"{name}.json"
    copy = path.read_bytes()
    damage(path)
    (world.origin / "metadata" / "timestamp.json").unlink()
    before = world.snapshot()
    with pytest.raises(PublishError, match=rf"metadata/{name}.json is lost or damaged.*put one back"):
        refreshed(world, repair=True)
    assert world.snapshot() == before
    path.write_bytes(copy)
    refreshed(world, repair=True)
    assert device.version() == "2"


PUBLISHED = r"published of 'app'; the newest older file, 1\.app\.json, has the releases 1 and the channels stable -> 1, and lacks"
SIGNERS = r"who signs which product; the newest older file, 1\.targets\.json, has the products none, and lacks"


@pytest.mark.parametrize(("name", "says"), [("2.app", PUBLISHED), ("2.targets", SIGNERS)])
def test_what_a_lost_role_means_is_said(world: World, device: Device, name: str, says: str) -> None:
    (world.origin / "metadata" / f"{name}.json").unlink()
    with pytest.raises(PublishError, match=says + r".*Nothing goes on from an older file.*no copy anywhere"):
        refreshed(world, repair=True)
    truncate(world.origin / "metadata" / f"1.{name[2:]}.json")
    with pytest.raises(PublishError, match=r"; no older file of it verifies\. "):
        refreshed(world, repair=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_old_files_are_not_missed(world: World, device: Device, damage: Damage) -> None:
    for name in ("1.targets", "1.app", "2.snapshot", "1.root"):
        damage(world.origin / "metadata" / f"{name}.json")
    refreshed(world)
    refreshed(world, repair=True)
    assert device.version() == "2"


def test_an_older_timestamp_does_not_lead_numbers_back(world: World, device: Device) -> None:
    """A copy of yesterday names snapshots whose numbers are used up: those of today lie beside it."""
    path = world.origin / "metadata" / "timestamp.json"
    old = path.read_bytes()
    world.publish(V3, "3")
    assert device.version() == "3"
    path.write_bytes(old)
    refreshed(world, repair=True)
    assert device.version() == "3"


def test_repair_twice_goes_on_counting(world: World, device: Device) -> None:
    refreshed(world, repair=True)
    assert device.version() == "2"
    (world.origin / "metadata" / "timestamp.json").unlink()
    refreshed(world, days=0, repair=True)
    assert device.version() == "2"


def test_a_product_that_was_delegated_and_no_more_is_begun(world: World, device: Device) -> None:
    repository = world.fleet.repository(world.writer, now=world.now)
    repository.delegate("other", world.fleet.product_keyring("other"))
    files = repository.sign(world.fleet.signing_keys(), now=world.now)
    write_metadata(world.writer, {"3.targets.json": files["3.targets.json"]})  # and then the publisher died
    assert "1.other.json" in names_of(refreshed(world, repair=True))
    assert device.version() == "2"


def test_nothing_is_made_of_an_empty_or_strange_origin(world: World, tmp_path: Path) -> None:
    for place in (str(tmp_path / "nowhere"), World.create(_new(tmp_path / "other")).fleet.origin):
        with pytest.raises(PublishError, match=r"is it mounted|2\.targets|1\.targets"):
            refresh(replace(world.fleet, origin=place), now=world.now, repair=True)
        assert not (Path(place) / "metadata" / "1.app.json").exists()


def _new(path: Path) -> Path:
    path.mkdir()
    return path


def test_roots_are_followed_and_a_lost_one_is_named(world: World, device: Device) -> None:
    keys = {path.stem: SigningKey.from_pem(path.read_bytes()) for path in Path(world.fleet.path("keys")).iterdir()}
    rings = {role: Keyring((keys[role].public,)) for role in ("targets", "snapshot", "timestamp")}
    before = world.fleet.root
    for _ in range(2):
        draft = draft_root(root=Keyring((keys["root-1"].public,)), **rings, now=world.now, previous=before)
        repository = world.fleet.repository(world.writer, now=world.now)
        before = sign_draft(draft, [keys["root-1"]])
        repository.rotate_root(before)
        write_metadata(world.writer, repository.sign(world.fleet.signing_keys(), now=world.now))
    assert device.version() == "2"
    refreshed(world, repair=True)
    assert (device.version(), device.floor.root) == ("2", 3)
    path = world.origin / "metadata" / "2.root.json"
    for damage in (truncate, flip, Path.unlink):
        data = path.read_bytes()
        damage(path)
        with pytest.raises(PublishError, match=r"metadata/2\.root\.json is lost"):
            refreshed(world, repair=True)
        path.write_bytes(data)
