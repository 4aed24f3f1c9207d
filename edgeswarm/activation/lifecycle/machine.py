"""The machine: fetch, stage, activate, check, confirm or roll back.

Theory of operation. A channel offers releases with growing sequence numbers. At most one of them is worked on at a time:

    idle -> fetching -> staged -> activating -> checking -> confirmed
               |                     |    |        |            |
               v                     |    v        v            | (asked for)
             failed <----------------+   rolling_back <---------+
                ^                              |
                +------------------------------+--> rolled_back

`handle(event, now)` returns effects that the shell performs in their order. `Save` comes first and is durable before the next
effect begins, so that after a crash at any point `Restarted` finds what was intended and compares it with what the target really
holds. A check that fails, hangs or never gets to its end because the node restarts again and again leads to a roll back by itself,
and what was rolled back is not tried again until the channel's sequence moves. Failures before the switch are retried with growing
pauses; the target still holds the old release then.

Offers that come while the target is being switched or checked wait until that has settled. Answers to work that was given up in
the meantime are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...content.digest import short
from ...errors import LocalProtocolError
from .messages import (
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
)

# A guess: enough to show what went wrong lately; older ones are of releases that no channel points to any more.
_MAX_BAD = 16
_REASON_MAX_CHARS = 500


class Lifecycle:
    """The machine of one subscription; see the theory of operation above.

    Args:
        config: What the owner decides.
        state: What was saved last. After a restart tell `Restarted` first.
    """

    def __init__(self, config: LifecycleConfig, state: LifecycleState | None = None) -> None:
        self._config = config
        self._state = state or LifecycleState()
        self._deadline: float | None = None

    @property
    def state(self) -> LifecycleState:
        """What would be saved now."""
        return self._state

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event and return what to do.

        Args:
            event: What happened.
            now: Time in seconds on the caller's monotonic clock.

        Returns:
            Effects, to be performed in order.

        Raises:
            LocalProtocolError: A request does not fit the phase, e.g. to activate when nothing is staged.
        """
        handler = _TABLE.get((self._state.phase, type(event)))
        if handler is not None:
            return handler(self, event, now)
        if isinstance(event, ActivateRequested | RollBackRequested):
            wanted = "activate" if isinstance(event, ActivateRequested) else "roll back"
            raise LocalProtocolError(f"cannot {wanted}: the subscription is {self._state.phase}")
        return []

    @property
    def _offer(self) -> Offer:
        if self._state.offer is None:
            raise LocalProtocolError(f"saved state: {self._state.phase} without a release")
        return self._state.offer

    def _move(self, phase: Phase, **changes: Any) -> Effect:
        """Go to a phase; the effect is to be the first one."""
        self._deadline = None
        self._state = replace(self._state, phase=phase, **changes)
        return Save(self._state)

    # offers

    def _on_offered(self, event: Offered, now: float) -> list[Effect]:
        state, offer = self._state, event.offer
        if state.offer is not None and offer.sequence <= state.offer.sequence:
            return []
        if any(bad.manifest == offer.manifest and offer.sequence <= bad.sequence for bad in state.bad):
            return []
        if state.offer is not None and state.phase in {Phase.FETCHING, Phase.STAGED}:
            return self._supersede(state.offer, offer)
        return self._begin(offer)

    def _supersede(self, old: Offer, offer: Offer) -> list[Effect]:
        if old.manifest == offer.manifest:
            return [self._move(self._state.phase, offer=offer)]
        cancel: list[Effect] = [CancelFetch(old)] if self._state.phase is Phase.FETCHING else []
        save, *begin = self._begin(offer)
        return [save, *cancel, *begin]

    def _begin(self, offer: Offer) -> list[Effect]:
        fresh = {"offer": offer, "attempts": 0, "failures": 0, "retry": False, "reason": ""}
        if offer.manifest == self._state.active:
            return [self._move(Phase.CONFIRMED, **fresh), Confirm(offer)]
        return [self._move(Phase.FETCHING, **fresh), Fetch(offer)]

    def _on_offered_busy(self, event: Offered, now: float) -> list[Effect]:
        newest = self._state.waiting or self._offer
        if event.offer.sequence <= newest.sequence:
            return []
        self._state = replace(self._state, waiting=event.offer)
        return [Save(self._state)]

    def _settled(self, now: float, *effects: Effect) -> list[Effect]:
        """Add what the offer that waited leads to."""
        waiting = self._state.waiting
        if waiting is None:
            return list(effects)
        self._state = replace(self._state, waiting=None)
        return [*effects, *self._on_offered(Offered(waiting), now)]

    # fetch and stage

    def _on_staged(self, event: Staged, now: float) -> list[Effect]:
        if event.manifest != self._offer.manifest:
            return []
        if self._config.automatic:
            return self._activate()
        return [self._move(Phase.STAGED)]

    def _on_stage_failed(self, event: StageFailed, now: float) -> list[Effect]:
        if event.manifest != self._offer.manifest:
            return []
        return self._fail(event.reason, now, retry=not event.final)

    def _fail(self, reason: str, now: float, *, retry: bool) -> list[Effect]:
        failures = self._state.failures + 1
        save = self._move(Phase.FAILED, failures=failures, retry=retry, reason=reason[:_REASON_MAX_CHARS])
        settled = self._settled(now, save)
        return settled + self._pause(now) if self._state.phase is Phase.FAILED else settled

    def _pause(self, now: float) -> list[Effect]:
        if not self._state.retry:
            return []
        # No jitter: what is retried here is this node's own disk, nothing that others share.
        doublings = min(self._state.failures - 1, 30)
        self._deadline = now + min(self._config.retry_seconds * 2**doublings, self._config.retry_max_seconds)
        return [WakeAt(self._deadline)]

    def _on_woke_failed(self, event: Woke, now: float) -> list[Effect]:
        if self._deadline is None:
            return []
        if now < self._deadline:
            return [WakeAt(self._deadline)]
        return [self._move(Phase.FETCHING), Fetch(self._offer)]

    # activate and check

    def _on_activate_requested(self, event: ActivateRequested, now: float) -> list[Effect]:
        return self._activate()

    def _activate(self) -> list[Effect]:
        return [self._move(Phase.ACTIVATING), Activate(self._offer)]

    def _on_activated(self, event: Activated, now: float) -> list[Effect]:
        return self._check(1, now) if event.manifest == self._offer.manifest else []

    def _on_activate_failed(self, event: ActivateFailed, now: float) -> list[Effect]:
        if event.manifest != self._offer.manifest:
            return []
        if event.switched:
            return self._roll_back(event.reason)
        return self._fail(event.reason, now, retry=True)

    def _check(self, attempt: int, now: float) -> list[Effect]:
        # The attempt is saved before the check begins: a release that takes the node down must not get endless tries.
        offer, timeout = self._offer, self._config.check_seconds
        save = self._move(Phase.CHECKING, active=offer.manifest, attempts=attempt, failures=0)
        self._deadline = now + timeout
        return [save, Check(offer, attempt, timeout), WakeAt(self._deadline)]

    def _is_current(self, event: CheckPassed | CheckFailed) -> bool:
        return event.manifest == self._offer.manifest and event.attempt == self._state.attempts

    def _on_check_passed(self, event: CheckPassed, now: float) -> list[Effect]:
        if not self._is_current(event):
            return []
        return self._settled(now, self._move(Phase.CONFIRMED), Confirm(self._offer))

    def _on_check_failed(self, event: CheckFailed, now: float) -> list[Effect]:
        return self._roll_back(event.reason) if self._is_current(event) else []

    def _on_woke_checking(self, event: Woke, now: float) -> list[Effect]:
        if self._deadline is not None and now < self._deadline:
            return [WakeAt(self._deadline)]
        return self._roll_back(f"the health check gave no answer within {self._config.check_seconds:g} s")

    # roll back

    def _on_roll_back_requested(self, event: RollBackRequested, now: float) -> list[Effect]:
        return self._roll_back(event.reason)

    def _with_bad(self, reason: str) -> tuple[BadRelease, ...]:
        offer = self._offer
        others = tuple(bad for bad in self._state.bad if bad.manifest != offer.manifest)
        return (*others, BadRelease(offer.manifest, offer.sequence, reason))[-_MAX_BAD:]

    def _roll_back(self, reason: str) -> list[Effect]:
        reason, offer = reason[:_REASON_MAX_CHARS], self._offer
        save = self._move(Phase.ROLLING_BACK, active=offer.manifest, reason=reason, bad=self._with_bad(reason))
        return [save, RollBack(offer, reason)]

    def _on_rolled_back(self, event: RolledBack, now: float) -> list[Effect]:
        return self._settled(now, self._move(Phase.ROLLED_BACK, active=event.active))

    def _on_roll_back_failed(self, event: RollBackFailed, now: float) -> list[Effect]:
        return self._fail(f"{self._state.reason}; then rolling back failed: {event.reason}", now, retry=False)

    # restart: compare what was intended with what the target holds

    def _holds(self, event: Restarted) -> bool:
        return event.active == self._offer.manifest

    def _found(self, event: Restarted) -> list[Effect]:
        """Believe the target; save only what differs."""
        if event.active == self._state.active:
            return []
        self._state = replace(self._state, active=event.active)
        return [Save(self._state)]

    def _on_restarted_settled(self, event: Restarted, now: float) -> list[Effect]:
        return self._found(event)

    def _on_restarted_failed(self, event: Restarted, now: float) -> list[Effect]:
        if self._state.retry and self._holds(event):
            return self._check(1, now)
        return self._found(event) + self._pause(now)

    def _on_restarted_fetching(self, event: Restarted, now: float) -> list[Effect]:
        if self._holds(event):  # somebody else installed it meanwhile: it is still to be checked
            return self._check(1, now)
        return [*self._found(event), Fetch(self._offer)]

    def _on_restarted_staged(self, event: Restarted, now: float) -> list[Effect]:
        if self._holds(event):
            return self._check(1, now)
        return self._found(event) + (self._activate() if self._config.automatic else [])

    def _on_restarted_activating(self, event: Restarted, now: float) -> list[Effect]:
        if self._holds(event):
            return self._check(1, now)
        return [*self._found(event), Activate(self._offer)]

    def _on_restarted_checking(self, event: Restarted, now: float) -> list[Effect]:
        if not self._holds(event):
            return self._gone(event, now)
        attempts = self._state.attempts
        if attempts >= self._config.check_attempts:
            return self._roll_back(f"the node restarted during each of {attempts} health checks")
        return self._check(attempts + 1, now)

    def _on_restarted_confirmed(self, event: Restarted, now: float) -> list[Effect]:
        return [Confirm(self._offer)] if self._holds(event) else self._gone(event, now)

    def _gone(self, event: Restarted, now: float) -> list[Effect]:
        """The target holds something else than it should: an empty one is filled again, another release is the operator's will."""
        if not event.active:
            return [self._move(Phase.FETCHING, active=b"", attempts=0), Fetch(self._offer)]
        reason = f"the target was switched to {short(event.active)} by somebody else"
        save = self._move(Phase.ROLLED_BACK, active=event.active, reason=reason, bad=self._with_bad(reason))
        return self._settled(now, save)

    def _on_restarted_rolling_back(self, event: Restarted, now: float) -> list[Effect]:
        if self._holds(event):
            return [RollBack(self._offer, self._state.reason)]
        return self._on_rolled_back(RolledBack(event.active), now)


# The transitions. A pair that is not here is an answer to work that was given up, and is ignored; a request is refused.
_TABLE: dict[tuple[Phase, type], Callable[[Lifecycle, Any, float], list[Effect]]] = {
    (Phase.IDLE, Offered): Lifecycle._on_offered,
    (Phase.FETCHING, Offered): Lifecycle._on_offered,
    (Phase.STAGED, Offered): Lifecycle._on_offered,
    (Phase.ACTIVATING, Offered): Lifecycle._on_offered_busy,
    (Phase.CHECKING, Offered): Lifecycle._on_offered_busy,
    (Phase.CONFIRMED, Offered): Lifecycle._on_offered,
    (Phase.ROLLING_BACK, Offered): Lifecycle._on_offered_busy,
    (Phase.ROLLED_BACK, Offered): Lifecycle._on_offered,
    (Phase.FAILED, Offered): Lifecycle._on_offered,
    (Phase.FETCHING, Staged): Lifecycle._on_staged,
    (Phase.FETCHING, StageFailed): Lifecycle._on_stage_failed,
    (Phase.STAGED, ActivateRequested): Lifecycle._on_activate_requested,
    (Phase.ACTIVATING, Activated): Lifecycle._on_activated,
    (Phase.ACTIVATING, ActivateFailed): Lifecycle._on_activate_failed,
    (Phase.CHECKING, CheckPassed): Lifecycle._on_check_passed,
    (Phase.CHECKING, CheckFailed): Lifecycle._on_check_failed,
    (Phase.CHECKING, Woke): Lifecycle._on_woke_checking,
    (Phase.FAILED, Woke): Lifecycle._on_woke_failed,
    (Phase.CHECKING, RollBackRequested): Lifecycle._on_roll_back_requested,
    (Phase.CONFIRMED, RollBackRequested): Lifecycle._on_roll_back_requested,
    (Phase.ROLLING_BACK, RolledBack): Lifecycle._on_rolled_back,
    (Phase.ROLLING_BACK, RollBackFailed): Lifecycle._on_roll_back_failed,
    (Phase.IDLE, Restarted): Lifecycle._on_restarted_settled,
    (Phase.FETCHING, Restarted): Lifecycle._on_restarted_fetching,
    (Phase.STAGED, Restarted): Lifecycle._on_restarted_staged,
    (Phase.ACTIVATING, Restarted): Lifecycle._on_restarted_activating,
    (Phase.CHECKING, Restarted): Lifecycle._on_restarted_checking,
    (Phase.CONFIRMED, Restarted): Lifecycle._on_restarted_confirmed,
    (Phase.ROLLING_BACK, Restarted): Lifecycle._on_restarted_rolling_back,
    (Phase.ROLLED_BACK, Restarted): Lifecycle._on_restarted_settled,
    (Phase.FAILED, Restarted): Lifecycle._on_restarted_failed,
}
