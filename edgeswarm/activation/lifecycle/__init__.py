"""The life of a subscription's release on one node, as a pure machine.

`Lifecycle.handle(event, now)` returns the effects to perform; `encode_state` and `decode_state` carry its state over restarts.
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
    "WakeAt",
    "Woke",
    "decode_state",
    "encode_state",
]
