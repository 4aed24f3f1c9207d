"""Puts the objects of one release at the origin: packs and indexes. Nothing names them yet."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..abc import OriginWriter, ReadStream
from ..content.codec import encode_piece
from ..content.delta import EngineOptions, MatchOptions
from ..content.digest import Digest
from ..content.index import PackIndex, check_index, index_name, manifest_name, named_index, pack_name
from ..content.manifest import BuiltManifest
from ..errors import ContentError, PublishError
from ..trust.catalogue import IndexRef
from .encode import Encoding, encode_chunk, encode_delta, encode_full, groups, known_places, new_chunks, plain_bytes
from .mend import MAX_PATCH_BYTES, mend
from .options import Meter, PublishOptions
from .packs import PackFile
from .reassemble import PublishedArtifact, load_index
from .sound import Claim, claims_of, plain_sizes, unsound

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
        lost: Indexes that were published before and are of no use any more.
        needed: Names of all objects that the release takes.
    """

    writer: OriginWriter
    read: ReadStream
    built: BuiltManifest
    options: PublishOptions
    pool: ThreadPoolExecutor
    new_chunks: int = field(default=0, init=False)
    stored_bytes: int = field(default=0, init=False)
    lost: list[IndexRef] = field(default_factory=list, init=False)
    needed: dict[str, None] = field(default_factory=dict, init=False)

    def reuse(self, ref: IndexRef | None) -> PackIndex | None:
        """Return an index that was published before, if it and all its pieces are still what they were; else it is lost."""
        if ref is None:
            return None
        try:
            index = load_index(self.writer, ref)
            check_index(index, self.built.manifest)
            claims = list(claims_of(index, self.built))
        except (ContentError, PublishError) as error:
            trouble = str(error)
        else:
            bad = self._left_bad(claims)  # outside: that it was cancelled is no damage
            if not bad:
                self._need(index_name(ref.digest), index)
                return index
            trouble = next(iter(bad.values()))
        _log.warning("an index is made again, or named no more: %s", trouble)
        self.lost.append(ref)
        return None

    def full(self, older: Sequence[PublishedArtifact]) -> tuple[PackIndex, IndexRef]:
        """Write what no older release has, or what is damaged there, and the full index."""
        known, sizes = known_places(older, self.built), plain_sizes(self.built)
        for name, trouble in self._left_bad([Claim(name, place, sizes[name]) for name, place in known.items()]).items():
            _log.warning("a damaged piece is written anew; publish the release that it is of again to repair it: %s", trouble)
            del known[name]
        fresh = [self.built.manifest.chunk(i).size for i in new_chunks(self.built.manifest, known)]
        self.new_chunks = len(fresh)
        with PackFile() as pack:
            index = encode_full(self.read, self.built, known, pack, self._encoding(Meter(self.options, "encode", sum(fresh))))
            return index, self._put(index, pack)

    def _left_bad(self, claims: list[Claim]) -> Mapping[Digest, str]:
        """Return what is wrong with each claim that does not hold, after what can be mended was."""
        bad = self._unsound(claims)
        wrong: dict[Digest, list[Claim]] = {}
        for claim in claims:
            if claim.name in bad:
                wrong.setdefault(claim.place.pack, []).append(claim)
        mended = {claim.name for pack, of_it in wrong.items() if self._mend(pack, of_it) for claim in of_it}
        return {name: trouble for name, trouble in bad.items() if name not in mended}

    def _mend(self, pack: Digest, claims: list[Claim]) -> bool:
        """Write a pack again with the pieces of this artifact that are bad in it; delta units and maps are made anew elsewhere."""
        if sum(claim.place.length for claim in claims) > MAX_PATCH_BYTES or any(claim.size is None for claim in claims):
            return False
        return mend(self.writer, pack, {claim.place.offset: self._piece(claim.name) for claim in claims})

    def _piece(self, name: Digest) -> bytes:
        """Return a page or chunk as it is encoded."""
        manifest, pages = self.built.manifest, dict(self.built.pages)
        if name in pages:
            return encode_piece(pages[name], self.options.level)
        return encode_chunk(self.read, manifest, self.options.level, manifest.find(name) or 0)[1]

    def _unsound(self, claims: list[Claim]) -> Mapping[Digest, str]:
        meter = Meter(self.options, "check", sum(claim.place.length for claim in claims))
        return unsound(self.writer, claims, self.pool, self._ahead, meter)

    def delta(self, full: PackIndex, base: PublishedArtifact) -> IndexRef:
        """Write the delta units against one base, their maps, and their index."""
        manifest = self.built.manifest
        total = sum(plain_bytes(manifest, which) for which in groups(manifest, base.manifest))
        meter = Meter(self.options, f"delta from {base.release.version}", total)
        with PackFile() as pack, PackFile() as pages:
            index = encode_delta(self.read, self.built, full, base, pack, pages, self._encoding(meter))
            self._put_pack(pages)
            return self._put(index, pack)

    def put_root(self) -> None:
        """Write the manifest root: last, since it is small."""
        manifest = self.built.manifest
        name = manifest_name(manifest.digest)
        put_named(self.writer, name, lambda: manifest.root_bytes)
        self.needed[name] = None

    def check_here(self) -> None:
        """Refuse to sign what is not there: what no release named so far may have been removed meanwhile. Hold the origin's lock.

        Raises:
            PublishError: An object is gone.
        """
        for name in self.needed:
            if not self.writer.exists(name):
                why = "was removed at the origin meanwhile, perhaps by `edgeswarm prune`"
                raise PublishError(f"{name}: {why}; nothing was signed: publish again")

    def _need(self, name: str, index: PackIndex) -> None:
        self.needed |= dict.fromkeys([name, *map(pack_name, index.packs)])

    @property
    def _ahead(self) -> int:
        return _AHEAD_PER_THREAD * (self.options.threads or os.cpu_count() or 1)

    def _encoding(self, meter: Meter) -> Encoding:
        options = self.options
        engine = EngineOptions(options.level, MatchOptions(options.memory_bytes), options.predict)
        return Encoding(self.pool, self._ahead, options.level, options.unit_bytes, engine, meter)

    def _put(self, index: PackIndex, pack: PackFile) -> IndexRef:
        self._put_pack(pack)
        name, data = named_index(index)
        put_named(self.writer, index_name(name), lambda: data)
        self.stored_bytes += len(data)
        self._need(index_name(name), index)
        return IndexRef(index.base, name, len(data), index.payload_bytes)

    def _put_pack(self, pack: PackFile) -> None:
        if pack.size:
            put_named(self.writer, pack_name(pack.digest), pack.blocks)
            self.stored_bytes += pack.size
