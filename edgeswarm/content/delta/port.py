"""The port of a delta codec: what a publisher and a receiver may expect of any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

ReadBase = Callable[[int, int], bytes]
"""`read(offset, length)` returns verified bytes of the base's stream, or raises `BaseMissingError`."""


class PairMap(Protocol):
    """An opened map: where in the base a run of chunks comes from, and what its bytes are. Opaque but to its codec."""


class Place(NamedTuple):
    """Where in the new stream a unit's output belongs.

    Attributes:
        start: Offset of its first byte.
        map: The map of the unit's chunks; None if they have none.
    """

    start: int
    map: PairMap | None


class DeltaCodec(Protocol):
    """One way to write delta units, named by the method byte that its units start with.

    A unit is decoded alone, in any order, from verified ranges of the base. Decoding is bounded: it reads at most what the unit's
    header names, which is checked first, and makes exactly the size that the caller wants.
    """

    @property
    def method(self) -> int:
        """The method byte."""

    def decode(self, unit: memoryview, read_base: ReadBase, base_size: int, size: int, place: Place) -> bytes:
        """Return exactly `size` bytes.

        Args:
            unit: The unit with its method byte.
            read_base: Reads the base; called for the ranges that the unit names.
            base_size: Bytes of the base's stream.
            size: Bytes of output, as the manifest says.
            place: Where they belong; ignored by codecs that use no map.

        Raises:
            ContentError: The unit is malformed, makes something else, or needs a map that is not given.
            BaseMissingError: A range of the base is not here or does not verify.
        """
