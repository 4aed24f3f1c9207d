"""The client against honest and lying sources."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from edgeswarm.errors import ExpiredError, LocalProtocolError, NotPublishedError, ObjectMissingError, TrustError
from edgeswarm.trust.client import MAX_DELEGATIONS, TrustClient, drive, grace
from edgeswarm.trust.keys import SigningKey

from .world import ALL, DAY, NOW, ONLINE, PRODUCT, TARGETS, Node, World, key, release, ring


def forge(origin: dict[str, bytes], name: str, change: Callable[[Any], object], keys: list[SigningKey], save_as: str = "") -> None:
    """Change a file and sign it with `keys`."""
    metadata: Metadata[Targets] = Metadata.from_bytes(origin[name])
    change(metadata.signed)
    metadata.signatures.clear()
    for one in keys:
        metadata.sign(one.signer, append=True)
    origin[save_as or name] = metadata.to_bytes()


def repin(origin: dict[str, bytes], meta: dict[str, MetaFile]) -> None:
    """Publish snapshot and timestamp as a holder of the online key would, pinning `meta`."""
    timestamp: Timestamp = Metadata[Timestamp].from_bytes(origin["timestamp.json"]).signed
    snapshot: Snapshot = Metadata[Snapshot].from_bytes(origin[f"{timestamp.snapshot_meta.version}.snapshot.json"]).signed
    snapshot.version += 1
    snapshot.meta.update(meta)
    timestamp.version += 1
    timestamp.snapshot_meta = MetaFile(snapshot.version)
    for name, payload in ((f"{snapshot.version}.snapshot.json", snapshot), ("timestamp.json", timestamp)):
        metadata: Metadata[Any] = Metadata(payload)
        metadata.sign(ONLINE[0].signer)
        origin[name] = metadata.to_bytes()


def test_a_new_node_wants_everything_in_the_order_of_the_specification(world: World) -> None:
    node = Node(world.root1)
    outcome = node.refresh(world.origin)
    assert node.wanted == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.ruff.json"]
    assert set(outcome.changed) == {"1.root.json", *node.wanted} - {"2.root.json"}
    assert (outcome.stale, outcome.timestamp_version, outcome.issued) == (False, 1, NOW)
    assert (outcome.expires, outcome.expires_first) == (NOW + 30 * DAY, "timestamp.json")
    assert node.catalogue.channel("ruff", "stable").version == "1.0"


def test_what_did_not_change_is_not_wanted_again(world: World, node: Node) -> None:
    outcome = node.refresh(world.origin)
    assert node.wanted == ["2.root.json", "timestamp.json"]
    assert outcome.changed == {}
    assert outcome.obsolete == ()


def test_a_new_release_costs_four_objects_and_the_old_ones_are_obsolete(world: World, node: Node) -> None:
    world.release("2.0")
    world.publish()
    outcome = node.refresh(world.origin)
    assert node.wanted == ["2.root.json", "timestamp.json", "2.snapshot.json", "2.ruff.json"]
    assert list(outcome.changed) == ["timestamp.json", "2.snapshot.json", "2.ruff.json"]
    assert outcome.obsolete == ("1.ruff.json", "1.snapshot.json")
    assert node.catalogue.channel("ruff", "stable").sequence == 2
    assert sorted(node.files) == ["1.root.json", "1.targets.json", "2.ruff.json", "2.snapshot.json", "timestamp.json"]


def test_an_update_of_metadata_is_small(world: World, node: Node) -> None:
    world.release("2.0")
    world.publish()
    outcome = node.refresh(world.origin)
    assert sum(map(len, outcome.changed.values())) < 4096


def test_saved_files_alone_are_enough_offline(world: World, node: Node) -> None:
    client = node.open()
    client.load()
    drive(client.product("ruff"), lambda _: None)
    assert client.target("ruff/channels/stable") is not None


def test_without_a_network_a_new_node_says_what_is_missing(world: World) -> None:
    with pytest.raises(ObjectMissingError, match=r"timestamp\.json"):
        Node(world.root1).open().load()
    with pytest.raises(TrustError, match="no root to start from"):
        Node(None).open()


def test_the_saved_root_is_the_anchor_when_there_is_no_bootstrap(world: World, node: Node) -> None:
    node.bootstrap = None
    assert node.refresh(world.origin).changed == {}


# ---------------------------------------------------------------------- roots


def test_roots_are_followed_one_by_one(world: World, node: Node) -> None:
    root = world.root1
    for version in (2, 3):
        root = world.draft_root(previous=root)
        world.repository.rotate_root(root)
        world.publish()
        assert f"{version}.root.json" in world.origin
    outcome = node.refresh(world.origin)
    assert node.wanted[:3] == ["2.root.json", "3.root.json", "4.root.json"]
    assert outcome.floor.root == 3
    assert {"1.root.json", "2.root.json", "3.root.json"} <= set(node.files)


def test_a_root_with_one_signature_of_two_is_refused(world: World, node: Node) -> None:
    world.origin["2.root.json"] = world.draft_root(previous=world.root1)
    forge(world.origin, "2.root.json", lambda _: None, [key("root a")])
    with pytest.raises(TrustError, match=r"2\.root\.json is not signed by enough"):
        node.refresh(world.origin)


def test_a_root_signed_by_strangers_is_refused(world: World, node: Node) -> None:
    forge(world.origin, "1.root.json", lambda root: setattr(root, "version", 2), [key("x"), key("y")], "2.root.json")
    with pytest.raises(TrustError, match=r"2\.root\.json"):
        node.refresh(world.origin)


def test_a_skipped_root_is_refused(world: World, node: Node) -> None:
    second = world.draft_root(previous=world.root1)
    world.origin["2.root.json"] = world.draft_root(previous=second)
    with pytest.raises(TrustError, match="version"):
        node.refresh(world.origin)


def test_no_more_than_256_roots_are_followed_at_once(world: World, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeswarm.trust.workflow.MAX_ROOT_ROTATIONS", 2)
    root = world.root1
    for _ in range(4):
        root = world.draft_root(previous=root)
        world.repository.rotate_root(root)
        world.publish()
    assert node.refresh(world.origin).floor.root == 3
    assert node.refresh(world.origin).floor.root == 5


def test_an_expired_root_is_refused_but_may_be_on_the_way(world: World, node: Node) -> None:
    with pytest.raises(ExpiredError, match=r"1\.root\.json expired"):
        node.refresh(world.origin, NOW + 731 * DAY)
    later = NOW + 731 * DAY
    world.repository.rotate_root(world.draft_root(previous=world.root1, now=later))
    for role in ("ruff", "targets"):
        world.repository._roles.mark(role)
    world.publish(later)
    assert node.refresh(world.origin, later).floor.root == 2


# ---------------------------------------------------------------------- rollback, freeze, mix and match


def test_an_older_timestamp_is_refused(world: World, node: Node) -> None:
    old = dict(world.origin)
    world.publish()
    node.refresh(world.origin)
    with pytest.raises(TrustError, match=r"timestamp\.json has a version that goes back"):
        node.refresh(old)


def test_a_lost_timestamp_does_not_undo_rollback_protection(world: World, node: Node) -> None:
    old = dict(world.origin)
    world.release("2.0")
    world.publish()
    node.refresh(world.origin)
    del node.files["timestamp.json"]
    with pytest.raises(TrustError, match="older than"):
        node.refresh(old)
    assert node.refresh(world.origin).timestamp_version == 2


def test_a_snapshot_that_takes_a_role_back_is_refused(world: World, node: Node) -> None:
    world.release("2.0")
    world.publish()
    node.refresh(world.origin)
    repin(world.origin, {"ruff.json": MetaFile(1)})
    with pytest.raises(TrustError, match=r"3\.snapshot\.json"):
        node.refresh(world.origin)


def test_a_snapshot_that_drops_a_role_is_refused(world: World, node: Node) -> None:
    def drop(snapshot: Snapshot) -> None:
        snapshot.version = 2
        del snapshot.meta["ruff.json"]

    forge(world.origin, "1.snapshot.json", drop, ONLINE, "2.snapshot.json")
    repin(world.origin | {"2.snapshot.json": world.origin["1.snapshot.json"]}, {})

    def pin(timestamp: Timestamp) -> None:
        timestamp.version = 2
        timestamp.snapshot_meta = MetaFile(2)

    forge(world.origin, "timestamp.json", pin, ONLINE)
    with pytest.raises(TrustError, match="missing info"):
        node.refresh(world.origin)


@pytest.mark.parametrize("days", [31, 400])
def test_frozen_metadata_is_refused(world: World, node: Node, days: int) -> None:
    with pytest.raises(ExpiredError, match=r"timestamp\.json expired"):
        node.refresh(world.origin, NOW + days * DAY)


def test_an_expired_snapshot_or_product_is_refused_under_a_fresh_timestamp(world: World) -> None:
    for role, lasts in (("snapshot", {"snapshot": DAY}), ("ruff", {"targets": DAY})):
        world = World()
        world.release("2.0")
        world.publish(**lasts)
        node = Node(world.root1)
        node.refresh(world.origin)
        for one in (node, Node(world.root1)):
            with pytest.raises(ExpiredError, match=rf"2\.{role}\.json"):
                one.refresh(world.origin, NOW + 2 * DAY)
        assert node.refresh(world.origin, NOW + 2 * DAY, grace(2)).expires_first == f"2.{role}.json"


def test_within_the_grace_expired_metadata_is_stale_and_rollback_still_refused(world: World, node: Node) -> None:
    old = dict(world.origin)
    world.release("2.0")
    world.publish()
    later = NOW + 60 * DAY
    outcome = node.refresh(world.origin, later, grace(40))
    assert outcome.stale
    assert node.catalogue.channel("ruff", "stable").version == "2.0"
    with pytest.raises(TrustError, match="goes back"):
        node.refresh(old, later, grace(40))
    with pytest.raises(ExpiredError):
        node.refresh(world.origin, later, grace(29))
    world.publish(later)
    assert not node.refresh(world.origin, later, grace(40)).stale


def test_the_wrong_file_under_a_right_name_is_refused(world: World, node: Node) -> None:
    world.release("2.0")
    world.publish()
    world.origin["2.ruff.json"] = world.origin["1.ruff.json"]
    with pytest.raises(TrustError, match=r"2\.ruff\.json"):
        node.refresh(world.origin)


def test_another_file_of_the_same_version_is_refused_even_with_product_keys(world: World) -> None:
    forge(world.origin, "1.ruff.json", lambda role: role.targets.clear(), PRODUCT)
    with pytest.raises(TrustError, match=r"1\.ruff\.json is not the file that signed metadata names"):
        Node(world.root1).refresh(world.origin)


def test_one_signature_of_two_is_not_enough_for_a_product(world: World) -> None:
    forge(world.origin, "1.ruff.json", lambda role: setattr(role, "version", 2), PRODUCT[:1], "2.ruff.json")
    repin(world.origin, {"ruff.json": MetaFile(2)})
    with pytest.raises(TrustError, match=r"1/2 keys"):
        Node(world.root1).refresh(world.origin)


def test_a_flipped_bit_is_refused_in_every_file(world: World) -> None:
    for name in ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.ruff.json"]:
        data = bytearray(world.origin[name])
        data[data.index(b'"version":') + 10] ^= 1
        with pytest.raises(TrustError):
            Node(world.root1).refresh(world.origin | {name: bytes(data)})


def test_too_long_an_answer_is_refused(world: World) -> None:
    for name in ["timestamp.json", "1.snapshot.json", "1.ruff.json"]:
        padded = world.origin[name] + b" " * 20_000
        with pytest.raises(TrustError, match="at most"):
            Node(world.root1).refresh(world.origin | {name: padded})


def test_a_withheld_object_names_itself_and_harms_nothing(world: World, node: Node) -> None:
    world.release("2.0")
    world.publish()
    for name in ["2.snapshot.json", "2.ruff.json"]:
        with pytest.raises(ObjectMissingError, match=name):
            node.refresh({key: data for key, data in world.origin.items() if key != name})
    assert node.open().load().timestamp_version == 1
    assert node.refresh(world.origin).timestamp_version == 2


# ---------------------------------------------------------------------- delegations


def test_a_product_role_cannot_speak_of_another_product(world: World) -> None:
    world.repository.delegate("evil", ring("evil"))
    world.repository._put("evil", "ruff/releases/9.9/any", 3, "ab" * 32, {"m": "x", "s": 1})
    world.repository._put("evil", "ruff/channels/canary", 0, "ab" * 32, {"v": "9.9", "n": 99})
    world.publish(keys=[*ALL, key("evil")])
    node = Node(world.root1)
    node.refresh(world.origin)
    assert node.client is not None
    drive(node.client.product("evil"), node.answers(world.origin))
    assert "ruff/releases/9.9/any" in node.client.target_paths()
    assert node.client.target("ruff/releases/9.9/any") is None
    assert [found.version for found in node.catalogue.releases("ruff")] == ["1.0"]
    with pytest.raises(NotPublishedError, match="no channel 'canary'"):
        node.catalogue.channel("ruff", "canary")


def test_only_the_roles_of_the_product_are_wanted(world: World) -> None:
    for product in ("zed", "abc"):
        world.repository.delegate(product, ring(product))
    world.publish(keys=[*ALL, key("zed"), key("abc")])
    node = Node(world.root1)
    node.refresh(world.origin)
    assert [name for name in node.wanted if "zed" in name or "abc" in name] == []
    assert node.client is not None
    assert node.client.roles() == ["ruff", "zed", "abc"]
    drive(node.client.delegated("zed"), node.answers(world.origin))
    assert node.wanted[-1] == "1.zed.json"
    with pytest.raises(TrustError, match="delegates to a role 'none'"):
        drive(node.client.delegated("none"), node.answers(world.origin))


def test_a_product_that_was_not_loaded_cannot_be_looked_up(world: World) -> None:
    node = Node(world.root1)
    client = node.open()
    drive(client.refresh(), node.answers(world.origin))
    with pytest.raises(NotPublishedError, match="load its product first"):
        client.target("ruff/channels/stable")
    assert drive(client.find("ruff/channels/stable"), node.answers(world.origin)) is not None


@pytest.mark.parametrize("nested", [False, True])
def test_a_terminating_delegation_ends_the_search(world: World, nested: bool) -> None:
    """Who is asked first has the last word on a path, also when it says nothing."""

    def second(targets: Targets) -> None:
        targets.version = 2
        assert targets.delegations is not None
        assert targets.delegations.roles is not None
        targets.delegations.roles["ruff"].terminating = not nested
        targets.delegations.keys[key("late").public.keyid] = key("late").public.tuf
        targets.delegations.roles["late"] = DelegatedRole("late", [key("late").public.keyid], 1, False, ["ruff/*/*"])

    forge(world.origin, "1.targets.json", second, TARGETS, "2.targets.json")
    late = Metadata(Targets(expires=NOW + DAY))
    late.signed.targets["ruff/channels/late"] = TargetFile(
        0, {"sha256": "ab" * 32}, "ruff/channels/late", {"custom": {"v": "1", "n": 1}}
    )
    late.sign(key("late").signer)
    world.origin["1.late.json"] = late.to_bytes()
    end = Metadata(Targets(expires=NOW + DAY))
    end.sign(key("late").signer)
    world.origin["1.end.json"] = end.to_bytes()

    def inner(targets: Targets) -> None:
        targets.version = 2
        last = DelegatedRole("end", [key("late").public.keyid], 1, True, ["ruff/*/*"])
        targets.delegations = Delegations({key("late").public.keyid: key("late").public.tuf}, {"end": last})

    forge(world.origin, "1.ruff.json", inner, PRODUCT, "2.ruff.json")
    pins = {"ruff.json": MetaFile(2)} if nested else {}
    repin(world.origin, {"targets.json": MetaFile(2), "late.json": MetaFile(1), "end.json": MetaFile(1)} | pins)
    node = Node(world.root1)
    node.refresh(world.origin)
    assert "1.late.json" in node.wanted
    assert node.client is not None
    assert node.client.target("ruff/channels/late") is None


def nest(world: World, depth: int) -> None:
    """Let role `ruff` delegate to n0, that to n1, and so on; the last one has a target."""
    names = ["ruff", *(f"n{i}" for i in range(depth))]
    meta = {}
    for here, child in zip(names, [*names[1:], None], strict=True):
        role = Targets(version=2, expires=NOW + DAY)
        if child:
            inner = DelegatedRole(child, [PRODUCT[0].public.keyid], 1, False, ["ruff/*/*"])
            role.delegations = Delegations({PRODUCT[0].public.keyid: PRODUCT[0].public.tuf}, {child: inner})
        else:
            role.targets["ruff/channels/deep"] = TargetFile(0, {"sha256": "ab" * 32}, "ruff/channels/deep", {"custom": {}})
        metadata = Metadata(role)
        for one in PRODUCT:
            metadata.sign(one.signer, append=True)
        world.origin[f"2.{here}.json"] = metadata.to_bytes()
        meta[f"{here}.json"] = MetaFile(2)
    repin(world.origin, meta)


def test_nested_delegations_are_followed_within_a_bound(world: World) -> None:
    nest(world, 5)
    node = Node(world.root1)
    node.refresh(world.origin)
    assert node.client is not None
    assert node.client.target("ruff/channels/deep") is not None


def test_endless_delegations_are_refused(world: World) -> None:
    nest(world, MAX_DELEGATIONS + 3)
    node = Node(world.root1)
    with pytest.raises(TrustError, match=f"more than {MAX_DELEGATIONS} roles"):
        node.refresh(world.origin)
    client = Node(world.root1).open()
    drive(client.refresh(), node.answers(world.origin))
    assert drive(client.find("ruff/channels/deep"), node.answers(world.origin)) is None


def test_roles_that_delegate_in_a_circle_end(world: World) -> None:
    nest(world, 2)

    def circle(role: Targets) -> None:
        back = DelegatedRole("n0", [PRODUCT[0].public.keyid], 1, False, ["ruff/*/*"])
        role.delegations = Delegations({PRODUCT[0].public.keyid: PRODUCT[0].public.tuf}, {"n0": back})
        role.targets.clear()

    forge(world.origin, "2.n1.json", circle, PRODUCT[:1])
    node = Node(world.root1)
    node.refresh(world.origin)
    assert node.client is not None
    assert node.client.target("ruff/channels/deep") is None


def test_a_delegated_role_that_is_not_in_the_snapshot_is_refused(world: World) -> None:
    nest(world, 1)
    timestamp = Metadata[Timestamp].from_bytes(world.origin["timestamp.json"]).signed
    name = f"{timestamp.snapshot_meta.version}.snapshot.json"
    forge(world.origin, name, lambda snapshot: snapshot.meta.pop("n0.json"), ONLINE)
    with pytest.raises(TrustError, match="not in the snapshot"):
        Node(world.root1).refresh(world.origin)


# ---------------------------------------------------------------------- use


def test_the_rules_of_use(world: World) -> None:
    client = Node(world.root1).open()
    for call in (client.outcome, client.roles, lambda: client.target("x")):
        with pytest.raises(LocalProtocolError):
            call()
    drive(client.refresh(), Node(None).answers(world.origin))
    with pytest.raises(LocalProtocolError):
        drive(client.refresh(), Node(None).answers(world.origin))
    with pytest.raises(TrustError, match="time zone"):
        TrustClient({}, now=NOW.replace(tzinfo=None), bootstrap=world.root1)


def test_roots_verified_before_a_failure_can_be_saved(world: World, node: Node) -> None:
    world.repository.rotate_root(world.draft_root(previous=world.root1))
    world.publish()
    client = node.open()
    origin = {name: data for name, data in world.origin.items() if name != "timestamp.json"} | {"timestamp.json": b"{}"}
    with pytest.raises(TrustError, match="malformed"):
        drive(client.refresh(), node.answers(origin))
    assert list(client.changed) == ["2.root.json"]


def test_an_error_of_the_source_ends_the_refresh_cleanly(world: World) -> None:
    def broken(_: object) -> bytes | None:
        raise ConnectionError

    client = Node(world.root1).open()
    with pytest.raises(ConnectionError):
        drive(client.refresh(), broken)
    assert list(client.changed) == ["1.root.json"]


def test_an_origin_without_consistent_snapshots_is_read_too(world: World) -> None:
    forge(world.origin, "1.root.json", lambda root: setattr(root, "consistent_snapshot", False), [key("root a"), key("root b")])
    plain = {name.partition(".")[2] if name[0].isdigit() else name: data for name, data in world.origin.items()}
    node = Node(world.origin["1.root.json"])
    node.refresh(plain)
    assert node.wanted == ["2.root.json", "timestamp.json", "snapshot.json", "targets.json", "ruff.json"]
    assert "1.ruff.json" in node.files


def test_metadata_is_compact_json(world: World) -> None:
    for data in world.origin.values():
        assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()


def test_a_release_outside_a_product_role_is_found_in_no_catalogue(world: World, node: Node) -> None:
    world.repository._put("ruff", "ruff/releases/1.0/../x", 1, "ab" * 32, {})
    world.repository._put("ruff", "ruff/releases/..", 1, "ab" * 32, {})
    world.publish()
    node.refresh(world.origin)
    assert [found.path for found in node.catalogue.releases("ruff")] == [release("1.0")[0].path]


def test_targets_can_hold_products_themselves(world: World) -> None:
    def add(targets: Targets) -> None:
        targets.version = 2
        targets.targets["solo/channels/x"] = TargetFile(0, {"sha256": "ab" * 32}, "solo/channels/x", {"custom": {"v": "1", "n": 4}})

    forge(world.origin, "1.targets.json", add, TARGETS, "2.targets.json")
    repin(world.origin, {"targets.json": MetaFile(2)})
    node = Node(world.root1)
    node.refresh(world.origin)
    assert node.catalogue.channel("solo", "x").sequence == 4
