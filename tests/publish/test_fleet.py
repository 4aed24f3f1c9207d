from __future__ import annotations

import errno
import os
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from edgeswarm.errors import ConfigError, PublishError, TrustError
from edgeswarm.origin import DirectoryWriter
from edgeswarm.publish import Fleet, add_site, enrol, init_fleet, publish, refresh
from edgeswarm.publish.folders import write_new
from edgeswarm.trust.ceremony import Expiries, check_root

from .world import FAST, NOW, World


def secret_modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file() and "origin" not in path.parts}


def test_a_fleet_is_made_whole_and_secret(tmp_path: Path) -> None:
    fleet = init_fleet(str(tmp_path / "f"), name="acme", now=NOW, root_keys=3, root_threshold=2)
    assert secret_modes(tmp_path / "f") == {0o600}
    assert sorted(os.listdir(fleet.path("keys"))) == [
        *(f"root-{number}.pem" for number in (1, 2, 3)),
        "snapshot.pem",
        "targets.pem",
        "timestamp.pem",
    ]
    root = check_root(fleet.root)
    assert (root.roles["root"].threshold, len(root.roles["root"].keyids)) == (2, 3)
    assert fleet == Fleet.open(str(tmp_path / "f"))
    assert fleet.authority().fleet == "acme"
    assert os.listdir(tmp_path) == ["f"]


def test_a_stick_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The medium for offline keys: link(2) says EPERM on vfat and exFAT."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    fleet = init_fleet(str(tmp_path / "f"), name="acme", now=NOW)
    add_site(fleet, "harbour")
    assert enrol(fleet, "harbour", "a", str(tmp_path / "a"), now=NOW).node == "a"
    (tmp_path / "artifact").write_bytes(b"1")
    publish(fleet, str(tmp_path / "artifact"), product="app", version="1", channel="c", now=NOW, options=FAST)
    key = (tmp_path / "f/keys/product-app.pem").read_bytes()
    with pytest.raises(ConfigError, match="exists already; it was left"):
        write_new(fleet.path("keys", "product-app.pem"), b"other", "signing key")
    assert (tmp_path / "f/keys/product-app.pem").read_bytes() == key
    assert [path for path in tmp_path.rglob("*.part")] == []
    assert secret_modes(tmp_path / "f") == {0o600}


def test_expiries_and_origin_stand_in_the_fleet_file(tmp_path: Path) -> None:
    lasts = Expiries(timestamp=timedelta(hours=12))
    odd = tmp_path / 'or"ig\\in \u00e4'
    fleet = init_fleet(str(tmp_path / "f"), name="acme", now=NOW, origin=str(odd), expiries=lasts)
    assert (fleet.origin, fleet.expiries) == (str(odd), lasts)
    assert (odd / "metadata" / "timestamp.json").exists()
    assert tomllib.loads((tmp_path / "f" / "fleet.toml").read_text())["expiry_days"]["timestamp"] == 0.5


def test_a_fleet_can_be_moved(tmp_path: Path) -> None:
    init_fleet(str(tmp_path / "f"), name="acme", now=NOW)
    os.rename(tmp_path / "f", tmp_path / "g")
    assert refresh(Fleet.open(str(tmp_path / "g")), now=NOW).metadata_bytes > 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    init_fleet(str(tmp_path / "f"), name="acme", now=NOW, origin=str(tmp_path / "o"))
    before = (tmp_path / "f" / "root.json").read_bytes()
    with pytest.raises(ConfigError, match="not empty"):
        init_fleet(str(tmp_path / "f"), name="acme", now=NOW)
    with pytest.raises(ConfigError, match="already holds"):
        init_fleet(str(tmp_path / "g"), name="acme", now=NOW, origin=str(tmp_path / "o"))
    assert (tmp_path / "f" / "root.json").read_bytes() == before
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(("keys", "threshold"), [(0, 0), (1, 2), (17, 1)])
def test_senseless_root_keys_are_refused(tmp_path: Path, keys: int, threshold: int) -> None:
    with pytest.raises(ConfigError, match="root keys"):
        init_fleet(str(tmp_path / "f"), name="acme", now=NOW, root_keys=keys, root_threshold=threshold)
    assert os.listdir(tmp_path) == []


def test_a_bad_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        init_fleet(str(tmp_path / "f"), name="a/b", now=NOW)


def test_keys_can_have_a_passphrase(tmp_path: Path) -> None:
    init_fleet(str(tmp_path / "f"), name="acme", now=NOW, passphrase=b"hush")
    for path in [*(tmp_path / "f" / "keys").iterdir(), tmp_path / "f" / "ca" / "ca.key"]:
        assert b"ENCRYPTED" in path.read_bytes()
    fleet = Fleet.open(str(tmp_path / "f"), passphrase=b"hush")
    (tmp_path / "a").write_bytes(b"1")
    publish(fleet, str(tmp_path / "a"), product="app", version="1", channel="c", now=NOW, options=FAST)
    assert b"ENCRYPTED" in (tmp_path / "f" / "keys" / "product-app.pem").read_bytes()
    assert "hush" not in repr(fleet)
    for passphrase in (None, b"wrong"):
        with pytest.raises(TrustError, match="EDGESWARM_PASSPHRASE"):
            refresh(Fleet.open(str(tmp_path / "f"), passphrase=passphrase), now=NOW)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "a"\norigin = "o"\nextra = 1', "extra"),
        ('name = "a"', "origin"),
        ('name = "a/b"\norigin = "o"', "a/b"),
        ('name = "a"\norigin = "o"\n[expiry_days]\nroot = "x"', "expiry_days.root"),
        ('name = "a"\norigin = "o"\n[expiry_days]\nleaf = 1', "expiry_days"),
        ("name = ", "fleet.toml"),
    ],
)
def test_a_wrong_fleet_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "fleet.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        Fleet.open(str(tmp_path))


def test_a_folder_that_is_no_fleet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="edgeswarm init"):
        Fleet.open(str(tmp_path))


def test_refresh_signs_the_timestamp_and_later_the_snapshot(world: World) -> None:
    world.publish(b"1", "1")
    report = refresh(world.fleet, now=world.now + timedelta(days=1))
    assert report.files == ("metadata/timestamp.json",)
    assert report.metadata_bytes == len((world.origin / "metadata" / "timestamp.json").read_bytes())
    report = refresh(world.fleet, now=world.now + timedelta(days=60), clock_is_right=True)
    assert report.files == ("metadata/3.snapshot.json", "metadata/timestamp.json")
    assert report.as_dict()["expiries"]["timestamp"] == "2027-03-01T01:00:00Z"


def test_refresh_cures_what_has_expired(world: World) -> None:
    world.now += timedelta(days=200)
    refresh(world.fleet, now=world.now, clock_is_right=True)
    world.publish(b"1", "1")
    assert world.catalogue().channel("app", "stable").version == "1"


def test_an_origin_of_another_fleet_is_refused(tmp_path: Path, world: World) -> None:
    other = init_fleet(str(tmp_path / "other"), name="other", now=NOW)
    (tmp_path / "a").write_bytes(b"1")
    stranger = Fleet(other.directory, other.name, world.fleet.origin)
    with pytest.raises(TrustError):
        publish(stranger, str(tmp_path / "a"), product="app", version="1", channel="c", now=NOW, options=FAST)
    with pytest.raises(PublishError, match="is it mounted"):
        refresh(Fleet(other.directory, other.name, str(tmp_path / "nowhere")), now=NOW)


def test_a_fleet_whose_origin_was_not_written_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, folder = str(tmp_path / "srv"), tmp_path / "fleet"

    def full(*_: object, **__: object) -> None:
        raise PublishError("full")

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryWriter, "put", full)
        with pytest.raises(PublishError, match="full"):
            init_fleet(str(folder), name="acme", now=NOW, origin=place)
    keys = {path.name: path.read_bytes() for path in (folder / "keys").iterdir()}
    with pytest.raises(ConfigError, match="exists already"):
        init_fleet(str(folder), name="other", now=NOW, origin=place)
    World(tmp_path, init_fleet(str(folder), name="acme", now=NOW, origin=place)).publish(b"1", "1")
    assert {path.name: path.read_bytes() for path in (folder / "keys").iterdir()}.items() >= keys.items()
    with pytest.raises(ConfigError, match="already"):
        init_fleet(str(folder), name="acme", now=NOW, origin=place)
