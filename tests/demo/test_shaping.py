from __future__ import annotations

import pytest
import trio
import trio.testing

from edgeswarm.demo.shaping import BURST_BYTES, Meter, parse_rate
from edgeswarm.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2mbit", 2e6),
        ("512kbit", 512e3),
        ("1.5 Mbit/s", 1.5e6),
        ("64000", 64e3),
        ("1gbit", 1e9),
        (" 3m ", 3e6),
        ("9600bit", 9600),
        ("0.5k", 500),
    ],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0mbit", "-1", "fast", "2mb", "2 mbyte", "1e6", "nan", "inf", "9" * 40])
def test_other_rates_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="want a number"):
        parse_rate(text)


async def test_the_rate_is_exact(autojump_clock: trio.testing.MockClock) -> None:
    meter = Meter(1_000_000)
    await meter.pass_on(BURST_BYTES)  # what may pass at once after a pause
    assert trio.current_time() == 0
    for _ in range(1000):
        await meter.pass_on(1250)
    assert trio.current_time() == pytest.approx(10)


async def test_late_callers_catch_up_but_by_no_more_than_the_burst(autojump_clock: trio.testing.MockClock) -> None:
    meter = Meter(8_000, burst=1000)
    await meter.pass_on(1000)
    await trio.sleep(60)
    start = trio.current_time()
    for _ in range(11):
        await meter.pass_on(1000)
    assert trio.current_time() - start == pytest.approx(10)


async def test_connections_share_evenly(autojump_clock: trio.testing.MockClock) -> None:
    meter = Meter(8_000, burst=0)
    passed = [0, 0, 0]

    async def pump(index: int) -> None:
        while True:
            await meter.pass_on(100)
            passed[index] += 100

    with trio.move_on_after(30):
        async with trio.open_nursery() as nursery:
            for index in range(3):
                nursery.start_soon(pump, index)
    assert all(9_700 <= count <= 10_100 for count in passed)
    assert 29_700 <= sum(passed) <= 30_000


async def test_the_rate_can_change_and_be_lifted(autojump_clock: trio.testing.MockClock) -> None:
    meter = Meter(8_000, burst=0)
    await meter.pass_on(1000)
    meter.set_rate(80_000)
    await meter.pass_on(1000)
    assert trio.current_time() == pytest.approx(1.1)
    meter.set_rate(None)
    await meter.pass_on(10**9)
    assert trio.current_time() == pytest.approx(1.1)


async def test_a_cut_empties_the_queue(autojump_clock: trio.testing.MockClock) -> None:
    meter = Meter(8_000, burst=0)
    with trio.move_on_after(1):
        await meter.pass_on(100_000)
    meter.reset()
    await meter.pass_on(1000)
    assert trio.current_time() == pytest.approx(2)
