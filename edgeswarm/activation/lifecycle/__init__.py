"""The life of a subscription's release on one node, as a pure machine.

`Lifecycle.handle(event, now)` returns the effects to perform; `encode_state` and `decode_state` carry its state over restarts.

Theory of operation. A channel offers releases with growing sequence numbers. At most one of them is worked on at a time:

    idle -> fetching -> staged -> activating -> checking -> confirmed
               |                     |    |        |
               v                     |    v        v
             failed <----------------+   rolling_back <--- (asked for, in any phase)
                ^                              |
                +---- (nothing to go back to) -+--> rolled_back

`handle(event, now)` returns effects that the shell performs in their order. `Save` comes first and is durable before the next
effect begins, so that after a crash at any point `Restarted` finds what was intended and compares it with what the target really
holds. A check that fails, hangs or never gets to its end because the node restarts again and again leads to a roll back by itself,
and what was rolled back is not tried again until the channel's sequence moves. Failures before the switch, and of a roll back, are
retried with growing pauses; the target still holds the old release, or the bad one, then.

Offers that come while the target is being switched or checked wait until that has settled. Answers to work that was given up in
the meantime are ignored.

An operator may roll back in any phase: it is the *active* release that is left, whatever is being fetched or staged meanwhile. His
word holds against all that the channel has said so far: neither the release that he left nor the one that was in work is taken up
before the sequence moves. While the target is being switched the request waits for that; it is not saved, since who asked hears of
a crash, and the switch takes a moment.
"""

from __future__ import annotations

from .machine import Lifecycle
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
from .saved import decode_state, encode_state

__all__ = [
    "Activate",
    "ActivateFailed",
    "ActivateRequested",
    "Activated",
    "BadRelease",
    "CancelFetch",
    "Check",
    "CheckFailed",
    "CheckPassed",
    "CheckStarted",
    "Confirm",
    "Effect",
    "Event",
    "Fetch",
    "Lifecycle",
    "LifecycleConfig",
    "LifecycleState",
    "Offer",
    "Offered",
    "Phase",
    "Restarted",
    "RollBack",
    "RollBackFailed",
    "RollBackRequested",
    "RolledBack",
    "Save",
    "StageFailed",
    "Staged",
    "StopActivate",
    "WakeAt",
    "Woke",
    "decode_state",
    "encode_state",
]
