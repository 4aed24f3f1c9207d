"""The Trickle timer: often while there is news, hardly ever while there is none.

Theory of operation (RFC 6206, section 4.2): time is cut into intervals. In each one the node picks a moment t in its second half
and transmits at t, unless it heard k or more transmissions that agree with it before. Each interval is twice as long as the one
before, up to a longest one. Something heard that does not agree cuts the interval back to the shortest. So the number of
transmissions of a site is about k an interval, however many nodes there are.

    interval   |------- listen only -------|-- t --------|
               begin                     +I/2          end = begin + I

The machine has one timer: each `SetTimer` replaces the one before, and the driver answers it with `Tick`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..errors import ConfigError

# Design figures of this project [N = 500, 5 % loss: all know in 115 ms, 2.0 bytes/node/s idle]; RFC 6206, section 6.1 leaves them
# to the protocol that uses the timer.
MIN_SECONDS = 0.1
"""Shortest interval, Imin."""
MAX_SECONDS = 300.0
"""Longest interval, Imax; in seconds, where the RFC counts doublings."""
REDUNDANCY = 2
"""Transmissions heard that make ours needless, k."""


class Dice(Protocol):
    """The part of `random.Random` that is used."""

    def random(self) -> float:
        """Return a number from 0.0 up to but not 1.0."""


@dataclass(frozen=True, slots=True)
class Start:
    """Begin with the shortest interval."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The timer that was set last is due."""


@dataclass(frozen=True, slots=True)
class Consistent:
    """A transmission was heard that says what we would say."""


@dataclass(frozen=True, slots=True)
class Inconsistent:
    """One was heard that says something else, or what we would say has changed."""


class Transmit(NamedTuple):
    """Effect: send now."""


class SetTimer(NamedTuple):
    """Effect: deliver `Tick` at time `at`, in seconds on the caller's clock; replaces the timer set before."""

    at: float


class Trickle:
    """One Trickle timer.

    Args:
        dice: Source of chance, one per node.
        shortest: Imin in seconds.
        longest: Imax in seconds.
        redundancy: k.

    Raises:
        ConfigError: Not 0 < shortest <= longest, or redundancy below 1.
    """

    __slots__ = ("_begin", "_dice", "_heard", "_interval", "_longest", "_moment", "_redundancy", "_sent", "_shortest")

    def __init__(
        self, dice: Dice, *, shortest: float = MIN_SECONDS, longest: float = MAX_SECONDS, redundancy: int = REDUNDANCY
    ) -> None:
        if not 0 < shortest <= longest or redundancy < 1:
            raise ConfigError(
                f"beacon timer: wanted 0 < shortest <= longest and redundancy >= 1, got {shortest}, {longest}, {redundancy}"
            )
        self._dice = dice
        self._shortest = shortest
        self._longest = longest
        self._redundancy = redundancy
        self._interval = 0.0  # 0: not started
        self._begin = 0.0
        self._moment = 0.0
        self._heard = 0
        self._sent = False  # the moment t of this interval is past

    @property
    def interval(self) -> float:
        """Length of the running interval in seconds; 0 before `Start`."""
        return self._interval

    @property
    def shortest(self) -> float:
        """Shortest interval in seconds."""
        return self._shortest

    @property
    def longest(self) -> float:
        """Longest interval in seconds."""
        return self._longest

    def handle(self, event: Start | Tick | Consistent | Inconsistent, now: float) -> list[Transmit | SetTimer]:
        """Take one event at time `now` (seconds) and return what to do, in order. Events before `Start` do nothing."""
        if not self._interval and not isinstance(event, Start):
            return []
        effects: list[Transmit | SetTimer] = _HANDLERS[type(event)](self, event, now)
        return effects

    def _on_start(self, event: Start, now: float) -> list[Transmit | SetTimer]:
        return self._new_interval(self._shortest, now)

    def _on_tick(self, event: Tick, now: float) -> list[Transmit | SetTimer]:
        if not self._sent and now >= self._moment:
            return self._at_moment(now)
        if self._sent and now >= self._begin + self._interval:
            return self._new_interval(min(self._interval * 2, self._longest), now)
        return [self._timer()]  # a timer that came early

    def _on_consistent(self, event: Consistent, now: float) -> list[Transmit | SetTimer]:
        self._heard += 1
        return []

    def _on_inconsistent(self, event: Inconsistent, now: float) -> list[Transmit | SetTimer]:
        # Already the shortest: going on is what spreads news; starting over each time would never reach t (RFC 6206, 4.2, rule 6).
        return [] if self._interval <= self._shortest else self._new_interval(self._shortest, now)

    def _new_interval(self, length: float, now: float) -> list[Transmit | SetTimer]:
        self._interval = length
        self._begin = now
        self._moment = now + length * (1 + self._dice.random()) / 2
        self._heard = 0
        self._sent = False
        return [self._timer()]

    def _at_moment(self, now: float) -> list[Transmit | SetTimer]:
        self._sent = True
        wanted = self._heard < self._redundancy
        return [Transmit(), self._timer()] if wanted else [self._timer()]

    def _timer(self) -> SetTimer:
        return SetTimer(self._begin + self._interval if self._sent else self._moment)


_HANDLERS: dict[type[object], Callable[[Trickle, Any, float], list[Transmit | SetTimer]]] = {
    Start: Trickle._on_start,
    Tick: Trickle._on_tick,
    Consistent: Trickle._on_consistent,
    Inconsistent: Trickle._on_inconsistent,
}
