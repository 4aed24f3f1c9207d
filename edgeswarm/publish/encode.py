"""Encoding of one artifact: full pieces for those who have nothing, delta units for those who have an older release.

The bytes are the same for the same input, however many threads encode: groups of chunks are encoded apart from each other, and
written in their order. A chunk or page that an older release's pack already holds is referred to there and never written again.

A unit is whole chunks: as many as make an encoded unit of about the size that is wanted, since more context makes it smaller. Maps
that units need lie before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TypeVar

from ..abc import ReadStream
from ..content.codec import DEFAULT_LEVEL, encode_piece
from ..content.delta import EngineOptions, PairEncoder, decode_unit
from ..content.delta import Place as OutputPlace
from ..content.digest import Digest, digest
from ..content.index import SPAN_CHUNKS, UNIT_MAX_OUTPUT_BYTES, PackIndex
from ..content.manifest import BuiltManifest, Manifest
from ..errors import ContentError, PublishError
from .maps import DeltaMaps
from .packs import IndexBuilder, PackFile, Place, in_order
from .pages import encode_pages
from .reassemble import PublishedArtifact

UNIT_BYTES = 64 * 1024
"""Encoded bytes of a unit. Source: guarantee G7, at most 64 KiB is lost per cut."""


_POLL_SECONDS = 0.1
_Result = TypeVar("_Result")
_AIM = 0.8
"""Part of a unit's most bytes that are aimed at: what is too large after all is encoded again, in halves. A guess."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How to encode.

    Attributes:
        pool: Where it runs; zstd lets go of the interpreter.
        ahead: Groups under way at once.
        level: zstd level of full pieces.
        unit_bytes: Encoded bytes that a unit should not exceed.
        engine: How delta units are made.
        step: Called with the plain bytes of each finished group, in order; may raise to stop.
    """

    pool: Executor
    ahead: int
    level: int = DEFAULT_LEVEL
    unit_bytes: int = UNIT_BYTES
    engine: EngineOptions = field(default_factory=EngineOptions)
    step: Callable[[int], None] = lambda _: None


# ---------------------------------------------------------------------- full pieces


def known_places(older: Iterable[PublishedArtifact], built: BuiltManifest) -> dict[Digest, Place]:
    """Return where chunks and pages of a new manifest should lie already, by digest; the first of `older` wins.

    Args:
        older: Releases at the origin.
        built: The new manifest.
    """
    wanted = {built.manifest.chunk(i).digest for i in range(len(built.manifest))} | {name for name, _ in built.pages}
    found: dict[Digest, Place] = {}
    for artifact in older:
        index = artifact.full
        chunks = [(artifact.manifest.chunk(piece.first).digest, piece) for piece in index.pieces]
        for name, piece in [*zip(index.page_digests, index.pages, strict=True), *chunks]:
            if name in wanted:
                found.setdefault(name, Place(index.packs[piece.pack], piece.offset, piece.length))
    return found


def encode_full(read: ReadStream, built: BuiltManifest, known: dict[Digest, Place], pack: PackFile, how: Encoding) -> PackIndex:
    """Write the pages and chunks that are not known yet into a pack, pages first, and return the full index.

    Raises:
        PublishError: The source has changed.
    """
    manifest, fresh = built.manifest, dict[Digest, tuple[int, int]]()
    for name, page in built.pages:
        if name not in known and name not in fresh:
            piece = encode_piece(page, how.level)
            fresh[name] = (pack.append(piece), len(piece))
    for name, piece in in_order(how.pool, partial(encode_chunk, read, manifest, how.level), new_chunks(manifest, known), how.ahead):
        fresh[name] = (pack.append(piece), len(piece))
        how.step(manifest.chunk(manifest.find(name) or 0).size)
    made = pack.digest
    where = known | {name: Place(made, *place) for name, place in fresh.items()}
    builder = IndexBuilder(manifest.digest, None)
    for name, _ in built.pages:
        builder.add_page(name, where[name])
    for index in range(len(manifest)):
        builder.add_piece(index, 1, where[manifest.chunk(index).digest])
    return builder.build()


def new_chunks(manifest: Manifest, known: dict[Digest, Place]) -> Iterator[int]:
    """Yield the index of each chunk that lies nowhere yet, a repeated one once."""
    for index in range(len(manifest)):
        name = manifest.chunk(index).digest
        if name not in known and manifest.find(name) == index:
            yield index


def encode_chunk(read: ReadStream, manifest: Manifest, level: int, index: int) -> tuple[Digest, bytes]:
    """Return the name of a chunk of the source, and the chunk as a piece; fails like `read_chunks`."""
    return manifest.chunk(index).digest, encode_piece(read_chunks(read, manifest, range(index, index + 1)), level)


def read_chunks(read: ReadStream, manifest: Manifest, which: range) -> bytes:
    """Return consecutive chunks of the source, verified against the manifest that was made of it.

    Raises:
        PublishError: The source has changed since.
    """
    first, last = manifest.chunk(which[0]), manifest.chunk(which[-1])
    try:
        data = read(first.offset, last.offset + last.size - first.offset)
    except ContentError as error:
        raise PublishError(f"the source changed while it was published: {error}") from error
    view = memoryview(data)
    for index in which:
        chunk = manifest.chunk(index)
        at = chunk.offset - first.offset
        if digest(view[at : at + chunk.size]) != chunk.digest:
            raise PublishError(f"the source changed while it was published, at byte {chunk.offset} of its stream; try again")
    return data


# ---------------------------------------------------------------------- delta units


def groups(manifest: Manifest, base: Manifest) -> list[range]:
    """Return the runs of chunks that the base lacks, cut at span ends and where a unit could not make more."""
    found: list[range] = []
    total = 0
    for index in range(len(manifest)):
        chunk = manifest.chunk(index)
        if base.find(chunk.digest) is not None:
            continue
        joins = found and found[-1].stop == index and index % SPAN_CHUNKS and total + chunk.size <= UNIT_MAX_OUTPUT_BYTES
        if joins:
            found[-1] = range(found[-1].start, index + 1)
            total += chunk.size
        else:
            found.append(range(index, index + 1))
            total = chunk.size
    return found


def encode_delta(
    read: ReadStream, built: BuiltManifest, full: PackIndex, base: PublishedArtifact, pack: PackFile, pages: PackFile, how: Encoding
) -> PackIndex:
    """Write units against a base and their maps into packs, and return the delta index.

    Args:
        read: The source.
        built: Its manifest.
        full: Its full index.
        base: An older release.
        pack: Takes maps and units.
        pages: Takes those of manifest pages.
        how: How to encode.

    Raises:
        PublishError: The source has changed.
        BaseMissingError: The origin has lost a part of the base.
    """
    manifest, runs = built.manifest, groups(built.manifest, base.manifest)
    wanted = [(manifest.chunk(which.start).offset, plain_bytes(manifest, which)) for which in runs]
    matching = how.pool.submit(
        PairEncoder, base.read, base.manifest.root.size, _verified(read, manifest), manifest.root.size, wanted, how.engine
    )
    encoder = _finished(matching, how.step)
    maps = DeltaMaps(encoder.maps, manifest, pack, base.manifest.root.size)
    unit_of = _UnitMaker(read, manifest, base, encoder, maps, how.unit_bytes)
    units: list[tuple[range, int, int, Digest]] = []
    for made in in_order(how.pool, unit_of, maps.cut(runs), how.ahead):
        for which, unit in made:
            units.append((which, pack.append(unit), len(unit), digest(unit)))
        how.step(plain_bytes(manifest, range(made[0][0].start, made[-1][0].stop)))
    builder = IndexBuilder(manifest.digest, base.manifest.digest)
    for name, place in encode_pages(built, full, base.manifest, set(base.full.page_digests), pages, how.engine):
        builder.add_page(name, place)
    maps.add_to(builder, pack)
    for which, offset, length, name in units:
        builder.add_piece(which.start, len(which), Place(pack.digest, offset, length), name)
    return builder.build()


def _finished(future: Future[_Result], step: Callable[[int], None]) -> _Result:
    """Return what comes of something that takes long; `step` is called meanwhile, and may raise to stop waiting."""
    while True:
        try:
            return future.result(_POLL_SECONDS)
        except TimeoutError:
            if future.done():
                raise  # its own
            step(0)


def _verified(read: ReadStream, manifest: Manifest) -> ReadStream:
    """Return what reads ranges of whole chunks of the source, verified."""

    def verified(offset: int, length: int) -> bytes:
        chunks = manifest.range(offset, length)
        first = manifest.chunk(chunks[0]).offset
        return read_chunks(read, manifest, chunks)[offset - first : offset - first + length]

    return verified


def plain_bytes(manifest: Manifest, which: range) -> int:
    """Return the bytes of consecutive chunks."""
    return sum(manifest.sizes[which.start : which.stop])


@dataclass(frozen=True, slots=True)
class _UnitMaker:
    """Makes the units of one run; called from several threads at once."""

    read: ReadStream
    manifest: Manifest
    base: PublishedArtifact
    encoder: PairEncoder
    maps: DeltaMaps
    unit_bytes: int

    def __call__(self, which: range) -> list[tuple[range, bytes]]:
        plain = memoryview(read_chunks(self.read, self.manifest, which))
        start = self.manifest.chunk(which.start).offset
        return [unit for part in self._cut(which, bytes(plain), start) for unit in self._units(part, plain, start)]

    def _units(self, which: range, run: memoryview, start: int) -> Iterator[tuple[range, bytes]]:
        """Yield the unit of some chunks of a run, or several where it turns out too large."""
        first = self.manifest.chunk(which.start).offset
        new = bytes(run[first - start : first - start + plain_bytes(self.manifest, which)])
        unit = self.encoder.encode(new, first)
        if len(unit) > self.unit_bytes and len(which) > 1:
            middle = which.start + len(which) // 2
            yield from self._units(range(which.start, middle), run, start)
            yield from self._units(range(middle, which.stop), run, start)
            return
        self._prove(unit, new, OutputPlace(first, self.maps.opened(which.start)))
        yield which, unit

    def _cut(self, which: range, plain: bytes, start: int) -> list[range]:
        """Cut a run where the encoded bytes are likely to be somewhat below what a unit may have."""
        ends = [self.manifest.chunk(chunk).offset + self.manifest.sizes[chunk] - start for chunk in which]
        cuts, weight = [which.start], 0.0
        for chunk, part in zip(which, self.encoder.weights(plain, start, ends), strict=True):
            if weight and weight + part > _AIM * self.unit_bytes:
                cuts.append(chunk)
                weight = 0.0
            weight += part
        return [range(first, stop) for first, stop in pairwise([*cuts, which.stop])]

    def _prove(self, unit: bytes, plain: bytes, place: OutputPlace) -> None:
        """Decode before publishing: a unit that did not decode would cost every site a full fetch of its chunks."""
        if decode_unit(unit, self.base.read, self.base.manifest.root.size, len(plain), place) != plain:
            raise PublishError("a delta unit does not decode to what was encoded: is this machine's memory sound?")
