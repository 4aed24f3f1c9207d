from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.content.digest import digest
from edgeswarm.content.manifest import ArtifactKind, Manifest, build_manifest
from edgeswarm.content.tree import Entry, EntryType, encode_entries
from edgeswarm.errors import ContentError, StoreError
from edgeswarm.files import TreeReader, read_linked

CONTENTS = {"a": b"first", "d/e/deep": b"second file", "d/empty": b"", "d/last": b"third", "z": b"end"}
ROWS = [
    Entry("a", EntryType.FILE, 0o644, 5),
    Entry("d", EntryType.DIRECTORY, 0o755),
    Entry("d/e", EntryType.DIRECTORY, 0o755),
    Entry("d/e/deep", EntryType.FILE, 0o644, 11),
    Entry("d/empty", EntryType.FILE, 0o644),
    Entry("d/hard", EntryType.HARDLINK, target="a"),
    Entry("d/last", EntryType.FILE, 0o644, 5),
    Entry("d/soft", EntryType.SYMLINK, target="last"),
    Entry("z", EntryType.FILE, 0o600, 3),
]
ENTRIES = encode_entries(ROWS)
STREAM = ENTRIES + b"".join(CONTENTS.values())


@pytest.fixture(scope="module")
def shared_tree(tmp_path_factory: pytest.TempPathFactory) -> str:
    return install(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def tree(tmp_path: Path) -> str:
    return install(tmp_path)


def install(place: Path) -> str:
    (place / "tree" / "d" / "e").mkdir(parents=True)
    for name, data in CONTENTS.items():
        (place / "tree" / name).write_bytes(data)
    return str(place / "tree")


def manifest_of(kind: ArtifactKind, data: bytes, entries: int = 0) -> Manifest:
    return build_manifest(kind, [(digest(data), len(data))], entries).manifest


@given(offset=st.integers(0, len(STREAM)), length=st.integers(0, len(STREAM)))
def test_a_tree_reads_as_its_stream(shared_tree: str, offset: int, length: int) -> None:
    read = TreeReader(ROWS, ENTRIES, shared_tree)
    if offset + length <= len(STREAM):
        assert read(offset, length) == STREAM[offset : offset + length]
    else:
        with pytest.raises(ContentError, match="beyond the end"):
            read(offset, length)


def test_read_linked_picks_by_kind(tree: str, tmp_path: Path) -> None:
    read = read_linked(manifest_of(ArtifactKind.TREE, STREAM, len(ENTRIES)), tree, ENTRIES)
    assert read(0, len(STREAM)) == STREAM
    with pytest.raises(ContentError, match="bytes of entries, got 0"):
        read_linked(manifest_of(ArtifactKind.TREE, STREAM, len(ENTRIES)), tree)
    (tmp_path / "image").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("image")
    read = read_linked(manifest_of(ArtifactKind.IMAGE, b"0123456789"), str(tmp_path / "link"))
    assert read(2, 5) == b"23456"
    with pytest.raises(ContentError, match="wanted 5 bytes at 8, the file ends after 2"):
        read(8, 5)


def test_the_root_may_be_a_symlink(tree: str, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("tree")
    assert TreeReader(ROWS, ENTRIES, str(tmp_path / "current"))(0, len(STREAM)) == STREAM


@pytest.mark.parametrize("part", ["d", "d/e", "d/e/deep"])
def test_no_symlink_inside_is_followed(part: str, tree: str, tmp_path: Path) -> None:
    os.rename(f"{tree}/{part}", tmp_path / "moved")
    os.symlink(tmp_path / "moved", f"{tree}/{part}")
    read = TreeReader(ROWS, ENTRIES, tree)
    at = len(ENTRIES)
    with pytest.raises(ContentError, match="cannot be read"):
        read(at + 5, 11)
    assert read(at, 5) == b"first"


@pytest.mark.parametrize("how", ["gone", "shorter", "directory", "fifo"])
def test_what_is_not_there_is_a_content_error(how: str, tree: str) -> None:
    path = Path(tree, "z")
    if how == "shorter":
        path.write_bytes(b"en")
    else:
        path.unlink()
    if how == "directory":
        path.mkdir()
    if how == "fifo":
        os.mkfifo(path)
    with pytest.raises(ContentError):
        TreeReader(ROWS, ENTRIES, tree)(len(STREAM) - 3, 3)


def test_nothing_stays_open(tree: str) -> None:
    before = os.listdir("/proc/self/fd")
    read = TreeReader(ROWS, ENTRIES, tree)
    read(0, len(STREAM))
    os.unlink(f"{tree}/d/last")
    with pytest.raises(ContentError):
        read(0, len(STREAM))
    os.rename(f"{tree}/d/e", f"{tree}/d/f")
    with pytest.raises(ContentError):
        read(0, len(STREAM))
    assert os.listdir("/proc/self/fd") == before


def test_out_of_descriptors_is_not_the_artifacts_fault(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match="cannot be read now"):
        TreeReader(ROWS, ENTRIES, tree)(0, len(STREAM))
