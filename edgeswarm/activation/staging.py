"""Write a release into a part of its own, beside everything that is in use; verify what is in a slot.

Theory of operation. A part is a folder that only this user may enter. What is in it after an interruption is not believed: every
chunk is read back and compared with its digest, and only those that differ are written again. Symlinks and hard links are made
last, when nothing is written any more, and none that was there before is followed: leftovers that are no plain file or directory
are removed first. Each file is complete, has its mode and is durable before the next one is begun; then come the directories,
deepest first. Who calls this renames the part when it is whole.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from ..abc import File, FileOps, ReadStream
from ..content.digest import check_digest, digest
from ..content.manifest import Chunk, Manifest
from ..content.tree import Entry, EntryType
from ..errors import ContentError, NoSpaceError
from ..files import TreeReader
from .layout import Layout, SlotRecord

# An entry takes up to a block for the end of its contents or its directory row (ext4, xfs: 4 KiB blocks).
_ENTRY_OVERHEAD_BYTES = 4096
_PLAIN_BITS = 0o777
_ALL_BITS = 0o7777


@dataclass(frozen=True, slots=True)
class Modes:
    """Which permission bits are set.

    Attributes:
        root: Mode of the slot's own folder.
        special: Keep setuid, setgid and sticky bits.
    """

    root: int = 0o755
    special: bool = False

    def of(self, entry: Entry) -> int:
        """Return the bits to set for a file or directory.

        Its owner can always read and enter it: else it could not be verified before it is activated, nor passed on to peers.
        """
        bits = entry.mode & (_ALL_BITS if self.special else _PLAIN_BITS)
        return bits | (0o500 if entry.type is EntryType.DIRECTORY else 0o400)


def is_symlink(files: FileOps, path: str) -> bool:
    """Tell if there is a symlink at `path`."""
    try:
        files.readlink(path)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT, errno.ENOTDIR}:
            return False
        raise
    return True


def is_directory(files: FileOps, path: str) -> bool:
    """Tell if there is a directory, not a symlink to one, at `path`."""
    if is_symlink(files, path):
        return False
    try:
        files.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove(files: FileOps, path: str) -> None:
    """Remove whatever is at `path`, also directories without the right to write; nothing is fine."""
    if is_directory(files, path):
        try:
            files.rmtree(path)
        except PermissionError:
            _make_removable(files, path)
            files.rmtree(path)
    elif files.exists(path):
        files.unlink(path)


def _make_removable(files: FileOps, path: str) -> None:
    files.chmod(path, 0o700)
    for name in files.listdir(path):
        child = f"{path}/{name}"
        if is_symlink(files, child):
            continue
        try:
            _make_removable(files, child)
        except NotADirectoryError:
            continue


def intact(record: SlotRecord, root: str, progress: Callable[[int], None]) -> bool:
    """Tell if every byte of the release in the folder `root` is what its record says; reads them all.

    Files that are there in addition are not looked at.

    Args:
        record: What should be there.
        root: Where.
        progress: Called with the bytes of each chunk before it is read.
    """
    reader = _reader(record.layout, root)
    for chunk in record.chunks():
        progress(chunk.size)
        if not _present(reader, chunk):
            return False
    return True


def _reader(layout: Layout, root: str) -> ReadStream:
    return TreeReader(layout.entries, layout.head, root)


def _present(reader: ReadStream, chunk: Chunk) -> bool:
    try:
        return digest(reader(chunk.offset, chunk.size)) == chunk.digest
    except ContentError:
        return False


class Staging:
    """Fills one part.

    Args:
        files: What does the work.
        part: Path of the part's folder; its parent exists.
        layout: What belongs into it.
        modes: Which permission bits are set.
    """

    def __init__(self, files: FileOps, part: str, layout: Layout, modes: Modes) -> None:
        self._files = files
        self._part = part
        self._layout = layout
        self._modes = modes

    def fill(self, manifest: Manifest, read: ReadStream, progress: Callable[[int], None]) -> None:
        """Make the part whole and durable.

        Args:
            manifest: Whose chunks belong into it.
            read: The artifact's stream; every chunk is checked before it is written.
            progress: Called with bytes that were written, or found whole; they add up to the size of the artifact. Called with 0
                for each chunk that is read back of what was there before. What it raises stops the work; what was good stays.

        Raises:
            ContentError: `read` gave wrong bytes; what was good stays.
            NoSpaceError: There is not enough room; nothing was written.
            OSError: As the system gives it; the part is not to be used any more if it is not an error of opening.
        """
        have = self._find_whole(manifest, progress)
        self._check_room(manifest, have)
        self._make_directories()
        self._write_files(manifest, have, read, progress)
        self._make_links()
        self._finish_directories()

    def _path(self, relative: str) -> str:
        return f"{self._part}/{relative}" if relative else self._part

    def _find_whole(self, manifest: Manifest, progress: Callable[[int], None]) -> bytearray:
        """Return which chunks the part holds already: one byte per chunk, 1 = whole."""
        have = bytearray(len(manifest))
        if self._files.exists(self._part):
            self._clean()
            reader = _reader(self._layout, self._part)
            for index in range(len(manifest)):
                progress(0)
                have[index] = _present(reader, manifest.chunk(index))
        return have

    def _clean(self) -> None:
        """Remove from a part that was left behind all that is neither a directory nor a plain file of the layout."""
        plain = {entry.path: entry.type for entry in self._layout.entries if entry.type <= EntryType.DIRECTORY}
        if not is_directory(self._files, self._part):
            remove(self._files, self._part)
            return
        pending = [""]
        while pending:
            parent = pending.pop()
            self._files.chmod(self._path(parent), 0o700)
            for name in self._files.listdir(self._path(parent)):
                relative = f"{parent}/{name}" if parent else name
                pending.extend(self._clean_one(relative, plain.get(relative)))

    def _clean_one(self, relative: str, wanted: EntryType | None) -> list[str]:
        """Keep or remove one thing; return it if it is a directory to look into."""
        path = self._path(relative)
        directory = is_directory(self._files, path)
        matches = wanted is not None and directory == (wanted is EntryType.DIRECTORY) and not is_symlink(self._files, path)
        if not matches:
            remove(self._files, path)
            return []
        if not directory:
            self._files.chmod(path, 0o600)  # a file that was done may be read-only, and one that was not must be written
        return [relative] if directory else []

    def _check_room(self, manifest: Manifest, have: bytearray) -> None:
        missing = sum(size for size, whole in zip(manifest.sizes, have, strict=True) if not whole)
        needed = missing + _ENTRY_OVERHEAD_BYTES * len(self._layout.entries)
        parent = self._part.rpartition("/")[0]
        free = self._files.free_bytes(parent)
        if needed > free:
            raise NoSpaceError(f"{parent}: staging needs {needed} bytes, {free} are free; nothing was written, free some and retry")

    def _make_directories(self) -> None:
        self._files.mkdir(self._part, 0o700)
        for entry in self._layout.of_type(EntryType.DIRECTORY):
            self._files.mkdir(self._path(entry.path), 0o700)

    def _write_files(self, manifest: Manifest, have: bytearray, read: ReadStream, progress: Callable[[int], None]) -> None:
        cursor = _Cursor(self._files, self._part, self._layout, self._modes)
        try:
            for index in range(len(manifest)):
                chunk = manifest.chunk(index)
                if not have[index]:
                    self._write_chunk(cursor, chunk, read)
                progress(chunk.size)
            cursor.finish()
        finally:
            cursor.close()

    def _write_chunk(self, cursor: _Cursor, chunk: Chunk, read: ReadStream) -> None:
        if chunk.offset + chunk.size <= len(self._layout.head):
            return  # entries only: they were read and verified before
        data = memoryview(read(chunk.offset, chunk.size))
        check_digest(data, chunk.digest, f"chunk {chunk.index}")
        for span in self._layout.spans(chunk):
            cursor.write(span.file, data[span.start : span.start + span.length], span.offset)

    def _make_links(self) -> None:
        for entry in self._layout.of_type(EntryType.HARDLINK):
            self._files.link(self._path(entry.target), self._path(entry.path))
        for entry in self._layout.of_type(EntryType.SYMLINK):
            self._files.symlink(entry.target, self._path(entry.path))

    def _finish_directories(self) -> None:
        """Set modes and make directories durable, deepest first: a parent may take away the right to enter."""
        for entry in reversed(list(self._layout.of_type(EntryType.DIRECTORY))):
            self._finish_directory(self._path(entry.path), self._modes.of(entry))
        self._finish_directory(self._part, self._modes.root)

    def _finish_directory(self, path: str, mode: int) -> None:
        self._files.chmod(path, mode)
        self._files.sync_directory(path)


class _Cursor:
    """Opens the files of a layout one after the other; each is complete, has its mode and is durable before the next is begun."""

    def __init__(self, files: FileOps, part: str, layout: Layout, modes: Modes) -> None:
        self._files = files
        self._part = part
        self._layout = layout
        self._modes = modes
        self._number = -1
        self._file: File | None = None

    def write(self, number: int, data: memoryview, offset: int) -> None:
        """Write into file `number`; files before it are finished, and not written any more."""
        self._move(number)
        if self._file is None or number != self._number:
            raise ContentError(f"{self._part}: file {number} cannot be written now")
        self._file.pwrite(data, offset)

    def finish(self) -> None:
        """Finish all files, also those without bytes."""
        self._move(len(self._layout.files))

    def _move(self, number: int) -> None:
        while self._number < number:
            self._finish_one()
            self._number += 1
            if self._number < len(self._layout.files):
                self._file = self._open(self._layout.files[self._number])

    def _path(self) -> str:
        return f"{self._part}/{self._layout.files[self._number].path}"

    def _open(self, entry: Entry) -> File:
        file = self._files.open(self._path(), create=True, mode=0o600)
        try:
            file.truncate(entry.size)
        except BaseException:
            file.close()
            raise
        return file

    def _finish_one(self) -> None:
        if self._file is None:
            return
        # The mode comes after the bytes, since a write takes setuid away, and before the sync, which makes it durable with them.
        self._files.chmod(self._path(), self._modes.of(self._layout.files[self._number]))
        self._file.datasync()
        self.close()

    def close(self) -> None:
        """Close the open file as it is."""
        if self._file is not None:
            self._file.close()
            self._file = None
