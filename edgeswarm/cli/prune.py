"""`edgeswarm prune`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from cyclopts import Parameter

from ..errors import ConfigError
from ..publish import PruneOptions, PruneReport
from ..publish import prune as prune_releases
from .options import FleetFolder, Json, Quiet, now, open_fleet
from .show import human_bytes, progress_teller, show

_DEFAULTS = PruneOptions()
_LONGEST_DAYS = 36500.0  # as in fleet.toml


def prune(
    *,
    product: str,
    keep: int = _DEFAULTS.keep,
    grace: float | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    clock_is_right: Annotated[bool, Parameter(negative="")] = False,
    fleet: FleetFolder = ".",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Remove old releases of a product, and delete what no release has named for longer than the grace. Run it again and again.

    Args:
        product: Name of the product.
        keep: Versions that each channel keeps, 1 to 33; the bases of their deltas stay too.
        grace: Days that an object is kept once nothing names it; default: as long as a timestamp lasts.
        dry_run: Say what would be done, and change nothing.
        clock_is_right: This machine's clock is right, however long ago or ahead the last signature is.
        fleet: The fleet folder, made by `edgeswarm init`.
        quiet: Show no progress.
        as_json: Write one JSON object.
    """
    if grace is not None and not 0 <= grace <= _LONGEST_DAYS:
        raise ConfigError(f"--grace: wanted 0 to {_LONGEST_DAYS:g} days, got {grace:g}")
    days = None if grace is None else timedelta(days=grace)
    with progress_teller(as_json=as_json, quiet=quiet) as tell:
        options = PruneOptions(keep=keep, grace=days, dry_run=dry_run, clock_is_right=clock_is_right, progress=tell)
        report = prune_releases(open_fleet(fleet), product, now=now(), options=options)
    would = "Would remove" if report.dry_run else "Removed"
    title = f"{would} {len(report.removed)} of {len(report.removed) + len(report.kept)} versions of {report.product}"
    show(report.as_dict(), as_json=as_json, title=title, rows=list(_rows(report)), hints=list(_hints(report)))


def _rows(report: PruneReport) -> Iterator[tuple[str, str]]:
    if report.removed:
        yield "removed", ", ".join(report.removed)
    yield "kept", ", ".join(report.kept)
    yield "deleted", f"{len(report.deleted)} objects, {human_bytes(report.deleted_bytes)}"
    if report.next_at is not None:
        first = f"the first from {report.next_at:%Y-%m-%d %H:%M} UTC on"
        yield "waiting", f"{report.waiting} objects, {human_bytes(report.waiting_bytes)}, {first}"


def _hints(report: PruneReport) -> Iterator[str]:
    if report.troubles:
        yield f"No pack was deleted, since {len(report.troubles)} indexes cannot be read: {report.troubles[0]}"
        yield "Publish the release that it is of again to repair it."
