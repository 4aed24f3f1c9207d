"""The whole way of a release behind web servers of others: real nodes fetch it, and then the next one as a delta."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from origin.servers import nginx_server

from edgeswarm.demo.uplink import open_uplink

from .processes import Command, Site, noise

FIRST = noise(600_000)
SECOND = FIRST[:200_000] + b"something new" + FIRST[200_000:]


@asynccontextmanager
async def nginx(root: Path, work: Path) -> AsyncIterator[str]:
    (work / "nginx").mkdir()
    async with nginx_server(root, work / "nginx") as address:
        yield address


async def installed(device: Command, target: Path, data: bytes) -> None:
    await device.until(lambda: target.exists() and target.read_bytes() == data)


@pytest.mark.parametrize("server", [nginx], ids=["nginx"])
@pytest.mark.slow
@pytest.mark.net
async def test_a_release_and_its_update(tmp_path: Path, server: Callable[[Path, Path], AbstractAsyncContextManager[str]]) -> None:
    site, target = Site.create(tmp_path), tmp_path / "out"
    full = site.publish(FIRST, "1").full_bytes
    async with server(site.origin, tmp_path) as address, open_uplink(address) as uplink:
        gateway = site.node("gateway", origin=f"http://{uplink.address}/", role="gateway")
        with site.run("gateway", "--config", str(gateway), "--log-json") as running:
            await running.until((tmp_path / "gateway" / "state" / "control.sock").exists)
            with site.run("status", "--config", str(gateway), "--json") as status:
                assert await status.code() in {0, 3}
                listen = json.loads(status.out)["listen"]
            with site.run("agent", "--config", str(site.node("a", target=str(target), peers=(listen,)))) as device:
                await installed(device, target, FIRST)
                before = uplink.counters()["body_bytes"]
                assert full <= before <= full + 16 * 1024  # metadata, manifest and index, one copy of each
                site.publish(SECOND, "2")
                await installed(device, target, SECOND)
                assert uplink.counters()["body_bytes"] - before < full / 20
                assert await device.ends(signal.SIGTERM) == 0
            assert await running.ends(signal.SIGTERM) == 0
        assert uplink.counters()["repeated_body_bytes"] <= 1024
