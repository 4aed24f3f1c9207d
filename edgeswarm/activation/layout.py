"""Where the bytes of a release belong in its slot, and what a slot remembers of it.

A file or image is handled as a tree of one file, so that there is one way of staging. A slot's record (`SlotRecord`) holds what is
needed to verify the slot again without its manifest: entries, chunk sizes and chunk digests.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from ..abc import ReadStream
from ..content.digest import DIGEST_BYTES, check_digest, digest
from ..content.manifest import ArtifactKind, Chunk, Manifest
from ..content.tree import Entry, EntryType, check_entries, check_path, decode_entries, encode_entries, place_files
from ..errors import ContentError

_MAGIC = b"eswslot\x01"
_HEAD = struct.Struct(">8s32sQQQ")
_SIZE_BYTES = 4


class Span(NamedTuple):
    """A part of a chunk that belongs into one file.

    Attributes:
        file: Index into `Layout.files`.
        offset: Where in the file, bytes.
        start: Where in the chunk, bytes.
        length: Bytes.
    """

    file: int
    offset: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Entries of a slot and where their bytes lie in the artifact's stream; checks the entries again on construction.

    Attributes:
        entries: All entries, in order.
        head: What the stream starts with and no file holds: the encoded entries of a tree, nothing for a file.
        files: The regular files, in order; empty ones too.

    Raises:
        ContentError: A path leaves the tree, a parent is no directory, or the like.
    """

    entries: tuple[Entry, ...]
    head: bytes
    files: tuple[Entry, ...] = field(init=False)
    _offsets: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        # Decoding checked this as well; it is what keeps every later file operation inside the slot, so it stands here too.
        for entry in self.entries:
            check_path(entry.path)
        check_entries(self.entries)
        placed = place_files(self.entries, len(self.head))
        object.__setattr__(self, "files", tuple(entry for entry, _ in placed))
        object.__setattr__(self, "_offsets", tuple(offset for _, offset in placed))

    @property
    def size(self) -> int:
        """Bytes of the whole stream."""
        return len(self.head) + sum(entry.size for entry in self.files)

    def of_type(self, kind: EntryType) -> Iterator[Entry]:
        """Yield the entries of one type, in order."""
        return (entry for entry in self.entries if entry.type is kind)

    def spans(self, chunk: Chunk) -> Iterator[Span]:
        """Yield the parts of a chunk that belong into files, in order."""
        at, end = max(chunk.offset, len(self.head)), chunk.offset + chunk.size
        # Of several files at one offset all but the last are empty, and that last one is what bisect finds.
        number = bisect_right(self._offsets, at) - 1
        while at < end:
            within = at - self._offsets[number]
            length = min(end - at, self.files[number].size - within)
            if length:
                yield Span(number, within, at - chunk.offset, length)
            at, number = at + length, number + 1


def file_layout(name: str, size: int, mode: int) -> Layout:
    """Return the layout of a slot that holds one file."""
    return Layout((Entry(name, EntryType.FILE, mode, size),), b"")


def tree_layout(manifest: Manifest, read: ReadStream) -> Layout:
    """Read the entries of a tree and return its layout.

    Raises:
        ContentError: The entries do not verify, are malformed, or do not add up to the size that the manifest says.
    """
    length = manifest.root.entries
    parts = []
    for index in manifest.range(0, length):
        chunk = manifest.chunk(index)
        data = read(chunk.offset, chunk.size)
        check_digest(data, chunk.digest, f"tree entries, chunk {index}")
        parts.append(data)
    head = b"".join(parts)[:length]
    layout = Layout(decode_entries(head), head)
    if layout.size != manifest.root.size:
        raise ContentError(f"tree: the entries add up to {layout.size} bytes, the manifest says {manifest.root.size}")
    return layout


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What a slot remembers of the release in it.

    Attributes:
        layout: Entries and stream head.
        sizes: Bytes of each chunk, shape (n_chunks,).
        digests: Digests of the chunks, 32 * n_chunks bytes.
    """

    layout: Layout
    sizes: Sequence[int]
    digests: bytes

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in stream order."""
        for index, (size, end) in enumerate(zip(self.sizes, accumulate(self.sizes), strict=True)):
            yield Chunk(index, end - size, size, self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES])

    def encode(self) -> bytes:
        """Return the bytes of docs/reference/activation.md, "Slot record"."""
        entries = encode_entries(self.layout.entries)
        body = entries + _big_endian(array("I", self.sizes)).tobytes() + self.digests
        return _HEAD.pack(_MAGIC, digest(body), len(entries), len(self.layout.head), len(self.sizes)) + body


def _big_endian(numbers: array[int]) -> array[int]:
    """Turn the byte order of fresh numbers, where it is not big-endian already."""
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def decode_record(data: bytes) -> SlotRecord:
    """Decode a slot's record.

    Raises:
        ContentError: Damaged, malformed, or of another version.
    """
    if len(data) < _HEAD.size or data[:8] != _MAGIC:
        raise ContentError(f"slot record: wanted it to start with {_MAGIC!r}, got {data[:8]!r}")
    _, wanted, entries_size, head_size, count = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    check_digest(body, wanted, "slot record")
    if len(body) != entries_size + count * (_SIZE_BYTES + DIGEST_BYTES) or head_size not in {0, entries_size}:
        raise ContentError(f"slot record: {len(body)} bytes do not hold what its head says")
    digests_at = entries_size + _SIZE_BYTES * count
    sizes = _big_endian(array("I", body[entries_size:digests_at]))
    layout = Layout(decode_entries(body[:entries_size]), body[:head_size])
    return SlotRecord(layout, sizes, body[digests_at:])


def record_of(manifest: Manifest, layout: Layout) -> SlotRecord:
    """Return what the slot of a manifest is to remember."""
    return SlotRecord(layout, manifest.sizes, manifest.digests)


def layout_of(manifest: Manifest, read: ReadStream, name: str, mode: int) -> Layout:
    """Return the layout of any artifact; `name` and `mode` are those of the one file that is no tree."""
    if manifest.root.kind is ArtifactKind.TREE:
        return tree_layout(manifest, read)
    return file_layout(name, manifest.root.size, mode)
