from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trio
from cryptography import x509
from trio.testing import MockClock, wait_all_tasks_blocked

from edgeswarm.abc import Link, PeerIdentity
from edgeswarm.errors import ConfigError, ExpiredError, FetchError, TrustError
from edgeswarm.testing.fleet import SampleFleet
from edgeswarm.testing.transport import TRANSPORT_CHECKS, MakeTransport
from edgeswarm.transport import ALPN, TlsLimits, TlsTransport
from edgeswarm.transport.tls import make_contexts
from edgeswarm.trust.clock import TimeFloor, judge_certificate

from .conftest import NOW

pytestmark = pytest.mark.net


def accept_any_date(not_before: datetime, not_after: datetime) -> None:
    """Judge nothing."""


def transport(fleet: SampleFleet, node: str, site: str = "site", **options: object) -> TlsTransport:
    options.setdefault("judge", accept_any_date)
    return TlsTransport(fleet.identity(site, node, NOW), **options)  # type: ignore[arg-type]  # a test passes what it likes


@asynccontextmanager
async def serving(server: TlsTransport) -> AsyncIterator[tuple[str, trio.MemoryReceiveChannel[Link]]]:
    put, take = trio.open_memory_channel[Link](100)

    async def keep(link: Link) -> None:
        await put.send(link)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        bound = await nursery.start(server.serve, "127.0.0.1:0", keep)
        yield bound, take
        nursery.cancel_scope.cancel()


def context_of(fleet: SampleFleet, *, node: str = "raw", authority: bytes | None = None) -> ssl.SSLContext:
    """Return a client's context that shows a certificate of `fleet` and trusts `authority`."""
    identity = fleet.identity("site", node, NOW)
    context = make_contexts(identity)[1]
    if authority is not None:
        context.load_verify_locations(cadata=authority.decode())
    return context


async def shake_raw(address: str, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    host, port = address.split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    secure = trio.SSLStream(stream, context, server_hostname=None, https_compatible=False)
    try:
        await secure.do_handshake()
    except trio.BrokenResourceError:
        await trio.aclose_forcefully(secure)
        raise
    return secure


async def expect_refused(stream: trio.SSLStream[trio.SocketStream]) -> str:
    """Wait until the server hangs up without a byte; return what it said."""
    try:
        assert await stream.receive_some(100) == b""
    except trio.BrokenResourceError as exc:
        return str(exc.__cause__)
    finally:
        await trio.aclose_forcefully(stream)
    return "closed"


@pytest.fixture
def make(fleet: SampleFleet) -> MakeTransport:
    fleets = {"fleet": fleet, "other": SampleFleet.create("other", NOW)}

    def make(name: str, site: str, node: str, *, allow_sites: Sequence[str] = ()) -> TlsTransport:
        return transport(fleets[name], node, site, allow_sites=allow_sites)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("check", TRANSPORT_CHECKS, ids=lambda check: check.__name__)
async def test_conformance(check: Callable[[MakeTransport, str], Awaitable[None]], make: MakeTransport) -> None:
    with trio.fail_after(30):
        await check(make, "127.0.0.1:0")


async def test_ipv6_addresses_have_brackets(fleet: SampleFleet) -> None:
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(transport(fleet, "server").serve, "[::1]:0", trio.sleep)
        assert bound.startswith("[::1]:")
        nursery.cancel_scope.cancel()


class TestHandshakeMatrix:
    """Who gets in: one row per kind of stranger."""

    async def test_authority_of_the_same_name(self, fleet: SampleFleet, other_fleet: SampleFleet) -> None:
        async with serving(transport(fleet, "server")) as (bound, _):
            with pytest.raises(TrustError, match="certificate"):
                await transport(other_fleet, "client").connect(bound)

    async def test_server_refuses_another_authority(
        self, fleet: SampleFleet, other_fleet: SampleFleet, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        server = transport(fleet, "server")
        async with serving(server) as (bound, accepted):
            context = context_of(other_fleet, authority=fleet.authority.certificate_pem)
            said = await expect_refused(await shake_raw(bound, context))
            assert "unknown ca" in said.lower() or "decrypt error" in said.lower()
            assert server.statistics().refused == 1
            assert "refused 127.0.0.1" in caplog.text
            with pytest.raises(trio.WouldBlock):
                accepted.receive_nowait()

    async def test_client_learns_that_its_certificate_is_refused(self, fleet: SampleFleet, other_fleet: SampleFleet) -> None:
        client = transport(fleet, "client")
        # Shows the other authority's certificate and trusts ours: no honest Identity can be made to do that.
        client._client_context = context_of(other_fleet, authority=fleet.authority.certificate_pem)
        async with serving(transport(fleet, "server")) as (bound, _):
            link = await client.connect(bound)
            with pytest.raises(TrustError, match="refuses our certificate"):
                await link.receive()
            await link.aclose()

    async def test_no_certificate(self, fleet: SampleFleet) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([ALPN])
        async with serving(transport(fleet, "server")) as (bound, _):
            assert "certificate required" in (await expect_refused(await shake_raw(bound, context))).lower()

    async def test_tls_1_2(self, fleet: SampleFleet) -> None:
        context = context_of(fleet)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with serving(transport(fleet, "server")) as (bound, _):
            with pytest.raises(trio.BrokenResourceError):
                await shake_raw(bound, context)

    @pytest.mark.parametrize("protocols", [[], ["h2"], ["edgeswarm/9"]])
    async def test_another_protocol(self, fleet: SampleFleet, protocols: list[str]) -> None:
        context = context_of(fleet)
        context.set_alpn_protocols(protocols)
        async with serving(transport(fleet, "server")) as (bound, accepted):
            assert await expect_refused(await shake_raw(bound, context)) == "closed"
            with pytest.raises(trio.WouldBlock):
                accepted.receive_nowait()

    async def test_server_of_another_protocol(self, fleet: SampleFleet) -> None:
        client = transport(fleet, "client")
        client._client_context.set_alpn_protocols(["edgeswarm/9"])
        async with serving(transport(fleet, "server")) as (bound, _):
            with pytest.raises(FetchError, match="does not speak edgeswarm/1"):
                await client.connect(bound)

    async def test_expired_is_judged_by_the_caller_and_not_by_the_clock(self, fleet: SampleFleet) -> None:
        # The certificates are of 2030 to 2035. OpenSSL would compare them with the clock of this machine.
        def judge_at(now: datetime, floor: datetime) -> Callable[[datetime, datetime], None]:
            return lambda not_before, not_after: judge_certificate(not_before, not_after, now, TimeFloor(floor))

        late = judge_at(NOW, NOW + timedelta(days=3000))
        lying_clock = judge_at(datetime(1970, 1, 1, tzinfo=UTC), NOW + timedelta(days=30))
        async with serving(transport(fleet, "server")) as (bound, _):
            with pytest.raises(ExpiredError):
                await transport(fleet, "client", judge=late).connect(bound)
            await (await transport(fleet, "client", judge=lying_clock).connect(bound)).aclose()

    async def test_expired_client(self, fleet: SampleFleet) -> None:
        def judge(not_before: datetime, not_after: datetime) -> None:
            assert (not_before, not_after) == (NOW - timedelta(hours=1), NOW + timedelta(days=1825))
            raise ExpiredError("expired")

        server = transport(fleet, "server", judge=judge)
        async with serving(server) as (bound, _):
            link = await transport(fleet, "client").connect(bound)
            assert await link.receive() == b""
            await link.aclose()
        assert server.statistics().refused == 1

    async def test_revoked(self, fleet: SampleFleet) -> None:
        def admit(peer: PeerIdentity) -> None:
            if peer.node == "client":
                raise TrustError("revoked")

        async with serving(transport(fleet, "server", admit=admit)) as (bound, accepted):
            link = await transport(fleet, "client").connect(bound)
            assert await link.receive() == b""
            await link.aclose()
            link = await transport(fleet, "honest").connect(bound)
            assert (await accepted.receive()).peer.node == "honest"
            await link.aclose()

    async def test_key_is_the_hash_of_the_public_key(self, fleet: SampleFleet) -> None:
        server = transport(fleet, "server")
        async with serving(server) as (bound, _):
            link = await transport(fleet, "client").connect(bound)
            assert link.peer == replace(server.identity, address=bound)
            await link.aclose()

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x16\x03\x03\xff\xff" + bytes(70_000)])
    async def test_server_that_is_something_else(self, fleet: SampleFleet, answer: bytes) -> None:
        async def serve(stream: trio.SocketStream) -> None:
            await stream.receive_some(1)
            await stream.send_all(answer)
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, serve, 0)
            with pytest.raises(FetchError):
                await transport(fleet, "client").connect(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
            nursery.cancel_scope.cancel()

    async def test_client_that_is_something_else(self, fleet: SampleFleet) -> None:
        server = transport(fleet, "server")
        async with serving(server) as (bound, _):
            host, port = bound.split(":")
            stream = await trio.open_tcp_stream(host, int(port))
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            while await stream.receive_some(100):
                pass
            assert server.statistics().refused == 1
            await stream.aclose()


class TestLimits:
    async def test_silent_strangers_are_cut_off(self, fleet: SampleFleet, mock_clock: MockClock) -> None:
        server = transport(fleet, "server")
        async with serving(server) as (bound, _):
            host, port = bound.split(":")
            stream = await trio.open_tcp_stream(host, int(port))
            while not server.statistics().handshakes:
                await trio.lowlevel.checkpoint()
            mock_clock.jump(9.9)
            await wait_all_tasks_blocked()
            assert server.statistics().handshakes == 1
            mock_clock.jump(0.2)
            assert await stream.receive_some(1) == b""
            assert server.statistics().handshakes == 0
            await stream.aclose()

    async def test_client_gives_up_on_a_silent_server(self, fleet: SampleFleet, mock_clock: MockClock) -> None:
        reached = trio.Event()

        async def say_nothing(stream: trio.SocketStream) -> None:
            reached.set()
            await trio.sleep_forever()

        async def give_up(port: int) -> None:
            with pytest.raises(FetchError, match=r"within 10\.0 s"):
                await transport(fleet, "client").connect(f"127.0.0.1:{port}")
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, say_nothing, 0)
            nursery.start_soon(give_up, listeners[0].socket.getsockname()[1])
            await reached.wait()
            await wait_all_tasks_blocked()
            mock_clock.jump(10.1)

    @pytest.mark.slow
    async def test_honest_peer_is_served_among_300_idle_connections(self, fleet: SampleFleet) -> None:
        server = transport(fleet, "server", limits=TlsLimits(handshakes=16, handshakes_per_address=8))
        async with serving(server) as (bound, accepted):
            host, port = bound.split(":")
            idle = [await trio.open_tcp_stream(host, int(port)) for _ in range(300)]
            with trio.fail_after(5):
                link = await transport(fleet, "client").connect(bound)
                await accepted.receive()
            statistics = server.statistics()
            assert statistics.evicted >= 292
            assert statistics.handshakes <= 8
            assert statistics.links == 1
            await link.aclose()
            for stream in idle:
                await trio.aclose_forcefully(stream)

    async def test_slow_close_takes_at_most_a_second(self, fleet: SampleFleet, mock_clock: MockClock) -> None:
        async with serving(transport(fleet, "server")) as (bound, accepted), trio.open_nursery() as nursery:
            link = await transport(fleet, "client").connect(bound)
            server = await accepted.receive()
            await link.send(b"unread")  # so that the close lingers: the client neither reads nor closes
            closed = trio.Event()

            async def close() -> None:
                await server.aclose()
                closed.set()

            nursery.start_soon(close)
            await wait_all_tasks_blocked(0.01)
            mock_clock.jump(1.1)
            with trio.fail_after(5):
                await closed.wait()
            await link.aclose()


class TestIdentity:
    def test_key_of_another_node(self, fleet: SampleFleet) -> None:
        identity = fleet.identity("site", "node", NOW)
        object.__setattr__(identity, "key", fleet.identity("site", "other", NOW).key)
        with pytest.raises(ConfigError, match="do not go together"):
            TlsTransport(identity, judge=accept_any_date)

    def test_encrypted_key(self, fleet: SampleFleet) -> None:
        identity = fleet.identity("site", "node", NOW)
        object.__setattr__(identity, "key", fleet.authority.key_pem(passphrase=b"secret"))
        with pytest.raises(ConfigError, match="do not go together"):
            TlsTransport(identity, judge=accept_any_date)

    def test_certificates_are_strict(self, fleet: SampleFleet) -> None:
        for context in make_contexts(fleet.identity("site", "node", NOW)):
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.verify_flags & ssl.VERIFY_X509_STRICT
            assert context.minimum_version is ssl.TLSVersion.TLSv1_3
            assert [x509.load_der_x509_certificate(der) for der in context.get_ca_certs(binary_form=True)] == [
                fleet.authority.certificate
            ]

    async def test_no_session_can_be_resumed(self, fleet: SampleFleet) -> None:
        async with serving(transport(fleet, "server")) as (bound, accepted):
            stream = await shake_raw(bound, context_of(fleet))
            await (await accepted.receive()).send(b"x")  # a ticket would come before the first byte
            assert await stream.receive_some(1) == b"x"
            session = stream._ssl_object.session  # type: ignore[attr-defined]  # trio has no other way to ask
            assert session is None or not session.has_ticket
            await trio.aclose_forcefully(stream)
