"""What a publisher is told: what was published, and what it will cost a site."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..content.digest import Digest


@dataclass(frozen=True, slots=True)
class DeltaReport:
    """What an update from one older release costs a site.

    Attributes:
        base_version: The older version.
        base: Digest of its manifest.
        delta_bytes: Delta units, their maps, and pages of the manifest.
        index_bytes: The index that says where they are.
    """

    base_version: str
    base: Digest
    delta_bytes: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What `publish` did.

    Attributes:
        product: Name of the product.
        version: Version.
        compatible: Variant.
        channel: Channel that points to it now.
        sequence: The channel's sequence number.
        changed: False if all of it had been published before.
        manifest: Digest of the manifest root: the artifact's identity.
        kind: What its bytes are: `file`, `image` or `tree`.
        size: Bytes of the artifact's stream.
        chunks: Its chunks.
        new_chunks: Chunks that no older release at the origin had.
        root_bytes: Bytes of the manifest root.
        full_bytes: Encoded bytes that a site without any base fetches.
        full_index_bytes: The index that says where they are.
        deltas: What updates cost, newest base first.
        metadata_bytes: Signed metadata that a site which was up to date before fetches.
        stored_bytes: New bytes at the origin, less metadata.
        seconds: How long it took.
    """

    product: str
    version: str
    compatible: str
    channel: str
    sequence: int
    changed: bool
    manifest: Digest
    kind: str
    size: int
    chunks: int
    new_chunks: int
    root_bytes: int
    full_bytes: int
    full_index_bytes: int
    deltas: tuple[DeltaReport, ...]
    metadata_bytes: int
    stored_bytes: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; digests in hex."""
        values = asdict(self)
        values["manifest"] = self.manifest.hex()
        values["deltas"] = [asdict(delta) | {"base": delta.base.hex()} for delta in self.deltas]
        return values


def site_cost(report: PublishReport, base_version: str | None = None) -> int:
    """Return the bytes of one copy for one site: metadata, manifest root, index, and pieces; what the uplink must carry once.

    Args:
        report: Of the release.
        base_version: What the site holds now; None for nothing.

    Raises:
        KeyError: The release was not encoded against that version.
    """
    common = report.metadata_bytes + report.root_bytes
    if base_version is None:
        return common + report.full_index_bytes + report.full_bytes
    delta = {delta.base_version: delta for delta in report.deltas}[base_version]
    return common + delta.index_bytes + delta.delta_bytes
