"""Published releases, read back from the origin: a publisher needs no old artifacts, only what everybody can fetch.

Every byte is verified: the root by the digest that the signed release names, the pages by the root, the chunks by the pages.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator

from ..abc import OriginWriter
from ..content.codec import decode_piece
from ..content.digest import Digest, check_digest, short
from ..content.index import INDEX_MAX_BYTES, PackIndex, Piece, check_index, decode_index, index_name, manifest_name, pack_name
from ..content.manifest import Manifest, PageRef, load_manifest
from ..content.plan import pieces_for
from ..errors import BaseMissingError, ContentError, PublishError
from ..trust.catalogue import IndexRef, Release

_KEPT_BYTES = 64 * 1024 * 1024
"""Plain bytes of chunks kept for the next read: 16 times what one delta unit reads of its base (4 MiB). A guess."""


class PublishedArtifact:
    """A release at an origin, readable without fetching it as a whole. Safe to use from several threads.

    Get one from `open_published`.

    Attributes:
        release: What was signed about it.
        manifest: Its chunk table.
        full: Its full index.
    """

    def __init__(self, writer: OriginWriter, release: Release, manifest: Manifest, full: PackIndex) -> None:
        self.release = release
        self.manifest = manifest
        self.full = full
        self._writer = writer
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` verified bytes at `offset` of the stream; a `ReadBase` and a `ReadStream`.

        Raises:
            BaseMissingError: The range leaves the stream, or the origin has lost a chunk of it.
        """
        if not 0 <= offset <= offset + length <= self.manifest.root.size:
            raise BaseMissingError(f"{self.release.path}: range {offset}+{length} of {self.manifest.root.size} bytes")
        parts = []
        for index in self.manifest.range(offset, length):
            chunk = self.manifest.chunk(index)
            start, end = max(offset, chunk.offset), min(offset + length, chunk.offset + chunk.size)
            parts.append(memoryview(self.chunk(index))[start - chunk.offset : end - chunk.offset])
        return b"".join(parts)

    def chunk(self, index: int) -> bytes:
        """Return one verified chunk.

        Raises:
            BaseMissingError: The origin has lost it.
        """
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        data = self._fetch(index)
        with self._lock:
            self._kept_bytes += len(data) - len(self._kept.get(index, b""))
            self._kept[index] = data
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        return data

    def _fetch(self, index: int) -> bytes:
        pieces, _ = pieces_for(self.full, [index])
        chunk = self.manifest.chunk(index)
        try:
            # A chunk that the index does not name has no piece: no bytes have its digest.
            data = decode_piece(_read_piece(self._writer, self.full, pieces[0]), chunk.size) if pieces else b""
            check_digest(data, chunk.digest, f"chunk {index}")
        except (ContentError, PublishError) as error:
            raise BaseMissingError(f"{self.release.path}: chunk {index} cannot be read at the origin: {error}") from error
        return data


def open_published(writer: OriginWriter, release: Release) -> PublishedArtifact:
    """Open a release at an origin.

    Args:
        writer: The origin.
        release: Verified by TUF.

    Raises:
        ContentError: An object is not what its digest says.
        PublishError: An object is missing, or the release has no full index any more.
    """
    ref = release.index_for(None)
    if ref is None:
        raise PublishError(f"{release.path}: its full index is no longer named, so that it cannot be read back")
    full = load_index(writer, ref)
    root = _whole(writer, manifest_name(release.manifest), release.root_bytes)
    check_digest(root, release.manifest, f"manifest root of {release.path}")
    manifest = _run(load_manifest(root), writer, full)
    check_index(full, manifest)
    return PublishedArtifact(writer, release, manifest, full)


def load_index(writer: OriginWriter, ref: IndexRef) -> PackIndex:
    """Return a verified index.

    Raises:
        ContentError: It is not what its digest says.
        PublishError: It is missing.
    """
    return decode_index(_whole(writer, index_name(ref.digest), min(ref.length, INDEX_MAX_BYTES)), ref.digest)


def _run(loader: Generator[list[PageRef], list[bytes], Manifest], writer: OriginWriter, full: PackIndex) -> Manifest:
    places = dict(zip(full.page_digests, full.pages, strict=True))
    try:
        refs = next(loader)
        while True:
            refs = loader.send([_page(ref, writer, full, places) for ref in refs])
    except StopIteration as stop:
        manifest: Manifest = stop.value
        return manifest


def _page(ref: PageRef, writer: OriginWriter, full: PackIndex, places: dict[Digest, Piece]) -> bytes:
    if ref.digest not in places:
        raise ContentError(f"manifest page {short(ref.digest)} is not named in the full index")
    return decode_piece(_read_piece(writer, full, places[ref.digest]), ref.length)


def _read_piece(writer: OriginWriter, index: PackIndex, piece: Piece) -> bytes:
    return writer.read(pack_name(index.packs[piece.pack]), offset=piece.offset, length=piece.length)


def _whole(writer: OriginWriter, name: str, limit: int) -> bytes:
    data = writer.get(name, limit=limit)
    if data is None:
        raise PublishError(f"{name}: is missing at the origin, though a signed release names it")
    return data
