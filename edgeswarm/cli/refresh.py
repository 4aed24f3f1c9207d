"""`edgeswarm refresh`."""

from __future__ import annotations

from datetime import timedelta

from ..publish import refresh as refresh_fleet
from .options import FleetFolder, Json, now, open_fleet
from .show import show

_WARN_BEFORE = timedelta(days=30)
"""A guess: time for a ceremony."""


def refresh(*, fleet: FleetFolder = ".", as_json: Json = False) -> None:
    """Sign the timestamp again, and the snapshot when half of its time is over. Run it daily, from cron or CI.

    Args:
        fleet: The fleet folder, made by `edgeswarm init`.
        as_json: Write one JSON object.
    """
    moment = now()
    report = refresh_fleet(open_fleet(fleet), now=moment)
    rows = [(role, f"expires on {expires:%Y-%m-%d %H:%M} UTC") for role, expires in sorted(report.expiries.items())]
    soon = [role for role, expires in report.expiries.items() if expires < moment + _WARN_BEFORE and role != "timestamp"]
    hints = [f"Expires soon, and `refresh` does not sign it: {role}" for role in sorted(soon)]
    show(report.as_dict(), as_json=as_json, title="Signed again", rows=rows, hints=hints)
