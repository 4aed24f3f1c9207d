"""Read an installed file or tree by the offsets of its artifact's stream.

Bytes are returned as they lie there, unverified: whoever reads them compares digests. Inside a tree no symlink is followed, in no
part of a path: every directory is opened relative to its parent, so that a tree that is changed while it is read can't lead
outside.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..abc import ReadStream
from ..content.manifest import ArtifactKind, Manifest
from ..content.tree import Entry, decode_entries, place_files
from ..errors import ContentError, StoreError

_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
# This process or machine is short of something: says nothing about the artifact.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def read_linked(manifest: Manifest, path: str, entries_bytes: bytes = b"") -> ReadStream:
    """Return a reader of the artifact that is installed at `path`, by stream offset, unverified.

    Nothing is opened until it is called. Each call opens what it needs and closes it again, so that an installed artifact is never
    held open. The reader may be called from any thread.

    Args:
        manifest: Of the artifact.
        path: The installed file, block device or directory; may itself be a symlink.
        entries_bytes: Encoded entries of a tree: the first `manifest.root.entries` bytes of its stream. Empty for others.

    Raises:
        ContentError: The entries are malformed or not of this length. The reader raises it for bytes that are not there.
    """
    if manifest.root.kind is not ArtifactKind.TREE:
        return FileReader(path)
    if len(entries_bytes) != manifest.root.entries:
        raise ContentError(f"tree {path}: wanted {manifest.root.entries} bytes of entries, got {len(entries_bytes)}")
    return TreeReader(decode_entries(entries_bytes), entries_bytes, path)


class FileReader:
    """Reads an installed file or image; a `ReadStream`.

    Args:
        path: Regular file or block device; may be a symlink to one.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset`.

        Raises:
            ContentError: They are not there: the file is gone, shorter, unreadable or of another type.
            StoreError: This process is out of descriptors or memory.
        """
        with _mapped(self._path):
            return _read_file(self._path, None, _FILE, length, offset)


class TreeReader:
    """Reads an installed tree by the offsets of its stream; a `ReadStream`.

    Args:
        entries: The tree's entries, decoded and so checked.
        entries_bytes: The same, encoded: the stream starts with them.
        path: Directory of the tree; may be a symlink to one.
    """

    __slots__ = ("_entries_bytes", "_files", "_offsets", "_path")

    def __init__(self, entries: Sequence[Entry], entries_bytes: bytes, path: str) -> None:
        self._path = path
        self._entries_bytes = entries_bytes
        placed = [(entry, offset) for entry, offset in place_files(entries, len(entries_bytes)) if entry.size]
        self._files = [entry for entry, _ in placed]
        self._offsets = [offset for _, offset in placed]

    def __call__(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset` of the stream: entries, then file contents.

        Raises:
            ContentError: They are not there: a file is gone, shorter, a symlink or unreadable.
            StoreError: This process is out of descriptors or memory.
        """
        parts = [self._entries_bytes[offset : offset + length]]
        missing = length - len(parts[0])
        if missing > 0:
            parts.extend(self._contents(offset + len(parts[0]), missing))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _contents(self, offset: int, length: int) -> Iterator[bytes]:
        with _mapped(self._path), _Directories(self._path) as directories:
            index = bisect_right(self._offsets, offset) - 1
            while length:
                if not 0 <= index < len(self._files):
                    raise ContentError(f"tree {self._path}: {length} bytes wanted beyond the end of the stream")
                entry, within = self._files[index], offset - self._offsets[index]
                part = min(length, entry.size - within)
                yield directories.read(entry.path, part, within)
                offset, length, index = offset + part, length - part, index + 1


class _Directories:
    """Opens files below a directory without following a symlink; keeps the last directory open, since neighbours are read next."""

    __slots__ = ("_parent", "_parent_fd", "_root")

    def __init__(self, root: str) -> None:
        self._root = os.open(root, _DIRECTORY)
        self._parent, self._parent_fd = "", self._root

    def __enter__(self) -> _Directories:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        os.close(self._root)

    def read(self, path: str, length: int, offset: int) -> bytes:
        """Return exactly `length` bytes at `offset` of the file at the relative `path`."""
        parent, _, name = path.rpartition("/")
        if parent != self._parent:
            self._enter(parent)
        return _read_file(name, self._parent_fd, _FILE | os.O_NOFOLLOW, length, offset)

    def _enter(self, parent: str) -> None:
        self._leave()
        descriptor = self._root
        for part in parent.split("/") if parent else ():
            try:
                deeper = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            finally:
                if descriptor != self._root:
                    os.close(descriptor)
            descriptor = deeper
        self._parent, self._parent_fd = parent, descriptor

    def _leave(self) -> None:
        if self._parent_fd != self._root:
            os.close(self._parent_fd)
        self._parent, self._parent_fd = "", self._root


def _read_file(path: str, parent: int | None, flags: int, length: int, offset: int) -> bytes:
    """Open, read exactly `length` bytes at `offset`, close."""
    descriptor = os.open(path, flags, dir_fd=parent)
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or (stat.S_ISBLK(mode) and parent is None)):
            raise ContentError(f"{path}: not a regular file")
        return _pread_exactly(descriptor, path, length, offset)
    finally:
        os.close(descriptor)


def _pread_exactly(descriptor: int, path: str, length: int, offset: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            raise ContentError(f"{path}: wanted {length} bytes at {offset}, the file ends after {len(data)}")
        data += more
    return data


@contextmanager
def _mapped(path: str) -> Iterator[None]:
    """Turn what the system says about an installed artifact into our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _OURS:
            raise StoreError(f"{path}: cannot be read now: {error}") from error
        raise ContentError(f"{path}: the installed artifact cannot be read: {error}") from error
