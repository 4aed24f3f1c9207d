"""Whether what a node knows of a channel is the newest there is, as far as can be told within one command."""

from __future__ import annotations

from typing import NamedTuple

import trio

from ..errors import FetchError, NoSpaceError, TrustError
from ..node import Node
from ..node.heard import STALE_EXIT, exit_code

PEER_SECONDS = 5.0
"""How long a neighbour is waited for. A guess: a link takes under a second, its metadata one more on a slow LAN."""
_LOOK_SECONDS = 0.05  # a guess


class Doubt(NamedTuple):
    """Why what is known may be old.

    Attributes:
        why: For people.
        exit_code: 3: nobody who would know was reached. 77: the origin answered, and that did not verify. 28: the disk is full.
    """

    why: str
    exit_code: int


async def doubt_of(node: Node, product: str, seconds: float = PEER_SECONDS) -> Doubt | None:
    """Ask the origin, then wait some seconds for a neighbour that asked its own; return None once one of them confirmed.

    What the origin says and does not verify is not made good by a neighbour: it may only not have asked yet.
    """
    if node.uplink is not None:
        await node.news.check_now()
        refused = refusal(node, product)
        if refused is not None:
            return refused
    if not node.metadata.knows(product):
        node.news.look_for(product)
    with trio.move_on_after(seconds):
        while not is_confirmed(node, product):
            with trio.move_on_after(_LOOK_SECONDS):
                await node.metadata.changed.wait()
        return None
    return Doubt(_why(node, product), _exit_code(node))


def is_confirmed(node: Node, product: str) -> bool:
    """Tell if what is here of a product is the newest, as the origin has said in this run, to this node or to a neighbour."""
    if not node.metadata.knows(product):
        return False
    if node.news.checked_at is not None:
        return True
    peers = node.links.peers.values()
    return any(peer.checked for peer in peers) and 0 < node.metadata.version >= max(peer.timestamp_version for peer in peers)


def refusal(node: Node, product: str) -> Doubt | None:
    """Return what is wrong with what the origin says, or with taking it; None: nothing, or it was not reached."""
    origin = node.metadata.origin
    error = origin.error or (None if node.metadata.knows(product) else origin.products.get(product))
    if isinstance(error, TrustError):
        return Doubt(f"what the origin says does not verify: {error}", exit_code(error))
    return Doubt(_no_room(error), exit_code(error)) if isinstance(error, NoSpaceError) else None


def _no_room(error: NoSpaceError) -> str:
    return f"there is no room to save newer metadata: {error}"


def _exit_code(node: Node) -> int:
    return NoSpaceError.exit_code if isinstance(node.metadata.peers.error, NoSpaceError) else STALE_EXIT


def _why(node: Node, product: str) -> str:
    said, origin = node.metadata.peers.error, node.metadata.origin
    if isinstance(said, NoSpaceError):
        return _no_room(said)
    if node.links.peers and said is not None:
        return f"the neighbours speak of newer metadata, which is not here: {said}"
    error = origin.error or origin.products.get(product)
    if node.uplink is None or error is None:
        return "no neighbour was reached whose origin has answered"
    what = "was not reached" if isinstance(error, FetchError) and error.temporary else "does not give it"
    return f"the origin {what}: {error}; no neighbour was reached whose origin has answered"
