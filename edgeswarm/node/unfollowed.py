"""Products that the configuration names no more: what is kept of them goes after some days.

A product is left out on purpose, and then its disk is wanted back, or by a typo, and then what is kept saves the whole release over
a metered uplink, since the next delta needs it. Nobody can tell which at once, so it goes after a grace that is long enough for
somebody to notice (`node.unfollowed_days`), or when what is still followed has no room. A roll back needs none of it: it leads to
slots of the target, which nothing here touches. What is installed stays known for as long as its slot is there: other nodes can
have it from there, and it takes no room in the store.

What was fetched by hand was never followed, and stays until it is forgotten by hand.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import trio

from ..abc import ChunkStore
from ..content.digest import Digest
from ..errors import StoreError
from .sharing import installed_of
from .shelf import Shelf
from .threads import in_thread

_log = logging.getLogger("edgeswarm.unfollowed")
_FOLLOWED = "followed"
_LOOK_SECONDS = 3600.0  # a guess: days are counted
_DAY_SECONDS = 86400.0
_Since = dict[str, float | None]


class Unfollowed:
    """Lets go of what was followed once; remembers over restarts what that is, and since when it is not.

    Args:
        store: Remembers it, as one object: product to seconds since 1970, null while it is followed.
        shelf: What is kept.
        products: What the configuration names.
        days: The grace; 0: none.
        now: Returns seconds since 1970, better not those of a clock that was never set.
        forget: Stops keeping one release.
    """

    def __init__(
        self,
        store: ChunkStore,
        shelf: Shelf,
        products: Iterable[str],
        days: int,
        now: Callable[[], float],
        forget: Callable[[Digest], Awaitable[None]],
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._followed = dict.fromkeys(products)
        self._days = days
        self._now = now
        self._forget = forget
        self._turn = trio.Lock()

    async def run(self) -> None:
        """Let go of what is due from time to time, until cancelled."""
        while True:
            await trio.sleep(_LOOK_SECONDS)
            await self.let_go()

    async def fetched(self, product: str) -> None:
        """Note that somebody fetches a product, followed or not: what was left is wanted by hand now, and stays."""
        if product not in self._followed:
            async with self._turn:
                await in_thread(partial(self._strike, product))

    async def let_go(self, *, at_once: bool = False) -> None:
        """Let go of what is kept of products that are not followed any more.

        Args:
            at_once: Without any grace: room is needed.
        """
        async with self._turn:
            try:
                for product in await in_thread(partial(self._due, at_once=at_once)):
                    await self._let_go_of(product)
            except StoreError as error:  # it is done again later, and stops nothing else
                _log.warning("what is not followed any more cannot be let go now: %s", error)

    def _due(self, *, at_once: bool) -> list[str]:
        """Bring what is remembered up to date; return the products whose grace is over."""
        known, now = self._load(), self._now()
        since = known | dict.fromkeys(self._followed)
        for product in [product for product, left in since.items() if left is None and product not in self._followed]:
            since[product] = now
            _log.warning(
                "%s is not in the configuration any more: what is kept of it goes in %d days, or when room is needed",
                product, self._days,
            )  # fmt: skip
        if since != known:
            self._save(since)
        grace = 0.0 if at_once else self._days * _DAY_SECONDS
        return [product for product, left in since.items() if left is not None and now - left >= grace]

    async def _let_go_of(self, product: str) -> None:
        rows = await in_thread(lambda: [*self._shelf.held(), *self._shelf.begun()])
        kept = [manifest for manifest, about in rows if about["product"] == product]
        installed = await in_thread(partial(installed_of, self._store, product))
        gone = [manifest for manifest in kept if manifest not in installed]
        for manifest in gone:
            await self._forget(manifest)
        if gone:
            freed = await in_thread(self._collect)
            _log.warning("%s is not followed any more: let go of %d releases; %d bytes of disk are free", product, len(gone), freed)
        if len(gone) == len(kept):
            await in_thread(partial(self._strike, product))

    def _collect(self) -> int:
        self._shelf.tidy()
        return self._store.collect()

    def _strike(self, product: str) -> None:
        since = self._load()
        if product in since:
            del since[product]
            self._save(since)

    def _load(self) -> _Since:
        try:
            data = self._store.load_object(_FOLLOWED)
        except StoreError as error:
            _log.error("what was followed is not known any more, and what is kept of it stays: %s", error)
            return {}
        known: _Since = json.loads(data) if data is not None else {}
        return known

    def _save(self, since: _Since) -> None:
        self._store.save_object(_FOLLOWED, json.dumps(since).encode())
