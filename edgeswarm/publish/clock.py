"""Whether a publisher's clock may be believed; pure.

What is signed carries the moment of its signing, and every node takes that as proof that the moment has passed. A clock that was
ahead once makes all nodes refuse what expires before that moment, for as long as it takes to come; so a jump is asked about first.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ..errors import PublishError
from ..trust.clock import BUILD_TIME, format_time
from ..trust.repository import Repository

SKEW = timedelta(days=1)
"""How far two publishers' clocks may differ. Source: a guess; minutes are usual, a wrong time zone makes up to 14 hours."""


def signing_time(repository: Repository, now: datetime, *, sure: bool) -> datetime:
    """Return the moment to sign at: never before the last one, so that what is signed expires after every node's time floor.

    Args:
        repository: What was signed last.
        now: Of this machine's clock, aware.
        sure: Somebody has looked at the clock.

    Raises:
        PublishError: The clock is more than `SKEW` behind the last signature, or beyond its expiry, and nobody has looked at it.
    """
    issued, expires = repository.signed_times()
    if issued is None or expires is None or issued < BUILD_TIME:
        return now  # a machine without a clock signed it: that says nothing of ours
    if not sure and now < issued - SKEW:
        raise PublishError(
            f"this clock says {format_time(now)}, and the timestamp was signed at {format_time(issued)}: set the clock; if it is "
            "the other one that was wrong, run `edgeswarm refresh --all --clock-is-right`, and give --clock-is-right until then"
        )
    if not sure and now > expires:
        raise PublishError(
            f"this clock says {format_time(now)}, and the timestamp expired at {format_time(expires)}: if nothing was signed for "
            "so long, give --clock-is-right; a clock that is ahead would make every node refuse what is signed later"
        )
    return max(now, issued)
