"""`edgeswarm publish`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from ..content.manifest import ArtifactKind
from ..publish import PublishOptions, PublishReport, site_cost
from ..publish import publish as publish_release
from .options import FleetFolder, Json, Quiet, now, open_fleet
from .show import human_bytes, progress_teller, show

_DEFAULTS = PublishOptions()
_VERSION_CHARACTERS = 40  # 80 less margins, "a site at " and "999 GiB in 12345678 chunks"


def publish(
    path: str,
    /,
    *,
    product: str,
    version: str,
    channel: str,
    fleet: FleetFolder = ".",
    compatible: str = _DEFAULTS.compatible,
    delta_from: int = _DEFAULTS.delta_from,
    level: int = _DEFAULTS.level,
    unit_bytes: int = _DEFAULTS.unit_bytes,
    memory_bytes: int = _DEFAULTS.memory_bytes,
    predict: bool = _DEFAULTS.predict,
    kind: ArtifactKind | None = None,
    back: Annotated[bool, Parameter(negative="")] = False,
    max_update_bytes: int | None = None,
    allow_private_keys: Annotated[bool, Parameter(negative="")] = False,
    clock_is_right: Annotated[bool, Parameter(negative="")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Publish a file, image or directory, and point a channel at it. Safe to repeat and to interrupt.

    Args:
        path: What to publish.
        product: Name of the product.
        version: Version of the release; never compared with others.
        channel: Channel to point at it.
        fleet: The fleet folder, made by `edgeswarm init`.
        compatible: Hardware that it is for.
        delta_from: How many older releases to make deltas from.
        level: zstd level, 1 to 22.
        unit_bytes: Most bytes of a delta unit: what a broken link loses.
        memory_bytes: About how much memory the search for what is alike may take.
        predict: Predict references in programs: several times smaller deltas of these, for several times the work.
        kind: What the path is, if that is not clear.
        back: Allow to go back to a release that was replaced.
        max_update_bytes: Refuse if a site that follows the channel would fetch more, less signed metadata.
        allow_private_keys: Publish private keys that are no secret, as those of a test.
        clock_is_right: This machine's clock is right, however long ago or ahead the last signature is.
        quiet: Show no progress.
        as_json: Write one JSON object.
    """
    with progress_teller(as_json=as_json, quiet=quiet) as tell:
        options = PublishOptions(
            compatible=compatible, delta_from=delta_from, level=level, unit_bytes=unit_bytes, memory_bytes=memory_bytes,
            predict=predict, kind=kind, back=back, max_update_bytes=max_update_bytes, allow_private_keys=allow_private_keys,
            clock_is_right=clock_is_right, progress=tell,
        )  # fmt: skip
        report = publish_release(
            open_fleet(fleet), path, product=product, version=version, channel=channel, now=now(), options=options
        )  # fmt: skip
    _show(report, as_json=as_json)


def _show(report: PublishReport, *, as_json: bool) -> None:
    rows = [
        ("channel", f"{report.channel}, sequence {report.sequence}"),
        ("content", f"{human_bytes(report.size)} in {report.chunks} chunks"),
        ("new chunks", str(report.new_chunks)),
        ("a site with nothing", f"fetches {human_bytes(site_cost(report))}"),
    ]
    for delta in report.deltas:
        cost = human_bytes(site_cost(report, delta.base_version))
        rows.append((f"a site at {_shortened(delta.base_version)}", f"fetches {cost}"))
    verb = "Published" if report.changed else "Nothing to do: published before:"
    title = f"{verb} {report.product} {report.version} for {report.compatible} in {report.seconds:.1f} s"
    show(report.as_dict(), as_json=as_json, title=title, rows=rows)


def _shortened(version: str) -> str:
    """Return a version that leaves room for the numbers in 80 columns; versions differ at their ends."""
    return version if len(version) <= _VERSION_CHARACTERS else "..." + version[3 - _VERSION_CHARACTERS :]
