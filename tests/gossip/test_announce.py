from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

import pytest

from edgeswarm.gossip import (
    Announce,
    Announcer,
    Approach,
    Beacon,
    Disproved,
    Heard,
    Holds,
    SetTimer,
    Start,
    Tick,
    Trickle,
    site_tag,
)
from edgeswarm.gossip.announce import Effect

SITE = site_tag("acme", "rig-4")


def name(number: int) -> bytes:
    return number.to_bytes(8, "big")


def beacon(node: int, version: int, sequence: int, epoch: int = 1, **where: object) -> Beacon:
    return Beacon(site=SITE, node=name(node), epoch=epoch, sequence=sequence, timestamp_version=version, **where)


def hear(*arguments: int, **where: object) -> Heard:
    return Heard(beacon(*arguments, **where), "10.0.0.1")


def quiet_node(version: int = 5) -> Announcer:
    """Return a node at time 10 whose interval is longer than the shortest, so that a reset shows."""
    node = Announcer(Trickle(Random(1)), node=name(0), timestamp_version=version)
    node.handle(Start(), 0.0)
    for now in (1.0, 1.0, 2.0, 2.0, 4.0, 4.0):
        node.handle(Tick(), now)
    return node


def resets(effects: list[Effect]) -> bool:
    return any(isinstance(effect, SetTimer) for effect in effects)


def test_announces_what_it_holds() -> None:
    node = Announcer(Trickle(Random(1)), node=name(0), timestamp_version=5)
    (timer,) = node.handle(Start(), 0.0)
    assert isinstance(timer, SetTimer)
    assert node.handle(Tick(), timer.at)[0] == Announce(5)
    node = quiet_node()
    (timer,) = node.handle(Holds(6), 10.0)
    assert isinstance(timer, SetTimer)
    assert timer.at <= 10.1
    assert node.handle(Tick(), timer.at)[0] == Announce(6)


@pytest.mark.parametrize("version", [4, 5])
def test_holding_nothing_newer_is_no_news(version: int) -> None:
    assert quiet_node().handle(Holds(version), 10.0) == []


@pytest.mark.parametrize(("version", "reset"), [(4, True), (5, False), (6, True)])
def test_older_same_newer(version: int, reset: bool) -> None:
    assert resets(quiet_node().handle(hear(1, version, 1), 10.0)) is reset


@pytest.mark.parametrize("version", [4, 5, 6])
@pytest.mark.parametrize(
    ("where", "address"),
    [
        ({"port": 9}, "10.0.0.1:9"),
        ({"port": 9, "address": "10.1.1.1"}, "10.1.1.1:9"),
        ({"port": 9, "address": "fe80::1"}, "[fe80::1]:9"),
        ({"address": "10.1.1.1"}, None),
    ],
)
def test_who_accepts_links_is_approached_whatever_it_holds(version: int, where: dict[str, object], address: str | None) -> None:
    effects = quiet_node().handle(hear(1, version, 1, **where), 10.0)
    assert [effect for effect in effects if isinstance(effect, Approach)] == ([Approach(name(1), address)] if address else [])


def test_only_a_fresh_beacon_names_an_address() -> None:
    node = quiet_node()
    assert Approach(name(1), "10.1.1.1:9") in node.handle(hear(1, 5, 1, port=9, address="10.1.1.1"), 10.0)
    for number in range(2, 100):
        assert node.handle(hear(1, 5, 1, port=9, address=f"10.1.1.{number}"), 10.0) == []


def test_agreement_makes_silent() -> None:
    node = Announcer(Trickle(Random(1)), node=name(0), timestamp_version=5)
    node.handle(Start(), 0.0)
    node.handle(hear(1, 5, 1), 0.01)
    node.handle(hear(2, 5, 1), 0.02)
    assert Announce(5) not in node.handle(Tick(), 0.1)


def test_its_own_beacon_is_skipped() -> None:
    assert quiet_node().handle(hear(0, 9, 1, port=9), 10.0) == []


def test_recorded_beacons_do_nothing() -> None:
    node = quiet_node()
    assert node.handle(hear(1, 6, 7, port=9), 10.0)
    assert node.handle(hear(1, 6, 7, port=9), 400.0) == []
    assert node.handle(hear(1, 7, 6, port=9), 400.0) == []
    assert node.handle(hear(1, 6, 0, epoch=2, port=9), 400.0)
    assert node.handle(hear(1, 6, 9, epoch=1, port=9), 800.0) == []


def test_a_node_that_stays_behind_resets_once_in_the_longest_interval() -> None:
    node = quiet_node()
    now, count = 10.0, 0
    for number, version in enumerate([4, 4, 3, 4, 2, 4], start=1):
        count += resets(node.handle(hear(1, version, number), now))
        now += 5
        for _ in range(9):
            node.handle(Tick(), now)
    assert count == 1
    assert resets(node.handle(hear(1, 4, 50), 311.0))


def test_a_newer_version_resets_once() -> None:
    node = quiet_node()
    assert resets(node.handle(hear(1, 6, 1), 10.0))
    for _ in range(4):
        node.handle(Tick(), 11.0)
    assert node.handle(hear(1, 6, 2), 11.0) == []
    assert resets(node.handle(hear(1, 7, 3), 11.0))


def rest(node: Announcer, now: float) -> None:
    """Let the interval grow, so that a reset shows."""
    for _ in range(6):
        node.handle(Tick(), now)
        now += 5


def test_what_could_not_be_proved_counts_for_nothing() -> None:
    node = quiet_node()
    node.handle(hear(1, 2**63 - 1, 1), 10.0)
    node.handle(Disproved(name(1), 100), 10.0)
    node.handle(Disproved(name(1), 200), 10.0)
    rest(node, 900.0)
    for version, sequence in [(2**63 - 1, 2), (100, 3)]:
        assert not resets(node.handle(hear(1, version, sequence), 1000.0))
    assert resets(node.handle(hear(1, 99, 4), 1000.0))
    rest(node, 1900.0)
    assert resets(node.handle(hear(2, 100, 1), 2000.0))
    node.handle(Holds(100), 2000.0)
    rest(node, 2900.0)
    assert resets(node.handle(hear(1, 101, 5), 3000.0))


def beacons_in_an_hour(say: Callable[[int], Heard | None], start: float = 4000.0) -> int:
    """Return how many beacons a node sends in an hour in which it hears what `say` returns for each second."""
    node, sent = Announcer(Trickle(Random(1)), node=name(0), timestamp_version=5), 0
    due = [effect.at for effect in node.handle(Start(), 0.0)]
    for second in range(int(start) + 3600):
        while due[-1] <= second:
            effects = node.handle(Tick(), due[-1])
            due += [effect.at for effect in effects if isinstance(effect, SetTimer)]
            sent += second >= start and Announce(5) in effects
        heard = say(second) if second >= start else None
        effects = node.handle(heard, second) if heard else []
        due += [effect.at for effect in effects if isinstance(effect, SetTimer)]
    return sent


def test_a_lie_a_second_costs_few_beacons_whatever_name_it_bears() -> None:
    assert beacons_in_an_hour(lambda _second: None) <= 13
    one = beacons_in_an_hour(lambda second: hear(1, second, second))
    many = beacons_in_an_hour(lambda second: hear(second, 6, 1))
    behind = beacons_in_an_hour(lambda second: hear(second, 4, 1))
    # 8 + 12 resets, each of a dozen intervals that double.
    assert max(one, many, behind) <= 20 * 12


def test_resets_that_change_nothing_are_not_counted() -> None:
    node = Announcer(Trickle(Random(1)), node=name(0), timestamp_version=5)
    node.handle(Start(), 0.0)
    for number in range(1, 100):
        assert not resets(node.handle(hear(number, 6, 1), 0.01))
    rest(node, 10.0)
    assert resets(node.handle(hear(100, 6, 1), 20.0))


def test_what_is_held_resets_however_often_others_did() -> None:
    node = quiet_node()
    for number in range(1, 100):
        node.handle(hear(number, 6, 1), 10.0 + number)
        rest(node, 10.0 + number)
    assert resets(node.handle(Holds(6), 200.0))


def test_a_doubt_about_what_is_held_is_none() -> None:
    node = quiet_node()
    node.handle(Disproved(name(1), 5), 10.0)
    assert node.handle(hear(1, 6, 1), 10.0)


def test_memory_is_bounded_and_the_longest_silent_is_forgotten() -> None:
    node = quiet_node()
    node.handle(hear(1, 5, 5), 10.0)
    for number in range(2, 1500):
        node.handle(hear(number, 5, 1), 10.0)
        if number == 900:
            node.handle(hear(1, 5, 6), 10.0)
    assert len(node._peers) == 1024
    assert node.handle(hear(1, 6, 6), 10.0) == []
    assert node.handle(hear(1499, 6, 1), 10.0) == []
    assert node.handle(hear(2, 6, 1), 10.0) != []


class Air:
    """Nodes that all hear each other, on an event heap, with loss."""

    def __init__(self, nodes: int, seed: int, loss: float = 0.05) -> None:
        self.dice = Random(seed)
        self.loss = loss
        self.heap: list[tuple[float, int, int, object]] = []
        self.count = 0
        self.sent: list[tuple[float, int, int]] = []
        self.knows = [1] * nodes
        self.timers = [0] * nodes
        self.nodes = [Announcer(Trickle(Random(self.dice.random())), node=name(n), timestamp_version=1) for n in range(nodes)]
        for number in range(nodes):
            self.give(number, Start(), self.dice.random())

    def at(self, when: float, number: int, event: object) -> int:
        self.count += 1
        heapq.heappush(self.heap, (when, self.count, number, event))
        return self.count

    def give(self, number: int, event: object, now: float) -> None:
        if isinstance(event, Heard) and event.beacon.timestamp_version > self.knows[number]:
            # Links are there: whoever hears of news has the metadata, and so its proof, 20 ms later.
            self.knows[number] = event.beacon.timestamp_version
            self.at(now + 0.02, number, Holds(event.beacon.timestamp_version))
        for effect in self.nodes[number].handle(event, now):  # type: ignore[arg-type]  # the heap holds any event
            if isinstance(effect, SetTimer):
                self.timers[number] = self.at(effect.at, number, Tick())
            elif isinstance(effect, Announce):
                self.say(number, effect.timestamp_version, now)

    def say(self, number: int, version: int, now: float) -> None:
        self.sent.append((now, number, version))
        heard = hear(number, version, len(self.sent))
        for other in range(len(self.nodes)):
            if self.dice.random() >= self.loss:
                self.at(now + 0.001, other, heard)

    def run(self, until: float) -> None:
        while self.heap and self.heap[0][0] <= until:
            now, count, number, event = heapq.heappop(self.heap)
            if not isinstance(event, Tick) or count == self.timers[number]:
                self.give(number, event, now)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_site_is_quiet_when_idle_and_hears_of_news_within_half_a_second(seed: int) -> None:
    air = Air(nodes=100, seed=seed)
    air.run(3000.0)
    before = len(air.sent)
    air.run(6000.0)
    # Design target: at most 5 bytes a node and second; one beacon of 103 bytes is received by all.
    assert len(air.sent) - before >= 10
    assert (len(air.sent) - before) * 103 / 3000 <= 5
    air.knows[3] = 2
    air.give(3, Holds(2), 6000.0)
    air.run(6000.5)
    assert air.knows == [2] * 100


def test_same_seed_same_trace() -> None:
    one, other = Air(nodes=10, seed=5), Air(nodes=10, seed=5)
    one.run(500.0)
    other.run(500.0)
    assert one.sent == other.sent
    assert one.sent
