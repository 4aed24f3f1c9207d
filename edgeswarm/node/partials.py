"""Beginnings of pieces: of reads that broke off, or whose process died; of this node and, in memory, of its neighbours.

Nothing here is trusted: whoever goes on from a beginning checks the whole piece. Files are written without fsync: they survive the
death of the process, which is what they are for; after a power cut at most one piece is read again.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from ..content.digest import DIGEST_BYTES, Digest
from ..content.index import PIECE_MAX_BYTES

_log = logging.getLogger("edgeswarm.uplink")
# A piece has at most 4 MiB, nearly all have under 64 KiB: enough for one a span and neighbour.
_MOST_BYTES = 8 * 1024 * 1024
_MOST_PARTS = 256  # neighbours send them unasked: few bytes must not make many entries
_Key = tuple[Digest, int]


class Partials:
    """Beginnings by pack and offset, at most 8 MiB of them; the oldest makes room.

    Args:
        folder: Where those of own reads are kept over a restart; None: nowhere. Blocking, but for a few KiB at a time.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._parts: dict[_Key, bytes] = {}
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in sorted(folder.iterdir()):
                self._load(path)

    def take(self, pack: Digest, offset: int) -> bytes:
        """Return the beginning of a piece and forget it in memory; empty if there is none."""
        return self._parts.pop((pack, offset), b"")

    def keep(self, pack: Digest, offset: int, data: bytes) -> None:
        """Keep the beginning of a piece in memory."""
        if data:
            self._parts[pack, offset] = data
        while len(self._parts) > _MOST_PARTS or sum(map(len, self._parts.values())) > _MOST_BYTES:
            del self._parts[next(iter(self._parts))]

    def append(self, pack: Digest, offset: int, at: int, data: bytes) -> None:
        """Lengthen the beginning of a piece by bytes that start at `at`; ignored if they don't fit on."""
        known = self._parts.get((pack, offset), b"")
        if at == len(known) and at + len(data) <= PIECE_MAX_BYTES:
            self.keep(pack, offset, known + data)

    def clear(self) -> None:
        """Forget all: some of it was wrong."""
        self._parts.clear()

    def save(self, pack: Digest, offset: int, at: int, data: bytes) -> None:
        """Write bytes of a running read that start at `at` of its piece to disk."""
        if self._folder is None:
            return
        try:
            with self._path(pack, offset).open("r+b" if at else "wb") as file:
                file.seek(at)
                file.write(data)
        except OSError as error:
            _log.info("the beginning of a piece is not kept on disk: %s", error)

    def remove(self, pack: Digest, offset: int) -> None:
        """Remove the file of a piece that is needed no more."""
        if self._folder is not None:
            with suppress(OSError):
                self._path(pack, offset).unlink(missing_ok=True)

    def _path(self, pack: Digest, offset: int) -> Path:
        assert self._folder is not None  # noqa: S101  # checked by the callers
        return self._folder / f"{pack.hex()}-{offset}"

    def _load(self, path: Path) -> None:
        """Read what an earlier process left; files that are none of ours are left alone."""
        name, _, offset = path.name.partition("-")
        try:
            pack, data = bytes.fromhex(name), path.read_bytes()
        except (ValueError, OSError):
            return
        if len(pack) == DIGEST_BYTES and offset.isdecimal() and len(data) <= PIECE_MAX_BYTES:
            self.keep(pack, int(offset), data)
            path.unlink(missing_ok=True)
