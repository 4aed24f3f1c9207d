"""A web server for one origin folder: `edgeswarm serve-origin`, the demonstration, the tests. HTTP/1.1 on trio.

Framing is h11's, which comes with the extras `http` and `cli`; no other module of this folder imports this one.
GET and HEAD, single ranges, entity tags, kept connections. Every other web server does as well; this one needs no set-up. Each
connection is one task; what a client can make it hold is bounded by `ServerLimits`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import h11
import trio

from ..address import join_address, split_address
from ..errors import ConfigError, FetchError, ObjectMissingError
from .names import TIMESTAMP, is_name
from .ranges import ByteRange, parse_range
from .static import StaticObject, open_object

_PIECE_BYTES = 64 * 1024  # What one send deadline is about.
_BLOCK_BYTES = 1024 * 1024  # What one hop to a thread reads: a hop costs 116 us (ARCHITECTURE.md).
_HEADER_BYTES = 16 * 1024  # Same as the default of h11 and of most servers.
_RECEIVE_BYTES = 16 * 1024
_NOTHING = ByteRange(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a client may hold, and how long.

    Attributes:
        idle_seconds: Wait for the next request on a kept connection; nginx has 75 too.
        header_seconds: Wait for the rest of a request once it began (against slow senders).
        send_seconds: Wait for a client to take 64 KiB; 60 s are 8.7 kbit/s.
        connections: Connections at once; more are closed at once.
    """

    idle_seconds: float = 75.0
    header_seconds: float = 10.0
    send_seconds: float = 60.0
    connections: int = 512


class Served(NamedTuple):
    """One request and what it was answered.

    Attributes:
        method: As sent by the client.
        name: Name of the object, or the raw target where it names none.
        status: Of the answer.
        offset: Of the first byte of the body within the object.
        length: Bytes of the object that the answer carries (a HEAD: would carry).
    """

    method: str
    name: str
    status: int
    offset: int
    length: int


async def serve_origin(
    folder: str,
    address: str,
    *,
    on_request: Callable[[Served], None] | None = None,
    limits: ServerLimits | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a folder over HTTP until cancelled; all connections are closed then.

    Args:
        folder: The origin.
        address: `host:port` to listen at; port 0 takes a free one, an empty host all interfaces.
        on_request: Called once for each request, before the body is sent; must not block.
        limits: What a client may hold.
        task_status: Is started with the bound `host:port`.

    Raises:
        ConfigError: The address is malformed or taken.
    """
    host, port = split_address(address, "listen")
    try:
        listeners = await trio.open_tcp_listeners(port, host=host or None)
    except OSError as exc:
        raise ConfigError(f"cannot listen at {address}: {exc.strerror or exc}") from exc
    server = _Server(folder, on_request or _ignore, limits or ServerLimits())
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, server.handle, listeners))
        bound = listeners[0].socket.getsockname()
        task_status.started(join_address(bound[0], bound[1]))


def _ignore(_: Served) -> None:
    """Take no note."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What to send: a status, headers, and some bytes of an open object or a short text."""

    status: int
    headers: list[tuple[str, str]]
    part: ByteRange = _NOTHING
    text: bytes = b""


class _Server:
    """Serves connections; holds nothing but counts of them."""

    def __init__(self, folder: str, on_request: Callable[[Served], None], limits: ServerLimits) -> None:
        self._folder = folder
        self._on_request = on_request
        self._limits = limits
        self._places = trio.CapacityLimiter(limits.connections)

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; never raises for what the client does."""
        async with stream:
            try:
                self._places.acquire_on_behalf_of_nowait(stream)
            except trio.WouldBlock:
                return
            try:
                await self._converse(_Wire(stream, self._limits))
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                pass  # the client went away, or is too slow to be waited for
            finally:
                self._places.release_on_behalf_of(stream)

    async def _converse(self, wire: _Wire) -> None:
        try:
            while (request := await wire.next_request()) is not None:
                await self._respond(wire, request)
                if not wire.next_cycle():
                    return
        except h11.RemoteProtocolError as exc:
            await wire.refuse(exc.error_status_hint)

    async def _respond(self, wire: _Wire, request: h11.Request) -> None:
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
        method = request.method.decode("ascii")
        name = _name_of(request.target)
        found, failure = None, _error(405, ("allow", "GET, HEAD"))
        if method in ("GET", "HEAD"):
            found, failure = await trio.to_thread.run_sync(_find, self._folder, name)
        try:
            answer = failure if found is None else _answer(found, headers)
            self._on_request(Served(method, name, answer.status, *answer.part))
            await wire.send_head(answer)
            if method != "HEAD":
                await wire.send_body(answer, found)
            await wire.end()
        finally:
            if found is not None:
                found.close()


class _Wire:
    """One connection: bytes below, h11's events above."""

    def __init__(self, stream: trio.SocketStream, limits: ServerLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADER_BYTES)

    async def next_request(self) -> h11.Request | None:
        """Return the next request, read to its end; None when the client has gone or says nothing."""
        request = None
        with trio.move_on_after(self._limits.idle_seconds) as scope:
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    data = await self._stream.receive_some(_RECEIVE_BYTES)
                    self._h11.receive_data(data)
                    # From the first byte on the shorter deadline counts, and it is not moved by further bytes.
                    scope.deadline = min(scope.deadline, trio.current_time() + self._limits.header_seconds)
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.EndOfMessage):
                    return request
                elif isinstance(event, h11.ConnectionClosed):
                    return None
        return None

    def next_cycle(self) -> bool:
        """Get ready for another request; tell if there can be one."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def send_head(self, answer: _Answer) -> None:
        """Send status and headers."""
        headers = [*answer.headers, ("date", formatdate(time.time(), usegmt=True))]
        await self._send(
            self._h11.send(h11.Response(status_code=answer.status, headers=headers, reason=HTTPStatus(answer.status).phrase))
        )

    async def send_body(self, answer: _Answer, found: StaticObject | None) -> None:
        """Send the text, or the part of the object; an object that became shorter breaks the connection."""
        if answer.text:
            await self._send_data(answer.text)
        offset, left = answer.part
        while left and found is not None:
            block = await _read(found, offset, min(left, _BLOCK_BYTES))
            for start in range(0, len(block), _PIECE_BYTES):
                await self._send_data(memoryview(block)[start : start + _PIECE_BYTES])
            offset += len(block)
            left -= len(block)

    async def end(self) -> None:
        """End the message."""
        self._h11.send(h11.EndOfMessage())  # no bytes: every body of ours has a length
        await trio.lowlevel.checkpoint()

    async def refuse(self, status: int) -> None:
        """Answer a request that is no HTTP, if that is still possible."""
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = _error(status, ("connection", "close"))
            await self.send_head(answer)
            await self.send_body(answer, None)

    async def _send_data(self, data: bytes | memoryview) -> None:
        # Passed through, h11 counts the bytes and copies none.
        for part in self._h11.send_with_data_passthrough(h11.Data(data=data)) or ():  # type: ignore[arg-type]  # h11 says bytes, means buffers
            await self._send(part)

    async def _send(self, data: bytes | None) -> None:
        with trio.fail_after(self._limits.send_seconds):
            await self._stream.send_all(data or b"")


async def _read(found: StaticObject, offset: int, length: int) -> bytes:
    try:
        block = await trio.to_thread.run_sync(found.read, offset, length)
    except FetchError as exc:
        raise trio.BrokenResourceError from exc
    if not block:
        raise trio.BrokenResourceError
    return block


def _name_of(target: bytes) -> str:
    """Return the object name that a request target means, or the target where it means none."""
    text = target.decode("latin-1")
    name = unquote(urlsplit(text).path, errors="replace").removeprefix("/")
    return name if is_name(name) else text


def _find(folder: str, name: str) -> tuple[StaticObject | None, _Answer]:
    """Open what a request names; blocking. The answer is the failure, and of no use otherwise."""
    try:
        found = open_object(folder, name) if is_name(name) else None
    except ObjectMissingError:
        found = None
    except FetchError:
        return None, _error(503, ("retry-after", "30"))
    return found, _error(404)


def _error(status: int, *headers: tuple[str, str]) -> _Answer:
    text = f"{status} {HTTPStatus(status).phrase}\n".encode()
    return _Answer(status, [("content-length", str(len(text))), *headers], text=text)


def _answer(found: StaticObject, headers: dict[str, str]) -> _Answer:
    """Decide between 200, 206, 304 and 416. Source: RFC 9110, sections 13.2.2 and 14.2."""
    # Objects never change, but for one: a cache between here and the sites may keep them for ever.
    lasting = ("cache-control", "no-cache" if found.name == TIMESTAMP else "max-age=31536000, immutable")
    common = [("etag", found.etag), lasting]
    if _matches(headers.get("if-none-match", ""), found.etag):
        return _Answer(304, common)
    part = None
    if "range" in headers and headers.get("if-range", found.etag) == found.etag:
        part = parse_range(headers["range"], found.size)
    common.append(("accept-ranges", "bytes"))
    if part is None:
        return _Answer(200, [*common, ("content-length", str(found.size))], ByteRange(0, found.size))
    if not part.length:
        return _error(416, ("content-range", f"bytes */{found.size}"))
    span = f"bytes {part.offset}-{part.offset + part.length - 1}/{found.size}"
    return _Answer(206, [*common, ("content-length", str(part.length)), ("content-range", span)], part)


def _matches(condition: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in condition.split(",")]
    return "*" in tags or etag in tags
