"""Judges what a web server answers, by status and headers alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ..errors import FetchError, ObjectMissingError
from .ranges import ByteRange, parse_content_range

SKIP_BYTES = 64 * 1024
"""Most bytes that are read for nothing where a server knows no ranges: what guarantee G7 lets a cut cost."""

MAX_RETRY_SECONDS = 86400.0
"""Longest pause that a server can ask for: a day, so that a wrong date does not silence a site for ever. A guess."""

_MISSING = (404, 410)
_REFUSED = (401, 403, 407)
_TEMPORARY = (408, 425, 429)  # RFC 9110, section 15.5.9; RFC 8470, section 5.2; RFC 6585, section 4


def judge_status(what: str, status: int, headers: Mapping[str, str]) -> None:
    """Let 200, 206 and 304 pass and raise what every other status means.

    Raises:
        ObjectMissingError: There is no such object.
        FetchError: `temporary` for 5xx, 408, 416, 425 and 429; final for what a retry does not cure.
    """
    if status in (200, 206, 304):
        return
    if status in _MISSING:
        raise ObjectMissingError(f"{what}: no such object (status {status})")
    if status in _REFUSED:
        raise FetchError(
            f"{what}: refused (status {status}): check the credentials; a bucket that may not be listed hides a missing object so",
            temporary=False,
        )
    if status == 416:
        raise FetchError(f"{what}: the object is shorter than the range that was asked for (status 416)")
    temporary = status >= 500 or status in _TEMPORARY
    raise FetchError(f"{what}: status {status}", temporary=temporary, retry_after=retry_seconds(headers) if temporary else None)


def retry_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a server asks to be left alone, at most `MAX_RETRY_SECONDS`; None if it does not ask.

    A date is compared with the server's own `Date`: our clock may be wrong, and nobody asks it here.

    Source: RFC 9110, section 10.2.3.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(float(value), MAX_RETRY_SECONDS)
    until, now = _date(value), _date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max(0.0, (until - now).total_seconds()), MAX_RETRY_SECONDS)


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def judge_coding(what: str, headers: Mapping[str, str]) -> None:
    """Refuse a body that was compressed although we asked for none of that.

    Raises:
        FetchError: It is; final, since the server has to be configured.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise FetchError(
            f"{what}: the server sends it as {coding!r} although identity was asked for: turn that off", temporary=False
        )


def declared_length(headers: Mapping[str, str]) -> int | None:
    """Return the `Content-Length`, or None if there is none that means anything."""
    value = headers.get("content-length", "").strip()
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else None


def judge_range(what: str, status: int, headers: Mapping[str, str], wanted: ByteRange) -> int:
    """Check that an answer carries the range that was asked for.

    Returns:
        How many bytes of the body come before the range: 0, or up to `SKIP_BYTES` where the server knows no ranges.

    Raises:
        FetchError: It carries another range, or the object is too short (temporary: a cache may be stale); or the server knows no
            ranges and the offset is too far into the object (final).
    """
    length = declared_length(headers)
    if status == 206:
        got = parse_content_range(headers.get("content-range", ""))
        if got != wanted or length not in (None, wanted.length):
            raise FetchError(
                f"{what}: want {wanted}, the server sends {headers.get('content-range', 'no range')!r}, {length} bytes"
            )
        return 0
    if status != 200:
        raise FetchError(f"{what}: status {status} was not asked for")
    if length is not None and length < wanted.offset + wanted.length:
        raise FetchError(f"{what}: want {wanted}, the object has only {length} bytes")
    if wanted.offset > SKIP_BYTES:
        raise FetchError(
            f"{what}: the server knows no ranges, and reading {wanted.offset} bytes for nothing is no way: turn them on",
            temporary=False,
        )
    return wanted.offset
