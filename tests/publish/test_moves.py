"""Which way channels move."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edgeswarm.errors import PublishError
from edgeswarm.publish.moves import check_forward
from edgeswarm.trust.catalogue import Catalogue
from edgeswarm.trust.steps import Target

from .world import World, edited, program

V1 = program(1, 200_000)
V2 = edited(V1, 2)
RELEASE = {"m": "A" * 43, "s": 7}


def test_a_channel_goes_back_to_no_version_however_old(world: World) -> None:
    data = program(5, 60_000)
    for number in range(6):
        world.publish(edited(data, number), f"1.{number}")
    for number in range(5):
        with pytest.raises(PublishError, match="--back"):
            world.publish(edited(data, number), f"1.{number}")
    assert world.catalogue().channel("app", "stable").version == "1.5"


def test_a_channel_without_deltas_does_not_go_back_either(world: World) -> None:
    world.publish(V1, "1", delta_from=0)
    world.publish(V2, "2", delta_from=0)
    with pytest.raises(PublishError, match="--back"):
        world.publish(V1, "1", delta_from=0)
    world.publish(V1, "1", delta_from=0, back=True)
    with pytest.raises(PublishError, match="--back"):
        world.publish(V2, "2", delta_from=0)


def test_a_candidate_is_promoted_even_when_its_channel_has_moved_on(world: World) -> None:
    world.publish(V1, "1")
    for version in ("2", "3"):
        world.publish(V2 + version.encode(), version, "candidate", delta_from=0)
    for version in ("2", "3"):
        world.publish(V2 + version.encode(), version, delta_from=0)
    assert world.catalogue().channel("app", "stable").history == ("2", "1")


def test_a_candidate_is_promoted_after_a_hotfix_that_was_encoded_against_it(world: World) -> None:
    world.publish(V1, "1")
    world.publish(V2, "2", "beta")
    hotfix = world.publish(edited(V1, 3), "1.1")
    assert {delta.base_version for delta in hotfix.deltas} == {"1", "2"}
    world.publish(V2, "2")
    assert world.catalogue().channel("app", "stable").history == ("1.1", "1")
    with pytest.raises(PublishError, match="--back"):
        world.publish(edited(V1, 3), "1.1")


def test_a_release_that_was_overtaken_does_not_take_the_channel_back(world: World) -> None:
    world.publish(V1, "1.0")
    newer = world.write(edited(V2, 9), "newer")
    done = False

    def meanwhile(stage: str, _done: int, _total: int) -> None:
        nonlocal done
        if stage == "encode" and not done:
            done = True
            world.publish(newer, "1.2")

    with pytest.raises(PublishError, match=r"moved to 1\.2 .* publish again"):
        world.publish(V2, "1.1", progress=meanwhile)
    assert world.catalogue().channel("app", "stable").version == "1.2"
    assert world.publish(V2, "1.1").sequence == 3  # on purpose, then


def test_two_variants_of_a_version_are_published_at_once(world: World) -> None:
    world.publish(V1, "1")
    done = False

    def meanwhile(stage: str, _done: int, _total: int) -> None:
        nonlocal done
        if stage == "encode" and not done:
            done = True
            world.publish(world.write(edited(V2, 4), "arm"), "2", compatible="arm")

    assert world.publish(V2, "2", compatible="x86", progress=meanwhile).sequence == 2


def test_a_first_release_that_was_overtaken_is_told_too(world: World) -> None:
    done = False

    def meanwhile(stage: str, _done: int, _total: int) -> None:
        nonlocal done
        if stage == "encode" and not done:
            done = True
            world.publish(world.write(V2, "other"), "2")

    with pytest.raises(PublishError, match="publish again"):
        world.publish(V1, "1", progress=meanwhile)


class Targets:
    """A source of targets that was never signed."""

    def __init__(self, targets: Mapping[str, object]) -> None:
        self._targets = targets

    def target(self, path: str) -> Target | None:
        return Target(path, 10, "", self._targets[path]) if path in self._targets else None

    def target_paths(self) -> list[str]:
        return sorted(self._targets)


OLD = {"v": "3", "n": 3}  # moved by a publisher that kept no history
FULL = {"v": "3", "n": 60, "_h": [f"0.{number}" for number in range(32)]}
BETA = {"v": "5", "n": 2, "_h": ["4"]}


@pytest.mark.parametrize("stable", [OLD, FULL])
def test_without_a_whole_history_what_no_other_channel_accounts_for_is_left_behind(stable: Mapping[str, object]) -> None:
    releases = {f"p/releases/{version}/any": RELEASE for version in range(1, 6)}
    catalogue = Catalogue(Targets(releases | {"p/channels/stable": stable, "p/channels/beta": BETA}))
    for version in ("4", "5", "6", "3"):  # candidates, a new one, and where it is
        check_forward(catalogue, "p", "stable", version)
    for version in ("1", "2"):
        with pytest.raises(PublishError, match="--back"):
            check_forward(catalogue, "p", "stable", version)
