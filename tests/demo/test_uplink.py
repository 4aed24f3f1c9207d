from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from edgeswarm.demo.uplink import Uplink, main, obey, open_uplink, serve_control
from edgeswarm.errors import ConfigError, FetchError
from edgeswarm.origin import HttpOptions, HttpOrigin
from edgeswarm.origin.server import serve_origin

pytestmark = pytest.mark.net

BODY = bytes(range(250)) * 4000  # 1 MB
BUFFERS = 64 * 1024  # what may be under way: the socket buffers of both ends


@pytest.fixture
def patient_clock() -> trio.testing.MockClock:
    """Jumps when nothing happened for 20 ms: longer than loopback needs for one piece."""
    return trio.testing.MockClock(autojump_threshold=0.02)


@asynccontextmanager
async def origin_behind_uplink(folder: Path, rate: float | None = None) -> AsyncIterator[tuple[HttpOrigin, Uplink]]:
    (folder / "packs").mkdir()
    (folder / "packs/x").write_bytes(BODY)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(serve_origin, str(folder), "127.0.0.1:0"))
        async with open_uplink(address, rate=rate) as uplink:
            origin = HttpOrigin(f"http://{uplink.address}/", HttpOptions(proxies=False))
            yield origin, uplink
            await origin.aclose()
        nursery.cancel_scope.cancel()


async def fetch(origin: HttpOrigin, offset: int, length: int, into: bytearray) -> None:
    async with origin.stream("packs/x", offset=offset, length=length) as pieces:
        async for piece in pieces:
            into += piece


async def connect(uplink: Uplink) -> trio.SocketStream:
    host, port = uplink.address.split(":")
    return await trio.open_tcp_stream(host, int(port))


async def test_each_byte_is_counted(tmp_path: Path) -> None:
    async with origin_behind_uplink(tmp_path) as (_, uplink):
        request = b"GET /packs/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        async with await connect(uplink) as stream:
            await stream.send_all(request)
            got = b"".join([data async for data in stream])
        counters = uplink.counters()
    assert got.endswith(BODY)
    assert counters["bytes_down"] == len(got)
    assert counters["bytes_up"] == counters["header_bytes_up"] == len(request)
    assert counters["body_bytes"] == len(BODY)
    assert counters["header_bytes_down"] == len(got) - len(BODY)
    assert counters["requests"] == counters["connections"] == 1


async def test_who_waits_for_bytes_is_woken_by_them(tmp_path: Path) -> None:
    async with origin_behind_uplink(tmp_path) as (origin, uplink), trio.open_nursery() as nursery:
        nursery.start_soon(fetch, origin, 0, 500_000, bytearray())
        with trio.fail_after(30):
            while uplink.counters()["bytes_total"] < 250_000:
                await uplink.moved.park()
        assert uplink.counters()["bytes_total"] < 300_000
        nursery.cancel_scope.cancel()


async def test_a_slow_reader_is_counted_right(tmp_path: Path) -> None:
    async with origin_behind_uplink(tmp_path) as (_, uplink), await connect(uplink) as stream:
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 5000)
        await stream.send_all(b"GET /packs/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        got = 0
        # Now and then it stops until the uplink is stuck with a part of a piece.
        while data := await stream.receive_some(3333):
            got += len(data)
            if got < 200_000:
                await trio.testing.wait_all_tasks_blocked(0.001)
        assert uplink.counters()["bytes_down"] == got


async def test_repeated_bytes_are_known(tmp_path: Path) -> None:
    async with origin_behind_uplink(tmp_path) as (origin, uplink):
        for offset, length in ((0, 1000), (500, 1000), (2000, 10)):
            await fetch(origin, offset, length, bytearray())
        assert uplink.counters()["repeated_body_bytes"] == 500
        assert uplink.counters()["classes"]["packs"] == {"requests": 3, "body_bytes": 2010, "repeated_body_bytes": 500}


@pytest.mark.slow
async def test_the_rate_of_what_comes_down(tmp_path: Path, patient_clock: trio.testing.MockClock) -> None:
    async with origin_behind_uplink(tmp_path, rate=64_000) as (origin, uplink):
        got = bytearray()
        await fetch(origin, 0, 56_000, got)
        assert got == BODY[:56_000]
        # 7 s for the body; headers and the burst, 16 KiB, make the difference.
        assert 4.9 < trio.current_time() < 7.2
        before = trio.current_time()
        uplink.set_rate(640_000)
        await fetch(origin, 0, 80_000, bytearray())
        assert 0.9 < trio.current_time() - before < 1.2


@pytest.mark.slow
async def test_the_rate_of_what_goes_up(tmp_path: Path, patient_clock: trio.testing.MockClock) -> None:
    async with origin_behind_uplink(tmp_path, rate=64_000) as (_, uplink), await connect(uplink) as stream:
        await stream.send_all(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 56000\r\nconnection: close\r\n\r\n" + bytes(56_000))
        assert b"HTTP/1.1 405" in await stream.receive_some()
        assert 4.9 < trio.current_time() < 7.2


async def test_a_cut_in_the_middle_and_what_comes_after(tmp_path: Path) -> None:
    async with origin_behind_uplink(tmp_path, rate=80_000_000) as (origin, uplink):
        got = bytearray()

        async def fetch_until_cut() -> None:
            async with origin.stream("packs/x", offset=0, length=len(BODY)) as pieces:
                async for piece in pieces:
                    got.extend(piece)
                    if len(got) > 100_000:
                        uplink.cut()

        with pytest.raises(FetchError) as caught:
            await fetch_until_cut()
        assert caught.value.temporary
        with pytest.raises(FetchError) as caught:
            await fetch(origin, 0, 1, bytearray())
        assert caught.value.temporary
        counters = uplink.counters()
        assert counters["cuts"] == 1
        assert len(got) <= counters["body_bytes"] <= len(got) + BUFFERS
        assert len(got) < len(BODY)

        uplink.heal()
        await fetch(origin, len(got), len(BODY) - len(got), got)
        assert got == BODY
        counters = uplink.counters()
        assert counters["repeated_body_bytes"] == counters["body_bytes"] - len(BODY) <= BUFFERS


async def test_a_cut_heals_by_itself_but_a_later_one_counts(tmp_path: Path, patient_clock: trio.testing.MockClock) -> None:
    async with origin_behind_uplink(tmp_path) as (origin, uplink):
        uplink.cut(5)
        await trio.sleep(4)
        uplink.cut(5)
        await trio.sleep(4)
        with pytest.raises(FetchError):
            await fetch(origin, 0, 1, bytearray())
        await trio.sleep(1.5)
        await fetch(origin, 0, 1, bytearray())
        for seconds in (-1, float("nan")):
            with pytest.raises(ConfigError, match="0 seconds or more"):
                uplink.cut(seconds)


async def test_a_cut_resets_idle_connections(tmp_path: Path) -> None:
    async with origin_behind_uplink(tmp_path) as (_, uplink), await connect(uplink) as stream:
        await stream.send_all(b"GET /packs HTTP/1.1\r\nhost: x\r\n\r\n")
        await stream.receive_some()
        uplink.cut()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def test_an_origin_that_is_not_there(tmp_path: Path) -> None:
    async with open_uplink("127.0.0.1:1") as uplink:
        for _ in range(2):
            origin = HttpOrigin(f"http://{uplink.address}/", HttpOptions(proxies=False))
            with pytest.raises(FetchError):
                await origin.read("a", limit=1)
            await origin.aclose()


async def test_an_error_of_the_caller_leaves_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with open_uplink("127.0.0.1:1"):
            raise KeyError


async def test_addresses_that_will_not_do() -> None:
    async with open_uplink("127.0.0.1:1") as uplink:
        for listen in ("127.0.0.1", uplink.address):
            with pytest.raises(ConfigError):
                async with open_uplink("127.0.0.1:1", listen=listen):
                    pass


async def test_orders(tmp_path: Path) -> None:
    async with open_uplink("127.0.0.1:1") as uplink, trio.open_nursery() as nursery:
        path = tmp_path / "control"
        await nursery.start(serve_control, uplink, str(path))
        assert path.stat().st_mode & 0o777 == 0o600
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(b'{"do": "cut", "seconds": 60}\n{"do": "cou')
            assert json.loads(await stream.receive_some()) == {"ok": True}
            await stream.send_all(b'nters"}\n')
            assert json.loads(await stream.receive_some())["counters"]["cuts"] == 1
        nursery.cancel_scope.cancel()
    assert not path.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "JSONDecodeError"),
        (b"[]", "TypeError"),
        (b"{}", "KeyError"),
        (b'{"do": "fly"}', "unknown order 'fly'"),
        (b'{"do": "cut", "seconds": "x"}', "ValueError"),
        (b'{"do": "cut", "seconds": -1}', "0 seconds or more"),
        (b'{"do": "rate", "rate": "x"}', "want a number"),
        (b'{"do": "rate", "rate": 5}', "AttributeError"),
        (b"\xff", "UnicodeDecodeError"),
    ],
)
async def test_orders_that_make_no_sense(line: bytes, message: str) -> None:
    async with open_uplink("127.0.0.1:1") as uplink:
        answer = obey(uplink, line)
        assert answer["ok"] is False
        assert message in answer["error"]
        assert obey(uplink, b'{"do": "rate", "rate": "1mbit"}') == obey(uplink, b'{"do": "heal"}') == {"ok": True}


@pytest.mark.slow
async def test_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs/x").write_bytes(BODY)
    control = str(tmp_path / "control")
    async with trio.open_nursery() as nursery:
        address = await nursery.start(partial(serve_origin, str(tmp_path), "127.0.0.1:0"))
        command = [sys.executable, "-m", "edgeswarm.demo.uplink", "--upstream", address, "--rate", "1gbit", "--control", control]
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))
        assert process.stdout is not None
        listen = json.loads(await process.stdout.receive_some())["listen"]
        origin = HttpOrigin(f"http://{listen}/", HttpOptions(proxies=False))
        assert await origin.read("packs/x", limit=len(BODY)) == BODY
        await origin.aclose()
        async with await trio.open_unix_socket(control) as stream:
            await stream.send_all(b'{"do": "counters"}\n')
            assert json.loads(await stream.receive_some())["counters"]["body_bytes"] == len(BODY)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        nursery.cancel_scope.cancel()
    assert "control" not in os.listdir(tmp_path)


def test_a_command_line_that_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--upstream", "nonsense"]) == 2
    assert "wanted host:port" in capsys.readouterr().err
