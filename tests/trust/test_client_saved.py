"""The client and the files it saved before: lying clocks, damage, lost keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.metadata import Metadata, Timestamp

from edgeswarm.errors import ExpiredError, TrustError
from edgeswarm.trust.client import TrustClient, drive, grace
from edgeswarm.trust.clock import TimeFloor
from edgeswarm.trust.floor import VersionFloor
from edgeswarm.trust.metadata import ISSUED_FIELD

from .world import ALL, DAY, NOW, ONLINE, Node, World, key

EPOCH = datetime(1970, 1, 2, tzinfo=UTC)
FAR = datetime(2040, 1, 1, tzinfo=UTC)
ONLINE_B = [key("online b")]


@pytest.mark.parametrize("name", ["1.root.json", "timestamp.json", "1.snapshot.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_saved_file_without_a_floor_is_loud(world: World, node: Node, name: str, damage: str) -> None:
    node.files[name] = damaged(node.files[name], damage)
    node.bootstrap = None
    node.floor = VersionFloor()
    with pytest.raises(TrustError, match=name):
        node.refresh(world.origin)


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_saved_file_that_a_floor_covers_is_replaced(world: World, node: Node, name: str, damage: str) -> None:
    old = dict(world.origin)
    node.files[name] = damaged(node.files[name], damage)
    outcome = node.refresh(world.origin)
    assert outcome.damaged == (name,)
    assert outcome.changed == {name: old[name]}
    world.publish()
    node.refresh(world.origin)
    newest = max(name for name in node.files if name.endswith(".snapshot.json"))
    for file in ("timestamp.json", newest):
        node.files[file] = damaged(node.files[file], damage)
    with pytest.raises(TrustError, match="older"):
        node.refresh(old)


def damaged(data: bytes, how: str) -> bytes:
    flipped = bytearray(data)
    flipped[flipped.index(b'"version":') + 10] ^= 1
    return {"flip": bytes(flipped), "cut": data[:-7], "empty": b""}[how]


def test_a_damaged_saved_later_root_is_loud(world: World, node: Node) -> None:
    world.repository.rotate_root(world.draft_root(previous=world.root1))
    world.publish()
    node.refresh(world.origin)
    node.files["2.root.json"] = node.files["2.root.json"][:-1]
    with pytest.raises(TrustError, match="saved here: damaged"):
        node.refresh(world.origin)


@pytest.mark.parametrize("name", ["1.root.json", "1.snapshot.json"])
def test_a_saved_file_under_another_version_is_damage(world: World, node: Node, name: str) -> None:
    other = "9" + name[1:]
    node.files[other] = node.files.pop(name)
    node.bootstrap = None
    with pytest.raises(TrustError, match=f"{other} is damaged"):
        node.refresh(world.origin)


def test_a_damaged_saved_targets_file_is_replaced_and_reported(world: World, node: Node) -> None:
    for name in ("1.targets.json", "1.ruff.json"):
        node.files[name] = node.files[name][:-1]
    outcome = node.refresh(world.origin)
    assert outcome.damaged == ("1.targets.json", "1.ruff.json")
    assert set(outcome.changed) == set(outcome.damaged)
    assert node.refresh(world.origin).damaged == ()


def test_foreign_files_in_the_folder_are_ignored(world: World, node: Node) -> None:
    node.files |= {"notes.txt": b"x", "0.root.json": b"x", "7.gone.json": b"x", "timestamp.json.tmp": b"x"}
    assert node.refresh(world.origin).obsolete == ("7.gone.json",)


def test_a_saved_expired_timestamp_still_guards_against_rollback(world: World, node: Node) -> None:
    old = dict(world.origin)
    world.publish()
    node.refresh(world.origin)
    node.floor = VersionFloor()
    with pytest.raises(TrustError, match="goes back"):
        node.refresh(old, NOW + 31 * DAY)
    with pytest.raises(ExpiredError, match=r"timestamp\.json expired"):
        node.refresh({}, NOW + 31 * DAY)


def test_a_rotation_of_the_online_keys_recovers_from_a_thief(world: World, node: Node) -> None:
    """TUF specification 5.3.11: the thief's version 2^53 must not block the fleet for ever."""
    timestamp = Metadata[Timestamp].from_bytes(world.origin["timestamp.json"])
    timestamp.signed.version = 2**53
    timestamp.sign(ONLINE[0].signer)
    node.refresh(world.origin | {"timestamp.json": timestamp.to_bytes()})
    with pytest.raises(TrustError):
        node.refresh(world.origin)
    world.repository.rotate_root(world.draft_root(previous=world.root1, online="online b"))
    files = world.publish(keys=[*ALL, *ONLINE_B])
    assert "2.snapshot.json" in files
    assert node.refresh(world.origin).timestamp_version == 2
    assert node.refresh(world.origin).changed == {}


def test_a_rotation_is_recognised_after_a_restart_in_its_middle(world: World, node: Node) -> None:
    world.repository.rotate_root(world.draft_root(previous=world.root1, online="online b"))
    world.publish(keys=[*ALL, *ONLINE_B])
    node.files["2.root.json"] = world.origin["2.root.json"]
    assert node.refresh(world.origin).timestamp_version == 2


def test_a_bootstrap_newer_than_the_saved_roots_is_followed(world: World, node: Node) -> None:
    world.repository.rotate_root(world.draft_root(previous=world.root1, online="online b"))
    world.publish(keys=[*ALL, *ONLINE_B])
    node.bootstrap = world.origin["2.root.json"]
    outcome = node.refresh(world.origin)
    assert "2.root.json" in outcome.changed
    assert outcome.floor.root == 2


def test_an_older_bootstrap_without_saved_roots_cannot_undo_a_rotation(world: World, node: Node) -> None:
    world.repository.rotate_root(world.draft_root(previous=world.root1))
    world.publish()
    node.refresh(world.origin)
    node.files.clear()
    del world.origin["2.root.json"]
    with pytest.raises(TrustError, match="root v1 is older than v2"):
        node.refresh(world.origin)


def test_a_clock_in_1970_is_corrected_by_the_signed_time(world: World) -> None:
    node = Node(world.root1)
    outcome = node.refresh(world.origin, EPOCH)
    assert outcome.issued == NOW
    floor = TimeFloor().raised(outcome.issued)
    assert floor.now(EPOCH) == NOW
    with pytest.raises(ExpiredError):
        node.refresh(world.origin, floor.raised(NOW + 31 * DAY).now(EPOCH))


def test_a_clock_in_1970_does_not_hide_that_the_root_has_expired(world: World, node: Node) -> None:
    late = NOW + 800 * DAY
    for role in ("targets", "ruff"):
        world.repository._roles.mark(role)
    world.publish(late)
    with pytest.raises(ExpiredError, match=r"1\.root\.json expired"):
        node.refresh(world.origin, EPOCH)
    assert node.refresh(world.origin, EPOCH, grace(100)).stale


def test_a_clock_in_2040_refuses_but_the_same_node_works_once_it_is_set(world: World, node: Node) -> None:
    with pytest.raises(ExpiredError):
        node.refresh(world.origin, FAR)
    assert not node.refresh(world.origin, NOW).stale


def test_a_thief_of_the_online_key_cannot_move_time_beyond_the_root(world: World, node: Node) -> None:
    timestamp = Metadata[Timestamp].from_bytes(world.origin["timestamp.json"])
    timestamp.signed.version = 2
    timestamp.signed.expires = FAR + DAY
    timestamp.signed.unrecognized_fields[ISSUED_FIELD] = FAR.strftime("%Y-%m-%dT%H:%M:%SZ")
    timestamp.sign(ONLINE[0].signer)
    client = node.open()
    with pytest.raises(ExpiredError, match=r"1\.root\.json"):
        drive(client.refresh(), node.answers(world.origin | {"timestamp.json": timestamp.to_bytes()}))
    outcome = node.refresh(world.origin | {"timestamp.json": timestamp.to_bytes()}, NOW, grace(1000))
    assert outcome.issued == NOW + 730 * DAY


@pytest.mark.parametrize("issued", [7, "yesterday", "2027-13-01T00:00:00Z", "2027-06-01T00:00:00Z", None, ["x"]])
def test_a_malformed_signed_time_is_refused(world: World, node: Node, issued: object) -> None:
    timestamp = Metadata[Timestamp].from_bytes(world.origin["timestamp.json"])
    timestamp.signed.version = 2
    timestamp.signed.unrecognized_fields[ISSUED_FIELD] = issued
    timestamp.sign(ONLINE[0].signer)
    origin = world.origin | {"timestamp.json": timestamp.to_bytes()}
    if issued is None:
        assert node.refresh(origin).issued is None
        return
    with pytest.raises(TrustError):
        node.refresh(origin)


def test_a_grace_longer_than_history_is_fine(world: World) -> None:
    client = TrustClient({}, now=EPOCH, bootstrap=world.root1, expiry=grace(365 * 5000))
    assert drive(client.refresh(), lambda want: world.origin.get(want.name)).timestamp_version == 1


def test_times_of_other_zones_are_understood(world: World, node: Node) -> None:
    from datetime import timezone

    assert not node.refresh(world.origin, NOW.astimezone(timezone(timedelta(hours=9)))).stale
