"""Real node processes that are ended in the middle of a fetch, by each way out, and go on from there.

An uplink of the test counts what crosses it: after each end at most one small unit may cross it twice.
"""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest
import trio

from edgeswarm.demo.uplink import Uplink, open_uplink
from edgeswarm.node.control import control_path
from edgeswarm.origin.server import serve_origin

from .processes import Command, Site, noise, served

pytestmark = [pytest.mark.slow, pytest.mark.net]

DATA = noise(1_000_000)
RATE = 4e6  # bit/s: two seconds for all of it
SOME = 200_000  # bytes after which a process is ended: in the middle of a span
TWICE = 64 * 1024


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site.create(tmp_path)
    made.publish(DATA, "1")
    return made


def fetching(site: Site, file: Path, *more: str) -> Command:
    return site.run("fetch", "app", "--config", str(file), "--out", str(site.folder / "out"), *more)


async def until_some(command: Command, uplink: Uplink) -> None:
    await command.until(lambda: uplink.counters()["body_bytes"] > SOME)
    assert uplink.counters()["body_bytes"] < len(DATA)


async def completes(site: Site, file: Path, uplink: Uplink) -> None:
    """Fetch again, at full speed; little may cross the uplink twice."""
    uplink.set_rate(None)
    with fetching(site, file) as again:
        assert await again.code() == 0, again.err
    assert (site.folder / "out").read_bytes() == DATA
    assert uplink.counters()["repeated_body_bytes"] <= TWICE


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
async def test_a_fetch_that_a_signal_ends(site: Site, number: signal.Signals, code: int) -> None:
    async with served(site, RATE) as uplink:
        file = site.node("a", origin=f"http://{uplink.address}/")
        with fetching(site, file) as command:
            await until_some(command, uplink)
            assert await command.ends(number) == code
            assert (command.out, command.err) == ("", "")
        assert not (site.folder / "out").exists()
        await completes(site, file, uplink)


async def test_a_fetch_that_runs_out_of_time(site: Site) -> None:
    async with served(site, RATE) as uplink:
        file = site.node("a", origin=f"http://{uplink.address}/")
        with fetching(site, file, "--timeout", "4") as command:
            await until_some(command, uplink)
            uplink.cut()
            assert await command.code() == 75
        *_, last = command.err.splitlines()
        assert last.startswith(f"edgeswarm: app was not here within 4 s: origin http://{uplink.address}/: packs/")
        assert last.endswith("what came is kept, and the next try goes on from there")
        assert "waiting: origin http://" in command.err
        uplink.heal()
        await completes(site, file, uplink)


async def test_a_fetch_that_does_not_fit(site: Site) -> None:
    site.publish(noise(3_000_000), "2")
    async with served(site) as uplink:
        file = site.node("a", origin=f"http://{uplink.address}/")
        text = file.read_text()
        file.write_text(text.replace("min_free_mib", "quota_mib = 1\nmin_free_mib", 1))
        with fetching(site, file) as command:
            assert await command.code() == 28
        assert (command.out, command.err.count("\n")) == ("", 1)
        assert "quota" in command.err
        assert uplink.counters()["body_bytes"] < 100_000, "that it does not fit is known before it is fetched"
        file.write_text(text)
        with fetching(site, file) as again:
            assert await again.code() == 0
        assert (site.folder / "out").read_bytes() == noise(3_000_000)
        assert uplink.counters()["repeated_body_bytes"] <= TWICE


async def test_a_fetch_whose_pack_vanishes(site: Site) -> None:
    packs, aside = site.origin / "packs", site.folder / "aside"
    async with served(site, RATE) as uplink:
        file = site.node("a", origin=f"http://{uplink.address}/")
        with fetching(site, file) as command:
            await until_some(command, uplink)
            packs.rename(aside)
            uplink.cut(0.1)
            assert await command.code() == 75
        *_, last = command.err.splitlines()
        assert last.startswith("edgeswarm: packs/")
        assert last.endswith("(status 404)")
        aside.rename(packs)
        await completes(site, file, uplink)


async def test_a_fetch_from_an_origin_that_is_ill_for_a_while(site: Site) -> None:
    """The same address answers 500 to everything, and then is as before: the fetch waits, says why, and goes on."""
    async with trio.open_nursery() as nursery:
        healthy = trio.CancelScope()
        address = await nursery.start(partial(serve, healthy, site.origin, "127.0.0.1:0"))
        async with open_uplink(address, rate=RATE) as uplink:
            file = site.node("a", origin=f"http://{uplink.address}/")
            with fetching(site, file) as command:
                await until_some(command, uplink)
                healthy.cancel()
                ill = await nursery.start(partial(fail_all, int(address.rpartition(":")[2])))
                uplink.cut(0.1)
                await command.until(lambda: "500" in command.err)
                ill.cancel()
                await nursery.start(partial(serve, trio.CancelScope(), site.origin, address))
                assert await command.code() == 0, command.err
            assert (site.folder / "out").read_bytes() == DATA
            assert command.err.startswith(f"waiting: origin http://{uplink.address}/: packs/")
            assert uplink.counters()["repeated_body_bytes"] <= TWICE
        nursery.cancel_scope.cancel()


async def serve(scope: trio.CancelScope, folder: Path, address: str, *, task_status: trio.TaskStatus[str]) -> None:
    with scope:
        await serve_origin(str(folder), address, task_status=task_status)


async def fail_all(port: int, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 500 Ill\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await stream.aclose()

    with trio.CancelScope() as scope:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        task_status.started(scope)
        await trio.serve_listeners(answer, listeners)


@pytest.mark.parametrize("verb", ["agent", "gateway"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_node_that_a_signal_ends(site: Site, verb: str, number: signal.Signals) -> None:
    role = "gateway" if verb == "gateway" else "device"
    async with served(site, RATE) as uplink:
        file = site.node("a", origin=f"http://{uplink.address}/", role=role, target=str(site.folder / "out"))
        socket = control_path(site.folder / "a" / "state")
        with site.run(verb, "--config", str(file)) as command:
            await until_some(command, uplink)
            assert socket.exists()
            assert await command.ends(number) == (-9 if number == signal.SIGKILL else 0)
            assert socket.exists() == (number == signal.SIGKILL)  # what is left over is replaced by the next start
        uplink.set_rate(None)
        with site.run(verb, "--config", str(file)) as again:
            await again.until((site.folder / "out").exists)
            assert await again.ends(signal.SIGTERM) == 0
        assert not socket.exists()
        assert (site.folder / "out").read_bytes() == DATA
        assert uplink.counters()["repeated_body_bytes"] <= TWICE
