from __future__ import annotations

from random import Random

import pytest

from edgeswarm.errors import ConfigError
from edgeswarm.gossip import Consistent, Inconsistent, SetTimer, Start, Tick, Transmit, Trickle


class Fixed:
    """Dice that always show the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


def timer(effects: list[Transmit | SetTimer]) -> float:
    assert isinstance(effects[-1], SetTimer)
    return effects[-1].at


def started(value: float = 0.5, **values: float) -> Trickle:
    trickle = Trickle(Fixed(value), shortest=1.0, longest=10.0, **values)  # type: ignore[arg-type]  # redundancy is an int
    trickle.handle(Start(), 0.0)
    return trickle


def test_one_interval_after_another() -> None:
    trickle = Trickle(Fixed(0.5), shortest=1.0, longest=10.0)
    assert trickle.interval == 0
    assert trickle.handle(Start(), 100.0) == [SetTimer(100.75)]
    assert trickle.handle(Tick(), 100.75) == [Transmit(), SetTimer(101.0)]
    assert trickle.handle(Tick(), 101.0) == [SetTimer(102.5)]
    assert trickle.interval == 2.0


@pytest.mark.parametrize(("value", "moment"), [(0.0, 0.5), (0.5, 0.75), (0.999, 0.9995)])
def test_the_moment_is_in_the_second_half(value: float, moment: float) -> None:
    assert timer(Trickle(Fixed(value), shortest=1.0).handle(Start(), 0.0)) == pytest.approx(moment)


def test_intervals_double_up_to_the_longest() -> None:
    trickle, now, lengths = started(), 0.0, []
    for _ in range(12):
        lengths.append(trickle.interval)
        now = timer(trickle.handle(Tick(), now + trickle.interval))
        trickle.handle(Tick(), now)
    assert lengths[:5] == [1.0, 2.0, 4.0, 8.0, 10.0]
    assert lengths[-1] == 10.0


@pytest.mark.parametrize(("heard", "sends"), [(0, True), (1, True), (2, False), (3, False)])
def test_enough_heard_means_silence(heard: int, sends: bool) -> None:
    trickle = started()
    for _ in range(heard):
        assert trickle.handle(Consistent(), 0.1) == []
    assert (Transmit() in trickle.handle(Tick(), 0.75)) is sends


def test_what_was_heard_counts_for_one_interval() -> None:
    trickle = started()
    trickle.handle(Consistent(), 0.1)
    trickle.handle(Consistent(), 0.2)
    trickle.handle(Tick(), 0.75)
    trickle.handle(Tick(), 1.0)
    assert trickle.handle(Tick(), 2.5) == [Transmit(), SetTimer(3.0)]


def test_news_cut_the_interval_back() -> None:
    trickle = started()
    trickle.handle(Tick(), 0.75)
    trickle.handle(Tick(), 1.0)
    assert trickle.handle(Inconsistent(), 1.5) == [SetTimer(2.25)]
    assert trickle.interval == 1.0
    assert trickle.handle(Inconsistent(), 1.6) == []


def test_early_and_late_ticks() -> None:
    trickle = started()
    assert trickle.handle(Tick(), 0.5) == [SetTimer(0.75)]
    assert trickle.handle(Tick(), 500.0) == [Transmit(), SetTimer(1.0)]
    assert trickle.handle(Tick(), 500.0) == [SetTimer(501.5)]


@pytest.mark.parametrize("event", [Tick(), Consistent(), Inconsistent()])
def test_nothing_happens_before_the_start(event: Tick | Consistent | Inconsistent) -> None:
    assert Trickle(Fixed(0.5)).handle(event, 1.0) == []


@pytest.mark.parametrize("values", [{"shortest": 0.0}, {"shortest": 2.0, "longest": 1.0}, {"redundancy": 0}])
def test_settings_are_checked(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Trickle(Random(1), **values)  # type: ignore[arg-type]  # redundancy is an int
