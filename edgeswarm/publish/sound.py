"""Finds out whether pieces that lie at the origin still are what they were, before a new release is built on them.

Each piece that is reused is read and decoded, in the encoder's threads. To hash its whole pack, which the pack's name allows, would
spare the decoding, but read all that is not reused too, and condemn a pack for one bad byte in a piece that nobody needs. Decoding
is what a site will do, so that nothing else proves as much; and the publisher, which has cut its whole source by then, hardly
notices it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from functools import cache, partial
from typing import NamedTuple

from ..abc import OriginWriter
from ..content.codec import PLAIN_METHODS, decode_piece
from ..content.digest import Digest, check_digest
from ..content.index import PackIndex, Piece, pack_name
from ..content.manifest import BuiltManifest
from ..errors import ContentError, PublishError
from .packs import Place, in_order


class Claim(NamedTuple):
    """What should lie at a place.

    Attributes:
        name: Digest of the plain bytes; of the encoded ones for a delta unit or a map.
        place: Where it is said to be.
        size: Plain bytes; None for a map, and for a delta unit of chunks, which decodes against its base only. A page may be a
            unit, too: the name of its pack, where there are only such pages, is its proof.
    """

    name: Digest
    place: Place
    size: int | None


def plain_sizes(built: BuiltManifest) -> dict[Digest, int]:
    """Return the bytes of each chunk and page by digest."""
    manifest = built.manifest
    sizes = {manifest.chunk(index).digest: manifest.chunk(index).size for index in range(len(manifest))}
    return sizes | {name: len(page) for name, page in built.pages}


def claims_of(index: PackIndex, built: BuiltManifest) -> Iterator[Claim]:
    """Yield what an index claims: pages, maps, then pieces.

    Raises:
        ContentError: It names a page that the manifest does not have.
    """
    sizes, manifest = plain_sizes(built), built.manifest
    for name, page in zip(index.page_digests, index.pages, strict=True):
        if name not in sizes:
            raise ContentError("index: names a page of another manifest")
        yield Claim(name, _place(index, page), sizes[name])
    for one in index.maps:
        yield Claim(one.digest, _place(index, one), None)
    for piece in index.pieces:
        chunk = manifest.chunk(piece.first)
        name, size = (piece.digest, None) if index.base is not None else (chunk.digest, chunk.size)
        yield Claim(name, _place(index, piece), size)


def _place(index: PackIndex, piece: Piece) -> Place:
    return Place(index.packs[piece.pack], piece.offset, piece.length)


def unsound(
    writer: OriginWriter, claims: list[Claim], pool: Executor, ahead: int, step: Callable[[int], None]
) -> Mapping[Digest, str]:
    """Return what is wrong with each claim that does not hold, by its name.

    Args:
        writer: The origin.
        claims: What to look at.
        pool: Where it runs.
        ahead: Pieces under way at once.
        step: Called with the encoded bytes of each piece, in order; may raise to stop.
    """
    check_pack = cache(partial(_check_pack, writer))  # once, however many pages are in it

    def look(claim: Claim) -> tuple[Claim, str]:
        return claim, _trouble(writer, claim, check_pack)

    bad: dict[Digest, str] = {}
    for claim, trouble in in_order(pool, look, claims, ahead):
        if trouble:
            bad[claim.name] = trouble
        step(claim.place.length)
    return bad


def _check_pack(writer: OriginWriter, pack: Digest) -> None:
    name = pack_name(pack)
    check_digest(writer.read(name, offset=0, length=writer.size(name)), pack, f"{name} with manifest pages")


def _trouble(writer: OriginWriter, claim: Claim, check_pack: Callable[[Digest], None]) -> str:
    """Return what is wrong with a claim, "" if it holds."""
    name, place, size = claim
    pack = pack_name(place.pack)
    try:
        data = writer.read(pack, offset=place.offset, length=place.length)
        if size is not None and data[0] not in PLAIN_METHODS:
            check_pack(place.pack)
            return ""
        check_digest(data if size is None else decode_piece(data, size), name, f"piece at {place.offset} of {pack}")
    except (ContentError, PublishError) as error:
        return f"{pack}: {error}"
    return ""
