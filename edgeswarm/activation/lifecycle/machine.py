"""The machine: fetch, stage, activate, check, confirm or roll back; its theory of operation is that of this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...content.digest import Digest, short
from ...errors import LocalProtocolError
from .messages import (
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
)

_REASON_MAX_CHARS = 500


class Lifecycle:
    """The machine of one subscription.

    Args:
        config: What the owner decides.
        state: What was saved last. After a restart tell `Restarted` first.
    """

    def __init__(self, config: LifecycleConfig, state: LifecycleState | None = None) -> None:
        self._config = config
        self._state = state or LifecycleState()
        self._deadline: float | None = None
        self._asked: tuple[str, Offer] | None = None  # why, and the newest that the channel had said then

    @property
    def state(self) -> LifecycleState:
        """What would be saved now."""
        return self._state

    @property
    def retry_at(self) -> float | None:
        """When what failed is tried again, seconds on the clock of `now`; None: nothing waits for that."""
        return self._deadline if self._state.phase in {Phase.FAILED, Phase.ROLLING_BACK} else None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event and return what to do.

        Args:
            event: What happened.
            now: Time in seconds on the caller's monotonic clock.

        Returns:
            Effects, to be performed in order.

        Raises:
            LocalProtocolError: `ActivateRequested` while nothing is staged.
        """
        handler = _TABLE.get((self._state.phase, type(event)))
        if handler is not None:
            return handler(self, event, now)
        if isinstance(event, ActivateRequested):
            raise LocalProtocolError(f"cannot activate: wanted a staged release, the subscription is {self._state.phase}")
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
        bad = state.bad_release(offer.manifest)
        if bad is not None and offer.sequence <= bad.sequence:
            return []
        if state.offer is not None and state.phase in {Phase.FETCHING, Phase.STAGED}:
            return self._supersede(state.offer, offer, now)
        return self._begin(offer, now)

    def _supersede(self, old: Offer, offer: Offer, now: float) -> list[Effect]:
        if old.manifest == offer.manifest:
            return [self._move(self._state.phase, offer=offer)]
        cancel: list[Effect] = [CancelFetch(old)] if self._state.phase is Phase.FETCHING else []
        save, *begin = self._begin(offer, now)
        return [save, *cancel, *begin]

    def _begin(self, offer: Offer, now: float) -> list[Effect]:
        fresh: dict[str, Any] = {"offer": offer, "attempts": 0, "failures": 0, "retry": False, "reason": ""}
        if offer.manifest != self._state.active:
            return [self._move(Phase.FETCHING, **fresh), Fetch(offer)]
        if self._state.bad_release(offer.manifest) is None:
            return [self._move(Phase.CONFIRMED, **fresh), Confirm(offer)]
        self._state = replace(self._state, **fresh)  # it failed here and could not be rolled back: it is to prove itself
        return self._check(1, now)

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
        return settled + self._pause_to_retry(now) if self._state.phase is Phase.FAILED else settled

    def _pause_to_retry(self, now: float) -> list[Effect]:
        return self._pause(now) if self._state.retry else []

    def _pause(self, now: float) -> list[Effect]:
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
        if event.manifest != self._offer.manifest:
            return []
        return self._go_back(event.manifest) if self._asked is not None else self._check(1, now)

    def _on_activate_failed(self, event: ActivateFailed, now: float) -> list[Effect]:
        if event.manifest != self._offer.manifest:
            return []
        if self._asked is not None:
            return self._go_back(event.manifest if event.switched else self._state.active)
        if event.switched:
            return self._roll_back(event.reason)
        return self._fail(event.reason, now, retry=True)

    def _check(self, attempt: int, now: float) -> list[Effect]:
        # The attempt is saved before the check begins: a release that takes the node down must not get endless tries.
        save = self._move(Phase.CHECKING, active=self._offer.manifest, attempts=attempt, failures=0)
        return [save, Check(self._offer, attempt, self._config.check_seconds)]

    def _is_current(self, event: CheckStarted | CheckPassed | CheckFailed) -> bool:
        return event.manifest == self._offer.manifest and event.attempt == self._state.attempts

    def _on_check_started(self, event: CheckStarted, now: float) -> list[Effect]:
        if not self._is_current(event):
            return []
        self._deadline = now + self._config.check_seconds
        return [WakeAt(self._deadline)]

    def _on_check_passed(self, event: CheckPassed, now: float) -> list[Effect]:
        if not self._is_current(event):
            return []
        offer = self._offer
        save = self._move(Phase.CONFIRMED, bad=self._state.without_bad(offer.manifest))
        return self._settled(now, save, Confirm(offer))

    def _on_check_failed(self, event: CheckFailed, now: float) -> list[Effect]:
        return self._roll_back(event.reason) if self._is_current(event) else []

    def _on_woke_checking(self, event: Woke, now: float) -> list[Effect]:
        if self._deadline is None:
            return []
        if now < self._deadline:
            return [WakeAt(self._deadline)]
        return self._roll_back(f"the health check gave no answer within {self._config.check_seconds:g} s")

    # roll back

    def _roll_back(self, reason: str) -> list[Effect]:
        """Leave the release that is worked on, because it is bad."""
        return self._leave(self._offer.manifest, reason, offer=self._offer)

    def _leave(self, manifest: Digest, reason: str, offer: Offer, **changes: Any) -> list[Effect]:
        reason = reason[:_REASON_MAX_CHARS]
        bad = self._state.with_bad(manifest, offer.sequence, reason) if manifest else self._state.bad
        changes |= {"offer": offer, "active": manifest, "bad": bad, "reason": reason, "failures": 0, "retry": False}
        return [self._move(Phase.ROLLING_BACK, **changes), RollBack(manifest, reason)]

    def _ask(self, reason: str) -> None:
        newest = self._state.waiting or self._state.offer or Offer("", "", self._state.active, 0)
        self._asked = reason, newest

    def _on_roll_back_requested(self, event: RollBackRequested, now: float) -> list[Effect]:
        self._ask(event.reason)
        cancel: list[Effect] = [CancelFetch(self._offer)] if self._state.phase is Phase.FETCHING else []
        save, *back = self._go_back(self._state.active)
        return [save, *cancel, *back]

    def _on_roll_back_requested_activating(self, event: RollBackRequested, now: float) -> list[Effect]:
        self._ask(event.reason)
        return [StopActivate(self._offer)]

    def _on_roll_back_requested_again(self, event: RollBackRequested, now: float) -> list[Effect]:
        count = 1 if self._deadline is None else 2  # an attempt that runs is not begun again
        self._ask(event.reason)
        return self._go_back(self._state.active)[:count]

    def _go_back(self, manifest: Digest) -> list[Effect]:
        """Leave a release because an operator asked for it, and decline all that the channel had said until then."""
        assert self._asked is not None  # noqa: S101  # by the callers
        (reason, newest), self._asked = self._asked, None
        waiting = self._state.waiting
        is_newer = waiting is not None and waiting.sequence > newest.sequence
        return self._leave(manifest, reason, offer=newest, waiting=waiting if is_newer else None)

    def _try_again(self) -> list[Effect]:
        self._deadline = None
        return [RollBack(self._state.active, self._why)]

    @property
    def _why(self) -> str:
        """Why the active release is to be left, without what went wrong since."""
        bad = self._state.bad_release(self._state.active)
        return bad.reason if bad is not None else self._state.reason

    def _on_rolled_back(self, event: RolledBack, now: float) -> list[Effect]:
        return self._settled(now, self._move(Phase.ROLLED_BACK, active=event.active, failures=0, reason=self._why))

    def _on_roll_back_failed(self, event: RollBackFailed, now: float) -> list[Effect]:
        failures = self._state.failures + 1
        reason = f"{self._why}; then rolling back failed: {event.reason}"[:_REASON_MAX_CHARS]
        phase = Phase.FAILED if event.final else Phase.ROLLING_BACK
        save = self._move(phase, failures=failures, reason=reason)
        return self._settled(now, save) if event.final else [save, *self._pause(now)]

    def _on_woke_rolling_back(self, event: Woke, now: float) -> list[Effect]:
        if self._deadline is None:
            return []
        return self._try_again() if now >= self._deadline else [WakeAt(self._deadline)]

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
        bad = self._state.bad_release(event.active)
        if self._holds(event) and bad is not None and bad.sequence >= self._offer.sequence:  # what was in the way may be gone
            return [self._move(Phase.ROLLING_BACK, active=event.active, retry=False), RollBack(event.active, bad.reason)]
        if self._state.retry and self._holds(event):
            return self._check(1, now)
        return self._found(event) + self._pause_to_retry(now)

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
        bad = self._state.with_bad(self._offer.manifest, self._offer.sequence, reason)
        save = self._move(Phase.ROLLED_BACK, active=event.active, reason=reason, bad=bad)
        return self._settled(now, save)

    def _on_restarted_rolling_back(self, event: Restarted, now: float) -> list[Effect]:
        if event.active in {self._state.active, b""}:  # an empty target was emptied by hand: the previous release is to come back
            return self._try_again()
        return self._on_rolled_back(RolledBack(event.active), now)


# The transitions. A pair that is not here is an answer to work that was given up, and is ignored; to activate is refused.
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
    (Phase.CHECKING, CheckStarted): Lifecycle._on_check_started,
    (Phase.CHECKING, CheckPassed): Lifecycle._on_check_passed,
    (Phase.CHECKING, CheckFailed): Lifecycle._on_check_failed,
    (Phase.CHECKING, Woke): Lifecycle._on_woke_checking,
    (Phase.FAILED, Woke): Lifecycle._on_woke_failed,
    **{(phase, RollBackRequested): Lifecycle._on_roll_back_requested for phase in Phase},
    (Phase.ACTIVATING, RollBackRequested): Lifecycle._on_roll_back_requested_activating,
    (Phase.ROLLING_BACK, RollBackRequested): Lifecycle._on_roll_back_requested_again,
    (Phase.ROLLING_BACK, Woke): Lifecycle._on_woke_rolling_back,
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
