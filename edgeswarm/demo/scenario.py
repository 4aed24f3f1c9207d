"""One run: a site gets its first release, then the second over a thin uplink that breaks, while devices die and a peer lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ..content.digest import digest
from ..errors import ConfigError, FetchError, NodeError
from ..publish import PublishReport, site_cost
from .inputs import Inputs
from .result import Check, DeviceResult, Incident, Result, Sample
from .site import Member, Site, SiteSpec, open_site, start_all

_SAMPLE_SECONDS = 0.25
_LOST_BYTES = 64 * 1024  # the target: at most this much per cut or kill
_FACTOR = 1.02  # the target: uplink bytes / bytes of one copy


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
    start: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    finished: dict[str, float] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    passed_bytes: int = 0

    def note(self, kind: str, text: str) -> None:
        incident = Incident(round(trio.current_time() - self.start, 2), kind, text)
        self.incidents.append(incident)
        self.tell(incident)

    @property
    def share(self) -> float:
        return self.passed_bytes / self.cost

    async def until(self, share: float) -> None:
        while self.share < share:
            await trio.sleep(0.02)
            self.passed_bytes = self.site.counters()["bytes_total"] - self.before["bytes_total"]

    before: dict[str, int] = field(default_factory=dict)


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
        for uplink in site.uplinks:
            uplink.set_rate(scenario.rate)
        stage(f"Publishing {inputs.product} {inputs.new_version}")
        before = site.counters()
        report = await site.publish(inputs.new_version, inputs.new)
        run = _Run(site, scenario, report, site_cost(report, _base(site)), tell, watch, before=before)
        stage("Updating the site")
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
    run.note("healed", "the uplink is back")


async def _kill_device(run: _Run) -> None:
    if run.scenario.kill_at is None:
        return
    await run.until(run.scenario.kill_at)
    victim = run.site.devices[0]
    run.site.kill(victim)
    run.finished.pop(victim.name, None)
    run.note("killed", f"{victim.name} is killed with SIGKILL")
    await trio.sleep(run.scenario.down_seconds)
    run.site.start(victim)
    run.note("restarted", f"{victim.name} is started again")


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
    time_s = max(run.finished.values(), default=0.0) if len(run.finished) == len(devices) else None
    return Result(
        inputs=_inputs_row(site.inputs, report), site=_site_row(run), uplink_bytes=passed["bytes_total"],
        uplink_repeated_bytes=passed["repeated_body_bytes"], uplink_requests=passed["requests"],
        uplink_header_bytes=passed["bytes_total"] - passed["body_bytes"], delta_bytes=delta, metadata_bytes=metadata,
        full_bytes=full, independent_bytes=holders * run.cost + (len(devices) - holders) * full,
        duplicate_factor=round(passed["bytes_total"] / run.cost, 4), time_s=_rounded(time_s),
        bound_s=round(bound_seconds(run.cost, run.scenario.rate, len(site.uplinks)), 2), bytes_by_source=by_source,
        refused_chunks=sum(run.refused.values()), samples=run.samples, incidents=run.incidents, devices=devices, nodes=nodes,
        checks=_checks(run, devices, passed), publish_seconds=round(report.seconds, 2),
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


def same_content(one: Path, other: Path) -> bool:
    """Tell if two files or trees hold the same bytes, and trees the same names, types and modes."""
    if not one.exists():
        return False
    if other.is_file():
        return one.is_file() and _digest_of(one) == _digest_of(other)
    return _listing(one) == _listing(other)


def _listing(folder: Path) -> list[tuple[str, str, int]]:
    rows = []
    for path in sorted(folder.resolve().rglob("*")):
        name = str(path.relative_to(folder.resolve()))
        what = str(path.readlink()) if path.is_symlink() else "/" if path.is_dir() else _digest_of(path)
        rows.append((name, what, 0 if path.is_symlink() else path.stat().st_mode & 0o777))
    return rows


def _digest_of(path: Path) -> str:
    return digest(path.read_bytes()).hex()


async def _stop_all(site: Site) -> list[dict[str, Any]]:
    rows = []
    for member in site.members:
        await site.stop(member)
        rows.append({
            "name": member.name, "role": member.role, "cpu_s": round(member.usage.cpu_seconds, 2),
            "peak_rss_bytes": member.usage.peak_rss_bytes,
        })  # fmt: skip
    return rows


def _checks(run: _Run, devices: list[DeviceResult], passed: dict[str, int]) -> list[Check]:
    right = sum(device.digests_ok for device in devices)
    breaks = len([i for i in run.incidents if i.kind in {"cut", "killed", "gateway-killed"}])
    bodies = passed["body_bytes"]
    checks = [
        Check("every device has the right bytes", right == len(devices), f"{right} of {len(devices)} devices verified"),
        Check("every device reports the new release", len(run.finished) == len(devices), f"{len(run.finished)} of {len(devices)}"),
        Check(
            "one copy crossed the uplink",
            bodies <= _FACTOR * run.cost,
            f"{bodies} bytes but for headers; {int(_FACTOR * run.cost)} allowed: {_FACTOR} x one copy",
        ),
        Check(
            "little was sent twice",
            passed["repeated_body_bytes"] <= breaks * _LOST_BYTES,
            f"{passed['repeated_body_bytes']} bytes repeated after {breaks} breaks",
        ),
    ]
    if run.site.spec.bad_peer:
        refused = sum(run.refused.values())
        checks.append(Check("wrong chunks were refused", refused > 0, f"{refused} refused"))
    return checks
