"""Rendezvous hashing: every node ranks the same candidates the same way, without asking anybody.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN 6(1), 1998.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3


def ranking(key: bytes, nodes: Iterable[bytes]) -> list[bytes]:
    """Return the node ids, best first, for a duty named by `key`; the same on every node that knows the same candidates."""
    return sorted(nodes, key=lambda node: blake3(key + node).digest())


def rank_of(node: bytes, key: bytes, others: Iterable[bytes]) -> int:
    """Return how many of the others rank before `node`: 0 means that the duty is its own."""
    own = blake3(key + node).digest()
    return sum(blake3(key + other).digest() < own for other in others if other != node)
