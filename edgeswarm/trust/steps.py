"""Values of the trust client: what it wants, what it brings, how it judges expiry, and how to drive it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias, TypeVar

from .floor import VersionFloor


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """What to do with expired metadata.

    Attributes:
        grace: How long after its expiry metadata still verifies. It then counts as stale; rollback is refused all the same.
    """

    grace: timedelta = timedelta(0)


STRICT = ExpiryPolicy()
"""Expired metadata is refused."""


def grace(days: float) -> ExpiryPolicy:
    """Return a policy for sites that are offline for long: metadata verifies for `days` after its expiry, marked stale."""
    return ExpiryPolicy(timedelta(days=days))


@dataclass(frozen=True, slots=True)
class Want:
    """A metadata object that is wanted next.

    Attributes:
        name: File name below `metadata/`, e.g. `7.snapshot.json`.
        max_bytes: Longer answers are refused.
    """

    name: str
    max_bytes: int


_Result = TypeVar("_Result")
Steps: TypeAlias = Generator[Want, "bytes | None", _Result]
"""A verification under way: yields wants, is sent bytes or None (there is no such object), returns its result."""


class Target(NamedTuple):
    """What verified metadata says about one target path.

    Attributes:
        path: The target path.
        length: Bytes of the object.
        sha256: Its SHA-256, 64 hex digits; "" if the metadata gives another hash only.
        custom: The publisher's own data, parsed JSON, not yet validated.
    """

    path: str
    length: int
    sha256: str
    custom: object


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a refresh brought.

    Attributes:
        changed: Verified files that were not here before, by name. Save them durably before anything depends on them.
        stale: Some role in use has expired and is accepted by grace only.
        timestamp_version: Version of the timestamp.
        issued: When the timestamp was signed, as it says, at most the root's expiry; raises the time floor. None if it does
            not say.
        expires: The earliest expiry among the roles in use.
        expires_first: The file that expires then.
        floor: Versions to persist, after the files.
        damaged: Files that were here, did not verify and were replaced: worth a warning, the disk may be failing.
        obsolete: Files that were here and are not needed any more; delete them after `changed` is saved.
    """

    changed: dict[str, bytes]
    stale: bool
    timestamp_version: int
    issued: datetime | None
    expires: datetime
    expires_first: str
    floor: VersionFloor
    damaged: tuple[str, ...] = ()
    obsolete: tuple[str, ...] = ()


def drive(steps: Steps[_Result], answer: Callable[[Want], bytes | None]) -> _Result:
    """Run `steps` to its end with blocking answers; an exception from `answer` ends it."""
    try:
        want = next(steps)
        while True:
            want = steps.send(answer(want))
    except StopIteration as stop:
        result: _Result = stop.value
        return result
    finally:
        steps.close()
