from __future__ import annotations

import pytest
from hypothesis import settings

from .world import Node, World

# A busy machine is no defect.
settings.register_profile("trust", deadline=None)
settings.load_profile("trust")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def node(world: World) -> Node:
    """A node that has refreshed once."""
    node = Node(world.root1)
    node.refresh(world.origin)
    return node
