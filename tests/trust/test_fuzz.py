"""Whatever a source answers: a documented error, or verified metadata; and nothing verified is ever lost or invented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata

from edgeswarm.errors import ObjectMissingError, TrustError
from edgeswarm.trust.client import drive
from edgeswarm.trust.floor import VersionFloor

from .world import NOW, ONLINE, PRODUCT, TARGETS, Node, World

WORLD = World()
HONEST = dict(WORLD.origin)
NAMES = sorted(HONEST)
NODE = Node(WORLD.root1)
NODE.refresh(HONEST)
SAVED = dict(NODE.files)
WORLD.release("2.0")
WORLD.publish()
NEWER = dict(WORLD.origin)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def check(origin: dict[str, bytes]) -> None:
    for saved in ({}, SAVED):
        node = Node(WORLD.root1)
        node.files = dict(saved)
        try:
            outcome = node.refresh(origin)
        except (TrustError, ObjectMissingError):
            continue
        assert outcome.timestamp_version in {1, 2}
        assert node.catalogue.channel("ruff", "stable").version == {1: "1.0", 2: "2.0"}[outcome.timestamp_version]


@pytest.mark.slow
@given(st.sampled_from(sorted(NEWER)), st.binary(max_size=300))
def test_junk(name: str, data: bytes) -> None:
    check(NEWER | {name: data})


@pytest.mark.slow
@given(st.sampled_from(sorted(NEWER)), st.integers(0, 5000), st.binary(min_size=1, max_size=4))
def test_changed_bytes(name: str, at: int, data: bytes) -> None:
    good = NEWER[name]
    at %= len(good)
    check(NEWER | {name: good[:at] + data + good[at + len(data) :]})


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(sorted(NEWER)), st.sampled_from(sorted(NEWER)), max_size=4))
def test_swapped_files(swaps: dict[str, str]) -> None:
    check(NEWER | {name: NEWER[other] for name, other in swaps.items()})


def replaced(node: Any, at: int, value: object) -> bool:
    """Put `value` in the place of the at-th node of a JSON tree; return whether there was one."""
    places = []

    def walk(inner: Any) -> None:
        items = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        for index, child in items:
            places.append((inner, index))
            walk(child)

    walk(node)
    parent, index = places[at % len(places)]
    parent[index] = value
    return True


@pytest.mark.slow
@settings(max_examples=150)
@given(st.sampled_from(sorted(NEWER)), st.integers(0, 200), values)
def test_replaced_values(name: str, at: int, value: object) -> None:
    tree = json.loads(NEWER[name])
    replaced(tree, at, value)
    check(NEWER | {name: json.dumps(tree).encode()})


@pytest.mark.slow
@settings(max_examples=150)
@given(st.sampled_from(["timestamp.json", "2.snapshot.json", "1.targets.json", "2.ruff.json"]), st.integers(0, 200), values)
def test_replaced_values_signed_by_a_thief(name: str, at: int, value: object) -> None:
    """Also with right signatures nothing but a documented error comes out."""
    tree = json.loads(NEWER[name])
    replaced(tree["signed"], at, value)
    try:
        metadata: Metadata[Any] = Metadata.from_dict(tree)
        metadata.signatures.clear()
        for key in [*ONLINE, *TARGETS, *PRODUCT]:
            metadata.sign(key.signer, append=True)
        data = metadata.to_bytes()
    except Exception:  # python-tuf cannot even write it
        return
    node = Node(WORLD.root1)
    try:
        node.refresh(NEWER | {name: data})
        node.catalogue.releases("ruff")
        node.catalogue.channel("ruff", "stable")
    except (TrustError, ObjectMissingError):
        return


def test_a_version_that_is_no_number_is_refused() -> None:
    """`true` passes for 1 in Python."""
    name = next(name for name in NEWER if "timestamp" in name)
    tree = json.loads(NEWER[name])
    tree["signed"]["version"] = True
    metadata: Metadata[Any] = Metadata.from_dict(tree)
    metadata.signatures.clear()
    for key in ONLINE:
        metadata.sign(key.signer, append=True)
    with pytest.raises(TrustError, match="no whole number"):
        Node(WORLD.root1).refresh(NEWER | {name: metadata.to_bytes()})


@given(st.sampled_from(sorted(SAVED)), st.binary(max_size=60))
def test_junk_in_a_saved_file_is_loud_or_healed(name: str, data: bytes) -> None:
    node = Node(WORLD.root1)
    node.files = SAVED | {name: data}
    client = node.open(NOW)
    steps = client.refresh()
    if name in {"timestamp.json", "1.snapshot.json"}:
        with pytest.raises(TrustError, match="damaged"):
            drive(steps, node.answers(NEWER))
        node.floor = VersionFloor(1, 1, 1)
        outcome = node.refresh(NEWER)
        assert outcome.damaged == (name,)
        assert outcome.timestamp_version == 2
    else:
        outcome = drive(steps, node.answers(NEWER))
        assert outcome.timestamp_version == 2
        assert outcome.changed.get(name, HONEST[name]) == HONEST[name]


def test_deeply_nested_json_is_refused() -> None:
    for depth in (900, 100_000):
        with pytest.raises(TrustError):
            Node(WORLD.root1).refresh(NEWER | {"2.ruff.json": b"[" * depth + b"]" * depth})
