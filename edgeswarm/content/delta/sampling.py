"""Which parts of a base look like some new bytes: votes of content-sampled hashes. Publisher only; needs numpy.

Every position's 16-byte hash is computed, and those that fall on a grid are kept, so that the same content is sampled wherever it
stands. Hashes that stand in more than a few places say nothing (zeros, padding) and are dropped.

Source: the sampling of rsync-like dedupe ("Finding similar files in a large file system", Manber, USENIX 1994).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .port import ReadBase

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    _U64 = npt.NDArray[np.uint64]
    _I64 = npt.NDArray[np.int64]

GRAIN_BYTES = 64 * 1024
_BLOCK_BYTES = 4 * 1024 * 1024
_HASHED_BYTES = 16
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)  # odd constants of SplitMix64 and xxHash64
# One position in 32 finds what 1 MiB units share; 4M samples (64 MB) bound the memory for a large base.
_LEAST_GRID_BITS = 5
_MOST_SAMPLES = 4_000_000
_MOST_PLACES = 4
_DENSE = 8
"""More than one hit in so many words is content that repeats itself: one in 32 is usual."""


def _sample(block: bytes, grid_bits: int) -> tuple[_U64, _I64]:
    """Return the hashes and positions that fall on the grid, unordered."""
    import numpy as np

    hashes: list[_U64] = []
    places: list[_I64] = []
    first, second = (np.uint64(m) for m in _MULTIPLIERS)
    shift = np.uint64(64 - grid_bits)
    for phase in range(8):
        words: _U64 = np.frombuffer(block, np.dtype("<u8"), count=max(0, (len(block) - phase) // 8), offset=min(phase, len(block)))
        if len(words) < 2:
            continue
        mixed = words[:-1] * first + words[1:] * second
        mixed = (mixed ^ (mixed >> np.uint64(29))) * first
        # Runs of one byte or word would all hit, or none of them: an image is full of zeros.
        hit = np.nonzero(((mixed >> shift) == 0) & (words[:-1] != words[1:]))[0]
        if len(hit) * _DENSE > len(words):  # other periods: each hash once
            hit = hit[np.sort(np.unique(mixed[hit], return_index=True)[1])]
        hashes.append(mixed[hit])
        places.append(hit.astype(np.int64) * 8 + phase)
    if not hashes:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    return np.concatenate(hashes), np.concatenate(places)


class SampledBase:
    """The sampled hashes of a base, sorted: 16 bytes a sample, at most 64 MB."""

    def __init__(self, read_base: ReadBase, size: int) -> None:
        import numpy as np

        self._size = size
        self._grid_bits = max(_LEAST_GRID_BITS, (size // _MOST_SAMPLES).bit_length())
        hashes: list[_U64] = [np.empty(0, np.uint64)]
        places: list[_I64] = [np.empty(0, np.int64)]
        for start in range(0, size, _BLOCK_BYTES):
            block = read_base(start, min(_BLOCK_BYTES + _HASHED_BYTES - 1, size - start))
            found, at = _sample(block, self._grid_bits)
            hashes.append(found)
            places.append(at + start)
        self._index(np.concatenate(hashes), np.concatenate(places))

    def _index(self, hashes: _U64, places: _I64) -> None:
        """Sort, and keep one place of every hash that stands in few places."""
        import numpy as np

        order = np.lexsort((places, hashes))
        hashes, places = hashes[order], places[order]
        starts = np.nonzero(np.concatenate(([True], hashes[1:] != hashes[:-1])))[0] if len(hashes) else np.empty(0, np.int64)
        counts = np.diff(np.append(starts, len(hashes)))
        kept = starts[counts <= _MOST_PLACES]
        self._hashes, self._places = hashes[kept], places[kept]

    def ranges_like(self, new: bytes, limit: int) -> list[tuple[int, int]]:
        """Return ascending (offset, length) ranges of the base that share most content with `new`.

        Args:
            new: New bytes.
            limit: Most bytes of all ranges together.
        """
        import numpy as np

        found, _ = _sample(new, self._grid_bits)
        if not len(self._hashes) or not len(found):
            return []
        at = np.minimum(np.searchsorted(self._hashes, found), len(self._hashes) - 1)
        grains = self._places[at[self._hashes[at] == found]] // GRAIN_BYTES
        votes = np.bincount(grains, minlength=1)
        best = np.argsort(-votes, kind="stable")[: limit // GRAIN_BYTES]
        return self._join(sorted(int(grain) for grain in best if votes[grain]))

    def _join(self, grains: list[int]) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        for grain in grains:
            start, end = grain * GRAIN_BYTES, min(self._size, (grain + 1) * GRAIN_BYTES)
            if ranges and sum(ranges[-1]) == start:
                ranges[-1] = (ranges[-1][0], end - ranges[-1][0])
            else:
                ranges.append((start, end - start))
        return ranges
