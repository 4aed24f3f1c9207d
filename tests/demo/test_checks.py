"""What makes a run fail: one fact at a time is changed of a run that passed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeswarm.demo.checks import LOST_BYTES, Facts, checks_of
from edgeswarm.demo.result import Kill

KILL = Kill(name="device-1", size=25_000_000, done_bytes=11_000_000, received_bytes=800_000, again_bytes=11_000_000)
PASSED = {"bytes_total": 4_310_000, "requests": 141, "repeated_body_bytes": 0}
GOOD = Facts(
    devices=8, right=8, reporting=8, cost=4_273_000, passed=PASSED, largest_header_bytes=450, polls=30, breaks=2,
    empty=4, not_empty=0, has_bad_peer=True, refused=1, wants_cut=True, pack_bytes_after_cut=3_000_000, wants_kill=True, kill=KILL,
)  # fmt: skip


def failed(**changes: Any) -> list[str]:
    return [check.name for check in checks_of(replace(GOOD, **changes)) if not check.passed]


def test_a_good_run_passes() -> None:
    assert failed() == []
    assert failed(kill=replace(KILL, again_bytes=KILL.done_bytes + 1)) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"right": 7}, "every device has the right bytes"),
        ({"reporting": 7}, "every device reports the new release"),
        ({"passed": PASSED | {"repeated_body_bytes": 2 * LOST_BYTES + 1}}, "little was sent twice"),
        ({"largest_header_bytes": 513}, "headers were small"),
        ({"not_empty": 1}, "empty devices began with nothing"),
        ({"refused": 0}, "wrong chunks were refused"),
        ({"pack_bytes_after_cut": 0}, "the transfer went on after the cut"),
        ({"pack_bytes_after_cut": None}, "the transfer went on after the cut"),
        ({"kill": replace(KILL, done_bytes=KILL.size, again_bytes=KILL.size)}, "the device was killed in mid-transfer"),
        ({"kill": replace(KILL, received_bytes=0)}, "the device was killed in mid-transfer"),
        ({"kill": replace(KILL, again_bytes=0)}, "the killed device went on where it was"),
        ({"kill": replace(KILL, again_bytes=KILL.done_bytes - 1)}, "the killed device went on where it was"),
        ({"kill": replace(KILL, again_bytes=None)}, "the killed device went on where it was"),
    ],
)
def test_each_fact_counts(changes: dict[str, Any], name: str) -> None:
    assert failed(**changes) == [name]


def test_without_a_kill_both_its_checks_fail() -> None:
    assert len(failed(kill=None)) == 2


def test_what_was_not_asked_for_is_not_checked() -> None:
    quiet = replace(GOOD, empty=0, has_bad_peer=False, refused=0)
    calm = replace(quiet, wants_cut=False, pack_bytes_after_cut=None, wants_kill=False, kill=None)
    assert len(checks_of(calm)) == 5
    assert all(check.passed for check in checks_of(calm))


def test_headers_count_with_so_many_requests_as_a_copy_needs() -> None:
    assert GOOD.allowed_requests == 10 + 66 + 2 * 30 + 4 * 2
    allowed = int(1.02 * 4_273_000) + 144 * 450
    assert failed(passed=PASSED | {"bytes_total": allowed}) == []
    for largest in (100, 450, 512):  # the worst of the run itself allows nothing
        assert failed(passed=PASSED | {"bytes_total": allowed + 1}, largest_header_bytes=largest) == ["one copy crossed the uplink"]


def test_a_flood_of_requests_is_no_copy() -> None:
    """Bodies as they should be, and 20 times the headers."""
    flood = PASSED | {"bytes_total": 4_273_000 + 20 * 141 * 450, "requests": 20 * 141}
    assert failed(passed=flood) == ["one copy crossed the uplink"]
    details = [check.detail for check in checks_of(replace(GOOD, passed=flood)) if not check.passed]
    assert "in 2820 requests" in details[0]
    assert "the headers of 144 requests" in details[0]
