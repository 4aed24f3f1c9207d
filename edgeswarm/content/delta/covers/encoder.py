"""From covers to the streams of a unit. Publisher only; needs numpy.

Covers are rows (old, new, length), ascending by `new` and apart from each other: `length` bytes of the new stream at `new` are
taken to be much like those of the old one at `old`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import MAX_CORRECTIONS, METHOD, RUN_BYTES, Unit, pack_unit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Covers = npt.NDArray[np.int64]
    _U8 = npt.NDArray[np.uint8]
    _I64 = npt.NDArray[np.int64]


def clip(covers: Covers, start: int, end: int) -> Covers:
    """Return the parts of covers that make new bytes from `start` to before `end`."""
    import numpy as np

    if start >= end:
        return covers[:0]
    first = np.searchsorted(covers[:, 1] + covers[:, 2], start, side="right")
    last = np.searchsorted(covers[:, 1], end, side="left")
    inner = covers[first:last]
    news = np.maximum(inner[:, 1], start)
    ends = np.minimum(inner[:, 1] + inner[:, 2], end)
    return np.stack([inner[:, 0] + news - inner[:, 1], news, ends - news], axis=1)


def encode_covers(covers: Covers, old: list[bytes], new: bytes, start: int, method: int = METHOD, *, fast: bool = False) -> bytes:
    """Return a unit; empty if it would have more corrections than a receiver takes.

    Args:
        covers: Clipped to what the unit makes.
        old: The bytes of the base that each of them copies.
        new: What the unit makes.
        start: Where in the new stream that begins.
        method: The method byte: this one's, or that of units whose covers stand in a map.
        fast: See `pack_unit`.
    """
    import numpy as np

    fresh = np.frombuffer(new, np.uint8)
    news, lengths = covers[:, 1] - start, covers[:, 2]
    copied = np.frombuffer(b"".join(old), np.uint8)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    is_copied = np.zeros(len(fresh), bool)
    for at, length in zip(news.tolist(), lengths.tolist(), strict=True):
        is_copied[at : at + length] = True
    gaps, values = _corrections(fresh[is_copied], copied, starts[:-1])
    base = int(covers[0, 0]) if len(covers) and method == METHOD else 0
    control = _control(covers, start, base) if method == METHOD else b""
    if len(gaps) > MAX_CORRECTIONS:
        return b""
    records = np.stack([gaps.astype("<u4"), values], axis=1).tobytes()
    streams = (control, pack_numbers(gaps), values.tobytes(), records, fresh[~is_copied].tobytes())
    return pack_unit(Unit(base, streams), method, fast=fast)


def _control(covers: Covers, start: int, base: int) -> bytes:
    """Return the columns: literals before, length, and how far the old position is from where it was expected."""
    import numpy as np

    if not len(covers):
        return b""
    ends = np.concatenate([[start], (covers[:, 1] + covers[:, 2])[:-1]])
    literals = covers[:, 1] - ends
    expected = np.concatenate([[base], (covers[:, 0] + covers[:, 2])[:-1]]) + literals
    jumps = covers[:, 0] - expected
    return pack_numbers(np.concatenate([literals, covers[:, 2], (jumps << 1) ^ (jumps >> 63)]))


def _corrections(new: _U8, old: _U8, starts: _I64) -> tuple[_I64, npt.NDArray[np.uint32]]:
    """Return the gaps and values of the runs of at most four bytes that differ; none crosses the start of a cover."""
    import numpy as np

    places = np.flatnonzero(new != old)
    if not len(places):
        return np.empty(0, np.int64), np.empty(0, np.dtype("<u4"))
    cover = np.searchsorted(starts, places, side="right")
    begins = np.concatenate([[True], (np.diff(places) > 1) | (np.diff(cover) > 0)])
    begins |= _every_fourth(places, begins)
    firsts = places[begins]
    run = np.cumsum(begins) - 1
    byte = places - firsts[run]
    shift = (8 * byte).astype(np.int64)
    differences = np.zeros(len(firsts), np.int64)
    np.add.at(differences, run, (new[places].astype(np.int64) - old[places].astype(np.int64)) << shift)
    gaps = np.diff(np.concatenate([[0], firsts]))
    return gaps, (differences & 0xFFFFFFFF).astype("<u4")


def _every_fourth(places: _I64, begins: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tell which bytes begin a further correction within a longer run."""
    import numpy as np

    number = np.arange(len(places))
    since = number - np.maximum.accumulate(np.where(begins, number, 0))
    return np.asarray((since % RUN_BYTES == 0) & ~begins)


def pack_numbers(values: _I64) -> bytes:
    """Return numbers as varints, one after another."""
    import numpy as np

    if not len(values):
        return b""
    rest = values.astype(np.uint64)
    sizes = np.ones(len(rest), np.int64)
    for shift in range(7, 64, 7):
        sizes += (rest >> np.uint64(shift)) > 0
    ends = np.cumsum(sizes)
    begins = ends - sizes
    out = np.zeros(int(ends[-1]), np.uint8)
    for byte in range(int(np.max(sizes))):
        has = sizes > byte
        more = np.where(sizes[has] > byte + 1, 0x80, 0)
        out[begins[has] + byte] = ((rest[has] >> np.uint64(7 * byte)) & np.uint64(0x7F)).astype(np.uint8) | more.astype(np.uint8)
    return out.tobytes()
