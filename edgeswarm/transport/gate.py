"""Who may be in the middle of a handshake: room for honest peers under a flood of connections that say nothing.

Theory of operation. An honest handshake takes milliseconds, a hostile one as long as it is let. So when there is no room,
nobody new is turned away: the *oldest* waiting handshake is pushed out, of the same address if that one has its fill, else of the
address that has most. Whoever is quick gets through whatever the slow ones do; a server that refused newcomers instead would be
closed to everybody for the length of the deadline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Cancellable(Protocol):
    """What is waiting in the gate, e.g. a `trio.CancelScope`."""

    def cancel(self) -> object:
        """End the handshake."""


class HandshakeGate:
    """Bounds how many handshakes run at the same time, in all and per address.

    Args:
        total: Handshakes at the same time, at least 1.
        per_host: Handshakes at the same time from one address, at least 1.

    Attributes:
        evicted: How many handshakes were pushed out so far.
    """

    __slots__ = ("_count", "_per_host", "_ticket", "_total", "_waiting", "evicted")

    def __init__(self, total: int, per_host: int) -> None:
        self._total = total
        self._per_host = per_host
        self._waiting: dict[str, dict[int, Cancellable]] = {}
        self._count = 0
        self._ticket = 0
        self.evicted = 0

    def __len__(self) -> int:
        """Return how many handshakes are running."""
        return self._count

    @contextmanager
    def slot(self, host: str, handshake: Cancellable) -> Iterator[None]:
        """Hold a place for one handshake from `host`, pushing out an older one if there is no room."""
        self._make_room(host)
        self._ticket += 1
        ticket = self._ticket
        self._waiting.setdefault(host, {})[ticket] = handshake
        self._count += 1
        try:
            yield
        finally:
            self._leave(host, ticket)

    def _make_room(self, host: str) -> None:
        if len(self._waiting.get(host, ())) >= self._per_host:
            self._evict(host)
        elif self._count >= self._total:
            self._evict(max(self._waiting, key=lambda other: len(self._waiting[other])))

    def _evict(self, host: str) -> None:
        ticket, handshake = next(iter(self._waiting[host].items()))
        self._leave(host, ticket)
        self.evicted += 1
        handshake.cancel()

    def _leave(self, host: str, ticket: int) -> None:
        """Give up a place; one that was pushed out has given it up already."""
        if self._waiting.get(host, {}).pop(ticket, None) is not None:
            self._count -= 1
            if not self._waiting[host]:
                del self._waiting[host]
