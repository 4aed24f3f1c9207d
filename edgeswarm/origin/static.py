"""Objects that are files under one folder, opened with care. Blocking.

Names are checked first; then nothing but a regular file that lies, after all symlinks, under the folder is opened: a stick or a
share that somebody else wrote can hold a symlink to anywhere, a FIFO or a device.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from ..errors import FetchError, ObjectMissingError
from .names import check_name


@dataclass(frozen=True, slots=True)
class StaticObject:
    """One object, open for reading.

    Attributes:
        name: Its name at the origin.
        descriptor: File descriptor, owned by this object.
        size: In bytes, when it was opened.
        etag: Strong entity tag, quotes included: changes whenever the bytes may have.
    """

    name: str
    descriptor: int
    size: int
    etag: str

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes at `offset`; fewer only at the end of the file.

        Raises:
            FetchError: The disk failed.
        """
        parts: list[bytes] = []
        try:
            while length and (part := os.pread(self.descriptor, length, offset)):
                parts.append(part)
                offset += len(part)
                length -= len(part)
        except OSError as exc:
            raise FetchError(f"{self.name}: cannot be read at byte {offset}: {exc.strerror}") from exc
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file; once."""
        os.close(self.descriptor)


def open_object(folder: str, name: str) -> StaticObject:
    """Open an object below a folder.

    Raises:
        LocalProtocolError: The name is malformed.
        ObjectMissingError: There is no such file, or it is not a regular one, or leads out of the folder.
        FetchError: The folder itself is not there (a stick that is not mounted), or the disk failed.
    """
    check_name(name)
    try:
        return _open(os.path.realpath(folder), name)
    except (FileNotFoundError, NotADirectoryError) as exc:
        if not os.path.isdir(folder):
            raise FetchError(f"origin folder {folder} is not there: is the medium mounted?") from exc
        raise ObjectMissingError(f"{name}: no such object in {folder}") from exc
    except OSError as exc:
        raise FetchError(f"{name}: cannot be opened in {folder}: {exc.strerror}") from exc


def _open(folder: str, name: str) -> StaticObject:
    path = os.path.realpath(os.path.join(folder, name))
    if os.path.commonpath((folder, path)) != folder:
        raise ObjectMissingError(f"{name}: leads out of the origin folder {folder}: put the files there, or mount them there")
    # O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise ObjectMissingError(f"{name}: is not a regular file in {folder}")
    return StaticObject(name, descriptor, found.st_size, f'"{found.st_mtime_ns:x}-{found.st_size:x}"')
