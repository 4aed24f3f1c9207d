"""The durable store of a node.

Theory of operation. A put verifies, appends to the owner's segment, syncs the file, commits the index, returns; a failure anywhere
before the commit leaves what was there before. A get asks the index, reads, and compares the digest: first in segments, then in
installed artifacts. What does not verify is forgotten there and counts as missing from then on. Reads run beside each other and
beside a write; writes run one at a time.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ..abc import FileOps, ReadStream, StoreStatistics
from ..content.digest import Digest, check_digest, digest, short
from ..content.manifest import Manifest
from ..errors import ChunkMissingError, ContentError, NoSpaceError, StoreError
from ..files import OsFiles
from .append import Append
from .collect import Collector
from .database import Database, Objects
from .failures import blames_disk, mapped
from .index import Index, LinkedPlace
from .links import check_entries_size, collect_entries, entries_name, reader_of
from .lock import DirectoryLock
from .recover import SEGMENTS_NAME, open_index, reconcile
from .segments import RECORD_HEAD_BYTES, Row, Segments

MIN_FREE_BYTES = 64 * 1024 * 1024
"""What a store leaves free on its file system unless told otherwise, so that devices can still log and write state; a guess."""

# A chunk can move to another segment between look-up and read; twice in a row is already unlikely.
_TRIES = 4
_READERS = 8  # decoded trees kept for reading; a guess: active, staged and previous release of two products, and two spare


class Store:
    """Chunks by digest in a directory, durable; satisfies `abc.ChunkStore`. Use `Store.open`.

    Attributes:
        recovery: What was wrong with the index when the store was opened and rebuilt it, or "". Objects that the damaged index
            could not give back are gone then: whoever keeps trust state here must look at this.
    """

    def __init__(self, lock: DirectoryLock, database: Database, index: Index, segments: Segments, recovery: str) -> None:
        self._lock_file = lock
        self._database = database
        self._index = index
        self._objects = Objects(database)
        self._segments = segments
        self._writing = threading.RLock()
        self._readers: OrderedDict[int, ReadStream] = OrderedDict()
        self._readers_lock = threading.Lock()
        self._closed = False
        self._quota_bytes: int | None = None
        self._min_free_bytes = MIN_FREE_BYTES
        self.recovery = recovery

    @classmethod
    def open(
        cls,
        directory: str,
        *,
        files: FileOps | None = None,
        quota_bytes: int | None = None,
        min_free_bytes: int = MIN_FREE_BYTES,
    ) -> Store:
        """Open a store, or make one; what a crash left behind is put right.

        Args:
            directory: Absolute path; its parent must exist.
            files: File operations for segments; the operating system's by default. SQLite does its own.
            quota_bytes: Segments never grow beyond this many bytes in all; None: no quota.
            min_free_bytes: A put is refused if it would leave less than this free on the file system.

        Raises:
            StoreError: Another process has it open, a newer edgeswarm made it, or the disk fails.
        """
        ops = OsFiles() if files is None else files
        folder = os.path.join(directory, SEGMENTS_NAME)
        with mapped(f"store {directory}: open"):
            ops.mkdir(directory)
            ops.mkdir(folder)
        with contextlib.ExitStack() as undo:
            lock = DirectoryLock(directory)
            undo.callback(lock.close)
            database, recovery = open_index(directory, ops)
            undo.callback(database.close)
            with mapped(f"store {directory}: open"):
                ops.sync_directory(directory)
                ops.sync_directory(os.path.dirname(directory))
            index = Index(database)
            segments, next_number = reconcile(directory, ops, index)
            store = cls(lock, database, index, Segments(folder, ops, segments, next_number), recovery)
            store._quota_bytes, store._min_free_bytes = quota_bytes, min_free_bytes
            undo.pop_all()
        return store

    # Chunks.

    def put(self, chunks: Sequence[tuple[Digest, bytes]], *, owner: Digest) -> None:
        """Store chunks durably, as one transaction: all or none; see `abc.ChunkStore.put`.

        Cost: one fdatasync and one commit a call, so call it with a mebibyte or more.

        Raises:
            ContentError: Bytes do not have their digest; nothing was stored.
            NoSpaceError: Disk or quota is full; nothing was stored.
            StoreError: The disk failed.
        """
        for name, data in chunks:
            check_digest(data, name, "chunk to store")
        fresh = dict(chunks)
        with self._write("put"):
            # Held in an installed artifact is not enough: that one can change or go, and this must last.
            held = self._index.held(list(fresh), linked=False)
            new = {name: data for name, data in fresh.items() if name not in held}
            self._admit(sum(len(data) + RECORD_HEAD_BYTES for data in new.values()))
            shared = [name for name in fresh if name in held]
            if new:
                self._append(new.items(), owner, shared)
            elif shared:
                self._index.need(owner, shared)

    def check_room(self, size: int) -> None:
        """Raise `NoSpaceError` if chunks of `size` bytes in all would be refused now."""
        with self._write("check room"):
            self._admit(size)

    def require(self, owner: Digest, digests: Iterable[Digest]) -> None:
        """Declare that an owner needs chunks that others brought: they stay while it is pinned.

        For chunks that a transfer did not have to fetch since they were here already. Those that are not in segments are passed
        over.
        """
        with self._write("require"):
            self._index.need(owner, digests)

    def get(self, digest: Digest) -> bytes:
        """Return the verified bytes of a chunk, from a segment or from an installed artifact.

        Raises:
            ChunkMissingError: It is not here, or what is here no longer verifies.
            StoreError: The store is closed, or this process is out of descriptors.
        """
        for _ in range(_TRIES):
            row = self._index.find(digest)
            if row is None:
                break
            data = self._read_row(row)
            if data is not None:
                return data
        data = self.read_installed(digest)
        if data is None:
            raise ChunkMissingError(f"chunk {short(digest)}: not in this store; fetch it")
        return data

    def have(self, digests: Sequence[Digest]) -> bytes:
        """Tell which chunks are here, by index alone: one byte per digest, 1 = here."""
        held = self._index.held(digests, linked=True)
        return bytes(name in held for name in digests)

    # Installed artifacts.

    def link(self, manifest: Manifest, path: str) -> None:
        """Declare that an artifact is installed at `path`; see `abc.ChunkStore.link`. Again is fine.

        The entries of a tree are read from its first chunks in this store and kept as the object `entries/<hex>`.

        Raises:
            ChunkMissingError: The chunks with the tree's entries are not here.
            StoreError: The disk failed.
        """
        name = entries_name(manifest.digest)
        with self._write("link"):
            if manifest.root.entries and self._objects.load(name) is None:
                self._objects.save(name, collect_entries(manifest, self.get))
            self._index.add_link(manifest, path)
            self._drop_readers()

    def unlink(self, manifest: Digest, path: str) -> None:
        """Forget that the artifact is installed at `path`; unknown ones are fine."""
        with self._write("unlink"):
            self._index.drop_link(manifest, path)
            self._drop_readers()
            if all(link.manifest != manifest for link in self._index.links()):
                self._objects.delete(entries_name(manifest))

    def read_installed(self, digest: Digest) -> bytes | None:
        """Return the verified bytes of a chunk from an installed artifact, or None; places that don't verify are forgotten."""
        for place in self._index.find_linked(digest):
            data = self._read_linked(digest, place)
            if data is not None:
                return data
        return None

    # Owners.

    def keep(self, owner: Digest, reason: str) -> None:
        """Pin an owner's chunks with a reason; survives `collect` and restarts."""
        with self._write("keep"):
            self._index.pin(owner, reason)

    def release(self, owner: Digest) -> None:
        """Drop the pin of an owner; its chunks go with the next `collect`."""
        with self._write("release"):
            self._index.unpin(owner)

    def pins(self) -> dict[Digest, str]:
        """Return the pinned owners with their reasons."""
        return self._index.pins()

    def collect(self) -> int:
        """Free segments that no pinned owner needs, or whose chunks verify in installed artifacts.

        A segment of which less than half is needed is rewritten. Reads what is installed once, to be sure of it, before the
        store's own copy goes.

        Returns:
            Bytes freed on disk.
        """
        collector = Collector(self._index, self._segments, self.read_installed, self._read_row, self._append)
        freed = 0
        for number in list(self._segments.known):
            # One at a time, so that puts get their turn.
            with self._write("collect"):
                freed += collector.collect_segment(number)
        with self._write("collect"):
            self._index.drop_idle_owners()
        return freed

    # Small objects.

    def save_object(self, name: str, data: bytes) -> None:
        """Store a small named object durably; replaces the old one atomically."""
        with self._write(f"save {name}"):
            self._objects.save(name, data)

    def save_objects(self, objects: Mapping[str, bytes], gone: Iterable[str] = ()) -> None:
        """Store small named objects and remove others, as one transaction."""
        with self._write("save objects"):
            self._objects.save_all(objects, gone)

    def load_object(self, name: str) -> bytes | None:
        """Return a small named object, or None; a damaged one raises `StoreError`."""
        return self._objects.load(name)

    def list_objects(self, prefix: str) -> list[str]:
        """Return the sorted names of the objects that start with `prefix`."""
        return self._objects.names(prefix)

    def delete_object(self, name: str) -> None:
        """Remove a small named object; a missing one is fine."""
        with self._write(f"delete {name}"):
            self._objects.delete(name)

    def statistics(self) -> StoreStatistics:
        """Return what the store holds, from the index alone. Cost: a pass over the index, 0.1 s per million chunks."""
        return replace(self._index.statistics(), recovery=self.recovery)

    def close(self) -> None:
        """Close; safe to call twice. Every other method raises `StoreError` afterwards."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            self._segments.close()
            self._database.close()
            self._lock_file.close()

    # Within.

    @contextmanager
    def _write(self, what: str) -> Iterator[None]:
        with self._writing, mapped(f"store: {what}"):
            if self._closed:
                raise StoreError(f"store: {what} after close")
            yield

    def _admit(self, growth: int) -> None:
        """Refuse bytes that the quota or the reserve has no room for, before anything is written."""
        if not growth:
            return
        total = self._segments.total_bytes()
        if self._quota_bytes is not None and total + growth > self._quota_bytes:
            raise NoSpaceError(
                f"store: {growth} bytes more than the {total} held exceed the quota of {self._quota_bytes}; collect, or raise it"
            )
        free = self._segments.files.free_bytes(self._segments.directory)
        if free - growth < self._min_free_bytes:
            raise NoSpaceError(f"store: {growth} bytes would leave less than {self._min_free_bytes} of {free} free on the disk")

    def _append(self, chunks: Iterable[tuple[Digest, bytes]], owner: Digest, shared: Sequence[Digest] = ()) -> int:
        """Append durably and record it, and that `shared` are needed too; return the bytes that the segments grew by."""
        before = self._segments.total_bytes()
        append = Append(self._segments, owner)
        try:
            for name, data in chunks:
                append.add(name, data)
            append.sync()
            self._index.add(owner, append.rows, append.ends, shared)
        except BaseException:
            self._abandon(append)
            raise
        append.commit()
        return self._segments.total_bytes() - before

    def _abandon(self, append: Append) -> None:
        append.abandon()
        # Also after a restart nothing is appended there. If the index can't take it now, the end it knows protects what counts.
        with contextlib.suppress(StoreError):
            self._index.seal_segments([segment.number for segment in append.touched])

    def _read_row(self, row: Row) -> bytes | None:
        """Return the verified bytes of a chunk from its segment; None if they are not there, which is then forgotten."""
        try:
            data = self._segments.read(row.segment, row.offset, row.size)
        except OSError as error:
            if not blames_disk(error):
                raise StoreError(f"segment {row.segment}: cannot be read now: {error}") from error
            data = b""
        if digest(data) == row.digest:
            return data
        # A disk that can't take the note does not make the bytes right: the chunk is missing all the same.
        with contextlib.suppress(StoreError):
            self._index.forget(row)
        return None

    def _read_linked(self, wanted: Digest, place: LinkedPlace) -> bytes | None:
        try:
            data = self._reader(place.link)(place.offset, place.size)
            check_digest(data, wanted, "installed chunk")
        except ContentError:
            with contextlib.suppress(StoreError):
                self._index.forget_linked(wanted, place.link)
            return None
        return data

    def _reader(self, number: int) -> ReadStream:
        with self._readers_lock:
            reader = self._readers.get(number)
            if reader is not None:
                self._readers.move_to_end(number)
                return reader
        link = next((link for link in self._index.links() if link.number == number), None)
        if link is None:
            raise ContentError(f"link {number}: gone")
        entries = self._objects.load(entries_name(link.manifest)) if link.entries else b""
        reader = reader_of(link.path, check_entries_size(link.manifest, link.entries, entries))
        with self._readers_lock:
            self._readers[number] = reader
            while len(self._readers) > _READERS:
                self._readers.popitem(last=False)
        return reader

    def _drop_readers(self) -> None:
        with self._readers_lock:
            self._readers.clear()
