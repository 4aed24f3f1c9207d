from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from edgeswarm.errors import ContentError, PublishError, TrustError
from edgeswarm.trust.catalogue import MAX_HISTORY, Release
from edgeswarm.trust.ceremony import Expiries, check_root, draft_root, sign_draft
from edgeswarm.trust.repository import Repository

from .world import ALL, DAY, NOW, ONLINE, PRODUCT, ROOT_KEYS, TARGETS, Node, World, key, release, ring

GOLDEN = Path(__file__).parent.parent / "vectors" / "metadata.json"


def load(world: World) -> Repository:
    return Repository.load(lambda name, _: world.origin.get(name), bootstrap=world.root1, now=NOW)


def test_golden_bytes(world: World) -> None:
    """Ed25519 signatures are deterministic, and so is everything else: another language can make these bytes."""
    golden = json.loads(GOLDEN.read_text())
    assert {name: data.decode() for name, data in world.origin.items()} == golden["files"]
    assert {name: sha256(name.encode()).hexdigest() for name in golden["seeds"]} == golden["seeds"]


def test_files_come_in_the_order_in_which_they_must_be_written(world: World) -> None:
    assert list(World().origin) == ["1.root.json", "1.targets.json", "1.ruff.json", "1.snapshot.json", "timestamp.json"]
    world.release("2.0")
    assert list(world.publish()) == ["2.ruff.json", "2.snapshot.json", "timestamp.json"]


def test_what_is_at_the_origin_can_be_loaded_and_goes_on(world: World) -> None:
    again = load(world)
    assert again.products() == ["ruff"]
    assert again.unsigned() == []
    assert again.catalogue.channel("ruff", "stable").sequence == 1
    again.add_release(*release("2.0"))
    again.set_channel("ruff", "stable", "2.0")
    node = Node(world.root1)
    node.refresh(world.origin)
    world.origin.update(again.sign(ALL, now=NOW))
    node.refresh(world.origin)
    assert node.catalogue.channel("ruff", "stable").version == "2.0"


def test_a_publisher_signs_nothing_that_does_not_verify(world: World) -> None:
    world.origin["1.ruff.json"] = world.origin["1.ruff.json"].replace(b'"1.0"', b'"6.6"')
    with pytest.raises(TrustError, match=r"1\.ruff\.json"):
        load(world)


def test_a_publisher_that_remembers_is_not_rolled_back(world: World) -> None:
    old = dict(world.origin)
    world.publish()
    saved = dict(world.origin)
    with pytest.raises(TrustError, match="goes back"):
        Repository.load(lambda name, _: old.get(name), bootstrap=world.root1, now=NOW, saved=saved)


def test_expired_metadata_can_be_loaded_and_refreshed(world: World) -> None:
    later = NOW + 200 * DAY
    again = Repository.load(lambda name, _: world.origin.get(name), bootstrap=world.root1, now=later)
    files = again.sign(ONLINE, now=later)
    assert list(files) == ["2.snapshot.json", "timestamp.json"]
    world.origin.update(files)
    assert not Node(world.root1).refresh(world.origin, later).stale


def test_refresh_needs_the_online_key_alone_and_keeps_a_young_snapshot(world: World) -> None:
    assert list(world.publish(NOW + 44 * DAY, ONLINE)) == ["timestamp.json"]
    assert list(world.publish(NOW + 46 * DAY, ONLINE)) == ["2.snapshot.json", "timestamp.json"]


def test_expiries_are_told(world: World) -> None:
    expiries = world.repository.expiries()
    assert expiries == {
        "root": NOW + 730 * DAY,
        "targets": NOW + 365 * DAY,
        "ruff": NOW + 365 * DAY,
        "snapshot": NOW + 90 * DAY,
        "timestamp": NOW + 30 * DAY,
    }
    with pytest.raises(TrustError, match="of no use"):
        Expiries(timestamp=0 * DAY)


def test_publishing_the_same_again_changes_nothing(world: World) -> None:
    assert not world.repository.add_release(*release("1.0"))
    before = world.repository.catalogue.channel("ruff", "stable")
    assert world.repository.set_channel("ruff", "stable", "1.0") == before
    world.repository.delegate("ruff", ring("ruff a", "ruff b", threshold=2))
    assert world.repository.unsigned() == []


def test_a_version_is_not_published_twice_with_other_content(world: World) -> None:
    good, root = release("1.0")
    other, other_root = release("1.0-other")
    taken = Release("ruff", "1.0", "any", other.manifest, good.size, len(other_root))
    with pytest.raises(PublishError, match="new version"):
        world.repository.add_release(taken, other_root)
    with pytest.raises(ContentError):
        world.repository.add_release(good, root + b"x")
    with pytest.raises(PublishError, match="bytes"):
        world.repository.add_release(Release("ruff", "3", "any", good.manifest, 1, good.root_bytes + 1), root)


def test_new_indexes_may_be_added_to_a_release(world: World) -> None:
    assert world.repository.add_release(*release("1.0", base="older"))
    assert len(world.repository.catalogue.release("ruff", "1.0").indexes) == 2


def test_old_indexes_are_forgotten(world: World) -> None:
    world.release("2.0")
    world.repository.add_release(*release("3.0"))
    world.repository.forget_indexes("ruff", keep=["3.0"])
    kept = {found.version: len(found.indexes) for found in world.repository.catalogue.releases("ruff")}
    assert kept == {"1.0": 0, "2.0": 1, "3.0": 1}


def test_the_sequence_grows_with_every_move(world: World) -> None:
    moves = [("2.0", 2), ("1.0", 3), ("1.0", 3), ("2.0", 4)]
    world.repository.add_release(*release("2.0"))
    for version, sequence in moves:
        assert world.repository.set_channel("ruff", "stable", version).sequence == sequence
    assert world.repository.set_channel("ruff", "stable", "2.0", policy={"wave": 5}).sequence == 5
    assert world.repository.set_channel("ruff", "beta", "2.0").sequence == 1


def test_a_channel_remembers_where_it_has_been(world: World) -> None:
    for number in range(2, 40):
        world.release(f"{number}.0")
    channel = world.repository.catalogue.channel("ruff", "stable")
    assert channel.history == tuple(f"{number}.0" for number in range(38, 38 - MAX_HISTORY, -1))
    back = world.repository.set_channel("ruff", "stable", "37.0")
    assert back.history[:3] == ("39.0", "38.0", "36.0")
    assert world.repository.set_channel("ruff", "beta", "2.0").history == ()


def test_a_channel_without_a_history_is_taken_to_have_been_at_all_that_no_channel_points_to(world: World) -> None:
    for version in ("2.0", "3.0", "4.0", "5.0"):
        world.repository.add_release(*release(version))
    world.repository.set_channel("ruff", "beta", "2.0")
    world.repository.set_channel("ruff", "stable", "1.0", policy={"wave": 1})  # its second move, and nothing remembered
    assert world.repository.set_channel("ruff", "stable", "5.0").history == ("1.0", "3.0", "4.0")


def test_a_channel_points_to_what_exists(world: World) -> None:
    with pytest.raises(PublishError, match="no release '9'"):
        world.repository.set_channel("ruff", "stable", "9")
    with pytest.raises(PublishError, match=r"not delegated.*first release where the targets key is"):
        world.repository.set_channel("other", "stable", "9")
    with pytest.raises(PublishError, match="not delegated"):
        world.repository.set_channel("targets", "stable", "9")
    with pytest.raises(PublishError, match="move them first"):
        world.repository.remove_release("ruff", "1.0")
    world.release("2.0")
    assert world.repository.remove_release("ruff", "1.0")
    assert not world.repository.remove_release("ruff", "1.0")


def test_missing_keys_are_named_and_nothing_is_signed(world: World) -> None:
    world.release("2.0")
    for keys, role in (([*ONLINE, PRODUCT[0]], "ruff"), (PRODUCT, "snapshot")):
        with pytest.raises(TrustError, match=f"role '{role}' takes"):
            world.repository.sign(keys, now=NOW)
    assert world.repository.unsigned() == ["ruff"]
    assert "2.ruff.json" in world.publish(keys=[*ONLINE, *PRODUCT])


def test_keys_of_others_sign_nothing(world: World) -> None:
    world.release("2.0")
    files = world.publish(keys=[*ALL, key("stranger")])
    signers = {one["keyid"] for one in json.loads(files["2.ruff.json"])["signatures"]}
    assert signers == {one.public.keyid for one in PRODUCT}


def test_a_product_gets_other_keys(world: World) -> None:
    world.repository.delegate("ruff", ring("ruff c"))
    assert world.repository.unsigned() == ["ruff", "targets"]
    world.publish(keys=[*ONLINE, *TARGETS, key("ruff c")])
    node = Node(world.root1)
    node.refresh(world.origin)
    assert node.catalogue.channels("ruff") == ["stable"]
    assert key("ruff a").public.keyid.encode() not in world.origin["2.targets.json"]


@pytest.mark.parametrize("product", ["root", "targets", "a/b", "*", ""])
def test_bad_products_are_refused(world: World, product: str) -> None:
    with pytest.raises(TrustError):
        world.repository.delegate(product, ring("x"))


# ---------------------------------------------------------------------- the root ceremony


def test_key_holders_sign_a_draft_one_after_the_other() -> None:
    draft = draft_root(
        root=ring("root a", "root b", threshold=2), targets=ring("t"), snapshot=ring("o"), timestamp=ring("o"), now=NOW
    )
    with pytest.raises(TrustError, match="2 of the 2 keys"):
        Repository.initialise(draft)
    once = sign_draft(draft, ROOT_KEYS[:1])
    with pytest.raises(TrustError, match="let more key holders sign"):
        Repository.initialise(sign_draft(once, ROOT_KEYS[:1]))
    assert Repository.initialise(sign_draft(once, ROOT_KEYS[1:2])).products() == []


def test_a_root_follows_its_predecessor(world: World) -> None:
    second = world.draft_root(previous=world.root1)
    third = world.draft_root(previous=second)
    with pytest.raises(TrustError, match="does not follow"):
        world.repository.rotate_root(third)
    with pytest.raises(TrustError, match="starts with root v1"):
        Repository.initialise(second)
    taken_over = draft_root(
        root=ring("x"), targets=ring("x"), snapshot=ring("x"), timestamp=ring("x"), now=NOW, previous=world.root1
    )
    with pytest.raises(TrustError, match="keys of root v1"):
        check_root(sign_draft(taken_over, [key("x")]), world.root1)
    assert check_root(sign_draft(taken_over, [key("x"), *ROOT_KEYS[:2]]), world.root1).version == 2


def test_roles_of_replaced_keys_are_signed_again(world: World) -> None:
    draft = draft_root(
        root=ring("root a"), targets=ring("targets b"), snapshot=ring("new"), timestamp=ring("new"), now=NOW, previous=world.root1
    )
    world.repository.rotate_root(sign_draft(draft, ROOT_KEYS[:2]))
    files = world.publish(keys=[key("targets b"), key("new")])
    assert list(files) == ["2.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json"]
    node = Node(world.root1)
    node.refresh(world.origin)
    assert node.catalogue.channels("ruff") == ["stable"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null"])
def test_junk_is_no_root(data: bytes) -> None:
    for call in (
        Repository.initialise,
        lambda data: sign_draft(data, ROOT_KEYS),
        lambda data: World().repository.rotate_root(data),
    ):
        with pytest.raises(TrustError):
            call(data)
