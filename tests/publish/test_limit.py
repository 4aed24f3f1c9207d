"""Updates that are too large are refused before anything is signed."""

from __future__ import annotations

import pytest

from edgeswarm.errors import ConfigError, PublishError
from edgeswarm.publish import PublishOptions, site_cost

from .world import World, program

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


def test_another_variant_is_limited_by_its_own(world: World) -> None:
    world.publish(V1, "1", compatible="x86")
    assert world.publish(program(7, 200_000), "2", compatible="arm", max_update_bytes=10).changed


def test_the_limit_is_checked() -> None:
    with pytest.raises(ConfigError, match="max-update-bytes"):
        PublishOptions(max_update_bytes=-1)
