"""A full disk ends with an error that says so, and changes no release."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from edgeswarm.errors import NoSpaceError, PublishError, PublishSpaceError
from edgeswarm.origin import DirectoryWriter
from edgeswarm.publish.packs import PackFile

from .world import World, program


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
