"""Finds covers: what of a new stream is much like something in an old one. Publisher only; needs numpy and hdiffpatch.

The matcher is HDiffPatch's, the best there is: its patch is made without compression, and the list of covers is read from it. It
needs some ten times the old bytes in memory. Where that is more than it may have, or where little of a large stream is new, parts
of the new stream are matched against those parts of the old one that share most content with them, found by samples.

Source of the layout: HDiffPatch, `hpatch_TDiffInfo`, format HDIFF13.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ....errors import ConfigError, PublishError
from ..port import ReadBase

if TYPE_CHECKING:
    from .encoder import Covers

_FIELDS = 11
_MAGIC = b"HDIFF13"
_MEMORY_FACTOR = 10
"""Bytes of memory that a match takes for each old byte. A guess: HDiffPatch takes six to eight."""
MATCH_MEMORY_BYTES = 1 << 30
_LEAST_MEMORY_BYTES = 64 * 1024 * 1024
_WINDOW_FACTOR = 2
"""Old bytes for each new one of a part. A guess."""
_MOST_PART_BYTES = 16 * 1024 * 1024
_ALL_FACTOR = 8
"""All of the old stream is matched if it is at most so many times what is new: else most of the work is for nothing. A guess."""
_LITTLE_BYTES = 4 * 1024 * 1024

Range = tuple[int, int]
"""Offset and length."""


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """How to match.

    Attributes:
        memory_bytes: About how much memory the matcher may take.
    """

    memory_bytes: int = MATCH_MEMORY_BYTES


def find_covers(read_old: ReadBase, old_size: int, read_new: ReadBase, wanted: Sequence[Range], options: MatchOptions) -> Covers:
    """Return the covers of wanted ranges of a new stream, ascending.

    Args:
        read_old: Reads the old stream.
        old_size: Its bytes.
        read_new: Reads the new stream.
        wanted: Ascending, apart from each other.
        options: How to match.
    """
    import numpy as np

    memory = max(_LEAST_MEMORY_BYTES, options.memory_bytes)
    total = sum(length for _, length in wanted)
    if not total or not old_size:
        return np.empty((0, 3), np.int64)
    if old_size * _MEMORY_FACTOR + 3 * total <= memory and old_size <= max(_ALL_FACTOR * total, _LITTLE_BYTES):
        return _mapped(match(read_old(0, old_size), _joined(read_new, wanted)), [(0, old_size)], wanted)
    return np.concatenate(list(_by_parts(read_old, old_size, read_new, wanted, memory)))


def _by_parts(read_old: ReadBase, old_size: int, read_new: ReadBase, wanted: Sequence[Range], memory: int) -> Iterator[Covers]:
    from ..sampling import GRAIN_BYTES, SampledBase

    samples = SampledBase(read_old, old_size)
    window = min(old_size, memory // (_MEMORY_FACTOR + 1))
    for part in parts_of(wanted, min(_MOST_PART_BYTES, memory // (_WINDOW_FACTOR * (_MEMORY_FACTOR + 1)))):
        new = _joined(read_new, part)
        olds = samples.ranges_like(new, max(GRAIN_BYTES, min(window + GRAIN_BYTES, _WINDOW_FACTOR * _MOST_PART_BYTES)))
        yield _mapped(match(_joined(read_old, olds), new), olds, part)


def most_match_bytes(options: MatchOptions) -> int:
    """Return the bytes of the largest file that may be matched as a whole."""
    return max(_LEAST_MEMORY_BYTES, options.memory_bytes) // (_MEMORY_FACTOR + 3)


def parts_of(wanted: Sequence[Range], most: int) -> Iterator[list[Range]]:
    """Yield the ranges in groups of at most `most` bytes; a longer range is split."""
    part: list[Range] = []
    room = most
    for offset, length in wanted:
        while length:
            taken = min(length, room)
            part.append((offset, taken))
            offset, length, room = offset + taken, length - taken, room - taken
            if not room:
                yield part
                part, room = [], most
    if part:
        yield part


def _joined(read: ReadBase, ranges: Sequence[Range]) -> bytes:
    return b"".join(read(offset, length) for offset, length in ranges)


def _mapped(covers: Covers, olds: Sequence[Range], news: Sequence[Range]) -> Covers:
    """Return covers of joined ranges as covers of the streams that these are of, split where ranges end."""
    import numpy as np

    old_ends, new_ends = (np.cumsum([length for _, length in ranges]) for ranges in (olds, news))
    rows = []
    for old, new, length in covers.tolist():
        while length:
            i, j = int(np.searchsorted(old_ends, old, "right")), int(np.searchsorted(new_ends, new, "right"))
            taken = min(length, int(old_ends[i]) - old, int(new_ends[j]) - new)
            rows.append((sum(olds[i]) - int(old_ends[i]) + old, sum(news[j]) - int(new_ends[j]) + new, taken))
            old, new, length = old + taken, new + taken, length - taken
    return np.array(rows, np.int64).reshape(-1, 3)


def check_matcher() -> None:
    """Raise `ConfigError` if the libraries that a publisher needs for deltas are not installed."""
    if find_spec("hdiffpatch") is None or find_spec("numpy") is None:
        raise ConfigError(
            "deltas need hdiffpatch and numpy: pip install 'edgeswarm[publish]', or publish without them (delta-from 0)"
        )


def match(old: bytes, new: bytes) -> Covers:
    """Return the covers of `new` by `old`; memory is about eight times `old`."""
    import hdiffpatch
    import numpy as np

    if not old or not new:
        return np.empty((0, 3), np.int64)
    return _covers_of(hdiffpatch.diff(old, new, validate=False, big_cache_match=True))


def _covers_of(patch: bytes) -> Covers:
    import numpy as np

    if not patch.startswith(_MAGIC):
        raise PublishError(f"hdiffpatch: wanted a patch in format {_MAGIC.decode()}, got {patch[:8]!r}")
    at = patch.index(b"\0") + 1
    fields = []
    for _ in range(_FIELDS):
        value, _, at = _number(patch, at, 0)
        fields.append(value)
    count, size, packed = fields[2:5]
    if packed:
        raise PublishError("hdiffpatch: the covers are compressed, though nothing was to be")
    rows, old, new = np.empty((count, 3), np.int64), 0, 0
    data, place = patch[at : at + size], 0
    for row in range(count):
        jump, negative, place = _number(data, place, 1)
        literal, _, place = _number(data, place, 0)
        length, _, place = _number(data, place, 0)
        old += -jump if negative else jump
        new += literal
        rows[row] = old, new, length
        old, new = old + length, new + length
    return rows


def _number(data: bytes, at: int, tag_bits: int) -> tuple[int, int, int]:
    """Return a number of seven bits a byte, the most significant first, its tag, and where it ends."""
    byte = data[at]
    at += 1
    tag, byte = byte >> (8 - tag_bits), byte & ((1 << (8 - tag_bits)) - 1)
    more = 1 << (7 - tag_bits)
    value = byte & (more - 1)
    while byte & more:
        byte, more = data[at], 0x80
        at += 1
        value = value << 7 | byte & 0x7F
    return value, tag, at
