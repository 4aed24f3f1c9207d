"""What `prune` remembers at the origin: which releases were removed, and since when nothing names an object.

For publishers: readers never ask for it, and nothing is trusted for what it says. Whoever can write at the origin could remove the
objects themselves; and a version that stands here is refused unless `--back` says that it is meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from ..abc import OriginWriter
from ..errors import PublishError, TrustError
from ..trust.clock import format_time, parse_time

RECORD = "publisher/pruned.json"
"""Name of the record at the origin."""

_FORMAT = 1
_MAX_BYTES = 64 * 1024 * 1024
"""Bytes of the record. Source: a guess; an object takes about 100, so that 600,000 may wait."""

_T = TypeVar("_T")


@dataclass(slots=True)
class PruneRecord:
    """What is remembered; empty if nothing was ever pruned.

    Attributes:
        removed: Versions that were removed, by product, in that order.
        unnamed: Since when nothing names an object, by its name; aware.
    """

    removed: dict[str, list[str]] = field(default_factory=dict)
    unnamed: dict[str, datetime] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return one JSON object, with sorted keys."""
        unnamed = {name: format_time(since) for name, since in self.unnamed.items()}
        values = {"format": _FORMAT, "removed": self.removed, "unnamed": unnamed}
        return (json.dumps(values, sort_keys=True, indent=0) + "\n").encode()


def read_record(writer: OriginWriter) -> PruneRecord:
    """Return the record at an origin.

    Raises:
        PublishError: It is damaged, or of a newer edgeswarm.
    """
    data = writer.get(RECORD, limit=_MAX_BYTES)
    if data is None:
        return PruneRecord()
    try:
        return _decode(json.loads(data))
    except (ValueError, TrustError) as error:
        raise PublishError(
            f"{RECORD}: is damaged at the origin ({error}): put a copy back, or remove it. Without it what nothing names is kept "
            "for another grace, and a channel with a long history may go back to a removed version without --back"
        ) from error


def write_record(writer: OriginWriter, record: PruneRecord) -> None:
    """Write the record in place of the one that may be there.

    Raises:
        PublishError: It cannot be written.
    """
    writer.put(RECORD, record.encode(), replace=True)


def _decode(values: object) -> PruneRecord:
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ValueError(f"wanted an object of format {_FORMAT}")
    return PruneRecord(_table(values.get("removed"), _versions), _table(values.get("unnamed"), parse_time))


def _table(values: object, value: Callable[[object], _T]) -> dict[str, _T]:
    if not isinstance(values, dict):
        raise ValueError(f"wanted an object, got {str(values)[:40]!r}")  # noqa: TRY004  # of the file, not of an argument
    return {str(key): value(entry) for key, entry in values.items()}


def _versions(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(version, str) for version in values):
        raise ValueError(f"wanted a list of versions, got {str(values)[:40]!r}")
    return list(values)
