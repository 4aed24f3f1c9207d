"""Where peers were reached before: dialled first thing after a start, without waiting to be found.

A gateway that comes back after an hour has no address of its devices, and they try it only every few seconds; it would begin to
fetch over its uplink what they hold. Hints like any other. Blocking; for threads.
"""

from __future__ import annotations

import json
import logging

from ..abc import ChunkStore
from ..address import split_address
from ..errors import ConfigError, StoreError

_log = logging.getLogger("edgeswarm.links")
_OBJECT = "node/acquaintances"
_MOST = 32  # enough to meet the others through; a guess


def load_acquaintances(store: ChunkStore) -> list[str]:
    """Return the addresses that were remembered, the latest first; none if they are damaged."""
    try:
        data = store.load_object(_OBJECT)
        found = json.loads(data) if data is not None else []
        return [address for address in found if isinstance(address, str) and _is_address(address)][:_MOST]
    except (StoreError, ValueError, TypeError) as error:
        _log.info("peers of before are not remembered: %s", error)
        return []


def save_acquaintances(store: ChunkStore, addresses: list[str]) -> list[str]:
    """Remember addresses, before those that were remembered; return all that are."""
    known = load_acquaintances(store)
    merged = list(dict.fromkeys([*addresses, *known]))[:_MOST]
    if merged != known:
        store.save_object(_OBJECT, json.dumps(merged).encode())
    return merged


def _is_address(text: str) -> bool:
    try:
        split_address(text, "address", dialled=True)
    except ConfigError:
        return False
    return True
