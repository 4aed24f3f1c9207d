"""Fetching one release: manifest, plan, transfer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import trio

from ..abc import ChunkStore
from ..content.digest import Digest, check_digest, short
from ..content.index import INDEX_MAX_BYTES, PackIndex, check_index, decode_index, index_name, manifest_name, pack_name
from ..content.manifest import Manifest, PageRef, load_manifest
from ..errors import ContentError, EdgeswarmError, FetchError, NoSpaceError, StoreError
from ..exchange import TransferConfig
from ..trust.catalogue import IndexRef, Release
from .artifacts import chunks_here, find_twins, load_stored_manifest, missing_bytes
from .decoding import Indexes, Pages
from .links import Links
from .maps import Maps
from .neighbours import Neighbours
from .objects import Objects
from .progress import Progress
from .shelf import Shelf
from .tasks import plain_nursery
from .threads import in_thread
from .transfer import Transfer
from .uplink import Uplink

_log = logging.getLogger("edgeswarm.fetch")
_LOOK_SECONDS = 0.05
_BASE_STALL_SECONDS = 3.0
"""A base that is sought on the LAN is given up when nothing of it came for this long. A guess."""
_BASE_SECONDS, _BASE_BYTES_PER_SECOND = 30.0, 1e6
"""Or when it comes more slowly than this in all: drop by drop it would keep the update waiting for ever. Guesses, for Wi-Fi."""


class Job:
    """A release on its way; whoever wants it holds a `Fetch` on it.

    Attributes:
        release: What is fetched.
        manifest: Its chunk table, once that is known.
        transfer: The transfer, while it runs.
        scope: Cancelled when nobody wants it any more.
        error: How it ended; None: well, or not yet.
    """

    def __init__(self, release: Release) -> None:
        self.release = release
        self.manifest: Manifest | None = None
        self.transfer: Transfer | None = None
        self.scope = trio.CancelScope()
        self.error: EdgeswarmError | None = None
        self.finished = trio.Event()
        self._wanted: dict[trio.Event, None] = {}
        self._last = Progress(release.size, 0, {}, 0, 0, complete=False)

    @property
    def progress(self) -> Progress:
        """The moment."""
        if self.transfer is not None:
            self._last = self.transfer.progress
        return self._last

    def join(self) -> trio.Event:
        """Note that somebody wants it; return what tells that it is over for whoever that is."""
        over = trio.Event()
        self._wanted[over] = None
        return over

    def leave(self, over: trio.Event) -> None:
        """Note that one of those wants it no more; when it was the last, it stops."""
        del self._wanted[over]
        over.set()
        if not self._wanted:
            self.scope.cancel()

    def finish(self, error: EdgeswarmError | None) -> None:
        """Called by the node when it is over."""
        self._last, self.transfer = self.progress, None
        self.error = error
        self.finished.set()
        for over in self._wanted:
            over.set()


class Fetcher:
    """Brings releases into the store.

    Args:
        store: Where chunks go.
        objects: Finds manifests, indexes and maps.
        links: The peers.
        neighbours: Tells peers things.
        uplink: This node's own, or None.
        own: This node's id.
        dice: For ties.
        config: What can be set of a transfer.
        on_transfer: Called with a transfer that starts (True) or ends (False).
        shelf: Remembers what was begun.
        make_room: Lets go of what is kept only because there was room.
    """

    def __init__(
        self,
        store: ChunkStore,
        objects: Objects,
        links: Links,
        neighbours: Neighbours,
        uplink: Uplink | None,
        own: bytes,
        dice: Random,
        config: TransferConfig,
        on_transfer: Callable[[Transfer, bool], None],
        shelf: Shelf,
        make_room: Callable[[], Awaitable[None]],
    ) -> None:
        self._shelf = shelf
        self._let_go_of_spare = make_room
        self._store = store
        self._objects = objects
        self._links = links
        self._neighbours = neighbours
        self._uplink = uplink
        self._own = own
        self._dice = dice
        self._config = config
        self._on_transfer = on_transfer
        self._running: dict[Digest, Transfer] = {}
        self._locks: dict[Digest, trio.Lock] = {}

    async def run(self, job: Job) -> None:
        """Bring one release; see `Fetch.wait` for what it raises."""
        release = job.release
        await in_thread(partial(self._shelf.begin, release.manifest, release.product, release.version))
        root = await self._root(release)
        refused: FetchError | None = None
        try:
            indexes = await self._indexes(release)
            pages = indexes.delta or await self._index_of_pages(root, release)
        except FetchError as error:
            if error.temporary or not self._links.peers:
                raise
            _log.warning("%s: %s; going on with what the neighbours have", release.path, error)
            indexes, pages, refused = Indexes(None, None, None), None, error
        job.manifest = manifest = await self._load_pages(root, release.manifest, Pages(pages, indexes.base, indexes.load_full))
        if indexes.delta is not None:
            check_index(indexes.delta, manifest)
        async with self._alone(manifest.digest):  # it may be on its way as a base for another release
            job.transfer = await self._transfer(manifest, indexes, self._uplink, refused)
            await self._drive(job.transfer)
        await self._drop_partials(release)

    async def _drop_partials(self, release: Release) -> None:
        """Drop the beginnings of pieces of a release that is here whole: it may have come from elsewhere, and in an earlier run."""
        for ref in release.indexes:
            if self._uplink is not None and self._uplink.has_partials:
                index = await in_thread(partial(self._stored_index, ref))
                if index is not None:
                    self._uplink.drop_partials(index)

    def _stored_index(self, ref: IndexRef) -> PackIndex | None:
        try:
            data = self._store.load_object(f"index/{ref.digest.hex()}")
            return decode_index(data, ref.digest) if data is not None else None
        except (StoreError, ContentError) as error:
            _log.info("index %s: %s", short(ref.digest), error)
            return None

    @asynccontextmanager
    async def _alone(self, manifest: Digest) -> AsyncIterator[None]:
        """Let one transfer of a manifest run at a time."""
        lock = self._locks.setdefault(manifest, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._locks.pop(manifest, None)

    async def _drive(self, transfer: Transfer) -> None:
        name = transfer.manifest.digest
        self._running[name] = transfer
        self._on_transfer(transfer, True)
        try:
            await transfer.run()
        finally:
            self._running.pop(name)
            self._on_transfer(transfer, False)
            transfer.ended.set()

    async def _transfer(
        self, manifest: Manifest, indexes: Indexes, uplink: Uplink | None, refused: FetchError | None = None
    ) -> Transfer:
        here = await in_thread(partial(chunks_here, self._store, manifest))
        twins = await in_thread(partial(find_twins, manifest))
        await self._make_room(missing_bytes(manifest, here, twins))
        needed = [manifest.chunk(index).digest for index in here]
        await in_thread(partial(self._store.require, manifest.digest, needed))
        return Transfer(
            manifest, self._store, self._own, self._neighbours, uplink, indexes, self._dice, self._config,
            here=here, twins=twins, refused=refused,
        )  # fmt: skip

    async def _make_room(self, size: int) -> None:
        """See that what is missing fits, before a metered uplink is used for it; let go of what nothing needs if it does not."""
        try:
            await in_thread(partial(self._store.check_room, size))
        except NoSpaceError:
            await self._let_go_of_spare()
            await in_thread(self._store.collect)
            await in_thread(partial(self._store.check_room, size))

    async def _root(self, release: Release) -> bytes:
        name = release.manifest.hex()
        read = partial(self._uplink.read, manifest_name(release.manifest), limit=release.root_bytes) if self._uplink else None
        check = partial(check_digest, wanted=release.manifest, what=f"manifest root of {release.path}")
        return await self._objects.obtain("manifest", name, release.root_bytes, check, read, release.manifest)

    # Indexes and bases: only a node with an uplink needs them.

    async def _indexes(self, release: Release) -> Indexes:
        """Choose the cheapest index whose base this node has, or can get from its neighbours."""
        if self._uplink is None:
            return Indexes(None, None, None)
        load_full = partial(self._load_index, release, None)
        for ref in sorted(release.indexes, key=lambda ref: ref.payload_bytes):
            if ref.base is None:
                break
            base = await self._base(ref.base, release)
            if base is not None:
                delta = await self._load_index(release, ref.base)
                return Indexes(delta, base, load_full, Maps(delta, self._objects, self._uplink, self._store, base.root.size))
        return Indexes(None, None, load_full)

    async def _base(self, digest: Digest, release: Release) -> Manifest | None:
        """Return a base whose chunks are all here, after looking for it among the neighbours; it stays until the fetch is done."""
        base = await in_thread(partial(load_stored_manifest, self._store, digest))
        if base is None or not await self._whole(base):
            if not any(digest in peer.holdings for peer in self._links.peers.values()):
                return None
            base = await self._borrow(digest, base, release)
        if base is None or not await self._whole(base):
            return None
        await in_thread(partial(self._shelf.begin, digest, release.product, f"base of {release.version}"))
        return base

    async def _borrow(self, digest: Digest, base: Manifest | None, release: Release) -> Manifest | None:
        """Get a base from the neighbours; None if they did not bring its manifest in time."""
        _log.info("base %s is not here: asking the neighbours for it", short(digest))
        await in_thread(partial(self._shelf.begin, digest, release.product, f"base of {release.version}"))
        with trio.move_on_after(_BASE_SECONDS + release.size / _BASE_BYTES_PER_SECOND):
            with trio.move_on_after(_BASE_STALL_SECONDS) as scope:
                if base is None:
                    base = await self._base_manifest(digest)
                await self._base_chunks(base, scope)
        return base

    async def _base_manifest(self, digest: Digest) -> Manifest:
        check = partial(check_digest, wanted=digest, what="manifest root of a base")
        root = await self._objects.obtain("manifest", digest.hex(), 4096, check, None, digest)
        return await self._load_pages(root, digest, Pages(None, None, None))

    async def _base_chunks(self, base: Manifest, scope: trio.CancelScope) -> None:
        async with plain_nursery() as nursery:
            nursery.start_soon(self._watch_base, base.digest, scope)
            async with self._alone(base.digest):  # it may be on its way already, for itself or for another release
                await self._drive(await self._transfer(base, Indexes(None, None, None), None))
            nursery.cancel_scope.cancel()

    async def _watch_base(self, base: Digest, scope: trio.CancelScope) -> None:
        """Put the deadline off whenever something comes, whoever fetches it."""
        while True:
            transfer = self._running.get(base)
            if transfer is None:
                await trio.sleep(_LOOK_SECONDS)
                continue
            with trio.move_on_after(_BASE_STALL_SECONDS):
                await transfer.changed()
                scope.deadline = trio.current_time() + _BASE_STALL_SECONDS

    async def _whole(self, manifest: Manifest) -> bool:
        return len(await in_thread(partial(chunks_here, self._store, manifest))) == len(manifest)

    async def _load_index(self, release: Release, base: Digest | None) -> PackIndex:
        ref = release.index_for(base)
        if ref is None:
            raise FetchError(
                f"{release.path} is no longer offered: its publisher has dropped what it is fetched with; fetch a newer version",
                temporary=False,
            )
        data = await self._index_bytes(ref)
        return await in_thread(partial(decode_index, data, ref.digest))

    async def _index_bytes(self, ref: IndexRef) -> bytes:
        check = partial(check_digest, wanted=ref.digest, what="index")
        read = partial(self._uplink.read, index_name(ref.digest), limit=ref.length) if self._uplink else None
        return await self._objects.obtain("index", ref.digest.hex(), min(ref.length, INDEX_MAX_BYTES), check, read)

    # Pages.

    async def _index_of_pages(self, root: bytes, release: Release) -> PackIndex | None:
        """Return an index that says where the pages of a manifest lie; None if it has none, or this node has no uplink."""
        if self._uplink is None:
            return None
        try:
            next(load_manifest(root))
        except StopIteration:
            return None
        return await self._load_index(release, None)

    async def _load_pages(self, root: bytes, manifest: Digest, pages: Pages) -> Manifest:
        """Load the pages of a manifest, from the store, the neighbours or a pack."""
        loader = load_manifest(root)
        try:
            refs = next(loader)
            while True:
                refs = loader.send([await self._page(ref, manifest, pages) for ref in refs])
        except StopIteration as stop:
            loaded: Manifest = stop.value
            return loaded

    async def _page(self, ref: PageRef, manifest: Digest, pages: Pages) -> bytes:
        index = pages.index
        read = partial(self._page_from_pack, ref, index, pages) if index is not None and ref.digest in index.page_digests else None
        check = partial(check_digest, wanted=ref.digest, what="manifest page")
        return await self._objects.obtain("page", ref.digest.hex(), ref.length, check, read, manifest)

    async def _page_from_pack(self, ref: PageRef, index: PackIndex, pages: Pages) -> bytes:
        assert self._uplink is not None  # noqa: S101  # an index is loaded only with an uplink
        piece = index.pages[index.page_digests.index(ref.digest)]
        data = await self._uplink.read_range(pack_name(index.packs[piece.pack]), piece.offset, piece.length)
        try:
            page = await in_thread(partial(pages.decode, data, ref.length))
            check_digest(page, ref.digest, "manifest page")
        except ContentError as error:
            if index.base is None or pages.load_full is None:
                raise
            _log.warning("a manifest page as a difference: %s; it is taken whole", error)
            return await self._page_from_pack(ref, await pages.load_full(), pages)
        return page
