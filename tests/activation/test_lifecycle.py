from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.activation.lifecycle import (
    Activate,
    Activated,
    ActivateFailed,
    ActivateRequested,
    BadRelease,
    CancelFetch,
    Check,
    CheckFailed,
    CheckPassed,
    CheckStarted,
    Confirm,
    Effect,
    Event,
    Fetch,
    Lifecycle,
    LifecycleConfig,
    LifecycleState,
    Offer,
    Offered,
    Phase,
    Restarted,
    RollBack,
    RollBackFailed,
    RollBackRequested,
    RolledBack,
    Save,
    Staged,
    StageFailed,
    StopActivate,
    WakeAt,
    Woke,
    decode_state,
    encode_state,
)
from edgeswarm.errors import ConfigError, ContentError, LocalProtocolError

OLD, A, B = (bytes([n]) * 32 for n in (9, 1, 2))
MANUAL = LifecycleConfig(automatic=False)
AUTOMATIC = LifecycleConfig(check_seconds=10, check_attempts=3, retry_seconds=60, retry_max_seconds=200)


def offer(manifest: bytes = A, sequence: int = 1) -> Offer:
    return Offer("app", f"v{manifest[0]}", manifest, sequence)


def tell(machine: Lifecycle, *events: Event, now: float = 0.0) -> list[Effect]:
    """Tell events and return the effects of the last one, without the saves, which must come first and hold the state."""
    effects: list[Effect] = []
    for event in events:
        before = machine.state
        effects = machine.handle(event, now)
        if machine.state != before:
            assert isinstance(effects[0], Save)
            assert [effect for effect in effects if isinstance(effect, Save)][-1].state == machine.state
    return [effect for effect in effects if not isinstance(effect, Save)]


def started(*events: Event, config: LifecycleConfig = AUTOMATIC) -> Lifecycle:
    machine = Lifecycle(config)
    tell(machine, Restarted(OLD), *events)
    return machine


CHECKING = (Offered(offer()), Staged(A), Activated(A))
CONFIRMED = (*CHECKING, CheckPassed(A, 1))
ROLLING_BACK = (*CHECKING, CheckFailed(A, 1, "sick"))
ROLLED_BACK = (*ROLLING_BACK, RolledBack(OLD))
FAILED = (Offered(offer()), StageFailed(A, "full"))


def test_the_good_way() -> None:
    machine = Lifecycle(AUTOMATIC)
    assert tell(machine, Restarted(OLD)) == []
    assert tell(machine, Offered(offer())) == [Fetch(offer())]
    assert tell(machine, Staged(A)) == [Activate(offer())]
    assert tell(machine, Activated(A)) == [Check(offer(), 1, 10)]
    assert tell(machine, CheckStarted(A, 1), now=5) == [WakeAt(15)]
    assert tell(machine, CheckPassed(A, 1)) == [Confirm(offer())]
    assert machine.state.phase is Phase.CONFIRMED
    assert machine.state.active == A


def test_manual_activation_waits_for_the_operator() -> None:
    machine = started(Offered(offer()), config=MANUAL)
    assert tell(machine, Staged(A)) == []
    assert machine.state.phase is Phase.STAGED
    assert tell(machine, ActivateRequested()) == [Activate(offer())]


def test_a_failed_check_rolls_back_by_itself() -> None:
    machine = started(*CHECKING)
    assert tell(machine, CheckFailed(A, 1, "sick")) == [RollBack(A, "sick")]
    assert tell(machine, RolledBack(OLD)) == []
    assert machine.state.phase is Phase.ROLLED_BACK
    assert machine.state.active == OLD
    assert machine.state.bad == (BadRelease(A, 1, "sick"),)


def test_a_check_without_an_answer_rolls_back() -> None:
    machine = started(*CHECKING)
    tell(machine, CheckStarted(A, 1), now=100)
    assert tell(machine, Woke(), now=109) == [WakeAt(110)]
    (roll_back,) = tell(machine, Woke(), now=110)
    assert isinstance(roll_back, RollBack)
    assert "within 10 s" in roll_back.reason


def test_a_check_that_waits_its_turn_is_not_late() -> None:
    machine = started(*CHECKING)
    assert tell(machine, Woke(), now=1e9) == []  # of an earlier pause, say
    assert tell(machine, CheckStarted(B, 1), CheckStarted(A, 2), Woke(), now=1e9) == []
    assert tell(machine, CheckStarted(A, 1), now=1e9) == [WakeAt(1e9 + 10)]


def test_a_restart_in_a_check_runs_it_again_and_then_rolls_back() -> None:
    machine = started(*CHECKING)
    for attempt in (2, 3):
        machine = Lifecycle(AUTOMATIC, machine.state)
        assert tell(machine, Restarted(A), now=7) == [Check(offer(), attempt, 10)]
    machine = Lifecycle(AUTOMATIC, machine.state)
    (roll_back,) = tell(machine, Restarted(A))
    assert isinstance(roll_back, RollBack)
    assert "3 health checks" in roll_back.reason


def test_the_attempt_is_saved_before_the_check_begins() -> None:
    machine = started(*CHECKING[:-1])
    save, check = machine.handle(Activated(A), 0)
    assert isinstance(save, Save)
    assert (save.state.phase, save.state.attempts) == (Phase.CHECKING, 1)
    assert isinstance(check, Check)


@pytest.mark.parametrize("late", [CheckPassed(A, 1), CheckFailed(A, 1, ""), CheckPassed(B, 2)])
def test_answers_of_an_earlier_check_are_ignored(late: Event) -> None:
    machine = Lifecycle(AUTOMATIC, started(*CHECKING).state)
    tell(machine, Restarted(A))
    assert machine.handle(late, 0) == []
    assert machine.state.phase is Phase.CHECKING


def test_what_was_rolled_back_waits_for_a_higher_sequence() -> None:
    machine = started(*ROLLED_BACK)
    assert machine.handle(Offered(offer(A, 1)), 0) == []
    assert tell(machine, Offered(offer(A, 2))) == [Fetch(offer(A, 2))]


def test_the_bad_list_outlives_other_releases() -> None:
    machine = started(*ROLLED_BACK, Offered(offer(B, 2)), StageFailed(B, "gone", final=True))
    bad = LifecycleState(bad=machine.state.bad)
    assert Lifecycle(AUTOMATIC, bad).handle(Offered(offer(A, 1)), 0) == []


def test_the_bad_list_is_bounded() -> None:
    machine = Lifecycle(AUTOMATIC)
    for number in range(1, 30):
        manifest = bytes([number]) * 32
        tell(machine, Offered(offer(manifest, number)), Staged(manifest), Activated(manifest), CheckFailed(manifest, 1, "x" * 9999))
        tell(machine, RolledBack(OLD))
    assert [bad.sequence for bad in machine.state.bad] == list(range(14, 30))
    assert len(encode_state(machine.state)) < 16 * 1024


@pytest.mark.parametrize("events", [CONFIRMED, ROLLED_BACK, FAILED, CHECKING, ROLLING_BACK], ids=len)
def test_an_offer_that_was_told_before_changes_nothing(events: tuple[Event, ...]) -> None:
    machine = started(*events)
    assert machine.handle(Offered(offer()), 0) == []
    assert machine.handle(Offered(offer(B, 0)), 0) == []


def test_a_newer_offer_replaces_a_fetch() -> None:
    machine = started(Offered(offer(A, 1)))
    assert tell(machine, Offered(offer(B, 2))) == [CancelFetch(offer(A, 1)), Fetch(offer(B, 2))]
    assert machine.handle(Staged(A), 0) == []
    assert tell(machine, Staged(B)) == [Activate(offer(B, 2))]


def test_a_newer_offer_replaces_a_staged_release() -> None:
    machine = started(Offered(offer(A, 1)), Staged(A), config=MANUAL)
    assert tell(machine, Offered(offer(B, 2))) == [Fetch(offer(B, 2))]


@pytest.mark.parametrize("config", [MANUAL, AUTOMATIC], ids=["staged", "fetching"])
def test_a_new_sequence_of_the_same_release_costs_nothing(config: LifecycleConfig) -> None:
    machine = started(Offered(offer(A, 1)), config=config)
    if config is MANUAL:
        tell(machine, Staged(A))
    phase = machine.state.phase
    assert tell(machine, Offered(offer(A, 2))) == []
    assert machine.state.phase is phase
    assert machine.state.offer == offer(A, 2)


def test_going_back_to_what_is_active_needs_no_fetch() -> None:
    machine = started(*CONFIRMED, Offered(offer(B, 2)))
    assert tell(machine, Offered(offer(A, 3))) == [CancelFetch(offer(B, 2)), Confirm(offer(A, 3))]
    assert machine.state.phase is Phase.CONFIRMED


@pytest.mark.parametrize(
    ("events", "answer", "wanted"),
    [
        (CHECKING[:-1], ActivateFailed(A, "no"), [Fetch(offer(B, 3))]),
        (CHECKING, CheckPassed(A, 1), [Confirm(offer()), Fetch(offer(B, 3))]),
        (ROLLING_BACK, RolledBack(OLD), [Fetch(offer(B, 3))]),
        (ROLLING_BACK, RollBackFailed("no", final=True), [Fetch(offer(B, 3))]),
    ],
    ids=["activating", "checking", "rolling back", "roll back fails"],
)
def test_an_offer_waits_while_the_target_is_switched(events: tuple[Event, ...], answer: Event, wanted: list[Effect]) -> None:
    machine = started(*events)
    assert tell(machine, Offered(offer(B, 2)), Offered(offer(B, 3)), Offered(offer(B, 2))) == []
    assert tell(machine, answer) == wanted
    assert machine.state.waiting is None


def test_failures_before_the_switch_are_retried_with_growing_pauses() -> None:
    machine = started(Offered(offer()))
    for pause in (60, 120, 200, 200):
        assert tell(machine, StageFailed(A, "full"), now=1000) == [WakeAt(1000 + pause)]
        assert tell(machine, Woke(), now=999 + pause) == [WakeAt(1000 + pause)]
        assert tell(machine, Woke(), now=1000 + pause) == [Fetch(offer())]
    assert tell(machine, Staged(A)) == [Activate(offer())]
    assert tell(machine, ActivateFailed(A, "busy"), now=0) == [WakeAt(200)]
    assert machine.state.reason == "busy"


def test_a_final_failure_waits_for_the_channel() -> None:
    machine = started(Offered(offer()))
    assert tell(machine, StageFailed(A, "malformed", final=True)) == []
    assert machine.handle(Woke(), 1e9) == []
    assert tell(machine, Offered(offer(B, 2))) == [Fetch(offer(B, 2))]


def test_an_activation_that_failed_after_the_switch_is_rolled_back() -> None:
    machine = started(*CHECKING[:-1])
    assert tell(machine, ActivateFailed(A, "sync failed", switched=True)) == [RollBack(A, "sync failed")]


def test_a_roll_back_that_fails_is_tried_again_with_growing_pauses_over_restarts() -> None:
    machine = started(*ROLLING_BACK)
    for pause in (60, 120):
        assert tell(machine, RollBackFailed("busy"), now=1000) == [WakeAt(1000 + pause)]
        assert machine.retry_at == 1000 + pause
        assert machine.state.phase is Phase.ROLLING_BACK
        assert machine.state.active == A
        assert machine.state.reason == "sick; then rolling back failed: busy"
        assert tell(machine, Woke(), now=999 + pause) == [WakeAt(1000 + pause)]
        assert tell(machine, Woke(), now=1000 + pause) == [RollBack(A, "sick")]
        assert machine.retry_at is None
        assert tell(machine, Woke(), now=1e9) == []
    machine = Lifecycle(AUTOMATIC, decode_state(encode_state(machine.state)))
    assert tell(machine, Restarted(A)) == [RollBack(A, "sick")]
    assert tell(machine, RollBackFailed("busy"), now=0) == [WakeAt(200)]
    tell(machine, Woke(), RolledBack(OLD), now=200)
    assert (machine.state.phase, machine.state.failures, machine.state.reason) == (Phase.ROLLED_BACK, 0, "sick")


def test_a_newer_release_waits_for_a_roll_back_that_is_tried_again() -> None:
    machine = started(*ROLLING_BACK, RollBackFailed("busy"))
    assert tell(machine, Offered(offer(B, 2))) == []
    assert tell(machine, Woke(), now=60) == [RollBack(A, "sick")]
    assert tell(machine, RolledBack(OLD)) == [Fetch(offer(B, 2))]


def test_with_nothing_to_go_back_to_it_waits_for_the_channel() -> None:
    machine = started(*ROLLING_BACK)
    assert tell(machine, RollBackFailed("no previous release", final=True)) == []
    assert machine.state.phase is Phase.FAILED
    assert machine.state.active == A
    assert machine.state.reason == "sick; then rolling back failed: no previous release"
    assert machine.handle(Woke(), 1e9) == []


def test_a_release_that_failed_and_is_offered_again_where_it_stays_is_checked_again() -> None:
    machine = started(*ROLLING_BACK, RollBackFailed("no previous release", final=True))
    assert tell(machine, Offered(offer(A, 2))) == [Check(offer(A, 2), 1, 10)]
    assert tell(machine, CheckPassed(A, 1)) == [Confirm(offer(A, 2))]
    assert machine.state.bad == ()


NEWER = Offered(offer(B, 2))
BACK = RollBackRequested("I say so")


@pytest.mark.parametrize(
    ("events", "config", "first"),
    [
        (CHECKING, AUTOMATIC, []),
        (CONFIRMED, AUTOMATIC, []),
        ((*CONFIRMED, NEWER), AUTOMATIC, [CancelFetch(offer(B, 2))]),
        ((*CHECKING[:2], ActivateRequested(), *CHECKING[2:], CheckPassed(A, 1), NEWER, Staged(B)), MANUAL, []),
        ((*CONFIRMED, NEWER, StageFailed(B, "full")), AUTOMATIC, []),
        ((*CONFIRMED, NEWER, StageFailed(B, "bad", final=True)), AUTOMATIC, []),
        ((*CHECKING, NEWER), AUTOMATIC, []),
    ],
    ids=["checking", "confirmed", "fetching", "staged", "failed", "failed for good", "newer waits"],
)
def test_the_operator_may_roll_back_at_any_time(events: tuple[Event, ...], config: LifecycleConfig, first: list[Effect]) -> None:
    machine = started(*events, config=config)
    assert tell(machine, BACK) == [*first, RollBack(A, "I say so")]
    newest = offer(B, 2) if NEWER in events else offer(A, 1)
    assert (machine.state.offer, machine.state.waiting) == (newest, None)
    for late in (Staged(B), StageFailed(B, "late"), Activated(B), CheckPassed(A, 1), Woke()):
        assert machine.handle(late, 1e9) == []
    assert tell(machine, RolledBack(OLD)) == []
    assert (machine.state.phase, machine.state.active, machine.state.reason) == (Phase.ROLLED_BACK, OLD, "I say so")
    # Neither what was left nor what was in work is taken up before the channel moves, also after a restart.
    machine = Lifecycle(config, decode_state(encode_state(machine.state)))
    assert tell(machine, Restarted(OLD), Offered(offer(A, newest.sequence)), Offered(offer(B, newest.sequence))) == []
    assert tell(machine, Offered(offer(B, 3))) == [Fetch(offer(B, 3))]


def test_the_operator_may_go_back_further() -> None:
    machine = started(*ROLLED_BACK)
    assert tell(machine, BACK) == [RollBack(OLD, "I say so")]
    assert tell(machine, RolledBack(B)) == []
    assert [bad.manifest for bad in machine.state.bad] == [A, OLD]


def test_the_operator_may_roll_back_what_no_channel_brought() -> None:
    machine = started()
    assert tell(machine, BACK) == [RollBack(OLD, "I say so")]
    assert decode_state(encode_state(machine.state)) == machine.state
    assert tell(machine, RolledBack(B), Offered(offer(A, 1))) == [Fetch(offer(A, 1))]


def test_an_offer_that_comes_after_the_operators_word_is_taken() -> None:
    machine = started(*CONFIRMED, BACK)
    assert tell(machine, NEWER) == []
    assert tell(machine, RolledBack(OLD)) == [Fetch(offer(B, 2))]


@pytest.mark.parametrize(
    ("answer", "left"),
    [(ActivateFailed(B, "stopped"), A), (ActivateFailed(B, "sync", switched=True), B), (Activated(B), B)],
    ids=["stopped", "switched badly", "switched"],
)
def test_a_roll_back_waits_for_a_switch(answer: Event, left: bytes) -> None:
    machine = started(*CONFIRMED, NEWER, Staged(B))
    assert tell(machine, BACK) == [StopActivate(offer(B, 2))]
    assert tell(machine, ActivateFailed(A, "of another one")) == []
    assert tell(machine, answer) == [RollBack(left, "I say so")]
    assert tell(machine, RolledBack(OLD)) == []
    assert tell(machine, NEWER) == []


def test_an_offer_that_comes_while_a_roll_back_waits_for_a_switch_is_taken() -> None:
    machine = started(*CONFIRMED, NEWER, Staged(B), BACK)
    assert tell(machine, Offered(offer(A, 3))) == []
    assert tell(machine, ActivateFailed(B, "stopped")) == [RollBack(A, "I say so")]
    assert tell(machine, RolledBack(OLD)) == [Fetch(offer(A, 3))]


def test_a_roll_back_that_is_asked_for_again_is_tried_at_once() -> None:
    machine = started(*CONFIRMED, BACK)
    assert tell(machine, BACK) == []
    tell(machine, RollBackFailed("busy"), NEWER)
    assert tell(machine, BACK) == [RollBack(A, "I say so")]
    assert tell(machine, RolledBack(OLD)) == [], "what came before the operator asked again is declined too"


@pytest.mark.parametrize("events", [(), (Offered(offer()),), ROLLED_BACK, FAILED, ROLLING_BACK], ids=len)
def test_activating_is_refused_while_nothing_is_staged(events: tuple[Event, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="cannot activate: wanted a staged release, the subscription is"):
        started(*events).handle(ActivateRequested(), 0)


@pytest.mark.parametrize(
    ("events", "active", "wanted"),
    [
        ((Offered(offer()),), OLD, [Fetch(offer())]),
        ((Offered(offer()), Staged(A)), OLD, [Activate(offer())]),
        ((Offered(offer()), Staged(A)), A, [Check(offer(), 1, 10)]),
        ((Offered(offer()),), A, [Check(offer(), 1, 10)]),
        (FAILED, A, [Check(offer(), 1, 10)]),
        ((*ROLLING_BACK, RollBackFailed("no", final=True)), A, [RollBack(A, "sick")]),
        ((*ROLLING_BACK, RollBackFailed("no", final=True)), OLD, []),
        ((*ROLLING_BACK, RollBackFailed("no")), A, [RollBack(A, "sick")]),
        ((*ROLLING_BACK, RollBackFailed("no")), OLD, []),
        (ROLLING_BACK, b"", [RollBack(A, "sick")]),
        (CHECKING, B, []),
        (CHECKING, b"", [Fetch(offer())]),
        (CONFIRMED, A, [Confirm(offer())]),
        (CONFIRMED, OLD, []),
        (CONFIRMED, b"", [Fetch(offer())]),
        (ROLLING_BACK, A, [RollBack(A, "sick")]),
        (ROLLING_BACK, OLD, []),
        (ROLLED_BACK, OLD, []),
        (FAILED, OLD, [WakeAt(60)]),
    ],
)
def test_restart(events: tuple[Event, ...], active: bytes, wanted: list[Effect]) -> None:
    machine = Lifecycle(AUTOMATIC, started(*events).state)
    assert tell(machine, Restarted(active)) == wanted
    if active in (A, B, OLD):
        assert machine.state.active == active


def test_what_the_operator_switched_back_is_not_tried_again() -> None:
    machine = Lifecycle(AUTOMATIC, started(*CONFIRMED).state)
    tell(machine, Restarted(OLD))
    assert machine.state.phase is Phase.ROLLED_BACK
    assert machine.handle(Offered(offer()), 0) == []


def test_a_staged_release_that_somebody_activated_is_checked() -> None:
    state = started(Offered(offer()), Staged(A), config=MANUAL).state
    assert tell(Lifecycle(MANUAL, state), Restarted(A))[0] == Check(offer(), 1, MANUAL.check_seconds)


def test_a_staged_release_waits_over_a_restart() -> None:
    state = started(Offered(offer()), Staged(A), config=MANUAL).state
    assert tell(Lifecycle(MANUAL, state), Restarted(OLD)) == []
    assert tell(Lifecycle(AUTOMATIC, state), Restarted(OLD)) == [Activate(offer())]


@pytest.mark.parametrize("bad", [{"check_attempts": 0}, {"check_seconds": 0}, {"retry_seconds": 0}, {"retry_seconds": 9999.0}])
def test_config_is_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        LifecycleConfig(**bad)


# --- the saved state --------------------------------------------------------------------------------------------------


offers = st.builds(Offer, st.text(max_size=9), st.text(max_size=9), st.binary(min_size=32, max_size=32), st.integers(0, 2**63))
states = st.builds(
    LifecycleState,
    phase=st.sampled_from(Phase),
    offer=offers,
    waiting=st.none() | offers,
    active=st.sampled_from([b"", A]),
    attempts=st.integers(0, 9),
    failures=st.integers(0, 9),
    retry=st.booleans(),
    reason=st.text(max_size=9),
    bad=st.lists(st.builds(BadRelease, st.just(B), st.integers(0, 9), st.text(max_size=9)), max_size=3).map(tuple),
)


@given(states)
def test_a_saved_state_comes_back(state: LifecycleState) -> None:
    assert decode_state(encode_state(state)) == state


@given(st.data())
def test_a_damaged_state_is_a_content_error(data: st.DataObject) -> None:
    encoded = bytearray(encode_state(started(*ROLLED_BACK).state))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(ContentError):  # anything else is a defect
        assert isinstance(decode_state(bytes(encoded)), LifecycleState)


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", b"null", b'{"format":2}', b"[" * 100_000, b"\xff"])
def test_what_is_no_state_is_a_content_error(bad: bytes) -> None:
    with pytest.raises(ContentError, match="lifecycle state"):
        decode_state(bad)


def test_a_state_without_its_release_is_refused() -> None:
    with pytest.raises(ContentError, match="without a release"):
        decode_state(encode_state(LifecycleState(phase=Phase.CHECKING)))
