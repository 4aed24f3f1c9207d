"""One run: a site gets its first release, then the second over a thin uplink that breaks, while devices die and a peer lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from ..errors import FetchError, NodeError
from ..publish import PublishReport, site_cost
from .checks import Facts, checks_of
from .compare import same_content
from .happenings import Run, Scenario, Tell, Watch, has_version, make_happen, metadata_version
from .inputs import Inputs
from .result import DeviceResult, Result, Sample
from .site import POLL_SECONDS, Member, Site, SiteSpec, open_site, start_all

_SAMPLE_SECONDS = 0.25
_SHORT_SECONDS = 2.0
"""A copy that crosses in less may have reached the devices before one of them can be killed. A guess."""


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
        await start_all(site, [member for member in site.members if member.role == "bad peer"])
        await _wait_heard(site, scenario.limit_seconds)
        for uplink in site.uplinks:
            uplink.set_rate(scenario.rate)
        stage(f"Publishing {inputs.product} {inputs.new_version}")
        before, since, known = site.counters(), trio.current_time(), await metadata_version(site.gateway)
        report = await site.publish(inputs.new_version, inputs.new)
        run = Run(site, scenario, report, site_cost(report, _base(site)), tell, watch, before, since, known)
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
            while not has_version(await member.status(), version):
                if not member.running:
                    raise NodeError(f"{member.name} has ended")
                await trio.sleep(0.1)
    if scope.cancelled_caught:
        raise FetchError(f"the site did not get {version} within {limit:g} s")


async def _wait_heard(site: Site, limit: float) -> None:
    """Wait until the malicious peer is linked to every device that runs: whoever is not cannot refuse what it offers."""
    names = {member.name for member in site.devices if member.running}
    for liar in [member for member in site.members if member.role == "bad peer"]:
        with trio.move_on_after(limit) as scope:
            while not names <= {peer["node"] for peer in (await liar.status()).get("peers", [])}:
                if not liar.running:
                    raise NodeError(f"{liar.name} has ended")
                await trio.sleep(0.1)
        if scope.cancelled_caught:
            raise FetchError(f"{liar.name} was not linked to every device within {limit:g} s")


async def _update(run: Run) -> None:
    """Let the site update while things happen to it; ends when all devices are done or time is up."""
    run.start = trio.current_time()
    run.note("published", f"{run.report.product} {run.report.version} is published")
    with trio.move_on_after(run.scenario.limit_seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_happen, run)
            await _observe(run)
            nursery.cancel_scope.cancel()
    if len(run.finished) == len(run.site.devices):
        count = len(run.site.devices)
        run.note("complete", f"{'the device runs' if count == 1 else f'all {count} devices run'} {run.report.version}")


async def _observe(run: Run) -> None:
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


async def _look(run: Run, member: Member) -> None:
    status = await member.status()
    version = run.report.version
    rows = [row for row in [*status.get("ended", []), *status.get("fetches", [])] if row["version"] == version]
    if not member.holds_old and _knows_old(run, status):
        run.not_empty.add(member.name)
    if rows:
        run.last[member.name] = rows[-1]
        refused = sum(row["refused_chunks"] for row in rows)
        if refused and not run.refused.get(member.name):
            liar = (status["banned"] or ["somebody"])[-1].split()[0]
            run.note("refused", f"{member.name} refused a wrong chunk and shut {liar} out")
        run.refused[member.name] = max(refused, run.refused.get(member.name, 0))
    if has_version(status, version) and member.name not in run.finished:
        run.finished[member.name] = trio.current_time() - run.start


def _knows_old(run: Run, status: dict[str, Any]) -> bool:
    """Tell if a device has, or fetches, the old release."""
    rows = [*status.get("ended", []), *status.get("fetches", []), *status.get("subscriptions", [])]
    return any(row["version"] == run.site.inputs.old_version for row in rows)


async def _result(run: Run) -> Result:
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


def _site_row(run: Run) -> dict[str, Any]:
    spec, scenario = run.site.spec, run.scenario
    return {
        "devices": spec.devices, "empty": spec.empty, "own_uplinks": spec.own_uplinks, "bad_peer": spec.bad_peer,
        "uplink_bits_per_second": scenario.rate, "uplinks": len(run.site.uplinks),
        "gateway_killed": scenario.kill_gateway_at is not None, "level": spec.level, "cut_seconds": scenario.cut_seconds,
    }  # fmt: skip


def _device_result(run: Run, member: Member) -> DeviceResult:
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


def _facts(run: Run, devices: list[DeviceResult], passed: dict[str, int]) -> Facts:
    return Facts(
        devices=len(devices), right=sum(device.digests_ok for device in devices), reporting=len(run.finished), cost=run.cost,
        passed=passed, largest_header_bytes=run.site.largest_header_bytes, polls=_polls(run),
        breaks=len([i for i in run.incidents if i.kind in {"cut", "killed", "gateway-killed"}]),
        empty=run.site.spec.empty, not_empty=len(run.not_empty),
        has_bad_peer=run.site.spec.bad_peer, refused=sum(run.refused.values()), wants_cut=run.scenario.cut_at is not None,
        pack_bytes_after_cut=None if run.pack_bytes_at_heal is None
        else passed["pack_bytes"] + run.before["pack_bytes"] - run.pack_bytes_at_heal,
        wants_kill=run.scenario.kill_at is not None, kill=run.kill,
    )  # fmt: skip


def _polls(run: Run) -> int:
    """Return how often the uplinks' nodes may have asked for news: the first in rank does, the next one now and then."""
    return math.ceil((trio.current_time() - run.since) / POLL_SECONDS * 1.25) + len(run.site.uplinks)
