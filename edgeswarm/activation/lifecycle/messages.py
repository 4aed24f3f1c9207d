"""What goes in and out of the lifecycle: phases, configuration, saved state, events and effects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from ...content.digest import Digest
from ...errors import ConfigError

# A guess: enough to show what went wrong lately; older ones are of releases that no channel points to any more.
_MAX_BAD = 16


class Phase(StrEnum):
    """Where a subscription's release is."""

    IDLE = "idle"
    FETCHING = "fetching"
    STAGED = "staged"
    ACTIVATING = "activating"
    CHECKING = "checking"
    CONFIRMED = "confirmed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Offer:
    """A release that a channel points to.

    Attributes:
        product: Product name.
        version: Version string, for people: never compared.
        manifest: Digest of the manifest root.
        sequence: Sequence number of the channel when it pointed here.
    """

    product: str
    version: str
    manifest: Digest
    sequence: int


@dataclass(frozen=True, slots=True)
class BadRelease:
    """A release that was rolled back here.

    Attributes:
        manifest: Digest of the manifest root.
        sequence: It is not tried again before the channel's sequence is higher than this.
        reason: Why it was rolled back, for people.
    """

    manifest: Digest
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class LifecycleConfig:
    """What a subscription's owner decides.

    Attributes:
        automatic: Activate as soon as a release is staged; else wait for `ActivateRequested`.
        check_seconds: A health check that takes longer has failed; counted from `CheckStarted`.
        check_attempts: How often a check is begun when the node restarts in the middle of it.
        retry_seconds: Pause after the first failure before the switch, or of a roll back; doubles with each further one.
        retry_max_seconds: Longest pause.
    """

    automatic: bool = True
    check_seconds: float = 300.0  # a guess: services that start slowly need minutes on a small board
    check_attempts: int = 3  # the boot attempts that RAUC and U-Boot's bootcount start with
    retry_seconds: float = 60.0  # a guess
    retry_max_seconds: float = 3600.0  # a guess: a full disk is not freed faster by asking more often

    def __post_init__(self) -> None:
        if self.check_attempts < 1 or self.check_seconds <= 0 or not 0 < self.retry_seconds <= self.retry_max_seconds:
            raise ConfigError(f"attempts and seconds must be above 0, and the longest pause the longest: {self}")


@dataclass(frozen=True, slots=True)
class LifecycleState:
    """What survives a restart.

    Attributes:
        phase: Where the release is.
        offer: The release that is worked on, or was last.
        waiting: A newer one that waits until the phase has settled.
        active: Manifest digest that the target holds, as far as known; empty: nothing.
        attempts: Checks begun for `offer`, those too that ended with the node.
        failures: Tries that failed in a row: before the switch, or to roll back.
        retry: Whether a failure is tried again after a pause.
        reason: Why it failed or was rolled back, for people.
        bad: Releases that were rolled back, oldest first.
    """

    phase: Phase = Phase.IDLE
    offer: Offer | None = None
    waiting: Offer | None = None
    active: Digest = b""
    attempts: int = 0
    failures: int = 0
    retry: bool = False
    reason: str = ""
    bad: tuple[BadRelease, ...] = ()

    def bad_release(self, manifest: Digest) -> BadRelease | None:
        """Return what is known against a release."""
        return next((bad for bad in self.bad if bad.manifest == manifest), None)

    def without_bad(self, manifest: Digest) -> tuple[BadRelease, ...]:
        """Return the bad releases but this one."""
        return tuple(bad for bad in self.bad if bad.manifest != manifest)

    def with_bad(self, manifest: Digest, sequence: int, reason: str) -> tuple[BadRelease, ...]:
        """Return the bad releases and this one: the newest 16."""
        return (*self.without_bad(manifest), BadRelease(manifest, sequence, reason))[-_MAX_BAD:]


# Events: what the shell tells.


@dataclass(frozen=True, slots=True)
class Offered:
    """The channel points to this release; telling it twice is fine."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Staged:
    """`Fetch` ended well: the release is in its slot, verified and durable."""

    manifest: Digest


@dataclass(frozen=True, slots=True)
class StageFailed:
    """`Fetch` ended badly; `final`: it would end the same way again until the channel moves."""

    manifest: Digest
    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class ActivateRequested:
    """The operator, or the end of an inhibition, lets the staged release be activated."""


@dataclass(frozen=True, slots=True)
class Activated:
    """`Activate` ended well: the target holds the release."""

    manifest: Digest


@dataclass(frozen=True, slots=True)
class ActivateFailed:
    """`Activate` ended badly; `switched`: the target holds the new release all the same (it may not be durable)."""

    manifest: Digest
    reason: str
    switched: bool = False


@dataclass(frozen=True, slots=True)
class CheckStarted:
    """`Check` number `attempt` runs now: until then it waited its turn, which says nothing about the release."""

    manifest: Digest
    attempt: int


@dataclass(frozen=True, slots=True)
class CheckPassed:
    """`Check` number `attempt` says that the release is healthy."""

    manifest: Digest
    attempt: int


@dataclass(frozen=True, slots=True)
class CheckFailed:
    """`Check` number `attempt` says that the release is not healthy."""

    manifest: Digest
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class RollBackRequested:
    """The operator wants the release before the active one back, whatever is going on. There must be one: ask the installer."""

    reason: str


@dataclass(frozen=True, slots=True)
class RolledBack:
    """`RollBack` ended well: the target holds `active` again."""

    active: Digest


@dataclass(frozen=True, slots=True)
class RollBackFailed:
    """`RollBack` ended badly: the target still holds the new release; `final`: there is nothing to go back to."""

    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True)
class Restarted:
    """The node started with a saved state; `active` is what the installer finds in the target, empty for nothing."""

    active: Digest


@dataclass(frozen=True, slots=True)
class Woke:
    """The time of a `WakeAt` has come; a late or superfluous one is fine."""


Event: TypeAlias = (
    Offered | Staged | StageFailed | ActivateRequested | Activated | ActivateFailed | CheckStarted | CheckPassed | CheckFailed
    | RollBackRequested | RolledBack | RollBackFailed | Restarted | Woke
)  # fmt: skip


# Effects: what the shell does, in order.


@dataclass(frozen=True, slots=True)
class Save:
    """Store the state durably before the next effect begins."""

    state: LifecycleState


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch and stage the release; answer `Staged` or `StageFailed`. A lost link is neither: go on when it is back."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class CancelFetch:
    """Stop the `Fetch` of this release at once, also if that effect still waits for its turn; nothing is answered any more."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Activate:
    """Switch the target to the staged release; answer `Activated` or `ActivateFailed`."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class StopActivate:
    """Stop the `Activate` at once if the target is not switched yet, also if it still waits; it is answered all the same."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Check:
    """Run the health check within `timeout_seconds`; answer `CheckStarted`, then `CheckPassed` or `CheckFailed` with `attempt`.

    A check that ends because the node does is not answered: it is neither passed nor failed, and run again after the restart.
    """

    offer: Offer
    attempt: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Confirm:
    """Tell the installer that the active release is good; repeating it is fine."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class RollBack:
    """Switch the target back; answer `RolledBack` or `RollBackFailed`. A check that still runs is stopped first.

    Attributes:
        manifest: The release to leave. If the target holds another one, that is the answer and nothing is switched.
        reason: For people.
    """

    manifest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Say `Woke` at this time, seconds on the clock of `now`; replaces the one before."""

    at: float


Effect: TypeAlias = Save | Fetch | CancelFetch | Activate | StopActivate | Check | Confirm | RollBack | WakeAt
