"""When two releases on disk are the same."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeswarm.content.digest import digest
from edgeswarm.demo import compare
from edgeswarm.demo.compare import listing, same_content
from edgeswarm.errors import ConfigError


def make_tree(top: Path) -> Path:
    (top / "folder").mkdir(parents=True)
    (top / "file").write_bytes(b"one")
    (top / "file").chmod(0o755)
    os.link(top / "file", top / "same")
    (top / "folder/other").write_bytes(b"one")
    (top / "link").symlink_to("file")
    return top


def split_links(top: Path) -> None:
    (top / "same").unlink()
    (top / "same").write_bytes(b"one")
    (top / "same").chmod(0o755)


def other_group(top: Path) -> None:
    (top / "folder/other").unlink()
    (top / "folder/other").hardlink_to(top / "file")


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "file").write_bytes(b"two"),
        lambda top: (top / "file").chmod(0o750),
        lambda top: (top / "file").chmod(0o4755),
        lambda top: (top / "folder").chmod(0o1755),
        lambda top: (top / "folder/more").mkdir(),
        lambda top: (top / "link").rename(top / "lynk"),
        split_links,
        other_group,
    ],
)
def test_what_makes_a_difference(tmp_path: Path, change: Callable[[Path], object]) -> None:
    one, other = make_tree(tmp_path / "one"), make_tree(tmp_path / "other")
    assert same_content(one, other)
    change(other)
    assert not same_content(one, other)


def test_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    other.write_bytes(b"x")
    assert not same_content(one, other)
    one.write_bytes(b"x")
    assert same_content(one, other)
    assert not same_content(make_tree(tmp_path / "tree"), other)
    assert not same_content(other, tmp_path / "tree")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)])
def test_what_could_be_read_for_ever_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    one, other = make_tree(tmp_path / "one"), make_tree(tmp_path / "other")
    make(other / "folder/strange")
    for pair in ((one, other), (other, one)):
        with pytest.raises(ConfigError, match="folder/strange: is a device"):
            same_content(*pair)
    assert not same_content(other / "folder/strange", other / "file")
    assert not same_content(other / "file", other / "folder/strange")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 20])
def test_a_file_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    asked: list[int] = []
    path_open = Path.open

    class Spy(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    (tmp_path / "file").write_bytes(bytes(range(size)))
    monkeypatch.setattr(compare, "_BLOCK_BYTES", 8)
    monkeypatch.setattr(Path, "open", lambda path, *mode: Spy(path_open(path, "rb", buffering=0)))
    assert [row.what for row in listing(tmp_path)] == [digest(bytes(range(size))).hex()]
    assert set(asked) == {8}
