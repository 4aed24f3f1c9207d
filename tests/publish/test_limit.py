"""Updates that are too large are refused before anything is signed."""

from __future__ import annotations

import pytest

from edgeswarm.errors import ConfigError, PublishError
from edgeswarm.publish import PublishOptions, site_cost
from edgeswarm.publish.limit import check_cost
from edgeswarm.trust.catalogue import Catalogue, Release

from .test_moves import Targets
from .world import World, edited, program

V1 = program(1, 200_000)
V2 = V1[:1000] + b"other" + V1[1005:]


def test_an_update_that_is_too_large_is_refused_before_anything_is_signed(world: World) -> None:
    world.publish(V1, "1", max_update_bytes=0)  # nobody follows the channel yet
    signed = {name: data for name, data in world.snapshot().items() if name.startswith("metadata/")}
    with pytest.raises(PublishError, match="a site at 1 would fetch"):
        world.publish(V2, "2", max_update_bytes=100)
    assert {name: data for name, data in world.snapshot().items() if name.startswith("metadata/")} == signed
    cost = site_cost(report := world.publish(V2, "2"), "1") - report.metadata_bytes
    world.publish(V2, "2", max_update_bytes=0)  # a site at 2 fetches nothing
    world.publish(V1, "1", back=True)
    with pytest.raises(PublishError, match=f"fetch {cost} bytes"):
        world.publish(V2, "2", back=True, max_update_bytes=cost - 1)
    world.publish(V2, "2", back=True, max_update_bytes=cost)


def test_it_is_compared_with_what_the_channel_points_to(world: World) -> None:
    world.publish(program(9, 200_000), "0")
    world.publish(V1, "1", "candidate")
    world.publish(V2, "2", "candidate", max_update_bytes=50_000)
    with pytest.raises(PublishError, match="a site at 0 would fetch"):
        world.publish(V2, "2", "stable", max_update_bytes=50_000)
    with pytest.raises(PublishError, match="no delta from it"):
        world.publish(program(8, 200_000), "3", "stable", max_update_bytes=50_000, delta_from=0)


def test_the_first_release_of_a_variant_is_not_limited(world: World) -> None:
    world.publish(V1, "1", compatible="x86")
    assert world.publish(program(7, 200_000), "2", compatible="arm", max_update_bytes=10).changed


@pytest.mark.parametrize("between", [(), ("2",), ("2", "3")])
def test_a_variant_is_limited_by_its_own_when_another_one_moved_the_channel(world: World, between: tuple[str, ...]) -> None:
    """In CI one variant after the other: the channel points to the new version when the second one comes."""
    world.publish(V1, "1", compatible="x86")
    world.publish(program(7, 200_000), "1", compatible="arm")
    for version in (*between, "9"):
        world.publish(V2 + version.encode(), version, compatible="x86")
    assert world.catalogue().channel("app", "stable").version == "9"
    with pytest.raises(PublishError, match="a site at 1 would fetch"):
        world.publish(edited(program(7, 200_000), 1), "9", compatible="arm", max_update_bytes=10)
    report = world.publish(edited(program(7, 200_000), 1), "9", compatible="arm", max_update_bytes=50_000)
    assert [delta.base_version for delta in report.deltas] == ["1"]


def test_a_channel_without_a_history_is_limited_by_what_its_version_was_encoded_against() -> None:
    ref = [["B" * 42 + "A", "D" * 42 + "A", 5, 7]]
    releases = {f"p/releases/1/{variant}": {"m": "B" * 42 + "A", "s": 700} for variant in ("arm", "x86")}
    releases["p/releases/2/x86"] = {"m": "C" * 42 + "A", "s": 700, "i": ref}
    catalogue = Catalogue(Targets(releases | {"p/channels/stable": {"v": "2", "n": 2}}))  # an earlier publisher moved it
    new = Release("p", "2", "arm", bytes(32), 700, 100)
    with pytest.raises(PublishError, match="a site at 1 would fetch 800 bytes"):
        check_cost(catalogue, "stable", new, 799)
    check_cost(catalogue, "stable", new, 800)


def test_the_limit_is_checked() -> None:
    with pytest.raises(ConfigError, match="max-update-bytes"):
        PublishOptions(max_update_bytes=-1)
