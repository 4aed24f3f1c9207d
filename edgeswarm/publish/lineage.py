"""Which older releases a new one is encoded against.

Versions are never compared; what came before what is known from the releases themselves: each names its bases, newest first. So the
bases of a new release are the versions that the channels point to now, its own channel's first, and then the bases of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import NotPublishedError
from ..trust.catalogue import Catalogue, Channel, Release


def current_channels(catalogue: Catalogue, product: str, first: str) -> list[Channel]:
    """Return the channels of a product, the one named `first` in front, then by name."""
    names = sorted(catalogue.channels(product), key=lambda name: (name != first, name))
    return [catalogue.channel(product, name) for name in names]


def versions_before(catalogue: Catalogue, product: str, versions: Iterable[str]) -> list[str]:
    """Return the versions that others were encoded against, newest first, each once."""
    releases = catalogue.releases(product)
    named = {release.manifest: release.version for release in reversed(releases)}
    found: dict[str, None] = {}
    for version in versions:
        for release in releases:
            if release.version == version:
                found |= {named[ref.base]: None for ref in release.indexes if ref.base is not None and ref.base in named}
    return list(found)


def likely_bases(catalogue: Catalogue, product: str, version: str, channel: str, compatible: str) -> Iterator[Release]:
    """Yield what devices that will take `version` probably hold now, the likeliest first.

    Args:
        catalogue: Of the origin.
        product: Name of the product.
        version: The new version; it is no base of itself.
        channel: Where it goes.
        compatible: Its variant; the variant for any device stands in where a version has none of its own.
    """
    pointed = [entry.version for entry in current_channels(catalogue, product, channel)]
    for old in dict.fromkeys([*pointed, *versions_before(catalogue, product, pointed)]):
        if old == version:
            continue
        try:
            release = catalogue.release(product, old, compatible)
        except NotPublishedError:
            continue  # that version was never made for this hardware
        if release.index_for(None) is not None:
            yield release
