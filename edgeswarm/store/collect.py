"""Free the segments that nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..content.digest import Digest
from .index import Index, Needed
from .segments import HEAD_BYTES, RECORD_HEAD_BYTES, Row, Segments

# A segment is rewritten if at most this part of its bytes is needed: half means to write at most one byte for each byte freed.
_REWRITE_AT_MOST = 0.5

Append = Callable[[Iterable[tuple[Digest, bytes]], Digest], int]


class Collector:
    """Decides about one segment at a time. The caller keeps writers out.

    Args:
        index: Says who needs what.
        segments: The files.
        read_installed: Returns the verified bytes of a chunk from an installed artifact, or None.
        read_row: Returns the verified bytes of a chunk from its segment, or None.
        append: Stores chunks durably for an owner, in a segment that is none of the old ones; returns the bytes it took.
    """

    def __init__(
        self,
        index: Index,
        segments: Segments,
        read_installed: Callable[[Digest], bytes | None],
        read_row: Callable[[Row], bytes | None],
        append: Append,
    ) -> None:
        self._index = index
        self._segments = segments
        self._read_installed = read_installed
        self._read_row = read_row
        self._append = append

    def collect_segment(self, number: int) -> int:
        """Remove or rewrite a segment if that is worth it; return the bytes freed."""
        segment = self._segments.known.get(number)
        if segment is None:
            return 0
        chunks = self._index.chunks_of(number)
        if not self._is_worth(chunks, segment.end, linked_counts=False):
            return 0
        needed = [chunk for chunk in chunks if chunk.owner is not None and not self._is_installed(chunk)]
        if not self._is_worth(needed, segment.end, linked_counts=True):
            return 0
        self._segments.seal(segment)  # the rewritten chunks must not go to where they come from
        written = self._rewrite(needed)
        self._index.drop_segment(number)
        self._segments.remove(number)
        return segment.end - written

    def _is_worth(self, chunks: Iterable[Needed], size: int, *, linked_counts: bool) -> bool:
        """Tell if few enough of the bytes are needed."""
        some = (chunk for chunk in chunks if chunk.owner is not None and (linked_counts or not chunk.linked))
        return sum(chunk.row.size + RECORD_HEAD_BYTES for chunk in some) <= _REWRITE_AT_MOST * (size - HEAD_BYTES)

    def _is_installed(self, chunk: Needed) -> bool:
        return chunk.linked and self._read_installed(chunk.row.digest) is not None

    def _rewrite(self, needed: Iterable[Needed]) -> int:
        by_owner: dict[Digest, list[Row]] = {}
        for chunk in needed:
            if chunk.owner is not None:
                by_owner.setdefault(chunk.owner, []).append(chunk.row)
        return sum(self._move(rows, owner) for owner, rows in by_owner.items())

    def _move(self, rows: list[Row], owner: Digest) -> int:
        read = ((row.digest, self._read_row(row)) for row in rows)
        return self._append(((name, data) for name, data in read if data is not None), owner)
