"""Puts the objects of one release at the origin: packs and indexes. Nothing names them yet."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..abc import OriginWriter, ReadStream
from ..content.delta import ZstdRanges
from ..content.index import PackIndex, index_name, named_index, pack_name
from ..content.manifest import BuiltManifest
from ..errors import ContentError, PublishError
from ..trust.catalogue import IndexRef
from .encode import Encoding, encode_delta, encode_full, groups, known_places, new_chunks, plain_bytes
from .options import Meter, PublishOptions
from .packs import PackFile
from .reassemble import PublishedArtifact, load_index

_log = logging.getLogger("edgeswarm.publish")
_AHEAD_PER_THREAD = 3
"""Groups (1 MiB) under way per thread: enough that none waits, few enough for the memory. A guess."""


@contextmanager
def encoder_pool(options: PublishOptions) -> Iterator[ThreadPoolExecutor]:
    """Run the encoder's threads; work that was not begun is dropped when the block ends."""
    pool = ThreadPoolExecutor(options.threads or os.cpu_count() or 1, "edgeswarm-encode")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def put_named(writer: OriginWriter, name: str, data: Callable[[], bytes | Iterable[bytes]]) -> None:
    """Store an object that is named by its content: if something else has that name, it is damaged, and is replaced.

    Raises:
        PublishError: The origin cannot be written.
    """
    try:
        writer.put(name, data())
    except PublishError as error:
        if not writer.exists(name):
            raise
        _log.warning("%s: is damaged at the origin and written again (%s)", name, error)
        writer.put(name, data(), replace=True)


@dataclass(slots=True)
class ObjectWriter:
    """Encodes one artifact and writes what is new of it.

    Attributes:
        writer: The origin.
        read: The artifact's stream.
        built: Its manifest and pages.
        options: How to encode.
        pool: Where to encode.
        new_chunks: Chunks that were written because no older pack had them.
        stored_bytes: Bytes of the packs and indexes that were written.
    """

    writer: OriginWriter
    read: ReadStream
    built: BuiltManifest
    options: PublishOptions
    pool: ThreadPoolExecutor
    new_chunks: int = field(default=0, init=False)
    stored_bytes: int = field(default=0, init=False)

    def reuse(self, ref: IndexRef | None) -> PackIndex | None:
        """Return an index that was published before, if it and all its packs are still there."""
        if ref is None:
            return None
        try:
            index = load_index(self.writer, ref)
        except (ContentError, PublishError) as error:
            _log.warning("an index is made again: %s", error)
            return None
        return index if all(self.writer.exists(pack_name(pack)) for pack in index.packs) else None

    def full(self, older: Sequence[PublishedArtifact]) -> tuple[PackIndex, IndexRef]:
        """Write what no older release has, and the full index."""
        known = known_places(older, self.built, lambda pack: self.writer.exists(pack_name(pack)))
        fresh = [self.built.manifest.chunk(i).size for i in new_chunks(self.built.manifest, known)]
        self.new_chunks = len(fresh)
        with PackFile() as pack:
            index = encode_full(self.read, self.built, known, pack, self._encoding(Meter(self.options, "encode", sum(fresh))))
            return index, self._put(index, pack)

    def delta(self, full: PackIndex, base: PublishedArtifact) -> IndexRef:
        """Write the delta units against one base, and their index."""
        manifest = self.built.manifest
        total = sum(plain_bytes(manifest, which) for which in groups(manifest, base.manifest))
        meter = Meter(self.options, f"delta from {base.release.version}", total)
        with PackFile() as pack:
            return self._put(encode_delta(self.read, manifest, full, base, pack, self._encoding(meter)), pack)

    def _encoding(self, meter: Meter) -> Encoding:
        options = self.options
        ahead = _AHEAD_PER_THREAD * (options.threads or os.cpu_count() or 1)
        return Encoding(self.pool, ahead, options.level, options.unit_bytes, ZstdRanges(level=options.level), meter)

    def _put(self, index: PackIndex, pack: PackFile) -> IndexRef:
        if pack.size:
            put_named(self.writer, pack_name(pack.digest), pack.blocks)
        name, data = named_index(index)
        put_named(self.writer, index_name(name), lambda: data)
        self.stored_bytes += pack.size + len(data)
        return IndexRef(index.base, name, len(data), index.payload_bytes)
