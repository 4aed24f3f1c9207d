from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from edgeswarm.errors import ConfigError
from edgeswarm.origin.server import Served, ServerLimits, serve_origin

from .servers import our_server, write_objects

pytestmark = pytest.mark.net

BODY = bytes(range(100))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    write_objects(folder, {"packs/x": BODY, "metadata/timestamp.json": b"{}", "empty": b""})
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / ".lock").write_bytes(b"1")
    return folder


async def connect(address: str) -> trio.SocketStream:
    host, port = address.split(":")
    return await trio.open_tcp_stream(host, int(port))


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([data async for data in stream])


async def ask(address: str, *lines: str) -> tuple[int, dict[str, str], bytes]:
    """Send one request on its own connection; return status, headers and body."""
    async with await connect(address) as stream:
        await stream.send_all("\r\n".join([*lines, "host: x", "connection: close", "", ""]).encode("latin-1"))
        head, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}, body


async def test_a_whole_object(root: Path) -> None:
    seen: list[Served] = []
    async with our_server(root, seen=seen) as address:
        status, headers, body = await ask(address, "GET /packs/x HTTP/1.1")
    assert (status, body) == (200, BODY)
    assert headers["content-length"] == "100"
    assert headers["accept-ranges"] == "bytes"
    assert headers["cache-control"] == "max-age=31536000, immutable"
    assert headers["date"].endswith(" GMT")
    assert set(headers) == {"content-length", "accept-ranges", "cache-control", "date", "etag", "connection"}
    assert seen == [Served("GET", "packs/x", 200, 0, 100)]


@pytest.mark.parametrize(
    ("header", "status", "first", "last"),
    [
        ("bytes=0-9", 206, 0, 9),
        ("bytes=90-500", 206, 90, 99),
        ("bytes=-1", 206, 99, 99),
        ("bytes=5-", 206, 5, 99),
        ("bytes=0-1,5-6", 200, 0, 99),
        ("nonsense", 200, 0, 99),
    ],
)
async def test_ranges(root: Path, header: str, status: int, first: int, last: int) -> None:
    async with our_server(root) as address:
        got, headers, body = await ask(address, "GET /packs/x HTTP/1.1", f"Range: {header}")
    assert (got, body) == (status, BODY[first : last + 1])
    assert headers.get("content-range") == (f"bytes {first}-{last}/100" if status == 206 else None)


@pytest.mark.parametrize(("name", "header"), [("packs/x", "bytes=100-"), ("packs/x", "bytes=-0"), ("empty", "bytes=0-0")])
async def test_a_range_behind_the_end(root: Path, name: str, header: str) -> None:
    async with our_server(root) as address:
        status, headers, _ = await ask(address, f"GET /{name} HTTP/1.1", f"range: {header}")
    assert status == 416
    assert headers["content-range"] == ("bytes */100" if name == "packs/x" else "bytes */0")


async def test_head_sends_no_body(root: Path) -> None:
    async with our_server(root) as address:
        for target, status, length in (("/packs/x", 200, "100"), ("/missing", 404, "14")):
            got, headers, body = await ask(address, f"HEAD {target} HTTP/1.1")
            assert (got, headers["content-length"], body) == (status, length, b"")


async def test_entity_tags(root: Path) -> None:
    async with our_server(root) as address:
        etag = (await ask(address, "GET /metadata/timestamp.json HTTP/1.1"))[1]["etag"]
        for condition in (etag, f'"other", W/{etag}', "*"):
            status, headers, body = await ask(address, "GET /metadata/timestamp.json HTTP/1.1", f"if-none-match: {condition}")
            assert (status, headers["etag"], headers["cache-control"], body) == (304, etag, "no-cache", b"")
        status, _, body = await ask(address, "GET /metadata/timestamp.json HTTP/1.1", 'if-none-match: "other"')
        assert (status, body) == (200, b"{}")
        (root / "metadata/new").write_bytes(b"{ }")
        os.replace(root / "metadata/new", root / "metadata/timestamp.json")
        status, headers, body = await ask(address, "GET /metadata/timestamp.json HTTP/1.1", f"if-none-match: {etag}")
        assert (status, body) == (200, b"{ }")
        assert headers["etag"] != etag


async def test_a_range_of_another_version_is_not_sent(root: Path) -> None:
    async with our_server(root) as address:
        etag = (await ask(address, "HEAD /packs/x HTTP/1.1"))[1]["etag"]
        assert (await ask(address, "GET /packs/x HTTP/1.1", "range: bytes=0-4", f"if-range: {etag}"))[0] == 206
        assert (await ask(address, "GET /packs/x HTTP/1.1", "range: bytes=0-4", 'if-range: "old"'))[2] == BODY


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/missing",
        "/packs",
        "/packs/",
        "/out",
        "/.lock",
        "/../secret",
        "/packs/../../secret",
        "/%2e%2e/secret",
        "/packs/%2e%2e/%2e%2e/secret",
        "/..%2fsecret",
        "//etc/passwd",
        "/packs/x%00",
        "/packs/x/",
        "/" + "a" * 5000,
        "*",
    ],
)
async def test_nothing_else_is_served(root: Path, target: str) -> None:
    async with our_server(root) as address:
        status, _, body = await ask(address, f"GET {target} HTTP/1.1")
    assert status == 404
    assert b"secret" not in body


@pytest.mark.parametrize("target", ["/packs/x?version=2", "http://host:80/packs/x", "/packs/%78"])
async def test_other_ways_to_write_a_target(root: Path, target: str) -> None:
    async with our_server(root) as address:
        assert (await ask(address, f"GET {target} HTTP/1.1"))[2] == BODY


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "BREW"])
async def test_other_methods_are_refused(root: Path, method: str) -> None:
    async with our_server(root) as address:
        status, headers, _ = await ask(address, f"{method} /packs/x HTTP/1.1")
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(("request_", "status"), [(b"hello\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\na: " + b"b" * 20_000, b"431")])
async def test_what_is_no_request_is_refused(root: Path, request_: bytes, status: bytes) -> None:
    async with our_server(root) as address, await connect(address) as stream:
        await stream.send_all(request_)
        try:
            got = await read_all(stream)
        except trio.BrokenResourceError:  # it hung up while we were still sending
            return
        assert got.startswith(b"HTTP/1.1 " + status)


async def test_a_connection_is_kept(root: Path) -> None:
    async with our_server(root) as address, await connect(address) as stream:
        request = b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n"
        for name, end in ((b"packs/x", BODY), (b"missing", b"404 Not Found\n"), (b"empty", b"\r\n\r\n"), (b"packs/x", BODY)):
            await stream.send_all(request % name)
            got = b""
            while not got.endswith(end):
                got += await stream.receive_some()
        await stream.send_all(request % b"packs/x" + request % b"missing" + request % b"empty")  # sent ahead
        got = b""
        while got.count(b"HTTP/1.1 ") < 3:
            got += await stream.receive_some()
        await stream.send_eof()
        got += await read_all(stream)
        assert [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


async def test_a_large_object(root: Path) -> None:
    data = os.urandom(3_000_001)
    write_objects(root, {"packs/large": data})
    async with our_server(root) as address:
        assert (await ask(address, "GET /packs/large HTTP/1.1"))[2] == data
        assert (await ask(address, "GET /packs/large HTTP/1.1", "range: bytes=1048575-2097153"))[2] == data[1048575:2097154]


async def test_an_object_that_becomes_shorter_breaks_the_connection(root: Path) -> None:
    write_objects(root, {"packs/large": bytes(30_000_000)})
    async with our_server(root) as address, await connect(address) as stream:
        await stream.send_all(b"GET /packs/large HTTP/1.1\r\nhost: x\r\n\r\n")
        await stream.receive_some(10)
        os.truncate(root / "packs/large", 100)
        got = await read_all(stream)
        assert len(got) < 30_000_000
        # The server is well.
        assert (await ask(address, "GET /packs/x HTTP/1.1"))[2] == BODY


async def test_a_folder_that_is_gone(root: Path) -> None:
    async with our_server(root / "packs" / "unmounted") as address:
        status, headers, _ = await ask(address, "GET /packs/x HTTP/1.1")
    assert status == 503
    assert headers["retry-after"] == "30"


async def test_no_file_stays_open(root: Path) -> None:
    async with our_server(root) as address:
        before = len(os.listdir("/proc/self/fd"))
        for request in ("GET /packs/x", "HEAD /packs/x", "GET /out", "GET /packs", "POST /packs/x"):
            await ask(address, f"{request} HTTP/1.1")
        async with await connect(address):
            await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def patient_clock() -> trio.testing.MockClock:
    """Jumps when nothing happened for 0.1 s: longer than loopback needs."""
    return trio.testing.MockClock(autojump_threshold=0.1)


@pytest.mark.parametrize(
    ("sent", "seconds"), [(b"", 75), (b"GET / HT", 10), (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n", 10)]
)
async def test_a_client_that_says_nothing_is_left(
    root: Path, sent: bytes, seconds: float, patient_clock: trio.testing.MockClock
) -> None:
    async with our_server(root) as address, await connect(address) as stream:
        start = trio.current_time()
        if sent:
            await stream.send_all(sent)
        assert await read_all(stream) == b""
        assert seconds <= trio.current_time() - start < seconds + 1


@pytest.mark.slow
async def test_a_slow_sender_cannot_stretch_the_deadline(root: Path, patient_clock: trio.testing.MockClock) -> None:
    async with our_server(root) as address, await connect(address) as stream:
        start = trio.current_time()
        with suppress(trio.BrokenResourceError):
            for _ in range(100):
                await stream.send_all(b"G")
                await trio.sleep(3)
        assert trio.current_time() - start < 20


@pytest.mark.slow
async def test_a_client_that_takes_nothing_is_left(root: Path, patient_clock: trio.testing.MockClock) -> None:
    write_objects(root, {"packs/large": bytes(30_000_000)})
    async with our_server(root) as address, await connect(address) as stream:
        start = trio.current_time()
        await stream.send_all(b"GET /packs/large HTTP/1.1\r\nhost: x\r\n\r\n")
        await trio.sleep(200)
        got = await read_all(stream)
        assert len(got) < 30_000_000
        assert trio.current_time() - start < 201


async def test_too_many_connections_are_closed_at_once(root: Path) -> None:
    async with our_server(root, limits=ServerLimits(connections=2)) as address:
        async with await connect(address) as first, await connect(address):
            await first.send_all(b"GET /empty HTTP/1.1\r\nhost: x\r\n\r\n")
            await first.receive_some()
            async with await connect(address) as third:
                assert await read_all(third) == b""
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await ask(address, "GET /packs/x HTTP/1.1"))[0] == 200


async def test_cancelling_closes_everything(root: Path) -> None:
    async with our_server(root) as address:
        stream = await connect(address)
        await stream.send_all(b"GET /empty HTTP/1.1\r\nhost: x\r\n\r\n")
        await stream.receive_some()
    async with stream:
        assert await read_all(stream) == b""
    with pytest.raises(OSError, match=r"all attempts to connect|refused"):
        await connect(address)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "192.0.2.1:0"])
async def test_an_address_that_will_not_do(root: Path, address: str) -> None:
    with pytest.raises(ConfigError):
        await serve_origin(str(root), address)


async def test_an_address_that_is_taken(root: Path) -> None:
    async with our_server(root) as address:
        with pytest.raises(ConfigError, match="cannot listen"):
            await serve_origin(str(root), address)
