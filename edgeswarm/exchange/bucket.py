"""A token bucket: how much may be done now, and how long to wait for the rest.

Times are seconds on the caller's monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """Fills at a rate, up to a size; may be overdrawn, which is then waited for.

    Attributes:
        rate: Tokens a second, above 0.
        size: Most tokens that gather while nothing is taken.
    """

    rate: float
    size: float
    _tokens: float = field(init=False)
    _at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._tokens = self.size

    def take(self, now: float, tokens: float = 1.0) -> float:
        """Take tokens, whether they are there or not; return for how many seconds nothing more should be taken."""
        self._refill(now)
        self._tokens -= tokens
        return max(0.0, -self._tokens / self.rate)

    def try_take(self, now: float, tokens: float = 1.0) -> bool:
        """Take tokens if they are all there; return whether they were."""
        self._refill(now)
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def _refill(self, now: float) -> None:
        self._tokens = min(self.size, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
