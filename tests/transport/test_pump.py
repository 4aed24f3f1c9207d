"""The pump between a hostile or broken wire and its caller; the friendly cases are in the conformance suite."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import trio

from edgeswarm.errors import FetchError
from edgeswarm.testing.fleet import SampleFleet
from edgeswarm.transport.pump import MAX_ANSWERS_BYTES, TlsPump, make_scratch
from edgeswarm.transport.tls import make_contexts

from .conftest import NOW

pytestmark = pytest.mark.net


class Wire(NamedTuple):
    """A client and a server pump with the two sockets of a man in the middle between them."""

    client: TlsPump
    server: TlsPump
    client_side: socket.socket
    server_side: socket.socket


async def forward(source: socket.socket, target: socket.socket) -> None:
    while True:
        await trio.lowlevel.wait_readable(source)
        target.sendall(source.recv(65536))


@asynccontextmanager
async def open_wire(fleet: SampleFleet) -> AsyncIterator[Wire]:
    """Shake hands through the man in the middle, who then stops forwarding."""
    server_context, client_context = make_contexts(fleet.identity("site", "node", NOW))
    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    for sock in (a, b, c, d):
        sock.setblocking(False)
    scratch = make_scratch()
    wire = Wire(
        TlsPump(a, client_context, scratch, server_side=False, name="server"),
        TlsPump(d, server_context, scratch, server_side=True, name="client"),
        b,
        c,
    )
    async with trio.open_nursery() as forwarding:
        forwarding.start_soon(forward, b, c)
        forwarding.start_soon(forward, c, b)
        async with trio.open_nursery() as shaking:
            shaking.start_soon(wire.client.handshake)
            shaking.start_soon(wire.server.handshake)
        forwarding.cancel_scope.cancel()
    try:
        yield wire
    finally:
        wire.client.abort()
        wire.server.abort()
        b.close()
        c.close()


def take(sock: socket.socket) -> bytes:
    return sock.recv(1 << 20)


async def receive_all(pump: TlsPump, received: list[bytes]) -> None:
    while piece := await pump.receive():
        received.append(piece)


async def test_bytes_before_a_forged_record_arrive(fleet: SampleFleet) -> None:
    async with open_wire(fleet) as wire:
        await wire.client.send(b"good")
        good = take(wire.client_side)
        await wire.client.send(b"evil")
        evil = bytearray(take(wire.client_side))
        evil[-1] ^= 1
        wire.server_side.sendall(good + evil)
        assert await wire.server.receive() == b"good"
        for _ in range(2):
            with pytest.raises(FetchError, match="link to client broke"):
                await wire.server.receive()


@pytest.mark.parametrize("records", [[1], [0, 0], [1, 0]], ids=["dropped", "repeated", "swapped"])
async def test_records_that_are_dropped_repeated_or_swapped(fleet: SampleFleet, records: list[int]) -> None:
    async with open_wire(fleet) as wire:
        sent = []
        for text in (b"first", b"second"):
            await wire.client.send(text)
            sent.append(take(wire.client_side))
        wire.server_side.sendall(b"".join(sent[index] for index in records))
        received: list[bytes] = []
        with pytest.raises(FetchError):
            await receive_all(wire.server, received)
        assert received in ([], [b"first"])


@pytest.mark.parametrize("keep", [0, 3, 10, -1])
async def test_truncation_anywhere_is_no_close(fleet: SampleFleet, keep: int) -> None:
    async with open_wire(fleet) as wire:
        await wire.client.send(b"whole")
        wire.server_side.sendall(take(wire.client_side)[: keep or None])
        wire.server_side.shutdown(socket.SHUT_WR)
        received: list[bytes] = []
        with pytest.raises(FetchError, match="cut the link without closing it"):
            await receive_all(wire.server, received)
        assert received == ([] if keep else [b"whole"])


async def test_data_in_the_same_read_as_the_close(fleet: SampleFleet) -> None:
    async with open_wire(fleet) as wire:
        await wire.client.send(b"last")
        await wire.client.aclose()
        wire.server_side.sendall(take(wire.client_side))
        assert [await wire.server.receive() for _ in range(3)] == [b"last", b"", b""]


async def test_a_torn_send_says_no_goodbye(fleet: SampleFleet) -> None:
    async with open_wire(fleet) as wire:
        with trio.move_on_after(0.05) as scope:
            await wire.client.send(bytes(8 << 20))
        assert scope.cancelled_caught
        with pytest.raises(FetchError, match="did not finish"):
            await wire.client.send(b"more")
        await wire.client.aclose()
        wire.server_side.sendall(take(wire.client_side)[:50_000])
        while take(wire.client_side):
            pass  # up to the end of the stream: the socket was closed
        wire.server_side.shutdown(socket.SHUT_WR)
        assert 0 < len(await wire.server.receive()) < 50_000
        with pytest.raises(FetchError, match="without closing it"):
            await wire.server.receive()


async def test_a_flood_of_key_updates_is_refused(fleet: SampleFleet) -> None:
    async with open_wire(fleet) as wire:
        # What OpenSSL would answer piles up in the outgoing BIO while nothing is sent; filled here by hand, since Python
        # cannot ask a peer for key updates.
        wire.server._outgoing.write(bytes(MAX_ANSWERS_BYTES + 1))
        with pytest.raises(FetchError, match="faster than it takes them"):
            await wire.server.receive()


async def test_a_peer_that_reset_the_connection(fleet: SampleFleet) -> None:
    async with open_wire(fleet) as wire:
        wire.client_side.close()
        with pytest.raises(FetchError, match="broke"):
            await wire.client.send(b"x")
        with pytest.raises(FetchError, match="did not finish"):
            await wire.client.send(b"x")


async def test_abort_twice_and_close_after_it(fleet: SampleFleet) -> None:
    async with open_wire(fleet) as wire:
        wire.client.abort()
        wire.client.abort()
        await wire.client.aclose()
        with pytest.raises(FetchError, match="closed on this side"):
            await wire.client.receive()
