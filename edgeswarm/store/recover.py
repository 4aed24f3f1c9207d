"""Opening a store: what a crash left behind is put right, and a damaged index is rebuilt from the segments.

Theory of operation. After a crash the index is right, since SQLite recovers it, and the segments may hold more than it says: files
without a row are removed, bytes behind a segment's end are cut off. What they hold less (a file that is gone or too short) is
forgotten. None of this needs to be durable, since it is done again at the next opening.

A damaged index is first renamed to `index-damaged`: while a file of that name exists, the rebuild is not finished and starts over.
The new index is built beside, from the heads of the records and from what can still be read of the damaged one, and renamed into
place. Chunks are safe to take over from a torn segment, since every read is checked against the digest.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator

from ..abc import File, FileOps
from ..content.digest import Digest
from .database import SUSPECT_SUFFIX, Database
from .failures import DamagedIndexError, mapped
from .index import Index
from .schema import SCHEMA_VERSION, connect, create_tables
from .segments import (
    HEAD_BYTES,
    RECORD_HEAD_BYTES,
    Row,
    Segment,
    decode_head,
    decode_record_head,
    segment_name,
    segment_number,
)

INDEX_NAME = "index.sqlite"
SEGMENTS_NAME = "segments"
_DAMAGED_NAME = "index-damaged"
_NEW_NAME = "index-new"
# What a damaged index can still say. Links are declared again by their installer, since their rows can't be proved complete.
_SALVAGED = ("owners", "refs", "objects")


def open_index(directory: str, files: FileOps) -> tuple[Database, str]:
    """Open the index of a store; rebuild it if it is damaged or gone.

    Returns:
        The database, and in words what was wrong, or "".

    Raises:
        StoreError: It can't be opened or rebuilt, or a newer edgeswarm made it.
    """
    path = os.path.join(directory, INDEX_NAME)
    with mapped(f"store {directory}: open"):
        found = _why_rebuild(directory, files)
        if found:
            _rebuild(directory, files)
        try:
            return Database(path, files), found
        except DamagedIndexError as error:
            found = str(error)
            _rebuild(directory, files)
            return Database(path, files), found


def reconcile(directory: str, files: FileOps, index: Index) -> tuple[list[Segment], int]:
    """Make segment files and index agree.

    Returns:
        The segments, and a number that no file has.

    Raises:
        StoreError: The disk failed.
    """
    folder = os.path.join(directory, SEGMENTS_NAME)
    with mapped(f"store {directory}: reconcile"):
        present = _segment_files(folder, files)
        known = {segment.number: segment for segment in index.segments()}
        for number in sorted(present - known.keys()):
            files.unlink(os.path.join(folder, segment_name(number)))
        for number in sorted(known.keys() - present):
            index.drop_segment(number)
            del known[number]
        for segment in known.values():
            _reconcile_segment(os.path.join(folder, segment_name(segment.number)), files, index, segment)
        return list(known.values()), max(present | known.keys(), default=0) + 1


def _reconcile_segment(path: str, files: FileOps, index: Index, segment: Segment) -> None:
    file = files.open(path)
    try:
        size = file.size()
        if size < segment.end:
            index.shorten_segment(segment.number, size)
            segment.end, segment.sealed = size, True
        elif size > segment.end:
            file.truncate(segment.end)
    finally:
        file.close()


def _segment_files(folder: str, files: FileOps) -> set[int]:
    numbers = (segment_number(name) for name in files.listdir(folder))
    return {number for number in numbers if number is not None}


def _why_rebuild(directory: str, files: FileOps) -> str:
    """Return in words why the index must be rebuilt before it is opened, or ""."""
    path = os.path.join(directory, INDEX_NAME)
    if files.exists(os.path.join(directory, _DAMAGED_NAME)):
        return "an earlier rebuild of the index was interrupted"
    if files.exists(path + SUSPECT_SUFFIX):
        return "the index was found damaged while in use"
    if _is_empty(path, files) and _segment_files(os.path.join(directory, SEGMENTS_NAME), files):
        return "the index was gone"
    return ""


def _is_empty(path: str, files: FileOps) -> bool:
    """Tell if there is no file or one without bytes; SQLite would make a new database of either."""
    if not files.exists(path):
        return True
    file = files.open(path, read_only=True)
    try:
        return file.size() == 0
    finally:
        file.close()


def _rebuild(directory: str, files: FileOps) -> None:
    main, damaged, new = (os.path.join(directory, name) for name in (INDEX_NAME, _DAMAGED_NAME, _NEW_NAME))
    _set_aside(main, damaged, files)
    _remove(files, new, new + "-journal")
    with contextlib.closing(connect(new, durable=False)) as connection:
        create_tables(connection)
        connection.execute("BEGIN")
        if files.exists(damaged):
            _salvage(damaged, connection)
        _add_segments(os.path.join(directory, SEGMENTS_NAME), files, connection)
        connection.execute("COMMIT")
    _remove(files, main, main + "-wal", main + "-shm")
    files.rename(new, main)
    files.sync_directory(directory)
    _remove(files, main + SUSPECT_SUFFIX, damaged, damaged + "-wal", damaged + "-shm")
    files.sync_directory(directory)


def _set_aside(main: str, damaged: str, files: FileOps) -> None:
    """Rename the damaged index with its write-ahead log. The database goes first: its new name marks that a rebuild has begun."""
    if not files.exists(damaged):
        _remove(files, damaged + "-wal", damaged + "-shm")
        if not files.exists(main):
            return
        files.rename(main, damaged)
    if files.exists(main + "-wal") and not files.exists(main):
        files.rename(main + "-wal", damaged + "-wal")
    files.sync_directory(os.path.dirname(main))


def _salvage(damaged: str, connection: sqlite3.Connection) -> None:
    """Copy what can be read; objects keep their checksums, so that a wrong one is noticed when it is loaded."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(damaged, durable=False)) as old:
        if old.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            return
        for table in _SALVAGED:
            # Each table by itself: a bad page ends only that one.
            with contextlib.suppress(sqlite3.Error):
                for row in old.execute(f"SELECT * FROM {table}"):  # noqa: S608 - constant names
                    marks = ",".join("?" * len(row))
                    connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608 - constant names


def _add_segments(folder: str, files: FileOps, connection: sqlite3.Connection) -> None:
    for number in sorted(_segment_files(folder, files)):
        path = os.path.join(folder, segment_name(number))
        file = files.open(path, read_only=True)
        try:
            scanned = scan_segment(file, number)
        finally:
            file.close()
        if scanned is not None:
            owner, rows, end = scanned
            connection.execute("INSERT OR IGNORE INTO owners (digest) VALUES (?)", (owner,))
            connection.execute(
                "INSERT INTO segments VALUES (?, (SELECT id FROM owners WHERE digest = ?), ?, 1)", (number, owner, end)
            )
            connection.executemany("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)", rows)


def scan_segment(file: File, number: int) -> tuple[Digest, list[Row], int] | None:
    """Read the heads of a segment's records.

    The chunks' bytes are not read: whoever reads them checks their digest.

    Args:
        file: The open segment.
        number: That its name says.

    Returns:
        Owner, where its chunks lie, and the end of the last whole record; None if it is no segment of that number.
    """
    head = decode_head(file.pread(HEAD_BYTES, 0))
    if head is None or head[0] != number:
        return None
    rows = list(_scan_records(file, number, file.size()))
    end = rows[-1].offset + rows[-1].size if rows else HEAD_BYTES
    return head[1], rows, end


def _scan_records(file: File, number: int, size: int) -> Iterator[Row]:
    at = HEAD_BYTES
    while (record := decode_record_head(file.pread(RECORD_HEAD_BYTES, at))) is not None:
        digest, length = record
        at += RECORD_HEAD_BYTES
        if at + length > size:
            return
        yield Row(digest, number, at, length)
        at += length


def _remove(files: FileOps, *paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            files.unlink(path)
