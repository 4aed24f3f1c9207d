"""From two streams to delta units: one matcher over both, cut at chunk ends, and for each unit the smallest of several codings.

Theory of operation. The covers of all that the base lacks are found first, since a match needs to see both streams. Then a run of
chunks is cut into units where their encoded size is likely to reach what is wanted, and each unit is encoded apart from the others,
so that it can be fetched, resumed, decoded and verified alone. Publisher only; needs numpy and hdiffpatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ...errors import ContentError
from ..codec import DEFAULT_LEVEL, encode_piece
from .covers.encoder import clip, encode_covers
from .covers.layout import MAX_COVERS, METHOD
from .covers.matching import MatchOptions, find_covers, match, most_match_bytes, parts_of
from .port import ReadBase
from .prediction import decode_map
from .prediction.decoder import MAX_COVERS as MAX_PREDICTED
from .prediction.decoder import METHOD as PREDICTED
from .prediction.layout import MAP_MAX_BYTES
from .prediction.planning import plan_map
from .prediction.predictor import Segment
from .zstd_ranges import encode_ranges

if TYPE_CHECKING:
    from .covers.encoder import Covers
    from .prediction.predictor import Predictor

_RUN_COST, _LITERAL_COST, _COVER_COST = 1.1, 0.45, 4.0
"""Encoded bytes of a correction, a literal byte and a cover, in proportion to each other. Guesses."""
_FAST_FACTOR = 0.85
"""What is left of a quick encoding in a thorough one. A guess: of the streams of two pairs it was 0.68 to 0.93."""
_QUICK_BYTES, _QUICK_LEVEL = 1024 * 1024, 3
_CLEAR_FACTOR = 2
"""A map that is estimated to save so many times what it takes pays; of others it is tried. A guess: estimates are a third off."""
_NEAR_BYTES, _MOST_RANGES = 4096, 256
_DICTIONARY_BYTES = 4 * 1024 * 1024
_WORTH_BYTES = 2048
"""Units below are not tried with other codings: there is nothing to gain. A guess."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to encode.

    Attributes:
        level: zstd level of literals that stand alone, and of units that are a frame over base ranges.
        match: How covers are found.
        predict: Whether references in native code are predicted.
    """

    level: int = DEFAULT_LEVEL
    match: MatchOptions = field(default_factory=MatchOptions)
    predict: bool = True


class MapBlob(NamedTuple):
    """A map that units need.

    Attributes:
        start: Where its run of the new stream begins.
        end: Where that ends. Both are ends of wanted ranges, or lie between them.
        data: Its bytes.
    """

    start: int
    end: int
    data: bytes


class PairEncoder:
    """Encodes units of a new stream against one base. `encode` may be called from several threads at once.

    Attributes:
        maps: Maps that units need, ascending and apart from each other; a unit must not cross the border of one.

    Args:
        read_base: Reads the base.
        base_size: Its bytes.
        read_new: Reads the new stream.
        new_size: Its bytes.
        wanted: (offset, length) of what the base lacks, ascending, apart from each other.
        options: How to encode.
    """

    def __init__(
        self,
        read_base: ReadBase,
        base_size: int,
        read_new: ReadBase,
        new_size: int,
        wanted: Sequence[tuple[int, int]],
        options: EngineOptions | None = None,
    ) -> None:
        self._read = read_base
        self._size = base_size
        self.maps: list[MapBlob] = []
        self._options = options or EngineOptions()
        self._covers: Covers = find_covers(read_base, base_size, read_new, wanted, self._options.match)
        self._map: Predictor | None = None
        if self._options.predict:
            self._use_map(read_new, new_size, wanted)

    def _use_map(self, read_new: ReadBase, new_size: int, wanted: Sequence[tuple[int, int]]) -> None:
        most = most_match_bytes(self._options.match)
        plan = plan_map(self._read, self._size, read_new, new_size, self._covers, wanted, match, most)
        if plan is None or len(plan.data) > MAP_MAX_BYTES:
            return
        try:
            opened = decode_map(plan.data, self._size)  # what receivers will have, to the last number
        except ContentError:  # more than a receiver takes
            return
        plain, is_clear = self._covers, plan.gain > _CLEAR_FACTOR * len(plan.data)
        size = 0 if is_clear else self._quick_size(read_new, wanted)
        self._map, self._covers = opened, opened.covers()
        if is_clear or _FAST_FACTOR * self._quick_size(read_new, wanted) + len(plan.data) < _FAST_FACTOR * size:
            self.maps = [MapBlob(plan.start, plan.end, plan.data)]
        else:
            self._map, self._covers = None, plain

    def _quick_size(self, read_new: ReadBase, wanted: Sequence[tuple[int, int]]) -> int:
        """Return about how many encoded bytes the units take, each by the better of two codings, quickly encoded."""
        total = 0
        for part in parts_of(wanted, _QUICK_BYTES):
            for start, length in part:
                new, covers = read_new(start, length), clip(self._covers, start, start + length)
                method = PREDICTED if self._map is not None else METHOD
                unit = encode_covers(covers, self._copies(covers, start, length), new, start, method, fast=True)
                plain = len(encode_piece(new, _QUICK_LEVEL))
                total += min(len(unit), plain) if unit else plain
        return total

    def weights(self, new: bytes, start: int, ends: Sequence[int]) -> list[float]:
        """Return about how many encoded bytes each part of some new bytes takes.

        Args:
            new: The bytes.
            start: Where in the new stream they begin.
            ends: Where in them each part ends, ascending; the last is their length.
        """
        import numpy as np

        fresh = np.frombuffer(new, np.uint8)
        costs = np.full(len(fresh), _LITERAL_COST)
        covers = clip(self._covers, start, start + len(new))
        olds = self._copies(covers, start, len(new))
        for (_, at, length), old in zip(covers.tolist(), olds, strict=True):
            place = at - start
            differs = fresh[place : place + length] != np.frombuffer(old, np.uint8)
            begins = differs.copy()
            begins[1:] &= ~differs[:-1]
            costs[place : place + length] = begins * _RUN_COST
            costs[place] += _COVER_COST
        parts = np.add.reduceat(costs, [0, *ends[:-1]])
        # What a correction costs differs ten times from data to data: the parts are to be right together.
        whole = len(encode_covers(covers, olds, new, start, fast=True)) * _FAST_FACTOR
        return [float(part) for part in parts * min(1.0, whole / max(1.0, float(parts.sum())))]

    def encode(self, new: bytes, start: int) -> bytes:
        """Return the smallest piece that makes `new`, which begins at `start` of the new stream."""
        covers = clip(self._covers, start, start + len(new))
        rows = covers.tolist()
        best = b""
        if rows and len(rows) <= (MAX_PREDICTED if self._map is not None else MAX_COVERS):
            method = PREDICTED if self._map is not None else METHOD
            best = encode_covers(covers, self._copies(covers, start, len(new)), new, start, method)
        if not best or len(best) >= _WORTH_BYTES:
            ranges = self._ranges(rows)
            others = [encode_ranges(new, ranges, self._read, self._options.level)] if ranges else []
            if not best or len(best) * 2 > len(new):
                others.append(encode_piece(new, self._options.level))
            best = min([*others, best] if best else others, key=len)
        return best

    def _copies(self, covers: Covers, start: int, size: int) -> list[bytes]:
        """Return what each cover copies, with references as they will be, if there is a map."""
        rows = covers.tolist()
        if self._map is None:
            return [self._read(old, length) for old, _, length in rows]
        out = bytearray(size)
        for old, new, length in rows:
            out[new - start : new - start + length] = self._read(old, length)
        self._map.predict(out, start, [Segment(*row) for row in rows], self._read)
        return [bytes(out[new - start : new - start + length]) for _, new, length in rows]

    def _ranges(self, covers: list[list[int]]) -> list[tuple[int, int]]:
        """Return what the covers copy and what is near to it, joined: the context of a frame."""
        found: list[tuple[int, int]] = []
        for old, _, length in sorted(covers):
            start, end = max(0, old - _NEAR_BYTES), min(self._size, old + length + _NEAR_BYTES)
            if found and start <= sum(found[-1]):
                found[-1] = (found[-1][0], max(end, sum(found[-1])) - found[-1][0])
            else:
                found.append((start, end - start))
        total = 0
        for number, (_, length) in enumerate(found):
            total += length
            if total > _DICTIONARY_BYTES or number == _MOST_RANGES:
                return found[:number]
        return found
