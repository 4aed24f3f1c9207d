"""A fleet's keys and the origin are never published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeswarm.errors import ConfigError
from edgeswarm.publish import add_site, enrol, init_fleet

from .world import NOW, World


def _paths(world: World) -> dict[str, Path]:
    linked = world.folder / "linked"
    linked.symlink_to(world.folder)
    return {
        "folder around it": world.folder,
        "fleet": Path(world.fleet.directory),
        "key": Path(world.fleet.path("keys", "timestamp.pem")),
        "symlink": linked,
        "origin": world.origin,
        "in the origin": world.origin / "metadata",
    }


@pytest.mark.parametrize("what", ["folder around it", "fleet", "key", "symlink", "origin", "in the origin"])
def test_neither_the_fleet_nor_the_origin_is_published(world: World, what: str) -> None:
    path, before, told = _paths(world)[what], world.snapshot(), list[object]()
    with pytest.raises(ConfigError, match="private keys"):
        world.publish(str(path), "1", progress=lambda *moment: told.append(moment))
    assert (world.snapshot(), told) == (before, [])


def test_an_origin_outside_the_fleet_folder_is_not_published_either(tmp_path: Path) -> None:
    place = tmp_path / "srv" / "releases"
    fleet = init_fleet(str(tmp_path / "fleet"), name="acme", now=NOW, origin=f"file://{place}")
    world = World(tmp_path, fleet)
    for path in (place, place.parent):
        with pytest.raises(ConfigError, match="origin"):
            world.publish(str(path), "1")


@pytest.mark.parametrize("inside", ["", "a/b", "keys"])
def test_the_fleet_of_somebody_else_is_not_published(world: World, inside: str) -> None:
    tree = world.folder / "tree"
    tree.mkdir()
    other = init_fleet(str(tree / inside), name="other", now=NOW)
    for path in dict.fromkeys((str(tree), other.directory, other.path("keys"), other.path("ca", "ca.key"))):
        with pytest.raises(ConfigError, match="private keys"):
            world.publish(path, "1")
    assert not (world.origin / "packs").exists()


def test_a_path_that_only_starts_alike_is_published(world: World) -> None:
    tree = world.folder / "fleet-app"
    (tree / "keys").mkdir(parents=True)
    (tree / "keys" / "public").write_bytes(b"1")
    (tree / "conf").mkdir()
    (tree / "conf" / "fleet.toml").write_bytes(b"2")
    assert world.publish(str(tree), "1").changed


# ---------------------------------------------------------------------- other private keys

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEYS = [f"-----BEGIN {label}PRIVATE KEY-----\nMC4C\n".encode() for label in ("", "ENCRYPTED ", "RSA ", "EC ", "OPENSSH ")]
KEYS += [b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", b"\n \r\n" + KEYS[0], CERTIFICATE + KEYS[0], CERTIFICATE * 300 + KEYS[0]]
NO_KEYS = [
    CERTIFICATE, b"-----BEGIN PUBLIC KEY-----\n", b"a PEM file starts with\n" + KEYS[0], b"", KEYS[0][1:],
    CERTIFICATE + b"# -----BEGIN PRIVATE KEY-----", KEYS[0] + bytes(64 * 1024),
]  # fmt: skip


def _tree(world: World, **files: bytes) -> Path:
    tree = world.folder / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for name, data in files.items():
        (tree / "a" / "b" / name).write_bytes(data)
    return tree


def _refused(world: World, path: Path, named: Path) -> None:
    before, told = world.snapshot(), list[object]()
    with pytest.raises(ConfigError, match=r"is a private key.*--allow-private-keys") as raised:
        world.publish(str(path), "1", progress=lambda *moment: told.append(moment))
    assert str(raised.value).startswith(f"{named}: ")
    assert (world.snapshot(), told) == (before, [])


@pytest.mark.parametrize("data", KEYS)
def test_a_private_key_is_published_only_when_told_so(world: World, data: bytes) -> None:
    tree = _tree(world, other=b"1", server=data)
    for path in (tree, tree / "a/b/server"):
        _refused(world, path, tree / "a/b/server")
    assert world.publish(str(tree), "1", allow_private_keys=True).changed


@pytest.mark.parametrize("data", NO_KEYS)
def test_what_is_no_key_is_published(world: World, data: bytes) -> None:
    assert world.publish(str(_tree(world, server=data)), "1").changed


@pytest.mark.parametrize("inside", ["", "id", "a/b/id"])
def test_the_identity_of_a_node_is_not_published(world: World, inside: str) -> None:
    tree = world.folder / "nodes"
    tree.mkdir()
    add_site(world.fleet, "harbour")
    enrol(world.fleet, "harbour", "a", str(tree / inside), now=NOW)
    _refused(world, tree, tree / inside / "node.key")
    _refused(world, tree / inside / "node.key", tree / inside / "node.key")


def test_the_key_of_a_node_is_known_by_its_neighbour_too(world: World) -> None:
    tree = _tree(world, **{"node.key": b"in some other form", "node.crt": b""})
    _refused(world, tree, tree / "a/b/node.key")
    (tree / "a/b/node.crt").unlink()
    assert world.publish(str(tree), "1").changed


@pytest.mark.parametrize("what", ["keys", "ca"])
def test_a_backup_of_the_keys_of_a_fleet_is_not_published(world: World, what: str) -> None:
    tree = world.folder / "tree"
    shutil.copytree(world.fleet.path(what), tree / "backup" / what)
    first = {"keys": "root-1.pem", "ca": "ca.key"}[what]
    _refused(world, tree, tree / "backup" / what / first)


def test_the_fleet_is_not_published_even_when_keys_may_be(world: World) -> None:
    with pytest.raises(ConfigError, match="fleet folder"):
        world.publish(world.fleet.directory, "1", allow_private_keys=True)
