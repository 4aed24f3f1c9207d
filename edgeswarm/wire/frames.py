"""Frames: a length, a type, a body.

    u32 length of type and body, big-endian | u8 type | body

The length is checked before anything is kept, so that a peer can make this side hold one frame and what one read brought, no more.
Bytes on the wire: docs/reference/wire.md, "Frames".
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..errors import LocalProtocolError, RemoteProtocolError

CONTROL_BODY_BYTES = 256 * 1024
"""Longest body of a control message."""
DATA_BODY_BYTES = 257 * 1024
"""Longest body of a message that carries data: the largest chunk (256 KiB) and room for what stands before it."""
DATA_TYPES = (7, 11)
"""Types of the messages that carry data raw: OBJECT and CHUNK."""

_HEADER = struct.Struct(">IB")
# Two of the largest reads of a link (256 KiB each) and two frames: whoever feeds more has stopped taking frames out.
_MAX_UNREAD_BYTES = 1024 * 1024


class Frame(NamedTuple):
    """One frame.

    Attributes:
        type: Number of the message type, 0 to 255.
        body: Its bytes; often a view into the bytes that were fed, so that it keeps those alive.
    """

    type: int
    body: bytes | memoryview


def body_limit(kind: int) -> int:
    """Return the longest body, in bytes, that a frame of type `kind` may have."""
    return DATA_BODY_BYTES if kind in DATA_TYPES else CONTROL_BODY_BYTES


def encode_frame(kind: int, *parts: bytes | bytearray | memoryview) -> bytes:
    """Return one frame whose body is `parts` joined.

    One buffer, not several: a copy of 64 KiB costs about 5 us, a TLS record of its own for the header as much and a system call.

    Raises:
        LocalProtocolError: The body is longer than its type allows.
    """
    size = sum(map(len, parts))
    if size > body_limit(kind):
        raise LocalProtocolError(f"frame of type {kind}: wanted at most {body_limit(kind)} bytes of body, got {size}")
    return b"".join((_HEADER.pack(size + 1, kind), *parts))


class FrameReader:
    """Cuts a stream of bytes into frames.

    Feed with `receive_data`, then call `next_frame` until it returns None. A frame that lies whole in the bytes fed is returned as
    a view of them; one that crosses them is copied once.
    """

    __slots__ = ("_partial", "_view")

    def __init__(self) -> None:
        self._view = memoryview(b"")
        # The beginning of a frame; never handed out before it is whole, so that it may grow in place.
        self._partial = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream.

        Raises:
            LocalProtocolError: More than 1 MiB would wait here: call `next_frame` until it returns None before feeding more.
        """
        if len(self._view) + len(data) > _MAX_UNREAD_BYTES:
            raise LocalProtocolError(f"wanted at most {_MAX_UNREAD_BYTES} unread bytes, got {len(self._view) + len(data)}")
        self._view = memoryview(bytes(self._view) + data if self._view else data)

    @property
    def unread(self) -> int:
        """Bytes that wait here, those of an unfinished frame included."""
        return len(self._view) + len(self._partial)

    def next_frame(self) -> Frame | None:
        """Return the next frame, or None if more bytes are needed.

        Raises:
            RemoteProtocolError: The length is zero or more than the type allows.
        """
        if self._partial:
            return self._finish_partial()
        size = _frame_size(self._view)
        if size == 0 or size > len(self._view):
            self._keep(len(self._view))
            return None
        frame, self._view = self._view[:size], self._view[size:]
        return Frame(frame[4], frame[_HEADER.size :])

    def _finish_partial(self) -> Frame | None:
        self._keep(_HEADER.size - len(self._partial))
        size = _frame_size(self._partial)
        if size:
            self._keep(size - len(self._partial))
        if size == 0 or size > len(self._partial):
            return None
        frame, self._partial = memoryview(self._partial).toreadonly(), bytearray()
        return Frame(frame[4], frame[_HEADER.size :])

    def _keep(self, count: int) -> None:
        """Move up to `count` bytes from the view into the unfinished frame."""
        if count > 0:
            self._partial += self._view[:count]
            self._view = self._view[count:]


def _frame_size(start: bytearray | memoryview) -> int:
    """Return the bytes of the frame that starts here, header included, or 0 if its header is not whole yet."""
    if len(start) < _HEADER.size:
        return 0
    length, kind = _HEADER.unpack_from(start)
    if not 1 <= length <= body_limit(kind) + 1:
        raise RemoteProtocolError(f"frame of type {kind}: wanted a length of 1 to {body_limit(kind) + 1} bytes, got {length}")
    size: int = length + 4
    return size
