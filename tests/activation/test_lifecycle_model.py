"""The lifecycle with an installer in memory, an operator, a channel, luck and crashes at any moment (G3, G4)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgeswarm.activation.lifecycle import (
    Activate,
    Activated,
    ActivateFailed,
    ActivateRequested,
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

OLDER, OLD = bytes(32 * [98]), bytes(32 * [100])
CONFIG = LifecycleConfig(check_seconds=10, check_attempts=3, retry_seconds=60, retry_max_seconds=200)
OPERATOR = "asked for by the operator"
SWITCHING = Activate | RollBack


def is_sick(manifest: bytes) -> bool:
    return manifest[0] % 2 == 1


@dataclass
class Target:
    """An installer in memory; it keeps two previous releases."""

    active: bytes = OLD
    history: list[bytes] = field(default_factory=lambda: [OLDER])
    staged: bytes = b""

    def activate(self) -> None:
        assert self.staged
        self.history = [held for held in (self.active, *self.history) if held != self.staged][:2]
        self.active, self.staged = self.staged, b""

    def roll_back(self, manifest: bytes) -> None:
        if self.active == manifest:
            self.active = self.history.pop(0)


class Device(RuleBasedStateMachine):
    """A shell that performs effects one after the other; what they start ends when hypothesis says so."""

    def __init__(self) -> None:
        super().__init__()
        self.config = CONFIG
        self.now = 0.0
        self.wake: float | None = None
        self.saved = LifecycleState()
        self.target = Target()
        self.todo: list[Effect] = []
        self.jobs: list[Fetch | Activate | Check | RollBack] = []
        self.latest: Offer | None = None
        self.left: dict[bytes, int] = {}
        self.declined = 0
        self.asked = False
        self.backs = 0
        self.checks: Counter[Offer] = Counter()
        self.start()

    def start(self) -> None:
        state = decode_state(encode_state(self.saved))
        self.machine = Lifecycle(self.config, state)
        self.hear(Restarted(self.target.active))

    def hear(self, event: Event) -> None:
        before = self.machine.state
        effects = self.machine.handle(event, self.now)
        if self.machine.state != before:
            assert isinstance(effects[0], Save)
        for effect in effects:
            if isinstance(effect, CancelFetch):  # at once, before all that still waits for its turn
                self.jobs = [job for job in self.jobs if not isinstance(job, Fetch)]
                self.todo = [job for job in self.todo if not isinstance(job, Fetch)]
            elif not isinstance(effect, StopActivate):  # the luck of `end_activate` says if that came in time
                self.todo.append(effect)
        if self.asked and self.is_answered():
            assert self.backs or self.machine.retry_at is not None or self.machine.state.phase is Phase.FAILED
            self.asked = False

    def is_answered(self) -> bool:
        """As whoever waits for a roll back sees it: done (and something newer may have begun), tried again later, or impossible."""
        return self.machine.state.phase not in {Phase.ACTIVATING, Phase.ROLLING_BACK} or self.machine.retry_at is not None

    @initialize(automatic=st.booleans())
    def configure(self, automatic: bool) -> None:
        self.config = replace(CONFIG, automatic=automatic)
        self.todo.clear()
        self.start()

    # effects

    @precondition(lambda self: self.todo)
    @rule()
    def perform_all(self) -> None:
        while self.todo:
            self.perform()

    @precondition(lambda self: self.todo)
    @rule()
    def perform(self) -> None:
        effect = self.todo.pop(0)
        match effect:
            case Save(state=state):
                self.saved = state
                if state.phase is Phase.ROLLING_BACK and state.reason.startswith(OPERATOR) and state.offer is not None:
                    self.declined = state.offer.sequence
            case WakeAt(at=at):
                self.wake = at
            case Confirm(offer=offer):
                assert self.target.active == offer.manifest
            case Fetch() | Activate() | Check() | RollBack():
                self.begin(effect)

    def begin(self, job: Fetch | Activate | Check | RollBack) -> None:
        if isinstance(job, RollBack):  # a check that runs is stopped first
            self.jobs = [one for one in self.jobs if not isinstance(one, Check)]
            assert self.saved.phase is Phase.ROLLING_BACK
            assert self.saved.offer is not None
            self.left[job.manifest] = self.saved.offer.sequence
        elif isinstance(job, Check):
            assert (self.saved.phase, self.saved.attempts) == (Phase.CHECKING, job.attempt)
            assert self.target.active == job.offer.manifest
            self.checks[job.offer] += 1
        else:
            assert job.offer.sequence > self.declined, "what the operator declined was taken up again"
            assert job.offer.sequence > self.left.get(job.offer.manifest, 0), "what was rolled back was taken up again"
        assert self.jobs == [], "two jobs on one installer"
        self.jobs.append(job)

    def pop(self, kind: type) -> Fetch | Activate | Check | RollBack:
        job = next(job for job in self.jobs if isinstance(job, kind))
        self.jobs.remove(job)
        return job

    def has(self, kind: type | SWITCHING) -> bool:
        return any(isinstance(job, kind) for job in self.jobs)

    @precondition(lambda self: self.has(Fetch))
    @rule(luck=st.sampled_from(["staged", "staged", "full", "malformed"]))
    def end_fetch(self, luck: str) -> None:
        job = self.pop(Fetch)
        assert isinstance(job, Fetch)
        if luck == "staged":
            self.target.staged = job.offer.manifest
            self.hear(Staged(job.offer.manifest))
        else:
            self.hear(StageFailed(job.offer.manifest, luck, final=luck == "malformed"))

    @precondition(lambda self: self.has(Activate))
    @rule(luck=st.sampled_from(["switched", "switched", "not switched", "not durable"]))
    def end_activate(self, luck: str) -> None:
        job = self.pop(Activate)
        assert isinstance(job, Activate)
        manifest = job.offer.manifest
        if luck != "not switched" and self.target.staged == manifest:
            self.target.activate()
        done = self.target.active == manifest
        self.hear(Activated(manifest) if luck == "switched" and done else ActivateFailed(manifest, luck, switched=done))

    @precondition(lambda self: self.has(Check))
    @rule(luck=st.sampled_from(["in time", "in time", "waits", "hangs"]))
    def end_check(self, luck: str) -> None:
        if luck == "waits":
            return
        job = self.pop(Check)
        assert isinstance(job, Check)
        manifest = job.offer.manifest
        self.hear(CheckStarted(manifest, job.attempt))
        if luck == "hangs":
            self.jobs.append(job)
        else:
            self.hear(CheckFailed(manifest, job.attempt, "sick") if is_sick(manifest) else CheckPassed(manifest, job.attempt))

    @precondition(lambda self: self.has(RollBack))
    @rule(luck=st.booleans())
    def end_roll_back(self, luck: bool) -> None:
        job = self.pop(RollBack)
        assert isinstance(job, RollBack)
        if not luck:
            self.hear(RollBackFailed("busy"))
            return
        self.target.roll_back(job.manifest)
        self.backs += 1
        self.hear(RolledBack(self.target.active))

    # the world

    @rule(steps=st.integers(1, 12))
    def all_goes_well(self, steps: int) -> None:
        for _ in range(steps):
            self.calm_step()

    @rule(number=st.integers(1, 6))
    def publish(self, number: int) -> None:
        sequence = self.latest.sequence + 1 if self.latest is not None else 1
        self.latest = Offer("app", f"v{number}", bytes([number]) * 32, sequence)
        self.hear(Offered(self.latest))

    @precondition(lambda self: self.latest is not None)
    @rule()
    def tell_again(self) -> None:
        assert self.latest is not None
        self.hear(Offered(self.latest))

    @precondition(lambda self: self.target.history and not self.asked)
    @rule()
    def ask_to_roll_back(self) -> None:
        self.asked, self.backs = True, 0
        self.hear(RollBackRequested(OPERATOR))
        assert self.asked, "answered before anything was done"

    @precondition(lambda self: self.machine.state.phase is Phase.STAGED)
    @rule()
    def ask_to_activate(self) -> None:
        self.hear(ActivateRequested())

    @precondition(lambda self: self.wake is not None)
    @rule()
    def wake_up(self) -> None:
        assert self.wake is not None
        self.now, self.wake = max(self.now, self.wake), None
        self.hear(Woke())

    @rule(switched=st.booleans())
    def crash(self, switched: bool) -> None:
        for job in self.jobs:
            if isinstance(job, Activate) and switched and self.target.staged == job.offer.manifest:
                self.target.activate()
            if isinstance(job, RollBack) and switched:
                self.target.roll_back(job.manifest)
        self.todo, self.jobs, self.wake, self.asked = [], [], None, False
        self.start()

    @invariant()
    def checks_are_bounded(self) -> None:
        assert all(count <= CONFIG.check_attempts for count in self.checks.values())

    def teardown(self) -> None:
        """A calm phase: everything works from now on, and all comes to rest."""
        if self.latest is not None:
            self.hear(Offered(self.latest))
        for _ in range(200):
            if not self.calm_step():
                break
        else:
            raise AssertionError("it does not come to rest")
        state = self.machine.state
        assert state.phase in {Phase.IDLE, Phase.CONFIRMED, Phase.ROLLED_BACK, Phase.FAILED}
        assert not self.asked, "a request without an answer"
        assert not is_sick(self.target.active)
        assert state.active == self.target.active
        if self.latest is not None and not is_sick(self.latest.manifest) and state.phase is not Phase.CONFIRMED:
            spent = max(self.declined, self.left.get(self.latest.manifest, 0)) >= self.latest.sequence
            assert spent or state.reason == "malformed"

    def calm_step(self) -> bool:
        if self.todo:
            self.perform()
        elif self.has(Fetch):
            self.end_fetch("staged")
        elif self.has(Activate):
            self.end_activate("switched")
        elif self.has(Check):
            self.end_check("in time")
        elif self.has(RollBack):
            self.end_roll_back(luck=True)
        elif self.machine.state.phase is Phase.STAGED:
            self.ask_to_activate()
        elif self.wake is not None:
            self.wake_up()
        else:
            return False
        return True


Device.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, report_multiple_bugs=False)


@pytest.mark.slow
class TestDevice(Device.TestCase):  # type: ignore[misc]  # made by hypothesis at run time
    """Runs the machine."""
