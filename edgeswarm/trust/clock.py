"""Time that can be relied on where clocks lie.

Theory of operation. A device without a battery-backed clock starts in 1970; another may be years ahead. What is certain is
only that some moments have passed: this software was built, and the timestamp role signed at a moment `issued`. The latest
of them is the **floor**. It is persisted, and only signed metadata raises it: a certificate never does, since one
certificate with a wrong date would poison it for ever. Metadata is judged against the later of clock and floor. Links are
judged against the floor, so that a clock that is wrong never stops a transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..errors import ExpiredError, StoreError, TrustError

BUILD_TIME = datetime(2026, 11, 1, tzinfo=UTC)
"""A moment that has certainly passed where this code runs. Source: set by hand when a release is made."""

NOT_YET_TOLERANCE = timedelta(days=1)
"""How far ahead a certificate's start may be of a plausible clock: time zones and drift. Source: a guess."""

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_ENCODED_BYTES = 20


def format_time(moment: datetime) -> str:
    """Return a moment as TUF writes it, in UTC and whole seconds: `2026-11-01T00:00:00Z`."""
    return moment.astimezone(UTC).strftime(_FORMAT)


def parse_time(text: object) -> datetime:
    """Return the moment that `format_time` wrote.

    Raises:
        TrustError: It is not of that form.
    """
    try:
        return datetime.strptime(str(text), _FORMAT).replace(tzinfo=UTC)
    except ValueError as exc:
        raise TrustError(f"{str(text)[:40]!r} is not a time like 2026-11-01T00:00:00Z") from exc


def check_aware(moment: datetime) -> datetime:
    """Return `moment` in UTC.

    Raises:
        TrustError: It has no time zone, so that nobody knows which moment is meant.
    """
    if moment.tzinfo is None:
        raise TrustError(f"the time {moment} has no time zone: pass an aware datetime")
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class TimeFloor:
    """The latest moment that is known to have passed.

    Attributes:
        value: Aware, UTC; never before `BUILD_TIME`.
    """

    value: datetime = BUILD_TIME

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", max(check_aware(self.value), BUILD_TIME))

    def raised(self, issued: datetime | None) -> TimeFloor:
        """Return the floor after verified metadata said `issued`; None changes nothing; it never goes down."""
        return self if issued is None or issued <= self.value else TimeFloor(issued)

    def now(self, clock: datetime) -> datetime:
        """Return the time to judge metadata by: the later of clock and floor."""
        return max(check_aware(clock), self.value)

    def encode(self) -> bytes:
        """Return 20 ASCII bytes to persist."""
        return format_time(self.value).encode()

    @classmethod
    def decode(cls, data: bytes) -> TimeFloor:
        """Return the floor that was persisted.

        Raises:
            StoreError: The bytes are damaged. Deleting them is safe: the floor starts again from the build time.
        """
        try:
            return cls(parse_time(data[: _ENCODED_BYTES + 1].decode("ascii")))
        except (TrustError, UnicodeDecodeError) as exc:
            raise StoreError(f"the persisted time floor is damaged, delete it to start again: {exc}") from exc


def judge_certificate(not_before: datetime, not_after: datetime, now: datetime, floor: TimeFloor) -> None:
    """Refuse a certificate that has certainly expired, or that a plausible clock says is not valid yet.

    Expiry is judged against the floor alone: a clock that is ahead must not cut off honest peers. A start in the future counts only
    if the clock is not behind the floor, that is, not known to be wrong.

    Args:
        not_before: Start of the certificate's validity; aware.
        not_after: End of its validity; aware.
        now: What the clock says; aware.
        floor: The latest moment known to have passed.

    Raises:
        ExpiredError: It expired before the floor.
        TrustError: It is not valid yet.
    """
    if not_after < floor.value:
        raise ExpiredError(f"the certificate expired on {not_after}, and it is {floor.value} or later: enrol the node again")
    if now >= floor.value and not_before > now + NOT_YET_TOLERANCE:
        raise TrustError(f"the certificate is not valid before {not_before}, and the clock says {now}")
