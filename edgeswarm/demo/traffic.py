"""Counts what passes an uplink, and tells which bytes of which object pass for the second time. No I/O.

One `Conversation` watches one connection: it is fed the raw bytes of both directions and lets h11 find the requests and answers in
them. What is no HTTP/1.1 is counted as bytes only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import h11

from ..origin.ranges import parse_content_range

CLASSES = ("metadata", "manifests", "index", "packs", "other")
"""Classes of paths: the folders of an origin, and all else."""

_HEADER_BYTES = 64 * 1024  # Four times what servers take: whatever passes the origin should be understood here.


class Intervals:
    """A set of byte positions, kept as sorted, disjoint, non-adjacent intervals."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> int:
        """Add the positions from `start` to before `end`; return how many of them were there already."""
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        known = sum(max(0, min(end, self._ends[i]) - max(start, self._starts[i])) for i in range(first, last))
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        return known

    def __len__(self) -> int:
        """Return the number of positions in the set."""
        return sum(self._ends) - sum(self._starts)


Seen = dict[tuple[str, str], Intervals]
"""Which positions have passed, by path and entity tag."""


@dataclass(slots=True)
class ClassCounters:
    """What passed of one class of paths.

    Attributes:
        requests: Requests that passed.
        body_bytes: Bytes of answers' bodies.
        repeated_body_bytes: Those of them that had passed before: the same position of the same path with the same entity tag.
    """

    requests: int = 0
    body_bytes: int = 0
    repeated_body_bytes: int = 0


@dataclass(slots=True)
class Counters:
    """What passed an uplink; bytes are those of TCP streams, without the headers of TCP and IP.

    Attributes:
        bytes_down: To the site.
        bytes_up: From the site.
        connections: Connections accepted.
        cuts: How often the link was cut.
        classes: What passed by class of path.
        request_body_bytes: Bytes of requests' bodies.
        largest_header_bytes: Most bytes of one request with its answer that were no bodies.
    """

    bytes_down: int = 0
    bytes_up: int = 0
    connections: int = 0
    cuts: int = 0
    request_body_bytes: int = 0
    largest_header_bytes: int = 0
    classes: dict[str, ClassCounters] = field(default_factory=lambda: {name: ClassCounters() for name in CLASSES})

    def as_dict(self) -> dict[str, object]:
        """Return all of it, with the sums, for JSON."""
        body = sum(counters.body_bytes for counters in self.classes.values())
        return {
            "bytes_down": self.bytes_down,
            "bytes_up": self.bytes_up,
            "bytes_total": self.bytes_down + self.bytes_up,
            "header_bytes_down": self.bytes_down - body,
            "header_bytes_up": self.bytes_up - self.request_body_bytes,
            "largest_header_bytes": self.largest_header_bytes,
            "body_bytes": body,
            "repeated_body_bytes": sum(counters.repeated_body_bytes for counters in self.classes.values()),
            "requests": sum(counters.requests for counters in self.classes.values()),
            "connections": self.connections,
            "cuts": self.cuts,
            "classes": {name: asdict(counters) for name, counters in self.classes.items()},
        }


class Traffic:
    """All that passes one uplink.

    Args:
        seen: What has passed, shared by the uplinks of a site: what passes another one again is repeated, too.

    Attributes:
        counters: The sums so far.
    """

    def __init__(self, seen: Seen | None = None) -> None:
        self.counters = Counters()
        self._seen = seen if seen is not None else {}

    def open_conversation(self) -> Conversation:
        """Start to watch a new connection."""
        self.counters.connections += 1
        return Conversation(self)

    def seen(self, path: str, tag: str) -> Intervals:
        """Return which positions of one version of an object have passed."""
        return self._seen.setdefault((path, tag), Intervals())


@dataclass(slots=True)
class _Answer:
    """The answer that is passing: where its next body byte lies in the object."""

    counters: ClassCounters
    seen: Intervals | None
    position: int

    def count(self, n_bytes: int) -> None:
        """Note some body bytes that passed."""
        self.counters.body_bytes += n_bytes
        if self.seen is not None:
            self.counters.repeated_body_bytes += self.seen.add(self.position, self.position + n_bytes)
        self.position += n_bytes


class Conversation:
    """Watches one connection; feed it what passed, after it passed.

    Each message gets a parser of its own, which hands over to the next one what came behind its end. So requests that are sent
    ahead of their answers are understood too.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._counters = traffic.counters
        self._seen = traffic.seen
        self._requests = _request_parser()
        self._waiting: deque[h11.Request] = deque()
        self._headers_up: deque[int] = deque()  # of the requests in `_waiting` that have come whole
        self._header_up = self._header_down = 0
        self._answers: h11.Connection | None = None
        self._answer = _Answer(ClassCounters(), None, 0)
        self._is_http = True

    def passed_up(self, data: bytes) -> None:
        """Note bytes that the site sent."""
        self._counters.bytes_up += len(data)
        self._watch(self._read_requests, data)

    def passed_down(self, data: bytes) -> None:
        """Note bytes that the site received."""
        self._counters.bytes_down += len(data)
        self._watch(self._read_answers, data)

    def _watch(self, read: Callable[[bytes], None], data: bytes) -> None:
        if self._is_http:
            try:
                read(data)
            except h11.ProtocolError:
                self._is_http = False

    def _read_requests(self, data: bytes) -> None:
        while data:
            rest, ended = self._read(self._requests, data, self._on_request_event)
            self._header_up += len(data) - len(rest)
            data = rest
            if ended:
                self._requests = _request_parser()
                self._headers_up.append(self._header_up)
                self._header_up = 0

    def _read_answers(self, data: bytes) -> None:
        while data:
            if self._answers is None:
                if not self._waiting:
                    raise h11.RemoteProtocolError("an answer to nothing")
                self._answers = _answer_parser(self._waiting[0])
            rest, ended = self._read(self._answers, data, self._on_answer_event)
            self._header_down += len(data) - len(rest)
            data = rest
            if ended:
                self._waiting.popleft()
                self._answers = None
                self._note_headers()

    def _note_headers(self) -> None:
        """Note what one request and its answer took beside their bodies."""
        up = self._headers_up.popleft() if self._headers_up else 0  # an answer may end before its request has come whole
        self._counters.largest_header_bytes = max(self._counters.largest_header_bytes, up + self._header_down)
        self._header_down = 0

    @staticmethod
    def _read(parser: h11.Connection, data: bytes, on_event: Callable[[h11.Event], None]) -> tuple[bytes, bool]:
        """Feed a parser; return what is behind the end of its message, and whether the message has ended."""
        parser.receive_data(data)
        while isinstance(event := parser.next_event(), h11.Event):
            on_event(event)
            if isinstance(event, h11.EndOfMessage):
                return parser.trailing_data[0], True
        return b"", False

    def _on_request_event(self, event: h11.Event) -> None:
        if isinstance(event, h11.Request):
            self._waiting.append(event)
            self._counters.classes[_class_of(event)].requests += 1
        elif isinstance(event, h11.Data):
            self._counters.request_body_bytes += len(event.data)
            self._header_up -= len(event.data)

    def _on_answer_event(self, event: h11.Event) -> None:
        if isinstance(event, h11.Response):
            self._answer = self._begin(self._waiting[0], event)
        elif isinstance(event, h11.Data):
            self._answer.count(len(event.data))
            self._header_down -= len(event.data)

    def _begin(self, request: h11.Request, response: h11.Response) -> _Answer:
        headers = {name: value.decode("latin-1") for name, value in response.headers}
        part = parse_content_range(headers.get(b"content-range", "")) if response.status_code == 206 else None
        seen = None
        if response.status_code in (200, 206):
            seen = self._seen(_path_of(request), headers.get(b"etag", headers.get(b"last-modified", "")))
        return _Answer(self._counters.classes[_class_of(request)], seen, part.offset if part else 0)


def _request_parser() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADER_BYTES)


def _answer_parser(request: h11.Request) -> h11.Connection:
    """Return a parser that expects the answer to a request; all that h11 needs of it is the method."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES)
    parser.send(h11.Request(method=request.method, target=b"/", headers=[(b"host", b"uplink")]))
    parser.send(h11.EndOfMessage())
    return parser


def _path_of(request: h11.Request) -> str:
    return request.target.decode("latin-1").partition("?")[0]


def _class_of(request: h11.Request) -> str:
    """Return the first part of the path that names a folder of an origin, which may lie below others."""
    return next((part for part in _path_of(request).split("/") if part in CLASSES), "other")
