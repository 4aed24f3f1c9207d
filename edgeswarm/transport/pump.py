"""The TLS pump: an `ssl.SSLObject` between two memory BIOs and one non-blocking socket, under trio.

Theory of operation. `trio.SSLStream` serves every protocol and pays for it with a lock, a task switch and an allocation for each
record of 16 KiB. Here each call encrypts or decrypts as much as there is: `send` encrypts 64 KiB and hands the records to the
socket at once; `receive` reads 64 KiB of records and decrypts all of them into one buffer. The two buffers are shared by all pumps
of a transport, since nothing is awaited while they are in use; so an idle link costs what OpenSSL costs and no more.

Only `send` and `aclose` write to the socket. What OpenSSL wants to answer while it reads (a key update) waits for the next `send`,
which is when TLS 1.3 wants it (RFC 8446, 4.6.3); the wait is bounded, or a peer could fill the memory with key updates.

A `send` that is cancelled may have written half a record. The pump then is torn: nothing more can be sent, and the peer sees
that the stream was cut and did not end. `receive` can be cancelled at any moment and loses nothing.

Bench: `python -m bench.tls`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple, cast

import trio

from ..errors import EdgeswarmError, FetchError, LocalProtocolError, TrustError

# 64, 128 and 256 KiB are the same within noise in bench/tls.py; the memory BIOs of a link keep this much once it was busy.
SLICE_BYTES = 64 * 1024

# A key update is 27 bytes on the wire: more than two thousand that the peer did not wait for. Source: a guess.
MAX_ANSWERS_BYTES = 64 * 1024

# How long a close waits for a peer that takes nothing or does not stop sending. Source: a guess, many LAN round trips.
CLOSE_SECONDS = 1.0

_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")


class Scratch(NamedTuple):
    """The buffers that the pumps of one transport share; never used by two threads.

    Attributes:
        raw: What was read from a socket, shape (SLICE_BYTES,).
        plain: What was decrypted, shape (2 * SLICE_BYTES,): a read with the rest of the one before it fits.
    """

    raw: memoryview
    plain: memoryview


def make_scratch() -> Scratch:
    """Return the shared buffers for one transport: 192 KiB."""
    return Scratch(memoryview(bytearray(SLICE_BYTES)), memoryview(bytearray(2 * SLICE_BYTES)))


class TlsPump:
    """One TLS connection over one connected, non-blocking stdlib socket.

    One task may send while another receives. The pump owns the socket: `aclose` or `abort` it.

    Args:
        sock: Connected and non-blocking.
        context: Says which certificates are shown and wanted.
        scratch: Shared with other pumps of the same thread.
        server_side: True for the side that accepted the connection.
        name: Where the peer is, for messages.
    """

    __slots__ = (
        "_closed",
        "_ended",
        "_failure",
        "_incoming",
        "_outgoing",
        "_read",
        "_receiving",
        "_scratch",
        "_sending",
        "_sock",
        "_torn",
        "name",
        "tls",
    )

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, scratch: Scratch, *, server_side: bool, name: str) -> None:
        self.name = name
        self._sock = sock
        self._scratch = scratch
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        # With a buffer, `read` returns a count; typeshed knows only the form that returns bytes.
        self._read = cast(Callable[[int, memoryview], int], self.tls.read)
        self._sending = self._receiving = False
        self._torn = self._ended = self._closed = False
        self._failure: EdgeswarmError | None = None

    async def handshake(self) -> None:
        """Shake hands. A client that returns from here does not know yet if the server accepts its certificate.

        Raises:
            TrustError: The peer's certificate is not signed by the fleet, or the peer says so of ours.
            FetchError: The peer hangs up or does not speak TLS 1.3.
        """
        while True:
            finished = await self._handshake_step()
            await self._flush()
            if finished:
                return
            if not await self._feed():
                raise FetchError(f"{self.name} hung up during the handshake")

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`; waits while the peer is slow. After a cancelled `send` the link can only be closed.

        Raises:
            FetchError: The link is gone.
            LocalProtocolError: Another task is sending.
        """
        if self._sending:
            raise LocalProtocolError(f"two tasks send to {self.name} at the same time: one sender per link")
        self._check_open()
        self._check_whole()
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            await self._send_slices(memoryview(data).cast("B"))
        finally:
            self._sending = False

    async def receive(self) -> bytes:
        """Return the bytes that are here, at most 128 KiB, at least one; b"" when the peer closed properly.

        Raises:
            TrustError: The peer says that it does not accept our certificate.
            FetchError: The link broke; whatever came before was returned by earlier calls.
            LocalProtocolError: Another task is receiving.
        """
        if self._receiving:
            raise LocalProtocolError(f"two tasks receive from {self.name} at the same time: one receiver per link")
        self._check_open()
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while True:
                if plain := self._decrypt():
                    return plain
                if self._ended:
                    return b""
                if not await self._feed():
                    raise self._fail(FetchError(f"{self.name} cut the link without closing it"))
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        """Say goodbye and close, within a second whatever the peer does; safe to call twice; when cancelled closes at once."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            with trio.move_on_after(CLOSE_SECONDS), suppress(OSError, FetchError):
                await trio.lowlevel.checkpoint()
                await self._say_goodbye()
                await self._linger()
        finally:
            self.abort()

    def abort(self) -> None:
        """Close at once without a goodbye: the peer sees a cut link. Safe to call twice."""
        self._closed = True
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    # -- sending

    def _check_open(self) -> None:
        if self._closed:
            raise FetchError(f"the link to {self.name} was closed on this side", temporary=False)

    def _check_whole(self) -> None:
        if self._torn:
            raise FetchError(f"the link to {self.name} is broken: an earlier send did not finish")

    async def _send_slices(self, data: memoryview) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            self._encrypt(data[start : start + SLICE_BYTES])
            await self._flush()

    def _encrypt(self, plain: memoryview) -> None:
        try:
            while plain:
                plain = plain[self.tls.write(plain) :]
        except ssl.SSLError as exc:
            self._torn = True
            raise FetchError(f"the link to {self.name} broke: {exc.reason or exc}") from exc

    async def _flush(self) -> None:
        while self._outgoing.pending:
            await self._send_raw(memoryview(self._outgoing.read()))

    async def _send_raw(self, raw: memoryview) -> None:
        self._torn = True  # until the last byte is out: an exception below leaves half a record on the wire
        while raw:
            try:
                raw = raw[self._sock.send(raw) :]
            except BlockingIOError:
                await self._wait(trio.lowlevel.wait_writable)
            except OSError as exc:
                raise self._lost(exc) from exc
        self._torn = False

    # -- receiving

    def _decrypt(self) -> bytes:
        """Return what can be decrypted now; b"" for nothing, and then `_ended` tells if the peer closed."""
        if self._failure:
            raise self._failure
        plain, filled = self._scratch.plain, 0
        try:
            while filled < len(plain) and (count := self._read(len(plain) - filled, plain[filled:])):
                filled += count
            self._ended = filled < len(plain)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as exc:
            self._fail(self._explain(exc))
        if self._outgoing.pending > MAX_ANSWERS_BYTES:
            self._fail(FetchError(f"{self.name} asks for answers faster than it takes them", temporary=False))
        if not filled and self._failure:
            raise self._failure
        return bytes(plain[:filled])

    async def _feed(self) -> int:
        """Wait for bytes from the socket and give them to TLS; return how many, 0 at the end of the stream."""
        while True:
            try:
                count = self._sock.recv_into(self._scratch.raw)
            except BlockingIOError:
                await self._wait(trio.lowlevel.wait_readable)
            except OSError as exc:
                raise self._fail(self._lost(exc)) from exc
            else:
                self._incoming.write(self._scratch.raw[:count])
                return count

    def _fail(self, error: EdgeswarmError) -> EdgeswarmError:
        self._failure = self._failure or error
        return self._failure

    # -- both

    async def _wait(self, ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        try:
            await ready(self._sock)
        except trio.ClosedResourceError as exc:
            raise self._lost(exc) from exc

    def _lost(self, exc: Exception) -> FetchError:
        if self._closed:
            return FetchError(f"the link to {self.name} was closed on this side", temporary=False)
        return FetchError(f"the link to {self.name} broke: {exc}")

    async def _handshake_step(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as exc:
            with suppress(FetchError):
                await self._flush()  # the alert that tells the peer why
            raise self._explain(exc) from exc
        return True

    def _explain(self, exc: ssl.SSLError) -> EdgeswarmError:
        """Map an error of OpenSSL, at this one place."""
        if isinstance(exc, ssl.SSLCertVerificationError):
            return TrustError(f"the certificate of {self.name} is refused: {exc.verify_message}")
        reason = exc.reason or str(exc)
        if "ALERT" in reason and any(word in reason for word in _CERTIFICATE_ALERTS):
            return TrustError(f"{self.name} refuses our certificate: {reason.lower().replace('_', ' ')}")
        return FetchError(f"the link to {self.name} broke: TLS says {reason.lower().replace('_', ' ')}")

    async def _say_goodbye(self) -> None:
        """Send close_notify (RFC 8446, 6.1), unless a record is half sent: then the peer must see a cut link."""
        if self._torn or self._sending:
            return
        with suppress(ssl.SSLError):  # "want read": we do not wait for the peer's own
            self.tls.unwrap()
        await self._flush()
        self._sock.shutdown(socket.SHUT_WR)

    async def _linger(self) -> None:
        """Throw away what the peer still sends: a close with unread bytes is a reset, which loses our last words."""
        if self._receiving or self._nothing_unread():
            return
        while await self._feed():
            self._incoming.read()

    def _nothing_unread(self) -> bool:
        try:
            return not self._sock.recv_into(self._scratch.raw)
        except BlockingIOError:
            return True
