"""The maps of one delta index: here before the units that need them are read, and opened once.

A map comes from the store, a neighbour, or the uplink of one node of the site, as an index does. Over the uplink it is read like a
piece, so that a broken read goes on where it was. One that cannot be had, or is not what it should be, is not tried again for this
transfer: the chunks of its units are taken whole.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial

import trio

from ..abc import ChunkStore
from ..content.delta import PairMap, open_map
from ..content.digest import Digest, check_digest
from ..content.index import PackIndex, Piece
from ..content.plan import PackRead
from ..errors import BaseMissingError, ContentError, FetchError, StoreError
from .artifacts import map_object
from .objects import Objects
from .threads import in_thread
from .uplink import OnBytes, OnPartial, Uplink

_log = logging.getLogger("edgeswarm.fetch")
_OPENED = 2
"""Maps that are open at a time: some MB each. A span lies in one or two."""


class Maps:
    """The maps of one delta index, for one transfer.

    Args:
        index: Names them.
        objects: Finds them.
        uplink: This node's own.
        store: Where they are kept.
        base_size: Bytes of the base's stream.
    """

    def __init__(self, index: PackIndex, objects: Objects, uplink: Uplink, store: ChunkStore, base_size: int) -> None:
        self._index = index
        self._base_size = base_size
        self._objects = objects
        self._uplink = uplink
        self._store = store
        self._lock = trio.Lock()
        self._usable: dict[Digest, bool] = {}
        self._opened: OrderedDict[Digest, PairMap] = OrderedDict()

    async def bring(self, needed: Piece, on_bytes: OnBytes, on_partial: OnPartial) -> bool:
        """Have a map of the index in the store; return whether units can be decoded with it.

        Waits for a neighbour that is getting it.

        Args:
            needed: The map.
            on_bytes: See `Uplink.read_pack`.
            on_partial: See there.

        Raises:
            FetchError: The uplink broke.
        """
        async with self._lock:  # spans may be fetched at the same time
            if needed.digest not in self._usable:
                self._usable[needed.digest] = await self._try(needed, on_bytes, on_partial)
            return self._usable[needed.digest]

    async def _try(self, needed: Piece, on_bytes: OnBytes, on_partial: OnPartial) -> bool:
        try:
            data = await self._objects.obtain(
                "map", needed.digest.hex(), needed.length, partial(check_digest, wanted=needed.digest, what="map"),
                partial(self._read, needed, on_bytes, on_partial), self._index.manifest, is_patient=False,
            )  # fmt: skip
            await self._open(needed.digest, data)
        except (FetchError, ContentError) as error:
            if isinstance(error, FetchError) and error.temporary:
                raise
            run = f"{needed.first}+{needed.count}"
            _log.warning("map of chunks %s: %s; the chunks of its delta units are taken whole", run, error)
            return False
        return True

    async def _read(self, needed: Piece, on_bytes: OnBytes, on_partial: OnPartial) -> bytes:
        """Read a map over the uplink; once more if it is wrong and was begun with bytes that were here.

        Raises:
            FetchError: The uplink broke, or, for good, the origin has no such map or another one.
        """
        came = 0

        def count(size: int) -> None:
            nonlocal came
            came += size
            on_bytes(size)

        try:
            return await self._read_once(needed, count, on_partial)
        except ContentError as error:
            if came >= needed.length:
                raise FetchError(f"the origin has another one: {error}", temporary=False) from error
            self._uplink.failed(error)
        try:
            return await self._read_once(needed, on_bytes, on_partial)
        except ContentError as error:
            raise FetchError(f"the origin has another one: {error}", temporary=False) from error

    async def _read_once(self, needed: Piece, on_bytes: OnBytes, on_partial: OnPartial) -> bytes:
        made: list[bytes] = []

        async def keep(_needed: Piece, data: bytes) -> None:
            made.append(data)
            with trio.CancelScope(shield=True):  # it has been paid for
                await in_thread(partial(self._store.save_object, map_object(needed.digest), data))
            self._uplink.kept(pack, needed.offset)

        pack = self._index.packs[needed.pack]
        read = PackRead(self._index, pack, needed.offset, needed.length, (needed,))
        await self._uplink.read_pack(read, on_bytes, keep, on_partial)
        return made[0]

    async def opened(self, unit: Piece) -> PairMap | None:
        """Return the opened map of a unit, which `bring` has brought; None if it needs none.

        Raises:
            BaseMissingError: It is not in the store any more.
        """
        needed = self._index.map_for(unit)
        if needed is None:
            return None
        if needed.digest in self._opened:
            self._opened.move_to_end(needed.digest)
            return self._opened[needed.digest]
        try:
            data = await in_thread(partial(self._store.load_object, map_object(needed.digest)))
        except StoreError as error:
            raise BaseMissingError(f"its map cannot be read: {error}") from error
        if data is None:
            raise BaseMissingError("its map is not here any more")
        return await self._open(needed.digest, data)

    async def _open(self, name: Digest, data: bytes) -> PairMap:
        found = await in_thread(partial(open_map, data, self._base_size))
        self._opened[name] = found
        while len(self._opened) > _OPENED:
            self._opened.popitem(last=False)
        return found
