"""The addresses that a node dials: configured ones for ever, hints for as long as there is room and somebody answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

# More than the largest site (500) has nodes. A guess.
_MOST_ADDRESSES = 512


@dataclass(slots=True)
class Dial:
    """An address to be linked with.

    Attributes:
        fixed: Configured, and tried for ever; others are forgotten when they don't answer.
        named: First 8 bytes of the id of the node that a beacon named it for; empty: it came from elsewhere.
        failures: Tries that failed in a row.
        next_try: When to try again.
        peer: Node id that answered there last; empty: nobody did, so the address is only somebody's word.
        busy: It is being tried, or is in use.
    """

    fixed: bool
    named: bytes = b""
    failures: int = 0
    next_try: float = 0.0
    peer: bytes = b""
    busy: bool = False


class Addresses:
    """At most 512 addresses. A new hint takes the place of the oldest at which nobody answered.

    Hints cost their sender nothing: were the table closed when it is full, whoever filled it first would keep all others out.

    Args:
        is_linked: Tells if there is a link to a node id.
    """

    def __init__(self, is_linked: Callable[[bytes], bool]) -> None:
        self._is_linked = is_linked
        self._dials: dict[str, Dial] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._dials)

    def __contains__(self, address: str) -> bool:
        return address in self._dials

    def __iter__(self) -> Iterator[str]:
        return iter(self._dials)

    def idle(self) -> list[tuple[str, Dial]]:
        """Return the addresses that are not in use and whose node, as far as it is known, is not linked."""
        return [(address, dial) for address, dial in self._dials.items() if not dial.busy and not self._is_linked(dial.peer)]

    def fix(self, address: str) -> None:
        """Add a configured address."""
        self._dials[address] = Dial(fixed=True)

    def add(self, address: str, named: bytes = b"") -> bool:
        """Add a new hint, in place of what a beacon named before for the same node; return whether there was room."""
        for old in [at for at, dial in self._dials.items() if named and dial.named == named and self._is_mere_hint(dial)]:
            del self._dials[old]
        if len(self._dials) >= _MOST_ADDRESSES and not self._evict():
            return False
        self._dials[address] = Dial(fixed=False, named=named)
        return True

    def prove(self, address: str, dial: Dial, node: bytes) -> None:
        """Note who answered at an address. Of the hints for one node one stays: the one that serves a link, else the newest."""
        others = [at for at, other in self._dials.items() if other.peer == node and other is not dial]
        dial.peer = node
        for needless in [address] if others and self._is_linked(node) else others:
            self.forget(needless)

    def is_proven(self, address: str, node: bytes) -> bool:
        """Tell if this node id answered at an address."""
        return address in self._dials and self._dials[address].peer == node

    def forget(self, address: str) -> None:
        """Remove a hint; configured addresses stay."""
        if address in self._dials and not self._dials[address].fixed:
            del self._dials[address]

    def _evict(self) -> bool:
        """Make room: the oldest unproven address goes, else the oldest of a node that is not linked."""
        spare = [at for at, dial in self._dials.items() if not (dial.fixed or dial.busy or self._is_linked(dial.peer))]
        if not spare:
            return False
        del self._dials[min(spare, key=lambda at: bool(self._dials[at].peer))]
        return True

    @staticmethod
    def _is_mere_hint(dial: Dial) -> bool:
        return not (dial.fixed or dial.busy or dial.peer)
