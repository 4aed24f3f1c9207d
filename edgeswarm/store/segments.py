"""Segment files: append-only files of self-describing records, each file for one owner.

Theory of operation. A put appends records behind the `end` of its owner's last segment, syncs, and hands the new ends to the index;
only when the index has committed do they count. What lies behind `end` is nothing: it is overwritten by the next append and cut off
when the store is opened. A segment that failed to write or sync is never written again (a failed fsync loses pages silently, and a
second one reports success: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).

Bytes on disk: docs/reference/store.md.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..abc import File, FileOps
from ..content.digest import Digest

SEGMENT_MAX_BYTES = 256 * 1024 * 1024  # what a collection frees or rewrites at once; a guess
RECORD_MAX_BYTES = 64 * 1024 * 1024  # far above chunks and units; a bound for whoever scans a damaged segment

_MAGIC = b"\x89ESWSEG\n"
_VERSION = 1
_HEAD = struct.Struct(">8sHHQ32sI")
_MARK = b"chnk"
_RECORD = struct.Struct(">4sI32sI")
HEAD_BYTES = _HEAD.size
RECORD_HEAD_BYTES = _RECORD.size
_SUFFIX = ".seg"

_OPEN_FILES = 64  # a guess, well below the usual limit of 1024 descriptors


class Row(NamedTuple):
    """Where a chunk lies: digest, segment number, offset of its first byte, size in bytes."""

    digest: Digest
    segment: int
    offset: int
    size: int


@dataclass(slots=True)
class Segment:
    """One segment as the index knows it.

    Attributes:
        number: Names the file.
        owner: For whom its chunks are kept.
        end: Bytes that count.
        sealed: Nothing is appended any more.
    """

    number: int
    owner: Digest
    end: int
    sealed: bool = False


def encode_head(number: int, owner: Digest) -> bytes:
    """Return the 56 bytes with which a segment starts."""
    head = _HEAD.pack(_MAGIC, _VERSION, 0, number, owner, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "big")


def decode_head(data: bytes) -> tuple[int, Digest] | None:
    """Return number and owner, or None if this is no head of a segment of this version."""
    if len(data) != HEAD_BYTES:
        return None
    magic, version, _, number, owner, check = _HEAD.unpack(data)
    if magic != _MAGIC or version != _VERSION or zlib.crc32(data[:-4]) != check:
        return None
    return number, owner


def encode_record_head(digest: Digest, size: int) -> bytes:
    """Return the 44 bytes in front of a chunk's bytes. The digest is the checksum of those; the CRC is the head's own."""
    head = _RECORD.pack(_MARK, size, digest, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "big")


def decode_record_head(data: bytes) -> tuple[Digest, int] | None:
    """Return digest and size, or None if this is no head of a record."""
    if len(data) != RECORD_HEAD_BYTES:
        return None
    mark, size, digest, check = _RECORD.unpack(data)
    if mark != _MARK or size > RECORD_MAX_BYTES or zlib.crc32(data[:-4]) != check:
        return None
    return digest, size


def segment_name(number: int) -> str:
    """Return the file name of a segment."""
    return f"{number:016x}{_SUFFIX}"


def segment_number(name: str) -> int | None:
    """Return the number of a segment's file name, or None if it is none."""
    stem = name.removesuffix(_SUFFIX)
    if len(stem) != 16 or not name.endswith(_SUFFIX) or set(stem) - set("0123456789abcdef"):
        return None
    return int(stem, 16)


class Segments:
    """The segment files of a store: reads from any thread, appends from one at a time.

    Args:
        directory: Of the segment files; must exist.
        files: File operations.
        known: What the index knows, already reconciled with the directory.
        next_number: A number that no file has had.
    """

    def __init__(self, directory: str, files: FileOps, known: Iterable[Segment], next_number: int) -> None:
        self.files = files
        self.directory = directory
        self.known = {segment.number: segment for segment in known}
        self._next = next_number
        self._tails = {segment.owner: segment.number for segment in self.known.values() if not segment.sealed}
        self._lock = threading.Lock()
        self._handles: OrderedDict[int, _Handle] = OrderedDict()

    def path(self, number: int) -> str:
        """Return the path of a segment."""
        return os.path.join(self.directory, segment_name(number))

    def total_bytes(self) -> int:
        """Return the bytes of all segments."""
        return sum(segment.end for segment in self.known.values())

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Return up to `size` unverified bytes; `OSError` if the file is gone or the disk fails."""
        handle = self._borrow(number)
        try:
            return handle.file.pread(size, offset)
        finally:
            self._give_back(handle)

    def tail(self, owner: Digest) -> Segment:
        """Return the segment that an owner's next record goes to: the last one, or a new one."""
        number = self._tails.get(owner)
        if number is not None and self.known[number].end < SEGMENT_MAX_BYTES:
            return self.known[number]
        return self.new(owner)

    def new(self, owner: Digest) -> Segment:
        """Return a segment that has no file yet: its end is 0, and no other ever gets its number."""
        segment = Segment(self._next, owner, 0)
        self._next += 1
        return segment

    def admit(self, segment: Segment, end: int) -> None:
        """Let the bytes of a segment up to `end` count."""
        segment.end = end
        self.known[segment.number] = segment
        self._tails[segment.owner] = segment.number

    def seal(self, segment: Segment) -> None:
        """Never append to a segment again."""
        segment.sealed = True
        if self._tails.get(segment.owner) == segment.number:
            del self._tails[segment.owner]

    def remove(self, number: int) -> None:
        """Remove a segment that the index has dropped. Readers that are in it finish undisturbed.

        A file that can't be removed now is an orphan, which goes when the store is opened again.
        """
        self.seal(self.known.pop(number))
        with self._lock:
            handle = self._handles.pop(number, None)
        if handle is not None:
            self._retire(handle)
        with contextlib.suppress(OSError):
            self.files.unlink(self.path(number))

    def close(self) -> None:
        """Close all files, those in use as soon as their readers are done."""
        with self._lock:
            handles = list(self._handles.values())
            self._handles.clear()
        for handle in handles:
            self._retire(handle)

    def _borrow(self, number: int) -> _Handle:
        with self._lock:
            handle = self._handles.get(number)
            if handle is None:
                self._evict()
                handle = self._handles[number] = _Handle(self.files.open(self.path(number), read_only=True))
            self._handles.move_to_end(number)
            handle.users += 1
            return handle

    def _evict(self) -> None:
        """Close the file that was not used for longest, if there are too many and one is idle."""
        idle = (number for number, handle in self._handles.items() if not handle.users)
        number = next(idle, None) if len(self._handles) >= _OPEN_FILES else None
        if number is not None:
            self._handles.pop(number).file.close()

    def _give_back(self, handle: _Handle) -> None:
        with self._lock:
            handle.users -= 1
            last = handle.retired and not handle.users
        if last:
            handle.file.close()

    def _retire(self, handle: _Handle) -> None:
        with self._lock:
            handle.retired = True
            idle = not handle.users
        if idle:
            handle.file.close()


@dataclass(slots=True)
class _Handle:
    """An open segment: closed by the last user once it is retired, so that no read meets a descriptor of another file."""

    file: File
    users: int = 0
    retired: bool = False
