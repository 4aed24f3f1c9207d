"""Signing at an origin: new metadata is written in an order that shows readers the old state or the new one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..abc import OriginWriter
from ..errors import PublishError
from ..trust.clock import format_time
from ..trust.repository import Repository
from ..trust.salvage import salvage
from .clock import signing_time

if TYPE_CHECKING:
    from .fleet import Fleet

_ROOT_PART = 4
"""A root is reported when less than this part of its life is left: half a year of two, time for a ceremony. A guess."""

_log = logging.getLogger("edgeswarm.publish")


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What `refresh` signed.

    Attributes:
        files: Names of the new objects, in the order in which they were written.
        metadata_bytes: Their bytes: what a site fetches.
        expiries: When each role expires now.
        left: Roles that should be signed soon and were not, since their keys are not here; sorted.
    """

    files: tuple[str, ...]
    metadata_bytes: int
    expiries: Mapping[str, datetime]
    left: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        expiries = {role: format_time(moment) for role, moment in self.expiries.items()}
        return {"files": list(self.files), "metadata_bytes": self.metadata_bytes, "expiries": expiries, "left": list(self.left)}


def write_metadata(writer: OriginWriter, files: Mapping[str, bytes]) -> list[str]:
    """Write signed files in their order, the timestamp last; return their names.

    A file of the same name that no timestamp ever named may be there, left by a publisher that was interrupted: nobody has read it,
    and it is replaced. Roots are read by number before anything names them: those never change.
    """
    names = []
    for name, data in files.items():
        names.append(f"metadata/{name}")
        writer.put(names[-1], data, replace=not name.endswith(".root.json"))
    return names


def refresh(
    fleet: Fleet, *, now: datetime, every: bool = False, repair: bool = False, clock_is_right: bool = False
) -> RefreshReport:
    """Sign the timestamp again, and each role whose keys are here when half of its life is over. Run it daily, from cron or CI.

    Args:
        fleet: With the keys of timestamp and snapshot.
        now: Aware.
        every: Sign every role whose keys are here, however young it is.
        repair: Do not read timestamp and snapshot, which may be lost or damaged, but make them of the other signed files.
        clock_is_right: `now` is right, however far it is from the last signature.

    Raises:
        PublishError: The clock is not plausible, or no timestamp is left to tell; another publisher holds the origin, it cannot be
            written, or what only a copy can replace is lost.
        TrustError: What is at the origin does not verify, or keys are missing.
    """
    writer = fleet.writer()
    with writer.lock():
        repository = _salvaged(fleet, writer, now) if repair else fleet.repository(writer, now=now)
        now = signing_time(repository, now, sure=clock_is_right)
        files = repository.renew(fleet.signing_keys(), now=now, expiries=fleet.expiries, every=every)
        names = write_metadata(writer, files)
    expiries = repository.expiries()
    left = repository.due(now, fleet.expiries)
    if expiries["root"] < now + fleet.expiries.root / _ROOT_PART:
        left = ["root", *left]
    return RefreshReport(tuple(names), sum(map(len, files.values())), expiries, tuple(sorted(left)))


def _salvaged(fleet: Fleet, writer: OriginWriter, now: datetime) -> Repository:
    names = [name.removeprefix("metadata/") for name in writer.names("metadata")]

    def fetch(name: str, limit: int) -> bytes | None:
        try:
            return writer.get(f"metadata/{name}", limit=limit)
        except PublishError as error:
            _log.warning("%s", error)
            return None

    return salvage(names, fetch, bootstrap=fleet.root, now=now)
