"""A site of real processes on loopback: a fleet, an origin, an uplink, a gateway, devices and a malicious peer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ..errors import ConfigError, EdgeswarmError, FetchError, NodeError
from ..node.control import ask
from ..origin.server import serve_origin
from ..publish import Fleet, NodeOptions, PublishOptions, PublishReport, add_site, enrol, init_fleet, publish
from .child import command_of
from .inputs import Inputs
from .traffic import Seen
from .uplink import Uplink, open_uplink

CHANNEL, SITE = "stable", "site"
_START_SECONDS, _START_SECONDS_EACH = 30.0, 4.0
"""How long members may take to answer: each takes about a second of one core, and they start at once. A guess for busy machines."""
MOST_DEVICES = 200
"""Most devices of a run on one machine: each is a process of some 60 MB. A guess."""
POLL_SECONDS = 1.0
"""How often the site asks its origin for news: a run should not wait for that. A guess."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSpec:
    """What the site is like.

    Attributes:
        devices: Number of devices.
        empty: How many of them, the last ones, hold no old release.
        own_uplinks: How many of them, the first ones, have an uplink of their own.
        bad_peer: Whether a malicious peer takes part.
        level: zstd level of the publisher.

    Raises:
        ConfigError: A number makes no sense.
    """

    devices: int = 8
    empty: int = 0
    own_uplinks: int = 0
    bad_peer: bool = True
    level: int = 12

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= MOST_DEVICES:
            raise ConfigError(f"devices: wanted 1 to {MOST_DEVICES}, got {self.devices}")
        for name in ("empty", "own_uplinks"):
            if not 0 <= getattr(self, name) <= self.devices:
                raise ConfigError(f"{name.replace('_', '-')}: wanted 0 to {self.devices}, the devices, got {getattr(self, name)}")
        PublishOptions(level=self.level)


@dataclass(slots=True)
class Usage:
    """What a process has used.

    Attributes:
        cpu_seconds: User and system time, over all its lives.
        peak_rss_bytes: Most memory of any of its lives.
    """

    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0


@dataclass(slots=True)
class Member:
    """One node of the site.

    Attributes:
        name: Its name.
        role: `gateway`, `device` or `bad peer`.
        folder: Its folder: identity, configuration, state, target.
        uplink: Its own uplink, or None.
        holds_old: Whether it starts with the old release.
        process: The running process, or None.
        usage: Of the lives that have ended.
        kills: How often it was killed.
    """

    name: str
    role: str
    folder: Path
    uplink: Uplink | None
    holds_old: bool = True
    process: subprocess.Popen[bytes] | None = None
    usage: Usage = field(default_factory=Usage)
    kills: int = 0

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.folder / "state"

    @property
    def target(self) -> Path:
        """Where its release is installed."""
        return self.folder / "app"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    async def status(self) -> dict[str, Any]:
        """Return what its node says of itself; empty if it doesn't answer."""
        try:
            with trio.move_on_after(5):
                return await ask(self.state, "status")
        except (EdgeswarmError, OSError):
            return {}
        return {}


class Site:
    """The running site; made by `open_site`."""

    def __init__(self, folder: Path, inputs: Inputs, spec: SiteSpec, fleet: Fleet, members: list[Member]) -> None:
        self.folder = folder
        self.inputs = inputs
        self.spec = spec
        self.fleet = fleet
        self.members = members
        self.gateway_address = ""

    @property
    def devices(self) -> list[Member]:
        """The honest devices."""
        return [member for member in self.members if member.role == "device"]

    @property
    def gateway(self) -> Member:
        """The gateway."""
        return next(member for member in self.members if member.role == "gateway")

    @property
    def uplinks(self) -> list[Uplink]:
        """All uplinks of the site."""
        return [member.uplink for member in self.members if member.uplink is not None]

    def counters(self) -> dict[str, int]:
        """Return the sums of the uplinks' own counters."""
        names = ("bytes_down", "bytes_up", "bytes_total", "requests", "body_bytes", "repeated_body_bytes", "cuts")
        rows = [uplink.counters() for uplink in self.uplinks]
        sums = {name: sum(row[name] for row in rows) for name in names}
        return sums | {"pack_bytes": sum(row["classes"]["packs"]["body_bytes"] for row in rows)}

    @property
    def largest_header_bytes(self) -> int:
        """Most bytes of one request with its answer that were no bodies, of any uplink."""
        return max(int(uplink.counters()["largest_header_bytes"]) for uplink in self.uplinks)

    async def moved(self) -> None:
        """Wait until bytes have passed one of the uplinks."""
        async with trio.open_nursery() as nursery:

            async def wait(uplink: Uplink) -> None:
                await uplink.moved.park()
                nursery.cancel_scope.cancel()

            for uplink in self.uplinks:
                nursery.start_soon(wait, uplink)

    async def publish(self, version: str, path: Path) -> PublishReport:
        """Publish a release into the site's origin."""
        options = PublishOptions(
            level=self.spec.level, allow_private_keys=True
        )  # the origin is this machine's, and ends with the run
        return await trio.to_thread.run_sync(
            partial(
                publish, self.fleet, str(path), product=self.inputs.product, version=version, channel=CHANNEL,
                now=datetime.now(UTC), options=options,
            )
        )  # fmt: skip

    def start(self, member: Member) -> None:
        """Start a member's process; it ends with this one."""
        module = ["edgeswarm.demo.badpeer"] if member.role == "bad peer" else ["edgeswarm", "agent", "--config"]
        command = [sys.executable, "-m", *module, str(member.folder / "edgeswarm.toml")]
        with (member.folder / "log").open("ab") as log:
            member.process = subprocess.Popen(command_of(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def wait_ready(self, member: Member) -> dict[str, Any]:
        """Wait until a member answers and return its status.

        Raises:
            NodeError: It did not come up.
        """
        limit = _START_SECONDS + _START_SECONDS_EACH * len(self.members)
        with trio.move_on_after(limit):
            while member.running:
                status = await member.status()
                if status:
                    return status
                await trio.sleep(0.1)
        log = (member.folder / "log").read_text(errors="replace").strip()[-500:]
        raise NodeError(f"{member.name} did not come up within {limit:g} s: {log or 'it said nothing'}")

    def kill(self, member: Member) -> None:
        """End a member's process with SIGKILL."""
        self._note_usage(member)
        if member.process is not None:
            member.process.send_signal(signal.SIGKILL)
            member.process.wait()
        member.kills += 1

    async def stop(self, member: Member) -> int | None:
        """End a member's process with SIGTERM and return its exit code."""
        if not member.running or member.process is None:
            return None
        self._note_usage(member)
        member.process.terminate()
        with trio.move_on_after(10):
            return await trio.to_thread.run_sync(member.process.wait, abandon_on_cancel=True)
        member.process.kill()
        return member.process.wait()

    def _note_usage(self, member: Member) -> None:
        if member.process is None:
            return
        now = usage_of(member.process.pid)
        member.usage.cpu_seconds += now.cpu_seconds
        member.usage.peak_rss_bytes = max(member.usage.peak_rss_bytes, now.peak_rss_bytes)


def usage_of(pid: int) -> Usage:
    """Return what a running process has used, as proc(5) says; zeros if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return Usage()
    peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, peak * 1024)


@asynccontextmanager
async def open_site(folder: Path, inputs: Inputs, spec: SiteSpec) -> AsyncIterator[Site]:
    """Set up fleet, origin, uplinks and members; no member is started yet. All processes are stopped when the block ends."""
    fleet = await trio.to_thread.run_sync(partial(_make_fleet, folder / "fleet"))
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        origin = await nursery.start(serve_origin, fleet.path("origin"), "127.0.0.1:0")
        seen: Seen = {}
        members = [await _member(stack, folder, "gateway", "gateway", origin, seen)]
        for number in range(1, spec.devices + 1):
            own = origin if number <= spec.own_uplinks else ""
            members.append(await _member(stack, folder, f"device-{number}", "device", own, seen))
            members[-1].holds_old = number <= spec.devices - spec.empty
        if spec.bad_peer:
            members.append(await _member(stack, folder, "intruder", "bad peer", "", seen))
        for member in members:
            await trio.to_thread.run_sync(partial(_enrol, fleet, member))
        site = Site(folder, inputs, spec, fleet, members)
        try:
            yield site
        finally:
            with trio.CancelScope(shield=True):
                for member in members:
                    await site.stop(member)


def _make_fleet(folder: Path) -> Fleet:
    fleet = init_fleet(str(folder), name="demo", now=datetime.now(UTC))
    add_site(fleet, SITE)
    return fleet


async def _member(stack: AsyncExitStack, folder: Path, name: str, role: str, origin: str, seen: Seen) -> Member:
    uplink = await stack.enter_async_context(open_uplink(origin, seen=seen)) if origin else None
    return Member(name, role, folder / name, uplink)


def _enrol(fleet: Fleet, member: Member) -> None:
    role = "gateway" if member.role == "gateway" else "device"
    enrol(fleet, SITE, member.name, str(member.folder), now=datetime.now(UTC), options=NodeOptions(role=role))


def write_config(site: Site, member: Member, gateway_address: str) -> None:
    """Write a member's configuration, in place of the starter that `enrol` makes."""
    role = "gateway" if member.role == "gateway" else "device"
    peers = [gateway_address] if gateway_address else []
    lines = ["[node]", 'state = "state"', 'identity = "."', f'role = "{role}"']
    lines += ["[lan]", 'listen = "127.0.0.1:0"', 'multicast = ["127.0.0.1"]', f"peers = {json.dumps(peers)}"]
    if member.role == "bad peer":  # it must reach every device, however many there are
        lines.append(f"max_links = {MOST_DEVICES + 1}")
    if member.uplink is not None:
        lines += [
            "[uplink]",
            f'origin = "http://{member.uplink.address}/"',
            f"poll_seconds = {POLL_SECONDS}",
            "retry_seconds = 1.0",
        ]
    lines += ["[[subscribe]]", f'product = "{site.inputs.product}"', f'channel = "{CHANNEL}"']
    if member.role == "device":
        health = [part.replace("{target}", str(member.target)) for part in site.inputs.health]
        kind = "directory" if site.inputs.is_tree else "file"
        lines += ["[subscribe.install]", f'target = "{member.target}"', f'kind = "{kind}"', f"health = {json.dumps(health)}"]
    (member.folder / "edgeswarm.toml").write_text("\n".join(lines) + "\n")


async def start_all(site: Site, members: list[Member]) -> None:
    """Start members; before any other the gateway, once, so that they know where it is.

    Raises:
        NodeError: One did not come up.
        FetchError: The gateway listens nowhere.
    """
    if not site.gateway_address:
        site.gateway_address = await _start_gateway(site)
    for member in members:
        if member is not site.gateway:
            write_config(site, member, site.gateway_address)
            site.start(member)
    for member in members:
        await site.wait_ready(member)


async def _start_gateway(site: Site) -> str:
    """Start the gateway, unless it runs, and return its address."""
    if not site.gateway.running:
        write_config(site, site.gateway, "")
        site.start(site.gateway)
    address = str((await site.wait_ready(site.gateway)).get("listen", ""))
    if not address:
        raise FetchError("the gateway listens nowhere", temporary=False)
    return address
