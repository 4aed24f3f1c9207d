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
from ..content.digest import Digest
from ..content.manifest import Manifest
from ..errors import StoreError

_log = logging.getLogger("edgeswarm.target")
_Links = set[tuple[str, str]]


def links_object(product: str, channel: str) -> str:
    """Return the store's object name of what is remembered of a subscription's slots."""
    return f"linked/{product}/{channel}"


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


def installed_of(store: ChunkStore, product: str) -> set[Digest]:
    """Return what is installed of a product, in targets that the configuration may name no more; forget the slots that are gone."""
    found: set[Digest] = set()
    for name in store.list_objects(links_object(product, "")):
        unlink_gone(store, name)
        found |= {bytes.fromhex(manifest) for manifest, _ in _load(store, name)}
    return found


def _load(store: ChunkStore, name: str) -> _Links:
    try:
        data = store.load_object(name)
    except StoreError as error:
        _log.warning("links to slots are forgotten: %s", error)
        return set()
    return {(manifest, path) for manifest, path in json.loads(data)} if data is not None else set()


def _save(store: ChunkStore, name: str, links: _Links) -> None:
    store.save_object(name, json.dumps(sorted(links)).encode())
