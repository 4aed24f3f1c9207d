"""Artifacts as this node holds them: manifests at hand, and their streams read from verified chunks. Blocking; for threads."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from itertools import pairwise

from ..abc import ChunkStore
from ..content.digest import DIGEST_BYTES, Digest, short
from ..content.manifest import Manifest, load_manifest
from ..errors import BaseMissingError, ChunkMissingError, StoreError

_log = logging.getLogger("edgeswarm.artifacts")
_ASK_CHUNKS = 1024
_KEPT_CHUNKS = 32  # 2 MiB at the average size: ranges of neighbouring delta units touch the same chunks


def root_object(manifest: Digest) -> str:
    """Return the store's object name of a manifest root."""
    return f"manifest/{manifest.hex()}"


def page_object(page: Digest) -> str:
    """Return the store's object name of a manifest page."""
    return f"page/{page.hex()}"


def map_object(name: Digest) -> str:
    """Return the store's object name of the map of some delta units."""
    return f"map/{name.hex()}"


def load_stored_manifest(store: ChunkStore, manifest: Digest) -> Manifest | None:
    """Return a manifest whose root and pages are all in the store, or None. What is damaged is removed, to be fetched again."""
    root = _load_object(store, root_object(manifest))
    if root is None:
        return None
    loader = load_manifest(root)
    try:
        refs = next(loader)
        while True:
            pages = [_load_object(store, page_object(ref.digest)) for ref in refs]
            whole = [page for page in pages if page is not None]
            if len(whole) < len(pages):
                return None
            refs = loader.send(whole)
    except StopIteration as stop:
        found: Manifest = stop.value
        return found


def _load_object(store: ChunkStore, name: str) -> bytes | None:
    try:
        return store.load_object(name)
    except StoreError as error:
        _log.error("%s counts as not here: %s", name, error)
    try:
        store.delete_object(name)
    except StoreError as error:  # a full or failing disk: saving it anew replaces it, too
        _log.warning("%s cannot be removed: %s", name, error)
    return None


class StoredStream:
    """The stream of an artifact whose chunks are in the store (as bytes, or in an installed artifact), verified as it is read.

    Safe to use from several threads. Keeps the last chunks read, at most 2 MiB at the average chunk size.
    """

    def __init__(self, store: ChunkStore, manifest: Manifest) -> None:
        self.manifest = manifest
        self._store = store
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` verified bytes at `offset`.

        Raises:
            BaseMissingError: A chunk is not here or no longer verifies, or the range leaves the stream.
        """
        if not 0 <= offset <= offset + length <= self.manifest.root.size:
            name, size = short(self.manifest.digest), self.manifest.root.size
            raise BaseMissingError(f"range {offset}+{length} of artifact {name} of {size} bytes")
        parts = []
        for index in self.manifest.range(offset, length):
            chunk = self.manifest.chunk(index)
            start, end = max(offset, chunk.offset), min(offset + length, chunk.offset + chunk.size)
            parts.append(memoryview(self._chunk(index, chunk.digest))[start - chunk.offset : end - chunk.offset])
        return b"".join(parts)

    def _chunk(self, index: int, digest: Digest) -> bytes:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        try:
            data = self._store.get(digest)
        except ChunkMissingError as error:
            raise BaseMissingError(f"chunk {index} of artifact {short(self.manifest.digest)} is not here") from error
        with self._lock:
            self._kept[index] = data
            while len(self._kept) > _KEPT_CHUNKS:
                self._kept.popitem(last=False)
        return data


def find_twins(manifest: Manifest) -> dict[int, list[int]]:
    """Return, for every chunk whose content stands in several places of the stream, the indices of all of them, ascending."""
    heads = memoryview(manifest.digests).cast("Q")  # sorting by a quarter of each digest takes an eighth of the memory
    order = sorted(range(len(manifest)), key=lambda index: (heads[4 * index], index))
    twins: dict[int, list[int]] = {}
    for one, other in pairwise(order):
        if manifest.chunk(one).digest == manifest.chunk(other).digest:
            group = twins.setdefault(one, [one])
            group.append(other)
            twins[other] = group
    return twins


def missing_bytes(manifest: Manifest, here: Iterable[int], twins: dict[int, list[int]]) -> int:
    """Return the bytes of the chunks that are not here, each content once: of an image of zeros a few hundred KiB."""
    missing = bytearray(b"\x01" * len(manifest))
    for index in here:
        missing[index] = 0
    return sum(size for index, size in enumerate(manifest.sizes) if missing[index] and twins.get(index, (index,))[0] == index)


def chunks_here(store: ChunkStore, manifest: Manifest) -> list[int]:
    """Return the indices of a manifest's chunks that the store has. Asks for some at a time, to spare memory."""
    digests = manifest.digests
    here: list[int] = []
    for first in range(0, len(manifest), _ASK_CHUNKS):
        starts = range(first * DIGEST_BYTES, min(first + _ASK_CHUNKS, len(manifest)) * DIGEST_BYTES, DIGEST_BYTES)
        held = store.have([digests[at : at + DIGEST_BYTES] for at in starts])
        here += [first + number for number, is_held in enumerate(held) if is_held]
    return here
