"""What one side of a link has asked for and the other still owes.

Each session keeps two of these: one for what it asks, one for what the peer asks. The same rules hold for both, whoever breaks
them; the session decides whose fault it is.

    GET_OBJECT --OBJECT (not last)--> stays --OBJECT (last)--> ended
    WANT       --CHUNK or MISS, once for each index-->         ended
    PING       --PONG-->                                       ended
    either of the first two --CANCEL from the side that owes-> ended

A CANCEL from the asker ends nothing by itself: answers may be under way. The side that owes answers it with its own CANCEL, or has
ended the request before. So after every end, both sides agree that nothing more comes, and the number is free again.

Numbers of requests of the side that connected are odd, those of the other even, so that a CANCEL says whose request it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import LocalProtocolError
from .messages import MAX_WANTED_CHUNKS, Cancel, ChunkData, GetObject, Message, Miss, ObjectData, Ping, Pong, Want

MAX_REQUESTS = 64
"""Requests that one side may have outstanding."""
MAX_PINGS = 16
"""PINGs that one side may have outstanding."""

_NUMBERS = 2**32


class Requests:
    """The outstanding requests of one side.

    Args:
        first: 1 for the side that connected, 2 for the other: its numbers are this plus multiples of 2.
    """

    __slots__ = ("_chunks", "_first", "_next", "_objects", "_pings", "_wants")

    def __init__(self, first: int) -> None:
        self._first = self._next = first
        self._objects: dict[int, int] = {}  # request -> bytes that may still come
        self._wants: dict[int, set[int]] = {}  # request -> indices that are still owed; never iterated
        self._pings: set[int] = set()  # nonces; never iterated
        self._chunks = 0

    @property
    def requests(self) -> int:
        """Outstanding requests, at most 64."""
        return len(self._objects) + len(self._wants)

    @property
    def chunks(self) -> int:
        """Outstanding chunks, at most 4096."""
        return self._chunks

    def new_number(self) -> int:
        """Return a number for the next request of this side."""
        number = self._next
        while self.is_open(number):
            number = self._after(number)
        self._next = self._after(number)
        return number

    def _after(self, number: int) -> int:
        return number + 2 if number + 2 < _NUMBERS else self._first

    def is_mine(self, request: int) -> bool:
        """Tell if the number is one of this side's."""
        return request % 2 == self._first % 2

    def is_open(self, request: int) -> bool:
        """Tell if answers to the request are still owed."""
        return request in self._wants or request in self._objects

    def clear(self) -> None:
        """End everything: the side that owes has said BYE."""
        self._objects.clear()
        self._wants.clear()
        self._pings.clear()
        self._chunks = 0

    def ask(self, message: Message) -> None:
        """Note a message of the asking side; others than GET_OBJECT, WANT and PING change nothing.

        Raises:
            LocalProtocolError: A number of the other side or in use, or too much outstanding.
        """
        asked = _ASK.get(type(message))
        if asked:
            asked(self, message)

    def answer(self, message: Message) -> None:
        """Note a message of the side that owes; others than OBJECT, CHUNK, MISS and PONG change nothing.

        Raises:
            LocalProtocolError: Nobody asked for it.
        """
        answered = _ANSWER.get(type(message))
        if answered:
            answered(self, message)

    def refuse(self, message: Cancel) -> None:
        """Note a CANCEL of the side that owes.

        Raises:
            LocalProtocolError: The request is not open.
        """
        if not self.is_open(message.request):
            raise LocalProtocolError(f"CANCEL: wanted the number of an open request, got {message.request}")
        self._objects.pop(message.request, None)
        self._chunks -= len(self._wants.pop(message.request, ()))

    def _start(self, request: int) -> None:
        if not self.is_mine(request) or self.is_open(request):
            parity = "odd" if self._first % 2 else "even"
            raise LocalProtocolError(f"request: wanted a fresh {parity} number, got {request}; `new_request` gives one")
        if self.requests >= MAX_REQUESTS:
            raise LocalProtocolError(f"request {request}: wanted at most {MAX_REQUESTS} outstanding; wait for answers first")

    def _ask_object(self, message: GetObject) -> None:
        self._start(message.request)
        self._objects[message.request] = message.limit

    def _ask_chunks(self, message: Want) -> None:
        self._start(message.request)
        wanted = set(message.indices())
        if self._chunks + len(wanted) > MAX_WANTED_CHUNKS:
            raise LocalProtocolError(
                f"WANT: {self._chunks} chunks outstanding, wanted at most {MAX_WANTED_CHUNKS} with {len(wanted)} more"
            )
        self._wants[message.request] = wanted
        self._chunks += len(wanted)

    def _ask_ping(self, message: Ping) -> None:
        if message.nonce in self._pings or len(self._pings) >= MAX_PINGS:
            raise LocalProtocolError(f"PING: wanted a fresh nonce and at most {MAX_PINGS} unanswered, got {len(self._pings)}")
        self._pings.add(message.nonce)

    def _answer_object(self, message: ObjectData) -> None:
        room = self._objects.get(message.request)
        if room is None or len(message.data) > room:
            got = "no such request" if room is None else f"{len(message.data)} bytes"
            raise LocalProtocolError(f"OBJECT for request {message.request}: wanted at most {room or 0} bytes, got {got}")
        if message.last:
            del self._objects[message.request]
        else:
            self._objects[message.request] = room - len(message.data)

    def _answer_chunk(self, message: ChunkData | Miss) -> None:
        owed = self._wants.get(message.request)
        if owed is None or message.index not in owed:
            raise LocalProtocolError(
                f"chunk {message.index} for request {message.request}: nobody asked for it, or it was answered"
            )
        owed.remove(message.index)
        self._chunks -= 1
        if not owed:
            del self._wants[message.request]

    def _answer_ping(self, message: Pong) -> None:
        if message.nonce not in self._pings:
            raise LocalProtocolError("PONG: wanted the nonce of an unanswered PING, got another")
        self._pings.remove(message.nonce)


_ASK: dict[type[Message], Callable[[Requests, Any], None]] = {
    GetObject: Requests._ask_object,
    Want: Requests._ask_chunks,
    Ping: Requests._ask_ping,
}
_ANSWER: dict[type[Message], Callable[[Requests, Any], None]] = {
    ObjectData: Requests._answer_object,
    ChunkData: Requests._answer_chunk,
    Miss: Requests._answer_chunk,
    Pong: Requests._answer_ping,
}
