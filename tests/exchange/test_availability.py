"""Availability against a model made of plain sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.exchange.availability import Availability

from .simulation import node_id

CHUNKS, SPAN = 6, 4
PEERS = [node_id(str(i)) for i in range(3)]
index = st.integers(-2, CHUNKS + 2)
peer = st.sampled_from(PEERS)
steps = st.one_of(
    st.tuples(st.just("join"), peer),
    st.tuples(st.just("leave"), peer),
    st.tuples(st.just("has"), peer, st.lists(index, max_size=6)),
    st.tuples(st.just("dropped"), peer, index),
    st.tuples(st.just("here"), st.lists(st.integers(0, CHUNKS - 1), max_size=3)),
)


def apply(step: tuple, real: Availability, has: dict[bytes, set[int]], here: set[int]) -> None:
    match step:
        case ("join", peer):
            real.add_peer(peer)
            has.setdefault(peer, set())
        case ("leave", peer):
            real.remove_peer(peer)
            has.pop(peer, None)
        case ("has", peer, chunks) if peer in has:
            real.peer_has(peer, chunks)
            has[peer] |= {chunk for chunk in chunks if 0 <= chunk < CHUNKS}
        case ("dropped", peer, chunk):
            real.peer_dropped(peer, chunk)
            has.get(peer, set()).discard(chunk)
        case ("here", chunks):
            fresh = real.add_here(chunks)
            assert len(fresh) == len(set(fresh))
            assert set(fresh) == set(chunks) - here
            here |= set(chunks)


@given(st.sets(st.integers(0, CHUNKS - 1)), st.lists(steps, max_size=40))
def test_it_counts_as_the_model_does(start: set[int], script: list[tuple]) -> None:
    real, has, here = Availability(CHUNKS, sorted(start), SPAN), {}, set(start)
    for step in script:
        apply(step, real, has, here)
        assert real.missing == CHUNKS - len(here)
        assert real.here() == sorted(here)
        assert set(real.peers()) == set(has)
        lone = [chunk for chunk in range(CHUNKS) if chunk not in here and not any(chunk in held for held in has.values())]
        assert real.lone_spans() == sorted({chunk // SPAN for chunk in lone})
        assert [chunk for span in range(3) for chunk in real.lone_chunks(span)] == lone
        for chunk in range(CHUNKS):
            assert real.holders(chunk) == sum(chunk in chunks for chunks in has.values())
        for known in PEERS:
            assert real.held_by(known) == len(has.get(known, ()))
            assert sorted(real.offers(known)) == sorted(has.get(known, set()) - here)
            assert [real.has(known, chunk) for chunk in range(CHUNKS)] == [c in has.get(known, ()) for c in range(CHUNKS)]


@given(st.sets(st.integers(0, CHUNKS - 1)), st.sets(st.integers(0, CHUNKS - 1)), st.booleans())
def test_changes_are_what_differs_from_what_is_known(known: set[int], said: set[int], joined: bool) -> None:
    real = Availability(CHUNKS, [], SPAN)
    if joined:
        real.add_peer(PEERS[0])
        real.peer_has(PEERS[0], sorted(known))
    before = known if joined else set()
    flags = bytes(chunk in said for chunk in range(CHUNKS))
    assert real.changes(PEERS[0], flags) == (sorted(said - before), sorted(before - said))


def test_offers_can_be_looked_at_while_others_change() -> None:
    real = Availability(3, [])
    real.add_peer(PEERS[0])
    real.peer_has(PEERS[0], [2, 0])
    assert sorted(real.offers(PEERS[0])) == [0, 2]
    assert list(real.offers(PEERS[1])) == []


def test_no_chunks() -> None:
    real = Availability(0, [])
    real.add_peer(PEERS[0])
    real.peer_has(PEERS[0], [0, 1])
    assert real.missing == 0
    assert real.held_by(PEERS[0]) == 0
