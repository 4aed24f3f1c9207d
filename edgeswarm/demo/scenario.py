"""One run: a site gets its first release, then the second over a thin uplink that breaks, while devices die and a peer lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from ..errors import ConfigError, FetchError, NodeError
from ..publish import PublishReport, site_cost
from .checks import Facts, checks_of
from .compare import same_content
from .inputs import Inputs
from .result import DeviceResult, Incident, Kill, Result, Sample
from .site import POLL_SECONDS, Member, Site, SiteSpec, open_site, start_all

_SAMPLE_SECONDS = 0.25
_LOOK_SECONDS = 0.02
"""How often the device that is to be killed is asked how far it is. A guess: an answer takes about 5 ms."""
_ENOUGH_BYTES = 128 * 1024
"""So much, or half of what it lacks, must a device have received before it is killed, or nothing could be lost. A guess."""
_SHORT_SECONDS = 2.0
"""A copy that crosses in less may have reached the devices before one of them can be killed. A guess."""


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
class _Run:
    site: Site
    scenario: Scenario
    report: PublishReport
    cost: int
    tell: Tell
    watch: Watch
    before: dict[str, int]
    since: float
    start: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    finished: dict[str, float] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    passed_bytes: int = 0
    pack_bytes_at_heal: int | None = None
    kill: Kill | None = None

    def note(self, kind: str, text: str) -> None:
        incident = Incident(round(trio.current_time() - self.start, 2), kind, text)
        self.incidents.append(incident)
        self.tell(incident)

    @property
    def share(self) -> float:
        return self.passed_bytes / self.cost

    async def until(self, share: float) -> None:
        """Wait until a share of the copy has passed: woken by the bytes, so that it is met at any rate."""
        while self.share < share:
            await self.site.moved()
            self.passed_bytes = self.site.counters()["bytes_total"] - self.before["bytes_total"]


async def run_scenario(
    folder: Path, inputs: Inputs, spec: SiteSpec, scenario: Scenario, tell: Tell, watch: Watch, stage: Callable[[str], None]
) -> Result:
    """Run it and return what was found.

    Args:
        folder: An empty folder for everything.
        inputs: The two releases.
        spec: The site.
        scenario: What happens.
        tell: Called with each incident.
        watch: Called with each sample and the bytes that one copy costs.
        stage: Called with a line of text when a stage begins.

    Raises:
        NodeError: A process did not come up.
        FetchError: The devices did not get the first release within the limit.
        PublishError: A release could not be published.
    """
    async with open_site(folder, inputs, spec) as site:
        stage(f"Publishing {inputs.product} {inputs.old_version} and giving it to the site")
        await site.publish(inputs.old_version, inputs.old)
        first = [member for member in site.members if member.holds_old and member.role != "bad peer"]
        await start_all(site, first)
        await _wait_installed(site, first, inputs.old_version, scenario.limit_seconds)
        await start_all(site, [member for member in site.members if member not in first])
        await _wait_heard(site, scenario.limit_seconds)
        for uplink in site.uplinks:
            uplink.set_rate(scenario.rate)
        stage(f"Publishing {inputs.product} {inputs.new_version}")
        before, since = site.counters(), trio.current_time()
        report = await site.publish(inputs.new_version, inputs.new)
        run = _Run(site, scenario, report, site_cost(report, _base(site)), tell, watch, before, since)
        stage("Updating the site")
        seconds = bound_seconds(run.cost, scenario.rate, len(site.uplinks))
        if scenario.kill_at is not None and seconds < _SHORT_SECONDS:
            stage(f"At this rate one copy takes {seconds:.2f} s: too little, perhaps, to kill a device meanwhile")
        await _update(run)
        return await _result(run)


def _base(site: Site) -> str | None:
    """Return the version that the site as a whole starts from."""
    return site.inputs.old_version


async def _wait_installed(site: Site, members: list[Member], version: str, limit: float) -> None:
    """Wait until members have a version, installed or held."""
    with trio.move_on_after(limit) as scope:
        for member in members:
            while not _has(await member.status(), version):
                if not member.running:
                    raise NodeError(f"{member.name} has ended")
                await trio.sleep(0.1)
    if scope.cancelled_caught:
        raise FetchError(f"the site did not get {version} within {limit:g} s")


async def _wait_heard(site: Site, limit: float) -> None:
    """Wait until the malicious peer is linked to every device: whoever is not cannot refuse what it offers."""
    names = {member.name for member in site.devices}
    for liar in [member for member in site.members if member.role == "bad peer"]:
        with trio.move_on_after(limit) as scope:
            while not names <= {peer["node"] for peer in (await liar.status()).get("peers", [])}:
                if not liar.running:
                    raise NodeError(f"{liar.name} has ended")
                await trio.sleep(0.1)
        if scope.cancelled_caught:
            raise FetchError(f"{liar.name} was not linked to every device within {limit:g} s")


def _has(status: dict[str, Any], version: str) -> bool:
    rows = status.get("subscriptions", [])
    return any(row["version"] == version and row["phase"] in {"confirmed", "idle"} for row in rows)


async def _update(run: _Run) -> None:
    """Let the site update while things happen to it; ends when all devices are done or time is up."""
    run.start = trio.current_time()
    run.note("published", f"{run.report.product} {run.report.version} is published")
    with trio.move_on_after(run.scenario.limit_seconds):
        async with trio.open_nursery() as nursery:
            for happening in (_cut, _kill_device, _kill_gateway):
                nursery.start_soon(happening, run)
            await _observe(run)
            nursery.cancel_scope.cancel()
    if len(run.finished) == len(run.site.devices):
        count = len(run.site.devices)
        run.note("complete", f"{'the device runs' if count == 1 else f'all {count} devices run'} {run.report.version}")


async def _cut(run: _Run) -> None:
    if run.scenario.cut_at is None:
        return
    await run.until(run.scenario.cut_at)
    run.site.uplinks[0].cut(run.scenario.cut_seconds)
    run.note("cut", f"the uplink is cut for {run.scenario.cut_seconds:g} s")
    await trio.sleep(run.scenario.cut_seconds)
    run.pack_bytes_at_heal = run.site.counters()["pack_bytes"]
    run.note("healed", "the uplink is back")


async def _kill_device(run: _Run) -> None:
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


async def _midway(run: _Run, victim: Member) -> Kill:
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


async def _has_again(run: _Run, victim: Member) -> int:
    """Return what a device has of the new release when it goes on: what it does not fetch."""
    while True:
        status = await victim.status()
        row = _row(status, run.report.version)
        if row.get("by_source"):
            return int(row["by_source"]["local"])
        if _has(status, run.report.version):
            return run.report.size
        await trio.sleep(_LOOK_SECONDS)


def _row(status: dict[str, Any], version: str) -> dict[str, Any]:
    """Return what a status says of the fetch of a version; empty if there is none."""
    rows: list[dict[str, Any]] = [*status.get("ended", []), *status.get("fetches", [])]
    return next((row for row in reversed(rows) if row["version"] == version), {})


async def _kill_gateway(run: _Run) -> None:
    if run.scenario.kill_gateway_at is None:
        return
    await run.until(run.scenario.kill_gateway_at)
    run.site.kill(run.site.gateway)
    run.note("gateway-killed", "the gateway is killed for good")


async def _observe(run: _Run) -> None:
    """Take samples until every device has the new release."""
    while len(run.finished) < len(run.site.devices):
        async with trio.open_nursery() as nursery:
            for member in run.site.devices:
                nursery.start_soon(_look, run, member)
        run.passed_bytes = run.site.counters()["bytes_total"] - run.before["bytes_total"]
        done = {name: row.get("done", 0) for name, row in run.last.items()}
        sample = Sample(round(trio.current_time() - run.start, 2), run.passed_bytes, done)
        run.samples.append(sample)
        run.watch(sample, run.cost)
        await trio.sleep(_SAMPLE_SECONDS)


async def _look(run: _Run, member: Member) -> None:
    status = await member.status()
    version = run.report.version
    rows = [row for row in [*status.get("ended", []), *status.get("fetches", [])] if row["version"] == version]
    if rows:
        run.last[member.name] = rows[-1]
        refused = sum(row["refused_chunks"] for row in rows)
        if refused and not run.refused.get(member.name):
            liar = (status["banned"] or ["somebody"])[-1].split()[0]
            run.note("refused", f"{member.name} refused a wrong chunk and shut {liar} out")
        run.refused[member.name] = max(refused, run.refused.get(member.name, 0))
    if _has(status, version) and member.name not in run.finished:
        run.finished[member.name] = trio.current_time() - run.start


async def _result(run: _Run) -> Result:
    report, site = run.report, run.site
    passed = {name: value - run.before[name] for name, value in site.counters().items()}
    devices = [await trio.to_thread.run_sync(_device_result, run, member) for member in site.devices]
    nodes = await _stop_all(site)
    delta, metadata = run.cost - report.metadata_bytes, report.metadata_bytes
    holders = sum(member.holds_old for member in site.devices)
    full = site_cost(report)
    by_source: dict[str, int] = {}
    for device in devices:
        for source, count in device.by_source.items():
            by_source[source] = by_source.get(source, 0) + count
    facts = _facts(run, devices, passed)
    time_s = max(run.finished.values(), default=0.0) if len(run.finished) == len(devices) else None
    return Result(
        inputs=_inputs_row(site.inputs, report), site=_site_row(run), uplink_bytes=passed["bytes_total"],
        uplink_repeated_bytes=passed["repeated_body_bytes"], uplink_requests=passed["requests"],
        uplink_allowed_requests=facts.allowed_requests, uplink_header_bytes=passed["bytes_total"] - passed["body_bytes"],
        uplink_largest_header_bytes=facts.largest_header_bytes, delta_bytes=delta, metadata_bytes=metadata,
        full_bytes=full, independent_bytes=holders * run.cost + (len(devices) - holders) * full,
        duplicate_factor=round(passed["bytes_total"] / run.cost, 4), time_s=_rounded(time_s),
        bound_s=round(bound_seconds(run.cost, run.scenario.rate, len(site.uplinks)), 2), bytes_by_source=by_source,
        refused_chunks=sum(run.refused.values()), samples=run.samples, incidents=run.incidents, kill=run.kill,
        devices=devices, nodes=nodes, checks=checks_of(facts), publish_seconds=round(report.seconds, 2),
    )  # fmt: skip


def bound_seconds(cost: int, rate: float, uplinks: int) -> float:
    """Return the least time in which `cost` bytes can cross the uplinks and the last chunk reach a device.

    Source: max(D / sum U, ...) + c / U of docs/reference/bench.md; the LAN's own terms are left out, since it is loopback.
    """
    last_unit = 64 * 1024
    return cost * 8 / (rate * uplinks) + last_unit * 8 / rate


def _inputs_row(inputs: Inputs, report: PublishReport) -> dict[str, Any]:
    return {
        "product": inputs.product, "old_version": inputs.old_version, "new_version": inputs.new_version, "old": str(inputs.old),
        "new": str(inputs.new), "size": report.size, "chunks": report.chunks, "kind": report.kind,
    }  # fmt: skip


def _site_row(run: _Run) -> dict[str, Any]:
    spec, scenario = run.site.spec, run.scenario
    return {
        "devices": spec.devices, "empty": spec.empty, "own_uplinks": spec.own_uplinks, "bad_peer": spec.bad_peer,
        "uplink_bits_per_second": scenario.rate, "uplinks": len(run.site.uplinks),
        "gateway_killed": scenario.kill_gateway_at is not None, "level": spec.level, "cut_seconds": scenario.cut_seconds,
    }  # fmt: skip


def _device_result(run: _Run, member: Member) -> DeviceResult:
    row = run.last.get(member.name, {})
    return DeviceResult(
        member.name, member.holds_old, member.kills, _rounded(run.finished.get(member.name)),
        same_content(member.target, run.site.inputs.new), row.get("by_source", {}), run.refused.get(member.name, 0),
    )  # fmt: skip


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


async def _stop_all(site: Site) -> list[dict[str, Any]]:
    rows = []
    for member in site.members:
        await site.stop(member)
        rows.append({
            "name": member.name, "role": member.role, "cpu_s": round(member.usage.cpu_seconds, 2),
            "peak_rss_bytes": member.usage.peak_rss_bytes,
        })  # fmt: skip
    return rows


def _facts(run: _Run, devices: list[DeviceResult], passed: dict[str, int]) -> Facts:
    return Facts(
        devices=len(devices), right=sum(device.digests_ok for device in devices), reporting=len(run.finished), cost=run.cost,
        passed=passed, largest_header_bytes=run.site.largest_header_bytes, polls=_polls(run),
        breaks=len([i for i in run.incidents if i.kind in {"cut", "killed", "gateway-killed"}]),
        has_bad_peer=run.site.spec.bad_peer, refused=sum(run.refused.values()), wants_cut=run.scenario.cut_at is not None,
        pack_bytes_after_cut=None if run.pack_bytes_at_heal is None
        else passed["pack_bytes"] + run.before["pack_bytes"] - run.pack_bytes_at_heal,
        wants_kill=run.scenario.kill_at is not None, kill=run.kill,
    )  # fmt: skip


def _polls(run: _Run) -> int:
    """Return how often the uplinks' nodes may have asked for news: the first in rank does, the next one now and then."""
    return math.ceil((trio.current_time() - run.since) / POLL_SECONDS * 1.25) + len(run.site.uplinks)
