"""The protocol of one link, without the link: bytes in, events out; messages in, bytes out.

Theory of operation
===================

A session is two one-way streams of messages, one from each side, with the same small state machine each:

    OPENING --HELLO--> READY --anything but HELLO and BYE--> READY --BYE--> CLOSING --end of stream--> CLOSED

The first message of a stream is HELLO and the last one is BYE. A stream that ends without BYE was cut, which is nobody's fault. A
message that its state does not allow puts the stream into ERROR, where it stays.

The streams touch each other in four places only:

1. Version. Each HELLO says which versions its side speaks. Both sides compute min(protocols); if that is below max(oldests), they
   have none in common: the session returns `Incompatible`, and BYE is all that may follow. Nothing but HELLO and BYE is sent before
   the peer's HELLO came, so that everything else is said in the common version.
2. Requests. OBJECT, CHUNK, MISS and PONG are allowed only as answers, each wanted thing once; `requests.py` has the rules.
3. CANCEL. It is about a request of whichever side its number belongs to. A peer's CANCEL of its own request is returned as an event
   while that request is open, and skipped otherwise: it crossed the last answer.
4. BYE. A side that said it answers nothing more: what the other had asked ends there. It still takes answers to what it asked.

Faults are told apart by blame: what is wrong in `send` is a `LocalProtocolError` and changes nothing; what is wrong in `next_event`
is a `RemoteProtocolError`, after which the link is of no more use than for a BYE that says why.

A link counts as up after the peer's HELLO, not before: in TLS 1.3 the client finishes its handshake before the server judged it.

The caller's loop:

    await link.send(session.start())
    while True:
        event = session.next_event()
        if event is NEED_DATA:
            session.receive_data(await link.receive())
        elif isinstance(event, Closed): ...
        else: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from ..errors import LocalProtocolError, RemoteProtocolError
from .codec import decode_message, encode_message
from .frames import FrameReader
from .messages import MESSAGES, Bye, Cancel, Hello, Message
from .requests import Requests


class State(Enum):
    """Where one direction of a session is."""

    OPENING = auto()
    READY = auto()
    CLOSING = auto()
    CLOSED = auto()
    ERROR = auto()


class Pause(Enum):
    """What `next_event` returns when it has nothing."""

    NEED_DATA = auto()


NEED_DATA: Final = Pause.NEED_DATA
"""Call `receive_data` before `next_event` again."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream from the peer ended.

    Attributes:
        bye: What the peer said last; None: it was cut.
    """

    bye: Bye | None = None


@dataclass(frozen=True, slots=True)
class Incompatible:
    """The peer speaks no version that we speak. Not its fault and no reason to ban it.

    Attributes:
        hello: What it said.
        answer: What to send before closing.
    """

    hello: Hello
    answer: Bye


Event: TypeAlias = Message | Incompatible | Closed | Pause

TRANSITIONS: dict[tuple[State, type[object]], State] = {
    (State.OPENING, Hello): State.READY,
    **{(State.READY, message): State.READY for message in MESSAGES if message not in (Hello, Bye)},
    (State.READY, Bye): State.CLOSING,
    (State.OPENING, Closed): State.CLOSED,
    (State.READY, Closed): State.CLOSED,
    (State.CLOSING, Closed): State.CLOSED,
    (State.CLOSED, Closed): State.CLOSED,
}
"""What each direction may say in each state, and the state after it. The same for both directions and both sides."""


class Session:
    """One side of a session.

    Args:
        hello: What this side says first; send it with `start`.
        is_client: This side opened the link; its requests get odd numbers.
    """

    def __init__(self, hello: Hello, *, is_client: bool) -> None:
        self._hello = hello
        self._peer: Hello | None = None
        self._local = State.OPENING
        self._remote = State.OPENING
        self._reader = FrameReader()
        self._at_end = False
        self._protocol = 0
        self._bye: Bye | None = None
        self._asked = Requests(1 if is_client else 2)
        self._owed = Requests(2 if is_client else 1)

    @property
    def local_state(self) -> State:
        """State of the stream from here to the peer."""
        return self._local

    @property
    def remote_state(self) -> State:
        """State of the stream from the peer to here."""
        return self._remote

    @property
    def peer(self) -> Hello | None:
        """The peer's HELLO, once it came."""
        return self._peer

    @property
    def protocol(self) -> int:
        """Version in use; 0 until the peer's HELLO came, or if none is common."""
        return self._protocol

    @property
    def asked(self) -> Requests:
        """What this side asked for and the peer owes. To be read, not changed."""
        return self._asked

    @property
    def owed(self) -> Requests:
        """What the peer asked for and this side owes. To be read, not changed."""
        return self._owed

    def new_request(self) -> int:
        """Return a number for the next GET_OBJECT or WANT."""
        return self._asked.new_number()

    def start(self) -> bytes:
        """Return the bytes of this side's HELLO: the first thing to send."""
        return self.send(self._hello)

    def send(self, message: Message | Closed) -> bytes:
        """Note that `message` is sent next and return its bytes; those of `Closed`, the end of the stream, are none.

        Raises:
            LocalProtocolError: It may not be said now; nothing changed.
        """
        after = _next_state(self._local, message)
        if isinstance(message, Closed):
            self._local = after
            return b""
        if not self._protocol and not isinstance(message, Hello | Bye):
            raise LocalProtocolError(f"{type(message).__name__}: wanted the peer's HELLO, with a common version, before it")
        data = encode_message(message)
        _SENT.get(type(message), Session._sent_other)(self, message)
        self._local = after
        return data

    def receive_data(self, data: bytes) -> None:
        """Take what the link received; b"" is the end of the stream.

        Raises:
            LocalProtocolError: Data after the end, or more than 1 MiB unread: call `next_event` until it returns `NEED_DATA`.
        """
        if self._at_end and data:
            raise LocalProtocolError(f"wanted nothing after the end of the stream, got {len(data)} bytes")
        self._at_end = not data
        self._reader.receive_data(data)

    def next_event(self) -> Event:
        """Return the next message of the peer, `Incompatible`, `Closed` (again and again), or `NEED_DATA`.

        Raises:
            RemoteProtocolError: The peer broke the protocol, now or before.
        """
        if self._remote is State.ERROR:
            raise RemoteProtocolError("the peer broke the protocol before: wanted the link closed, got another call of next_event")
        try:
            return self._next_event()
        except RemoteProtocolError:
            self._remote = State.ERROR
            raise
        except LocalProtocolError as error:
            self._remote = State.ERROR
            raise RemoteProtocolError(f"from the peer: {error}") from error

    def _next_event(self) -> Event:
        while frame := self._reader.next_frame():
            event = self._receive(decode_message(frame.type, frame.body))
            if event is not None:
                return event
        if not self._at_end:
            return NEED_DATA
        self._remote = _next_state(self._remote, Closed())
        self._asked.clear()
        return Closed(self._bye)

    def _receive(self, message: Message) -> Event | None:
        """Return the event of a message, or None for one that is to be skipped."""
        self._remote = _next_state(self._remote, message)
        if not self._protocol and not isinstance(message, Hello | Bye):
            raise LocalProtocolError(f"{type(message).__name__}: wanted BYE, since no version is common")
        return _RECEIVED.get(type(message), Session._received_other)(self, message)

    def _sent_hello(self, message: Hello) -> None:
        if message != self._hello:
            raise LocalProtocolError("HELLO: wanted the one that the session was made with; call start")

    def _sent_bye(self, message: Bye) -> None:
        self._owed.clear()

    def _sent_cancel(self, message: Cancel) -> None:
        if self._owed.is_mine(message.request):
            self._owed.refuse(message)
        elif not self._asked.is_open(message.request):
            raise LocalProtocolError(f"CANCEL: wanted the number of an open request, got {message.request}")

    def _sent_other(self, message: Message) -> None:
        self._owed.answer(message)
        self._asked.ask(message)

    def _received_hello(self, message: Hello) -> Event:
        self._peer = message
        self._protocol = common_version(self._hello, message)
        return message if self._protocol else self._incompatible(message)

    def _received_bye(self, message: Bye) -> Event:
        self._bye = message
        self._asked.clear()
        return message

    def _received_cancel(self, message: Cancel) -> Event | None:
        if self._asked.is_mine(message.request):
            self._asked.refuse(message)
            return message
        return message if self._owed.is_open(message.request) else None

    def _received_other(self, message: Message) -> Event:
        self._asked.answer(message)
        self._owed.ask(message)
        return message

    def _incompatible(self, peer: Hello) -> Incompatible:
        ours = self._hello
        reason = f"we speak versions {ours.oldest} to {ours.protocol}, you {peer.oldest} to {peer.protocol}"
        return Incompatible(peer, Bye(code="version", reason=reason))


def common_version(one: Hello, other: Hello) -> int:
    """Return the newest version that both sides speak, or 0."""
    newest = min(one.protocol, other.protocol)
    return newest if newest >= max(one.oldest, other.oldest) else 0


def _next_state(state: State, what: Message | Closed) -> State:
    """Return the state after `what`; `LocalProtocolError` if it is not allowed in `state`."""
    after = TRANSITIONS.get((state, type(what)))
    if after is None:
        raise LocalProtocolError(f"{type(what).__name__}: not allowed in state {state.name}")
    return after


_SENT: dict[type[Message], Callable[[Session, Any], None]] = {
    Hello: Session._sent_hello,
    Bye: Session._sent_bye,
    Cancel: Session._sent_cancel,
}
_RECEIVED: dict[type[Message], Callable[[Session, Any], Event | None]] = {
    Hello: Session._received_hello,
    Bye: Session._received_bye,
    Cancel: Session._received_cancel,
}
