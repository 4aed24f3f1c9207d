"""Packs and indexes under construction."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple, TypeVar

from blake3 import blake3

from ..content.digest import Digest
from ..content.index import PackIndex, Piece

_BLOCK_BYTES = 1024 * 1024

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Place(NamedTuple):
    """Where an encoded piece lies: pack, offset and length in bytes."""

    pack: Digest
    offset: int
    length: int


class PackFile:
    """A pack that is being written; it gets its name, the digest of all its bytes, at the end.

    Until then it is a temporary file, where TMPDIR says: as large as what is new in a release, encoded.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="edgeswarm-pack-")  # noqa: SIM115  # closed by `close`
        self._hash = blake3()
        self.size = 0

    def __enter__(self) -> PackFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, piece: bytes) -> int:
        """Write one piece; return its offset."""
        offset = self.size
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)
        return offset

    @property
    def digest(self) -> Digest:
        """Digest of what was written so far."""
        return self._hash.digest()

    def blocks(self) -> Iterator[bytes]:
        """Yield all bytes, 1 MiB at a time."""
        self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            yield block


class IndexBuilder:
    """Collects pieces by the digest of their pack, and numbers the packs at the end, in the order of their first piece.

    Args:
        manifest: Digest of the root that the index is of.
        base: Digest of the base's root, or None for a full index.
    """

    def __init__(self, manifest: Digest, base: Digest | None) -> None:
        self._manifest = manifest
        self._base = base
        self._packs: dict[Digest, int] = {}
        self._pages: list[tuple[Digest, Piece]] = []
        self._pieces: list[Piece] = []

    def add_page(self, page: Digest, place: Place) -> None:
        """Add the page that comes next in the manifest."""
        self._pages.append((page, self._piece(len(self._pages), 1, place)))

    def add_piece(self, first: int, count: int, place: Place, digest: Digest = b"") -> None:
        """Add the piece that makes `count` chunks from `first` on; ascending."""
        self._pieces.append(self._piece(first, count, place, digest))

    def _piece(self, first: int, count: int, place: Place, digest: Digest = b"") -> Piece:
        pack = self._packs.setdefault(place.pack, len(self._packs))
        return Piece(first, count, pack, place.offset, place.length, digest)

    def build(self) -> PackIndex:
        """Return the index."""
        names, pages = tuple(name for name, _ in self._pages), tuple(piece for _, piece in self._pages)
        return PackIndex(self._manifest, self._base, tuple(self._packs), names, pages, tuple(self._pieces))


def in_order(pool: Executor, work: Callable[[_Item], _Result], items: Iterable[_Item], ahead: int) -> Iterator[_Result]:
    """Run `work` on items in a pool and yield the results in the order of the items.

    Args:
        pool: Where it runs.
        work: May be called from several threads at once.
        items: Taken as the results are.
        ahead: Most items under way or waiting to be taken: bounds the memory.
    """
    pending: deque[Future[_Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
