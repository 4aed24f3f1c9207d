"""Links in memory: two pipes with latency, a window, and ways to break.

Theory of operation. What is sent gets a time at which it is due; the receiver waits for that time, so that under a virtual clock
latency costs nothing. A pipe holds a window of bytes and then makes its sender wait, as TCP does.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from random import Random

import trio

from ..abc import PeerIdentity
from ..errors import FetchError, LocalProtocolError

# What one receive returns at most: the cap of the `Link` port.
_PIECE_BYTES = 256 * 1024


@dataclass(slots=True)
class Conditions:
    """How a network in memory behaves; may be changed while it runs.

    Attributes:
        latency_seconds: One way.
        window_bytes: What is in flight in one direction of a link before its sender waits.
        dice: If given, every read is cut at a random place, and beacons can get lost.
        beacon_loss: Share of the beacons that get lost, 0 to 1.
    """

    latency_seconds: float = 0.0
    window_bytes: int = 256 * 1024
    dice: Random | None = None
    beacon_loss: float = 0.0


class Pipe:
    """One direction of a link; one sender, one receiver."""

    __slots__ = ("_changed", "_conditions", "_ended", "_failure", "_held", "_queue", "_stalled")

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._queue: deque[tuple[float, memoryview]] = deque()
        self._held = 0
        self._ended = math.inf
        self._failure: str | None = None
        self._stalled = False
        self._changed = trio.lowlevel.ParkingLot()

    async def put(self, data: memoryview) -> None:
        """Send `data`; waits while the window is full. A cancelled `put` breaks the pipe.

        Raises:
            FetchError: The pipe is broken.
        """
        await trio.lowlevel.checkpoint()
        try:
            while data:
                await self._wait_for_room()
                data = self._append(data)
        except trio.Cancelled:
            self.fail("the sender stopped in the middle of a message")
            raise

    async def take(self) -> bytes:
        """Return bytes that have arrived, b"" once the end has.

        Raises:
            FetchError: The pipe is broken, and all that had arrived by then was taken.
        """
        await trio.lowlevel.checkpoint()
        while (due := self._due()) > trio.current_time():
            with trio.move_on_at(due):
                await self._changed.park()
        if self._queue:
            return self._pop()
        if self._failure is not None:
            raise FetchError(self._failure)
        return b""

    def end(self) -> None:
        """Let the receiver see the end, behind what was sent."""
        self._ended = min(self._ended, trio.current_time() + self._conditions.latency_seconds)
        self._changed.unpark_all()

    def fail(self, reason: str) -> None:
        """Break: the sender fails at once, the receiver behind what has arrived; what is in flight is lost."""
        now = trio.current_time()
        if self._failure is None and self._ended > now:
            self._queue = deque(entry for entry in self._queue if entry[0] <= now and not self._stalled)
            self._failure = reason
        self._changed.unpark_all()

    def stall(self, stalled: bool) -> None:
        """Stop or restart delivery; what is in flight waits."""
        self._stalled = stalled
        self._changed.unpark_all()

    async def _wait_for_room(self) -> None:
        """Wait at a full window until half of it is free, or pieces would get ever smaller (RFC 9293, 3.8.6.2)."""
        if self._held >= self._conditions.window_bytes:
            while self._failure is None and self._held > self._conditions.window_bytes // 2:
                await self._changed.park()
        if self._failure is not None:
            raise FetchError(self._failure)

    def _append(self, data: memoryview) -> memoryview:
        """Put as much in flight as there is room for; return the rest."""
        piece = data[: min(self._conditions.window_bytes - self._held, _PIECE_BYTES)]
        self._queue.append((trio.current_time() + self._conditions.latency_seconds, piece))
        self._held += len(piece)
        self._changed.unpark_all()
        return data[len(piece) :]

    def _due(self) -> float:
        """Return when there is something to take: -inf for a failure, inf for never."""
        if self._failure is not None and not self._queue:
            return -math.inf
        if self._stalled:
            return math.inf
        return self._queue[0][0] if self._queue else self._ended

    def _pop(self) -> bytes:
        due, piece = self._queue.popleft()
        dice = self._conditions.dice
        count = dice.randint(1, len(piece)) if dice else len(piece)
        if count < len(piece):
            self._queue.appendleft((due, piece[count:]))
        self._held -= count
        self._changed.unpark_all()
        return bytes(piece[:count])


class MemoryLink:
    """A `Link` in memory; made by `MemoryTransport`.

    Attributes:
        peer: Who is at the other end.
        closed: True once this end was closed.
    """

    __slots__ = ("_in", "_out", "_receiving", "_sending", "closed", "peer")

    def __init__(self, peer: PeerIdentity, incoming: Pipe, outgoing: Pipe) -> None:
        self.peer = peer
        self.closed = False
        self._in = incoming
        self._out = outgoing
        self._sending = self._receiving = False

    async def send(self, data: bytes | memoryview) -> None:
        """See `Link.send`; also raises `LocalProtocolError` for a second sender. After a cancelled `send` only `aclose` is left."""
        self._check(self._sending, "send")
        self._sending = True
        try:
            await self._out.put(memoryview(bytes(data)))
        finally:
            self._sending = False

    async def receive(self) -> bytes:
        """See `Link.receive`; also raises `LocalProtocolError` for a second receiver. Can be cancelled without loss."""
        self._check(self._receiving, "receive")
        self._receiving = True
        try:
            return await self._in.take()
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        """See `Link.aclose`; when cancelled the peer sees a cut link."""
        closed, self.closed = self.closed, True
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self._out.fail(f"{self.peer.address}: the link was cut without closing it")
            raise
        finally:
            if not closed:
                self._hang_up()

    def break_off(self, reason: str) -> None:
        """Break both directions at once, at both ends."""
        self._in.fail(reason)
        self._out.fail(reason)

    def stall(self, stalled: bool) -> None:
        """Stop or restart delivery to this end."""
        self._in.stall(stalled)

    def _hang_up(self) -> None:
        if self._sending:
            self._out.fail(f"{self.peer.address}: the link was closed in the middle of a message")
        self._out.end()
        self._in.fail(f"{self.peer.address}: the link was closed")

    def _check(self, busy: bool, verb: str) -> None:
        if self.closed:
            raise FetchError(f"the link to {self.peer.address} was closed on this side", temporary=False)
        if busy:
            raise LocalProtocolError(f"two tasks {verb} on the link to {self.peer.address} at the same time: one per direction")
