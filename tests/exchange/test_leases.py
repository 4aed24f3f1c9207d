"""Leases, case by case: who may fetch a span when."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from edgeswarm.exchange import ranking
from edgeswarm.exchange.leases import RENEW_SECONDS, STALL_SECONDS, Leases

from .simulation import node_id

KEY = bytes(32)
SPAN = 3
BEST, MIDDLE, WORST = ranking(KEY + SPAN.to_bytes(4, "big"), [node_id(str(i)) for i in range(3)])


def leases(own: bytes) -> Leases:
    others = [node for node in (BEST, MIDDLE, WORST) if node != own]
    return Leases(KEY, own, dict.fromkeys(others))


@pytest.mark.parametrize(("own", "rank"), [(BEST, 0), (MIDDLE, 1), (WORST, 2)])
def test_rank(own: bytes, rank: int) -> None:
    assert leases(own).rank(SPAN) == rank
    assert leases(own).rank(SPAN, WORST) == 2


def test_without_other_uplinks_every_span_is_ours() -> None:
    assert [Leases(KEY, WORST).rank(span) for span in range(9)] == [0] * 9
    assert Leases(KEY, WORST).heirs(SPAN) == []


def test_the_heirs_are_the_two_best_of_the_others() -> None:
    assert leases(BEST).heirs(SPAN) == [MIDDLE, WORST]
    assert leases(WORST).heirs(SPAN) == [BEST, MIDDLE]
    many = leases(WORST)
    many.set_uplink(b"another", usable=True)
    assert len(many.heirs(SPAN)) == 2
    many.set_uplink(BEST, usable=False)
    assert BEST not in many.heirs(SPAN)


def test_the_heirs_of_an_object_are_those_who_wait_for_it() -> None:
    mine = leases(WORST)
    keys = (bytes([number]) for number in range(100))
    key = next(key for key in keys if ranking(key, [BEST, MIDDLE]) == [MIDDLE, BEST])
    assert mine.heirs_of_object(key, SPAN) == mine.heirs(SPAN) == [BEST, MIDDLE]
    mine.claim(SPAN, 0.0)
    mine.heard(MIDDLE, 5, 0, 0.0)
    assert mine.heirs_of_object(key, SPAN) == [MIDDLE, BEST]
    mine.heard(BEST, 6, 0, 0.0)
    assert mine.heirs_of_object(key, SPAN) == ranking(key, [BEST, MIDDLE]) == [MIDDLE, BEST]
    mine.release(MIDDLE, 5, 1.0)
    assert mine.heirs_of_object(key, SPAN) == [BEST, MIDDLE]


def test_an_heir_whose_uplink_is_broken_comes_last() -> None:
    mine = leases(WORST)
    mine.set_uplink(BEST, usable=False)
    assert mine.heirs(SPAN) == [MIDDLE, BEST]
    mine.set_uplink(BEST, usable=True)
    assert mine.heirs(SPAN) == [BEST, MIDDLE]
    mine.remove(BEST, 0.0)
    assert mine.heirs(SPAN) == [MIDDLE]


@pytest.mark.parametrize(
    ("own", "first", "second", "give_up"),
    [
        (MIDDLE, MIDDLE, BEST, True),  # a better one claims what we hold
        (MIDDLE, MIDDLE, WORST, False),  # a worse one does
        (WORST, MIDDLE, BEST, False),  # two others: not our affair
    ],
)
def test_the_better_rank_keeps_a_span(own: bytes, first: bytes, second: bytes, give_up: bool) -> None:
    table = leases(own)
    if first == own:
        table.claim(SPAN, 0.0)
    else:
        assert not table.heard(first, SPAN, 0, 0.0)
    assert table.heard(second, SPAN, 0, 1.0) is give_up
    assert table.own_spans() == ([SPAN] if own == first and not give_up else [])
    # Whoever of the others holds it now, it is not ours to take.
    assert table.held_by_other(SPAN, 1.0) is not (own == first and not give_up)


def test_a_claim_holds_while_it_makes_progress() -> None:
    table = leases(MIDDLE)
    table.heard(BEST, SPAN, 0, 0.0)
    table.heard(BEST, SPAN, 100, 8.0)
    assert table.held_by_other(SPAN, 8.0 + STALL_SECONDS - 0.1)
    assert not table.held_by_other(SPAN, 8.0 + STALL_SECONDS)


def test_repeating_a_claim_is_no_progress() -> None:
    table = leases(MIDDLE)
    table.heard(BEST, SPAN, 7, 0.0)
    table.heard(BEST, SPAN, 7, STALL_SECONDS - 1)
    assert not table.held_by_other(SPAN, STALL_SECONDS)


@pytest.mark.parametrize("own", [BEST, MIDDLE])
def test_a_stalled_claim_gives_way_to_a_worse_rank(own: bytes) -> None:
    """Else every other node would go on to believe the stalled one, and fetch the span too."""
    table = leases(own)
    if own == BEST:
        table.claim(SPAN, 0.0)
    else:
        table.heard(BEST, SPAN, 0, 0.0)
    assert table.heard(WORST, SPAN, 0, STALL_SECONDS) is (own == BEST)
    assert table.held_by_other(SPAN, STALL_SECONDS + 1)
    assert table.own_spans() == []


def test_release_by_the_holder_only() -> None:
    table = leases(MIDDLE)
    table.heard(BEST, SPAN, 0, 0.0)
    assert not table.release(WORST, SPAN, 0.0)
    assert table.held_by_other(SPAN, 0.0)
    assert table.release(BEST, SPAN, 0.0)
    assert not table.release(BEST, SPAN, 0.0)
    assert not table.held_by_other(SPAN, 0.0)


def test_what_a_peer_held_is_free_when_it_is_gone() -> None:
    table = leases(MIDDLE)
    table.heard(BEST, SPAN, 0, 0.0)
    table.heard(BEST, SPAN + 1, 0, 0.0)
    table.claim(SPAN + 2, 0.0)
    table.remove(BEST, 0.0)
    assert not table.held_by_other(SPAN, 0.0)
    assert table.own_spans() == [SPAN + 2]
    assert table.rank(SPAN) == 0


def test_own_claims_are_renewed_once_a_second() -> None:
    table = leases(MIDDLE)
    table.claim(SPAN, 0.0)
    times = [0.1 * i for i in range(31)]
    told = [time for time in times if table.progress(SPAN, int(10 * time), time)]
    assert len(told) == 3
    assert all(later - earlier >= RENEW_SECONDS for earlier, later in pairwise(told))
    assert not table.progress(SPAN + 1, 5, 9.0)


def test_a_claim_of_a_node_without_an_uplink_counts_for_nothing() -> None:
    table = leases(MIDDLE)
    stranger = node_id("stranger")
    assert not table.heard(stranger, SPAN, 0, 0.0)
    assert not table.held_by_other(SPAN, 0.0)


def test_a_holder_that_delivers_nothing_is_not_believed_for_ever() -> None:
    table = leases(MIDDLE)
    held = []
    for second in range(300):
        table.heard(BEST, SPAN, second, float(second))
        held.append(table.held_by_other(SPAN, float(second)))
    assert held[:120] == [True] * 120
    assert not any(held[121:240]), "and then it gets another chance"


def test_who_claims_everything_and_brings_nothing_delays_a_site_less_and_less() -> None:
    """A better rank, new spans, releases, links that come and go: none of it starts a new credit."""
    table = leases(WORST)
    blocked = []
    for second in range(3 * 3600):
        now, span = float(second), second // 20
        if span % 3 == 0:
            table.claim(span, now)
        table.heard(BEST, span, second, now)
        blocked.append(table.held_by_other(span, now))
        if second % 20 == 19:
            table.release(BEST, span, now)
            table.remove(BEST, now)
            table.set_uplink(BEST, usable=True)
    hours = [sum(blocked[start : start + 3600]) for start in (0, 3600, 7200)]
    assert hours[0] < 900
    assert hours[1] + hours[2] < 500


def test_who_waits_for_its_uplink_is_believed_afterwards() -> None:
    table = leases(MIDDLE)
    for round_ in range(50):
        now = 1000.0 * round_
        table.heard(BEST, SPAN, 0, now)
        assert table.held_by_other(SPAN, now + 5)
        table.delivered(Counter({SPAN: 1}), now + 30)
        table.release(BEST, SPAN, now + 31)


def test_a_doubted_neighbour_does_not_take_what_another_fetches() -> None:
    table = leases(MIDDLE)
    for second in range(130):
        table.heard(BEST, SPAN, second, float(second))
    table.release(BEST, SPAN, 130.0)
    table.claim(SPAN, 130.0)
    assert not table.heard(BEST, SPAN, 1000, 131.0)
    assert table.own_spans() == [SPAN]


def test_a_holder_that_delivers_is_believed() -> None:
    table = leases(MIDDLE)
    for second in range(300):
        table.heard(BEST, SPAN, second, float(second))
        table.delivered(Counter({SPAN: 1}), float(second))
        assert table.held_by_other(SPAN, float(second))
