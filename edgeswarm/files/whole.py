"""Small files of our own, read and replaced whole."""

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
