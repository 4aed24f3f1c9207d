"""The verified metadata of a node: refreshed from whoever has it, kept durably, handed on to peers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import trio

from ..abc import ChunkStore
from ..errors import EdgeswarmError, ExpiredError, NotPublishedError
from ..store.floorbook import FloorBook
from ..trust.catalogue import Catalogue, Channel, Release
from ..trust.client import ExpiryPolicy, Outcome, Steps, TrustClient, Want, grace
from ..trust.clock import TimeFloor
from ..trust.floors import Floors
from .threads import in_thread

_log = logging.getLogger("edgeswarm.metadata")
_T = TypeVar("_T")
Answer = Callable[[Want], Awaitable[bytes | None]]
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
        self._verified: tuple[str, ...] = ()
        self._lock = trio.Lock()
        self._files: dict[str, bytes] = {}
        self._client: TrustClient | None = None
        self._outcome: Outcome | None = None
        self.changed = trio.Event()
        self.last_error = ""

    @property
    def version(self) -> int:
        """Version of the newest verified timestamp; 0: none yet."""
        return self._outcome.timestamp_version if self._outcome else 0

    @property
    def time_floor(self) -> TimeFloor:
        """A moment that has certainly passed."""
        return self._book.floors.time

    @property
    def outcome(self) -> Outcome | None:
        """What the last refresh brought, or None before the first."""
        return self._outcome

    @property
    def catalogue(self) -> Catalogue:
        """The releases and channels of the products that are kept; `NotPublishedError` before the first refresh."""
        if self._client is None:
            raise NotPublishedError("no verified metadata yet: neither the origin nor a peer was reached so far")
        if self._outcome is not None and self._now() > self._outcome.expires + self._policy.grace:
            expired = f"{self._outcome.expires_first} expired on {self._outcome.expires:%Y-%m-%d}"
            raise ExpiredError(f"{expired}: nothing new is installed until the origin or a peer brings newer metadata")
        return Catalogue(self._client)

    async def load(self) -> None:
        """Verify what was saved before; a node that was never refreshed has nothing, which is fine.

        Raises:
            StoreError: What was saved is damaged.
        """
        await in_thread(self._load_files)
        if "timestamp.json" in self._files:
            try:
                await self._refresh(_nobody)
            except EdgeswarmError as error:
                self.last_error = str(error)
                _log.warning("saved metadata: %s", error)

    def _load_files(self) -> None:
        names = self._store.list_objects(_PREFIX)
        loaded = {name.removeprefix(_PREFIX): self._store.load_object(name) for name in names}
        self._files = {name: data for name, data in loaded.items() if data is not None}
        self._book.load()

    async def refresh(self, answer: Answer) -> bool:
        """Verify what a source has and keep it; return whether it was newer.

        Raises:
            TrustError: It does not verify, is older than what is known, or has expired.
            FetchError: The source broke off or lacks a file that it should have.
        """
        try:
            changed = await self._refresh(answer)
        except EdgeswarmError as error:
            self.last_error = str(error)
            raise
        self.last_error = ""
        return changed

    async def _refresh(self, answer: Answer) -> bool:
        async with self._lock:
            floor = self._book.floors.versions
            client = TrustClient(self._files, now=self._now(), bootstrap=self._bootstrap, expiry=self._policy, floor=floor)
            try:
                outcome = await _drive(client.refresh(), answer)
                products = tuple(self._products)  # others may come meanwhile
                for product in products:
                    outcome = await _drive(client.product(product), answer)
            except EdgeswarmError:
                await self._save_roots(client)
                raise
            newer = outcome.timestamp_version > self.version or bool(outcome.changed)
            await in_thread(partial(self._save, outcome))
            self._files = {name: data for name, data in (self._files | outcome.changed).items() if name not in outcome.obsolete}
            self._client, self._outcome, self._verified = client, outcome, products
        if newer:
            self._tell()
        return newer

    async def want_product(self, product: str) -> bool:
        """Keep another product up to date from the next refresh on; return whether it is new."""
        fresh = product not in self._products
        self._products[product] = None
        return fresh

    def missing_product(self, name: str) -> str:
        """Return the product whose role a file name asks for, if it is published and not kept up to date here; else ""."""
        product = name.partition(".")[2].removesuffix(".json")
        published = self._client is not None and product in self._client.roles()
        return product if published and product not in self._products else ""

    def knows(self, product: str) -> bool:
        """Tell if the last refresh that succeeded brought a product's role up to date."""
        return product in self._verified

    async def _save_roots(self, client: TrustClient) -> None:
        """Keep roots that were proved before something else failed: they are right whatever comes after."""
        roots = {name: data for name, data in client.changed.items() if name.endswith(".root.json")}
        if roots:
            await in_thread(partial(self._store.save_objects, {_PREFIX + name: data for name, data in roots.items()}))
        self._files |= roots

    def _save(self, outcome: Outcome) -> None:
        """Save new files, the floors that they raise, and that others are obsolete, all or nothing."""
        files = {_PREFIX + name: data for name, data in outcome.changed.items()}
        # Peers that were away for long need every root.
        gone = [_PREFIX + name for name in outcome.obsolete if not name.endswith("root.json")]
        self._book.raise_to(Floors(outcome.floor, TimeFloor().raised(outcome.issued)), files, gone if files else ())

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def file(self, name: str) -> bytes | None:
        """Return a verified file for a peer, or None. Blocking."""
        return self._files.get(name) or self._store.load_object(_PREFIX + name)

    def status(self) -> dict[str, Any]:
        """Return what a person wants to know, as JSON has it."""
        found = self._outcome
        return {
            "version": self.version,
            "stale": found is not None and (found.stale or self._now() > found.expires),
            "expires": found.expires.isoformat() if found else None,
            "expires_first": found.expires_first if found else None,
            "error": self.last_error,
            "troubles": list(self._book.troubles),
        }

    def _now(self) -> datetime:
        return self.time_floor.now(self._clock())

    # Channels.

    async def channel(self, product: str, name: str) -> Channel:
        """Return a channel, which never goes back: the newest sequence seen is kept durably.

        Raises:
            NotPublishedError: There is no such channel.
            TrustError: Its sequence went back.
        """
        channel = self.catalogue.channel(product, name)
        await in_thread(partial(self._check_sequence, channel))
        return channel

    def _check_sequence(self, channel: Channel) -> None:
        self._book.raise_to(self._book.floors.followed(channel))

    def release(self, product: str, version: str, compatible: str) -> Release:
        """Return the release of a version for this node's hardware; `NotPublishedError` if there is none."""
        return self.catalogue.release(product, version, compatible)


async def _nobody(_want: Want) -> bytes | None:
    return None


async def _drive(steps: Steps[_T], answer: Answer) -> _T:
    """Run verification steps to their end with answers that may take time."""
    try:
        want = next(steps)
        while True:
            want = steps.send(await answer(want))
    except StopIteration as stop:
        result: _T = stop.value
        return result
    finally:
        steps.close()
