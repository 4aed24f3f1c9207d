"""One gateway to one device over loopback TLS: rate, CPU and memory of real processes, verified and stored.

    python -m bench.lan [--megabytes 1000] [--json]

The gateway holds a release of random bytes; a device with nothing fetches it. Both are processes of their own. Memory is the
peak of the device's process, as proc(5) has it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import trio

from edgeswarm.demo.inputs import Inputs
from edgeswarm.demo.site import Member, Site, SiteSpec, open_site, start_all, usage_of, write_config

_BLOCK_BYTES = 1 << 20


def write_random(path: Path, megabytes: int) -> None:
    """Write bytes that don't compress, the same in every run."""
    dice = Random(1)  # noqa: S311  # not for secrets
    with path.open("wb") as out:
        for _ in range(megabytes * 10**6 // _BLOCK_BYTES):
            out.write(dice.randbytes(_BLOCK_BYTES))


async def run(folder: Path, megabytes: int) -> dict[str, Any]:
    """Return the figures of one run."""
    release = folder / "release"
    await trio.to_thread.run_sync(write_random, release, megabytes)
    (folder / "site").mkdir()
    inputs = Inputs("bench", "1", "2", release, release)
    async with open_site(folder / "site", inputs, SiteSpec(devices=1, bad_peer=False, level=1)) as site:
        gateway, device = site.gateway, site.devices[0]
        await site.publish("1", release)
        start_from_folder(site, gateway)
        await start_all(site, [gateway])
        await wait_held(gateway)
        before = usage_of(gateway.process.pid if gateway.process else 0).cpu_seconds
        return await _measure(site, gateway, device, before, release.stat().st_size)


def start_from_folder(site: Site, gateway: Member) -> None:
    """Start the gateway with the origin's folder as its uplink: the counting proxy would take most of the time."""
    write_config(site, gateway, "")
    config = gateway.folder / "edgeswarm.toml"
    address = gateway.uplink.address if gateway.uplink is not None else ""
    config.write_text(config.read_text().replace(f"http://{address}/", str(site.fleet.path("origin"))))
    site.start(gateway)


async def _measure(site: Site, gateway: Member, device: Member, before: float, size: int) -> dict[str, Any]:
    await start_all(site, [device])
    started = ended = 0.0
    while not ended:
        status = await device.status()
        rows = [*status.get("fetches", []), *status.get("ended", [])]
        now = trio.current_time()
        started = started or (now if rows and rows[0]["done"] else 0.0)
        ended = now if status.get("ended") else 0.0
        await trio.sleep(0.02)
    held = usage_of(device.process.pid if device.process else 0)
    gateway_cpu = usage_of(gateway.process.pid if gateway.process else 0).cpu_seconds - before
    await site.stop(device)
    await site.stop(gateway)
    return {
        "bytes": size, "seconds": round(ended - started, 3), "mb_per_s": round(size / 1e6 / (ended - started), 1),
        "device_cpu_s_per_gb": round(held.cpu_seconds / size * 1e9, 2), "gateway_cpu_s_per_gb": round(gateway_cpu / size * 1e9, 2),
        "device_peak_rss_bytes": held.peak_rss_bytes, "cores": os.cpu_count(),
    }  # fmt: skip


async def wait_held(member: Member) -> None:
    """Wait until a member holds the release."""
    while True:
        if any(row["complete"] for row in (await member.status()).get("ended", [])):
            return
        await trio.sleep(0.1)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.lan", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeswarm-bench-") as folder:
        figures = trio.run(run, Path(folder), chosen.megabytes)
    print(json.dumps(figures) if chosen.json else "\n".join(f"{name:24}{value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
