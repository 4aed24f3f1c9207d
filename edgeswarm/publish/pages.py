"""Manifest pages as differences to those of a base: a page is mostly digests, which do not compress, and most of them are the same.

The pages of the base, joined in the order in which a reader needs them, are one stream, and each page that the base lacks is a
delta unit over that. A receiver that has the base's manifest can make the same stream. Such units lie in a pack of their own, so
that its name proves them: nobody could decode them without the base.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..content.delta import EngineOptions, PairEncoder, decode_unit
from ..content.digest import Digest
from ..content.index import PackIndex
from ..content.manifest import BuiltManifest, Manifest, pages_of
from ..errors import PublishError
from .packs import PackFile, Place


def encode_pages(
    built: BuiltManifest, full: PackIndex, base: Manifest, known: set[Digest], pack: PackFile, how: EngineOptions
) -> list[tuple[Digest, Place]]:
    """Write pages as units into a pack, and return where each page that the base lacks lies: there, or whole where that is smaller.

    Args:
        built: The new manifest.
        full: Its full index.
        base: The base's manifest.
        known: Digests of the base's pages.
        pack: Takes the units; nothing else is written to it.
        how: How to encode.
    """
    whole = {
        name: Place(full.packs[piece.pack], piece.offset, piece.length)
        for name, piece in zip(full.page_digests, full.pages, strict=True)
    }
    units = [(name, pack.append(unit), len(unit)) for name, unit in _units(built, base, known, whole, how)]
    made = {name: Place(pack.digest, offset, length) for name, offset, length in units}
    return [(name, made.get(name, whole[name])) for name, _ in built.pages if name not in known]


def _units(
    built: BuiltManifest, base: Manifest, known: set[Digest], whole: dict[Digest, Place], how: EngineOptions
) -> Iterator[tuple[Digest, bytes]]:
    """Yield a unit for each page that is smaller so, once."""
    old = b"".join(page for _, page in pages_of(base))
    fresh = [(name, page) for name, page in dict(built.pages).items() if name not in known]
    new = b"".join(page for _, page in fresh)
    read_old, read_new = (lambda at, n: old[at : at + n]), (lambda at, n: new[at : at + n])
    encoder = PairEncoder(read_old, len(old), read_new, len(new), [(0, len(new))] if new else [], replace(how, predict=False))
    start = 0
    for name, page in fresh:
        unit = encoder.encode(page, start)
        if decode_unit(unit, read_old, len(old), len(page)) != page:
            raise PublishError("a manifest page does not decode to what was encoded: is this machine's memory sound?")
        if len(unit) < whole[name].length:
            yield name, unit
        start += len(page)
