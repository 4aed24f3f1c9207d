"""What happens to a site while it updates: devices join, an uplink is cut, processes are killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from ..errors import ConfigError
from ..publish import PublishReport
from .result import Incident, Kill, Sample
from .site import Member, Site, SiteSpec, start_all

_LOOK_SECONDS = 0.02
"""How often the device that is to be killed is asked how far it is. A guess: an answer takes about 5 ms."""
_ENOUGH_BYTES = 128 * 1024
"""So much, or half of what it lacks, must a device have received before it is killed, or nothing could be lost. A guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens.

    Attributes:
        rate: Of each uplink and direction, in bit/s.
        cut_at: Share of the update that has passed when the first uplink is cut; None: never.
        cut_seconds: For how long.
        kill_at: Share at which a device is killed with SIGKILL; None: never.
        down_seconds: For how long it stays down.
        kill_gateway_at: Share at which the gateway is killed for good; None: never.
        limit_seconds: The run fails if it takes longer than this.
    """

    rate: float = 2e6
    cut_at: float | None = 0.25
    cut_seconds: float = 4.0
    kill_at: float | None = 0.5
    down_seconds: float = 1.5
    kill_gateway_at: float | None = None
    limit_seconds: float = 600.0

    def check(self, spec: SiteSpec) -> None:
        """Raise `ConfigError` if a site cannot go through this."""
        if self.kill_gateway_at is not None and not spec.own_uplinks:
            raise ConfigError("own-uplinks: wanted at least one device with an uplink of its own, to go on without the gateway")


Tell = Callable[[Incident], None]
Watch = Callable[[Sample, int], None]


@dataclass(slots=True)
class Run:
    """A run under way: what was asked for, and what was seen so far.

    Attributes:
        site: The site.
        scenario: What happens to it.
        report: Of the new release's publication.
        cost: Bytes of one copy.
        tell: Called with each incident.
        watch: Called with each sample and `cost`.
        before: The uplinks' counters when the new release was published.
        since: When that was, in trio's seconds; `start`, when it was done.
        known: Version of the signed metadata before it.
        samples: Taken so far.
        incidents: Noted so far.
        finished: Seconds from `start` until a device had installed the release, by name.
        last: What a device's last status says of its fetch, by name.
        refused: Most wrong chunks that a device said it had refused, by name.
        not_empty: Devices that were to begin with nothing, and did not.
        passed_bytes: Bytes that have passed the uplinks since `before`.
        pack_bytes_at_heal: Content that had passed when the uplink was back; None: it is not.
        kill: What became of the device that is killed; None: it lives.
    """

    site: Site
    scenario: Scenario
    report: PublishReport
    cost: int
    tell: Tell
    watch: Watch
    before: dict[str, int]
    since: float
    known: int
    start: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    finished: dict[str, float] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    not_empty: set[str] = field(default_factory=set)
    passed_bytes: int = 0
    pack_bytes_at_heal: int | None = None
    kill: Kill | None = None

    def note(self, kind: str, text: str) -> None:
        """Write down and tell what happened."""
        incident = Incident(round(trio.current_time() - self.start, 2), kind, text)
        self.incidents.append(incident)
        self.tell(incident)

    @property
    def share(self) -> float:
        """Bytes that have passed / bytes of one copy."""
        return self.passed_bytes / self.cost

    async def until(self, share: float) -> None:
        """Wait until a share of the copy has passed: woken by the bytes, so that it is met at any rate."""
        while self.share < share:
            await self.site.moved()
            self.passed_bytes = self.site.counters()["bytes_total"] - self.before["bytes_total"]


async def make_happen(run: Run) -> None:
    """Do to the site what the scenario says, each thing at its moment."""
    async with trio.open_nursery() as nursery:
        for happening in (_start_empty, _cut, _kill_device, _kill_gateway):
            nursery.start_soon(happening, run)


async def _start_empty(run: Run) -> None:
    """Start the devices that hold nothing once all others know of the new release: before, they would begin with the old one."""
    empty = [member for member in run.site.devices if not member.holds_old]
    if not empty:
        return
    for member in [member for member in run.site.members if member.running]:
        await _until_told(run, member)
    await start_all(run.site, empty)
    count = len(empty)
    run.note("joined", f"{'a device' if count == 1 else f'{count} devices'} with nothing joined the site")


async def _until_told(run: Run, member: Member) -> None:
    """Wait until a member has the metadata of the new release, or has ended."""
    while member.running:
        if await metadata_version(member) > run.known:
            return
        await trio.sleep(_LOOK_SECONDS)


async def _cut(run: Run) -> None:
    if run.scenario.cut_at is None:
        return
    await run.until(run.scenario.cut_at)
    run.site.uplinks[0].cut(run.scenario.cut_seconds)
    run.note("cut", f"the uplink is cut for {run.scenario.cut_seconds:g} s")
    await trio.sleep(run.scenario.cut_seconds)
    run.pack_bytes_at_heal = run.site.counters()["pack_bytes"]
    run.note("healed", "the uplink is back")


async def _kill_device(run: Run) -> None:
    if run.scenario.kill_at is None:
        return
    await run.until(run.scenario.kill_at)
    victim = run.site.devices[0]
    run.kill = await _midway(run, victim)
    run.site.kill(victim)
    run.finished.pop(victim.name, None)
    run.note("killed", f"{victim.name} is killed with SIGKILL")
    await trio.sleep(run.scenario.down_seconds)
    run.site.start(victim)
    run.note("restarted", f"{victim.name} is started again")
    run.kill = replace(run.kill, again_bytes=await _has_again(run, victim))


async def _midway(run: Run, victim: Member) -> Kill:
    """Wait until a device has received something that it could lose; return what it says that it has."""
    while True:
        status = await victim.status()
        row = _row(status, run.report.version)
        if row.get("by_source"):
            received = row["done"] - row["by_source"]["local"]
            enough = min(_ENOUGH_BYTES, (row["size"] - row["by_source"]["local"]) // 2)
            if received >= enough or row["done"] == row["size"]:
                return Kill(name=victim.name, size=row["size"], done_bytes=row["done"], received_bytes=received)
        await trio.sleep(_LOOK_SECONDS)


async def _has_again(run: Run, victim: Member) -> int:
    """Return what a device has of the new release when it goes on: what it does not fetch."""
    while True:
        status = await victim.status()
        row = _row(status, run.report.version)
        if row.get("by_source"):
            return int(row["by_source"]["local"])
        if has_version(status, run.report.version):
            return run.report.size
        await trio.sleep(_LOOK_SECONDS)


def _row(status: dict[str, Any], version: str) -> dict[str, Any]:
    """Return what a status says of the fetch of a version; empty if there is none."""
    rows: list[dict[str, Any]] = [*status.get("ended", []), *status.get("fetches", [])]
    return next((row for row in reversed(rows) if row["version"] == version), {})


async def _kill_gateway(run: Run) -> None:
    if run.scenario.kill_gateway_at is None:
        return
    await run.until(run.scenario.kill_gateway_at)
    run.site.kill(run.site.gateway)
    run.note("gateway-killed", "the gateway is killed for good")


async def metadata_version(member: Member) -> int:
    """Return the version of the signed metadata that a member has; 0 if it does not answer."""
    status = await member.status()
    return int(status["metadata"]["version"]) if status else 0


def has_version(status: dict[str, Any], version: str) -> bool:
    """Tell if a status says that a version is here, and installed if it is to be."""
    rows = status.get("subscriptions", [])
    return any(row["version"] == version and row["phase"] in {"confirmed", "idle"} for row in rows)
