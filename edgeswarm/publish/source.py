"""What is published: a file, an image or a tree, read twice in bounded memory.

The first reading cuts and names the chunks, the second one encodes those that are new. What changes in between is noticed: a chunk
that is read again must have its digest, and `check_unchanged` compares what the file system says. That says little of a block
device, which a mounted file system may write to: it is read once more, by `check_content`. Symlinks in a tree are never followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..abc import ReadStream
from ..content.chunking import cut_run
from ..content.digest import digest
from ..content.manifest import ArtifactKind, Manifest
from ..content.tree import Entry, EntryType, encode_entries, runs
from ..errors import ConfigError, ContentError, PublishError
from ..files.linked import read_linked

_BLOCK_BYTES = 1024 * 1024  # one read per MiB costs nothing beside the digest


class _Mark(NamedTuple):
    """What tells that a file has changed."""

    device: int
    inode: int
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Mark:
        return cls(found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Source:
    """Something to publish.

    Attributes:
        path: Where it is.
        kind: What its bytes are.
        size: Bytes of the artifact's stream.
        entries: Entries of a tree.
        entries_bytes: The same, encoded: the stream of a tree starts with them.
    """

    path: str
    kind: ArtifactKind
    size: int
    entries: tuple[Entry, ...] = ()
    entries_bytes: bytes = b""
    _marks: dict[str, _Mark] = field(default_factory=dict, repr=False)

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks in stream order.

        Raises:
            PublishError: A file changes or cannot be read.
        """
        if self.kind is not ArtifactKind.TREE:
            yield from cut_run(self._blocks(self.path, self.size, ""))
            return
        yield from cut_run([self.entries_bytes])
        for run in runs(self.entries):
            yield from cut_run(block for entry in run for block in self._entry_blocks(entry))

    def reader(self, manifest: Manifest) -> ReadStream:
        """Return a reader by stream offset, unverified."""
        return read_linked(manifest, self.path, self.entries_bytes)

    def small_files(self, limit: int) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of each regular file of at most `limit` bytes.

        Raises:
            PublishError: A file changes or cannot be read.
        """
        if self.kind is not ArtifactKind.TREE:
            rows = [("", self.size)] if not self.is_device else []
        else:
            rows = [(entry.path, entry.size) for entry in self.entries if entry.type is EntryType.FILE]
        for name, size in rows:
            if size <= limit:
                path = os.path.join(self.path, name) if name else self.path
                yield path, b"".join(self._blocks(path, size, name))

    def check_unchanged(self) -> None:
        """Compare with what was there when the source was opened.

        Raises:
            PublishError: Something was changed, added or removed.
        """
        now = open_source(self.path, self.kind)
        if now != self:
            changed = sorted(
                name for name in now._marks.keys() | self._marks.keys() if now._marks.get(name) != self._marks.get(name)
            )
            raise _changed(os.path.join(self.path, changed[0]) if any(changed) else self.path)

    def check_content(self, manifest: Manifest) -> None:
        """Read a block device once more, and compare: unlike a file, it need not say when it was written to.

        Raises:
            PublishError: It is not what it was when `manifest` was made of it.
        """
        if not self.is_device:
            return
        chunks = enumerate(self.chunks())
        if not all(index < len(manifest) and digest(chunk) == manifest.chunk(index).digest for index, chunk in chunks):
            raise _changed(self.path)

    @property
    def is_device(self) -> bool:
        """It is a block device."""
        return stat.S_ISBLK(self._marks[""].mode) if "" in self._marks else False

    def _entry_blocks(self, entry: Entry) -> Iterator[bytes]:
        return self._blocks(os.path.join(self.path, entry.path), entry.size, entry.path)

    def _blocks(self, path: str, size: int, name: str) -> Iterator[bytes]:
        """Yield exactly the bytes of a file that is the same before and after."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if name else 0)
        try:
            descriptor = os.open(path, flags)
            try:
                yield from self._read(descriptor, path, size, name)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PublishError(f"{path}: cannot be read: {error.strerror}") from error

    def _read(self, descriptor: int, path: str, size: int, name: str) -> Iterator[bytes]:
        left = size
        while left and (block := os.read(descriptor, min(left, _BLOCK_BYTES))):
            yield block
            left -= len(block)
        if left or _Mark.of(os.fstat(descriptor)) != self._marks[name]:
            raise _changed(path)


def _changed(path: str) -> PublishError:
    return PublishError(f"{path}: changed while it was published; nothing was published: try again when it is left alone")


def open_source(path: str, kind: ArtifactKind | None = None) -> Source:
    """Look at what is to be published.

    Args:
        path: A file, a block device or a directory; may be a symlink to one.
        kind: None: a directory is a tree, a block device an image, a file a file. A file may be called an image.

    Raises:
        ConfigError: There is nothing, or it is of another kind.
        PublishError: A tree holds something that no tree can: a device, a socket, a symlink that leads outside, a bad name.
    """
    try:
        found = os.stat(path)
        device_bytes = _seek_end(path) if stat.S_ISBLK(found.st_mode) else 0
    except OSError as error:
        raise ConfigError(f"{path}: cannot be published: {error.strerror}") from error
    usual = _kind_of(found.st_mode, path)
    if kind is not None and kind is not usual and {kind, usual} != {ArtifactKind.FILE, ArtifactKind.IMAGE}:
        raise ConfigError(f"{path}: is a {usual}, and cannot be published as a {kind}")
    if usual is ArtifactKind.TREE:
        return _open_tree(path)
    size = device_bytes or found.st_size
    return Source(path, kind or usual, size, _marks={"": _Mark.of(found)})


def _kind_of(mode: int, path: str) -> ArtifactKind:
    if stat.S_ISDIR(mode):
        return ArtifactKind.TREE
    if stat.S_ISBLK(mode):
        return ArtifactKind.IMAGE
    if stat.S_ISREG(mode):
        return ArtifactKind.FILE
    raise ConfigError(f"{path}: wanted a file, a block device or a directory")


def _seek_end(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


def _open_tree(path: str) -> Source:
    found = sorted(_walk(path), key=lambda row: os.fsencode(row[0]))
    firsts: dict[tuple[int, int], str] = {}
    try:
        entries = tuple(_entry_of(path, name, mark, firsts) for name, mark in found)
        data = encode_entries(entries)
    except ContentError as error:
        raise PublishError(f"{path}: {error}") from error
    except OSError as error:
        raise PublishError(f"{path}: cannot be read: {error.filename}: {error.strerror}") from error
    size = len(data) + sum(entry.size for entry in entries)
    return Source(path, ArtifactKind.TREE, size, entries, data, dict(found))


def _walk(root: str) -> Iterator[tuple[str, _Mark]]:
    """Yield all that lies below `root` by relative path, parents before children; symlinks are not followed."""
    todo = [""]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as found:
                rows = [(os.path.join(folder, row.name), _Mark.of(row.stat(follow_symlinks=False))) for row in found]
        except OSError as error:
            raise PublishError(f"{error.filename}: cannot be read: {error.strerror}") from error
        yield from rows
        todo.extend(name for name, mark in rows if stat.S_ISDIR(mark.mode))


def _entry_of(root: str, name: str, mark: _Mark, firsts: dict[tuple[int, int], str]) -> Entry:
    """Return the entry of one path; the first path of an inode is the file, later ones are hard links to it."""
    mode = stat.S_IMODE(mark.mode)
    if stat.S_ISDIR(mark.mode):
        return Entry(name, EntryType.DIRECTORY, mode)
    if stat.S_ISLNK(mark.mode):
        return Entry(name, EntryType.SYMLINK, target=os.readlink(os.path.join(root, name)))
    if not stat.S_ISREG(mark.mode):
        raise PublishError(f"{os.path.join(root, name)}: is a device, a socket or a pipe, which no release can hold: take it out")
    first = firsts.setdefault((mark.device, mark.inode), name)
    if first != name:
        return Entry(name, EntryType.HARDLINK, target=first)
    return Entry(name, EntryType.FILE, mode, mark.size)
