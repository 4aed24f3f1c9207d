from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
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
    assert tell(machine, Activated(A), now=5) == [Check(offer(), 1, 10), WakeAt(15)]
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
    assert tell(machine, CheckFailed(A, 1, "sick")) == [RollBack(offer(), "sick")]
    assert tell(machine, RolledBack(OLD)) == []
    assert machine.state.phase is Phase.ROLLED_BACK
    assert machine.state.active == OLD
    assert machine.state.bad == (BadRelease(A, 1, "sick"),)


def test_a_check_without_an_answer_rolls_back() -> None:
    machine = started(*CHECKING[:-1])
    tell(machine, Activated(A), now=100)
    assert tell(machine, Woke(), now=109) == [WakeAt(110)]
    (roll_back,) = tell(machine, Woke(), now=110)
    assert isinstance(roll_back, RollBack)
    assert "within 10 s" in roll_back.reason


def test_a_restart_in_a_check_runs_it_again_and_then_rolls_back() -> None:
    machine = started(*CHECKING)
    for attempt in (2, 3):
        machine = Lifecycle(AUTOMATIC, machine.state)
        assert tell(machine, Restarted(A), now=7) == [Check(offer(), attempt, 10), WakeAt(17)]
    machine = Lifecycle(AUTOMATIC, machine.state)
    (roll_back,) = tell(machine, Restarted(A))
    assert isinstance(roll_back, RollBack)
    assert "3 health checks" in roll_back.reason


def test_the_attempt_is_saved_before_the_check_begins() -> None:
    machine = started(*CHECKING[:-1])
    save, check, _ = machine.handle(Activated(A), 0)
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
        (ROLLING_BACK, RollBackFailed("no"), [Fetch(offer(B, 3))]),
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
    assert tell(machine, ActivateFailed(A, "sync failed", switched=True)) == [RollBack(offer(), "sync failed")]


def test_a_roll_back_that_fails_is_final_and_says_both_reasons() -> None:
    machine = started(*ROLLING_BACK)
    assert tell(machine, RollBackFailed("no previous release")) == []
    assert machine.state.phase is Phase.FAILED
    assert machine.state.active == A
    assert machine.state.reason == "sick; then rolling back failed: no previous release"


@pytest.mark.parametrize("events", [CHECKING, CONFIRMED], ids=["checking", "confirmed"])
def test_the_operator_may_roll_back(events: tuple[Event, ...]) -> None:
    machine = started(*events)
    assert tell(machine, RollBackRequested("I say so")) == [RollBack(offer(), "I say so")]
    assert tell(machine, RolledBack(OLD), Offered(offer())) == []


@pytest.mark.parametrize("events", [(), (Offered(offer()),), ROLLED_BACK, FAILED], ids=len)
def test_requests_in_the_wrong_phase_are_refused(events: tuple[Event, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="cannot activate: the subscription is"):
        started(*events).handle(ActivateRequested(), 0)
    with pytest.raises(LocalProtocolError, match="cannot roll back"):
        started(*events).handle(RollBackRequested("x"), 0)


@pytest.mark.parametrize(
    ("events", "active", "wanted"),
    [
        ((Offered(offer()),), OLD, [Fetch(offer())]),
        ((Offered(offer()), Staged(A)), OLD, [Activate(offer())]),
        ((Offered(offer()), Staged(A)), A, [Check(offer(), 1, 10), WakeAt(10)]),
        ((Offered(offer()),), A, [Check(offer(), 1, 10), WakeAt(10)]),
        (FAILED, A, [Check(offer(), 1, 10), WakeAt(10)]),
        ((*ROLLING_BACK, RollBackFailed("no")), A, []),
        (CHECKING, B, []),
        (CHECKING, b"", [Fetch(offer())]),
        (CONFIRMED, A, [Confirm(offer())]),
        (CONFIRMED, OLD, []),
        (CONFIRMED, b"", [Fetch(offer())]),
        (ROLLING_BACK, A, [RollBack(offer(), "sick")]),
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


# --- a device that crashes at any moment ---------------------------------------------------------------------------------


@dataclass
class Device:
    """Performs effects with the luck of a dice, and crashes between any two of them. Releases with an odd first byte are sick."""

    dice: Random
    saved: LifecycleState = field(default_factory=LifecycleState)
    active: bytes = OLD
    previous: bytes = b""
    staged: bytes = b""
    todo: list[Effect] = field(default_factory=list)
    now: float = 0.0
    activations: dict[tuple[bytes, int], int] = field(default_factory=dict)
    checks: dict[tuple[bytes, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.machine = Lifecycle(AUTOMATIC)
        self.hear(Restarted(self.active))

    def hear(self, event: Event) -> None:
        self.todo += self.machine.handle(event, self.now)

    def crash(self) -> None:
        self.todo.clear()
        self.machine = Lifecycle(AUTOMATIC, decode_state(encode_state(self.saved)))
        self.hear(Restarted(self.active))

    def step(self) -> None:
        if not self.todo:
            return
        effect = self.todo.pop(0)
        self.now += 1
        getattr(self, f"_do_{type(effect).__name__.lower()}")(effect)

    def _do_save(self, effect: Save) -> None:
        self.saved = effect.state

    def _do_fetch(self, effect: Fetch) -> None:
        if self.dice.random() < 0.3:
            return self.hear(StageFailed(effect.offer.manifest, "disk full"))
        self.staged = effect.offer.manifest
        return self.hear(Staged(effect.offer.manifest))

    def _do_cancelfetch(self, effect: CancelFetch) -> None:
        pass

    def _do_activate(self, effect: Activate) -> None:
        manifest = effect.offer.manifest
        if self.staged != manifest:
            return self.hear(ActivateFailed(manifest, "not staged"))
        self.active, self.previous, self.staged = manifest, self.active, b""
        key = manifest, effect.offer.sequence
        self.activations[key] = self.activations.get(key, 0) + 1
        return self.hear(Activated(manifest))

    def _do_check(self, effect: Check) -> None:
        manifest = effect.offer.manifest
        assert self.active == manifest
        assert self.saved.phase is Phase.CHECKING
        key = manifest, effect.offer.sequence
        self.checks[key] = self.checks.get(key, 0) + 1
        luck = self.dice.random()
        if luck < 0.2:
            return None  # hangs
        if manifest[0] % 2:
            return self.hear(CheckFailed(manifest, effect.attempt, "sick"))
        return self.hear(CheckPassed(manifest, effect.attempt))

    def _do_confirm(self, effect: Confirm) -> None:
        assert self.active == effect.offer.manifest

    def _do_rollback(self, effect: RollBack) -> None:
        assert self.saved.phase is Phase.ROLLING_BACK
        if not self.previous:
            return self.hear(RollBackFailed("nothing"))
        self.active, self.previous = self.previous, b""
        return self.hear(RolledBack(self.active))

    def _do_wakeat(self, effect: WakeAt) -> None:
        self.now = max(self.now, effect.at)
        self.hear(Woke())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_a_device_that_crashes_anywhere_ends_with_a_healthy_release(seed: int) -> None:
    dice = Random(seed)
    device = Device(dice)
    for sequence in range(1, 12):
        manifest = bytes([dice.randrange(20, 26)]) * 32
        device.hear(Offered(offer(manifest, sequence)))
        for _ in range(dice.randrange(12)):
            device.crash() if dice.random() < 0.15 else device.step()
    last = offer(bytes([30]) * 32, 99)
    for _ in range(2):
        device.hear(Offered(last))  # a channel is told again after a restart
        device.crash()
    device.hear(Offered(last))
    for _ in range(1000):
        device.step()
        if not device.todo:
            break
    assert device.machine.state.phase in {Phase.CONFIRMED, Phase.ROLLED_BACK, Phase.FAILED}
    assert not device.todo
    # A sick release is active at the end only if there was nothing to go back to.
    assert device.active[0] % 2 == 0 or device.active == OLD or device.machine.state.phase is Phase.FAILED
    assert all(count <= AUTOMATIC.check_attempts for count in device.checks.values())
    if device.machine.state.phase is Phase.CONFIRMED:
        assert device.active == last.manifest
