"""python-tuf's own client accepts what is signed here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from .world import World, key, release, ring


class OriginFetcher(FetcherInterface):
    """Serves the files of an origin as a web server does: percent-decoded."""

    def __init__(self, origin: dict[str, bytes]) -> None:
        self.origin = origin

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self.origin.get(unquote(url.removeprefix("http://origin/metadata/")))
        if data is None:
            raise DownloadHTTPError("not found", 404)
        yield data


def updater(world: World, folder: Path) -> Updater:
    return Updater(str(folder), "http://origin/metadata/", fetcher=OriginFetcher(world.origin), bootstrap=world.root1)


@pytest.fixture
def fresh(world: World) -> World:
    """A world signed now: python-tuf's client reads the real clock."""
    world.publish(datetime.now(UTC))
    return world


def test_it_finds_releases_and_channels(fresh: World, tmp_path: Path) -> None:
    found = updater(fresh, tmp_path).get_targetinfo("ruff/releases/1.0/any")
    wanted, root = release("1.0")
    assert found is not None
    assert found.length == wanted.root_bytes
    found.verify_length_and_hashes(root)
    channel = updater(fresh, tmp_path).get_targetinfo("ruff/channels/stable")
    assert channel is not None
    assert channel.custom == {"v": "1.0", "n": 1}
    channel.verify_length_and_hashes(b"")
    assert updater(fresh, tmp_path).get_targetinfo("ruff/channels/none") is None


def test_it_follows_rotations_new_releases_and_odd_names(fresh: World, tmp_path: Path) -> None:
    updater(fresh, tmp_path).refresh()
    fresh.repository.rotate_root(fresh.draft_root(previous=fresh.root1, online="online b", now=datetime.now(UTC)))
    fresh.repository.delegate("a+b~c", ring("odd"))
    fresh.release("2.0")
    keys = [key(name) for name in ("online b", "targets", "ruff a", "ruff b", "odd")]
    fresh.publish(datetime.now(UTC), keys)
    again = updater(fresh, tmp_path)
    channel = again.get_targetinfo("ruff/channels/stable")
    assert channel is not None
    assert channel.custom == {"v": "2.0", "n": 2, "_h": ["1.0"]}
    assert again.get_targetinfo("a+b~c/channels/none") is None
