"""Rendezvous hashing: the same everywhere, and fair."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edgeswarm.exchange import rank_of, ranking

from .simulation import node_id

GOLDEN = (1, 3, 0, 2)
nodes = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=12, unique=True)


@given(nodes, st.binary(max_size=40), st.randoms(use_true_random=False))
def test_all_nodes_agree_in_whatever_order_they_know_each_other(ids: list[bytes], key: bytes, dice) -> None:
    shuffled = list(ids)
    dice.shuffle(shuffled)
    assert ranking(key, ids) == ranking(key, shuffled)
    assert [rank_of(node, key, ids) for node in ranking(key, shuffled)] == list(range(len(ids)))


@given(nodes, st.binary(max_size=40))
def test_a_node_that_goes_moves_only_its_own_duties(ids: list[bytes], key: bytes) -> None:
    order = ranking(key, ids)
    gone = order[-1]
    assert ranking(key, [node for node in ids if node != gone]) == order[:-1]


def test_duties_are_balanced() -> None:
    ids = [node_id(str(i)) for i in range(5)]
    first = Counter(ranking(span.to_bytes(4, "big"), ids)[0] for span in range(1000))
    assert len(first) == 5
    assert max(first.values()) < 1.3 * 200
    assert min(first.values()) > 0.7 * 200


def test_ranks_are_frozen() -> None:
    """Nodes of different versions must agree: this order may never change."""
    order = ranking(b"key", [node_id(str(i)) for i in range(4)])
    assert [node_id(str(i)) for i in GOLDEN] == order
