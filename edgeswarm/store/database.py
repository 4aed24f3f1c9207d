"""The index's database: a writing and a reading connection, transactions, and small objects."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..abc import FileOps
from ..content.digest import Digest, digest
from ..errors import StoreError
from .failures import DamagedIndexError, mapped
from .schema import open_database

SUSPECT_SUFFIX = "-suspect"
"""Added to the database's path: a file of that name says that the database was found to be damaged."""


class Database:
    """One writer under a lock, one reader. From any thread.

    Args:
        path: Absolute path of the database.
        files: Where the mark of a damaged database is made; SQLite does its own file operations.

    Raises:
        StoreError: A newer edgeswarm made it.
        DamagedIndexError: It is damaged.
    """

    def __init__(self, path: str, files: FileOps) -> None:
        self._path = path
        self._files = files
        self._write_lock = threading.RLock()
        self._read_lock = threading.Lock()
        self._writer, self._reader = open_database(path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: durable when it ends, undone if it raises.

        Raises:
            NoSpaceError: The disk is full.
            StoreError: The disk failed, the database is damaged or the store closed.
        """
        with self._write_lock, self._mapped():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, and a roll back that fails changes nothing for the better.
                with contextlib.suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT; sees every transaction that has ended."""
        with self._read_lock, self._mapped():
            return self._reader.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close; safe to call twice."""
        with self._write_lock, self._read_lock, mapped(f"index {self._path}: close"):
            self._reader.close()
            self._writer.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            with mapped(f"index {self._path}"):
                yield
        except DamagedIndexError:
            with contextlib.suppress(OSError):
                self._files.open(self._path + SUSPECT_SUFFIX, create=True).close()
            raise


class Objects:
    """Small named objects in the database, each with a checksum."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, name: str, data: bytes) -> None:
        """Store an object durably; replaces the old one."""
        self.save_all({name: data})

    def save_all(self, objects: Mapping[str, bytes], gone: Iterable[str] = ()) -> None:
        """Store objects and remove others, durably, all or nothing."""
        rows = [(name, data, _checksum(name, data)) for name, data in objects.items()]
        with self._database.transaction() as writer:
            writer.executemany("DELETE FROM objects WHERE name = ?", ((name,) for name in gone))
            writer.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", rows)

    def load(self, name: str) -> bytes | None:
        """Return an object, or None; `StoreError` if it is damaged."""
        found = self._database.query("SELECT data, digest FROM objects WHERE name = ?", (name,))
        if not found:
            return None
        data, check = found[0]
        if not isinstance(data, bytes) or check != _checksum(name, data):
            raise StoreError(f"object {name!r}: damaged on disk; delete it and fetch it again from a source you trust")
        return data

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names that start with `prefix`."""
        sql = "SELECT name FROM objects WHERE substr(name, 1, ?) = ? ORDER BY name"
        return [name for (name,) in self._database.query(sql, (len(prefix), prefix))]

    def delete(self, name: str) -> None:
        """Remove an object; a missing one is fine."""
        self.save_all({}, gone=[name])


def _checksum(name: str, data: bytes) -> Digest:
    # With the name, so that a page of the database that got into the wrong place is noticed.
    return digest(name.encode() + b"\0" + data)
