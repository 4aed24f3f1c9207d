"""How long a neighbour is believed that claims spans for its uplink and brings nothing.

Theory of operation. While a neighbour holds claims, time is charged to it; each chunk of what it holds that comes here, verified,
gives some back. When its credit is used up its claims count for nothing for a while, which doubles each time: whoever claims
everything and fetches nothing delays a site by less and less. A neighbour that holds nothing is charged nothing, so that one whose
uplink was down for an hour starts where it was.

Times are seconds on the caller's monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CREDIT_SECONDS = 120.0
"""How long claims may be held without anything coming of them. A guess: a unit of 64 KiB at 5 kbit/s."""
CHUNK_SECONDS = 60.0
"""What one chunk gives back. A guess: slower than 64 KiB a minute, 9 kbit/s, others had better fetch as well."""
LONGEST_DOUBT_SECONDS = 3600.0
"""The longest pause. A guess: an uplink that was dead for days is to count again soon after it works."""


@dataclass(slots=True)
class Credit:
    """The credit of one neighbour.

    Attributes:
        doubted_until: Its claims count for nothing before this time.
    """

    doubted_until: float = -math.inf
    _spent: float = 0.0
    _failures: int = 0
    _at: float = math.nan

    def pass_to(self, now: float, *, holds: bool) -> None:
        """Charge the time since the last call, if the neighbour held claims meanwhile."""
        if holds and now >= self.doubted_until and not math.isnan(self._at):
            self._spent += max(0.0, now - max(self._at, self.doubted_until))
        self._at = now
        if self._spent >= CREDIT_SECONDS:
            self.doubted_until = now + min(LONGEST_DOUBT_SECONDS, CREDIT_SECONDS * 2**self._failures)
            self._failures = min(self._failures + 1, 16)
            self._spent = 0.0

    def earn(self, chunks: int, now: float) -> None:
        """Give back for chunks that came; who was doubted is believed again."""
        self._spent = max(0.0, self._spent - chunks * CHUNK_SECONDS)
        self.doubted_until = min(self.doubted_until, now)
