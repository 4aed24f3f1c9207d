"""When two releases on disk are the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeswarm.demo.compare import same_content


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
