"""The store's twin in memory: for simulations and tests. Forgets everything when it is closed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from ..abc import ReadStream, StoreStatistics
from ..content.digest import DIGEST_BYTES, Digest, check_digest, digest, short
from ..content.manifest import Manifest
from ..errors import ChunkMissingError, ContentError, NoSpaceError, StoreError
from .links import collect_entries, reader_of

_Place = tuple[int, int]


class MemoryStore:
    """Chunks by digest in memory; satisfies `abc.ChunkStore`.

    Args:
        quota_bytes: Chunks never take more than this many bytes; None: no quota.
    """

    def __init__(self, *, quota_bytes: int | None = None) -> None:
        self._quota_bytes = quota_bytes
        self._lock = threading.RLock()
        self._chunks: dict[Digest, bytes] = {}
        self._needs: dict[Digest, set[Digest]] = {}
        self._pins: dict[Digest, str] = {}
        self._links: dict[tuple[Digest, str], tuple[ReadStream, dict[Digest, _Place]]] = {}
        self._objects: dict[str, bytes] = {}
        self._closed = False

    def put(self, chunks: Sequence[tuple[Digest, bytes]], *, owner: Digest) -> None:
        """Store chunks: all or none; see `abc.ChunkStore.put`."""
        for name, data in chunks:
            check_digest(data, name, "chunk to store")
        with self._lock:
            self._check_open()
            fresh = {name: bytes(data) for name, data in chunks if name not in self._chunks}
            self.check_room(sum(map(len, fresh.values())))
            self._chunks.update(fresh)
            self.require(owner, (name for name, _ in chunks))

    def check_room(self, size: int) -> None:
        """Raise `NoSpaceError` if chunks of `size` bytes in all would be refused now."""
        with self._lock:
            self._check_open()
            total = sum(map(len, self._chunks.values())) if self._quota_bytes is not None else 0
            if self._quota_bytes is not None and size and total + size > self._quota_bytes:
                raise NoSpaceError(f"store: the chunks exceed the quota of {self._quota_bytes} bytes; collect, or raise it")

    def require(self, owner: Digest, digests: Iterable[Digest]) -> None:
        """Declare that an owner needs chunks that others brought: they stay while it is pinned."""
        with self._lock:
            self._check_open()
            self._needs.setdefault(owner, set()).update(name for name in digests if name in self._chunks)

    def get(self, digest: Digest) -> bytes:
        """Return the bytes of a chunk, from memory or verified from an installed artifact; `ChunkMissingError` if not here."""
        with self._lock:
            self._check_open()
            data = self._chunks.get(digest)
            if data is None:
                data = self._read_installed(digest)
        if data is None:
            raise ChunkMissingError(f"chunk {short(digest)}: not in this store; fetch it")
        return data

    def have(self, digests: Sequence[Digest]) -> bytes:
        """Tell which chunks are here: one byte per digest, 1 = here."""
        with self._lock:
            self._check_open()
            return bytes(name in self._chunks or any(name in places for _, places in self._links.values()) for name in digests)

    def link(self, manifest: Manifest, path: str) -> None:
        """Declare that an artifact is installed at `path`; `ChunkMissingError` if the chunks with a tree's entries are not here."""
        with self._lock:
            self._check_open()
            entries = collect_entries(manifest, self.get) if manifest.root.entries else b""
            places: dict[Digest, _Place] = {}
            offset = 0
            for index, size in enumerate(manifest.sizes):
                places.setdefault(manifest.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES], (offset, size))
                offset += size
            self._links[manifest.digest, path] = (reader_of(path, entries), places)

    def unlink(self, manifest: Digest, path: str) -> None:
        """Forget that the artifact is installed at `path`; unknown ones are fine."""
        with self._lock:
            self._check_open()
            self._links.pop((manifest, path), None)

    def keep(self, owner: Digest, reason: str) -> None:
        """Pin an owner's chunks with a reason."""
        with self._lock:
            self._check_open()
            self._pins[owner] = reason

    def release(self, owner: Digest) -> None:
        """Drop the pin of an owner."""
        with self._lock:
            self._check_open()
            self._pins.pop(owner, None)

    def pins(self) -> dict[Digest, str]:
        """Return the pinned owners with their reasons."""
        with self._lock:
            self._check_open()
            return dict(self._pins)

    def collect(self) -> int:
        """Free chunks that no pinned owner needs, or that verify in an installed artifact; return the bytes freed."""
        with self._lock:
            self._check_open()
            self._needs = {owner: needs for owner, needs in self._needs.items() if owner in self._pins}
            needed = set().union(*self._needs.values())
            gone = [name for name in self._chunks if name not in needed or self._read_installed(name) is not None]
            return sum(len(self._chunks.pop(name)) for name in gone)

    def save_object(self, name: str, data: bytes) -> None:
        """Store a small named object; replaces the old one."""
        self.save_objects({name: data})

    def save_objects(self, objects: Mapping[str, bytes], gone: Iterable[str] = ()) -> None:
        """Store small named objects and remove others."""
        with self._lock:
            self._check_open()
            for name in gone:
                self._objects.pop(name, None)
            self._objects.update({name: bytes(data) for name, data in objects.items()})

    def load_object(self, name: str) -> bytes | None:
        """Return a small named object, or None."""
        with self._lock:
            self._check_open()
            return self._objects.get(name)

    def list_objects(self, prefix: str) -> list[str]:
        """Return the sorted names of the objects that start with `prefix`."""
        with self._lock:
            self._check_open()
            return sorted(name for name in self._objects if name.startswith(prefix))

    def delete_object(self, name: str) -> None:
        """Remove a small named object; a missing one is fine."""
        self.save_objects({}, gone=[name])

    def statistics(self) -> StoreStatistics:
        """Return what the store holds; the bytes of its chunks count as segment bytes."""
        with self._lock:
            self._check_open()
            linked = {name: size for _, places in self._links.values() for name, (_, size) in places.items()}
            total = sum(map(len, self._chunks.values()))
            return StoreStatistics(len(self._chunks), total, len(linked), sum(linked.values()), total)

    def close(self) -> None:
        """Close and forget; safe to call twice. Every other method raises `StoreError` afterwards."""
        with self._lock:
            self._closed = True
            self._chunks.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("store: used after close")

    def _read_installed(self, wanted: Digest) -> bytes | None:
        for reader, places in self._links.values():
            if wanted in places:
                with_digest = self._read_place(reader, places[wanted])
                if digest(with_digest) == wanted:
                    return with_digest
                del places[wanted]
        return None

    @staticmethod
    def _read_place(reader: ReadStream, place: _Place) -> bytes:
        try:
            return reader(*place)
        except ContentError:
            return b""
