"""Beginnings of pieces on disk: those that this node reads itself, for the case that its process dies.

Blocking, but for a few KiB at a time. Files are written without fsync: they survive the death of the process, which is what they
are for; after a power cut at most one piece is read again. A file stays until its piece is kept, turns out wrong, comes with its
whole release from elsewhere, or has to make room, so that it also survives a process that dies before it went on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..content.digest import DIGEST_BYTES, Digest
from ..content.index import PIECE_MAX_BYTES

_log = logging.getLogger("edgeswarm.uplink")
Key = tuple[Digest, int]
"""A piece: its pack, and where in the pack it starts."""


class PartialFiles:
    """One file a beginning, bounded in number and bytes; the one that was written to longest ago makes room.

    Files whose names are none of ours are left alone.

    Args:
        folder: Made if it is not there; None: nothing is kept.
        most_bytes: Of all files; a piece has at most 4 MiB.
        most_files: Their number.
    """

    def __init__(self, folder: Path | None, *, most_bytes: int, most_files: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_files = most_files
        self._sizes: dict[Key, int] = {}  # in the order in which they were last written to
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._find(folder)
            self._make_room()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._sizes)

    def load(self) -> list[tuple[Key, bytes]]:
        """Return what an earlier process left, oldest first; the files stay."""
        found = []
        for key in list(self._sizes):
            try:
                found.append((key, self._path(key).read_bytes()))
            except OSError as error:
                _log.info("the beginning of a piece cannot be read: %s", error)
        return found

    def write(self, key: Key, at: int, data: bytes) -> None:
        """Write bytes that start at `at` of a piece; ignored if they don't fit on, since their beginning had to make room."""
        known = self._sizes.pop(key, 0)
        if self._folder is None or at > known:
            return
        try:
            with self._path(key).open("r+b" if known else "wb") as file:
                file.seek(at)
                file.write(data)
                file.truncate()
        except OSError as error:
            _log.info("the beginning of a piece is not kept on disk: %s", error)
            self._unlink(key)
        else:
            self._sizes[key] = at + len(data)
            self._make_room()

    def remove(self, key: Key) -> None:
        """Remove the file of a piece, if there is one."""
        if self._sizes.pop(key, None) is not None:
            self._unlink(key)

    def clear(self) -> None:
        """Remove all files."""
        for key in list(self._sizes):
            self.remove(key)

    def _make_room(self) -> None:
        while len(self._sizes) > self._most_files or sum(self._sizes.values()) > self._most_bytes:
            self.remove(next(iter(self._sizes)))

    def _find(self, folder: Path) -> None:
        found = []
        for path in folder.iterdir():
            key = _key(path.name)
            with suppress(OSError):
                if key is not None:
                    status = path.stat()
                    found.append((status.st_mtime_ns, key, status.st_size))
        self._sizes = {key: size for _, key, size in sorted(found)}
        for key, size in list(self._sizes.items()):
            if size > PIECE_MAX_BYTES:
                self.remove(key)

    def _unlink(self, key: Key) -> None:
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: Key) -> Path:
        assert self._folder is not None  # noqa: S101  # without a folder there are no keys
        return self._folder / f"{key[0].hex()}-{key[1]}"


def _key(name: str) -> Key | None:
    """Return what a file of ours is for."""
    pack, _, offset = name.partition("-")
    try:
        key = bytes.fromhex(pack), int(offset)
    except ValueError:
        return None
    return key if name == f"{key[0].hex()}-{key[1]}" and len(key[0]) == DIGEST_BYTES else None
