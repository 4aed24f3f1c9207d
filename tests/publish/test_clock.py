"""A publisher's clock that is wrong does not stop the fleet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgeswarm.errors import PublishError
from edgeswarm.publish import add_site, clock, enrol, init_fleet, nodes_of, publish, refresh
from edgeswarm.trust.ceremony import Expiries
from edgeswarm.trust.clock import BUILD_TIME

from .world import FAST, NOW, Device, World

DAY = timedelta(days=1)


def _asked(world: World, attempt: Callable[[], object]) -> None:
    before = world.snapshot()
    with pytest.raises(PublishError, match="--clock-is-right"):
        attempt()
    assert world.snapshot() == before


@pytest.mark.parametrize("days", [-29, -2, -1.1, 15.1, 29, 31, 400])
def test_a_clock_that_jumps_is_asked_about(world: World, days: float) -> None:
    world.publish(b"1", "1")
    world.now += days * DAY
    _asked(world, lambda: world.publish(b"2", "2"))
    _asked(world, lambda: refresh(world.fleet, now=world.now))
    world.publish(b"2", "2", clock_is_right=True)
    refresh(world.fleet, now=world.now, clock_is_right=True)


@pytest.mark.parametrize("days", [-0.9, 0, 1, 7, 14, 14.9])
def test_a_fleet_that_is_looked_after_is_not_asked(world: World, days: float) -> None:
    world.publish(b"1", "1")
    world.now += days * DAY
    world.publish(b"2", "2")
    refresh(world.fleet, now=world.now + max(days, 0) * DAY)


@pytest.mark.parametrize(("hours", "asked"), [(7, False), (23, False), (25, True)])
def test_a_timestamp_that_lasts_for_hours_is_not_asked_about_by_the_hour(tmp_path: Path, hours: int, asked: bool) -> None:
    """A jump of up to a day harms nothing: the clocks of two publishers may differ by so much."""
    fleet = init_fleet(str(tmp_path / "f"), name="acme", now=NOW, expiries=Expiries(timestamp=timedelta(hours=12)))
    with pytest.raises(PublishError, match="--clock-is-right") if asked else nullcontext():
        refresh(fleet, now=NOW + timedelta(hours=hours))


@pytest.mark.parametrize("days", [0.1, 400])
def test_where_no_timestamp_tells_somebody_must(world: World, days: float) -> None:
    world.publish(b"1", "1")
    (world.origin / "metadata" / "timestamp.json").unlink()
    now = world.now + days * DAY
    _asked(world, lambda: refresh(world.fleet, now=now, repair=True))
    refresh(world.fleet, now=now, repair=True, clock_is_right=True)


def test_a_repair_compares_with_the_timestamp_that_is_there(world: World) -> None:
    world.publish(b"1", "1")
    for days in (-2, 16, 400):
        _asked(world, lambda days=days: refresh(world.fleet, now=world.now + days * DAY, repair=True))
    refresh(world.fleet, now=world.now + DAY, repair=True)


@pytest.mark.parametrize("now", [datetime(1970, 1, 1, tzinfo=UTC), BUILD_TIME - timedelta(seconds=1)])
@pytest.mark.parametrize("sure", [False, True])
def test_a_clock_before_this_software_is_never_right(world: World, now: datetime, sure: bool) -> None:
    world.publish(b"1", "1")
    add_site(world.fleet, "harbour")
    timestamp = world.origin / "metadata" / "timestamp.json"
    calls: dict[str, Callable[[], object]] = {
        "publish": lambda: publish(
            world.fleet, str(world.folder / "artifact"), product="app", version="2", channel="stable", now=now,
            options=replace(FAST, clock_is_right=sure),
        ),
        "refresh": lambda: refresh(world.fleet, now=now, clock_is_right=sure),
        "repair": lambda: refresh(world.fleet, now=now, clock_is_right=sure, repair=True),
        "init": lambda: init_fleet(str(world.folder / "new"), name="new", now=now),
        "enrol": lambda: enrol(world.fleet, "harbour", "a", str(world.folder / "new"), now=now),
        "repair of nothing": lambda: [timestamp.unlink(), refresh(world.fleet, now=now, clock_is_right=sure, repair=True)],
    }  # fmt: skip
    for call in calls.values():
        with pytest.raises(PublishError, match="built at"):
            call()
    assert not (world.folder / "new").exists()
    assert nodes_of(world.fleet, "harbour") == []


def test_what_was_signed_before_this_software_was_built_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is after each upgrade."""
    fleet = init_fleet(str(tmp_path / "f"), name="acme", now=NOW)
    monkeypatch.setattr(clock, "BUILD_TIME", NOW + DAY)
    with pytest.raises(PublishError, match="--clock-is-right"):
        refresh(fleet, now=NOW + 400 * DAY)
    refresh(fleet, now=NOW + 2 * DAY)


def test_after_a_clock_was_ahead_devices_are_served_again(world: World) -> None:
    world.publish(b"1", "1")
    device, right = Device(world), world.now
    ahead = right + 400 * DAY
    refresh(world.fleet, now=ahead, clock_is_right=True)
    report = refresh(world.fleet, now=right + DAY, every=True, clock_is_right=True)
    assert all(moment > ahead for role, moment in report.expiries.items() if role != "root")
    world.now = ahead  # what a device believes
    assert device.version() == "1"


def test_clocks_may_differ_by_hours(world: World) -> None:
    world.publish(b"1", "1")
    issued = world.now
    report = refresh(world.fleet, now=issued - DAY / 2)
    assert report.expiries["timestamp"] >= issued + world.fleet.expiries.timestamp - timedelta(seconds=1)
