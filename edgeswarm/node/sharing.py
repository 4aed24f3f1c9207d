"""Slots that the store reads chunks from: remembered, so that no link outlives its slot. Blocking.

A store that believes in a slot that is gone says that it has chunks which it has not; a fetch would leave them out, and learn of
them one by one.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable

from ..abc import ChunkStore
from ..content.manifest import Manifest
from ..errors import StoreError

_log = logging.getLogger("edgeswarm.target")
_Links = set[tuple[str, str]]


def link_slots(store: ChunkStore, name: str, slots: Iterable[tuple[Manifest, str]]) -> None:
    """Read chunks from these slots from now on.

    Args:
        store: What reads.
        name: Under which name of an object links of this target are remembered.
        slots: Manifests, and paths where they are installed.
    """
    found = list(slots)
    known = _load(store, name)
    fresh = known | {(manifest.digest.hex(), path) for manifest, path in found}
    if fresh != known:  # before the links: what is remembered and not linked does no harm
        _save(store, name, fresh)
    for manifest, path in found:
        store.link(manifest, path)


def unlink_gone(store: ChunkStore, name: str) -> None:
    """Forget the links to slots that were removed."""
    known = _load(store, name)
    gone = {(manifest, path) for manifest, path in known if not os.path.lexists(path)}
    for manifest, path in sorted(gone):
        store.unlink(bytes.fromhex(manifest), path)
    if gone:
        _save(store, name, known - gone)


def _load(store: ChunkStore, name: str) -> _Links:
    try:
        data = store.load_object(name)
    except StoreError as error:
        _log.warning("links to slots are forgotten: %s", error)
        return set()
    return {(manifest, path) for manifest, path in json.loads(data)} if data is not None else set()


def _save(store: ChunkStore, name: str, links: _Links) -> None:
    store.save_object(name, json.dumps(sorted(links)).encode())
