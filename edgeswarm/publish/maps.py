"""Maps of one delta: written before the units that need them, and opened again to prove these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from itertools import pairwise

from ..content.delta import MapBlob, PairMap, open_map
from ..content.digest import digest
from ..content.index import PIECE_MAX_BYTES
from ..content.manifest import Manifest
from ..errors import PublishError
from .packs import IndexBuilder, PackFile, Place

_OPENED = 2
"""Maps that are open at a time: some MB each, and groups are encoded nearly in order."""


class DeltaMaps:
    """The maps that an encoder made, each of a run of chunks. `opened` may be called from several threads at once.

    Args:
        blobs: What the encoder made, ascending. One within whose range no chunk begins is left out.
        manifest: Of the new stream.
        pack: Takes them.
        base_size: Bytes of the base's stream.

    Raises:
        PublishError: One is larger than any piece may be.
    """

    def __init__(self, blobs: Sequence[MapBlob], manifest: Manifest, pack: PackFile, base_size: int) -> None:
        runs = [(range(_first_from(manifest, blob.start), _first_from(manifest, blob.end)), blob.data) for blob in blobs]
        self._runs = [(run, data) for run, data in runs if run]
        for run, data in self._runs:
            if not 0 < len(data) <= PIECE_MAX_BYTES:
                raise PublishError(f"map of chunks {run.start} to {run.stop - 1}: {len(data)} bytes, wanted 1 to {PIECE_MAX_BYTES}")
        self._offsets = [pack.append(data) for _, data in self._runs]
        self._open = lru_cache(_OPENED)(partial(open_map, base_size=base_size))

    def opened(self, chunk: int) -> PairMap | None:
        """Return the map whose run holds a chunk; None if there is none."""
        data = next((data for run, data in self._runs if chunk in run), None)
        return self._open(data) if data is not None else None

    def cut(self, groups: Iterable[range]) -> list[range]:
        """Cut runs of chunks where a map's run begins or ends, since a unit has one map for all of its chunks."""
        borders = [border for run, _ in self._runs for border in (run.start, run.stop)]
        found = []
        for group in groups:
            inside = sorted({group.start, group.stop, *(border for border in borders if border in group)})
            found += [range(first, stop) for first, stop in pairwise(inside)]
        return found

    def add_to(self, builder: IndexBuilder, pack: PackFile) -> None:
        """Add all to the index of a pack that is finished."""
        for (run, data), offset in zip(self._runs, self._offsets, strict=True):
            builder.add_map(run.start, len(run), Place(pack.digest, offset, len(data)), digest(data))


def _first_from(manifest: Manifest, offset: int) -> int:
    """Return the index of the first chunk that begins at or behind an offset."""
    if offset >= manifest.root.size:
        return len(manifest)
    at = manifest.range(offset, 1)[0]
    return at + (manifest.chunk(at).offset < offset)
