"""Old addresses of which the covers do not tell where they went, but the references to them do. Publisher only; needs numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .areas import DataField
from .code import Bounds, Field

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

_LEAST_VOTES = 2
"""References that must agree, beyond those that are right without, before a correction is worth its place. A guess."""
_MOST_CORRECTION = 1 << 31


def _signed(values: Numbers, bits: int) -> Numbers:
    half = 1 << (bits - 1)
    return (values + half & (1 << bits) - 1) - half


def target_error(field: int, true: Numbers, predicted: Numbers) -> Numbers | None:
    """Return by how much the predicted targets are too low; None for fields that tell only a part of it."""
    if field in (Field.REL32, DataField.RELATIVE, DataField.OFFSET):
        return _signed(true - predicted & 0xFFFFFFFF, 32)
    if field == DataField.ABSOLUTE:
        return true - predicted
    if field == Field.B26:
        return _signed(true - predicted & 0x3FFFFFF, 26) * 4
    return None


class Evidence(NamedTuple):
    """What references tell.

    Attributes:
        olds: Old addresses that they refer to.
        errors: By how much the predicted new address is too low.
    """

    olds: Numbers
    errors: Numbers

    def of(self, which: Sequence[bool]) -> Evidence:
        """Return some of it."""
        import numpy as np

        return Evidence(*(column[np.array(which, bool)] for column in self))


def agreed(evidence: Sequence[Evidence], bounds: Bounds) -> dict[int, int]:
    """Return corrections of old addresses within bounds on which enough references agree."""
    import numpy as np

    if not sum(len(one.olds) for one in evidence):
        return {}
    olds, errors = (np.concatenate(column) for column in zip(*evidence, strict=True))
    order = np.lexsort((errors, olds))
    olds, errors = olds[order], errors[order]
    begins = np.flatnonzero(np.concatenate([[True], (np.diff(olds) != 0) | (np.diff(errors) != 0)]))
    counts = np.diff(np.append(begins, len(olds)))
    right: dict[int, int] = {}
    best: dict[int, tuple[int, int]] = {}
    for old, error, count in zip(olds[begins].tolist(), errors[begins].tolist(), counts.tolist(), strict=True):
        if not error:
            right[old] = count
        elif abs(error) < _MOST_CORRECTION and count > best.get(old, (0, 0))[0]:
            best[old] = (count, error)
    return {
        old: error
        for old, (count, error) in sorted(best.items())
        if count - right.get(old, 0) >= _LEAST_VOTES and bounds.low <= old < bounds.high
    }
