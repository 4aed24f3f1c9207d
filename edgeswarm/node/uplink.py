"""The uplink of a node: whether it can be used now, and ranged reads that resume where they broke off."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random

import trio

from ..abc import OriginReader
from ..content.digest import Digest, check_digest
from ..content.index import PackIndex, Piece, pack_name
from ..content.plan import PackRead
from ..errors import ContentError, FetchError
from ..origin.deadlines import whole_seconds, within
from .partials import Partials

OnBytes = Callable[[int], None]
OnPiece = Callable[[Piece, bytes], Awaitable[None]]
OnPartial = Callable[[Piece, int, bytes], None]

_log = logging.getLogger("edgeswarm.uplink")
_FIRST_RETRY_SECONDS = 0.5
# What an origin that asks for patience gets at most: a wrong or hostile Retry-After must not silence a site for days. A guess.
_LONGEST_PATIENCE_SECONDS = 3600.0
# Kept and shared with a neighbour in steps of this size: what dies with this node is at most that, and what was on its way.
_SHARE_BYTES = 8 * 1024
# The beginning of a piece is worth a request of its own if it is longer than that and its answer. [about 420 bytes in the demo]
_WORTH_BYTES = 512


class Uplink:
    """One path to an origin.

    A failed read makes it unusable for a while that doubles from half a second to the maximum, with jitter; the next read after
    that is the probe. An origin that asks for patience (Retry-After) is left alone for as long, an hour at most. `on_change` is
    called with the new state whenever it changes.

    Attributes:
        usable: It may be tried now, which says nothing of whether it works.
        proven: The last read went well.
        retry_at: When it counts as usable again, on trio's clock.
        last_error: What made it unusable last.
        bytes_read: What came over it.
    """

    def __init__(
        self, origin: OriginReader, partials: Partials, *, retry_seconds: float, dice: Random, on_change: Callable[[bool], None]
    ) -> None:
        self._origin = origin
        self._retry_seconds = retry_seconds
        self._dice = dice
        self._on_change = on_change
        self._failures = 0
        self._partial = partials
        self._trusts_partials = True
        self._broke = trio.Event()
        self.usable = True
        self.proven = False
        self.retry_at = -1.0
        self.last_error = ""
        self.bytes_read = 0

    async def run(self) -> None:
        """Make the uplink usable again when its waiting time is over; runs until cancelled."""
        while True:
            if self.usable:
                self._broke = trio.Event()
                await self._broke.wait()
            await trio.sleep_until(self.retry_at)
            if trio.current_time() >= self.retry_at:
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
            with within(name, whole_seconds(length)):
                async with self._origin.stream(name, offset=offset, length=length) as blocks:
                    async for block in blocks:
                        buffer += block
        except FetchError as error:
            self._failed(error)
            raise
        self._worked()
        self.bytes_read += len(buffer)
        return bytes(buffer)

    async def read_pack(self, read: PackRead, on_bytes: OnBytes, on_piece: OnPiece, on_partial: OnPartial) -> None:
        """Read the pieces of one ranged read as they arrive.

        What had come of a piece when an earlier read broke off, here or at a neighbour that shared it, is not read again: at most
        the bytes on their way are lost.

        Args:
            read: What to read.
            on_bytes: Called with the number of bytes that just came.
            on_piece: Awaited with each piece and all its bytes, in order.
            on_partial: Called with a piece, where in it some bytes start, and them: in steps as they come, what is left of a piece
                before `on_piece`, and what has come of one when the read breaks off.

        Raises:
            FetchError: The link broke.
            ContentError: A piece does not have the digest that its index names: the uplink, or who shared its beginning, is wrong.
        """
        begun = (self._partial.length(read.pack, piece.offset) >= _WORTH_BYTES for piece in read.pieces)
        for part in read.cut([number for number, known in enumerate(begun) if known and number]):
            await self._read_part(part, on_bytes, on_piece, on_partial)

    async def _read_part(self, read: PackRead, on_bytes: OnBytes, on_piece: OnPiece, on_partial: OnPartial) -> None:
        """Read pieces in one request, from behind what there is of the first one."""
        waiting = deque(read.pieces)
        buffer = bytearray(self._partial.take(read.pack, read.offset)[: read.pieces[0].length])
        start, end, shared = read.offset + len(buffer), read.offset + read.length, 0
        try:
            while waiting and len(buffer) >= waiting[0].length:
                await on_piece(waiting[0], self._cut(waiting.popleft(), buffer))
            if start == end:
                return
            async with self._origin.stream(pack_name(read.pack), offset=start, length=end - start) as blocks:
                async for block in blocks:
                    self._worked()
                    self.bytes_read += len(block)
                    on_bytes(len(block))
                    buffer += block
                    while waiting and len(buffer) >= waiting[0].length:
                        piece, known = waiting.popleft(), shared
                        shared = 0
                        data = self._cut(piece, buffer)
                        self._share(read.pack, piece, known, data, on_partial)
                        await on_piece(piece, data)
                    if waiting and len(buffer) - shared >= _SHARE_BYTES:
                        shared = self._share(read.pack, waiting[0], shared, buffer, on_partial)
        except FetchError as error:
            self._failed(error)
            raise
        finally:
            if waiting:
                self._partial.keep(read.pack, waiting[0].offset, bytes(buffer))
                self._share(read.pack, waiting[0], shared, buffer, on_partial)

    def _share(self, pack: Digest, piece: Piece, known: int, data: bytes | bytearray, on_partial: OnPartial) -> int:
        """Save what has come of a piece, and share it; return how much that is. So much of it, `known`, was shared before."""
        fresh = bytes(data[known:])
        if fresh:
            self._partial.save(pack, piece.offset, known, fresh)
            on_partial(piece, known, fresh)
        return len(data)

    def kept(self, pack: Digest, offset: int) -> None:
        """Note that what a piece makes is verified and durable: its bytes need not be kept, and the uplink is as it should be."""
        self._failures = 0
        self._partial.remove(pack, offset)

    @property
    def has_partials(self) -> bool:
        """Whether the beginning of any piece is here."""
        return bool(self._partial.keys)

    def drop_partials(self, index: PackIndex) -> None:
        """Note that all that an index's pieces make is here, wherever it came from: beginnings of these and of maps have no use."""
        begun = self._partial.keys
        places = ((index.packs[piece.pack], piece.offset) for piece in (*index.pages, *index.maps, *index.pieces))
        self._partial.drop({place for place in places if place in begun})

    def take_partial(self, peer: bytes, pack: Digest, offset: int, at: int, data: bytes) -> None:
        """Keep what a neighbour shares of a piece that is arriving there, in case this node has to go on with it."""
        if self._trusts_partials:
            self._partial.share(peer, pack, offset, at, data)

    def _cut(self, piece: Piece, buffer: bytearray) -> bytes:
        data = bytes(buffer[: piece.length])
        del buffer[: piece.length]
        if piece.digest:
            try:
                check_digest(data, piece.digest, f"piece of chunk {piece.first} and {piece.count - 1} more from the origin")
            except ContentError as error:
                buffer.clear()
                self._failed(error)
                raise
        return data

    def failed(self, error: Exception) -> None:
        """Note that what came over the uplink was wrong, although the link works.

        It may have been begun with what a neighbour shared; nobody can tell who lied, so nothing shared is taken from then on.
        """
        self._trusts_partials = False
        self._partial.clear()
        self._failed(error)

    def _worked(self) -> None:
        self.proven = True
        self._set(usable=True)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, FetchError) and not error.temporary:
            return  # a clear answer: the link works
        self._failures += 1
        self.proven = False
        wait = min(self._retry_seconds, _FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 20)) * self._dice.uniform(0.75, 1.25)
        wait = max(wait, min(getattr(error, "retry_after", None) or 0.0, _LONGEST_PATIENCE_SECONDS))
        self.retry_at = trio.current_time() + wait
        self.last_error = str(error)
        _log.warning("uplink: %s; next try in %.1f s", error, wait)
        self._set(usable=False)

    def _set(self, *, usable: bool) -> None:
        if usable != self.usable:
            self.usable = usable
            if not usable:
                self._broke.set()
            self._on_change(usable)
