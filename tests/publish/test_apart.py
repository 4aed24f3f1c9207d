"""A fleet's keys and the origin are never published."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeswarm.errors import ConfigError
from edgeswarm.publish import init_fleet

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
