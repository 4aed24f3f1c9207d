"""Links over TLS 1.3 with certificates on both sides, checked against the authority of one fleet and nothing else.

Theory of operation. OpenSSL checks the chain to the fleet's authority and every rule of RFC 5280 but the dates; the dates go to
the caller's `judge`, which knows how far the clock can be trusted. Then the certificate's name must be of our fleet and of an
allowed site. Host names are not checked: nodes move between addresses.

In TLS 1.3 the client is done before the server has looked at its certificate. A link that `connect` returns therefore counts as up
only after the first byte from the server; a server that refuses us shows as `TrustError` or b"" from the first `receive`.

There is no resumption: a ticket would outlive a revocation, and a full handshake costs 1.7 ms for both ends.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import trio

from ..abc import Link, PeerIdentity, Started
from ..address import join_address, split_address
from ..errors import ConfigError, EdgeswarmError, FetchError, TrustError
from .admission import Admit, check_membership
from .gate import HandshakeGate
from .pump import TlsPump, make_scratch

if TYPE_CHECKING:  # both load a good part of `cryptography`, which a test with links in memory does not need
    from ..trust.authority import CertificateIdentity
    from ..trust.bundle import Identity

ALPN = "edgeswarm/1"
"""The protocol that a link speaks, as ALPN (RFC 7301) names it: the 1 changes when the frames do."""

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; Python has no name for it.
_NO_CHECK_TIME = 0x200000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsLimits:
    """What strangers may cost.

    Attributes:
        handshake_seconds: From the first packet to the end of the handshake, at either end. Source: a guess, ten round trips of a
            bad radio link.
        handshakes: Handshakes that a server has in the works at the same time. Source: a guess; about 3 MiB of memory.
        handshakes_per_address: The same for one address; several nodes may share one. Source: a guess.
    """

    handshake_seconds: float = 10.0
    handshakes: int = 128
    handshakes_per_address: int = 32


@dataclass(frozen=True, slots=True)
class TlsStatistics:
    """What a transport has seen.

    Attributes:
        handshakes: Handshakes in the works.
        links: Links accepted that are up.
        accepted: Handshakes that a server finished.
        refused: Handshakes that a server ended for any reason, evicted ones too.
        evicted: Handshakes that were pushed out by newer ones.
    """

    handshakes: int
    links: int
    accepted: int
    refused: int
    evicted: int


class TlsLink:
    """A `Link` over one TLS connection."""

    __slots__ = ("_pump", "peer")

    def __init__(self, pump: TlsPump, peer: PeerIdentity) -> None:
        self._pump = pump
        self.peer = peer

    async def send(self, data: bytes | memoryview) -> None:
        """See `Link.send`; also raises `LocalProtocolError` for a second sender. After a cancelled `send` only `aclose` is left."""
        await self._pump.send(data)

    async def receive(self) -> bytes:
        """See `Link.receive`; also raises `TrustError` when the peer refuses our certificate. Can be cancelled without loss."""
        return await self._pump.receive()

    async def aclose(self) -> None:
        """See `Link.aclose`; takes at most a second."""
        await self._pump.aclose()


class TlsTransport:
    """A `Transport` over TLS 1.3 and TCP.

    For one thread: its links share buffers.

    Args:
        identity: This node's key, certificate and the authority of its fleet.
        judge: Called with a peer's `not_before` and `not_after`; raises `TrustError` or `ExpiredError`.
        allow_sites: Names of other sites whose nodes are let in.
        admit: Called with each peer that is otherwise fine; raises `TrustError` to refuse it.
        limits: What strangers may cost.

    Raises:
        ConfigError: Key, certificate and authority do not go together.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        judge: Callable[[datetime, datetime], None],
        allow_sites: Sequence[str] = (),
        admit: Admit | None = None,
        limits: TlsLimits | None = None,
    ) -> None:
        self._limits = limits or TlsLimits()
        self._judge = judge
        self._admit = admit
        self._allow_sites = tuple(allow_sites)
        self._scratch = make_scratch()
        self._gate = HandshakeGate(self._limits.handshakes, self._limits.handshakes_per_address)
        self._links = self._accepted = self._refused = 0
        self._server_context, self._client_context = make_contexts(identity)
        self._own = _peer_of(identity.names, "here")

    @property
    def identity(self) -> PeerIdentity:
        """Who this node is, as its own certificate says; the address is "here"."""
        return self._own

    def statistics(self) -> TlsStatistics:
        """Return what this transport has seen so far."""
        return TlsStatistics(len(self._gate), self._links, self._accepted, self._refused, self._gate.evicted)

    async def serve(
        self, address: str, handler: Callable[[Link], Awaitable[object]], *, task_status: Started = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See `Transport.serve`. A link is closed when its handler returns; an error that leaves a handler ends the server.

        Raises:
            ConfigError: The address is malformed, or cannot be listened at.
        """
        host, port = split_address(address)
        try:
            listeners = await trio.open_tcp_listeners(port, host=host or None)
        except OSError as exc:
            raise ConfigError(f"cannot listen at {address}: {exc}") from exc
        bound = listeners[0].socket.getsockname()
        async with trio.open_nursery() as nursery:
            task_status.started(join_address(bound[0], bound[1]))
            await trio.serve_listeners(partial(self._greet, handler), listeners, handler_nursery=nursery)

    async def connect(self, address: str) -> TlsLink:
        """See `Transport.connect`. The link counts as up only after the first byte from the peer.

        Raises:
            TrustError: The peer's certificate is not one of this fleet, is expired, or of a site that is not allowed.
            FetchError: Nobody answers there in time, or what answers does not speak this protocol.
            ConfigError: The address is malformed.
        """
        host, port = split_address(address)
        with trio.move_on_after(self._limits.handshake_seconds):
            try:
                stream = await trio.open_tcp_stream(host, port)
            except (OSError, ValueError) as exc:  # ValueError: a name that no resolver takes
                raise FetchError(f"no connection to {address}: {exc}") from exc
            return await self._shake(take_socket(stream), address, server_side=False)
        raise FetchError(f"no link to {address} within {self._limits.handshake_seconds} s")

    async def _greet(self, handler: Callable[[Link], Awaitable[object]], stream: trio.SocketStream) -> None:
        """Take one accepted connection through the handshake to its handler."""
        link = await self._accept(stream)
        if link is None:
            self._refused += 1
            return
        self._accepted += 1
        self._links += 1
        try:
            await handler(link)
        finally:
            self._links -= 1
            await link.aclose()

    async def _accept(self, stream: trio.SocketStream) -> TlsLink | None:
        sock = take_socket(stream)
        try:
            host, port = sock.getpeername()[:2]
        except OSError:  # gone already
            sock.close()
            return None
        name = join_address(host, port)
        with trio.move_on_after(self._limits.handshake_seconds) as scope, self._gate.slot(host, scope):
            try:
                return await self._shake(sock, name, server_side=True)
            except EdgeswarmError as exc:
                _log.info("refused %s: %s", name, exc)
                return None
        _log.info("refused %s: no handshake within %s s, or pushed out by newer ones", name, self._limits.handshake_seconds)
        return None

    async def _shake(self, sock: socket.socket, name: str, *, server_side: bool) -> TlsLink:
        """Shake hands and check who the peer is; the socket is closed if anything is wrong."""
        pump: TlsPump | None = None
        try:
            context = self._server_context if server_side else self._client_context
            pump = TlsPump(sock, context, self._scratch, server_side=server_side, name=name)
            await pump.handshake()
            return TlsLink(pump, self._check_peer(pump))
        except EdgeswarmError:
            if pump is not None:
                await pump.aclose()
            raise
        except BaseException:
            if pump is not None:
                pump.abort()
            sock.close()
            raise

    def _check_peer(self, pump: TlsPump) -> PeerIdentity:
        if pump.tls.selected_alpn_protocol() != ALPN:
            raise FetchError(f"{pump.name} does not speak {ALPN}", temporary=False)
        certificate = pump.tls.getpeercert(binary_form=True)
        if certificate is None:  # OpenSSL was told to demand one
            raise TrustError(f"{pump.name} showed no certificate")
        named = _read_certificate(certificate)
        peer = _peer_of(named, pump.name)
        check_membership(self._own, peer, self._allow_sites)
        self._judge(named.not_before, named.not_after)
        if self._admit is not None:
            self._admit(peer)
        return peer


def make_contexts(identity: Identity) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of the accepting and of the connecting side.

    Raises:
        ConfigError: Key, certificate and authority do not go together.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VerifyFlags(_NO_CHECK_TIME)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.options |= ssl.OP_NO_TICKET
        context.set_alpn_protocols([ALPN])
        _load(context, identity)
    server.num_tickets = 0
    return server, client


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    try:
        context.load_verify_locations(cadata=identity.authority.decode("ascii"))
        with _as_file(identity.key + b"\n" + identity.certificate) as path:
            # The password keeps OpenSSL from asking on the terminal for an encrypted key.
            context.load_cert_chain(path, password="")
    except (ssl.SSLError, OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"identity: key, certificate and authority do not go together: {exc}") from exc


@contextmanager
def _as_file(pem: bytes) -> Iterator[str]:
    """Lend bytes to a function that takes a path only: in memory where the system can, so that no key is written to a disk."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        fd = os.memfd_create("edgeswarm-identity")
        with open(fd, "wb") as file:
            file.write(pem)
            file.flush()
            yield f"/proc/self/fd/{fd}"
        return
    with tempfile.NamedTemporaryFile() as named:
        named.write(pem)
        named.flush()
        yield named.name


def _read_certificate(certificate: bytes) -> CertificateIdentity:
    """Return what a certificate (DER) says; loads cryptography.x509 on first use."""
    from ..trust.authority import identity_of

    return identity_of(certificate)


def _peer_of(named: CertificateIdentity, address: str) -> PeerIdentity:
    return PeerIdentity(named.fleet, named.site, named.node, named.spki_sha256, address)


def _socket_options() -> Iterator[tuple[int, int, int]]:
    """Yield what makes a dead peer noticed: probes after 20 s of silence, cut after 30 s without acknowledgement. Source: guesses.

    The protocol's own pings are faster; this is for links that nobody watches.
    """
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    yield socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000)):
        if option := getattr(socket, name, None):
            yield socket.IPPROTO_TCP, option, value


def take_socket(stream: trio.SocketStream) -> socket.socket:
    """Return the socket of a trio stream, non-blocking and with our options; the stream is empty afterwards."""
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    with suppress(OSError):  # a connection that is gone already takes no options; the first read says so
        for level, option, value in _socket_options():
            sock.setsockopt(level, option, value)
    return sock
