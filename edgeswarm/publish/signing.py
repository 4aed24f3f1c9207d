"""Signing at an origin: new metadata is written in an order that shows readers the old state or the new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..abc import OriginWriter
from ..trust.clock import format_time

if TYPE_CHECKING:
    from .fleet import Fleet


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What `refresh` signed.

    Attributes:
        files: Names of the new objects, in the order in which they were written.
        metadata_bytes: Their bytes: what a site fetches.
        expiries: When each role expires now.
    """

    files: tuple[str, ...]
    metadata_bytes: int
    expiries: Mapping[str, datetime]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        expiries = {role: format_time(moment) for role, moment in self.expiries.items()}
        return {"files": list(self.files), "metadata_bytes": self.metadata_bytes, "expiries": expiries}


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


def refresh(fleet: Fleet, *, now: datetime) -> RefreshReport:
    """Sign the timestamp again, and the snapshot if half of its time is over: to be run regularly, by cron or CI.

    Args:
        fleet: With the keys of timestamp and snapshot.
        now: Aware.

    Raises:
        PublishError: Another publisher holds the origin, or it cannot be written.
        TrustError: What is at the origin does not verify, or keys are missing.
    """
    writer = fleet.writer()
    with writer.lock():
        repository = fleet.repository(writer, now=now)
        files = repository.sign(fleet.signing_keys(), now=now, expiries=fleet.expiries)
        names = write_metadata(writer, files)
    return RefreshReport(tuple(names), sum(map(len, files.values())), repository.expiries())
