"""Files that fail on purpose: the n-th operation, or a disk that is full.

Operations are counted from 1 in the order in which they are called, reads too. A test runs its scenario once to learn how many
there are, and then once for each n with `fail_at=n`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from ..abc import File, FileOps

T = TypeVar("T")


class CrashError(BaseException):
    """The simulated process died here. Not an `Exception`, so that nothing that handles errors handles it."""


class _Inode:
    """Bytes of one file that count against the quota; shared by its hard links."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


class FaultyFiles:
    """Wraps another FileOps and makes operations fail; satisfies `abc.FileOps`. For one thread.

    Args:
        inner: What does the work.
        fail_at: Number of the operation that fails, from 1; None: none fails.
        error: `errno` value of the failure; None: `CrashError` instead, and every later operation raises it too, since a dead
            process does nothing more, not even clean up.
        after: With a crash: perform the failing operation first and then die.
        quota_bytes: Bytes that files opened for writing here may hold in all; a write beyond it writes what fits and then fails
            with ENOSPC.

    Attributes:
        operations: What was called so far, e.g. `pwrite /var/x`.
        failed: Whether the failure happened.
    """

    def __init__(
        self,
        inner: FileOps,
        *,
        fail_at: int | None = None,
        error: int | None = errno.EIO,
        after: bool = False,
        quota_bytes: int | None = None,
    ) -> None:
        self.inner = inner
        self.fail_at = fail_at
        self.error = error
        self.after = after
        self.quota_bytes = quota_bytes
        self.operations: list[str] = []
        self.failed = False
        self._inodes: dict[str, _Inode] = {}

    def perform(self, name: str, path: str, work: Callable[[], T]) -> T:
        """Count one operation and do it, or fail."""
        if self.failed and self.error is None:
            raise CrashError(f"{name} {path}: the process is dead")
        self.operations.append(f"{name} {path}")
        if len(self.operations) != self.fail_at:
            return work()
        self.failed = True
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error), path)
        if self.after:
            work()
        raise CrashError(f"{name} {path}: operation {self.fail_at}")

    def used_bytes(self) -> int:
        """Return the bytes that files opened for writing here hold now."""
        return sum({id(inode): inode.size for inode in self._inodes.values()}.values())

    def room(self, growth: int) -> int:
        """Return how many of `growth` bytes still fit."""
        if self.quota_bytes is None:
            return growth
        return max(0, min(growth, self.quota_bytes - self.used_bytes()))

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False, mode: int = 0o600) -> File:
        """Open a regular file."""

        def work() -> File:
            file = self.inner.open(path, create=create, exclusive=exclusive, read_only=read_only, mode=mode)
            inode = _Inode(0) if read_only else self._inodes.setdefault(path, _Inode(file.size()))
            return _FaultyFile(self, file, path, inode)

        return self.perform("open", path, work)

    def read(self, path: str, limit: int) -> bytes:
        """Return a whole file."""
        return self.perform("read", path, lambda: self.inner.read(path, limit))

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source`."""

        def work() -> None:
            self.inner.rename(source, target)
            self._forget(target)
            for path in [path for path in self._inodes if path == source or path.startswith(source + "/")]:
                self._inodes[target + path[len(source) :]] = self._inodes.pop(path)

        self.perform("rename", source, work)

    def link(self, source: str, target: str) -> None:
        """Make a hard link."""

        def work() -> None:
            self.inner.link(source, target)
            if source in self._inodes:
                self._inodes[target] = self._inodes[source]

        self.perform("link", target, work)

    def symlink(self, text: str, path: str) -> None:
        """Make a symlink."""
        self.perform("symlink", path, lambda: self.inner.symlink(text, path))

    def readlink(self, path: str) -> str:
        """Return what the symlink says."""
        return self.perform("readlink", path, lambda: self.inner.readlink(path))

    def unlink(self, path: str) -> None:
        """Remove a file or symlink."""

        def work() -> None:
            self.inner.unlink(path)
            self._inodes.pop(path, None)

        self.perform("unlink", path, work)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        """Make one directory."""
        self.perform("mkdir", path, lambda: self.inner.mkdir(path, mode))

    def rmtree(self, path: str) -> None:
        """Remove a directory tree."""

        def work() -> None:
            self.inner.rmtree(path)
            self._forget(path)

        self.perform("rmtree", path, work)

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""
        return self.perform("listdir", path, lambda: self.inner.listdir(path))

    def exists(self, path: str) -> bool:
        """Tell if something is there."""
        return self.perform("exists", path, lambda: self.inner.exists(path))

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits."""
        self.perform("chmod", path, lambda: self.inner.chmod(path, mode))

    def sync_directory(self, path: str) -> None:
        """Make a directory durable."""
        self.perform("sync_directory", path, lambda: self.inner.sync_directory(path))

    def free_bytes(self, path: str) -> int:
        """Return the bytes left: of the quota if there is one."""
        return self.perform("free_bytes", path, lambda: self.room(self.inner.free_bytes(path)))

    def _forget(self, gone: str) -> None:
        for path in [path for path in self._inodes if path == gone or path.startswith(gone + "/")]:
            del self._inodes[path]


class _FaultyFile:
    """An open file whose operations are counted by its `FaultyFiles`."""

    __slots__ = ("_file", "_files", "_inode", "_path")

    def __init__(self, files: FaultyFiles, file: File, path: str, inode: _Inode) -> None:
        self._files = files
        self._file = file
        self._path = path
        self._inode = inode

    def pread(self, length: int, offset: int) -> bytes:
        """Read."""
        return self._files.perform("pread", self._path, lambda: self._file.pread(length, offset))

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """Write; what fits into the quota is written before ENOSPC, as real file systems do."""

        def work() -> None:
            view = memoryview(data)
            growth = max(0, offset + len(view) - self._inode.size)
            missing = growth - self._files.room(growth)
            kept = view[: max(0, len(view) - missing)]
            self._file.pwrite(kept, offset)
            self._inode.size = max(self._inode.size, offset + len(kept) if kept else 0)
            if missing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)

        self._files.perform("pwrite", self._path, work)

    def datasync(self) -> None:
        """Make durable."""
        self._files.perform("datasync", self._path, self._file.datasync)

    def truncate(self, size: int) -> None:
        """Cut or extend; extending makes a hole, which counts as if it were filled."""

        def work() -> None:
            growth = size - self._inode.size
            if growth > 0 and self._files.room(growth) < growth:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
            self._file.truncate(size)
            self._inode.size = size

        self._files.perform("truncate", self._path, work)

    def size(self) -> int:
        """Return the size."""
        return self._files.perform("size", self._path, self._file.size)

    def close(self) -> None:
        """Close; never counted and never fails: also a crash must not leak descriptors of the test's process."""
        self._file.close()
