"""Indexes: where the pieces of one manifest lie in packs.

A full index says where every chunk lies, alone; a delta index where the delta units against one base lie, each making a run of
whole chunks, and where the maps lie that some of these units need. Both say where the manifest's pages lie. An index is named by
its digest in the signed release, and so is every unit and map in a delta index; a chunk from a full index is proved by its own
digest.

Bytes: docs/reference/formats.md, "Index". Columns are difference-coded and the whole is one zstd piece [4 bytes a chunk].
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from ..errors import ContentError
from .codec import decode_piece, encode_piece
from .digest import DIGEST_BYTES, Digest, check_digest, digest, short
from .manifest import MAX_CHUNKS, Manifest
from .varint import pack_varints, unpack_varints, unzigzag, zigzag

INDEX_MAX_BYTES = 64 * 1024 * 1024
UNIT_MAX_OUTPUT_BYTES = 4 * 1024 * 1024
UNIT_MAX_CHUNKS = 256
PIECE_MAX_BYTES = UNIT_MAX_OUTPUT_BYTES + 64 * 1024
SPAN_CHUNKS = 64
"""Chunks a span: what one lease is about; units do not cross span ends. 4 MiB at the average size, a guess until measured."""

_VERSION = 2
_MAX_PACKS = 65536
_HEAD_BYTES = 5
_TABLE = [int, bytes, bytes, bytes, bytes, bytes, bytes]
_SHAPES = ([bytes, bytes, bytes, bytes, list, list, list], [bytes, type(None), bytes, bytes, list, list, list])


@dataclass(frozen=True, slots=True)
class Piece:
    """Where one encoded piece lies, and which chunks it makes, or is the map of.

    Attributes:
        first: Index of the first chunk, or of the page in the list of pages.
        count: How many chunks: 1 in a full index and for a page.
        pack: Position of the pack in the index's list.
        offset: Byte offset in the pack.
        length: Encoded bytes.
        digest: BLAKE3 of the encoded bytes; empty in a full index.
    """

    first: int
    count: int
    pack: int
    offset: int
    length: int
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class PackIndex:
    """One index.

    Attributes:
        manifest: Digest of the root it belongs to.
        base: Digest of the root of the base that its units need; None for a full index.
        packs: Digests of the packs, which name them at the origin.
        pages: Where the manifest's pages lie, in the order of `BuiltManifest.pages`, those missing that the base has too.
        page_digests: Digests of these pages.
        pieces: Where chunks or units lie, ascending by `first`, none overlapping.
        maps: Where the maps of runs of chunks lie, ascending by `first`, none overlapping; none in a full index.
    """

    manifest: Digest
    base: Digest | None
    packs: tuple[Digest, ...]
    page_digests: tuple[Digest, ...]
    pages: tuple[Piece, ...]
    pieces: tuple[Piece, ...]
    maps: tuple[Piece, ...] = ()

    @property
    def payload_bytes(self) -> int:
        """Encoded bytes of all pieces, maps and pages, each place once: what a site without anything but the base has to fetch."""
        return sum({(p.pack, p.offset): p.length for p in (*self.pages, *self.maps, *self.pieces)}.values())

    def map_for(self, piece: Piece) -> Piece | None:
        """Return the map whose run holds the first chunk of a unit, which then holds all of them; None if it needs no map."""
        at = bisect_right(self.maps, piece.first, key=_first_of) - 1
        found = self.maps[at] if at >= 0 else None
        return found if found is not None and piece.first < found.first + found.count else None


def _first_of(piece: Piece) -> int:
    return piece.first


def pack_name(pack: Digest) -> str:
    """Return the name of a pack at the origin."""
    text = pack.hex()
    return f"packs/{text[:2]}/{text}"


def index_name(index: Digest) -> str:
    """Return the name of an index at the origin."""
    text = index.hex()
    return f"index/{text[:2]}/{text}"


def manifest_name(manifest: Digest) -> str:
    """Return the name of a manifest root at the origin."""
    return f"manifests/{manifest.hex()}"


def encode_index(index: PackIndex) -> bytes:
    """Return the bytes of an index: version, plain length, one zstd piece of msgpack."""
    body: bytes = msgpack.packb([
        index.manifest, index.base, b"".join(index.packs), b"".join(index.page_digests),
        _pack_pieces(index.pages), _pack_pieces(index.pieces), _pack_pieces(index.maps),
    ])  # fmt: skip
    return bytes([_VERSION]) + len(body).to_bytes(4, "big") + encode_piece(body, 19)


def _pack_pieces(pieces: Sequence[Piece]) -> list[Any]:
    """Difference-code the columns: gaps between chunk runs and between pack ranges are nearly always zero."""
    gaps, jumps, run_end, ends = [], [], 0, dict[int, int]()
    for piece in pieces:
        gaps.append(piece.first - run_end)
        jumps.append(zigzag(piece.offset - ends.get(piece.pack, 0)))
        run_end = piece.first + piece.count
        ends[piece.pack] = piece.offset + piece.length
    columns = (gaps, [p.count for p in pieces], [p.pack for p in pieces], jumps, [p.length for p in pieces])
    return [len(pieces), *(pack_varints(column) for column in columns), b"".join(p.digest for p in pieces)]


def decode_index(data: bytes, wanted: Digest) -> PackIndex:
    """Check and decode an index.

    Args:
        data: Its bytes as fetched.
        wanted: Its digest as the signed release names it.

    Raises:
        ContentError: Another digest, or malformed.
    """
    check_digest(data, wanted, "index")
    _check_head(data)
    size = int.from_bytes(data[1:_HEAD_BYTES], "big")
    if size > INDEX_MAX_BYTES:
        raise ContentError(f"index: says {size} bytes, at most {INDEX_MAX_BYTES} are allowed")
    body = decode_piece(memoryview(data)[_HEAD_BYTES:], size)
    try:
        fields = msgpack.unpackb(body, max_array_len=7, max_map_len=0, list_hook=_check_shape)
    except (ValueError, msgpack.UnpackException) as error:
        raise ContentError(f"index: not msgpack: {error}") from error
    return _index_of(fields)


def _check_head(data: bytes) -> None:
    if len(data) <= _HEAD_BYTES:
        raise ContentError(f"index: {len(data)} bytes are none")
    if data[0] != _VERSION:
        why = "a newer edgeswarm made it" if data[0] > _VERSION else "an older edgeswarm made it: publish the release again"
        raise ContentError(f"index: wanted version {_VERSION}, got {data[0]}; {why}")


def _check_shape(row: list[Any]) -> list[Any]:
    """Refuse a list of any other shape as soon as it is parsed, so that nested empty lists cannot fill the memory."""
    if [type(value) for value in row] not in (_TABLE, *_SHAPES):
        raise ContentError("index: a list of an unknown shape")
    return row


def _index_of(fields: Any) -> PackIndex:
    if not isinstance(fields, list) or [type(value) for value in fields] not in _SHAPES:
        raise ContentError("index: wanted [manifest, base, packs, page digests, pages, pieces, maps]")
    manifest, base, packs, names, pages, pieces, maps = fields
    if len(manifest) != DIGEST_BYTES or (base is not None and len(base) != DIGEST_BYTES):
        raise ContentError("index: manifest and base must be digests of 32 bytes")
    pack_list, page_list = _split_digests(packs, "packs"), _split_digests(names, "page digests")
    page_rows = _unpack_pieces(pages, len(pack_list), 1, with_digests=False)
    if len(page_list) != len(page_rows):
        raise ContentError(f"index: {len(page_list)} page digests for {len(page_rows)} pages")
    is_delta = base is not None
    rows = _unpack_pieces(pieces, len(pack_list), UNIT_MAX_CHUNKS if is_delta else 1, with_digests=is_delta)
    map_rows = _unpack_pieces(maps, len(pack_list), MAX_CHUNKS if is_delta else 0, with_digests=is_delta)
    return PackIndex(manifest, base, pack_list, page_list, page_rows, rows, map_rows)


def _split_digests(data: bytes, what: str) -> tuple[Digest, ...]:
    if len(data) % DIGEST_BYTES or len(data) // DIGEST_BYTES > _MAX_PACKS:
        raise ContentError(f"index: {what} of {len(data)} bytes: wanted at most {_MAX_PACKS} digests of 32 bytes")
    return tuple(data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES))


def _unpack_pieces(table: list[Any], packs: int, most_chunks: int, *, with_digests: bool) -> tuple[Piece, ...]:
    if [type(value) for value in table] != _TABLE:
        raise ContentError("index: wanted a table of a count and six columns")
    count = table[0]
    if not 0 <= count <= MAX_CHUNKS or len(table[6]) != (count * DIGEST_BYTES if with_digests else 0):
        raise ContentError(f"index: {count} pieces with {len(table[6])} bytes of digests")
    gaps, counts, numbers, jumps, lengths = (unpack_varints(column, count) for column in table[1:6])
    pieces, run_end, ends = [], 0, dict[int, int]()
    for i in range(count):
        first, pack = run_end + gaps[i], numbers[i]
        offset = ends.get(pack, 0) + unzigzag(jumps[i])
        name = table[6][i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES]
        piece = Piece(first, counts[i], pack, offset, lengths[i], name)
        _check_piece(piece, packs, most_chunks)
        run_end, ends[pack] = first + counts[i], offset + lengths[i]
        pieces.append(piece)
    return tuple(pieces)


def _check_piece(piece: Piece, packs: int, most_chunks: int) -> None:
    fits = (
        piece.pack < packs
        and 0 < piece.length <= PIECE_MAX_BYTES
        and 0 <= piece.offset < 1 << 48
        and 0 < piece.count <= most_chunks
        and piece.first + piece.count <= MAX_CHUNKS
    )
    if not fits:
        raise ContentError(f"index: impossible piece {piece}")


def check_index(index: PackIndex, manifest: Manifest) -> None:
    """Check an index against its manifest, before pieces are read or decoded.

    Raises:
        ContentError: It is of another manifest, goes beyond its chunks, or has a unit of more than 4 MiB or across a map's border.
    """
    if index.manifest != manifest.digest:
        raise ContentError(f"index: of manifest {short(index.manifest)}, wanted {short(manifest.digest)}")
    for last in (*index.pieces[-1:], *index.maps[-1:]):
        if last.first + last.count > len(manifest):
            raise ContentError(f"index: {last} in a manifest of {len(manifest)} chunks")
    for piece in index.pieces:
        if sum(manifest.sizes[piece.first : piece.first + piece.count]) > UNIT_MAX_OUTPUT_BYTES:
            raise ContentError(f"index: {piece} makes more than {UNIT_MAX_OUTPUT_BYTES} bytes")
    _check_borders(index)


def _check_borders(index: PackIndex) -> None:
    """Refuse a unit of which one chunk lies in a map's run and another does not."""
    borders = [border for one in index.maps for border in (one.first, one.first + one.count)]
    for piece in index.pieces:
        at = bisect_right(borders, piece.first)
        if at < len(borders) and borders[at] < piece.first + piece.count:
            raise ContentError(f"index: {piece} crosses the border of a map at chunk {borders[at]}")


def named_index(index: PackIndex) -> tuple[Digest, bytes]:
    """Return the digest and the bytes of an index."""
    data = encode_index(index)
    return digest(data), data
