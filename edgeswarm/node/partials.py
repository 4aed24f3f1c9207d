"""Beginnings of pieces: of this node's reads that broke off or whose process died; of its neighbours', in memory only.

Nothing here is trusted: whoever goes on from a beginning checks the whole piece. A node's own beginnings and those that neighbours
shared are kept apart: these come unasked, and must not drive out those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..content.digest import Digest
from ..content.index import PIECE_MAX_BYTES
from .partial_files import Key, PartialFiles

# A piece has at most 4 MiB, nearly all have under 64 KiB: enough for one a span and neighbour.
_MOST_BYTES = 8 * 1024 * 1024
_MOST_PARTS = 256
# Of one neighbour: what has come there and is not decoded yet, 18 pieces; what it has finished is dropped only by newer ones.
_MOST_PARTS_OF_A_PEER = 24


class _Parts:
    """Beginnings by piece, so many and no more; the oldest makes room.

    Attributes:
        size: Bytes of all.
    """

    def __init__(self, most: int) -> None:
        self.size = 0
        self._most = most
        self._parts: dict[Key, bytearray] = {}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._parts)

    def length(self, key: Key) -> int:
        """Return how much of a piece is here."""
        return len(self._parts.get(key, b""))

    def take(self, key: Key) -> bytes:
        """Return a beginning and forget it."""
        part = self._parts.pop(key, bytearray())
        self.size -= len(part)
        return bytes(part)

    def append(self, key: Key, data: bytes) -> None:
        """Lengthen a beginning, which counts as the newest from now on."""
        part = self._parts.pop(key, bytearray())
        part += data
        self._parts[key] = part
        self.size += len(data)
        while len(self._parts) > self._most:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        self.take(next(iter(self._parts)))


class Partials:
    """Beginnings by pack and offset: at most 8 MiB of this node's own, and as much of all neighbours'; the oldest makes room.

    When the neighbours' are too many, the one with the most bytes loses some: who shares little loses nothing by others.

    Args:
        folder: Where those of own reads are kept over a restart, at most 8 MiB; None: nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._files = PartialFiles(folder, most_bytes=_MOST_BYTES, most_files=_MOST_PARTS)
        self._own = _Parts(_MOST_PARTS)
        self._shared: dict[bytes, _Parts] = {}
        for (pack, offset), data in self._files.load():
            self.keep(pack, offset, data)

    def length(self, pack: Digest, offset: int) -> int:
        """Return how much of the beginning of a piece is in memory."""
        return max(parts.length((pack, offset)) for parts in (self._own, *self._shared.values()))

    def take(self, pack: Digest, offset: int) -> bytes:
        """Return the longest beginning of a piece that goes on from the own one, and forget it in memory; empty without one."""
        key = (pack, offset)
        own = self._own.take(key)
        shared = [parts.take(key) for parts in self._shared.values()]
        return max((own, *(part for part in shared if part.startswith(own))), key=len)

    def keep(self, pack: Digest, offset: int, data: bytes) -> None:
        """Keep in memory how far an own read has come."""
        if not data:
            return
        self._own.take((pack, offset))
        self._own.append((pack, offset), data)
        while self._own.size > _MOST_BYTES:
            self._own.drop_oldest()

    def share(self, peer: bytes, pack: Digest, offset: int, at: int, data: bytes) -> None:
        """Take bytes that a neighbour shares, which start at `at` of a piece: what is new of them, if there is no gap before it."""
        parts = self._shared.setdefault(peer, _Parts(_MOST_PARTS_OF_A_PEER))
        known = parts.length((pack, offset))
        if at > known or not known < at + len(data) <= PIECE_MAX_BYTES:
            return
        parts.append((pack, offset), data[known - at :])
        while sum(each.size for each in self._shared.values()) > _MOST_BYTES:
            max(self._shared.values(), key=lambda each: each.size).drop_oldest()

    def clear(self) -> None:
        """Forget all: some of it was wrong, and nobody can tell what."""
        self._own = _Parts(_MOST_PARTS)
        self._shared.clear()
        self._files.clear()

    def save(self, pack: Digest, offset: int, at: int, data: bytes) -> None:
        """Write bytes of a running read that start at `at` of its piece to disk."""
        self._files.write((pack, offset), at, data)

    def remove(self, pack: Digest, offset: int) -> None:
        """Remove the file of a piece that is needed no more."""
        self._files.remove((pack, offset))

    @property
    def keys(self) -> set[Key]:
        """The pieces of which a beginning is here, in memory or on disk."""
        return {*self._files, *self._own, *(key for parts in self._shared.values() for key in parts)}

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget the beginnings of pieces that are needed no more, in memory and on disk."""
        for pack, offset in keys:
            self.take(pack, offset)
            self.remove(pack, offset)
