"""One link in use: the session's loop, what this node asked of the peer, and what it owes the peer."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from ..abc import Link
from ..content.digest import Digest
from ..errors import FetchError, RemoteProtocolError
from ..exchange import TokenBucket
from ..wire.messages import (
    MAX_WANTED_CHUNKS,
    Bye,
    Cancel,
    ChunkData,
    Claim,
    Drop,
    GetObject,
    Have,
    Hello,
    Message,
    Miss,
    News,
    ObjectData,
    Partial,
    Peers,
    Ping,
    Pong,
    Release,
    Want,
)
from ..wire.session import NEED_DATA, Closed, Session
from .holdings import Holdings
from .serving import Answer, Serving, Source
from .tasks import plain_nursery

_log = logging.getLogger("edgeswarm.peer")
# The session allows 64 open requests; a few are left for objects.
_MOST_WANTS = 56
_MOST_OBJECTS = 8
_MOST_QUEUED = 20_000
# Messages that cost this node work and the peer nothing. An honest peer says some twenty a second and transfer (HAVE, every 50 ms);
# who says more is read more slowly. Guesses.
_CONTROL_PER_SECOND, _MOST_CONTROL = 200.0, 2000.0
# A set of so many chunks costs as much again as a message without one [16,384 chunks: 0.2 ms].
_CHUNKS_OF_A_MESSAGE = 8192
# Addresses that a peer may name: more than a site of 64 links needs at once, too few to scan a network with. Guesses.
_HINTS_PER_SECOND, _MOST_HINTS = 1.0, 128.0
_MOST_QUEUED_BYTES = 8 * 1024 * 1024  # a guess: bitmaps for a swarm of many large releases, and partial pieces
_CONTROL = frozenset({Have, Drop, Claim, Release, News, Peers, Ping, Cancel})
PING_SECONDS = 2.0
"""A quiet peer is asked this often whether it is there: a guess between SWARM's two seconds and a busy device's pauses."""
DEAD_SECONDS = 12.0
"""A peer that says nothing for this long, in spite of pings, is given up: a guess, longer than a slow device is ever busy."""


class Host(Source, Protocol):
    """What a peer needs of the node that it is linked with."""

    def on_message(self, peer: Peer, message: Message) -> None:
        """Take news, what the peer has, and its claims."""

    def on_chunk(self, peer: Peer, manifest: Digest, chunk: int, data: bytes) -> None:
        """Take a chunk that was asked for, not verified yet."""

    def on_no_chunks(self, peer: Peer, manifest: Digest, chunks: Sequence[int]) -> None:
        """Note that chunks that were asked for will not come."""


@dataclass(slots=True)
class _ObjectRequest:
    data: bytearray = field(default_factory=bytearray)  # one buffer: a peer may send it in parts of a byte
    found: bool = True
    lost: bool = False
    done: trio.Event = field(default_factory=trio.Event)


class Peer:
    """The other end of one link, from the greeting on.

    Attributes:
        hello: The peer's greeting.
        uplink: Whether its own uplink is usable, as it said last.
        timestamp_version: The metadata that it holds, as it said last.
        news_at: When it told news last, or greeted.
        checked: Whether it has said that its origin answered, and its uplink has not failed since: it said its news once more,
            unchanged. That its uplink is usable does not say that it works.
        received_bytes: Chunk bytes that it sent.
        serving: Answers what it asks for.
        holdings: What it said that it has.
        hints: How many addresses it may still name.
    """

    def __init__(self, link: Link, session: Session, hello: Hello, *, connected: bool) -> None:
        self.identity = link.peer
        self.hello = hello
        self.connected = connected
        self.uplink = hello.uplink
        self.timestamp_version = hello.timestamp_version
        self.checked = False
        self.received_bytes = 0
        self.serving = Serving(self.id, self._answer)
        self.hints = TokenBucket(_HINTS_PER_SECOND, _MOST_HINTS)
        self._control = TokenBucket(_CONTROL_PER_SECOND, _MOST_CONTROL)
        self._link = link
        self._session = session
        self._sending = trio.Lock()
        self._outbox: deque[Message] = deque()
        self._outbox_bytes = 0
        self._object_slots = trio.Semaphore(_MOST_OBJECTS)
        self._outbox_filled = trio.Event()
        self._objects: dict[int, _ObjectRequest] = {}
        self._wants: dict[int, tuple[Digest, dict[int, None]]] = {}
        self._unsent: dict[Digest, list[int]] = {}
        self.holdings = Holdings()
        self._heard = self.news_at = trio.current_time()
        self._scope = trio.CancelScope()
        self._nonce = 0
        self._sequence = -1
        self.closed = trio.Event()
        self._handlers: dict[type, Callable[[Host, Any], None]] = {
            GetObject: self._on_get_object, ObjectData: self._on_object, Want: self._on_want, ChunkData: self._on_chunk,
            Miss: self._on_miss, Cancel: self._on_cancel, Have: self._on_have, News: self._on_news,
            Ping: lambda _host, ping: self.post(Pong(nonce=ping.nonce)), Pong: lambda _host, _pong: None,
            Drop: self._on_drop, **dict.fromkeys((Claim, Release, Peers, Partial), self._pass_on),
        }  # fmt: skip

    @property
    def id(self) -> bytes:
        """The node id, 32 bytes."""
        return self.identity.key

    @property
    def name(self) -> str:
        """The name that its certificate gives it."""
        return self.identity.node

    def post(self, message: Message) -> None:
        """Queue a control message; a peer that does not read is given up rather than waited for."""
        if len(self._outbox) >= _MOST_QUEUED or self._outbox_bytes > _MOST_QUEUED_BYTES:
            self.close()
            return
        self._outbox.append(message)
        self._outbox_bytes += _weight(message)
        self._outbox_filled.set()

    @property
    def busy(self) -> bool:
        """Whether the peer reads slower than it is told things; what is only a hint is better left out then."""
        return self._outbox_bytes > _MOST_QUEUED_BYTES // 16

    def close(self) -> None:
        """Give up the link."""
        self._scope.cancel()

    def want(self, manifest: Digest, chunks: Sequence[int]) -> None:
        """Ask for chunks; each comes back as `on_chunk` or in `on_no_chunks` of the host, unless the link has ended."""
        self._unsent.setdefault(manifest, []).extend(chunks)
        self._send_wants()

    async def get_object(self, kind: str, name: str, limit: int) -> bytes | None:
        """Return a small object that the peer has, or None; `FetchError` if the link ends first."""
        async with self._object_slots:
            if self.closed.is_set():
                raise FetchError(f"the link to {self.name} has ended")
            request = self._session.new_request()
            waiting = self._objects[request] = _ObjectRequest()
            self.post(GetObject(request=request, kind=kind, name=name, limit=limit))
            try:
                await waiting.done.wait()
            finally:
                del self._objects[request]
                if not waiting.done.is_set():
                    self.post(Cancel(request=request))
        if waiting.lost:
            raise FetchError(f"the link to {self.name} ended before {name} came")
        return bytes(waiting.data) if waiting.found else None

    async def run(self, host: Host) -> str:
        """Serve the link until it ends, is given up, or the peer breaks the protocol; return why.

        Raises:
            RemoteProtocolError: The peer broke the protocol.
        """
        try:
            with self._scope:
                async with plain_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self.serving.run, host)
                    nursery.start_soon(self._watch)
                    reason = await self._read(host)
                    nursery.cancel_scope.cancel()
                return reason
        except FetchError as error:
            return str(error)
        finally:
            self._end(host)
        return "given up"

    def _end(self, host: Host) -> None:
        self.closed.set()
        for waiting in self._objects.values():
            waiting.lost = not waiting.done.is_set()
            waiting.done.set()
        lost = [(manifest, list(chunks)) for manifest, chunks in self._wants.values()] + list(self._unsent.items())
        self._wants.clear()
        self._unsent.clear()
        for manifest, chunks in lost:
            host.on_no_chunks(self, manifest, chunks)

    async def say_goodbye(self, code: str, reason: str) -> None:
        """Tell the peer that this side stops, as far as the link takes it at once."""
        with trio.move_on_after(0.5, shield=True):
            try:
                await self._send(Bye(code=code, reason=reason))
            except (FetchError, RemoteProtocolError):
                _log.debug("%s did not take the goodbye", self.name)

    # Reading.

    async def _read(self, host: Host) -> str:
        while True:
            event = self._session.next_event()
            if event is NEED_DATA:
                data = await self._link.receive()
                self._heard = trio.current_time()
                self._session.receive_data(data)
            elif isinstance(event, Bye):
                return f"closed by the peer: {event.reason or event.code}"
            elif isinstance(event, Closed):
                return "the link broke"
            else:
                self._handlers[type(event)](host, event)
                if type(event) in _CONTROL:
                    await self._hold_back(event)

    async def _hold_back(self, message: object) -> None:
        """Let others have their turn, and leave a peer that talks too much unread for a while."""
        work = 1 + message.chunks / _CHUNKS_OF_A_MESSAGE if isinstance(message, Have) else 1
        await trio.sleep(self._control.take(trio.current_time(), work))

    def is_news(self, sequence: int) -> bool:
        """Take the number of a CLAIM or RELEASE; tell if it is above those before."""
        newer, self._sequence = sequence > self._sequence, max(sequence, self._sequence)
        return newer

    def _on_drop(self, host: Host, message: Drop) -> None:
        self.holdings.drop(message.manifest, message.index)
        host.on_message(self, message)

    def _pass_on(self, host: Host, message: Message) -> None:
        host.on_message(self, message)

    def _on_news(self, host: Host, message: News) -> None:
        is_again = (self.uplink, self.timestamp_version) == (message.uplink, message.timestamp_version)
        self.checked = message.uplink and (self.checked or is_again)
        self.uplink, self.timestamp_version = message.uplink, message.timestamp_version
        self.news_at = trio.current_time()
        host.on_message(self, message)

    def _on_have(self, host: Host, message: Have) -> None:
        self.holdings.add(message)
        host.on_message(self, message)

    def _on_get_object(self, _host: Host, message: GetObject) -> None:
        self.serving.add(message)

    def _on_object(self, _host: Host, message: ObjectData) -> None:
        waiting = self._objects.get(message.request)
        if waiting is not None:
            waiting.found = message.found
            waiting.data += message.data
            if message.last:
                waiting.done.set()
        if message.last:
            self._send_wants()

    def _on_want(self, _host: Host, message: Want) -> None:
        self.serving.add(message)

    def _on_chunk(self, host: Host, message: ChunkData) -> None:
        if message.coding != "plain":
            raise RemoteProtocolError(f"CHUNK: wanted plain, since nothing else was negotiated, got {message.coding}")
        self.received_bytes += len(message.data)
        host.on_chunk(self, self._answered(message.request, message.index), message.index, bytes(message.data))

    def _on_miss(self, host: Host, message: Miss) -> None:
        host.on_no_chunks(self, self._answered(message.request, message.index), [message.index])

    def _answered(self, request: int, chunk: int) -> Digest:
        manifest, waiting = self._wants[request]
        waiting.pop(chunk, None)
        if not waiting:
            del self._wants[request]
            self._send_wants()
        return manifest

    def _on_cancel(self, host: Host, message: Cancel) -> None:
        self.serving.drop(message.request)
        if self._session.owed.is_open(message.request):
            self.post(Cancel(request=message.request))
        if message.request in self._wants:
            manifest, chunks = self._wants.pop(message.request)
            host.on_no_chunks(self, manifest, list(chunks))
        if message.request in self._objects:
            self._objects[message.request].found = False
            self._objects[message.request].done.set()

    # Writing.

    def _send_wants(self) -> None:
        """Send what is wanted as far as the session takes more requests."""
        room = MAX_WANTED_CHUNKS - sum(len(waiting) for _, waiting in self._wants.values())
        while self._unsent and len(self._wants) < _MOST_WANTS and room:
            manifest, unsent = next(iter(self._unsent.items()))
            chunks, rest = unsent[:room], unsent[room:]
            if rest:
                self._unsent[manifest] = rest
            else:
                del self._unsent[manifest]
            room -= len(chunks)
            request = self._session.new_request()
            self._wants[request] = (manifest, dict.fromkeys(chunks))
            self.post(Want.ask(request=request, manifest=manifest, indices=chunks))

    async def _send(self, message: Message) -> None:
        async with self._sending:
            await self._link.send(self._session.send(message))

    async def _answer(self, message: Answer) -> bool:
        """Send an answer, unless its request was cancelled meanwhile; return whether it was sent."""
        async with self._sending:
            if not self._session.owed.is_open(message.request):
                return False
            await self._link.send(self._session.send(message))
            return True

    async def _write(self) -> None:
        while True:
            await self._outbox_filled.wait()
            self._outbox_filled = trio.Event()
            while self._outbox:
                message = self._outbox.popleft()
                self._outbox_bytes -= _weight(message)
                if not isinstance(message, Cancel) or self._is_open(message.request):
                    await self._send(message)

    def _is_open(self, request: int) -> bool:
        """Tell if a request, of either side, still waits for answers: the last may have been sent while its CANCEL was queued."""
        return self._session.asked.is_open(request) or self._session.owed.is_open(request)

    async def _watch(self) -> None:
        """Ping a quiet peer and give it up when it stays quiet."""
        while True:
            await trio.sleep(PING_SECONDS)
            quiet = trio.current_time() - self._heard
            if quiet >= DEAD_SECONDS:
                raise FetchError(f"{self.name} has said nothing for {quiet:.0f} s")
            if quiet >= PING_SECONDS:
                self._nonce += 1
                self.post(Ping(nonce=self._nonce))


def _weight(message: Message) -> int:
    return len(getattr(message, "data", b""))
