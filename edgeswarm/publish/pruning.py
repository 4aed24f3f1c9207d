"""Remove old releases: from signed metadata first, from the origin much later.

Theory of operation. A release that is removed may be on its way to a site at that moment, and a site may rightly hold metadata that
names it for as long as its timestamp lasts. So `prune` works in two steps, which may lie weeks apart. First it removes releases
from the signed role and signs. Then it notes, in a record at the origin, since when nothing names an object (any object: what older
publishers left, too), and deletes those for which that is longer than the grace. So it is run again and again, as `refresh` is.

All of it happens under the origin's lock. A publisher that encodes does so without the lock, and its objects have no name yet; it
finds out under the lock, before it signs, whether all that its release takes is still there. The record is written before the
metadata and after the objects are gone: an interruption at any point forgets no removal, and shortens no grace.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..abc import OriginWriter
from ..errors import ConfigError, PublishError
from ..trust.catalogue import MAX_HISTORY, Catalogue
from ..trust.clock import format_time
from ..trust.names import check_product
from ..trust.repository import Repository
from .clock import signing_time
from .fleet import Fleet
from .inventory import Inventory
from .lineage import current_channels, versions_before
from .options import Progress, silent
from .pruned import PruneRecord, read_record, write_record
from .signing import write_metadata

DEFAULT_KEEP = 10
"""Versions that each channel keeps. Source: a guess; the newest and the bases of its deltas are 4, the others are for people."""


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What `prune` did, or would do.

    Attributes:
        product: Name of the product.
        dry_run: Nothing was changed.
        removed: Versions that no metadata names any more, sorted.
        kept: Versions that are left, sorted.
        deleted: Names of the objects that were deleted, sorted.
        deleted_bytes: Their bytes.
        waiting: Objects that nothing names, whose grace is not over.
        waiting_bytes: Their bytes.
        next_at: When the first of them may be deleted; None if there is none.
        troubles: Why packs were left alone: which indexes cannot be read.
    """

    product: str
    dry_run: bool
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    deleted: tuple[str, ...]
    deleted_bytes: int
    waiting: int
    waiting_bytes: int
    next_at: datetime | None
    troubles: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"next_at": None if self.next_at is None else format_time(self.next_at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOptions:
    """What can be set.

    Attributes:
        keep: Versions that each channel keeps, 1 to 33: the one it points to, and as many as it can remember.
        grace: How long an object that nothing names is kept; None: as long as a timestamp lasts, since a site may hold one.
        dry_run: Change nothing.
        clock_is_right: `now` is right, however far it is from the last signature.
        progress: Called with bytes, as indexes are read and objects are deleted.

    Raises:
        ConfigError: A number is out of range.
    """

    keep: int = DEFAULT_KEEP
    grace: timedelta | None = None
    dry_run: bool = False
    clock_is_right: bool = False
    progress: Progress = field(default=silent, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= MAX_HISTORY + 1:
            raise ConfigError(f"keep: wanted 1 to {MAX_HISTORY + 1} versions, got {self.keep}")
        if self.grace is not None and self.grace < timedelta(0):
            raise ConfigError(f"grace: wanted 0 or more days, got {self.grace / timedelta(days=1):g}")


def prune(fleet: Fleet, product: str, *, now: datetime, options: PruneOptions | None = None) -> PruneReport:
    """Remove old releases of a product from signed metadata, and delete what nothing has named for longer than the grace.

    Each channel keeps the version it points to and the last ones that it pointed to before; the bases of what is kept stay too.
    What is deleted may be of any product. Safe to interrupt and to repeat. Keys are needed only if a release is removed.

    Args:
        fleet: With the keys of product, snapshot and timestamp.
        product: Name of the product.
        now: Aware.
        options: What else can be set.

    Raises:
        ConfigError: `product` is no name.
        PublishError: There is no such product, the clock is not plausible, another publisher holds the origin, or it cannot be read
            or written.
        TrustError: What is at the origin does not verify, or keys are missing.
    """
    check_product(product, ConfigError)
    options, writer = options or PruneOptions(), fleet.writer()
    grace = fleet.expiries.timestamp if options.grace is None else options.grace
    inventory = Inventory(writer, options.progress)
    inventory.unnamed(fleet.repository(writer, now=now))  # reads the indexes before others are kept waiting
    with nullcontext() if options.dry_run else writer.lock():
        repository = fleet.repository(writer, now=now)
        now = signing_time(repository, now, sure=options.clock_is_right)
        record = read_record(writer)
        removed = _remove_releases(repository, product, options.keep, record)
        if removed and not options.dry_run:
            files = repository.sign(fleet.signing_keys(), now=now, expiries=fleet.expiries)
            write_record(writer, record)  # first: what was removed must not be forgotten
            write_metadata(writer, files)
        found = inventory.unnamed(repository)
        _note_unnamed(record, found, now, packs_known=not inventory.troubles)
        sizes = {name: writer.size(name) for name in record.unnamed}
        expired = [name for name in found if record.unnamed[name] + grace <= now]
        waiting = {name: since for name, since in record.unnamed.items() if name not in set(expired)}
        if not options.dry_run:
            _delete(writer, {name: sizes[name] for name in expired}, options.progress)
            if replace(record, unnamed=waiting) != read_record(writer):
                write_record(writer, replace(record, unnamed=waiting))
    return PruneReport(
        product=product, dry_run=options.dry_run, removed=tuple(removed),
        kept=tuple(sorted({release.version for release in repository.catalogue.releases(product)})),
        deleted=tuple(expired), deleted_bytes=sum(sizes[name] for name in expired),
        waiting=len(waiting), waiting_bytes=sum(sizes[name] for name in waiting),
        next_at=min(waiting.values()) + grace if waiting else None, troubles=tuple(inventory.troubles),
    )  # fmt: skip


def _remove_releases(repository: Repository, product: str, keep: int, record: PruneRecord) -> list[str]:
    """Remove what is not to be kept from metadata, unsigned, and note it in the record; return the versions, sorted."""
    if product not in repository.products():
        raise PublishError(f"product {product!r} is not published there; there are {repository.products()}")
    versions = {release.version for release in repository.catalogue.releases(product)}
    removed = sorted(versions - kept_versions(repository.catalogue, product, keep))
    for version in removed:
        repository.remove_release(product, version)
    if removed:
        record.removed[product] = list(dict.fromkeys([*record.removed.get(product, []), *removed]))
    return removed


def _note_unnamed(record: PruneRecord, found: list[str], now: datetime, *, packs_known: bool) -> None:
    """Bring a record up to date: what is named again, or is gone, is forgotten; what is new waits from now on."""
    known = record.unnamed
    unjudged = {} if packs_known else {name: since for name, since in known.items() if name.startswith("packs/")}
    record.unnamed = unjudged | {name: known.get(name, now) for name in found}


def _delete(writer: OriginWriter, sizes: Mapping[str, int], progress: Progress) -> None:
    done, total = 0, sum(sizes.values())
    for name, size in sizes.items():
        writer.delete(name)
        done += size
        progress("delete", done, total)


def kept_versions(catalogue: Catalogue, product: str, keep: int) -> set[str]:
    """Return the versions to keep: the newest of each channel, and the bases of those.

    Versions are never compared: a channel's signed history tells which of its releases came last. Where a channel moved and kept no
    history (no publisher of today leaves it so), nobody can tell, and everything is kept.

    Args:
        catalogue: Of the origin.
        product: Name of the product.
        keep: How many of each channel, the one it points to among them.
    """
    releases = catalogue.releases(product)
    published = {release.version for release in releases}
    kept: set[str] = set()
    for entry in current_channels(catalogue, product, ""):
        if not entry.history and not entry.remembers_all:
            return published
        kept |= set([version for version in (entry.version, *entry.history) if version in published][:keep])
    while not (bases := set(versions_before(catalogue, product, sorted(kept)))) <= kept:
        kept |= bases
    return kept or published
