from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.errors import ExpiredError, StoreError, TrustError
from edgeswarm.trust.clock import BUILD_TIME, TimeFloor, format_time, judge_certificate, parse_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAR = datetime(2040, 1, 1, tzinfo=UTC)
FLOOR = TimeFloor(datetime(2027, 6, 1, tzinfo=UTC))
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(lambda t: t.replace(microsecond=0))


def test_the_floor_is_never_before_the_build() -> None:
    assert TimeFloor(EPOCH) == TimeFloor() == TimeFloor(BUILD_TIME)


@given(st.lists(st.none() | moments, max_size=8), moments)
def test_the_floor_never_goes_down_and_is_the_latest(issued: list[datetime | None], clock: datetime) -> None:
    floor = TimeFloor()
    for moment in issued:
        raised = floor.raised(moment)
        assert raised.value >= floor.value
        floor = raised
    assert floor.value == max([BUILD_TIME, *(moment for moment in issued if moment)])
    assert floor.now(clock) == max(clock, floor.value)
    assert TimeFloor.decode(floor.encode()) == floor


def test_golden_bytes() -> None:
    assert FLOOR.encode() == b"2027-06-01T00:00:00Z"


@pytest.mark.parametrize(
    "data", [b"", b"2027-06-01T00:00:00Z\n", b"\xff" * 20, b"2027-06-31T00:00:00Z", b"2027-06-01T00:00:00Z" * 9]
)
def test_damage_is_loud(data: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        TimeFloor.decode(data)


@given(moments)
def test_times_survive_formatting(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


@given(st.text(max_size=30) | st.none() | st.integers())
def test_no_time_is_a_trust_error(text: object) -> None:
    try:
        parse_time(text)
    except TrustError:
        return


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TrustError, match="time zone"):
        TimeFloor(datetime(2027, 1, 1))


@pytest.mark.parametrize("clock", [EPOCH, FLOOR.value, FLOOR.value + YEAR, FAR])
def test_no_clock_refuses_an_honest_certificate(clock: datetime) -> None:
    judge_certificate(FLOOR.value - YEAR, FLOOR.value + YEAR, clock, FLOOR)


@pytest.mark.parametrize("clock", [EPOCH, FLOOR.value, FAR])
def test_no_clock_admits_a_certificate_that_has_certainly_expired(clock: datetime) -> None:
    with pytest.raises(ExpiredError, match="enrol"):
        judge_certificate(FLOOR.value - YEAR, FLOOR.value - DAY, clock, FLOOR)


def test_a_certificate_of_the_future_is_refused_by_a_plausible_clock_only() -> None:
    start, end = FLOOR.value + 10 * DAY, FLOOR.value + YEAR
    with pytest.raises(TrustError, match="not valid before"):
        judge_certificate(start, end, FLOOR.value, FLOOR)
    judge_certificate(start, end, EPOCH, FLOOR)
    judge_certificate(start, end, start - DAY, FLOOR)
