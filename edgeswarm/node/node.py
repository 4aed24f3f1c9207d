"""A node: what holds store, metadata, links, uplink and transfers together, and what a program does with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio

from ..abc import ChunkStore, OriginReader, PeerIdentity, ReadStream, Transport
from ..content.digest import Digest, short
from ..content.manifest import Manifest
from ..errors import (
    ConfigError,
    ContentError,
    EdgeswarmError,
    FetchError,
    NodeError,
    NotPublishedError,
    ObjectMissingError,
    StoreError,
    TrustError,
)
from ..exchange import TransferConfig
from ..store.floorbook import FloorBook
from ..trust.bundle import Identity
from ..trust.catalogue import Channel, Release
from ..wire.messages import CAPABILITIES, Hello, News, Partial
from .acquaintances import load_acquaintances, save_acquaintances
from .artifacts import StoredStream, load_stored_manifest
from .config import NodeConfig
from .fetch import Fetcher, Job
from .handle import Fetch
from .hub import Hub
from .introductions import reachable_address
from .links import Links
from .metadata import Metadata
from .newsroom import Newsroom
from .objects import Objects
from .partials import Partials
from .peer import Peer
from .shelf import Shelf
from .threads import in_thread
from .unfollowed import Unfollowed
from .uplink import Uplink

_log = logging.getLogger("edgeswarm.node")
_MOST_ENDED = 16
_REMEMBER_SECONDS = 10.0  # a site that starts is written down in a few steps, not one a node; a guess


class Node:
    """One running node. Make it with `open_node`.

    Attributes:
        config: What it was told.
        store: Its chunks.
        identity: Its key, certificate and trusted root.
        own: Who it is.
        metadata: What it knows to be signed.
        links: Its peers.
        uplink: Its own path to an origin, or None.
        news: Gets newer metadata.
    """

    def __init__(
        self,
        config: NodeConfig,
        store: ChunkStore,
        identity: Identity,
        origin: OriginReader | None,
        transport: Callable[[Node], Transport],
        dice: Random,
        clock: Callable[[], datetime],
        partials: Path | None = None,
        floors: str = "",
    ) -> None:
        self.config = config
        self.store = store
        self.identity = identity
        self.own = PeerIdentity(identity.fleet, identity.site, identity.node, identity.node_id, "here")
        self.dice = dice
        self.clock = clock
        products = [section.product for section in config.subscribe]
        self.metadata = Metadata(
            store, FloorBook(store, floors), identity.root, products, grace_days=config.node.expiry_grace_days, clock=clock
        )
        self.uplink: Uplink | None = None
        poll_seconds = 0.0
        if origin is not None and config.uplink is not None:
            poll_seconds = config.uplink.poll_seconds
            self.uplink = Uplink(
                origin, Partials(partials), retry_seconds=config.uplink.retry_seconds, dice=dice, on_change=self._on_uplink
            )
        self._shelf = Shelf(store)
        self._unfollowed = Unfollowed(store, self._shelf, products, config.node.unfollowed_days, self._seconds, self.forget)
        self.news = Newsroom(self.metadata, self.uplink, poll_seconds, self.own.key, dice)
        self._hub = Hub(
            store, self.metadata, news=self._news, on_news=self.news.consider, on_partial=self._on_partial, on_lost=self._repair,
            on_wanted=self._host, coming=lambda kind, name: self._objects.coming(kind, name),
        )  # fmt: skip
        self.links = Links(transport(self), self._hub, self._hello, self.own.key, config.lan.max_links, dice, self._on_peer)
        self._hub.links = self.news.links = self.links
        self._objects = Objects(store, self.links, self.uplink, self.own.key)
        window = TransferConfig(window_chunks=config.lan.window_chunks, open_chunks=config.lan.open_chunks)
        self._fetcher = Fetcher(
            store, self._objects, self.links, self._hub, self.uplink, self.own.key, dice, window, self._hub.on_transfer,
            self._shelf, partial(self._unfollowed.let_go, at_once=True),
        )  # fmt: skip
        self._jobs: dict[Digest, Job] = {}
        self._ended: dict[Digest, dict[str, Any]] = {}
        self._bound = ""
        self._nursery: trio.Nursery | None = None
        self._met = trio.Event()
        self.on_metadata: list[Callable[[int], None]] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; reports when what was saved is loaded and links are accepted."""
        await self.metadata.load()
        await self._unfollowed.let_go()
        lost = await self._load_held()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._bound = await nursery.start(partial(self.links.run, self.config.lan.listen, self.config.lan.peers))
            nursery.start_soon(self.news.run, self._on_metadata, partial(self._hub.say_news, checked=True))
            nursery.start_soon(self._remember_peers)
            nursery.start_soon(self._unfollowed.run)
            if self.uplink is not None:
                nursery.start_soon(self.uplink.run)
            for digest in lost:
                self._repair(digest)
            task_status.started()

    def _seconds(self) -> float:
        """Return seconds since 1970, whatever a clock says that was never set."""
        return self.metadata.time_floor.now(self.clock()).timestamp()

    def _on_peer(self, peer: Peer, came: bool) -> None:
        self._hub.on_peer(peer, came)
        if came and self.news.is_current:
            peer.post(self._news())  # as greeted: see `Peer.checked`
        if came:
            self._met.set()

    async def _remember_peers(self) -> None:
        """Dial the peers of before, and remember those that come."""
        for address in await in_thread(partial(load_acquaintances, self.store)):
            self.links.suggest(address)
        while True:
            await self._met.wait()
            self._met = trio.Event()
            addresses = [address for peer in self.links.peers.values() if (address := reachable_address(peer))]
            try:
                await in_thread(partial(save_acquaintances, self.store, addresses))
            except StoreError as error:  # a hint for the next start, no more
                _log.info("peers are not remembered: %s", error)
            await trio.sleep(_REMEMBER_SECONDS)

    @property
    def bound(self) -> str:
        """`host:port` at which links are accepted; empty if none are."""
        return self._bound

    def _hello(self) -> Hello:
        news = self._news()
        return Hello(
            node=self.own.node, role=self.config.node.role, uplink=news.uplink,
            capabilities=CAPABILITIES, listen=self.config.lan.advertise or self._bound, timestamp_version=news.timestamp_version,
        )  # fmt: skip

    def _news(self) -> News:
        return News(timestamp_version=self.metadata.version, uplink=self.uplink is not None and self.uplink.usable)

    def _on_metadata(self) -> None:
        self._hub.say_news()
        for notify in self.on_metadata:
            notify(self.metadata.version)

    def _on_partial(self, peer: Peer, part: Partial) -> None:
        if self.uplink is not None:
            self.uplink.take_partial(peer.id, part.pack, part.offset, part.at, part.data)

    def _on_uplink(self, _usable: bool) -> None:
        self._hub.on_uplink()

    # Releases.

    async def find(self, product: str, *, channel: str = "", version: str = "") -> tuple[Release, Channel | None]:
        """Return the release that a channel points to, or one version, for this node's hardware, from verified metadata.

        Args:
            product: Name of the product.
            channel: Name of a channel; or empty, and `version` says which.
            version: Version of the release.

        Raises:
            NotPublishedError: There is none, or metadata was never verified here.
            TrustError: Metadata has expired, or a channel went back.
            ConfigError: What is asked for is no name.
        """
        if await self.metadata.want_product(product):
            self.news.look_for(product)
        moved = await self.metadata.channel(product, channel) if channel else None
        wanted = moved.version if moved is not None else version
        return self.metadata.release(product, wanted, self.config.node.compatible), moved

    def _host(self, product: str, peer: bytes) -> None:
        """Keep a product's metadata up to date for a peer, which may have no other source."""
        if self.metadata.host_product(product, peer):
            self.news.look_for(product)

    def subscribe(self, product: str, channel: str) -> Subscription:
        """Follow a channel: `async for channel, release in node.subscribe(product, channel):`."""
        return Subscription(self, product, channel)

    def fetch(self, release: Release) -> Fetch:
        """Start to fetch a release, or join the fetch that is running; what is here already is not fetched again.

        Raises:
            ConfigError: The node does not run.
        """
        running = self._jobs.get(release.manifest)
        if running is not None and not running.scope.cancel_called:
            return Fetch(running)
        if self._nursery is None:
            raise ConfigError("the node is not running: use it inside `async with open_node(...)`")
        job = self._jobs[release.manifest] = Job(release)
        self._nursery.start_soon(self._run_job, job, running)
        return Fetch(job)

    async def _run_job(self, job: Job, before: Job | None) -> None:
        error: EdgeswarmError | None = FetchError(f"the fetch of {job.release.path} was cancelled; what came is kept")
        try:
            with job.scope:
                if before is not None:  # cancelled, and not ended yet
                    await before.finished.wait()
                await self._unfollowed.fetched(job.release.product)
                await self._bring(job)
                await self._hold(job)
                error = None
        except EdgeswarmError as caught:
            error = caught
        except Exception as caught:  # a bug: it ends this fetch, and not the node
            _log.exception("fetch of %s", job.release.path)
            error = NodeError(f"the fetch of {job.release.path} failed: {caught!r}")
        finally:
            job.finish(error)
            if self._jobs.get(job.release.manifest) is job:
                del self._jobs[job.release.manifest]
            self._note_end(job, error)

    async def _bring(self, job: Job) -> None:
        """Run a fetch; when the origin has an object no more, look once if it was published anew, and try again."""
        try:
            await self._fetcher.run(job)
        except ObjectMissingError:
            old = job.release
            if not await self.news.check_now():
                raise
            job.release = self.metadata.release(old.product, old.version, self.config.node.compatible)
            if job.release == old or job.release.manifest != old.manifest:
                raise
            await self._fetcher.run(job)

    def _note_end(self, job: Job, error: EdgeswarmError | None) -> None:
        """Keep how the last fetches ended for the status."""
        row = _fetch_row(job) | {"error": str(error) if error is not None else ""}
        self._ended.pop(job.release.manifest, None)
        self._ended[job.release.manifest] = row
        while len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def _repair(self, manifest: Digest) -> None:
        """Fetch a held release again of which chunks were lost, if metadata still names it."""
        for product in sorted({section.product for section in self.config.subscribe}):
            try:
                known = [release for release in self.metadata.releases(product) if release.manifest == manifest]
            except (NotPublishedError, TrustError) as error:
                _log.error("if it is one of %s, a release that lost chunks cannot be fetched again: %s", product, error)
                continue
            if known:
                _log.warning("%s lost chunks here and is fetched again", known[0].path)
                self.fetch(known[0])
                return

    def open_stream(self, manifest: Manifest) -> ReadStream:
        """Return the verified stream of an artifact that is held: `read(offset, length)`, blocking, for threads."""
        return StoredStream(self.store, manifest).read

    # What is held whole, and served to others.

    async def _hold(self, job: Job) -> None:
        assert job.manifest is not None  # noqa: S101  # the fetch is complete
        release = job.release
        await in_thread(partial(self._shelf.hold, release.manifest, release.product, release.version))
        self._hub.held[release.manifest] = job.manifest
        if not any(other.release.product == release.product for other in self._jobs.values() if other is not job):
            await in_thread(partial(self._let_go_of_begun, release.product))

    def _let_go_of_begun(self, product: str) -> None:
        """Forget what was begun of a product that nobody brings, and borrowed bases: a release of it is here whole."""
        for manifest, about in self._shelf.begun(product):
            _log.info("%s %s is not kept any more", about["product"], about["version"])
            self._shelf.forget(manifest)
        self._shelf.tidy()

    async def _load_held(self) -> list[Digest]:
        """Load the manifests of what is held; return those that are damaged or gone."""

        def load(digest: Digest) -> Manifest | None:
            try:
                return load_stored_manifest(self.store, digest)
            except ContentError as error:
                _log.error("manifest %s: %s", short(digest), error)
                return None

        found = {digest: await in_thread(partial(load, digest)) for digest, _ in await self.held()}
        self._hub.held.update({digest: manifest for digest, manifest in found.items() if manifest is not None})
        return [digest for digest, manifest in found.items() if manifest is None]

    async def held(self) -> list[tuple[Digest, dict[str, Any]]]:
        """Return what is held whole, oldest first: manifest digest, and product, version and time."""
        return await in_thread(self._shelf.held)

    async def forget(self, manifest: Digest) -> None:
        """Stop holding a release: its chunks may be collected unless something else needs them."""
        self._hub.held.pop(manifest, None)
        await in_thread(partial(self._shelf.forget, manifest))

    # For people.

    def status(self) -> dict[str, Any]:
        """Return what a person wants to know, as JSON has it."""
        uplink = None
        if self.uplink is not None:
            uplink = {
                "usable": self.uplink.usable, "bytes_read": self.uplink.bytes_read, "error": self.uplink.last_error,
                "checked_at": self.news.checked_at, "current": self.news.is_current,
            }  # fmt: skip
        return {
            "node": self.own.node, "site": self.own.site, "fleet": self.own.fleet, "role": self.config.node.role,
            "listen": self._bound, "metadata": self.metadata.status(), "uplink": uplink, "peers": self.links.status(),
            "banned": [reason for _, reason in self.links.banned.values()], "refused": list(self.links.refused),
            "fetches": [_fetch_row(job) for job in self._jobs.values()], "ended": list(self._ended.values()),
            "held": [digest.hex() for digest in self._hub.held], "store": asdict(self.store.statistics()),
        }  # fmt: skip


class Subscription:
    """An endless iterator over what a channel points to: now, and each time that it moves.

    Waits through everything that may pass by itself: no metadata yet, a channel or variant not published yet. A release that
    is replaced before the caller comes back for the next is left out.

    Attributes:
        trouble: Why there is nothing to return now, for people; empty: there was.
    """

    def __init__(self, node: Node, product: str, channel: str) -> None:
        self._node = node
        self._product = product
        self._channel = channel
        self._last: tuple[Channel, Release] | None = None
        self.trouble = ""

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> tuple[Channel, Release]:
        """Return the channel and the release that it points to."""
        while True:
            changed = self._node.metadata.changed
            try:
                release, channel = await self._node.find(self._product, channel=self._channel)
            except (NotPublishedError, TrustError) as error:
                self.trouble = str(error)
                _log.info("channel %s/%s: %s", self._product, self._channel, error)
            else:
                self.trouble = ""
                if channel is not None and (channel, release) != self._last:
                    self._last = (channel, release)
                    return self._last
            await changed.wait()


def _fetch_row(job: Job) -> dict[str, Any]:
    return {"product": job.release.product, "version": job.release.version, **job.progress.as_dict()}
