from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edgeswarm.content.digest import digest
from edgeswarm.content.manifest import ArtifactKind, build_manifest
from edgeswarm.content.tree import Entry, EntryType, decode_entries
from edgeswarm.errors import ConfigError, PublishError
from edgeswarm.publish.source import Source, open_source

from .world import program


def rows(source: Source) -> list[tuple[bytes, int]]:
    return [(digest(chunk), len(chunk)) for chunk in source.chunks()]


def stream(source: Source) -> bytes:
    return b"".join(source.chunks())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a-b").write_bytes(b"sorts before a/b")
    (root / "a" / "b" / "big").write_bytes(program(1, 100_000))
    (root / "a" / "small").write_bytes(b"small")
    (root / "a" / "empty").touch()
    (root / "z").symlink_to("a/small")
    os.link(root / "a" / "small", root / "a" / "b" / "again")
    (root / "a-b").chmod(0o755)
    return root


def test_a_file_is_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(program(1, 200_000))
    source = open_source(str(path))
    assert (source.kind, source.size) == (ArtifactKind.FILE, 200_000)
    assert stream(source) == path.read_bytes()
    manifest = build_manifest(source.kind, rows(source)).manifest
    assert source.reader(manifest)(1000, 5000) == path.read_bytes()[1000:6000]


def test_a_symlink_at_the_top_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    assert stream(open_source(str(tmp_path / "link"))) == b"bytes"


def test_a_tree_is_its_entries_and_contents_in_order(tree: Path) -> None:
    source = open_source(str(tree))
    assert [(entry.path, entry.type.name) for entry in source.entries] == [
        ("a", "DIRECTORY"),
        ("a-b", "FILE"),
        ("a/b", "DIRECTORY"),
        ("a/b/again", "FILE"),
        ("a/b/big", "FILE"),
        ("a/empty", "FILE"),
        ("a/small", "HARDLINK"),
        ("z", "SYMLINK"),
    ]
    assert source.entries[1] == Entry("a-b", EntryType.FILE, 0o755, 16)
    assert source.entries[6].target == "a/b/again"
    data = stream(source)
    assert decode_entries(data[: len(source.entries_bytes)]) == source.entries
    assert data[len(source.entries_bytes) :] == b"sorts before a/b" + b"small" + program(1, 100_000)
    assert len(data) == source.size


def test_a_tree_reads_by_stream_offset_what_it_yields(tree: Path) -> None:
    source = open_source(str(tree))
    manifest = build_manifest(source.kind, rows(source), len(source.entries_bytes)).manifest
    assert source.reader(manifest)(0, source.size) == stream(source)


def test_a_big_file_shares_its_chunks_with_the_bare_file(tree: Path) -> None:
    bare = rows(open_source(str(tree / "a" / "b" / "big")))
    assert set(bare) <= set(rows(open_source(str(tree))))


def test_an_empty_directory_is_a_tree(tmp_path: Path) -> None:
    source = open_source(str(tmp_path))
    assert source.entries == ()
    assert stream(source) == source.entries_bytes != b""


def test_directories_that_are_symlinks_are_not_entered(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    (root / "real").mkdir(parents=True)
    (root / "real" / "file").write_bytes(b"1")
    (root / "link").symlink_to("real")
    assert [entry.path for entry in open_source(str(root)).entries] == ["link", "real", "real/file"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "a/../../outside"])
def test_symlinks_that_lead_outside_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(target)
    with pytest.raises(PublishError, match="inside the tree"):
        open_source(str(tmp_path / "tree"))


def test_special_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree" / "pipe")
    with pytest.raises(PublishError, match="pipe"):
        open_source(str(tmp_path / "tree"))
    with pytest.raises(ConfigError, match="wanted a file"):
        open_source(str(tmp_path / "tree" / "pipe"))
    os.unlink(tmp_path / "tree" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "tree" / "s"))
        with pytest.raises(PublishError, match="socket"):
            open_source(str(tmp_path / "tree"))


def test_names_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff")).touch()
    with pytest.raises(PublishError, match="UTF-8"):
        open_source(str(tmp_path))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        open_source(str(tmp_path / "nothing"))


@pytest.mark.parametrize("change", ["grow", "shrink", "replace"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(program(1, 3_000_000))
    source = open_source(str(path))
    data = {"grow": program(1, 3_000_001), "shrink": b"", "replace": program(2, 3_000_000)}[change]
    path.write_bytes(data)
    with pytest.raises(PublishError, match="changed while"):
        list(source.chunks())


@pytest.mark.parametrize("change", ["new file", "gone", "mode", "symlink"])
def test_a_tree_that_changes_is_noticed(tree: Path, change: str) -> None:
    source = open_source(str(tree))
    source.check_unchanged()
    changes = {
        "new file": lambda: (tree / "new").touch(),
        "gone": lambda: (tree / "a" / "empty").unlink(),
        "mode": lambda: (tree / "a" / "empty").chmod(0o777),
        "symlink": lambda: ((tree / "z").unlink(), (tree / "z").symlink_to("a")),
    }
    changes[change]()
    with pytest.raises(PublishError, match="changed while"):
        source.check_unchanged()


def test_a_file_that_became_a_symlink_is_not_followed(tree: Path, tmp_path: Path) -> None:
    source = open_source(str(tree))
    (tmp_path / "secret").write_bytes(b"secrets of 16 b.")
    (tree / "a-b").unlink()
    (tree / "a-b").symlink_to(tmp_path / "secret")
    with pytest.raises(PublishError, match="a-b: cannot be read"):
        list(source.chunks())
