"""The verified metadata of a node: refreshed from whoever has it, kept durably, handed on to peers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import trio

from ..abc import ChunkStore
from ..errors import EdgeswarmError, ExpiredError, FetchError, NotPublishedError, StoreError, TrustError
from ..store.floorbook import FloorBook
from ..trust.catalogue import Catalogue, Channel, Release
from ..trust.client import ExpiryPolicy, Outcome, TrustClient, Want, grace
from ..trust.clock import TimeFloor
from ..trust.floors import Floors
from .guests import Guests
from .heard import Heard
from .threads import in_thread
from .verifying import Answer, Verified, nobody, verify

_log = logging.getLogger("edgeswarm.metadata")
_Answers = dict[str, bytes | FetchError | None]
_PREFIX = "metadata/"


def wall_clock() -> datetime:
    """Return what this machine's clock says, right or wrong."""
    return datetime.now(UTC)


class Metadata:
    """What this node knows to be signed.

    Args:
        store: Keeps the files.
        book: Keeps the floors.
        bootstrap: The root that the node was given when it was enrolled.
        products: Products whose roles are kept up to date.
        grace_days: Days for which expired metadata still counts, marked stale.
        clock: Returns the time, aware.

    Attributes:
        changed: Set, and replaced, when something newer is here.
        saved: What was wrong with the files that were saved before.
        origin: What the origin's last answer failed with.
        peers: What the last answer of any peer failed with.
    """

    def __init__(
        self,
        store: ChunkStore,
        book: FloorBook,
        bootstrap: bytes,
        products: Iterable[str],
        *,
        grace_days: int = 0,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._store = store
        self._book = book
        self._bootstrap = bootstrap
        self._policy: ExpiryPolicy = grace(grace_days)
        self._clock = clock
        self._products = dict.fromkeys(products)
        self._guests = Guests()
        self._troubles: list[str] = []
        self._lock = trio.Lock()
        self._files: dict[str, bytes] = {}
        self._found: Verified | None = None
        self.changed = trio.Event()
        self.saved, self.origin, self.peers = (Heard(source) for source in ("saved", "origin", "peers"))

    @property
    def version(self) -> int:
        """Version of the newest verified timestamp; 0: none yet."""
        return self._found.outcome.timestamp_version if self._found else 0

    @property
    def time_floor(self) -> TimeFloor:
        """A moment that has certainly passed."""
        return self._book.floors.time

    @property
    def outcome(self) -> Outcome | None:
        """What the last refresh brought, or None before the first."""
        return self._found.outcome if self._found else None

    @property
    def missing(self) -> list[str]:
        """Products that are wanted and whose role the last refresh did not bring up to date."""
        return [product for product in self._wanted() if not self.knows(product)] if self._found else []

    def _catalogue_of(self, product: str) -> Catalogue:
        """Return what is known of one product: whatever is wrong with another one does not matter.

        Where its newest role is not to be had, or what came in its place is not the one that was signed, what was verified before
        goes on working: whoever holds something back could stop this node otherwise. It does not where the newest came and has
        expired, or where its keys are not those of the product any more: see `TrustClient.stand_in`.
        """
        found = self._current(product)
        error = found.failed.get(product)
        if error is None or product in found.behind:
            return Catalogue(found.client)
        if isinstance(error, TrustError):
            raise (ExpiredError if isinstance(error, ExpiredError) else TrustError)(str(error))
        raise NotPublishedError(f"the newest metadata of product {product!r} is not here yet: {error}")

    def _current(self, product: str | None = None) -> Verified:
        """Return what was verified, unless the top level, or what speaks of a product, has expired since."""
        if self._found is None:
            raise NotPublishedError("no verified metadata yet: neither the origin nor a peer was reached so far")
        expires, name = self._found.client.expiry(product)
        if self._now() > expires + self._policy.grace:
            expired = f"{name} expired on {expires:%Y-%m-%d}"
            raise ExpiredError(f"{expired}: nothing new is installed until the origin or a peer brings newer metadata")
        return self._found

    async def load(self) -> None:
        """Verify what was saved before; a node that was never refreshed has nothing, which is fine.

        Saved files are expendable, since the floors lie elsewhere: a damaged one counts as none and is fetched again.

        Raises:
            StoreError: The store fails, or both places of the floors are damaged.
        """
        await in_thread(self._load_files)
        if "timestamp.json" in self._files:
            try:
                await self._refresh(nobody, self.saved)
            except EdgeswarmError as error:
                self.saved.failed(error)
                _log.warning("saved metadata: %s", error)

    def _load_files(self) -> None:
        names = self._store.list_objects(_PREFIX)
        loaded = {name.removeprefix(_PREFIX): self._load_file(name) for name in names}
        self._files = {name: data for name, data in loaded.items() if data is not None}
        self._book.load()

    def _load_file(self, name: str) -> bytes | None:
        try:
            return self._store.load_object(name)
        except StoreError as error:
            self._note_damage(f"{name}: {error}")
        try:
            self._store.delete_object(name)
        except StoreError as error:  # a full or failing disk: saving it anew replaces it, too
            _log.warning("%s cannot be removed: %s", name, error)
        return None

    def _note_damage(self, trouble: str) -> None:
        if trouble not in self._troubles:
            _log.error("saved metadata is damaged, and fetched again: %s", trouble)
            self._troubles.append(trouble)

    async def refresh(self, answer: Answer, heard: Heard | None = None) -> bool:
        """Verify what a source has and keep it; return whether it was newer.

        A product that does not verify, or that the source lacks, fails alone: see `missing`.

        Args:
            answer: Asks the source for one file.
            heard: Where it is noted what failed: `origin`, or `peers`, the default.

        Raises:
            TrustError: The top level does not verify, is older than what is known, or has expired.
            FetchError: The source broke off or lacks a file that it should have.
        """
        source = heard or self.peers
        try:
            return await self._refresh(answer, source)
        except EdgeswarmError as error:
            source.failed(error)
            raise

    async def _refresh(self, answer: Answer, source: Heard) -> bool:
        """Hear a source out without the lock, since it may take its time; another may bring something meanwhile."""
        files, client = self._files, self._new_client()
        heard: _Answers = {}

        async def hear(want: Want) -> bytes | None:
            try:
                heard[want.name] = data = await answer(want)
            except FetchError as error:
                heard[want.name] = error
                raise
            return data

        try:
            found = await self._verify(client, hear)
        except EdgeswarmError:
            await self._save_roots(client, files)
            raise
        async with self._lock:
            if self._files is not files:
                again = await self._verify_again(found, heard)
                if again is None:
                    source.came({})
                    return False
                found = again
            newer = await self._keep(found)
            source.came(found.failed)
        for other in (self.saved, self.origin, self.peers):
            if other is not source:
                other.forgive(found.products)
        return newer

    async def _verify_again(self, found: Verified, heard: _Answers) -> Verified | None:
        """Verify what was heard against what another refresh saved meanwhile; None: that one was newer."""

        async def recall(want: Want) -> bytes | None:
            data = heard.get(want.name)
            if isinstance(data, FetchError):
                raise data
            return data

        known = self._found.outcome if self._found is not None else None
        if known is not None and _age(found.outcome) < _age(known):
            return None
        return await self._verify(self._new_client(), recall)

    def _new_client(self) -> TrustClient:
        floor = self._book.floors.versions
        return TrustClient(self._files, now=self._now(), bootstrap=self._bootstrap, expiry=self._policy, floor=floor)

    async def _verify(self, client: TrustClient, answer: Answer) -> Verified:
        return await verify(client, tuple(self._wanted()), answer)  # others may come meanwhile

    async def _keep(self, found: Verified) -> bool:
        """Make what was verified durable, and use it; return whether it is newer."""
        outcome, before = found.outcome, self._found
        newer = outcome.timestamp_version > self.version or bool(outcome.changed)
        newer = newer or (before is not None and not set(found.products) <= set(before.products))
        left = {name for name in self._files if _role_of(name) in self._guests.left and name not in found.client.files}
        obsolete = left.union(outcome.obsolete)
        await in_thread(partial(self._save, outcome, obsolete))
        self._files = {name: data for name, data in (self._files | outcome.changed).items() if name not in obsolete}
        self._found = found
        for name in outcome.damaged:
            self._note_damage(f"{name}: does not verify")
        for product, error in found.failed.items():
            if before is None or str(before.failed.get(product, "")) != str(error):
                _log.warning("product %s: %s", product, error)
        if newer:
            self._tell()
        return newer

    async def want_product(self, product: str) -> bool:
        """Keep another product up to date from the next refresh on; return whether it is new."""
        fresh = not self.wants(product)
        self._guests.remove(product)
        self._products[product] = None
        return fresh

    def host_product(self, product: str, peer: bytes) -> bool:
        """Keep a product up to date that only a peer wants; return whether it is new.

        Whatever is wrong with it does not count for this node, and others may take its place: see `Guests`.
        """
        return self._guests.want(product, peer, trio.current_time())

    def product_of_others(self, name: str) -> str:
        """Return the product whose role a file name asks for, if it is published and this node does not follow it; else ""."""
        product = _role_of(name)
        published = self._found is not None and product in self._found.client.roles()
        return product if published and product not in self._products else ""

    def wants(self, product: str) -> bool:
        """Tell if a product is kept up to date, for this node or for a peer."""
        return product in self._products or product in self._guests

    def _wanted(self) -> dict[str, None]:
        return self._products | dict.fromkeys(self._guests)

    def knows(self, product: str) -> bool:
        """Tell if the last refresh that succeeded brought a product's role up to date."""
        return self._found is not None and product in self._found.products

    async def _save_roots(self, client: TrustClient, files: dict[str, bytes]) -> None:
        """Keep roots that were proved before something else failed: they are right whatever comes after."""
        roots = {name: data for name, data in client.changed.items() if name.endswith(".root.json")}
        async with self._lock:
            if roots and self._files is files:  # else another refresh brought its own
                await in_thread(partial(self._store.save_objects, {_PREFIX + name: data for name, data in roots.items()}))
                self._files = self._files | roots

    def _save(self, outcome: Outcome, obsolete: Iterable[str]) -> None:
        """Save new files, the floors that they raise, and that others are obsolete, all or nothing."""
        files = {_PREFIX + name: data for name, data in outcome.changed.items()}
        # Peers that were away for long need every root.
        gone = [_PREFIX + name for name in sorted(obsolete) if not name.endswith("root.json")]
        self._book.raise_to(Floors(outcome.floor, TimeFloor().raised(outcome.issued)), files, gone if files else ())

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def file(self, name: str) -> bytes | None:
        """Return a verified file for a peer, or None. Blocking."""
        return self._files.get(name) or self._store.load_object(_PREFIX + name)

    def status(self) -> dict[str, Any]:
        """Return what a person wants to know, as JSON has it."""
        found, expires, first = self._found, None, None
        if found is not None:
            expires, first = min(map(found.client.expiry, (None, *self._products)))
        return {
            "version": self.version,
            "stale": expires is not None and self._now() > expires,
            "expires": expires.isoformat() if expires else None,
            "expires_first": first,
            "errors": self.errors(),
            "products": {product: self._trouble_with(product) for product in self._wanted()},
            "troubles": [*self._book.troubles, *self._troubles],
        }

    def errors(self) -> list[dict[str, Any]]:
        """Return a row for each error that counts for this node, as JSON has it: source, product, error, exit code."""
        return [row for heard in (self.origin, self.peers, self.saved) for row in heard.rows(self._products)]

    def _trouble_with(self, product: str) -> str:
        """Return why a product's role is not up to date here, for people; empty: it is."""
        error = self._found.failed.get(product) if self._found is not None else None
        return "" if self.knows(product) else str(error or "not here yet")

    def _now(self) -> datetime:
        return self.time_floor.now(self._clock())

    # Channels.

    async def channel(self, product: str, name: str) -> Channel:
        """Return a channel, which never goes back: the newest sequence seen is kept durably.

        Raises:
            NotPublishedError: There is no such channel.
            TrustError: Its sequence went back.
        """
        channel = self._catalogue_of(product).channel(product, name)
        await in_thread(partial(self._check_sequence, channel))
        return channel

    def _check_sequence(self, channel: Channel) -> None:
        self._book.raise_to(self._book.floors.followed(channel))

    def release(self, product: str, version: str, compatible: str) -> Release:
        """Return the release of a version for this node's hardware; `NotPublishedError` if there is none."""
        return self._catalogue_of(product).release(product, version, compatible)

    def releases(self, product: str) -> list[Release]:
        """Return all releases of a product; fails like `release`."""
        return self._catalogue_of(product).releases(product)


def _role_of(name: str) -> str:
    """Return the role that a file name is for; something that is none for the name of another file."""
    return name.partition(".")[2].removesuffix(".json")


def _age(outcome: Outcome) -> tuple[int, int]:
    """Order outcomes by root and timestamp: a new root may have rotated keys, so that timestamps count from the start again."""
    return outcome.floor.root, outcome.timestamp_version
