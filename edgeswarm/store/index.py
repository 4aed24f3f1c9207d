"""The index: which chunk lies where, for whom, and which artifacts are installed where. SQLite.

One connection writes, under a lock, in explicit transactions; another reads, so that a lookup never waits for a commit to reach the
disk (WAL). When a method that changes something returns, the change is durable.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from ..abc import StoreStatistics
from ..content.digest import DIGEST_BYTES, Digest
from ..content.manifest import Manifest
from .database import Database
from .segments import Row, Segment

# Digests looked up by one statement: fewer cost more statements, more cost parsing; a guess below SQLite's limit of 32,766.
_LOOKUP = 256

_OWNER = "INSERT INTO owners (digest) VALUES (?) ON CONFLICT DO NOTHING"
_OWNER_ID = "(SELECT id FROM owners WHERE digest = ?)"
_SEGMENT = f"INSERT INTO segments VALUES (?, {_OWNER_ID}, ?, 0) ON CONFLICT DO UPDATE SET size = excluded.size"  # noqa: S608 - constant
_NEED = f"""
INSERT OR IGNORE INTO refs SELECT c.digest, {_OWNER_ID} FROM chunks c JOIN segments s ON s.id = c.segment
WHERE c.digest = ? AND s.owner <> {_OWNER_ID}
"""  # noqa: S608 - constant text
# Who needs a chunk: its segment's owner if pinned, else some pinned owner that refers to it.
_CHUNKS_OF_SEGMENT = """
SELECT c.digest, c.segment, c.offset, c.size,
  CASE WHEN own.reason IS NOT NULL THEN own.digest ELSE
    (SELECT o.digest FROM refs r JOIN owners o ON o.id = r.owner
     WHERE r.digest = c.digest AND o.reason IS NOT NULL ORDER BY o.id LIMIT 1) END,
  EXISTS (SELECT 1 FROM linked l WHERE l.digest = c.digest)
FROM chunks c JOIN segments s ON s.id = c.segment JOIN owners own ON own.id = s.owner WHERE c.segment = ? ORDER BY c.offset
"""
_STATISTICS = """
SELECT (SELECT count(*) FROM chunks), (SELECT coalesce(sum(size), 0) FROM chunks),
  (SELECT count(DISTINCT digest) FROM linked),
  (SELECT coalesce(sum(size), 0) FROM (SELECT max(size) AS size FROM linked GROUP BY digest)),
  (SELECT coalesce(sum(size), 0) FROM segments)
"""


class Needed(NamedTuple):
    """A chunk of a segment.

    Attributes:
        row: Where it lies.
        owner: A pinned owner that needs it, or None.
        linked: Whether it should be readable from an installed artifact as well.
    """

    row: Row
    owner: Digest | None
    linked: bool


class Link(NamedTuple):
    """An installed artifact.

    Attributes:
        number: Its number in the index.
        manifest: Digest of the manifest root.
        path: Where it is installed.
        entries: Bytes of encoded entries; 0 if it is no tree.
    """

    number: int
    manifest: Digest
    path: str
    entries: int


class LinkedPlace(NamedTuple):
    """Where a chunk lies in an installed artifact: number of the link, offset in its stream, size in bytes."""

    link: int
    offset: int
    size: int


class Index:
    """What the store knows about its chunks. From any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Chunks in segments.

    def find(self, wanted: Digest) -> Row | None:
        """Return where a chunk lies in the segments."""
        found = self._database.query("SELECT digest, segment, offset, size FROM chunks WHERE digest = ?", (wanted,))
        return Row(*found[0]) if found else None

    def held(self, digests: Sequence[Digest], *, linked: bool) -> set[Digest]:
        """Return those of the digests that are in segments, or with `linked` in installed artifacts too."""
        found: set[Digest] = set()
        for at in range(0, len(digests), _LOOKUP):
            some = digests[at : at + _LOOKUP]
            for table in ("chunks", "linked") if linked else ("chunks",):
                marks = ",".join("?" * len(some))
                sql = f"SELECT digest FROM {table} WHERE digest IN ({marks})"  # noqa: S608 - constant names, bound values
                found.update(name for (name,) in self._database.query(sql, some))
        return found

    def add(self, owner: Digest, rows: Sequence[Row], ends: Mapping[int, int], shared: Sequence[Digest] = ()) -> None:
        """Record chunks that became durable.

        Args:
            owner: Of the segments.
            rows: Where the chunks lie; one that was known elsewhere moves here.
            ends: The new end in bytes of each segment.
            shared: Chunks in segments of others that the owner needs as well.
        """
        with self._database.transaction() as writer:
            writer.execute(_OWNER, (owner,))
            writer.executemany(_SEGMENT, ((number, owner, end) for number, end in ends.items()))
            writer.executemany("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)", rows)
            writer.executemany(_NEED, ((owner, wanted, owner) for wanted in shared))

    def need(self, owner: Digest, digests: Iterable[Digest]) -> None:
        """Record that an owner needs chunks that lie in segments of others; those that are not here are passed over."""
        with self._database.transaction() as writer:
            writer.execute(_OWNER, (owner,))
            writer.executemany(_NEED, ((owner, wanted, owner) for wanted in digests))

    def forget(self, row: Row) -> None:
        """Forget a chunk, if it is still said to lie exactly there."""
        with self._database.transaction() as writer:
            writer.execute("DELETE FROM chunks WHERE digest = ? AND segment = ? AND offset = ?", row[:3])

    # Segments.

    def segments(self) -> list[Segment]:
        """Return all segments, by number."""
        sql = "SELECT s.id, o.digest, s.size, s.sealed FROM segments s JOIN owners o ON o.id = s.owner ORDER BY s.id"
        return [Segment(number, owner, size, bool(sealed)) for number, owner, size, sealed in self._database.query(sql)]

    def chunks_of(self, segment: int) -> list[Needed]:
        """Return the chunks that lie in a segment, and who needs them, in the order of the file."""
        return [Needed(Row(*found[:4]), found[4], bool(found[5])) for found in self._database.query(_CHUNKS_OF_SEGMENT, (segment,))]

    def drop_segment(self, number: int) -> None:
        """Forget a segment and all chunks in it."""
        with self._database.transaction() as writer:
            writer.execute("DELETE FROM chunks WHERE segment = ?", (number,))
            writer.execute("DELETE FROM segments WHERE id = ?", (number,))

    def shorten_segment(self, number: int, size: int) -> None:
        """Forget the chunks that reach behind `size` bytes of a segment, and seal it."""
        with self._database.transaction() as writer:
            writer.execute("DELETE FROM chunks WHERE segment = ? AND offset + size > ?", (number, size))
            writer.execute("UPDATE segments SET size = min(size, ?), sealed = 1 WHERE id = ?", (size, number))

    def seal_segments(self, numbers: Iterable[int]) -> None:
        """Record that nothing is appended to these segments any more."""
        with self._database.transaction() as writer:
            writer.executemany("UPDATE segments SET sealed = 1 WHERE id = ?", ((number,) for number in numbers))

    # Owners.

    def pin(self, owner: Digest, reason: str) -> None:
        """Pin an owner."""
        with self._database.transaction() as writer:
            writer.execute(
                "INSERT INTO owners (digest, reason) VALUES (?, ?) ON CONFLICT DO UPDATE SET reason = ?", (owner, reason, reason)
            )

    def unpin(self, owner: Digest) -> None:
        """Drop the pin of an owner."""
        with self._database.transaction() as writer:
            writer.execute("UPDATE owners SET reason = NULL WHERE digest = ?", (owner,))

    def pins(self) -> dict[Digest, str]:
        """Return the pinned owners with their reasons, in the order in which they were first seen."""
        return dict(self._database.query("SELECT digest, reason FROM owners WHERE reason IS NOT NULL ORDER BY id"))

    def drop_idle_owners(self) -> None:
        """Forget owners that are not pinned and have no segment, and what owners that are not pinned refer to."""
        with self._database.transaction() as writer:
            writer.execute("DELETE FROM refs WHERE owner NOT IN (SELECT id FROM owners WHERE reason IS NOT NULL)")
            writer.execute("DELETE FROM refs WHERE digest NOT IN (SELECT digest FROM chunks)")
            writer.execute("DELETE FROM owners WHERE reason IS NULL AND id NOT IN (SELECT owner FROM segments)")

    # Installed artifacts.

    def add_link(self, manifest: Manifest, path: str) -> None:
        """Record that an artifact is installed; again is fine, and restores what was forgotten of it."""
        key = (manifest.digest, os.fsencode(path))
        with self._database.transaction() as writer:
            self._delete_link(writer, key)
            inserted = writer.execute("INSERT INTO links (manifest, path, entries) VALUES (?, ?, ?)", (*key, manifest.root.entries))
            number = inserted.lastrowid
            ends = accumulate(manifest.sizes)
            digests = (manifest.digests[at : at + DIGEST_BYTES] for at in range(0, len(manifest.digests), DIGEST_BYTES))
            rows = [(name, number, end - size, size) for name, end, size in zip(digests, ends, manifest.sizes, strict=True)]
            # In the order of the key pages are filled one after the other.
            writer.executemany("INSERT OR IGNORE INTO linked VALUES (?, ?, ?, ?)", sorted(rows))

    def drop_link(self, manifest: Digest, path: str) -> None:
        """Forget that an artifact is installed at `path`."""
        with self._database.transaction() as writer:
            self._delete_link(writer, (manifest, os.fsencode(path)))

    def links(self) -> list[Link]:
        """Return the installed artifacts."""
        found = self._database.query("SELECT id, manifest, path, entries FROM links ORDER BY id")
        return [Link(number, manifest, os.fsdecode(path), entries) for number, manifest, path, entries in found]

    def find_linked(self, wanted: Digest) -> list[LinkedPlace]:
        """Return where a chunk lies in installed artifacts."""
        found = self._database.query("SELECT link, offset, size FROM linked WHERE digest = ? ORDER BY link", (wanted,))
        return [LinkedPlace(*place) for place in found]

    def forget_linked(self, wanted: Digest, link: int) -> None:
        """Forget that an installed artifact holds a chunk."""
        with self._database.transaction() as writer:
            writer.execute("DELETE FROM linked WHERE digest = ? AND link = ?", (wanted, link))

    def statistics(self) -> StoreStatistics:
        """Return the totals."""
        return StoreStatistics(*self._database.query(_STATISTICS)[0])

    @staticmethod
    def _delete_link(writer: sqlite3.Connection, key: tuple[Digest, bytes]) -> None:
        writer.execute("DELETE FROM linked WHERE link IN (SELECT id FROM links WHERE manifest = ? AND path = ?)", key)
        writer.execute("DELETE FROM links WHERE manifest = ? AND path = ?", key)
