"""The uplink of a node: whether it can be used now, and ranged reads that resume where they broke off."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import trio

from ..abc import OriginReader
from ..content.digest import Digest, check_digest
from ..content.index import Piece, pack_name
from ..content.plan import PackRead
from ..errors import ContentError, FetchError

_log = logging.getLogger("edgeswarm.uplink")
_FIRST_RETRY_SECONDS = 0.5
# Partial pieces of broken reads that are kept for their continuation; a piece has at most 4 MiB, nearly all have under 64 KiB.
_MOST_PARTIAL_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class _Partial:
    parts: dict[tuple[Digest, int], bytes] = field(default_factory=dict)

    def take(self, pack: Digest, offset: int) -> bytes:
        return self.parts.pop((pack, offset), b"")

    def keep(self, pack: Digest, offset: int, data: bytes) -> None:
        if data:
            self.parts[pack, offset] = data
        while sum(map(len, self.parts.values())) > _MOST_PARTIAL_BYTES:
            self.parts.pop(next(iter(self.parts)))


class Uplink:
    """One path to an origin.

    A failed read makes it unusable for a while that doubles from half a second to the maximum, with jitter; the next read after
    that is the probe. `on_change` is called with the new state whenever it changes.
    """

    def __init__(self, origin: OriginReader, *, retry_seconds: float, dice: Random, on_change: Callable[[bool], None]) -> None:
        self._origin = origin
        self._retry_seconds = retry_seconds
        self._dice = dice
        self._on_change = on_change
        self._failures = 0
        self._partial = _Partial()
        self.usable = True
        self.retry_at = -1.0
        self.last_error = ""
        self.bytes_read = 0

    async def run(self) -> None:
        """Make the uplink usable again when its waiting time is over; runs until cancelled."""
        while True:
            await trio.sleep(0.05 if self.usable else max(0.01, self.retry_at - trio.current_time()))
            if not self.usable and trio.current_time() >= self.retry_at:
                self._set(usable=True)

    async def read(self, name: str, *, limit: int) -> bytes:
        """Return a whole small object; failures are those of `OriginReader`, and count for the state of the uplink."""
        try:
            data = await self._origin.read(name, limit=limit)
        except FetchError as error:
            self._failed(error)
            raise
        self._worked()
        self.bytes_read += len(data)
        return data

    async def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return a small range of an object; fails like `read`."""
        buffer = bytearray()
        try:
            async with self._origin.stream(name, offset=offset, length=length) as blocks:
                async for block in blocks:
                    buffer += block
        except FetchError as error:
            self._failed(error)
            raise
        self._worked()
        self.bytes_read += len(buffer)
        return bytes(buffer)

    async def read_pack(
        self, read: PackRead, on_bytes: Callable[[Piece, int], None], on_piece: Callable[[Piece, bytes], Awaitable[None]]
    ) -> None:
        """Read the pieces of one ranged read as they arrive.

        What had come of a piece when an earlier read broke off is not read again: at most the bytes on their way are lost.

        Args:
            read: What to read.
            on_bytes: Called with the piece that is arriving and the number of bytes that just came.
            on_piece: Awaited with each piece and all its bytes, in order.

        Raises:
            FetchError: The link broke.
            ContentError: A piece does not have the digest that its index names: the uplink brings wrong bytes.
        """
        waiting = deque(read.pieces)
        buffer = bytearray(self._partial.take(read.pack, read.offset))
        start = read.offset + len(buffer)
        try:
            async with self._origin.stream(pack_name(read.pack), offset=start, length=read.offset + read.length - start) as blocks:
                async for block in blocks:
                    self._worked()
                    self.bytes_read += len(block)
                    on_bytes(waiting[0], len(block))
                    buffer += block
                    while waiting and len(buffer) >= waiting[0].length:
                        piece = waiting.popleft()
                        await on_piece(piece, self._cut(piece, buffer))
        except FetchError as error:
            self._failed(error)
            raise
        finally:
            if waiting:
                self._partial.keep(read.pack, waiting[0].offset, bytes(buffer))

    def _cut(self, piece: Piece, buffer: bytearray) -> bytes:
        data = bytes(buffer[: piece.length])
        del buffer[: piece.length]
        if piece.digest:
            try:
                check_digest(data, piece.digest, f"delta unit of chunk {piece.first} and {piece.count - 1} more from the origin")
            except ContentError as error:
                buffer.clear()
                self._failed(error)
                raise
        return data

    def failed(self, error: Exception) -> None:
        """Note that what came over the uplink was wrong, although the link works."""
        self._failed(error)

    def _worked(self) -> None:
        self._failures = 0
        self._set(usable=True)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, FetchError) and not error.temporary:
            return  # a clear answer: the link works
        self._failures += 1
        wait = min(self._retry_seconds, _FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 20)) * self._dice.uniform(0.75, 1.25)
        self.retry_at = trio.current_time() + wait
        self.last_error = str(error)
        _log.warning("uplink: %s; next try in %.1f s", error, wait)
        self._set(usable=False)

    def _set(self, *, usable: bool) -> None:
        if usable != self.usable:
            self.usable = usable
            self._on_change(usable)
