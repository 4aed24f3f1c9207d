"""Whole sites of machines in virtual time: everything arrives, each byte crosses an uplink once, uploads are shared."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from .simulation import Site, node_id

CHUNKS = 256


def site(uplinks: int, devices: int, *, chunks: int = CHUNKS, seed: int = 1, chunk_seconds: float = 0.2) -> Site:
    made = Site(chunks, seed)
    for number in range(uplinks):
        made.add(f"gateway{number}", uplink=chunk_seconds)
    for number in range(devices):
        made.add(f"device{number}")
    made.link_all()
    return made


def repeated(counts: Counter[int]) -> int:
    return sum(count - 1 for count in counts.values())


@pytest.mark.slow
def test_one_gateway_and_many_devices() -> None:
    made = site(1, 10)
    made.run()
    gateway = made.nodes[node_id("gateway0")]
    assert made.complete
    assert made.origin_chunks() == Counter(range(CHUNKS))
    assert made.now < 1.05 * CHUNKS * 0.2 + 2
    assert sum(gateway.sent.values()) < 2 * CHUNKS
    assert all(repeated(node.received) == 0 for node in made.nodes.values())


@pytest.mark.slow
def test_a_seeder_that_has_everything_sends_each_chunk_about_once() -> None:
    made = Site(200)
    made.add("seeder", here=range(200))
    for number in range(6):
        made.add(f"device{number}")
    made.link_all()
    made.run()
    assert made.complete
    assert sum(made.nodes[node_id("seeder")].sent.values()) < 2.5 * 200


@pytest.mark.slow
@pytest.mark.parametrize("uplinks", [2, 4])
def test_several_uplinks_share_the_work(uplinks: int) -> None:
    made = site(uplinks, 4)
    made.run()
    assert made.complete
    assert repeated(made.origin_chunks()) == 0
    shares = [sum(node.from_origin.values()) for node in made.nodes.values() if node.chunk_seconds]
    assert max(shares) < CHUNKS
    assert made.now < 0.95 * CHUNKS * 0.2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_dying_nodes(seed: int) -> None:
    made = site(2, 8, seed=seed)
    dice = Random(seed)
    victims = [made.nodes[node_id("gateway0")], *(made.nodes[node_id(f"device{n}")] for n in dice.sample(range(8), 4))]
    for victim in victims:
        made.at(dice.uniform(0.5, 20.0), lambda victim=victim: made.kill(victim))
    made.run()
    assert made.complete
    # What was on its way at the death, and what had come and was not passed on yet.
    assert repeated(made.origin_chunks()) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_flapping_uplinks(seed: int) -> None:
    made = site(2, 4, seed=seed)
    dice = Random(seed)
    for number in range(2):
        node = made.nodes[node_id(f"gateway{number}")]
        for _ in range(15):
            start = dice.uniform(0, 40)
            made.at(start, lambda node=node: made.set_uplink(node, False))
            made.at(start + dice.uniform(0.1, 2), lambda node=node: made.set_uplink(node, True))
    made.run()
    assert made.complete
    assert repeated(made.origin_chunks()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_breaking_links(seed: int) -> None:
    made = site(1, 6, seed=seed)
    dice = Random(seed)
    nodes = list(made.nodes.values())
    for _ in range(60):
        one, other = dice.sample(nodes, 2)
        start = dice.uniform(0, 50)
        made.at(start, lambda one=one, other=other: made.cut(one, other))
        made.at(start + 1, lambda one=one, other=other: other.id in one.links or made.link(one, other))
    made.run()
    assert made.complete
    assert repeated(made.origin_chunks()) == 0
    assert sum(repeated(node.received) for node in nodes) <= 0.02 * CHUNKS * 6


def test_a_chain_passes_everything_on() -> None:
    made = Site(64)
    nodes = [made.add("gateway", uplink=0.05), *(made.add(f"device{number}") for number in range(5))]
    for one, other in pairwise(nodes):
        made.link(one, other)
    made.run()
    assert made.complete
    assert repeated(made.origin_chunks()) == 0
    assert made.now < 64 * 0.05 + 5


@pytest.mark.slow
def test_a_late_node_gets_everything_from_the_others() -> None:
    made = site(1, 3)
    made.run()

    late = made.add("late", uplink=0.2)
    for node in list(made.nodes.values()):
        if node is not late:
            made.link(late, node)
    made.run()
    assert made.complete
    assert not late.from_origin


@pytest.mark.slow
def test_a_node_that_answers_nothing_does_not_stop_the_others() -> None:
    made = Site(CHUNKS)
    mute = made.add("mute", here=range(CHUNKS))
    mute.mute = True
    made.add("seeder", here=range(CHUNKS))
    for number in range(3):
        made.add(f"device{number}")
    made.link_all()
    made.run(200)
    assert made.complete


def trace(seed: int) -> list[str]:
    made = Site(100, seed)
    for number in range(2):
        made.add(f"gateway{number}", uplink=0.01)
    made.add("seeder", here=range(0, 100, 2))
    for number in range(3):
        made.add(f"device{number}", window_chunks=4)
    made.link_all()
    made.at(0.5, lambda: made.kill(made.nodes[node_id("gateway1")]))
    made.run()
    assert made.complete
    return made.trace


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trace() -> None:
    assert trace(5) == trace(5)
    assert trace(5) != trace(6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trace_in_another_process() -> None:
    program = "from exchange.test_site import trace; from blake3 import blake3; print(blake3(repr(trace(5)).encode()).hexdigest())"
    folder = __file__.rpartition("/exchange/")[0]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program], cwd=folder, env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{folder}/.."}, check=True,
            capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert outputs[0] == outputs[1] != ""
