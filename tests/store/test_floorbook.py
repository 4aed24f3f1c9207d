"""Floors in two places: whichever is lost, damaged or behind, nothing goes back."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeswarm.content.sealed import seal
from edgeswarm.errors import StoreError
from edgeswarm.files import CrashError, FaultyFiles, OsFiles
from edgeswarm.store import MemoryStore
from edgeswarm.store.floorbook import FILE_NAME, FloorBook
from edgeswarm.trust.floor import VersionFloor
from edgeswarm.trust.floors import Floors

OBJECT = "trust/floors"


def at(version: int) -> Floors:
    return Floors(VersionFloor(1, version, version), channels={"app/stable": (version, f"v{version}")})


def book_of(store: MemoryStore, folder: Path, files: FaultyFiles | None = None) -> FloorBook:
    book = FloorBook(store, str(folder), files)
    book.load()
    return book


def test_both_places_hold_what_was_raised(tmp_path: Path) -> None:
    store = MemoryStore()
    book = book_of(store, tmp_path)
    assert book.floors == Floors()
    assert (book.troubles, list(tmp_path.iterdir())) == ([], []), "a new node has nothing to write"
    book.raise_to(at(3), {"metadata/x": b"x"})
    book.raise_to(at(2), {"metadata/y": b"y"}, gone=["metadata/x"])
    assert store.list_objects("metadata/") == ["metadata/y"]
    assert book.floors == at(3)
    assert store.load_object(OBJECT) == at(3).encode()
    assert (tmp_path / FILE_NAME).read_bytes() == seal(at(3).encode())
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    again = book_of(store, tmp_path)
    assert (again.floors, again.troubles) == (at(3), [])


def lose_object(store: MemoryStore, _folder: Path) -> None:
    store.delete_object(OBJECT)


def damage_object(store: MemoryStore, _folder: Path) -> None:
    store.save_object(OBJECT, b"{")


def set_object_back(store: MemoryStore, _folder: Path) -> None:
    store.save_object(OBJECT, at(1).encode())


def lose_file(_store: MemoryStore, folder: Path) -> None:
    (folder / FILE_NAME).unlink()


def damage_file(_store: MemoryStore, folder: Path) -> None:
    (folder / FILE_NAME).write_bytes((folder / FILE_NAME).read_bytes().replace(b'"timestamp":3', b'"timestamp":1'))


def empty_file(_store: MemoryStore, folder: Path) -> None:
    (folder / FILE_NAME).write_bytes(b"")


def set_file_back(_store: MemoryStore, folder: Path) -> None:
    (folder / FILE_NAME).write_bytes(seal(at(1).encode()))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lose_object, "lost"), (damage_object, "malformed"), (set_object_back, ""),
        (lose_file, ""), (damage_file, "damaged on disk"), (empty_file, "damaged on disk"), (set_file_back, ""),
    ],
)  # fmt: skip
def test_one_place_is_enough(harm: Callable[[MemoryStore, Path], None], told: str, tmp_path: Path) -> None:
    store = MemoryStore()
    book_of(store, tmp_path).raise_to(at(3))
    harm(store, tmp_path)
    book = book_of(store, tmp_path)
    assert book.floors == at(3)
    assert told in " ".join(book.troubles)
    assert bool(book.troubles) is bool(told)
    assert store.load_object(OBJECT) == at(3).encode(), "both places are mended"
    assert (tmp_path / FILE_NAME).read_bytes() == seal(at(3).encode())


def test_two_damaged_places_are_no_fresh_start(tmp_path: Path) -> None:
    store = MemoryStore()
    book_of(store, tmp_path).raise_to(at(3))
    damage_object(store, tmp_path)
    damage_file(store, tmp_path)
    with pytest.raises(StoreError, match="nothing tells any more") as caught:
        book_of(store, tmp_path)
    assert "enrol the node again" in str(caught.value)


def test_without_a_folder_there_is_one_place() -> None:
    store = MemoryStore()
    book = FloorBook(store)
    book.load()
    book.raise_to(at(3))
    again = FloorBook(store)
    again.load()
    assert again.floors == at(3)


def operations(tmp_path: Path) -> list[str]:
    (tmp_path / "count").mkdir()
    files = FaultyFiles(OsFiles())
    book_of(MemoryStore(), tmp_path / "count", files).raise_to(at(3))
    return files.operations


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, None], ids=["EIO", "ENOSPC", "crash"])
def test_a_failure_at_any_operation_loses_nothing(error: int | None, tmp_path: Path) -> None:
    count = len(operations(tmp_path))
    assert count > 4
    for fail_at in range(1, count + 1):
        folder = tmp_path / str(fail_at)
        folder.mkdir()
        store = MemoryStore()
        book_of(store, folder).raise_to(at(2))
        files = FaultyFiles(OsFiles(), fail_at=fail_at, error=error)
        book = FloorBook(store, str(folder), files)
        try:
            book.load()
            book.raise_to(at(3))
        except (StoreError, CrashError):
            pass
        else:
            assert not files.failed or book.troubles, "a place that failed is said"
        store.delete_object(OBJECT)  # the worst case: what counts now is the file alone
        found = book_of(store, folder).floors
        assert found in (at(2), at(3))
        book_of(store, folder).raise_to(at(4))
        assert (folder / FILE_NAME).read_bytes() == seal(at(4).encode())
