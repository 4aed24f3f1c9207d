"""Packs and indexes under construction."""

from __future__ import annotations

import contextlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import IO, NamedTuple, TypeVar

from blake3 import blake3

from ..content.digest import Digest
from ..content.index import PackIndex, Piece
from ..errors import PublishError, PublishSpaceError
from ..origin import FULL_ERRNOS

_BLOCK_BYTES = 1024 * 1024

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Place(NamedTuple):
    """Where an encoded piece lies: pack, offset and length in bytes."""

    pack: Digest
    offset: int
    length: int


def _temporary() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="edgeswarm-pack-")


@contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"temporary file for a pack (where TMPDIR says): {error.strerror or error}; no release changed"
        if error.errno in FULL_ERRNOS:
            raise PublishSpaceError(f"{message}: make room, or set TMPDIR to a folder with room for all that is new") from error
        raise PublishError(f"{message}: set TMPDIR to a folder that can be written") from error


class PackFile:
    """A pack that is being written; it gets its name, the digest of all its bytes, at the end.

    Until then it is a temporary file, where TMPDIR says: as large as what is new in a release, encoded. All of its methods raise
    `PublishSpaceError` if that is full, and `PublishError` if it cannot be used.

    Args:
        make: Opens the file.
    """

    def __init__(self, make: Callable[[], IO[bytes]] = _temporary) -> None:
        with _mapped():
            self._file = make()
        self._hash = blake3()
        self.size = 0

    def __enter__(self) -> PackFile:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # what was not written yet is not wanted any more
            self._file.close()

    def append(self, piece: bytes) -> int:
        """Write one piece; return its offset."""
        offset = self.size
        with _mapped():
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
        with _mapped():
            self._file.seek(0)
        while block := self._block():
            yield block

    def _block(self) -> bytes:
        with _mapped():
            return self._file.read(_BLOCK_BYTES)


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
        self._maps: list[Piece] = []

    def add_page(self, page: Digest, place: Place) -> None:
        """Add the page that comes next in the manifest."""
        self._pages.append((page, self._piece(len(self._pages), 1, place)))

    def add_piece(self, first: int, count: int, place: Place, digest: Digest = b"") -> None:
        """Add the piece that makes `count` chunks from `first` on; ascending."""
        self._pieces.append(self._piece(first, count, place, digest))

    def add_map(self, first: int, count: int, place: Place, digest: Digest) -> None:
        """Add the map of `count` chunks from `first` on; ascending."""
        self._maps.append(self._piece(first, count, place, digest))

    def _piece(self, first: int, count: int, place: Place, digest: Digest = b"") -> Piece:
        pack = self._packs.setdefault(place.pack, len(self._packs))
        return Piece(first, count, pack, place.offset, place.length, digest)

    def build(self) -> PackIndex:
        """Return the index."""
        names, pages = tuple(name for name, _ in self._pages), tuple(piece for _, piece in self._pages)
        return PackIndex(self._manifest, self._base, tuple(self._packs), names, pages, tuple(self._pieces), tuple(self._maps))


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
