"""What a node loads to decode with."""

from __future__ import annotations

import sys

import pytest
import trio.testing

from edgeswarm.node.decoding import decode_fast

from .world import World


def test_without_numpy_a_gateway_decodes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)  # importing it fails
    decode_fast()


@pytest.mark.parametrize(("role", "loads"), [("gateway", 1), ("device", 0)])
async def test_only_a_gateway_loads_numpy(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock, role: str, loads: int
) -> None:
    """A device has no memory to spare for it."""
    calls: list[None] = []
    monkeypatch.setattr("edgeswarm.node.opening.decode_fast", lambda: calls.append(None))
    async with World().node("one", role=role):
        assert len(calls) == loads
