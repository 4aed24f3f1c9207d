from __future__ import annotations

import datetime
import ssl
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from edgeswarm import __version__
from edgeswarm.errors import ConfigError, FetchError, ObjectMissingError
from edgeswarm.origin import TIMESTAMP, HttpOptions, HttpOrigin

from .servers import ScriptedServer, answer, scripted

pytestmark = pytest.mark.net

RANGE = "bytes 10-14/100"


def origin_of(server: ScriptedServer, **options: object) -> HttpOrigin:
    return HttpOrigin(server.url, HttpOptions(proxies=False, **options))  # type: ignore[arg-type]


async def collect(origin: HttpOrigin, offset: int = 10, length: int = 5, into: list[bytes] | None = None) -> bytes:
    parts = [] if into is None else into
    async with origin.stream("packs/x", offset=offset, length=length) as pieces:
        async for piece in pieces:
            parts.append(piece)
    return b"".join(parts)


def part(body: bytes = b"abcde", **headers: str) -> bytes:
    return answer(206, body, **{"content_range": RANGE, **headers})


async def test_requests_are_as_short_as_can_be() -> None:
    async with scripted(answer(200, b"hello"), part()) as server:
        origin = origin_of(server)
        assert await origin.read("manifests/x", limit=5) == b"hello"
        assert await collect(origin) == b"abcde"
        await origin.aclose()
        common = f"\r\nHost: {server.address}\r\nuser-agent: edgeswarm/{__version__}\r\naccept-encoding: identity\r\n"
        assert server.requests[0].decode() == f"GET /origin/manifests/x HTTP/1.1{common}\r\n"
        assert server.requests[1].decode() == f"GET /origin/packs/x HTTP/1.1{common}range: bytes=10-14\r\n\r\n"
        assert server.connections == 1


async def test_connections_are_kept_over_all_that_ends_well() -> None:
    scripts = [
        answer(404, b"<html>no such thing</html>"),
        part(),
        answer(503, b"later"),
        answer(302, b"moved", location="/origin/packs/y"),
        part(content_length="", transfer_encoding="chunked", body=b"5\r\nabcde\r\n0\r\n\r\n"),
        answer(200, b"{}", etag='"1"'),
        answer(304, content_length="2", etag='"1"'),
        answer(416, b"", content_range="bytes */3"),
        answer(200, b"whole"),
    ]
    async with scripted(*scripts) as server:
        origin = origin_of(server)
        with pytest.raises(ObjectMissingError):
            await origin.read("a", limit=9)
        await collect(origin)
        with pytest.raises(FetchError, match="503"):
            await origin.read("a", limit=9)
        assert await collect(origin) == b"abcde"
        for _ in range(2):
            assert await origin.read(TIMESTAMP, limit=9) == b"{}"
        with pytest.raises(FetchError, match="shorter"):
            await collect(origin)
        assert await origin.read("a", limit=9) == b"whole"
        await origin.aclose()
        assert server.connections == 1
        assert server.scripts == []


FAULTS: list[tuple[str, bytes, bool, str]] = [
    ("missing", answer(404), False, "no such object"),
    ("gone", answer(410), False, "no such object"),
    ("forbidden", answer(403), False, "credentials"),
    ("broken", answer(500, b"x" * 9000), True, "500"),
    ("busy", answer(429, retry_after="7"), True, "429"),
    ("too short", answer(416), True, "shorter"),
    ("no range header", answer(206, b"abcde"), True, "no range"),
    ("another range", part(content_range="bytes 0-4/100"), True, "bytes 0-4/100"),
    ("a clipped range", part(b"abcd", content_range="bytes 10-13/14"), True, "10-13"),
    ("a length that does not fit", part(b"abcdef"), True, "6 bytes"),
    ("nothing", b"", True, "disconnected"),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n", True, "RemoteProtocolError"),
    ("half a header", b"HTTP/1.1 206 OK\r\ncontent-ra", True, "RemoteProtocolError"),
    ("endless headers", b"HTTP/1.1 206 OK\r\n" + b"a: b\r\n" * 50_000, True, "RemoteProtocolError"),
    ("no body", part(b"", content_length="5") + b"", True, "RemoteProtocolError|stalled"),
    (
        "chunks that end too early",
        part(b"3\r\nabc\r\n0\r\n\r\n", content_length="", transfer_encoding="chunked"),
        True,
        "2 bytes too early",
    ),
    (
        "chunks that end too late",
        part(b"6\r\nabcdef\r\n0\r\n\r\n", content_length="", transfer_encoding="chunked"),
        True,
        "more than",
    ),
    ("chunks of nonsense", part(b"zz\r\n", content_length="", transfer_encoding="chunked"), True, "RemoteProtocolError"),
    ("compressed", part(content_encoding="gzip"), False, "gzip"),
    ("no ranges and too short", answer(200, b"x" * 14), True, "only 14 bytes"),
    ("a redirect to nowhere", answer(302, location="ftp://host/x"), True, "UnsupportedProtocol"),
    ("a redirect to nonsense", answer(302, location="http://[::"), True, "Invalid"),
    ("a redirect without a target", answer(302), False, "302"),
    ("unasked for", answer(304), True, "304"),
    ("no content", answer(204, content_length=""), False, "204"),
]


@pytest.mark.parametrize(("script", "temporary", "message"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
async def test_faults(script: bytes, temporary: bool, message: str) -> None:
    async def once(stream: trio.abc.Stream) -> None:
        await stream.send_all(script)

    async with scripted(once, part()) as server:
        origin = origin_of(server)
        with pytest.raises(FetchError, match=message) as caught:
            await collect(origin)
        assert caught.value.temporary == temporary
        assert f"packs/x from {server.address}" in str(caught.value)
        assert await collect(origin) == b"abcde"  # the next one is fine
        await origin.aclose()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (answer(200, b"abcdef"), "at most 5 bytes, it has 6"),
        (answer(200, b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", content_length="", transfer_encoding="chunked"), "it has more"),
        (answer(206, b"abc", content_range="bytes 0-2/9"), "206"),
        (answer(304), "304"),
    ],
)
async def test_faults_of_whole_objects(script: bytes, message: str) -> None:
    async with scripted(script) as server:
        origin = origin_of(server)
        with pytest.raises(FetchError, match=message):
            await origin.read(TIMESTAMP, limit=5)
        await origin.aclose()


async def test_what_came_before_the_link_broke_is_handed_on() -> None:
    async def broken(stream: trio.abc.Stream) -> None:
        await stream.send_all(part(b"abc", content_length="5"))

    got: list[bytes] = []
    async with scripted(broken) as server:
        origin = origin_of(server)
        with pytest.raises(FetchError) as caught:
            await collect(origin, into=got)
        assert caught.value.temporary
        assert b"".join(got) == b"abc"
        await origin.aclose()


async def test_bytes_are_handed_on_as_they_arrive() -> None:
    first_seen = trio.Event()

    async def halting(stream: trio.abc.Stream) -> None:
        await stream.send_all(part(b"ab", content_length="5"))
        await first_seen.wait()
        await stream.send_all(b"cde")

    async with scripted(halting) as server:
        origin = origin_of(server)
        async with origin.stream("packs/x", offset=10, length=5) as pieces:
            assert await anext(pieces) == b"ab"
            first_seen.set()
            assert await anext(pieces) == b"cde"
        await origin.aclose()


async def test_a_server_without_ranges() -> None:
    async with scripted(answer(200, b"0123456789abcde-and-more"), part()) as server:
        origin = origin_of(server)
        assert await collect(origin) == b"abcde"
        assert await collect(origin) == b"abcde"
        await origin.aclose()
        assert server.connections == 2  # the first one was closed rather than read to the end


@pytest.mark.parametrize("how", ["break", "cancel", "error"])
async def test_whoever_leaves_does_not_download_the_rest(how: str) -> None:
    sent = 0
    gone = trio.Event()

    async def endless(stream: trio.abc.Stream) -> None:
        nonlocal sent
        await stream.send_all(answer(206, content_range="bytes 0-99999999/100000000", content_length="100000000"))
        try:
            while sent < 100_000_000:
                await stream.send_all(bytes(65536))
                sent += 65536
        finally:
            gone.set()

    async with scripted(endless, part()) as server:
        origin = origin_of(server)
        with trio.CancelScope() as scope, suppress(KeyError):
            async with origin.stream("packs/x", offset=0, length=100_000_000) as pieces:
                async for _ in pieces:
                    if how == "break":
                        break
                    if how == "error":
                        raise KeyError
                    scope.cancel()
        with trio.fail_after(10):
            await gone.wait()
        assert sent < 20_000_000  # what the sockets of loopback hold
        assert await collect(origin) == b"abcde"
        await origin.aclose()


async def test_cancelling_before_the_answer() -> None:
    async def silent(_: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with scripted(silent, part()) as server:
        origin = origin_of(server, connections=1)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, origin)
                while not server.requests:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert await collect(origin) == b"abcde"  # its place among the connections is free again
        await origin.aclose()


@pytest.fixture
def patient_clock() -> trio.testing.MockClock:
    """Jumps when nothing happened for 0.2 s: longer than loopback and a busy machine need."""
    return trio.testing.MockClock(autojump_threshold=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 206", part(b"ab", content_length="5")])
async def test_a_stalled_link_is_given_up(beginning: bytes, patient_clock: trio.testing.MockClock) -> None:
    async def stall(stream: trio.abc.Stream) -> None:
        await stream.send_all(beginning)
        await trio.sleep_forever()

    async with scripted(stall) as server:
        origin = origin_of(server, stall_seconds=77)
        start = trio.current_time()
        with pytest.raises(FetchError, match="stalled") as caught:
            await collect(origin)
        assert caught.value.temporary
        assert 77 <= trio.current_time() - start < 79
        await origin.aclose()


async def trickle(stream: trio.abc.Stream) -> None:
    """Send a byte every 29 seconds, as long as somebody listens."""
    await stream.send_all(answer(200, content_length="100000"))
    with suppress(trio.BrokenResourceError):
        while True:
            await trio.sleep(29)
            await stream.send_all(b"x")


@pytest.mark.slow
async def test_a_link_that_trickles_is_given_up(patient_clock: trio.testing.MockClock) -> None:
    async with scripted(lambda stream: stream.send_all(answer(200, b"x" * 100)), trickle) as server:
        origin = origin_of(server)
        assert await origin.read("a", limit=100_000) == b"x" * 100
        start = trio.current_time()
        with pytest.raises(FetchError, match="slower") as caught, trio.fail_after(300):
            await origin.read("a", limit=100_000)
        assert caught.value.temporary
        assert 25 < trio.current_time() - start < 80, "4 kB/s must do: 25 s, and the pauses that a link may make"
        await origin.aclose()


async def test_nobody_there() -> None:
    async with scripted() as server:
        pass
    origin = origin_of(server)
    with pytest.raises(FetchError, match="ConnectError") as caught:
        await origin.read("a", limit=1)
    assert caught.value.temporary
    await origin.aclose()


async def test_a_pause_that_the_server_asks_for() -> None:
    async with scripted(answer(503, retry_after="30")) as server:
        origin = origin_of(server)
        with pytest.raises(FetchError) as caught:
            await origin.read("a", limit=1)
        assert caught.value.retry_after == 30
        await origin.aclose()


async def test_the_timestamp_is_asked_for_conditionally() -> None:
    scripts = [
        answer(200, b"one", etag='"1"'),
        answer(304, etag='"1"', content_length=""),
        answer(200, b"two", etag='"2"'),
        answer(200, b"three"),
        answer(200, b"four", etag='"' + "x" * 200 + '"'),
        answer(200, b"five"),
        answer(200, b"other", etag='"9"'),
        answer(200, b"other", etag='"9"'),
    ]
    async with scripted(*scripts) as server:
        origin = origin_of(server)
        got = [await origin.read(TIMESTAMP, limit=5) for _ in range(6)]
        assert got == [b"one", b"one", b"two", b"three", b"four", b"five"]
        for _ in range(2):
            await origin.read("metadata/1.root.json", limit=5)
        await origin.aclose()
        conditions = [dict(line.split(b": ", 1) for line in r.splitlines()[1:-1]).get(b"if-none-match") for r in server.requests]
        assert conditions == [None, b'"1"', b'"1"', b'"2"', None, None, None, None]


async def test_an_unchanged_timestamp_above_the_limit() -> None:
    async with scripted(answer(200, b"one", etag='"1"'), answer(304, content_length="")) as server:
        origin = origin_of(server)
        assert await origin.read(TIMESTAMP, limit=3) == b"one"
        with pytest.raises(FetchError, match="at most 2 bytes"):
            await origin.read(TIMESTAMP, limit=2)
        await origin.aclose()


async def test_redirects_are_followed_but_not_for_ever() -> None:
    hop = answer(307, location="/elsewhere/x")
    async with scripted(*[hop] * 5, part(), *[hop] * 6) as server:
        origin = origin_of(server)
        assert await collect(origin) == b"abcde"
        assert server.requests[5].startswith(b"GET /elsewhere/x ")
        assert b"range: bytes=10-14\r\n" in server.requests[5]
        with pytest.raises(FetchError, match="more than 5 redirects") as caught:
            await collect(origin)
        assert not caught.value.temporary
        await origin.aclose()


async def test_what_is_meant_for_one_server_is_not_told_to_another() -> None:
    async with scripted(part()) as other:
        async with scripted(answer(302, location="/here"), answer(302, location=f"{other.url}x")) as server:
            url = server.url.replace("http://", "http://user:pass%20word@")
            origin = HttpOrigin(url, HttpOptions(proxies=False, headers={"x-api-key": "secret"}))
            assert await collect(origin) == b"abcde"
            await origin.aclose()
        for request in server.requests:
            assert b"authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n" in request
            assert b"x-api-key: secret\r\n" in request
        assert b"authorization" not in other.requests[0].lower()
        assert b"x-api-key" not in other.requests[0].lower()


async def test_a_redirect_does_not_make_us_read_its_body() -> None:
    async def endless(stream: trio.abc.Stream) -> None:
        await stream.send_all(answer(302, location="/elsewhere", content_length=str(10**12)))
        while True:  # until the link breaks, which ends this connection
            await stream.send_all(bytes(65536))

    async with scripted(endless, part()) as server:
        origin = origin_of(server)
        assert await collect(origin) == b"abcde"
        await origin.aclose()


async def test_cookies_are_not_kept() -> None:
    async with scripted(answer(200, b"", set_cookie="track=me; path=/"), answer(200, b"")) as server:
        origin = origin_of(server)
        for _ in range(2):
            await origin.read("a", limit=0)
        await origin.aclose()
        assert b"cookie" not in server.requests[1].lower()


async def test_a_secret_is_not_shown() -> None:
    async with scripted(answer(500)) as server:
        origin = HttpOrigin(server.url.replace("http://", "http://user:hunter2@"), HttpOptions(proxies=False))
        with pytest.raises(FetchError) as caught:
            await origin.read("a", limit=1)
        await origin.aclose()
    assert "hunter2" not in f"{caught.value} {origin!r}"


async def test_proxies_of_the_environment_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(answer(200, b"by proxy")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        for name in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        origin = HttpOrigin("http://origin.invalid/")
        assert await origin.read("a", limit=9) == b"by proxy"
        await origin.aclose()
        assert proxy.requests[0].startswith(b"GET http://origin.invalid/a HTTP/1.1\r\n")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test origin")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


async def test_tls_is_verified(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = ScriptedServer(answer(200, b"private"))

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with suppress(ssl.SSLError, OSError):
            await server.handle(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1"))
        port = listeners[0].transport_listener.socket.getsockname()[1]
        trusting = HttpOrigin(f"https://localhost:{port}/", HttpOptions(proxies=False, ca_file=str(certificate)))
        assert await trusting.read("a", limit=9) == b"private"
        await trusting.aclose()
        strict = HttpOrigin(f"https://localhost:{port}/", HttpOptions(proxies=False))
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            await strict.read("a", limit=9)
        await strict.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "url", ["http://", "ftp://host/", "host/path", "http://host/?a", "http://host/#a", "http://[::/", "http://host:99999/"]
)
def test_malformed_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="origin URL"):
        HttpOrigin(url)


@pytest.mark.parametrize(
    "options",
    [
        {"stall_seconds": 0},
        {"connect_seconds": -1},
        {"connections": 0},
        {"headers": {"a": "b\r\nc: d"}},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "ü"}},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="http origin"):
        HttpOptions(**options)  # type: ignore[arg-type]


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nonsense")
    for name in ("missing.pem", "bad.pem"):
        with pytest.raises(ConfigError, match=name):
            HttpOrigin("https://host/", HttpOptions(ca_file=str(tmp_path / name)))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigError, match=r"edgeswarm\[http\]"):
        HttpOrigin("http://host/")


@pytest.mark.slow
def test_the_http_client_is_loaded_only_when_needed() -> None:
    code = "import edgeswarm.origin, sys; print([name for name in ('httpx', 'h11', 'httpcore', 'ssl') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "httpx" not in loaded
    assert "h11" not in loaded
