"""Products that a node keeps up to date only because peers want them: so many, whatever peers ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..exchange import TokenBucket

MOST_GUESTS = 64
"""As many as a node has links: a guess, one for each device of a site. Each costs its role with every refresh, over the uplink."""
_PER_SECOND, _MOST_AT_ONCE = 1 / 60, 16.0
"""New products that one peer may name: a device follows a handful. What had to make room is fetched again when it is wanted again,
so that without a pace one peer could keep a metered uplink busy. Guesses."""


class Guests:
    """The products, by who wants them; when they are too many, the peer that wants most loses the one that was wanted longest ago.

    So a peer that names thousands drives out its own, and who wants one or two keeps them.

    Attributes:
        left: Products that had to make room, and are wanted no more.
    """

    def __init__(self) -> None:
        self.left: dict[str, None] = {}
        self._peers: dict[str, bytes] = {}  # who named a product first; what was wanted longest ago comes first
        self._paces: dict[bytes, TokenBucket] = {}

    def __contains__(self, product: str) -> bool:
        return product in self._peers

    def __iter__(self) -> Iterator[str]:
        return iter(self._peers)

    def want(self, product: str, peer: bytes, now: float) -> bool:
        """Note that a peer wants a product; return whether it is taken in anew.

        Args:
            product: Its name.
            peer: The peer's node id.
            now: Seconds on the caller's monotonic clock.
        """
        known = self._peers.pop(product, None)
        if known is None and not self._paces.setdefault(peer, TokenBucket(_PER_SECOND, _MOST_AT_ONCE)).try_take(now):
            return False
        self._peers[product] = known or peer
        self.left.pop(product, None)
        if len(self._peers) > MOST_GUESTS:
            self._make_room()
        return known is None

    def remove(self, product: str) -> None:
        """Note that a product is no guest any more, since this node follows it itself."""
        self._peers.pop(product, None)
        self.left.pop(product, None)

    def _make_room(self) -> None:
        counts = Counter(self._peers.values())
        most = max(counts.values())
        gone = next(product for product, peer in self._peers.items() if counts[peer] == most)
        del self._peers[gone]
        self.left[gone] = None
        self._paces = {peer: pace for peer, pace in self._paces.items() if peer in self._peers.values()}
