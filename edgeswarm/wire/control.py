"""Messages about the link, the news and the leases: HELLO, BYE, PING, PONG, NEWS, CLAIM, RELEASE, PEERS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..content.digest import Digest
from ..content.index import SPAN_CHUNKS
from ..content.manifest import MAX_CHUNKS
from ..errors import LocalProtocolError
from .checks import check_address, check_choice, check_digest, check_flag, check_number, check_text, check_word

PROTOCOL = 1
"""The newest protocol version that this package speaks."""
OLDEST_PROTOCOL = 1
"""The oldest one that it still speaks."""
ROLES = ("device", "gateway")
"""What a node can be."""

# 63 bits, so that every number also fits a signed column of a database.
_MAX_NUMBER = 2**63 - 1
_MAX_U64 = 2**64 - 1
_MAX_SPAN = MAX_CHUNKS // SPAN_CHUNKS - 1
_MAX_VERSION = 65535
_MAX_CAPABILITIES = 32
_MAX_ADDRESSES = 64
_NODE_BYTES = 255
_REASON_BYTES = 512


class Message:
    """Base of all messages; `TYPE` is the number in the frame."""

    __slots__ = ()
    TYPE: ClassVar[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Message):
    """The first message of each side.

    Attributes:
        protocol: Newest protocol version spoken.
        oldest: Oldest one still spoken.
        node: Name of the node, for people: who it is says its certificate.
        role: "device" or "gateway".
        uplink: Its uplink is usable now.
        capabilities: Words for what it can do beyond the protocol; unknown ones are ignored.
        listen: `host:port` where it accepts links, or "".
        timestamp_version: Version of the newest timestamp metadata it holds; 0: none.
    """

    TYPE: ClassVar[int] = 1
    protocol: int = PROTOCOL
    oldest: int = OLDEST_PROTOCOL
    node: str
    role: str
    uplink: bool
    capabilities: tuple[str, ...] = ()
    listen: str = ""
    timestamp_version: int

    def __post_init__(self) -> None:
        check_number(self.protocol, "HELLO protocol", 1, _MAX_VERSION)
        check_number(self.oldest, "HELLO oldest", 1, self.protocol)
        check_text(self.node, "HELLO node", 1, _NODE_BYTES)
        check_choice(self.role, "HELLO role", ROLES)
        check_flag(self.uplink, "HELLO uplink")
        if type(self.capabilities) is not tuple or len(self.capabilities) > _MAX_CAPABILITIES:
            raise LocalProtocolError(f"HELLO capabilities: wanted a tuple of at most {_MAX_CAPABILITIES} words")
        for word in self.capabilities:
            check_word(word, "HELLO capability")
        check_address(self.listen, "HELLO listen")
        check_number(self.timestamp_version, "HELLO timestamp version", 0, _MAX_NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye(Message):
    """The last message of a side: it says nothing more and answers nothing more.

    Attributes:
        code: Word for machines: "stopping", "version", "protocol", "busy", "idle", "banned"; others are allowed.
        reason: Text for people, at most 512 bytes.
    """

    TYPE: ClassVar[int] = 2
    code: str
    reason: str = ""

    def __post_init__(self) -> None:
        check_word(self.code, "BYE code")
        check_text(self.reason, "BYE reason", 0, _REASON_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Message):
    """Are you there? `nonce` is any number of 64 bits, not that of another unanswered PING."""

    TYPE: ClassVar[int] = 3
    nonce: int

    def __post_init__(self) -> None:
        check_number(self.nonce, "PING nonce", 0, _MAX_U64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Message):
    """I am; `nonce` is that of the PING."""

    TYPE: ClassVar[int] = 4
    nonce: int

    def __post_init__(self) -> None:
        check_number(self.nonce, "PONG nonce", 0, _MAX_U64)


@dataclass(frozen=True, slots=True, kw_only=True)
class News(Message):
    """What changed since HELLO.

    Attributes:
        timestamp_version: Version of the newest timestamp metadata it holds now.
        uplink: Its uplink is usable now.
    """

    TYPE: ClassVar[int] = 5
    timestamp_version: int
    uplink: bool

    def __post_init__(self) -> None:
        check_number(self.timestamp_version, "NEWS timestamp version", 0, _MAX_NUMBER)
        check_flag(self.uplink, "NEWS uplink")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Message):
    """I fetch this span over my uplink; renewed while it goes on.

    Attributes:
        manifest: Digest of the manifest root.
        span: Number of the span: chunks `span * 64` and the 63 after it.
        sequence: Grows with every CLAIM and RELEASE of the node; an older one than the last is ignored.
        progress: Bytes of the span received over the uplink so far: a hint.
    """

    TYPE: ClassVar[int] = 14
    manifest: Digest
    span: int
    sequence: int
    progress: int = 0

    def __post_init__(self) -> None:
        check_digest(self.manifest, "CLAIM manifest")
        check_number(self.span, "CLAIM span", 0, _MAX_SPAN)
        check_number(self.sequence, "CLAIM sequence", 0, _MAX_NUMBER)
        check_number(self.progress, "CLAIM progress", 0, _MAX_NUMBER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(Message):
    """I no longer fetch this span.

    Attributes:
        manifest: Digest of the manifest root.
        span: Number of the span.
        sequence: As in CLAIM.
        reason: Word for machines: "done", "uplink", "budget", "lost", "stopping"; others are allowed.
    """

    TYPE: ClassVar[int] = 15
    manifest: Digest
    span: int
    sequence: int
    reason: str

    def __post_init__(self) -> None:
        check_digest(self.manifest, "RELEASE manifest")
        check_number(self.span, "RELEASE span", 0, _MAX_SPAN)
        check_number(self.sequence, "RELEASE sequence", 0, _MAX_NUMBER)
        check_word(self.reason, "RELEASE reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers(Message):
    """Where other nodes of the site accept links: hints, since only the certificate says who is there.

    Attributes:
        addresses: `host:port` of each, 1 to 64.
    """

    TYPE: ClassVar[int] = 16
    addresses: tuple[str, ...]

    def __post_init__(self) -> None:
        if type(self.addresses) is not tuple or not 1 <= len(self.addresses) <= _MAX_ADDRESSES:
            raise LocalProtocolError(f"PEERS addresses: wanted a tuple of 1 to {_MAX_ADDRESSES}")
        for address in self.addresses:
            check_text(address, "PEERS address", 1, _NODE_BYTES)
            check_address(address, "PEERS address")
