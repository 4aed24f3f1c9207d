"""How much one update may cost a site; pure."""

from __future__ import annotations

from ..errors import NotPublishedError, PublishError
from ..trust.catalogue import Catalogue, Channel, Release
from .lineage import versions_before
from .moves import current_entry


def check_cost(catalogue: Catalogue, channel: str, release: Release, most: int) -> None:
    """Refuse a release that costs a site which follows a channel too much: root, index and pieces, less signed metadata.

    Such a site holds the newest version of the channel that has something for this variant: where several variants are published
    one after the other, the channel points to the new version already, and the site is still at the one before. Where none has,
    nobody is updated, and nothing is refused; where one has, but no delta was made from it, the site fetches all.

    Args:
        catalogue: Before the release is added.
        channel: The channel that is to point to it.
        release: What is published, with its indexes.
        most: Bytes.

    Raises:
        PublishError: It costs more.
    """
    entry = current_entry(catalogue, release.product, channel)
    if entry is None:
        return
    held = _held(catalogue, entry, release.variant)
    if held is None or held.manifest == release.manifest:
        return
    delta = release.index_for(held.manifest)
    ref = delta or release.index_for(None)
    cost = release.root_bytes + (ref.length + ref.payload_bytes if ref else release.size)
    if cost > most:
        how = "" if delta else ", since there is no delta from it"
        raise PublishError(
            f"a site at {held.version} would fetch {cost} bytes{how}, more than the {most} allowed: nothing was signed; allow "
            "more, or find out what made the release change so much"
        )


def _held(catalogue: Catalogue, entry: Channel, variant: str) -> Release | None:
    """Return what a device of a variant holds that has followed a channel so far; None if there was nothing for it."""
    before = entry.history if entry.remembers_all else (*entry.history, *versions_before(catalogue, entry.product, [entry.version]))
    for version in (entry.version, *before):
        try:
            return catalogue.release(entry.product, version, variant)
        except NotPublishedError:
            continue  # the channel never had that version for this hardware
    return None
