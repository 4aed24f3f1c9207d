"""What a node keeps in its store, and for which release: whole releases, those that were begun, and bases that were borrowed.

Everything that is kept is named by an object that outlives the process, so that nothing is pinned for ever that nobody remembers:
`held/<manifest>` for a release that is here whole, `begun/<manifest>` for one that is not, or that is here for another one only.
Blocking; for threads.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from ..abc import ChunkStore
from ..content.digest import Digest, short
from ..content.index import PackIndex, decode_index
from ..content.manifest import load_manifest
from ..errors import ContentError, StoreError
from .artifacts import map_object, page_object, root_object

_log = logging.getLogger("edgeswarm.shelf")
_HELD, _BEGUN = "held/", "begun/"
_MAP, _INDEX, _MANIFEST, _PAGE = "map/", "index/", "manifest/", "page/"
Row = tuple[Digest, dict[str, Any]]


class Shelf:
    """The releases that a node keeps.

    Args:
        store: Where they are.
        clock: Returns seconds since 1970, for the order of what is held.
    """

    def __init__(self, store: ChunkStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def begin(self, manifest: Digest, product: str, version: str) -> None:
        """Keep what comes of a release, also over a restart; one that is held already stays held."""
        name = manifest.hex()
        if self._load(_HELD + name) is None:
            self._store.save_object(_BEGUN + name, self._about(product, version))
        self._store.keep(manifest, f"{product} {version}")

    def hold(self, manifest: Digest, product: str, version: str) -> None:
        """Keep a release that is here whole."""
        self._store.save_object(_HELD + manifest.hex(), self._about(product, version))
        self._store.delete_object(_BEGUN + manifest.hex())

    def held(self) -> list[Row]:
        """Return what is held whole, oldest first: manifest digest, and product, version and time."""
        return self._rows(_HELD)

    def begun(self, product: str = "") -> list[Row]:
        """Return what was begun of a product, or of all if empty, oldest first."""
        return [row for row in self._rows(_BEGUN) if product in {"", row[1]["product"]}]

    def forget(self, manifest: Digest) -> None:
        """Stop keeping a release: its chunks may be collected unless something else needs them."""
        for prefix in (_HELD, _BEGUN):
            self._store.delete_object(prefix + manifest.hex())
        self._store.release(manifest)

    def tidy(self) -> int:
        """Remove manifests, pages, indexes and maps of releases that are not kept; return how many objects went.

        Safe beside a fetch: `begin` comes before its first object, and what is kept is looked up after the objects. An index comes
        before its maps, and is listed after them.
        """
        objects = [name for prefix in (_MAP, _INDEX, _MANIFEST, _PAGE) for name in self._store.list_objects(prefix)]
        kept = [manifest for manifest, _ in (*self.held(), *self.begun())]
        pages = [self._pages_of(manifest) for manifest in kept]
        needed = {root_object(manifest) for manifest in kept}.union(*(names for names in pages if names is not None))
        for name in objects:
            if name.startswith(_INDEX) and (index := self._index_of(name, kept)) is not None:
                needed |= {name, *(map_object(one.digest) for one in index.maps)}
        # The pages of a manifest that is not whole yet are not all known: then no page goes.
        spared = _PAGE if None in pages else "\0"
        gone = [name for name in objects if name not in needed and not name.startswith(spared)]
        for name in gone:
            self._store.delete_object(name)
        return len(gone)

    def _about(self, product: str, version: str) -> bytes:
        return json.dumps({"product": product, "version": version, "time": self._clock()}).encode()

    def _rows(self, prefix: str) -> list[Row]:
        found = ((name, self._load(name)) for name in self._store.list_objects(prefix))
        rows = [(bytes.fromhex(name.removeprefix(prefix)), about) for name, about in found if about is not None]
        return sorted(rows, key=lambda row: row[1]["time"])

    def _load(self, name: str) -> dict[str, Any] | None:
        try:
            data = self._store.load_object(name)
        except StoreError as error:  # its chunks are verified when they are read; the row only says that they are wanted
            _log.warning("%s: %s", name, error)
            self._store.delete_object(name)
            return None
        return json.loads(data) if data is not None else None

    def _pages_of(self, manifest: Digest) -> set[str] | None:
        """Return the names of a manifest's pages; None if it is not whole and sound here."""
        names: set[str] = set()
        try:
            root = self._store.load_object(root_object(manifest))
            if root is None:
                return None
            loader = load_manifest(root)
            refs = next(loader)
            while True:
                wanted = [page_object(ref.digest) for ref in refs]
                names.update(wanted)
                pages = [self._store.load_object(name) for name in wanted]
                if None in pages:
                    return None
                refs = loader.send([page for page in pages if page is not None])
        except StopIteration:
            return names
        except (StoreError, ContentError) as error:
            _log.warning("manifest %s: %s", short(manifest), error)
            return None

    def _index_of(self, name: str, kept: list[Digest]) -> PackIndex | None:
        """Return an index of what is kept; None if it is of something else, or damaged."""
        try:
            data = self._store.load_object(name)
            index = decode_index(data, bytes.fromhex(name.removeprefix(_INDEX))) if data is not None else None
        except (StoreError, ContentError, ValueError):
            return None
        return index if index is not None and index.manifest in kept else None
