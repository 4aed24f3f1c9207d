from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgeswarm.errors import LocalProtocolError, RemoteProtocolError
from edgeswarm.wire import (
    MAX_PINGS,
    MAX_REQUESTS,
    MAX_WANTED_CHUNKS,
    MESSAGES,
    NEED_DATA,
    Bye,
    Cancel,
    ChunkData,
    Claim,
    Closed,
    Drop,
    Event,
    GetObject,
    Have,
    Hello,
    Incompatible,
    Message,
    Miss,
    News,
    ObjectData,
    Partial,
    Peers,
    Ping,
    Pong,
    Release,
    Session,
    State,
    Want,
    common_version,
    encode_message,
)
from edgeswarm.wire.session import TRANSITIONS

M = bytes(range(32))


def hello(node: str = "n", **values: Any) -> Hello:
    return Hello(node=node, role="device", uplink=False, timestamp_version=0, **values)


def events(session: Session) -> list[Event]:
    got: list[Event] = []
    while (event := session.next_event()) is not NEED_DATA:
        got.append(event)
        if isinstance(event, Closed):
            break
    return got


def pair() -> tuple[Session, Session]:
    """Return client and server, both past HELLO."""
    client, server = Session(hello("client"), is_client=True), Session(hello("server"), is_client=False)
    server.receive_data(client.start())
    client.receive_data(server.start())
    assert events(server) == [hello("client")]
    assert events(client) == [hello("server")]
    return client, server


def pass_on(sender: Session, receiver: Session, *messages: Message) -> list[Event]:
    for message in messages:
        receiver.receive_data(sender.send(message))
    return events(receiver)


def want(request: int, *indices: int) -> Want:
    return Want.ask(request=request, manifest=M, indices=list(indices))


def get(request: int, limit: int = 10) -> GetObject:
    return GetObject(request=request, kind="metadata", name="timestamp.json", limit=limit)


SAMPLES: dict[type[Message], Message] = {
    type(sample): sample
    for sample in (
        hello(), Bye(code="idle"), Ping(nonce=1), Pong(nonce=1), News(timestamp_version=1, uplink=True), get(1),
        ObjectData(request=2, last=True), Have(manifest=M, chunks=1, form=1, data=b"\0\1", complete=True),
        Drop(manifest=M, index=0), want(3, 0), ChunkData(request=4, index=0, data=b"x"), Miss(request=4, index=1),
        Cancel(request=6), Claim(manifest=M, span=0, sequence=1), Release(manifest=M, span=0, sequence=2, reason="done"),
        Peers(addresses=("192.0.2.7:4440",)), Partial(pack=M, offset=0, at=0, data=b"x"),
    )
}  # fmt: skip


def test_hello_both_ways() -> None:
    client, server = pair()
    assert client.protocol == server.protocol == 1
    assert client.peer == hello("server")
    assert (client.local_state, client.remote_state) == (State.READY, State.READY)


def test_every_message_passes_in_ready_and_what_answers_needs_a_question() -> None:
    client, server = pair()
    server.send(Ping(nonce=1))
    server.send(get(2))
    server.send(want(4, 0, 1))
    server.send(get(6))
    client.receive_data(b"".join(map(encode_message, [Ping(nonce=1), get(2), want(4, 0, 1), get(6)])))
    assert len(events(client)) == 4
    for kind, sample in SAMPLES.items():
        if kind not in (Hello, Bye):
            assert pass_on(client, server, sample) == [sample]
    assert server.asked.requests == server.asked.chunks == 0
    assert server.owed.requests == 2


@pytest.mark.parametrize(("state", "kind"), list(product(State, MESSAGES)))
def test_transition_table(state: State, kind: type[Message]) -> None:
    """The same table judges what is sent and what comes: what one side may not say, the other does not take."""
    allowed = (state, kind) in TRANSITIONS
    sender, receiver = Session(hello(), is_client=True), Session(hello("r"), is_client=False)
    if state is not State.OPENING:
        sender, receiver = pair()
        receiver.send(get(2))
        receiver.send(want(4, 0, 1))
        receiver.send(get(6))
        receiver.send(Ping(nonce=1))
        sender.receive_data(b"".join(map(encode_message, [Ping(nonce=1), get(2), want(4, 0, 1), get(6)])))
        events(sender)
    if state in (State.CLOSING, State.CLOSED):
        pass_on(sender, receiver, Bye(code="idle"))
    if state is State.CLOSED:
        sender.send(Closed())
    if state is State.ERROR:
        receiver.receive_data(b"\0\0\0\0\0")
        with pytest.raises(RemoteProtocolError):
            receiver.next_event()
        with pytest.raises(RemoteProtocolError, match="before"):
            receiver.next_event()
        return
    if allowed:
        receiver.receive_data(sender.start() if kind is Hello else sender.send(SAMPLES[kind]))
        assert receiver.next_event() == SAMPLES[kind]
        assert sender.local_state is receiver.remote_state is TRANSITIONS[state, kind]
        return
    with pytest.raises(LocalProtocolError):
        sender.send(SAMPLES[kind])
    assert sender.local_state is state
    receiver.receive_data(encode_message(SAMPLES[kind]))
    with pytest.raises(RemoteProtocolError):
        receiver.next_event()
    assert receiver.remote_state is State.ERROR


def test_after_an_error_a_bye_may_still_be_said() -> None:
    client, server = pair()
    server.receive_data(encode_message(Pong(nonce=5)))
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    assert pass_on(server, client, Bye(code="protocol")) == [Bye(code="protocol")]


@pytest.mark.parametrize(
    ("ours", "theirs", "version"),
    [((1, 1), (1, 1), 1), ((3, 2), (2, 1), 2), ((3, 1), (2, 2), 2), ((3, 3), (2, 1), 0), ((1, 1), (9, 2), 0), ((5, 1), (9, 1), 5)],
)
def test_version(ours: tuple[int, int], theirs: tuple[int, int], version: int) -> None:
    one, other = hello(protocol=ours[0], oldest=ours[1]), hello(protocol=theirs[0], oldest=theirs[1])
    assert common_version(one, other) == common_version(other, one) == version


@pytest.mark.parametrize("started", [True, False])
def test_no_common_version(started: bool) -> None:
    new, old = Session(hello(protocol=3, oldest=2), is_client=True), Session(hello("old"), is_client=False)
    if started:
        old.start()
    old.receive_data(new.start())
    event = old.next_event()
    assert isinstance(event, Incompatible)
    assert (event.answer.code, event.hello.protocol) == ("version", 3)
    if not started:
        old.start()
    with pytest.raises(LocalProtocolError, match="common version"):
        old.send(Ping(nonce=1))
    old.send(event.answer)
    old.receive_data(encode_message(Ping(nonce=1)))
    with pytest.raises(RemoteProtocolError, match="no version is common"):
        old.next_event()


def test_nothing_but_bye_is_sent_before_the_peers_hello() -> None:
    session = Session(hello(), is_client=True)
    session.start()
    with pytest.raises(LocalProtocolError, match="peer's HELLO"):
        session.send(Ping(nonce=1))
    session.send(Bye(code="stopping"))


def test_the_hello_sent_is_the_one_that_was_given() -> None:
    with pytest.raises(LocalProtocolError, match="start"):
        Session(hello("a"), is_client=True).send(hello("b"))


def test_an_object_in_parts() -> None:
    client, server = pair()
    request = client.new_request()
    pass_on(client, server, get(request, limit=6))
    parts = [ObjectData(request=request, last=False, data=b"abc"), ObjectData(request=request, last=True, data=b"def")]
    assert pass_on(server, client, *parts) == parts
    assert not client.asked.is_open(request)
    with pytest.raises(LocalProtocolError):
        server.send(ObjectData(request=request, last=True))


def test_an_object_above_its_limit() -> None:
    client, server = pair()
    pass_on(client, server, get(1, limit=5))
    parts = [ObjectData(request=1, last=False, data=b"abc"), ObjectData(request=1, last=True, data=b"def")]
    server.send(parts[0])
    with pytest.raises(LocalProtocolError, match="at most 2 bytes"):
        server.send(parts[1])
    client.receive_data(b"".join(map(encode_message, parts)))
    assert client.next_event() == parts[0]
    with pytest.raises(RemoteProtocolError, match="at most 2 bytes"):
        client.next_event()


@pytest.mark.parametrize(
    "answer",
    [
        ObjectData(request=1, last=True),
        ObjectData(request=3, last=True),
        ChunkData(request=3, index=1, data=b"x"),
        ChunkData(request=5, index=0, data=b"x"),
        ChunkData(request=2, index=0, data=b"x"),
        Miss(request=3, index=1),
        Miss(request=1, index=0),
        Pong(nonce=8),
        Cancel(request=5),
    ],
)
def test_what_nobody_asked_for_is_refused_on_both_sides(answer: Message) -> None:
    client, server = pair()
    pass_on(client, server, want(3, 0, 2), Ping(nonce=7))
    with pytest.raises(LocalProtocolError):
        server.send(answer)
    client.receive_data(encode_message(answer))
    with pytest.raises(RemoteProtocolError):
        client.next_event()


def test_a_chunk_is_answered_once() -> None:
    client, server = pair()
    pass_on(client, server, want(3, 0, 2))
    pass_on(server, client, Miss(request=3, index=2))
    with pytest.raises(LocalProtocolError):
        server.send(ChunkData(request=3, index=2, data=b"x"))
    client.receive_data(encode_message(ChunkData(request=3, index=2, data=b"x")))
    with pytest.raises(RemoteProtocolError):
        client.next_event()


def test_numbers_are_odd_for_the_client_and_even_for_the_server() -> None:
    client, server = pair()
    assert [client.new_request() for _ in range(3)] == [1, 3, 5]
    assert [server.new_request() for _ in range(3)] == [2, 4, 6]
    with pytest.raises(LocalProtocolError, match="odd"):
        client.send(get(2))
    with pytest.raises(LocalProtocolError, match="even"):
        server.send(get(1))
    client.receive_data(encode_message(get(1)))
    with pytest.raises(RemoteProtocolError, match="even"):
        client.next_event()


def test_a_number_in_use_is_refused_and_one_that_ended_is_free() -> None:
    client, server = pair()
    pass_on(client, server, get(1))
    with pytest.raises(LocalProtocolError, match="fresh"):
        client.send(want(1, 0))
    pass_on(server, client, ObjectData(request=1, found=False, last=True))
    assert pass_on(client, server, want(1, 0)) == [want(1, 0)]


def test_numbers_start_again_at_the_end_and_skip_open_ones() -> None:
    client, _ = pair()
    client.send(get(1))
    client.asked._next = 2**32 - 1
    assert [client.new_request(), client.new_request()] == [2**32 - 1, 3]


CAPS: list[tuple[list[Message], Message]] = [
    ([get(2 * n + 1) for n in range(MAX_REQUESTS)], want(9999, 0)),
    ([want(1, *range(MAX_WANTED_CHUNKS - 1))], want(3, 0, 1)),
    ([Ping(nonce=n) for n in range(MAX_PINGS)], Ping(nonce=99)),
    ([Ping(nonce=1)], Ping(nonce=1)),
]


@pytest.mark.parametrize(("asked", "one_more"), CAPS)
def test_caps_hold_on_both_sides(asked: list[Message], one_more: Message) -> None:
    client, server = pair()
    assert pass_on(client, server, *asked) == asked
    with pytest.raises(LocalProtocolError):
        client.send(one_more)
    server.receive_data(encode_message(one_more))
    with pytest.raises(RemoteProtocolError):
        server.next_event()


def test_cancel_is_answered_by_cancel_and_late_chunks_are_welcome() -> None:
    client, server = pair()
    pass_on(client, server, want(1, 0, 1, 2))
    crossing = server.send(ChunkData(request=1, index=0, data=b"x"))
    assert pass_on(client, server, Cancel(request=1)) == [Cancel(request=1)]
    client.receive_data(crossing)
    assert events(client) == [ChunkData(request=1, index=0, data=b"x")]
    assert pass_on(server, client, Cancel(request=1)) == [Cancel(request=1)]
    assert client.asked.requests == client.asked.chunks == server.owed.requests == server.owed.chunks == 0
    with pytest.raises(LocalProtocolError):
        server.send(ChunkData(request=1, index=1, data=b"x"))
    with pytest.raises(LocalProtocolError, match="open request"):
        client.send(Cancel(request=1))


def test_a_cancel_that_crosses_the_last_answer_is_skipped() -> None:
    client, server = pair()
    pass_on(client, server, want(1, 0))
    last = server.send(Miss(request=1, index=0))
    assert pass_on(client, server, Cancel(request=1), Ping(nonce=0)) == [Ping(nonce=0)]
    client.receive_data(last)
    assert events(client) == [Miss(request=1, index=0)]
    with pytest.raises(LocalProtocolError, match="open request"):
        server.send(Cancel(request=1))


def test_the_side_that_owes_may_cancel_by_itself() -> None:
    client, server = pair()
    pass_on(client, server, want(1, 0, 1), get(3))
    assert pass_on(server, client, Cancel(request=1), Cancel(request=3)) == [Cancel(request=1), Cancel(request=3)]
    assert client.asked.requests == client.asked.chunks == 0


def test_bye_ends_what_its_sender_owes_and_nothing_else() -> None:
    client, server = pair()
    pass_on(client, server, want(1, 0), Ping(nonce=3))
    pass_on(server, client, want(2, 5))
    assert pass_on(server, client, Bye(code="stopping")) == [Bye(code="stopping")]
    assert client.asked.requests == client.asked.chunks == server.owed.requests == server.owed.chunks == 0
    chunk = ChunkData(request=2, index=5, data=b"x")
    assert pass_on(client, server, chunk) == [chunk]
    with pytest.raises(LocalProtocolError, match="CLOSING"):
        server.send(Ping(nonce=1))


def test_end_of_stream() -> None:
    client, server = pair()
    pass_on(client, server, want(1, 0))
    server.receive_data(client.send(Bye(code="idle")) + client.send(Closed()))
    server.receive_data(b"")
    assert events(server) == [Bye(code="idle"), Closed(Bye(code="idle"))]
    assert server.next_event() == Closed(Bye(code="idle"))
    assert server.remote_state is client.local_state is State.CLOSED
    with pytest.raises(LocalProtocolError, match="after the end"):
        server.receive_data(b"x")


def test_a_cut_is_no_fault() -> None:
    client, server = pair()
    server.send(want(2, 0))
    server.receive_data(client.send(Ping(nonce=1))[:-1])
    server.receive_data(b"")
    assert events(server) == [Closed(None)]
    assert server.asked.requests == 0


@given(st.binary(max_size=120))
def test_any_bytes_give_events_or_the_documented_error(data: bytes) -> None:
    _, server = pair()
    server.receive_data(data)
    try:
        events(server)
    except RemoteProtocolError:
        assert server.remote_state is State.ERROR


class TwoSessions(RuleBasedStateMachine):
    """Whatever two correct sides do, however their messages cross: neither blames the other, and both agree on what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = pair()
        self.wires: list[list[bytes]] = [[], []]  # from side 0, from side 1

    def say(self, side: int, message: Message) -> None:
        self.wires[side].append(self.sides[side].send(message))

    @rule(side=st.integers(0, 1), indices=st.sets(st.integers(0, 9), min_size=1))
    def ask(self, side: int, indices: set[int]) -> None:
        session = self.sides[side]
        if session.asked.requests < 5:
            self.say(side, want(session.new_request(), *sorted(indices)))

    @rule(side=st.integers(0, 1), pick=st.integers(0, 9), index=st.integers(0, 9), miss=st.booleans())
    def answer(self, side: int, pick: int, index: int, miss: bool) -> None:
        wants = self.sides[side].owed._wants
        request = list(wants)[pick % len(wants)] if wants else 0
        if request and index in wants[request]:
            self.say(side, Miss(request=request, index=index) if miss else ChunkData(request=request, index=index, data=b"x"))

    @rule(side=st.integers(0, 1), pick=st.integers(0, 9), own=st.booleans())
    def cancel(self, side: int, pick: int, own: bool) -> None:
        requests = self.sides[side].asked if own else self.sides[side].owed
        if requests._wants:
            self.say(side, Cancel(request=list(requests._wants)[pick % len(requests._wants)]))

    @rule(side=st.integers(0, 1))
    def deliver(self, side: int) -> None:
        if self.wires[side]:
            self.sides[1 - side].receive_data(self.wires[side].pop(0))
            for event in events(self.sides[1 - side]):
                self.obey(1 - side, event)

    def obey(self, side: int, event: Event) -> None:
        session = self.sides[side]
        if isinstance(event, Cancel) and session.owed.is_open(event.request):
            self.say(side, event)

    @invariant()
    def agree_when_quiet(self) -> None:
        if not any(self.wires):
            one, other = self.sides
            assert one.asked._wants == other.owed._wants
            assert other.asked._wants == one.owed._wants
            assert one.asked.chunks == sum(map(len, one.asked._wants.values()))


TestTwoSessions = pytest.mark.slow(TwoSessions.TestCase)
