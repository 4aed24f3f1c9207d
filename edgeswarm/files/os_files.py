"""File operations of the operating system."""

from __future__ import annotations

import errno
import os
import shutil
import stat

from ..abc import File

# A FIFO or a device in place of a file must not hang the opener, and no child process inherits a descriptor.
_ALWAYS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class OsFile:
    """An open file of the operating system; satisfies `abc.File`.

    Args:
        descriptor: Owned by this object from now on.
        path: For messages.
    """

    __slots__ = ("_descriptor", "_path")

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def pread(self, length: int, offset: int) -> bytes:
        """Return up to `length` bytes at `offset`; fewer only at the end of the file."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length or not data:
            return data
        return self._pread_on(data, length, offset)

    def _pread_on(self, data: bytes, length: int, offset: int) -> bytes:
        """Read on after a short read: allowed by POSIX anywhere, at the end of the file it is confirmed by an empty one."""
        parts, got = [data], len(data)
        while got < length and (more := os.pread(self._descriptor, length - got, offset + got)):
            parts.append(more)
            got += len(more)
        return b"".join(parts)

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`, or raise; what a failed write leaves behind is undefined."""
        view = memoryview(data)
        while view.nbytes:
            written = os.pwrite(self._descriptor, view, offset)
            if not written:
                raise OSError(errno.EIO, "nothing was written", self._path)
            view, offset = view[written:], offset + written

    def datasync(self) -> None:
        """Make the written bytes and the size durable. After a failure the file counts as lost: never retried."""
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        """Cut or extend to `size` bytes."""
        os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        """Return the size in bytes."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class OsFiles:
    """File operations of the operating system; satisfies `abc.FileOps`. Has no state: share it freely between threads."""

    __slots__ = ()

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False, mode: int = 0o600) -> File:
        """Open a regular file.

        Args:
            path: Absolute path; a symlink in its last part is refused (ELOOP).
            create: Make the file if it is missing.
            exclusive: Fail if it exists.
            read_only: Do not ask for the right to write.
            mode: Permission bits of a new file, before the umask.

        Raises:
            OSError: As the system gives it; EINVAL if it is no regular file.
        """
        flags = _ALWAYS | (os.O_RDONLY if read_only else os.O_RDWR)
        flags |= os.O_CREAT if create or exclusive else 0
        flags |= os.O_EXCL if exclusive else 0
        descriptor = os.open(path, flags, mode)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return OsFile(descriptor, path)

    def read(self, path: str, limit: int) -> bytes:
        """Return a whole file of at most `limit` bytes; `OSError` (EFBIG) if it is larger."""
        file = self.open(path, read_only=True)
        try:
            data = file.pread(limit + 1, 0)
        finally:
            file.close()
        if len(data) > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
        return data

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source`, atomically."""
        os.rename(source, target)

    def link(self, source: str, target: str) -> None:
        """Make `target` a hard link to `source` itself, also if that is a symlink; `FileExistsError` if it exists."""
        os.link(source, target, follow_symlinks=False)

    def symlink(self, text: str, path: str) -> None:
        """Make a symlink at `path` that says `text`."""
        os.symlink(text, path)

    def readlink(self, path: str) -> str:
        """Return what the symlink says."""
        return os.readlink(path)

    def unlink(self, path: str) -> None:
        """Remove a file or symlink; `FileNotFoundError` if there is none."""
        os.unlink(path)

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        """Make one directory; an existing one is fine, anything else of that name is `FileExistsError`."""
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise

    def rmtree(self, path: str) -> None:
        """Remove a directory tree without following symlinks; a missing one is fine."""
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if self.exists(path):  # something inside vanished meanwhile: go on with the rest
                shutil.rmtree(path)

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        """Tell if something, a dangling symlink too, is there."""
        return os.path.lexists(path)

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits of a file or directory; a symlink is refused (ELOOP)."""
        # fchmod refuses O_PATH descriptors, and a file of mode 0 can't be opened otherwise: go through /proc, as glibc does.
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if stat.S_ISLNK(os.fstat(descriptor).st_mode):
                raise OSError(errno.ELOOP, "is a symlink", path)
            os.chmod(f"/proc/self/fd/{descriptor}", mode)
        finally:
            os.close(descriptor)

    def sync_directory(self, path: str) -> None:
        """Make creations, renames and removals in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, path: str) -> int:
        """Return the bytes that an unprivileged writer may still use on the file system of `path`."""
        numbers = os.statvfs(path)
        return numbers.f_bavail * numbers.f_frsize
