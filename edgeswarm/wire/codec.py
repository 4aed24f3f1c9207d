"""Messages to bytes and back.

Control messages are msgpack arrays of their fields in order; OBJECT and CHUNK are packed raw, so that their data is never copied
into a msgpack value. Bytes on the wire: docs/reference/wire.md, "Messages".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import msgpack

from ..errors import LocalProtocolError, RemoteProtocolError
from .frames import CONTROL_BODY_BYTES, encode_frame
from .messages import CODINGS, MESSAGES, ChunkData, Have, Hello, Message, ObjectData, Partial, Peers, Want

_OBJECT = struct.Struct(">IBB")
_CHUNK = struct.Struct(">IIB")
_FLAGS = (False, True)

# Only sets of chunks and lists of addresses are long. What is parsed before it is checked stays small: an array costs 28 times its
# bytes in memory.
_LONG_BODY_BYTES = {Have.TYPE: CONTROL_BODY_BYTES, Want.TYPE: 32 * 1024, Peers.TYPE: 20 * 1024, Partial.TYPE: 33 * 1024}
_SHORT_BODY_BYTES = 4096
_MAX_ARRAY = 64

_TYPES = {message.TYPE: message for message in MESSAGES}
_FIELDS = {message: tuple(field.name for field in fields(message)) for message in MESSAGES}  # type: ignore[arg-type]  # all are dataclasses


def encode_message(message: Message) -> bytes:
    """Return the frame of a message."""
    if isinstance(message, ChunkData):
        head = _CHUNK.pack(message.request, message.index, CODINGS.index(message.coding))
        return encode_frame(message.TYPE, head, message.data)
    if isinstance(message, ObjectData):
        return encode_frame(message.TYPE, _OBJECT.pack(message.request, message.found, message.last), message.data)
    body: bytes = msgpack.packb([getattr(message, name) for name in _FIELDS[type(message)]])
    return encode_frame(message.TYPE, body)


def decode_message(kind: int, body: bytes | memoryview) -> Message:
    """Return the message of a frame; the data of OBJECT and CHUNK is a view of `body`.

    Raises:
        RemoteProtocolError: Unknown type, or not what its definition says.
    """
    wanted = _TYPES.get(kind)
    if wanted is None:
        raise RemoteProtocolError(f"message type {kind}: not known; the peer may use only what its HELLO and ours have in common")
    try:
        raw = _RAW.get(kind)
        return raw(body) if raw else wanted(**_unpack_fields(wanted, body))
    except LocalProtocolError as error:
        raise RemoteProtocolError(f"from the peer: {error}") from error


def _unpack_fields(wanted: type[Message], body: bytes | memoryview) -> dict[str, Any]:
    names = _FIELDS[wanted]
    values = _unpack_array(body, wanted)
    # HELLO may grow: it is read before the version is known. Nothing else may.
    if len(values) < len(names) or (len(values) > len(names) and wanted is not Hello):
        raise LocalProtocolError(f"{wanted.__name__}: wanted {len(names)} fields, got {len(values)}")
    return dict(zip(names, values, strict=False))


def _unpack_array(body: bytes | memoryview, wanted: type[Message]) -> tuple[object, ...]:
    most = _LONG_BODY_BYTES.get(wanted.TYPE, _SHORT_BODY_BYTES)
    if len(body) > most:
        raise LocalProtocolError(f"{wanted.__name__}: wanted a body of at most {most} bytes, got {len(body)}")
    try:
        values = msgpack.unpackb(body, use_list=False, max_array_len=_MAX_ARRAY, max_map_len=0, max_ext_len=0)
    except ValueError as error:  # the base of all that msgpack raises for bad bytes
        raise LocalProtocolError(f"{wanted.__name__}: wanted one msgpack array, got {error or type(error).__name__}") from error
    if type(values) is not tuple:
        raise LocalProtocolError(f"{wanted.__name__}: wanted a msgpack array, got a {type(values).__name__}")
    return values


def _unpack_object(body: bytes | memoryview) -> ObjectData:
    request, found, last, data = _split(_OBJECT, body, "OBJECT")
    if found > 1 or last > 1:
        raise LocalProtocolError(f"OBJECT: wanted flags of 0 or 1, got {found} and {last}")
    return ObjectData(request=request, found=_FLAGS[found], last=_FLAGS[last], data=data)


def _unpack_chunk(body: bytes | memoryview) -> ChunkData:
    request, index, coding, data = _split(_CHUNK, body, "CHUNK")
    if coding >= len(CODINGS):
        raise LocalProtocolError(f"CHUNK coding: wanted 0 to {len(CODINGS) - 1}, got {coding}")
    return ChunkData(request=request, index=index, coding=CODINGS[coding], data=data)


def _split(head: struct.Struct, body: bytes | memoryview, what: str) -> tuple[Any, ...]:
    if len(body) < head.size:
        raise LocalProtocolError(f"{what}: wanted at least {head.size} bytes, got {len(body)}")
    return (*head.unpack_from(body), body[head.size :])


_RAW: dict[int, Callable[[bytes | memoryview], Message]] = {ObjectData.TYPE: _unpack_object, ChunkData.TYPE: _unpack_chunk}
