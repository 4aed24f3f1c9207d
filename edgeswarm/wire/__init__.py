"""The protocol between peers, without I/O: frames, messages, sessions. Pure. Specified in docs/reference/wire.md."""

from .codec import decode_message, encode_message
from .frames import CONTROL_BODY_BYTES, DATA_BODY_BYTES, Frame, FrameReader, encode_frame
from .indices import Form, count_indices, decode_flags, decode_indices, encode_flags, encode_indices, split_flags
from .messages import (
    CODINGS,
    MAX_OBJECT_BYTES,
    MAX_WANTED_CHUNKS,
    MESSAGES,
    OBJECT_KINDS,
    OBJECT_PART_BYTES,
    OLDEST_PROTOCOL,
    PROTOCOL,
    ROLES,
    Bye,
    Cancel,
    ChunkData,
    Claim,
    Drop,
    GetObject,
    Have,
    Hello,
    Message,
    Miss,
    News,
    ObjectData,
    Partial,
    Peers,
    Ping,
    Pong,
    Release,
    Want,
)
from .requests import MAX_PINGS, MAX_REQUESTS, Requests
from .session import NEED_DATA, Closed, Event, Incompatible, Pause, Session, State, common_version

__all__ = [
    "CODINGS", "CONTROL_BODY_BYTES", "DATA_BODY_BYTES", "MAX_OBJECT_BYTES", "MAX_PINGS", "MAX_REQUESTS", "MAX_WANTED_CHUNKS",
    "MESSAGES", "NEED_DATA", "OBJECT_KINDS", "OBJECT_PART_BYTES", "OLDEST_PROTOCOL", "PROTOCOL", "ROLES", "Bye", "Cancel",
    "ChunkData", "Claim", "Closed", "Drop", "Event", "Form", "Frame", "FrameReader", "GetObject", "Have", "Hello", "Incompatible",
    "Message", "Miss", "News",
    "ObjectData", "Partial", "Pause", "Peers", "Ping", "Pong", "Release", "Requests", "Session", "State", "Want",
    "common_version", "count_indices", "decode_flags", "decode_indices", "decode_message", "encode_flags", "encode_frame",
    "encode_indices", "encode_message", "split_flags",
]  # fmt: skip
