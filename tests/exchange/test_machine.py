"""The transfer machine, event by event."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

import pytest

from edgeswarm.exchange import (
    AskPeer,
    CancelSpan,
    ChunkFailed,
    ChunkHere,
    Claim,
    Complete,
    Effect,
    Event,
    FetchSpan,
    PeerClaims,
    PeerDropped,
    PeerHas,
    PeerJoined,
    PeerLeft,
    PeerReleases,
    PeerUplink,
    Release,
    SpanEnded,
    SpanProgress,
    Tick,
    TransferConfig,
    TransferMachine,
    UplinkUsable,
    WakeAt,
    ranking,
)
from edgeswarm.exchange.leases import STALL_SECONDS, TAKEOVER_SECONDS

from .simulation import node_id

_T = TypeVar("_T")
MANIFEST = bytes(32)
OWN, PEER, OTHER = (node_id(name) for name in ("own", "peer", "other"))
SETTLED = TransferConfig().settle_seconds


def machine(chunks: int = 4, here: Sequence[int] = (), **config: float) -> TransferMachine:
    return TransferMachine(MANIFEST, chunks, here, OWN, 0.0, Random(1), TransferConfig(**config))


def of_type(kind: type[_T], effects: list[Effect]) -> list[_T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def asked(effects: list[Effect]) -> dict[bytes, list[int]]:
    return {effect.peer: sorted(effect.chunks) for effect in of_type(AskPeer, effects)}


def feed(tested: TransferMachine, *events: Event, now: float = 0.0) -> list[Effect]:
    effects: list[Effect] = []
    for event in events:
        effects += tested.handle(event, now)
    return effects


# Neighbours.


def test_a_lone_seeder_is_asked_for_all_of_a_small_artifact() -> None:
    tested = machine()
    effects = feed(tested, PeerJoined(PEER, False), PeerHas(PEER, [0, 1, 2, 3]))
    effects += feed(tested, Tick(), now=1.0)
    assert asked(effects)
    assert sorted(chunk for ask in of_type(AskPeer, effects) for chunk in ask.chunks) == [0, 1, 2, 3]


def test_nothing_here_and_complete_is_said_once() -> None:
    tested = machine(2, here=[0])
    feed(tested, PeerJoined(PEER, False), PeerHas(PEER, [1]))
    effects = feed(tested, ChunkHere([1]))
    assert effects == [Complete()]
    assert tested.complete
    assert feed(tested, ChunkHere([1]), Tick(), PeerLeft(PEER), UplinkUsable(True)) == []


def test_an_empty_artifact_is_complete_at_the_first_event() -> None:
    tested = machine(0)
    assert feed(tested, UplinkUsable(True)) == [Complete()]
    assert feed(tested, PeerJoined(PEER, True), PeerHas(PEER, []), PeerHas(PEER, [0, 5])) == []


def test_the_window_limits_what_is_asked_of_one_neighbour() -> None:
    tested = machine(100, window_chunks=8)
    feed(tested, PeerJoined(PEER, False))
    effects = feed(tested, PeerHas(PEER, range(100)), Tick(), now=5.0)
    chunks = [chunk for ask in of_type(AskPeer, effects) for chunk in ask.chunks]
    assert len(chunks) == 8
    again = feed(tested, ChunkHere(chunks[:3]), now=5.1)
    assert sum(len(ask.chunks) for ask in of_type(AskPeer, again)) == 3


def test_a_slow_neighbour_gets_a_small_window_and_a_fast_one_a_large_one() -> None:
    tested = machine(5000, window_chunks=32)
    owed: dict[bytes, list[int]] = {PEER: [], OTHER: []}

    def step(now: float, *events: Event) -> None:
        for ask in of_type(AskPeer, feed(tested, *events, now=now)):
            owed[ask.peer] += ask.chunks

    step(0.0, PeerJoined(PEER, False), PeerJoined(OTHER, False), PeerHas(PEER, range(5000)), PeerHas(OTHER, range(5000)))
    for tenth in range(1, 101):
        step(tenth / 10, ChunkHere([owed[OTHER].pop(0) for _ in range(min(20, len(owed[OTHER])))]))  # up to 200 a second
        if tenth % 10 == 0:
            step(tenth / 10, ChunkHere([owed[PEER].pop(0)]))  # one a second
    assert len(owed[PEER]) == 2
    assert len(owed[OTHER]) == 32


@pytest.mark.parametrize("slow", [1, 2, 4])
def test_slow_neighbours_do_not_starve_a_fast_one(slow: int) -> None:
    """The least complete are asked first; what they owe must not use up what may be asked for in all."""
    tested = machine(2000, open_chunks=64)
    rates = {node_id(f"slow {number}"): 1.0 for number in range(slow)} | {OTHER: 500.0}
    owed: dict[bytes, list[int]] = {peer: [] for peer in rates}
    due = dict.fromkeys(rates, 0.0)

    def step(now: float, *events: Event) -> None:
        for ask in of_type(AskPeer, feed(tested, *events, now=now)):
            owed[ask.peer] += ask.chunks

    for peer in rates:
        step(0.0, PeerJoined(peer, False))
    for peer in rates:
        step(0.0, PeerHas(peer, range(2000)))
    now = 0.0
    while not tested.complete and now < 100:
        now += 0.02
        for peer, rate in rates.items():
            due[peer] = min(due[peer] + 0.02 * rate, max(1.0, 0.02 * rate))
            while due[peer] >= 1 and owed[peer] and not tested.complete:
                due[peer] -= 1
                step(now, ChunkHere([owed[peer].pop(0)]))
        step(now, Tick())
    assert now < 12, "the fast one alone takes four seconds"


def test_all_windows_together_are_limited_too() -> None:
    tested = machine(100, window_chunks=8, open_chunks=10)
    peers = [node_id(f"peer {number}") for number in range(5)]
    effects = feed(tested, *(PeerJoined(peer, False) for peer in peers), *(PeerHas(peer, range(100)) for peer in peers))
    effects += feed(tested, Tick(), now=5.0)
    chunks = [chunk for ask in of_type(AskPeer, effects) for chunk in ask.chunks]
    assert len(chunks) == 10
    again = feed(tested, ChunkHere(chunks[:4]), now=5.0)
    assert sum(len(ask.chunks) for ask in of_type(AskPeer, again)) == 4


def test_a_chunk_is_asked_of_one_neighbour_at_a_time() -> None:
    tested = machine(50)
    effects = feed(
        tested, PeerJoined(PEER, False), PeerJoined(OTHER, False), PeerHas(PEER, range(50)), PeerHas(OTHER, range(50))
    )  # fmt: skip
    effects += feed(tested, Tick(), now=5.0)
    assert {ask.peer for ask in of_type(AskPeer, effects)} == {PEER, OTHER}
    chunks: list[int] = []
    while asks := of_type(AskPeer, effects):
        fresh = [chunk for ask in asks for chunk in ask.chunks]
        chunks += fresh
        effects = feed(tested, ChunkHere(fresh), Tick(), now=5.0 + len(chunks) / 10)
    assert len(chunks) == len(set(chunks)) == 50


def test_the_least_complete_neighbour_is_asked_first() -> None:
    tested = machine(10)
    feed(tested, PeerJoined(PEER, False), PeerJoined(OTHER, False))
    effects = feed(tested, PeerHas(OTHER, [5]), now=0.0)
    effects = effects if asked(effects) else feed(tested, PeerHas(PEER, range(10)), now=0.0)
    effects += feed(tested, Tick(), now=5.0)
    assert 5 in asked(effects)[OTHER]


@pytest.mark.parametrize("event", [ChunkFailed(PEER, [0]), PeerDropped(PEER, 0), PeerLeft(PEER)])
def test_what_a_neighbour_fails_to_give_is_asked_of_another(event: Event) -> None:
    tested = machine(1)
    first = feed(tested, PeerJoined(PEER, False), PeerHas(PEER, [0]))
    first += feed(tested, Tick(), now=1.0)
    assert asked(first) == {PEER: [0]}
    assert not asked(feed(tested, PeerJoined(OTHER, False), PeerHas(OTHER, [0, 3]), now=1.0))
    effects = feed(tested, event, now=1.0)
    effects += feed(tested, Tick(), now=2.0)
    assert {peer for ask in of_type(AskPeer, effects) for peer in [ask.peer]} <= ({PEER, OTHER})
    if not isinstance(event, ChunkFailed):
        assert asked(effects) == {OTHER: [0]}


def test_a_failure_of_somebody_else_changes_nothing() -> None:
    tested = machine(1)
    feed(tested, PeerJoined(PEER, False), PeerJoined(OTHER, False), PeerHas(PEER, [0]))
    feed(tested, Tick(), now=1.0)
    effects = feed(tested, ChunkFailed(OTHER, [0, 7]), PeerDropped(OTHER, 0), PeerDropped(OTHER, 99), now=1.0)
    assert not asked(effects)


def test_a_neighbour_that_sends_nothing_is_not_waited_for() -> None:
    tested = machine(1, stall_seconds=10.0)
    effects = feed(tested, PeerJoined(PEER, False), PeerHas(PEER, [0]))
    assert asked(effects) == {PEER: [0]}
    feed(tested, PeerJoined(OTHER, False), PeerHas(OTHER, [0]), now=1.0)
    assert asked(feed(tested, Tick(), now=9.9)) == {}
    assert asked(feed(tested, Tick(), now=10.0)) == {OTHER: [0]}


def test_a_neighbour_that_sent_nothing_gets_another_chance_if_nobody_else_has_it() -> None:
    tested = machine(1, stall_seconds=10.0)
    feed(tested, PeerJoined(PEER, False), PeerHas(PEER, [0]))
    assert asked(feed(tested, Tick(), now=12.0)) == {}
    assert asked(feed(tested, Tick(), now=21.9)) == {}
    assert asked(feed(tested, Tick(), now=22.0)) == {PEER: [0]}


def test_events_about_strangers_are_ignored() -> None:
    tested = machine()
    effects = feed(
        tested, PeerHas(PEER, [0]), PeerDropped(PEER, 0), PeerClaims(PEER, 0, 5), PeerReleases(PEER, 0), PeerUplink(PEER, True),
        ChunkFailed(PEER, [0]), PeerLeft(PEER),
    )  # fmt: skip
    assert {type(effect) for effect in effects} == {WakeAt}
    assert tested.leases.uplinks == {}


def test_indices_beyond_the_manifest_are_ignored() -> None:
    tested = machine(4)
    feed(tested, PeerJoined(PEER, True), PeerHas(PEER, [3, 4, 70_000, -1]), PeerDropped(PEER, 4), PeerDropped(PEER, -1))
    for span in (1, 2**20, -1):
        feed(tested, PeerClaims(PEER, span, 0), PeerReleases(PEER, span))
    assert tested.availability.held_by(PEER) == 1
    assert not any(tested.leases.held_by_other(span, 0.0) for span in (1, 2**20, -1))


def test_claims_of_spans_that_do_not_exist_take_no_memory() -> None:
    tested = machine(65)
    feed(tested, PeerJoined(PEER, True), *[PeerClaims(PEER, span, 0) for span in range(1000)])
    assert [span for span in range(1000) if tested.leases.held_by_other(span, 0.0)] == [0, 1]


def test_a_fresh_chunk_is_asked_for_by_one_node_at_a_time() -> None:
    """Of many that lack it, one asks the only holder at once; the others wait for their turn."""
    names = [node_id(str(i)) for i in range(8)]
    eager = 0
    for own in names:
        tested = TransferMachine(MANIFEST, 1, [], own, 0.0, Random(1))
        others = [node for node in names if node != own]
        feed(tested, PeerJoined(PEER, False), *[PeerJoined(node, False) for node in others])
        feed(tested, *[PeerHas(node, []) for node in others])
        eager += bool(asked(feed(tested, PeerHas(PEER, [0]))))
        late = feed(tested, Tick(), now=1.0)
        assert tested.availability.missing == 1
        assert eager or asked(late)
    assert 1 <= eager <= 2


# Uplink.


def test_without_neighbours_the_uplink_is_used_after_a_moment() -> None:
    tested = machine(70)
    assert not of_type(FetchSpan, feed(tested, UplinkUsable(True), Tick(), now=SETTLED - 0.01))
    effects = feed(tested, Tick(), now=SETTLED)
    assert of_type(FetchSpan, effects) == [FetchSpan(0, tuple(range(64)))]
    assert [type(effect) for effect in effects[:2]] == [Claim, FetchSpan]
    assert feed(tested, ChunkHere(range(64)), SpanEnded(0), now=SETTLED)
    assert tested.leases.own_spans() == [1]


def test_what_neighbours_have_does_not_cross_the_uplink() -> None:
    tested = machine(4)
    effects = feed(tested, PeerJoined(PEER, False), PeerHas(PEER, [0, 2]), UplinkUsable(True))
    assert of_type(FetchSpan, effects) == [FetchSpan(0, (1, 3))]


def test_the_uplink_waits_until_neighbours_have_spoken() -> None:
    tested = machine(4)
    assert not of_type(FetchSpan, feed(tested, UplinkUsable(True), PeerJoined(PEER, False)))
    assert of_type(FetchSpan, feed(tested, PeerHas(PEER, [])))


def test_an_uplink_that_may_not_be_used_is_not() -> None:
    tested = TransferMachine(MANIFEST, 4, [], OWN, 0.0, Random(1), may_use_uplink=False)
    assert not of_type(FetchSpan, feed(tested, UplinkUsable(True), Tick(), now=100.0))


def test_no_more_spans_at_once_than_allowed() -> None:
    tested = machine(640, spans_at_once=2)
    feed(tested, UplinkUsable(True))
    assert len(of_type(FetchSpan, feed(tested, Tick(), Tick(), now=SETTLED))) == 2


def test_a_claimed_span_is_left_alone_until_it_is_released() -> None:
    tested = machine(64)
    feed(tested, UplinkUsable(True), PeerJoined(PEER, True), PeerClaims(PEER, 0, 0), PeerHas(PEER, []))
    assert not of_type(FetchSpan, feed(tested, Tick(), now=STALL_SECONDS - 1))
    feed(tested, PeerReleases(PEER, 0), now=STALL_SECONDS - 1)
    effects = feed(tested, Tick(), now=STALL_SECONDS - 1 + TAKEOVER_SECONDS)
    assert [fetch.span for fetch in of_type(FetchSpan, effects)] in ([0], [])
    assert tested.leases.own_spans() == [0]


@pytest.mark.parametrize("end", [PeerLeft(PEER), None])
def test_a_span_is_taken_over_when_its_holder_is_gone_or_stalls(end: Event | None) -> None:
    tested = machine(64)
    feed(tested, UplinkUsable(True), PeerJoined(PEER, True), PeerClaims(PEER, 0, 0), PeerHas(PEER, []))
    if end is not None:
        feed(tested, end, now=2.0)
        assert tested.leases.own_spans() == [0]
    else:
        feed(tested, Tick(), now=STALL_SECONDS)
        feed(tested, Tick(), now=STALL_SECONDS + TAKEOVER_SECONDS)
        assert tested.leases.own_spans() == [0]


def test_a_better_claim_cancels_ours_and_the_span_is_not_begun_anew_before_it_has_ended() -> None:
    span = next(s for s in range(99) if ranking(MANIFEST + s.to_bytes(4, "big"), [OWN, PEER])[0] == PEER)
    tested = machine(64 * (span + 1), here=range(64 * span))
    feed(tested, UplinkUsable(True), PeerJoined(PEER, True), PeerHas(PEER, []))
    feed(tested, Tick(), now=TAKEOVER_SECONDS)
    assert tested.leases.own_spans() == [span]
    effects = feed(tested, PeerClaims(PEER, span, 0), now=1.0)
    assert effects[:2] == [CancelSpan(span), Release(span)]
    effects = feed(tested, PeerLeft(PEER), now=1.0)
    assert not of_type(FetchSpan, effects)
    assert [fetch.span for fetch in of_type(FetchSpan, feed(tested, SpanEnded(span), now=1.0))] == [span]


def test_a_worse_claim_does_not_cancel_ours() -> None:
    span = next(s for s in range(99) if ranking(MANIFEST + s.to_bytes(4, "big"), [OWN, PEER])[0] == OWN)
    tested = machine(64 * (span + 1), here=range(64 * span))
    feed(tested, UplinkUsable(True), PeerJoined(PEER, True), PeerHas(PEER, []))
    assert not of_type(CancelSpan, feed(tested, PeerClaims(PEER, span, 0)))
    assert tested.leases.own_spans() == [span]


def test_those_who_wait_do_not_all_take_what_a_dead_node_leaves() -> None:
    """Ranks count from when a span came free: only the first takes it at once."""
    names = [node_id(str(i)) for i in range(6)]
    order = ranking(MANIFEST + (0).to_bytes(4, "big"), names)
    takers = []
    for own in order[1:]:
        tested = TransferMachine(MANIFEST, 64, [], own, 0.0, Random(1))
        others = [node for node in names if node != own]
        feed(tested, UplinkUsable(True), *[PeerJoined(node, True) for node in others])
        feed(tested, *[PeerHas(node, []) for node in others], PeerClaims(order[0], 0, 0))
        feed(tested, Tick(), PeerClaims(order[0], 0, 9), now=STALL_SECONDS - 1)
        if of_type(FetchSpan, feed(tested, PeerLeft(order[0]), now=STALL_SECONDS)):
            takers.append(own)
    assert takers == order[1:2]


def test_progress_is_told_now_and_then() -> None:
    tested = machine(64)
    feed(tested, UplinkUsable(True), Tick(), now=SETTLED)
    told = [of_type(Claim, feed(tested, SpanProgress(0, i), now=SETTLED + i / 4)) for i in range(1, 13)]
    assert [claim for claims in told for claim in claims] == [Claim(0, 4), Claim(0, 8), Claim(0, 12)]
    assert not of_type(Claim, feed(tested, SpanProgress(7, 5), now=99.0))


def test_a_span_that_failed_is_tried_again_once_the_uplink_works() -> None:
    tested = machine(64)
    feed(tested, UplinkUsable(True), Tick(), now=SETTLED)
    effects = feed(tested, UplinkUsable(False), SpanEnded(0), now=1.0)
    assert of_type(Release, effects) == [Release(0)]
    assert not of_type(FetchSpan, effects)
    assert of_type(FetchSpan, feed(tested, UplinkUsable(True), now=2.0)) == [FetchSpan(0, tuple(range(64)))]


def test_a_tick_is_always_ahead_of_time_while_something_is_missing() -> None:
    tested = machine()
    for now, event in enumerate([UplinkUsable(True), PeerJoined(PEER, True), PeerHas(PEER, [1]), PeerLeft(PEER), Tick()]):
        (wake,) = of_type(WakeAt, tested.handle(event, float(now)))
        assert now < wake.time <= now + 1
