"""The messages of a session: values that are valid or cannot be made.

All fields are given by name. Constructing a message with a wrong value raises `LocalProtocolError`; `codec.decode_message` raises
`RemoteProtocolError` for the same fault in what a peer sent. Bytes on the wire: docs/reference/wire.md, "Messages".
"""

from __future__ import annotations

from .control import OLDEST_PROTOCOL, PROTOCOL, ROLES, Bye, Claim, Hello, Message, News, Peers, Ping, Pong, Release
from .transfer import (
    CAPABILITIES,
    CODINGS,
    MAX_OBJECT_BYTES,
    MAX_PARTIAL_BYTES,
    MAX_WANTED_CHUNKS,
    OBJECT_KINDS,
    OBJECT_PART_BYTES,
    Cancel,
    ChunkData,
    Drop,
    GetObject,
    Have,
    Miss,
    ObjectData,
    Partial,
    Want,
    can_ask,
)

__all__ = [
    "CAPABILITIES",
    "CODINGS",
    "MAX_OBJECT_BYTES",
    "MAX_PARTIAL_BYTES",
    "MAX_WANTED_CHUNKS",
    "MESSAGES",
    "OBJECT_KINDS",
    "OBJECT_PART_BYTES",
    "OLDEST_PROTOCOL",
    "PROTOCOL",
    "ROLES",
    "Bye",
    "Cancel",
    "ChunkData",
    "Claim",
    "Drop",
    "GetObject",
    "Have",
    "Hello",
    "Message",
    "Miss",
    "News",
    "ObjectData",
    "Partial",
    "Peers",
    "Ping",
    "Pong",
    "Release",
    "Want",
    "can_ask",
]

MESSAGES: tuple[type[Message], ...] = (
    Hello, Bye, Ping, Pong, News, GetObject, ObjectData, Have, Drop, Want, ChunkData, Miss, Cancel, Claim, Release, Peers,
    Partial,
)  # fmt: skip
"""All messages, in the order of their numbers."""
