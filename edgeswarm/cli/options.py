"""Options that several commands share, and how they are read."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from ..publish import Fleet

PASSPHRASE_VARIABLE = "EDGESWARM_PASSPHRASE"  # noqa: S105  # the name of a variable

FleetFolder = Annotated[str, Parameter(name="--fleet", env_var="EDGESWARM_FLEET")]
Json = Annotated[bool, Parameter(name="--json", negative="")]


def passphrase() -> bytes | None:
    """Return the passphrase of the keys, or None if there is none."""
    return os.environb.get(PASSPHRASE_VARIABLE.encode()) or None


def open_fleet(directory: str) -> Fleet:
    """Open a fleet folder; `ConfigError` if it is none."""
    from ..publish import Fleet

    return Fleet.open(directory, passphrase=passphrase())


def now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)
