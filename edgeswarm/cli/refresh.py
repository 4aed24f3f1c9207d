"""`edgeswarm refresh`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter

from ..publish import RefreshReport
from ..publish import refresh as refresh_fleet
from ..trust.names import encoded_role
from .options import FleetFolder, Json, now, open_fleet
from .show import show


def refresh(
    *,
    fleet: FleetFolder = ".",
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    repair: Annotated[bool, Parameter(negative="")] = False,
    clock_is_right: Annotated[bool, Parameter(negative="")] = False,
    as_json: Json = False,
) -> None:
    """Sign the timestamp again, and all else whose keys are here when half of its time is over. Run it daily, from cron or CI.

    Args:
        fleet: The fleet folder, made by `edgeswarm init`.
        every: Sign everything whose keys are here, however young it is.
        repair: Make a lost or damaged timestamp or snapshot anew, of the other signed files at the origin.
        clock_is_right: This machine's clock is right, however long ago or ahead the last signature is.
        as_json: Write one JSON object.
    """
    report = refresh_fleet(open_fleet(fleet), now=now(), every=every, repair=repair, clock_is_right=clock_is_right)
    rows = [(role, _row(report, role)) for role in sorted(report.expiries)]
    show(report.as_dict(), as_json=as_json, title=f"Signed: {len(report.files)} files", rows=rows, hints=list(_hints(report)))


def _row(report: RefreshReport, role: str) -> str:
    names = {name.rpartition("/")[2].removesuffix(".json").split(".", 1)[-1] for name in report.files}
    return f"expires on {report.expiries[role]:%Y-%m-%d %H:%M} UTC{', signed now' if encoded_role(role) in names else ''}"


def _hints(report: RefreshReport) -> Iterator[str]:
    if elsewhere := [role for role in report.left if role != "root"]:
        yield f"Keys that are not here: {', '.join(elsewhere)}. Before they expire,"
        yield "run where those keys are: edgeswarm refresh --fleet ..."
    if "root" in report.left:
        yield f"The root expires on {report.expiries['root']:%Y-%m-%d}: its key holders must sign a new one before."
