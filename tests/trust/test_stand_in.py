"""What was verified before, and when it may speak for a newest role that is not to be had."""

from __future__ import annotations

import pytest

from edgeswarm.errors import LocalProtocolError, ObjectMissingError
from edgeswarm.trust.client import TrustClient, Want, drive, grace

from .world import ALL, DAY, NOW, Node, World, key, ring

NEW_KEYS = [key("ruff c")]


def withheld(world: World) -> dict[str, bytes]:
    """Return the origin without the newest role of the product."""
    newest = max(name for name in world.origin if name.endswith(".ruff.json"))
    return {name: data for name, data in world.origin.items() if name != newest}


def refreshed(node: Node, origin: dict[str, bytes], days: float = 0, grace_days: float = 0) -> TrustClient:
    """Return a client that has everything but the newest role of the product."""
    client = node.open(NOW + days * DAY, grace(grace_days))

    def answer(want: Want) -> bytes | None:
        return origin.get(want.name)

    drive(client.refresh(), answer)
    with pytest.raises(ObjectMissingError, match=r"\d\.ruff\.json"):
        drive(client.product("ruff"), answer)
    return client


def test_what_was_verified_before_speaks_and_is_kept(world: World, node: Node) -> None:
    world.release("2.0")
    world.publish()
    client = refreshed(node, withheld(world))
    assert client.stand_in("ruff")
    target = client.target("ruff/channels/stable")
    assert target is not None
    assert target.custom == {"v": "1.0", "n": 1}
    outcome = client.outcome()
    assert outcome.timestamp_version == 2
    assert outcome.obsolete == ("1.snapshot.json",)
    node.files.update(outcome.changed)
    del node.files["1.snapshot.json"]
    assert refreshed(node, {}).stand_in("ruff"), "after a restart without a network, too"
    assert node.refresh(world.origin).obsolete == ("1.ruff.json",)
    assert node.catalogue.channel("ruff", "stable").version == "2.0"


def test_without_a_saved_role_nothing_speaks(world: World) -> None:
    assert not refreshed(Node(world.root1), withheld(world)).stand_in("ruff")


def test_a_saved_role_is_not_obsolete_only_while_it_stands_in(world: World, node: Node) -> None:
    world.release("2.0")
    world.publish()
    assert refreshed(node, withheld(world)).outcome().obsolete == ("1.ruff.json", "1.snapshot.json")


def test_keys_that_were_revoked_do_not_speak_any_more(world: World, node: Node) -> None:
    world.repository.delegate("ruff", ring("ruff c"))
    world.release("2.0")
    world.publish(keys=[*ALL, *NEW_KEYS])
    client = refreshed(node, withheld(world))
    assert not client.stand_in("ruff")
    assert "1.ruff.json" in client.outcome().obsolete


@pytest.mark.parametrize(("days", "grace_days", "speaks"), [(99, 0, True), (101, 0, False), (101, 5, True)])
def test_a_role_that_has_expired_does_not_speak(world: World, days: int, grace_days: int, speaks: bool) -> None:
    world.publish(targets=100 * DAY)
    world.release("2.0")
    world.publish(targets=100 * DAY)
    node = Node(world.root1)
    node.refresh(world.origin)
    world.release("3.0")
    world.publish(NOW + 90 * DAY)
    assert refreshed(node, withheld(world), days, grace_days).stand_in("ruff") is speaks


@pytest.mark.parametrize("damage", ["signature", "number", "cut"])
def test_a_damaged_role_does_not_speak(world: World, node: Node, damage: str) -> None:
    data = node.files["1.ruff.json"]
    if damage == "number":
        node.files["7.ruff.json"] = node.files.pop("1.ruff.json")
        for version in range(2, 10):
            world.release(f"{version}.0")
            world.publish()
    else:
        node.files["1.ruff.json"] = data.replace(b'"sig":"', b'"sig":"00') if damage == "signature" else data[:-7]
        world.release("2.0")
        world.publish()
    assert not refreshed(node, withheld(world)).stand_in("ruff")


def test_a_role_that_is_not_older_does_not_speak(world: World, node: Node) -> None:
    """Versions count from the start again after a rotation, and the named one itself is judged by its hash."""
    client = node.open()
    drive(client.refresh(), lambda want: world.origin.get(want.name))
    client._flow.trusted.snapshot.meta["ruff.json"].version = 1
    assert client._flow.stand_in("ruff", "targets") is None


def test_not_before_the_refresh(node: Node) -> None:
    with pytest.raises(LocalProtocolError):
        node.open().stand_in("ruff")
