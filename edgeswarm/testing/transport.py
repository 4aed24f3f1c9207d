"""Conformance suite of the `Transport` and `Link` ports: what the node counts on, whatever carries the bytes.

    async def test_my_transport() -> None:
        await check_transport(make_my_transport, address="127.0.0.1:0")

Works with real sockets under the real clock, and in memory under a virtual one: nothing waits for time to pass but for a quarter
of a second in which a sender must get stuck.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import NamedTuple, Protocol

import trio
import trio.testing

from ..abc import Link, Transport
from ..errors import ConfigError, EdgeswarmError, FetchError, LocalProtocolError, TrustError

# Cap of the `Link` port.
_RECEIVE_BYTES = 256 * 1024

# More than any socket buffer or window holds, so that a sender gets stuck.
_STUCK_BYTES = 32 * 1024 * 1024
_STUCK_SECONDS = 0.25

# A little more than a Linux socket takes in before anybody reads (tcp_rmem is 128 KiB by default): the rest waits at the sender.
_IN_FLIGHT_BYTES = 128 * 1024

_GUARD_SECONDS = 60.0

# Shorter than the time that a big message takes, longer than a task switch.
_BLINK_SECONDS = 0.0005


class MakeTransport(Protocol):
    """Makes transports that can reach each other."""

    def __call__(self, fleet: str, site: str, node: str, *, allow_sites: Sequence[str] = ()) -> Transport:
        """Return the transport of one node; nodes of one fleet name trust the same authority."""


class _Pair(NamedTuple):
    """Two ends of one link, and where the server listens."""

    client: Link
    server: Link
    address: str


_Check = Callable[[MakeTransport, str], Awaitable[None]]


async def check_transport(make: MakeTransport, *, address: str = "127.0.0.1:0") -> None:
    """Run every check of the suite.

    Args:
        make: Makes the transports under test.
        address: Where to listen; with port 0 for any free port.

    Raises:
        AssertionError: The transport breaks the port's contract; the message says which part. Comes in an exception group where a
            server was running.
        trio.TooSlowError: It hangs.
    """
    for check in TRANSPORT_CHECKS:
        with trio.fail_after(_GUARD_SECONDS):
            await check(make, address)


async def check_identity_and_order(make: MakeTransport, address: str) -> None:
    """Both ends know who the other is; bytes arrive in order, whatever their number."""
    async with _open_pair(make, address) as pair:
        _expect(not pair.address.endswith(":0"), "the bound address has a real port")
        names = [(link.peer.fleet, link.peer.site, link.peer.node) for link in (pair.client, pair.server)]
        _expect(names == [("fleet", "site", "server"), ("fleet", "site", "client")], f"peers are who they are, got {names}")
        _expect(pair.client.peer.key != pair.server.peer.key, "two nodes have two keys")
        _expect(len(pair.client.peer.key) == len(pair.server.peer.key) == 32, "a key is 32 bytes")
        for size in (1, 1000, 16 * 1024, 300_001, 0, 5):
            data = bytes(index % 251 for index in range(size))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.client.send, memoryview(data))
                _expect(await _receive(pair.server, size) == data, f"{size} bytes arrive as they were sent")


async def check_full_duplex(make: MakeTransport, address: str) -> None:
    """Both ends can send much more than any buffer holds, at the same time, if both receive."""
    data = bytes(range(256)) * 16_384
    async with _open_pair(make, address) as pair, trio.open_nursery() as nursery:
        for sender, receiver in ((pair.client, pair.server), (pair.server, pair.client)):
            nursery.start_soon(sender.send, data)
            nursery.start_soon(_expect_bytes, receiver, data)


async def check_clean_close(make: MakeTransport, address: str) -> None:
    """What was sent before a close arrives, then b"" for ever; a close can be repeated; a closed link refuses work."""
    async with _open_pair(make, address) as pair:
        await pair.client.send(b"last words")
        await pair.client.aclose()
        await pair.client.aclose()
        _expect(await _receive(pair.server, 10) == b"last words", "bytes before a close arrive")
        _expect(await pair.server.receive() == b"", "a proper close is b''")
        _expect(await pair.server.receive() == b"", "a proper close stays b''")
        await _expect_error(FetchError, pair.client.send, b"more")
        await _expect_error(FetchError, pair.client.receive)


async def check_close_beats_unread_bytes(make: MakeTransport, address: str) -> None:
    """A side that closes without having read everything still gets its last words through, however many are in flight."""
    words = bytes(_IN_FLIGHT_BYTES)
    said = trio.Event()

    async def say_and_close(link: Link) -> None:
        await link.send(words)
        said.set()
        await link.aclose()

    async with _open_pair(make, address) as pair:
        await pair.client.send(bytes(100_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_and_close, pair.server)
            with trio.move_on_after(_STUCK_SECONDS):  # or as much as goes before anybody reads
                await said.wait()
            await trio.testing.wait_all_tasks_blocked()
            _expect(await _receive(pair.client, len(words)) == words, "the last words arrive")
            _expect(await pair.client.receive() == b"", "and the close after them")
            await pair.client.aclose()


async def check_cut_is_no_close(make: MakeTransport, address: str) -> None:
    """A link that is closed while cancelled ends as a broken one: nobody takes a cut stream for a whole one."""
    async with _open_pair(make, address) as pair:
        await pair.client.send(b"half")
        _expect(await _receive(pair.server, 4) == b"half", "bytes arrive")
        with trio.CancelScope() as scope:
            scope.cancel()
            await pair.client.aclose()
        await _expect_error(FetchError, pair.server.receive)


async def check_cancelled_send(make: MakeTransport, address: str) -> None:
    """A sender waits for a slow peer; once it is cancelled the link is good for nothing but closing."""
    async with _open_pair(make, address) as pair:
        await _get_stuck(pair.client)
        await _expect_error(FetchError, pair.client.send, b"more")
        await pair.client.aclose()
        with trio.move_on_after(_GUARD_SECONDS / 2):
            await _expect_error(FetchError, _receive_to_the_end, pair.server)
            return
        _fail("a reader hangs on a stream that was cut")


async def check_cancelled_receive(make: MakeTransport, address: str) -> None:
    """A cancelled receive loses nothing."""
    data = bytes(range(256)) * 8192
    async with _open_pair(make, address) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(pair.client.send, data)
        got = b""
        for turn in count():
            with trio.move_on_after(turn % 3 * _BLINK_SECONDS):  # every third time it is cancelled before it starts
                got += await pair.server.receive()
            if len(got) == len(data):
                break
        _expect(got == data, "nothing is lost by cancelling receive")


async def check_one_task_per_direction(make: MakeTransport, address: str) -> None:
    """A second sender or receiver is the caller's bug, and says so."""
    async with _open_pair(make, address) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(_ignore, pair.client.send, bytes(_STUCK_BYTES))
        nursery.start_soon(_ignore, pair.client.receive)
        await trio.testing.wait_all_tasks_blocked()
        await _expect_error(LocalProtocolError, pair.client.send, b"x")
        await _expect_error(LocalProtocolError, pair.client.receive)
        nursery.cancel_scope.cancel()


async def check_close_wakes_receiver(make: MakeTransport, address: str) -> None:
    """A task that waits in receive ends with `FetchError` when another one closes the link."""
    async with _open_pair(make, address) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(_expect_error, FetchError, pair.client.receive)
        await trio.testing.wait_all_tasks_blocked()
        await pair.client.aclose()


async def check_nobody_there(make: MakeTransport, address: str) -> None:
    """A silent address is a `FetchError`; a malformed or taken one a `ConfigError`."""
    client = make("fleet", "site", "client")
    async with _open_pair(make, address) as pair:
        bound = pair.address
        serve = partial(client.serve, task_status=trio.TASK_STATUS_IGNORED)
        await _expect_error(ConfigError, serve, bound, _receive_to_the_end)
    await _expect_error(FetchError, client.connect, bound)
    for malformed in ("", "host", "host:", "host:x", "host:65536", "::1:7117"):
        await _expect_error(ConfigError, client.connect, malformed)


async def check_strangers_are_refused(make: MakeTransport, address: str) -> None:
    """Another fleet, or a site that is not allowed, gets no link, and the server goes on."""
    async with _open_server(make("fleet", "site", "server"), address) as (bound, accepted):
        for fleet, site in (("other", "site"), ("fleet", "elsewhere")):
            await _expect_error(TrustError, make(fleet, site, "stranger").connect, bound)
        link = await make("fleet", "site", "client").connect(bound)
        server = await accepted.receive()
        _expect(server.peer.node == "client", "only the honest client reaches the handler")
        await link.aclose()


async def check_refused_by_the_server(make: MakeTransport, address: str) -> None:
    """A server that does not want this client closes before its first byte; sites that both allow are let in."""
    async with _open_server(make("fleet", "site", "server", allow_sites=["friends"]), address) as (bound, accepted):
        refused = await make("fleet", "elsewhere", "client", allow_sites=["site"]).connect(bound)
        with suppress(FetchError, TrustError):  # it may also hang up, or give the reason
            _expect(await refused.receive() == b"", "no byte from a server that refuses")
        await refused.aclose()
        friend = await make("fleet", "friends", "friend", allow_sites=["site"]).connect(bound)
        _expect((await accepted.receive()).peer.node == "friend", "an allowed site is let in, and nobody before it")
        await friend.aclose()


async def check_many_links(make: MakeTransport, address: str) -> None:
    """A server takes many links at once, and closes each when its handler returns."""

    async def answer(link: Link) -> None:
        await link.send((await link.receive())[::-1])

    async def ask(bound: str, text: bytes) -> None:
        link = await make("fleet", "site", f"client{text[0]}").connect(bound)
        await link.send(text)
        _expect(await _receive_to_the_end(link) == text[::-1], "each gets its own answer, then the close")
        await link.aclose()

    async with trio.open_nursery() as servers:
        bound = await servers.start(make("fleet", "site", "server").serve, address, answer)
        async with trio.open_nursery() as clients:
            for index in range(12):
                clients.start_soon(ask, bound, bytes([index]))
        servers.cancel_scope.cancel()


async def check_cancelled_server(make: MakeTransport, address: str) -> None:
    """A server that is cancelled cuts its links and answers no more."""
    async with trio.open_nursery() as clients:
        client = make("fleet", "site", "client")
        async with _open_server(make("fleet", "site", "server"), address) as (bound, accepted):
            link = await client.connect(bound)
            await accepted.receive()
            clients.start_soon(_expect_error, FetchError, link.receive)
            await trio.testing.wait_all_tasks_blocked()
    await _expect_error(FetchError, client.connect, bound)
    await link.aclose()


TRANSPORT_CHECKS: tuple[_Check, ...] = (
    check_identity_and_order,
    check_full_duplex,
    check_clean_close,
    check_close_beats_unread_bytes,
    check_cut_is_no_close,
    check_cancelled_send,
    check_cancelled_receive,
    check_one_task_per_direction,
    check_close_wakes_receiver,
    check_nobody_there,
    check_strangers_are_refused,
    check_refused_by_the_server,
    check_many_links,
    check_cancelled_server,
)
"""The checks one by one, `await check(make, address)`, for a test runner that wants to name them."""


@asynccontextmanager
async def _open_server(transport: Transport, address: str) -> AsyncIterator[tuple[str, trio.MemoryReceiveChannel[Link]]]:
    """Serve; yield the bound address and a channel of accepted links, which live as long as the server."""
    put, take = trio.open_memory_channel[Link](100)

    async def keep(link: Link) -> None:
        await put.send(link)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        bound = await nursery.start(transport.serve, address, keep)
        yield bound, take
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_pair(make: MakeTransport, address: str) -> AsyncIterator[_Pair]:
    async with _open_server(make("fleet", "site", "server"), address) as (bound, accepted):
        client = await make("fleet", "site", "client").connect(bound)
        try:
            yield _Pair(client, await accepted.receive(), bound)
        finally:
            await client.aclose()


async def _receive(link: Link, size: int) -> bytes:
    """Return exactly `size` bytes."""
    got = b""
    while len(got) < size:
        piece = await link.receive()
        _expect(0 < len(piece) <= _RECEIVE_BYTES, f"receive returns 1 to {_RECEIVE_BYTES} bytes before the end, got {len(piece)}")
        got += piece
    _expect(len(got) == size, f"{size} bytes were sent, {len(got)} arrived")
    return got


async def _receive_to_the_end(link: Link) -> bytes:
    pieces = []
    while piece := await link.receive():
        pieces.append(piece)
    return b"".join(pieces)


async def _expect_bytes(link: Link, data: bytes) -> None:
    _expect(await _receive(link, len(data)) == data, "bytes arrive as they were sent")


async def _get_stuck(link: Link) -> None:
    """Send to a peer that does not read, until that blocks, and cancel it."""
    with trio.move_on_after(_STUCK_SECONDS) as scope:
        await link.send(bytes(_STUCK_BYTES))
    _expect(scope.cancelled_caught, "a sender waits for a peer that does not read")


async def _ignore(call: Callable[..., Awaitable[object]], *args: object) -> None:
    with suppress(EdgeswarmError):
        await call(*args)


async def _expect_error(error: type[EdgeswarmError], call: Callable[..., Awaitable[object]], *args: object) -> None:
    try:
        result = await call(*args)
    except error:
        return
    _fail(f"wanted {error.__name__} from {call}, got {result!r:.80}")


def _expect(condition: bool, what: str) -> None:
    if not condition:
        _fail(what)


def _fail(what: str) -> None:
    raise AssertionError(f"transport: {what}")
