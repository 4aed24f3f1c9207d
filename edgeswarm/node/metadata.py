"""The verified metadata of a node: refreshed from whoever has it, kept durably, handed on to peers."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import trio

from ..abc import ChunkStore
from ..errors import EdgeswarmError, ExpiredError, NotPublishedError, StoreError
from ..trust.catalogue import Catalogue, Channel, Release, check_sequence, decode_channel, encode_channel
from ..trust.client import ExpiryPolicy, Outcome, Steps, TrustClient, Want, grace
from ..trust.clock import TimeFloor
from ..trust.floor import VersionFloor
from .threads import in_thread

_log = logging.getLogger("edgeswarm.metadata")
_T = TypeVar("_T")
Answer = Callable[[Want], Awaitable[bytes | None]]
_PREFIX, _FLOOR, _TIME = "metadata/", "trust/floor", "trust/time"


def wall_clock() -> datetime:
    """Return what this machine's clock says, right or wrong."""
    return datetime.now(UTC)


class Metadata:
    """What this node knows to be signed.

    Args:
        store: Keeps the files, the version floor and the time floor.
        bootstrap: The root that the node was given when it was enrolled.
        products: Products whose roles are kept up to date.
        grace_days: Days for which expired metadata still counts, marked stale.
        clock: Returns the time, aware.
    """

    def __init__(
        self,
        store: ChunkStore,
        bootstrap: bytes,
        products: Iterable[str],
        *,
        grace_days: int = 0,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._store = store
        self._bootstrap = bootstrap
        self._policy: ExpiryPolicy = grace(grace_days)
        self._clock = clock
        self._products = dict.fromkeys(products)
        self._verified: tuple[str, ...] = ()
        self._lock = trio.Lock()
        self._files: dict[str, bytes] = {}
        self._client: TrustClient | None = None
        self._outcome: Outcome | None = None
        self.time_floor = TimeFloor()
        self.changed = trio.Event()
        self.last_error = ""

    @property
    def version(self) -> int:
        """Version of the newest verified timestamp; 0: none yet."""
        return self._outcome.timestamp_version if self._outcome else 0

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
        time = self._store.load_object(_TIME)
        self.time_floor = TimeFloor.decode(time) if time else TimeFloor()

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
            floor = await in_thread(self._load_floor)
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

    def knows(self, product: str) -> bool:
        """Tell if the last refresh that succeeded brought a product's role up to date."""
        return product in self._verified

    def _load_floor(self) -> VersionFloor:
        data = self._store.load_object(_FLOOR)
        return VersionFloor.decode(data) if data else VersionFloor()

    async def _save_roots(self, client: TrustClient) -> None:
        """Keep roots that were proved before something else failed: they are right whatever comes after."""
        roots = {name: data for name, data in client.changed.items() if name.endswith(".root.json")}
        for name, data in roots.items():
            await in_thread(partial(self._store.save_object, _PREFIX + name, data))
        self._files |= roots

    def _save(self, outcome: Outcome) -> None:
        """Save files first, then the floors that refer to them, then remove what is obsolete."""
        for name, data in outcome.changed.items():
            self._store.save_object(_PREFIX + name, data)
        if outcome.changed:
            self._store.save_object(_FLOOR, outcome.floor.encode())
        raised = self.time_floor.raised(outcome.issued)
        if raised != self.time_floor:
            self.time_floor = raised
            self._store.save_object(_TIME, raised.encode())
        for name in outcome.obsolete:
            if not name.endswith("root.json"):  # peers that were away for long need every root
                self._store.delete_object(_PREFIX + name)

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
        key = f"trust/channel/{channel.product}/{channel.name}"
        data = self._store.load_object(key)
        try:
            old = decode_channel(channel.product, channel.name, json.loads(data)) if data else None
        except ValueError as error:
            raise StoreError(f"the saved sequence of channel {channel.path} is damaged: {error}") from error
        check_sequence(old, channel)
        if old is None or channel.sequence > old.sequence:
            self._store.save_object(key, json.dumps(encode_channel(channel)).encode())

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
