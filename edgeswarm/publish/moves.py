"""Which way a channel may move: forward, unless the publisher says otherwise; pure.

Versions are never compared. What a channel has left behind is known from its signed history; and where that is not complete (it is
bounded, and channels of earlier publishers have none), from this: every release was published for some channel. One that no other
channel points to or remembers was this channel's. What a release was encoded against says nothing: that may be a candidate.
Releases that were removed since stand in a record (`pruned`).
"""

from __future__ import annotations

from collections.abc import Collection

from ..errors import PublishError
from ..trust.catalogue import Catalogue, Channel
from .lineage import current_channels


def current_entry(catalogue: Catalogue, product: str, channel: str) -> Channel | None:
    """Return a channel, or None if there is none of that name."""
    return catalogue.channel(product, channel) if channel in catalogue.channels(product) else None


def check_forward(catalogue: Catalogue, product: str, channel: str, version: str, removed: Collection[str] = ()) -> None:
    """Refuse to take a channel back to a version that it has left, for whatever variant.

    A version that was made for another channel and never was on this one is no step back: so candidates are promoted.

    Args:
        catalogue: Of the origin.
        product: Name of the product.
        channel: Which one is to move.
        version: Where to.
        removed: Versions of the product that were published once and removed since.

    Raises:
        PublishError: It would go back.
    """
    entry = current_entry(catalogue, product, channel)
    if entry is None or entry.version == version:
        return
    if version in entry.history or (not entry.remembers_all and _was_left(catalogue, entry, version, removed)):
        raise PublishError(
            f"channel {channel!r} of {product!r} has moved on from {version} to {entry.version}: "
            "to take the whole fleet back, say so with --back"
        )


def _was_left(catalogue: Catalogue, entry: Channel, version: str, removed: Collection[str]) -> bool:
    """Tell if a version is or was published, and no other channel accounts for it."""
    if version not in removed and not any(release.version == version for release in catalogue.releases(entry.product)):
        return False
    others = [other for other in current_channels(catalogue, entry.product, entry.name) if other.name != entry.name]
    return not any(version == other.version or version in other.history for other in others)


def check_unmoved(before: Channel | None, now: Channel | None, version: str) -> None:
    """Refuse to overwrite what another publisher did while this one was encoding.

    Args:
        before: The channel when this publication was judged; None if there was none.
        now: The channel that is about to be moved.
        version: The version that it is to be moved to.

    Raises:
        PublishError: It points elsewhere than before, and not to `version` (another variant of it is published beside this one).
    """
    if now is None or now.version == version or (before is not None and now.version == before.version):
        return
    raise PublishError(
        f"channel {now.name!r} of {now.product!r} was moved to {now.version} by another publisher meanwhile; it was left there: "
        f"publish again if {version} is to replace {now.version}"
    )
