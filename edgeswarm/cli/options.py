"""Options that several commands share, and how they are read."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..publish import Fleet

PASSPHRASE_VARIABLE = "EDGESWARM_PASSPHRASE"  # noqa: S105  # the name of a variable

FleetFolder = Annotated[str, Parameter(name="--fleet", env_var="EDGESWARM_FLEET")]
Quiet = Annotated[bool, Parameter(name="--quiet", negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="")]


def passphrase() -> bytes | None:
    """Return the passphrase of the keys, or None if there is none.

    Raises:
        ConfigError: It is set and empty: a secret that a job did not get would leave new keys in the clear.
    """
    text = os.environb.get(PASSPHRASE_VARIABLE.encode())
    if text == b"":
        raise ConfigError(f"{PASSPHRASE_VARIABLE} is set, but empty: set it to the passphrase, or unset it for keys in the clear")
    return text


def open_fleet(directory: str) -> Fleet:
    """Open a fleet folder; `ConfigError` if it is none."""
    from ..publish import Fleet

    return Fleet.open(directory, passphrase=passphrase())


def now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)
