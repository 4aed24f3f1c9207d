"""Token buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.exchange import TokenBucket


def test_a_full_bucket_gives_its_size_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, size=10.0)
    assert [bucket.take(100.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(100.0) == pytest.approx(0.5)
    assert bucket.take(100.0) == pytest.approx(1.0)
    assert bucket.take(102.0) == 0.0


def test_nothing_is_taken_that_is_not_there() -> None:
    bucket = TokenBucket(rate=1.0, size=3.0)
    assert bucket.try_take(0.0, 3.0)
    assert not bucket.try_take(0.5)
    assert bucket.try_take(1.0)
    assert not bucket.try_take(1e9, 3.5), "more than fits is never there"


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 5)), max_size=50))
def test_whoever_waits_as_told_never_gets_more_than_the_rate(script: list[tuple[float, float]]) -> None:
    bucket, now, taken = TokenBucket(rate=3.0, size=7.0), 0.0, 0.0
    for pause, tokens in script:
        now += pause
        now += bucket.take(now, tokens)
        taken += tokens
        assert taken <= 7.0 + 3.0 * now + 1e-6


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1.0, size=1.0)
    assert bucket.try_take(10.0)
    assert not bucket.try_take(0.0)
    assert not bucket.try_take(10.5)
    assert bucket.try_take(11.0)
