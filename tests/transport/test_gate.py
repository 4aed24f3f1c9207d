from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.transport.gate import HandshakeGate


class Handshake:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def enter(stack: ExitStack, gate: HandshakeGate, *hosts: str) -> list[Handshake]:
    handshakes = [Handshake() for _ in hosts]
    for host, handshake in zip(hosts, handshakes, strict=True):
        stack.enter_context(gate.slot(host, handshake))
    return handshakes


def test_oldest_of_the_same_address_goes_first() -> None:
    gate = HandshakeGate(10, 2)
    with ExitStack() as stack:
        handshakes = enter(stack, gate, "a", "b", "a", "a")
        assert [handshake.cancelled for handshake in handshakes] == [True, False, False, False]
        assert len(gate) == 3


def test_busiest_address_makes_room_for_a_new_one() -> None:
    gate = HandshakeGate(4, 3)
    with ExitStack() as stack:
        handshakes = enter(stack, gate, "honest", "flood", "flood", "flood", "new")
        assert [handshake.cancelled for handshake in handshakes] == [False, True, False, False, False]


def test_places_are_given_back() -> None:
    gate = HandshakeGate(1, 1)
    for _ in range(3):
        with ExitStack() as stack:
            assert not enter(stack, gate, "a")[0].cancelled
    assert (len(gate), gate.evicted) == (0, 0)


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.integers(1, 6), st.integers(1, 4))
def test_bounds_hold_and_the_newest_is_never_pushed_out(hosts: list[str], total: int, per_host: int) -> None:
    gate = HandshakeGate(total, per_host)
    with ExitStack() as stack:
        waiting: list[tuple[str, Handshake]] = []
        for host in hosts:
            waiting.append((host, enter(stack, gate, host)[0]))
            alive = [name for name, handshake in waiting if not handshake.cancelled]
            assert not waiting[-1][1].cancelled
            assert len(alive) == len(gate) <= total
            assert alive.count(host) <= per_host
        assert gate.evicted == len(waiting) - len(gate)
    assert len(gate) == 0
