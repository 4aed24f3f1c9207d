"""Files of our own, read, made and replaced whole."""

from __future__ import annotations

from ..abc import FileOps


def save_file(files: FileOps, folder: str, name: str, data: bytes, mode: int = 0o644) -> None:
    """Replace a file in a folder, atomically and durably."""
    path, fresh = f"{folder}/{name}", f"{folder}/{name}.new"
    if files.exists(fresh):
        files.unlink(fresh)
    file = files.open(fresh, create=True, exclusive=True, mode=mode)
    try:
        file.pwrite(data, 0)
        file.datasync()
    finally:
        file.close()
    files.rename(fresh, path)
    files.sync_directory(folder)


def read_file(files: FileOps, path: str) -> bytes:
    """Return a whole file of our own."""
    file = files.open(path, read_only=True)
    try:
        return file.pread(file.size(), 0)
    finally:
        file.close()


def name_new(files: FileOps, fresh: str, path: str) -> bool:
    """Give a finished file its name, unless that is taken; tell if it was free.

    Where there are no hard links, as on a stick (vfat and exFAT: EPERM, link(2)), what somebody else makes in the same moment
    would be replaced: keep others out by a lock.

    Raises:
        OSError: It cannot be named.
    """
    try:
        files.link(fresh, path)
    except FileExistsError:
        return False
    except OSError:
        if files.exists(path):
            return False
        files.rename(fresh, path)
    return True
