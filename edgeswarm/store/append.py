"""Append records to the segments of one owner: written, made durable, and then committed or abandoned."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from ..abc import File
from ..content.digest import Digest
from ..errors import ContentError
from .segments import (
    RECORD_HEAD_BYTES,
    RECORD_MAX_BYTES,
    SEGMENT_MAX_BYTES,
    Row,
    Segment,
    Segments,
    encode_head,
    encode_record_head,
)

# Records are gathered into writes of this size: larger ones cost memory and gain nothing; a guess.
_WRITE_BYTES = 4 * 1024 * 1024


class Append:
    """The records of one put. One thread; one append of an owner at a time.

    Add chunks, `sync`, write `rows` and `ends` into the index, `commit`. If anything of that fails: `abandon`.

    Args:
        segments: The store's segments.
        owner: For whom the chunks are kept.

    Attributes:
        rows: Where each added chunk will lie.
    """

    def __init__(self, segments: Segments, owner: Digest) -> None:
        self._segments = segments
        self._owner = owner
        self._parts: list[_Part] = []
        self.rows: list[Row] = []

    @property
    def ends(self) -> Mapping[int, int]:
        """The new end in bytes of each segment that was appended to."""
        return {part.segment.number: part.end for part in self._parts}

    @property
    def touched(self) -> list[Segment]:
        """The segments that were written to."""
        return [part.segment for part in self._parts]

    def add(self, digest: Digest, data: bytes) -> None:
        """Append one chunk; rolls over to a new segment where the last is full.

        Raises:
            OSError: The disk failed.
            ContentError: More than 64 MiB.
        """
        if len(data) > RECORD_MAX_BYTES:
            raise ContentError(f"chunk of {len(data)} bytes: a store takes at most {RECORD_MAX_BYTES}")
        part = self._part()
        self.rows.append(Row(digest, part.segment.number, part.end + RECORD_HEAD_BYTES, len(data)))
        part.write(encode_record_head(digest, len(data)))
        part.write(data)
        part.flush_if_large(self._segments)

    def sync(self) -> None:
        """Make what was added durable. Raises `OSError`."""
        if self._parts:
            self._parts[-1].sync(self._segments)

    def commit(self) -> None:
        """Let it count: the index has it."""
        for part in self._parts:
            self._segments.admit(part.segment, part.end)

    def abandon(self) -> None:
        """Give up: nothing of it counts, and the segments it touched are never written again."""
        for part in self._parts:
            self._segments.seal(part.segment)
            part.take_back(self._segments)

    def _part(self) -> _Part:
        if not self._parts:
            self._parts.append(_Part(self._segments.tail(self._owner)))
        elif self._parts[-1].end >= SEGMENT_MAX_BYTES:
            self._parts[-1].sync(self._segments)
            self._parts.append(_Part(self._segments.new(self._owner)))
        return self._parts[-1]


class _Part:
    """What goes into one segment.

    Attributes:
        segment: Its `end` is what counts now.
        end: What will count.
    """

    __slots__ = ("_buffer", "_file", "_pending", "_written", "end", "segment")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.end = segment.end
        self._file: File | None = None
        self._written = segment.end
        self._buffer: list[bytes] = []
        self._pending = 0
        if not segment.end:
            self.write(encode_head(segment.number, segment.owner))

    def write(self, data: bytes) -> None:
        """Take bytes; they are written when enough have gathered."""
        self._buffer.append(data)
        self._pending += len(data)
        self.end += len(data)

    def flush(self, segments: Segments) -> File:
        """Write what has gathered; return the file."""
        if self._file is None:
            self._file = segments.files.open(segments.path(self.segment.number), exclusive=not self.segment.end)
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._pending = 0
        self._file.pwrite(data, self._written)
        self._written += len(data)
        return self._file

    def flush_if_large(self, segments: Segments) -> None:
        """Write what has gathered if it is worth a write."""
        if self._pending >= _WRITE_BYTES:
            self.flush(segments)

    def sync(self, segments: Segments) -> None:
        """Make it durable, also the name of a new file."""
        self.flush(segments).datasync()
        if not self.segment.end:
            segments.files.sync_directory(segments.directory)
        self._close()

    def take_back(self, segments: Segments) -> None:
        """Cut off what doesn't count, to give the space back; if that fails too, it is done when the store is opened again."""
        with contextlib.suppress(OSError):
            if not self.segment.end:
                segments.files.unlink(segments.path(self.segment.number))
            elif self._file is not None:
                self._file.truncate(self.segment.end)
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
