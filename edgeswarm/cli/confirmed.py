"""Whether what a node knows of a channel is the newest there is, as far as can be told within one command."""

from __future__ import annotations

from typing import NamedTuple

import trio

from ..errors import TrustError
from ..node import Node

CACHED_EXIT = 3
PEER_SECONDS = 5.0
"""How long a neighbour is waited for. A guess: a link takes under a second, its metadata one more on a slow LAN."""
_LOOK_SECONDS = 0.05  # a guess


class Doubt(NamedTuple):
    """Why what is known may be old.

    Attributes:
        why: For people.
        exit_code: 3: nobody who would know was reached. 77: the origin answered, and that did not verify.
    """

    why: str
    exit_code: int


async def doubt_of(node: Node, seconds: float = PEER_SECONDS) -> Doubt | None:
    """Ask the origin, then wait some seconds for a neighbour that has an uplink; return None once one of them confirmed.

    What the origin says and does not verify is not made good by a neighbour: it may only not have asked yet.
    """
    if node.uplink is not None:
        await node.news.check_now()
        if node.news.checked_at is None and node.uplink.usable:  # it answered: what failed was the verification
            return Doubt(f"what the origin says does not verify: {node.metadata.last_error}", TrustError.exit_code)
    with trio.move_on_after(seconds):
        while not is_confirmed(node):
            with trio.move_on_after(_LOOK_SECONDS):
                await node.metadata.changed.wait()
        return None
    return Doubt(_why(node), CACHED_EXIT)


def is_confirmed(node: Node) -> bool:
    """Tell if the origin has confirmed in this run, or a neighbour with an uplink says nothing newer than what is verified here."""
    if node.news.checked_at is not None:
        return True
    versions = [peer.timestamp_version for peer in node.links.peers.values()]
    informed = any(peer.uplink for peer in node.links.peers.values())
    return informed and 0 < node.metadata.version >= max(versions)


def _why(node: Node) -> str:
    if node.links.peers and node.metadata.last_error:
        return f"the neighbours speak of newer metadata, which is not here: {node.metadata.last_error}"
    peers = "no neighbour with an uplink was reached"
    return peers if node.uplink is None else f"the origin was not reached: {node.uplink.last_error}; {peers}"
