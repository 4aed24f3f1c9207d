"""Addresses: whoever names many keeps nobody else's out."""

from __future__ import annotations

import pytest

from edgeswarm.node.addresses import Addresses


def table(*linked: bytes) -> Addresses:
    return Addresses(lambda node: node in linked)


def dial_of(addresses: Addresses, wanted: str):
    return next(dial for address, dial in addresses._dials.items() if address == wanted)


def test_a_new_hint_takes_the_place_of_the_oldest_unproven_one() -> None:
    addresses = table(b"linked")
    addresses.fix("fixed:1")
    for proven in (b"linked", b"known"):
        addresses.add(f"{proven.decode()}:1")
        addresses.prove(f"{proven.decode()}:1", dial_of(addresses, f"{proven.decode()}:1"), proven)
    addresses.add("busy:1")
    dial_of(addresses, "busy:1").busy = True
    for number in range(2000):
        assert addresses.add(f"x{number}:1")
    assert len(addresses) == 512
    assert list(addresses)[:4] == ["fixed:1", "linked:1", "known:1", "busy:1"]
    assert list(addresses)[-508:] == [f"x{number}:1" for number in range(1492, 2000)]


def test_of_proven_addresses_those_of_linked_nodes_stay_longest() -> None:
    addresses = table(b"0")
    for number in range(512):
        addresses.add(f"x{number}:1")
        addresses.prove(f"x{number}:1", dial_of(addresses, f"x{number}:1"), b"%d" % number)
    assert addresses.add("new:1")
    assert list(addresses)[:2] == ["x0:1", "x2:1"]


def test_configured_addresses_leave_no_room() -> None:
    addresses = table()
    for number in range(512):
        addresses.fix(f"x{number}:1")
    assert not addresses.add("new:1")
    assert "new:1" not in addresses


def test_what_beacons_name_for_a_node_replaces_what_they_named_before() -> None:
    addresses = table()
    addresses.add("old:1", named=b"one")
    addresses.add("other:1", named=b"two")
    addresses.add("hint:1")
    addresses.add("new:1", named=b"one")
    assert list(addresses) == ["other:1", "hint:1", "new:1"]


@pytest.mark.parametrize("state", ["busy", "peer", "fixed"])
def test_an_address_that_is_more_than_a_hint_is_not_replaced(state: str) -> None:
    addresses = table()
    addresses.add("old:1", named=b"one")
    setattr(dial_of(addresses, "old:1"), state, b"x" if state == "peer" else True)
    addresses.add("new:1", named=b"one")
    assert list(addresses) == ["old:1", "new:1"]


@pytest.mark.parametrize(("linked", "stays"), [((b"node",), "a:1"), ((), "b:1")])
def test_a_node_takes_one_proven_address(linked: tuple[bytes, ...], stays: str) -> None:
    addresses = table(*linked)
    for address in ("a:1", "b:1"):
        addresses.add(address)
        addresses.prove(address, dial_of(addresses, address), b"node")
    assert list(addresses) == [stays]
    assert addresses.is_proven(stays, b"node")
    assert not addresses.is_proven(stays, b"other")
