"""The manifest of an artifact: a small root over pages of chunk digests and sizes.

The root (at most 4 KiB) is what releases sign, and its digest is the artifact's identity. Chunk rows are packed in columns; where
they don't fit into the root they are cut into leaf pages, and those into node pages above, until the top fits. Page ends are cut by
content (a digest that ends in zeros), so that two releases share the pages over what they share.

Bytes on the wire: docs/reference/formats.md, "Manifest".
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from typing import Any

import msgpack

from ..errors import ContentError
from .chunking import CHUNKING, MAX_CHUNK_BYTES
from .digest import DIGEST_BYTES, Digest, check_digest, digest, short

ROOT_MAX_BYTES = 4096
PAGE_MAX_BYTES = 64 * 1024
MAX_CHUNKS = 1 << 26  # 4 TiB at the average size: a bound against lies, not a wish
MAX_HEIGHT = 6
ENTRIES_MAX_BYTES = 256 * 1024 * 1024

_VERSION = 1
_PAGE_HEAD = 6
_LEAF_ROW = 36
_NODE_ROW = 52
# Rows a page: content-cut at 1 in 256 for leaves (9 KiB) and 1 in 64 for nodes; a guess between dedupe and requests.
_LEAF_CUT = (32, 0xFF, 1024)
_NODE_CUT = (8, 0x3F, 512)
_KNOWN = ("kind", "chunking", "size", "chunks", "entries", "height", "body")


class ArtifactKind(StrEnum):
    """What an artifact's bytes are."""

    FILE = "file"
    IMAGE = "image"
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a manifest: index, offset in the stream, size in bytes, digest."""

    index: int
    offset: int
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class PageRef:
    """A page as its parent names it.

    Attributes:
        digest: Digest of the page's bytes.
        length: Its length in bytes.
        chunks: Chunks below it.
        size: Stream bytes below it.
        level: 0 for a leaf.
    """

    digest: Digest
    length: int
    chunks: int
    size: int
    level: int


@dataclass(frozen=True, slots=True)
class Root:
    """The decoded root of a manifest.

    Attributes:
        kind: What the bytes are.
        size: Bytes of the stream.
        chunks: Number of chunks.
        entries: Bytes at the start of the stream that are the encoded entries of a tree; 0 otherwise.
        height: Page levels below the root; 0: the chunk rows are in the root itself.
        body: The packed page that the root carries, of level `height`.
        ignorable: Fields whose names start with `x-`, kept but not understood.
    """

    kind: ArtifactKind
    size: int
    chunks: int
    entries: int
    height: int
    body: bytes
    ignorable: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the canonical bytes: version byte, then a msgpack map in the order of the specification."""
        fields: dict[str, Any] = {
            "kind": str(self.kind), "chunking": CHUNKING, "size": self.size, "chunks": self.chunks,
            "entries": self.entries, "height": self.height, "body": self.body,
        }  # fmt: skip
        packed: bytes = msgpack.packb(fields | dict(sorted(self.ignorable.items())))
        return bytes([_VERSION]) + packed


def decode_root(data: bytes) -> Root:
    """Decode a manifest root.

    Raises:
        ContentError: Too long, of another version, with unknown fields that may not be ignored, or with impossible values.
    """
    if not 2 <= len(data) <= ROOT_MAX_BYTES:
        raise ContentError(f"manifest root: wanted 2 to {ROOT_MAX_BYTES} bytes, got {len(data)}")
    if data[0] != _VERSION:
        raise ContentError(f"manifest root: wanted version {_VERSION}, got {data[0]}; a newer edgeswarm made it")
    root = _root_from_fields(_unpack_map(data[1:]))
    try:  # the packer of msgpack 1.1 nests less deep than its parser
        canonical = root.encode() == data
    except ValueError as error:
        raise ContentError(f"manifest root: its x- fields nest too deep: {error}") from error
    if not canonical:
        raise ContentError("manifest root: not in canonical form")
    return root


def _unpack_map(data: bytes) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(data, strict_map_key=True, max_map_len=64, max_array_len=64)
    except (ValueError, msgpack.UnpackException) as error:
        raise ContentError(f"manifest root: not msgpack: {error}") from error
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise ContentError("manifest root: wanted a map with text keys")
    return fields


def _root_from_fields(fields: dict[str, Any]) -> Root:
    ignorable = {key: fields.pop(key) for key in list(fields) if key.startswith("x-")}
    if tuple(fields) != _KNOWN:
        raise ContentError(f"manifest root: wanted the fields {', '.join(_KNOWN)}, got {', '.join(fields)}")
    if fields["kind"] not in list(ArtifactKind) or fields["chunking"] != CHUNKING:
        raise ContentError(f"manifest root: kind {fields['kind']!r} or chunking {fields['chunking']!r} is not known here")
    bounds = {
        "size": MAX_CHUNKS * MAX_CHUNK_BYTES,
        "chunks": MAX_CHUNKS,
        "entries": ENTRIES_MAX_BYTES,
        "height": MAX_HEIGHT,
    }
    for name, bound in bounds.items():
        if type(fields[name]) is not int or not 0 <= fields[name] <= bound:
            raise ContentError(f"manifest root: {name} must be a number from 0 to {bound}, got {fields[name]!r}")
    if not isinstance(fields["body"], bytes):
        raise ContentError("manifest root: body must be bytes")
    kind = ArtifactKind(fields["kind"])
    if (kind is ArtifactKind.TREE) != (fields["entries"] > 0) or fields["entries"] > fields["size"]:
        raise ContentError(f"manifest root: {fields['entries']} bytes of entries in a {kind} of {fields['size']} bytes")
    return Root(kind, fields["size"], fields["chunks"], fields["entries"], fields["height"], fields["body"], ignorable)


class Manifest:
    """The chunk table of one artifact, proved by its root.

    Holds 44 bytes a chunk: 15,000 chunks (0.7 MB) for 1 GB. Build one with `build_manifest`, or from verified pages with
    `load_manifest`.
    """

    __slots__ = ("_ends", "_positions", "digest", "digests", "root", "root_bytes", "sizes")

    def __init__(self, root: Root, root_bytes: bytes, digests: bytes, sizes: array[int]) -> None:
        self.root = root
        self.root_bytes = root_bytes
        self.digest: Digest = digest(root_bytes)
        self.digests = digests
        self.sizes = sizes
        self._ends = array("Q", accumulate(sizes))
        self._positions: dict[Digest, int] | None = None
        total = self._ends[-1] if sizes else 0
        if len(sizes) != root.chunks or total != root.size:
            raise ContentError(f"manifest: root says {root.chunks} chunks, {root.size} bytes; pages {len(sizes)}, {total}")

    def __len__(self) -> int:
        return len(self.sizes)

    def chunk(self, index: int) -> Chunk:
        """Return the chunk at `index`; `IndexError` outside 0..len-1."""
        if not 0 <= index < len(self.sizes):
            raise IndexError(f"chunk {index} of {len(self.sizes)}")
        size = self.sizes[index]
        at = index * DIGEST_BYTES
        return Chunk(index, self._ends[index] - size, size, self.digests[at : at + DIGEST_BYTES])

    def locate(self, offset: int) -> int:
        """Return the index of the chunk that holds the stream's byte `offset`; `IndexError` outside the stream."""
        if not 0 <= offset < self.root.size:
            raise IndexError(f"byte {offset} of {self.root.size}")
        return bisect_right(self._ends, offset)

    def range(self, offset: int, length: int) -> range:
        """Return the indices of the chunks that hold `length` bytes from `offset`; empty for no bytes."""
        if length <= 0:
            return range(0)
        return range(self.locate(offset), self.locate(offset + length - 1) + 1)

    def find(self, wanted: Digest) -> int | None:
        """Return the first index that holds `wanted`, or None. The first call builds a table of 100 bytes a chunk."""
        if self._positions is None:
            rows = range(len(self) - 1, -1, -1)
            self._positions = {self.digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES]: i for i in rows}
        return self._positions.get(wanted)


@dataclass(frozen=True, slots=True)
class BuiltManifest:
    """A manifest with the pages below its root.

    Attributes:
        manifest: The chunk table.
        pages: Digest and bytes of every page, top down, in the order in which a reader needs them.
    """

    manifest: Manifest
    pages: tuple[tuple[Digest, bytes], ...]


def build_manifest(kind: ArtifactKind, chunks: Iterable[tuple[Digest, int]], entries: int = 0) -> BuiltManifest:
    """Build root and pages from chunk digests and sizes in stream order.

    Args:
        kind: What the bytes are.
        chunks: (digest, size in bytes) of every chunk.
        entries: Bytes at the start that are a tree's encoded entries.

    Raises:
        ContentError: A reader would refuse the manifest.
    """
    names, lengths = bytearray(), array("I")
    for name, size in chunks:
        if len(name) != DIGEST_BYTES or not 0 < size <= MAX_CHUNK_BYTES:
            raise ContentError(f"chunk {len(lengths)}: wanted 32 bytes of digest and 1 to {MAX_CHUNK_BYTES} bytes, got {size}")
        names += name
        lengths.append(size)
    rows = [(names[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES], lengths[i]) for i in range(len(lengths))]
    total = sum(lengths)
    room = ROOT_MAX_BYTES - len(Root(kind, total, len(rows), entries, MAX_HEIGHT, b"", {}).encode()) - 8
    body, height, levels = _build_levels([(bytes(name), size) for name, size in rows], room)
    root = decode_root(Root(kind, total, len(rows), entries, height, body).encode())
    pages = tuple(page for level in reversed(levels) for page in level)
    return BuiltManifest(Manifest(root, root.encode(), bytes(names), lengths), pages)


def pages_of(manifest: Manifest) -> tuple[tuple[Digest, bytes], ...]:
    """Return the pages of a manifest that is here, as `BuiltManifest` has them: they follow from its chunks."""
    rows = ((chunk.digest, chunk.size) for chunk in map(manifest.chunk, range(len(manifest))))
    return build_manifest(manifest.root.kind, rows, manifest.root.entries).pages


def _build_levels(rows: list[tuple[Digest, int]], room: int) -> tuple[bytes, int, list[list[tuple[Digest, bytes]]]]:
    """Return the page in the root, its level, and the pages of each level below, leaves first."""
    body = _pack_leaf(rows) if len(rows) * _LEAF_ROW <= room else None
    levels: list[list[tuple[Digest, bytes]]] = []
    refs: list[PageRef] = []
    while body is None:
        level = len(levels)
        groups: list[tuple[bytes, int, int]]
        if level == 0:
            groups = [(_pack_leaf(g), len(g), sum(size for _, size in g)) for g in _cut_rows(rows, _LEAF_CUT)]
        else:
            parts = _cut_rows([(ref.digest, ref) for ref in refs], _NODE_CUT)
            groups = [(_pack_node([r for _, r in g], level), sum(r.chunks for _, r in g), sum(r.size for _, r in g)) for g in parts]
        refs = [PageRef(digest(page), len(page), count, size, level) for page, count, size in groups]
        levels.append([(ref.digest, page) for ref, (page, _, _) in zip(refs, groups, strict=True)])
        if len(refs) * _NODE_ROW <= room:
            body = _pack_node(refs, level + 1)
    return body, len(levels), levels


def _cut_rows(rows: list[tuple[Digest, Any]], rule: tuple[int, int, int]) -> list[list[tuple[Digest, Any]]]:
    """Cut rows behind a digest whose last byte has zeros under the mask, within the minimum and maximum of the rule."""
    least, mask, most = rule
    groups: list[list[tuple[Digest, Any]]] = [[]]
    for row in rows:
        if len(groups[-1]) == most or (len(groups[-1]) >= least and not groups[-1][-1][0][-1] & mask):
            groups.append([])
        groups[-1].append(row)
    return groups


def _pack_leaf(rows: Sequence[tuple[Digest, int]]) -> bytes:
    names = b"".join(name for name, _ in rows)
    return b"\x01\x00" + struct.pack(">I", len(rows)) + names + struct.pack(f">{len(rows)}I", *(size for _, size in rows))


def _pack_node(refs: Sequence[PageRef], level: int) -> bytes:
    n = len(refs)
    columns = [struct.pack(f">{n}I", *(r.length for r in refs))]
    columns += [struct.pack(f">{n}Q", *values) for values in ([r.chunks for r in refs], [r.size for r in refs])]
    return bytes([_VERSION, level]) + struct.pack(">I", n) + b"".join(r.digest for r in refs) + b"".join(columns)


def _open_page(page: bytes, level: int, row: int) -> tuple[int, memoryview]:
    """Check a page's head and return the number of rows and the columns behind it."""
    if len(page) < _PAGE_HEAD or page[0] != _VERSION or page[1] != level:
        raise ContentError(f"manifest page: wanted version {_VERSION}, level {level}, got {page[:2].hex() or 'nothing'}")
    (count,) = struct.unpack_from(">I", page, 2)
    if len(page) != _PAGE_HEAD + count * row:
        raise ContentError(f"manifest page: {count} rows need {_PAGE_HEAD + count * row} bytes, got {len(page)}")
    return count, memoryview(page)[_PAGE_HEAD:]


def _check_totals(parent: PageRef, chunks: int, size: int) -> None:
    if (chunks, size) != (parent.chunks, parent.size):
        where = f"manifest page {short(parent.digest)} of level {parent.level}"
        raise ContentError(f"{where}: wanted {parent.chunks} chunks of {parent.size} bytes in all, got {chunks} of {size}")


def _read_leaf(parent: PageRef, page: bytes, digests: bytearray, sizes: array[int]) -> None:
    count, columns = _open_page(page, 0, _LEAF_ROW)
    rows = struct.unpack(f">{count}I", columns[count * DIGEST_BYTES :])
    _check_totals(parent, count, sum(rows))
    if any(not 0 < size <= MAX_CHUNK_BYTES for size in rows):
        raise ContentError(f"manifest page: a chunk must have 1 to {MAX_CHUNK_BYTES} bytes")
    digests += columns[: count * DIGEST_BYTES]
    sizes.extend(rows)


def _read_node(parent: PageRef, page: bytes) -> list[PageRef]:
    count, columns = _open_page(page, parent.level, _NODE_ROW)
    names = columns[: count * DIGEST_BYTES]
    numbers = columns[count * DIGEST_BYTES :]
    lengths = struct.unpack(f">{count}I", numbers[: 4 * count])
    counts = struct.unpack(f">{count}Q", numbers[4 * count : 12 * count])
    totals = struct.unpack(f">{count}Q", numbers[12 * count :])
    if not all(_PAGE_HEAD < length <= PAGE_MAX_BYTES for length in lengths) or not all(counts):
        raise ContentError(f"manifest page: a page must hold chunks and have up to {PAGE_MAX_BYTES} bytes")
    _check_totals(parent, sum(counts), sum(totals))
    level, rows = parent.level - 1, range(count)
    return [PageRef(bytes(names[i * 32 : i * 32 + 32]), lengths[i], counts[i], totals[i], level) for i in rows]


def load_manifest(root_bytes: bytes) -> Generator[list[PageRef], list[bytes], Manifest]:
    """Load a manifest from its root: a generator that asks for pages, level by level.

    Yields:
        The pages that are needed next, one that stands in several places that often; it is sent their bytes in the same order.

    Returns:
        The manifest, every page checked against its digest and every total against its parent.

    Raises:
        ContentError: A page is not what its parent says.
    """
    root = decode_root(root_bytes)
    refs = [PageRef(digest(root_bytes), len(root.body), root.chunks, root.size, root.height)]
    pages = [root.body]
    for _ in range(root.height):
        refs = [ref for parent, page in zip(refs, pages, strict=True) for ref in _read_node(parent, page)]
        pages = yield refs
        for ref, page in zip(refs, pages, strict=True):
            check_digest(page, ref.digest, "manifest page")
    digests, sizes = bytearray(), array("I")
    for ref, page in zip(refs, pages, strict=True):
        _read_leaf(ref, page, digests, sizes)
    return Manifest(root, root_bytes, bytes(digests), sizes)


def load_from(root_bytes: bytes, pages: dict[Digest, bytes]) -> Manifest:
    """Load a manifest from pages that are all at hand; `ContentError` if one is missing or wrong."""
    loader = load_manifest(root_bytes)
    try:
        refs = next(loader)
        while True:
            refs = loader.send([pages[ref.digest] for ref in refs])
    except KeyError as error:
        raise ContentError(f"manifest page {short(error.args[0])} is missing") from error
    except StopIteration as stop:
        manifest: Manifest = stop.value
        return manifest
