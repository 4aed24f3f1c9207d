"""A publisher's clock that is wrong does not stop the fleet."""

from __future__ import annotations

from datetime import timedelta

import pytest

from edgeswarm.errors import PublishError
from edgeswarm.publish import refresh

from .world import Device, World

DAY = timedelta(days=1)


@pytest.mark.parametrize("days", [-2, 400])
def test_a_clock_that_jumps_is_asked_about(world: World, days: int) -> None:
    world.publish(b"1", "1")
    before, right = world.snapshot(), world.now
    world.now = right + days * DAY
    for attempt in (lambda: world.publish(b"2", "2"), lambda: refresh(world.fleet, now=world.now)):
        with pytest.raises(PublishError, match="--clock-is-right"):
            attempt()
    assert world.snapshot() == before
    world.publish(b"2", "2", clock_is_right=True)
    refresh(world.fleet, now=world.now, clock_is_right=True)


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
