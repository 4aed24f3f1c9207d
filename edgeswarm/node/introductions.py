"""Telling the peers of a node where the others are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from ..address import join_address, split_address
from ..wire.messages import Peers
from .peer import Peer

_MOST_PEER_ADDRESSES = 64  # as many as a message holds
# A node may come again each second and name another address each time, and those who are told charge it to this node. Long enough
# that it leaves room for all others in what a peer may name (one a second), short for one whose address changed. A guess.
_AGAIN_SECONDS = 60.0
_MOST_NODES = 1024  # twice the largest site (500); the one that was introduced longest ago makes room


class Introductions:
    """Introduces each peer that comes to the others, a node at most once a minute, and the others to it.

    Args:
        is_proven: Tells if a node id answered when an address was dialled.
    """

    def __init__(self, is_proven: Callable[[str, bytes], bool]) -> None:
        self._is_proven = is_proven
        self._last: dict[bytes, float] = {}  # oldest first

    def introduce(self, peer: Peer, others: Iterable[Peer]) -> None:
        """Tell a new peer where the others are, and the others where it is."""
        others = list(others)
        addresses = self._addresses(others)
        if addresses:
            peer.post(Peers(addresses=addresses))
        own = reachable_address(peer)
        if own and self._is_due(peer.id, trio.current_time()):
            for other in others:
                other.post(Peers(addresses=(own,)))

    def _addresses(self, peers: Iterable[Peer]) -> tuple[str, ...]:
        """Return where peers can be reached: first what was found to be right, then what is only their word."""
        known = [(address, peer.id) for peer in peers if (address := reachable_address(peer))]
        known.sort(key=lambda pair: not self._is_proven(*pair))
        return tuple(address for address, _ in known[:_MOST_PEER_ADDRESSES])

    def _is_due(self, node: bytes, now: float) -> bool:
        if now < self._last.get(node, -_AGAIN_SECONDS) + _AGAIN_SECONDS:
            return False
        self._last.pop(node, None)
        while len(self._last) >= _MOST_NODES:
            del self._last[next(iter(self._last))]
        self._last[node] = now
        return True


def reachable_address(peer: Peer) -> str:
    """Return where others can reach a peer: what it says, with the address it came from in place of a wildcard; "" if nowhere."""
    if not peer.hello.listen:
        return ""
    host, port = split_address(peer.hello.listen, "listen")
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104  # compared, not bound
        host, _ = split_address(peer.identity.address)
    return join_address(host, port)
