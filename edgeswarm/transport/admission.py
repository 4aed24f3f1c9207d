"""Which peers a node makes links with: its own fleet, its own site, and the sites that it is told to allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..abc import PeerIdentity
from ..errors import TrustError

Admit = Callable[[PeerIdentity], None]
"""Called with each peer whose certificate verifies; raises `TrustError` to refuse it, e.g. because it is revoked."""


def check_membership(own: PeerIdentity, peer: PeerIdentity, allow_sites: Sequence[str] = ()) -> None:
    """Refuse a peer of another fleet, or of a site that is neither ours nor in `allow_sites`.

    Raises:
        TrustError: It is one.
    """
    if peer.fleet != own.fleet:
        raise TrustError(f"{peer.address} is of fleet {peer.fleet!r}, wanted {own.fleet!r}")
    if peer.site != own.site and peer.site not in allow_sites:
        raise TrustError(f"{peer.address} is of site {peer.site!r}, wanted {own.site!r}: name it in allow_sites to let it in")
