"""How much one update may cost a site; pure."""

from __future__ import annotations

from ..errors import NotPublishedError, PublishError
from ..trust.catalogue import Catalogue, Release
from .moves import current_entry


def check_cost(catalogue: Catalogue, channel: str, release: Release, most: int) -> None:
    """Refuse a release that costs a site which follows a channel too much: root, index and pieces, less signed metadata.

    Such a site holds what the channel points to now. Where that has nothing for this variant, nobody is updated, and nothing is
    refused; where it has, but no delta was made from it, the site fetches all.

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
    try:
        held = catalogue.release(release.product, entry.version, release.variant)
    except NotPublishedError:
        return
    if held.manifest == release.manifest:
        return
    delta = release.index_for(held.manifest)
    ref = delta or release.index_for(None)
    cost = release.root_bytes + (ref.length + ref.payload_bytes if ref else release.size)
    if cost > most:
        how = "" if delta else ", since there is no delta from it"
        raise PublishError(
            f"a site at {entry.version} would fetch {cost} bytes{how}, more than the {most} allowed: nothing was signed; allow "
            "more, or find out what made the release change so much"
        )
