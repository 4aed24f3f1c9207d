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


_LIFE_PART = 2
"""A clock is asked about when more than this part of the timestamp's life has passed since it was signed. Source: a fleet that is
looked after signs it again before (decision 0009); a release every other week, and nothing between, fits into half of 30 days."""


def check_clock(now: datetime) -> None:
    """Refuse a clock that says that this software was not built yet: it is wrong, whatever anybody says.

    Args:
        now: Of this machine's clock, aware.

    Raises:
        PublishError: It is before the build time: nodes would take all that is signed for expired.
    """
    if now < BUILD_TIME:
        raise PublishError(
            f"this clock says {format_time(now)}, and this software was built at {format_time(BUILD_TIME)}: set the clock; "
            "nothing was signed"
        )


def signing_time(repository: Repository, now: datetime, *, sure: bool) -> datetime:
    """Return the moment to sign at: never before the last one, so that what is signed expires after every node's time floor.

    Args:
        repository: What was signed last.
        now: Of this machine's clock, aware.
        sure: Somebody has looked at the clock.

    Raises:
        PublishError: The clock is before the build time of this software. Or nobody has looked at it, and it is more than `SKEW`
            behind the last signature, or half of the timestamp's life and more than `SKEW` ahead of it, or no timestamp tells.
    """
    check_clock(now)
    issued, expires = repository.signed_times()
    if not sure:
        _check_plausible(now, issued, expires)
    return now if issued is None else max(now, issued)


def _check_plausible(now: datetime, issued: datetime | None, expires: datetime | None) -> None:
    """Compare a clock with the last timestamp; a jump of at most `SKEW` is harmless, however short a timestamp lasts."""
    if expires is None:
        raise PublishError(
            f"no timestamp tells when the last signature was made, and this clock says {format_time(now)}: if that is right, give "
            "--clock-is-right; a clock that is ahead would make every node refuse what is signed later"
        )
    if issued is not None and now < issued - SKEW:
        raise PublishError(
            f"this clock says {format_time(now)}, and the timestamp was signed at {format_time(issued)}: set the clock; if it is "
            "the other one that was wrong, run `edgeswarm refresh --all --clock-is-right`, and give --clock-is-right until then"
        )
    latest = expires if issued is None else issued + max(SKEW, (expires - issued) / _LIFE_PART)
    if now > latest:
        signed = f"expired at {format_time(expires)}" if issued is None else f"was signed at {format_time(issued)}"
        raise PublishError(
            f"this clock says {format_time(now)}, and the timestamp {signed}: if nothing was signed for so long, give "
            "--clock-is-right; a clock that is ahead would make every node refuse what is signed later"
        )
