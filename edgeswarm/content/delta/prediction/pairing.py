"""Which old executable a new one was made of. Publisher only; needs numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..port import ReadBase
from .elf import ElfFile, find_files

if TYPE_CHECKING:
    from ..covers.encoder import Covers

_LEAST_FILE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Pair:
    """An old file and what became of it.

    Attributes:
        old: In the base's stream.
        new: In the new stream.
    """

    old: ElfFile
    new: ElfFile


def pairs_of(read_old: ReadBase, old_size: int, read_new: ReadBase, new_size: int, covers: Covers) -> list[Pair]:
    """Return for each new executable of which a cover says that it was made of an old one: the one of which most bytes were."""
    import numpy as np

    olds = [file for file in find_files(read_old, old_size) if file.size >= _LEAST_FILE_BYTES] if len(covers) else []
    if not olds:
        return []
    starts = np.array([file.start for file in olds], np.int64)
    ends = starts + np.array([file.size for file in olds], np.int64)
    pairs = []
    for new in find_files(read_new, new_size):
        first = np.searchsorted(covers[:, 1] + covers[:, 2], new.start, side="right")
        last = np.searchsorted(covers[:, 1], new.start + new.size)
        rows = covers[first:last]
        which = np.searchsorted(starts, rows[:, 0], side="right") - 1
        inside = (which >= 0) & (rows[:, 0] < ends[np.maximum(which, 0)])
        if not np.any(inside):
            continue
        votes = np.bincount(which[inside], weights=rows[inside, 2], minlength=len(olds))
        best = olds[int(np.argmax(votes))]
        if best.code is new.code:
            pairs.append(Pair(best, new))
    return pairs
