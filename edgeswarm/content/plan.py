"""Plans: which ranged reads of which packs bring the chunks that are wanted, and what they cost.

Pure arithmetic over a manifest's indexes. A delta index is used where its unit makes a wanted chunk; what it doesn't cover, or what
was found not to decode here, comes from the full index.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .digest import Digest
from .index import PackIndex, Piece


@dataclass(frozen=True, slots=True)
class PackRead:
    """One ranged read: consecutive pieces of one pack.

    Attributes:
        index: The index that the pieces are of.
        pack: Digest of the pack.
        offset: First byte.
        length: Bytes.
        pieces: The pieces in it, in pack order, without gaps.
    """

    index: PackIndex
    pack: Digest
    offset: int
    length: int
    pieces: tuple[Piece, ...]

    def cut(self, starts: Sequence[int]) -> list[PackRead]:
        """Return the same pieces as several reads.

        Args:
            starts: Positions in `pieces`, ascending and above 0, at which another read begins.
        """
        bounds = [0, *starts, len(self.pieces)]
        return [_read_of(self.index, self.pieces[first:stop]) for first, stop in pairwise(bounds)]


def pieces_for(index: PackIndex, wanted: Iterable[int]) -> tuple[list[Piece], list[int]]:
    """Return the pieces of an index that make the wanted chunks, and the chunks that none of them makes.

    Args:
        index: Any index of the manifest.
        wanted: Chunk indices, ascending.
    """
    found: list[Piece] = []
    rest: list[int] = []
    for chunk in wanted:
        at = bisect_right(index.pieces, chunk, key=lambda p: p.first) - 1
        piece = index.pieces[at] if at >= 0 else None
        if piece is None or chunk >= piece.first + piece.count:
            rest.append(chunk)
        elif not found or found[-1] is not piece:
            found.append(piece)
    return found, rest


def coalesce(index: PackIndex, pieces: Sequence[Piece], limit: int) -> list[PackRead]:
    """Join pieces that touch in their pack into ranged reads of at most `limit` bytes (a longer piece is a read alone).

    Of pieces at the same place, the first is read and the others are left out: their chunks have the same content.
    """
    groups: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda p: (p.pack, p.offset)):
        last = groups[-1][-1] if groups else None
        if last is not None and (last.pack, last.offset, last.length) == (piece.pack, piece.offset, piece.length):
            continue
        touches = last is not None and last.pack == piece.pack and last.offset + last.length == piece.offset
        if touches and piece.offset + piece.length - groups[-1][0].offset <= limit:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [_read_of(index, group) for group in groups]


def _read_of(index: PackIndex, group: Sequence[Piece]) -> PackRead:
    start, end = group[0].offset, group[-1].offset + group[-1].length
    return PackRead(index, index.packs[group[0].pack], start, end - start, tuple(group))


def plan_reads(
    wanted: Sequence[int],
    full: PackIndex | None,
    delta: PackIndex | None,
    *,
    refused: Collection[int] = (),
    limit: int = 4 << 20,
) -> tuple[list[PackRead], list[int]]:
    """Choose the reads that bring the wanted chunks.

    Args:
        wanted: Chunk indices, ascending.
        full: The full index, or None if it was not fetched (yet).
        delta: A delta index whose base is here, or None.
        refused: First chunks of delta units that did not decode here: their chunks are taken from the full index.
        limit: Most bytes of one read.

    Returns:
        The reads, delta first, and the chunks that need the full index when there is none.
    """
    reads: list[PackRead] = []
    rest = list(wanted)
    if delta is not None:
        units, rest = pieces_for(delta, rest)
        good = [unit for unit in units if unit.first not in refused]
        bad = {chunk for unit in units if unit.first in refused for chunk in range(unit.first, unit.first + unit.count)}
        rest = sorted({*rest, *bad.intersection(wanted)})
        reads += coalesce(delta, good, limit)
    if full is not None and rest:
        pieces, rest = pieces_for(full, rest)
        reads += coalesce(full, pieces, limit)
    return reads, rest
