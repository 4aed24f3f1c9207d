"""Trees: the entries of a directory tree, and where their bytes lie in the artifact's stream.

A tree's stream is its encoded entries, then the contents of its regular files in entry order. Offsets are not written down, since
they follow from the sizes: an inserted file then changes one row and not all rows behind it. A file of 16 KiB or more starts a run
of its own for the chunker, so that it shares its chunks with the same file in any other packaging.

Bytes: docs/reference/formats.md, "Tree". What a path may be is checked here, at encode and at decode, so that nothing above has to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice, pairwise
from typing import Any

import msgpack

from ..errors import ContentError
from .chunking import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES
from .manifest import ENTRIES_MAX_BYTES, MAX_CHUNKS

MAX_ENTRIES = 4_000_000
PATH_MAX_BYTES = 4095  # PATH_MAX of Linux without the final NUL
NAME_MAX_BYTES = 255  # NAME_MAX of Linux
_MAX_FILE_BYTES = MAX_CHUNKS * MAX_CHUNK_BYTES
_MODE_MASK = 0o7777
_VERSION = 1
# casync and git use the same idea of a limit: deeper trees exist only to hurt.
_MAX_DEPTH = 256


class EntryType(IntEnum):
    """What an entry is."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    HARDLINK = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree; validates on construction.

    Attributes:
        path: Relative, normalised, with `/`; UTF-8.
        type: What it is.
        mode: Permission bits, 0 to 0o7777; 0 for symlinks and hard links.
        size: Bytes of a regular file; 0 otherwise.
        target: Text of a symlink, or path of the earlier regular file that a hard link shares; else empty.
    """

    path: str
    type: EntryType
    mode: int = 0
    size: int = 0
    target: str = ""

    def __post_init__(self) -> None:
        check_path(self.path)
        linked = self.type in {EntryType.SYMLINK, EntryType.HARDLINK}
        if linked != bool(self.target):
            raise ContentError(f"entry {self.path!r}: only symlinks and hard links have a target, and they must")
        if not 0 <= self.mode <= _MODE_MASK or (linked and self.mode):
            raise ContentError(f"entry {self.path!r}: mode {self.mode:o} is not allowed for a {self.type.name.lower()}")
        if not 0 <= self.size <= _MAX_FILE_BYTES or (self.size and self.type is not EntryType.FILE):
            raise ContentError(f"entry {self.path!r}: a {self.type.name.lower()} of {self.size} bytes")
        if self.type is EntryType.SYMLINK:
            _check_symlink(self.path, self.target)
        elif self.type is EntryType.HARDLINK:
            check_path(self.target)


def check_path(path: str) -> None:
    """Check that a path is relative, normalised and stays inside its tree.

    Raises:
        ContentError: It is empty, absolute, has an empty, `.` or `..` part, a NUL, or is too long.
    """
    parts = path.split("/")
    bad = {"", ".", ".."}.intersection(parts) or "\0" in path
    if bad:
        raise ContentError(f"path {path!r}: must be relative and normalised, without '.', '..', empty parts or NUL")
    try:
        encoded = path.encode()
    except UnicodeEncodeError as error:
        raise ContentError(f"path {path!r}: must be UTF-8") from error
    if len(encoded) > PATH_MAX_BYTES or len(parts) > _MAX_DEPTH or any(len(p.encode()) > NAME_MAX_BYTES for p in parts):
        raise ContentError(
            f"path {path[:80]!r}...: longer than {PATH_MAX_BYTES} bytes, {NAME_MAX_BYTES} a name or {_MAX_DEPTH} deep"
        )


def _check_symlink(path: str, target: str) -> None:
    """A symlink may point anywhere inside the tree, whether something is there or not, and never outside."""
    try:
        size = len(target.encode())
    except UnicodeEncodeError as error:
        raise ContentError(f"symlink {path!r} -> {target!r}: must be UTF-8") from error
    if target.startswith("/") or "\0" in target or size > PATH_MAX_BYTES:
        raise _escapes(path, target)
    for _ in _climbs(path, target):
        pass


def _climbs(path: str, target: str) -> Iterator[str]:
    """Follow a symlink's text and yield every place below the link's own directory that a `..` in it leaves.

    A link's own directory and those above it are real ones (`check_entries`), so leaving them is plain arithmetic.
    """
    place = path.split("/")[:-1]
    below = 0
    for part in target.split("/"):
        if part == "..":
            if not place:
                raise _escapes(path, target)
            if below:
                yield "/".join(place)
            below = max(0, below - 1)
            place.pop()
        elif part not in {"", "."}:
            below += 1
            place.append(part)


def _escapes(path: str, target: str) -> ContentError:
    return ContentError(f"symlink {path!r} -> {target[:80]!r}: the target must be relative and stay inside the tree")


def check_entries(entries: Sequence[Entry]) -> None:
    """Check what concerns entries together.

    Raises:
        ContentError: Not sorted by path bytes, a path twice, a parent that is not an earlier directory, a hard link whose target is
            not an earlier regular file, or a symlink with a `..` behind something that is not a directory of the tree: behind
            another symlink it could lead outside.
    """
    if len(entries) > MAX_ENTRIES:
        raise ContentError(f"tree: {len(entries)} entries, at most {MAX_ENTRIES} are allowed")
    for before, after in pairwise(entries):
        if before.path.encode() >= after.path.encode():
            raise ContentError(f"tree: {after.path!r} must come before {before.path!r} or is there twice")
    types: dict[str, EntryType] = {"": EntryType.DIRECTORY}
    for entry in entries:
        parent = entry.path.rpartition("/")[0]
        if types.get(parent) is not EntryType.DIRECTORY:
            raise ContentError(f"tree: {entry.path!r} has no directory entry {parent!r} before it")
        if entry.type is EntryType.HARDLINK and types.get(entry.target) is not EntryType.FILE:
            raise ContentError(f"tree: hard link {entry.path!r} -> {entry.target!r}: no regular file of that path before it")
        types[entry.path] = entry.type
    for entry in entries:
        if entry.type is EntryType.SYMLINK and ".." in entry.target:
            _check_climbs(entry, types)


def _check_climbs(entry: Entry, types: Mapping[str, EntryType]) -> None:
    for place in _climbs(entry.path, entry.target):
        if types.get(place) is not EntryType.DIRECTORY:
            raise ContentError(f"symlink {entry.path!r} -> {entry.target!r}: '..' behind {place!r}, which is not a directory here")


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """Return version byte and msgpack rows; `ContentError` if the entries do not fit together."""
    check_entries(entries)
    rows = [[e.path, int(e.type), e.mode, e.size, e.target] for e in entries]
    packed: bytes = msgpack.packb(rows)
    if len(packed) >= ENTRIES_MAX_BYTES:
        raise ContentError(f"tree: the entries need {len(packed)} bytes, at most {ENTRIES_MAX_BYTES} are allowed")
    return bytes([_VERSION]) + packed


def decode_entries(data: bytes) -> tuple[Entry, ...]:
    """Decode and check the entries of a tree.

    Raises:
        ContentError: Malformed, of another version, not canonical, or with paths that escape.
    """
    if not data or data[0] != _VERSION or len(data) > ENTRIES_MAX_BYTES:
        raise ContentError(f"tree entries: wanted version {_VERSION} and at most {ENTRIES_MAX_BYTES} bytes, got {data[:1].hex()}")
    try:
        entries = tuple(_read_rows(data))
    except (ValueError, msgpack.UnpackException) as error:
        raise ContentError(f"tree entries: not msgpack: {error}") from error
    if encode_entries(entries) != data:
        raise ContentError("tree entries: not in canonical form")
    return entries


def _read_rows(data: bytes) -> Iterator[Entry]:
    """Parse row by row, each made an entry at once, so that nested empty lists cannot fill the memory.

    The count in front is not looked at: the caller encodes the entries again and compares.
    """
    count_bytes = {0xDC: 3, 0xDD: 5}.get(data[1] if len(data) > 1 else 0, 1)
    rows = msgpack.Unpacker(max_buffer_size=ENTRIES_MAX_BYTES, max_array_len=5, max_map_len=0, list_hook=_entry_of)
    rows.feed(memoryview(data)[1 + count_bytes :])
    for row in islice(rows, MAX_ENTRIES + 1):
        if not isinstance(row, Entry):
            raise ContentError(f"tree entries: wanted rows, got {str(row)[:80]}")
        yield row


def _entry_of(row: list[Any]) -> Entry:
    if [type(value) for value in row] != [str, int, int, int, str]:
        raise ContentError(f"tree entries: wanted [path, type, mode, size, target], got {str(row)[:80]}")
    path, kind, mode, size, target = row
    if kind not in list(EntryType):
        raise ContentError(f"entry {path!r}: type {kind} is not known here")
    return Entry(path, EntryType(kind), mode, size, target)


def place_files(entries: Iterable[Entry], entries_size: int) -> list[tuple[Entry, int]]:
    """Return every regular file with the offset of its contents in the tree's stream.

    Args:
        entries: The tree's entries, in order.
        entries_size: Bytes of the encoded entries, with which the stream starts.
    """
    placed, offset = [], entries_size
    for entry in entries:
        if entry.type is EntryType.FILE:
            placed.append((entry, offset))
            offset += entry.size
    return placed


def runs(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Group the non-empty regular files into the runs that are chunked on their own.

    A file of at least the minimum chunk size is a run; the smaller files between two such are one run together.
    """
    groups: list[list[Entry]] = []
    small = False
    for entry in entries:
        if entry.type is not EntryType.FILE or not entry.size:
            continue
        if entry.size < MIN_CHUNK_BYTES and small:
            groups[-1].append(entry)
        else:
            groups.append([entry])
        small = entry.size < MIN_CHUNK_BYTES
    return groups
