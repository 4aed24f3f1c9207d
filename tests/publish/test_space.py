"""A full disk ends with an error that says so, and changes no release."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from edgeswarm.errors import ConfigError, NoSpaceError, PublishError, PublishSpaceError
from edgeswarm.files import OsFile
from edgeswarm.origin import DirectoryWriter
from edgeswarm.publish import add_site, enrol, init_fleet, nodes_of, sites_of
from edgeswarm.publish.folders import MAX_FILE_BYTES, read_file
from edgeswarm.publish.packs import PackFile

from .world import NOW, World, program


def _full() -> IO[bytes]:
    return open("/dev/full", "w+b")


def test_a_full_folder_for_temporary_files_is_told() -> None:
    with pytest.raises(PublishSpaceError, match="TMPDIR") as raised, PackFile(_full) as pack:
        pack.append(bytes(100_000))
    assert raised.value.exit_code == 28


def test_what_a_buffer_held_back_is_told_when_it_is_read() -> None:
    with PackFile(_full) as pack:
        pack.append(b"short")
        with pytest.raises(PublishSpaceError):
            list(pack.blocks())


def test_a_folder_that_cannot_be_used_is_told() -> None:
    def make() -> Iterator[bytes]:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    with pytest.raises(PublishError, match="TMPDIR") as raised:
        PackFile(make)  # type: ignore[arg-type]  # it never returns
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_origin_is_told(tmp_path: Path, number: int) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"1"
        raise OSError(number, "full")

    with pytest.raises(NoSpaceError, match="make room") as raised:
        DirectoryWriter(str(tmp_path)).put("packs/1", blocks())
    assert raised.value.exit_code == 28
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_nothing_changes_when_there_is_no_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = world.snapshot()
    monkeypatch.setattr("edgeswarm.publish.objects.PackFile", lambda: PackFile(_full))
    with pytest.raises(PublishSpaceError):
        world.publish(program(1, 200_000), "1")
    assert world.snapshot() == before


FULL = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]


def _no_room(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", FULL)
@pytest.mark.parametrize("what", ["pwrite", "datasync", "mkdir", "rename"])
def test_a_full_disk_is_told_by_whatever_makes_a_folder(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    add_site(world.fleet, "harbour")
    out = world.folder / "out"
    before = sorted(world.folder.rglob("*"))
    calls: list[Callable[[], object]] = [lambda: enrol(world.fleet, "harbour", "a", str(out), now=NOW)]
    calls += [lambda: init_fleet(str(out), name="new", now=NOW)]
    calls += [lambda: add_site(world.fleet, "mine")] if what != "rename" else []
    for call in calls:
        with monkeypatch.context() as patch:
            patch.setattr(*((OsFile, what) if hasattr(OsFile, what) else (os, what)), _no_room(number))
            with pytest.raises(PublishSpaceError, match="make room") as raised:
                call()
        assert raised.value.exit_code == 28
        assert not out.exists()
    assert (sites_of(world.fleet), nodes_of(world.fleet, "harbour")[1:]) == (["harbour"], [])
    left = {path.name for path in set(world.folder.rglob("*")) - set(before)}
    assert left <= {"mine", "nodes", "a.json"}


def test_a_file_that_is_too_long_is_no_full_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_file(str(tmp_path / "a"), "key")
