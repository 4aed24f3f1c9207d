"""Publish one release: from a path to a signed origin.

Theory of operation. Nothing is visible before the timestamp names it, and that is written last: packs, indexes and the manifest
root first, then the signed metadata, with the origin's lock held. All but metadata is named by its content, and encoding gives the
same bytes each time, so that a publisher that was interrupted at any point is simply run again. Metadata is loaded again under the
lock: what another publisher signed meanwhile is kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from ..abc import OriginWriter
from ..content.delta import check_matcher
from ..content.digest import Digest, digest
from ..content.index import PackIndex
from ..content.manifest import BuiltManifest, build_manifest
from ..errors import BaseMissingError, ConfigError, ContentError, PublishError, TrustError
from ..trust.catalogue import MAX_INDEXES, Catalogue, Channel, IndexRef, Release
from ..trust.names import check_name, check_product, encoded_role, split_file_name
from ..trust.repository import Repository
from .apart import check_apart, check_holds_no_fleet, check_holds_no_keys
from .clock import signing_time
from .fleet import Fleet
from .limit import check_cost
from .lineage import current_channels, likely_bases, versions_before
from .moves import check_forward, check_unmoved, current_entry
from .objects import ObjectWriter, encoder_pool
from .options import Meter, PublishOptions
from .pruned import read_record
from .reassemble import PublishedArtifact, open_published
from .report import DeltaReport, PublishReport
from .signing import write_metadata
from .source import Source, open_source

_log = logging.getLogger("edgeswarm.publish")
_UNREADABLE = "%s cannot be read back from the origin, and no delta is made from it: %s"


@dataclass(frozen=True, slots=True)
class _Aim:
    """What is published, and where to."""

    fleet: Fleet
    product: str
    version: str
    channel: str
    compatible: str
    now: datetime


def publish(
    fleet: Fleet, path: str, *, product: str, version: str, channel: str, now: datetime, options: PublishOptions | None = None
) -> PublishReport:
    """Publish a file, an image or a tree, and point a channel at it.

    The same content and version again changes nothing. A product that is new gets a key of its own, if the targets key is at hand.

    Args:
        fleet: Whose release it is; with the keys of product, snapshot and timestamp.
        path: What to publish.
        product: Name of the product.
        version: Version; never compared with others.
        channel: The channel to point at it.
        now: Aware.
        options: What else can be set.

    Raises:
        ConfigError: The path or an option makes no sense, it would publish private keys, or a name breaks the rules.
        PublishError: The clock is not plausible, the version is taken by other content, the source changed meanwhile, the channel
            would go back or was moved meanwhile, the update is larger than allowed, it was cancelled, or the origin cannot be
            written.
        TrustError: What is at the origin does not verify, or keys are missing.
    """
    started, options = time.monotonic(), options or PublishOptions()
    version, channel = check_name(version, "version", ConfigError), check_name(channel, "channel", ConfigError)
    aim = _Aim(fleet, check_product(product, ConfigError), version, channel, options.compatible, now)
    check_apart(path, fleet)
    if options.delta_from:
        check_matcher()
    source, writer = open_source(path, options.kind), fleet.writer()
    check_holds_no_fleet(source)
    if not options.allow_private_keys:
        check_holds_no_keys(source)
    repository = fleet.repository(writer, now=now)
    catalogue = repository.catalogue
    signing_time(repository, now, sure=options.clock_is_right)  # early, before hours of encoding
    _check_keys(aim, repository)
    built = _cut(source, options)
    _check_wish(aim, catalogue, built, back=options.back, removed=read_record(writer).removed.get(aim.product, ()))
    with encoder_pool(options) as pool:
        objects = ObjectWriter(writer, source.reader(built.manifest), built, options, pool)
        release = _put_objects(aim, catalogue, objects)
    if options.max_update_bytes is not None:
        check_cost(catalogue, channel, release, options.max_update_bytes)
    source.check_unchanged()
    source.check_content(built.manifest)
    objects.put_root()
    signed = _sign(aim, objects, release, current_entry(catalogue, product, channel))
    return _report(aim, objects, signed, time.monotonic() - started)


def _cut(source: Source, options: PublishOptions) -> BuiltManifest:
    meter = Meter(options, "read", source.size)

    def rows() -> Iterator[tuple[Digest, int]]:
        for chunk in source.chunks():
            yield digest(chunk), len(chunk)
            meter(len(chunk))

    built = build_manifest(source.kind, rows(), len(source.entries_bytes))
    source.check_unchanged()
    return built


def _check_keys(aim: _Aim, repository: Repository) -> None:
    """Refuse a new release early, before hours of encoding, if it could not be signed at the end."""
    if _published(aim, repository.catalogue) is not None:
        return  # nothing may be left to sign
    keys, new = aim.fleet.signing_keys(), aim.product not in repository.products()
    for role in ("targets" if new else aim.product, "snapshot", "timestamp"):
        if problem := repository.lacking(role, keys):
            hint = f": publish the first release of {aim.product!r} where they are" if role == "targets" else ""
            raise TrustError(problem + hint)


def _check_wish(aim: _Aim, catalogue: Catalogue, built: BuiltManifest, *, back: bool, removed: Collection[str]) -> None:
    """Refuse early, before hours of encoding, what would be refused at the end."""
    old = _published(aim, catalogue)
    if old is not None and old.manifest != built.manifest.digest:
        raise PublishError(f"{old.path} was published with other content: give the new content a new version")
    if not back:
        check_forward(catalogue, aim.product, aim.channel, aim.version, removed)


def _published(aim: _Aim, catalogue: Catalogue) -> Release | None:
    """Return this version's release of this very variant, if it was published before."""
    wanted = (aim.version, aim.compatible)
    return next((release for release in catalogue.releases(aim.product) if (release.version, release.variant) == wanted), None)


# ---------------------------------------------------------------------- packs and indexes


def _put_objects(aim: _Aim, catalogue: Catalogue, objects: ObjectWriter) -> Release:
    """Write packs and indexes; those of the same content that were published before, under any version, stay if they are sound."""
    manifest = objects.built.manifest
    same = [release for release in catalogue.releases(aim.product) if release.manifest == manifest.digest]
    before = {ref.base: ref for release in same for ref in release.indexes}
    likely = likely_bases(catalogue, aim.product, aim.version, aim.channel, aim.compatible)
    opened = _opened(objects.writer, (release for release in likely if release.manifest != manifest.digest))
    bases = list(islice(opened, objects.options.delta_from))
    full, whole = objects.reuse(before.get(None)), before.get(None)
    if full is None or whole is None:
        full, whole = objects.full([*bases, *_siblings(aim, catalogue, objects)])
    kept = {base: ref for base, ref in before.items() if base is not None and objects.reuse(ref)}
    again = _bases_of(catalogue, aim.product, objects, {base.manifest.digest for base in bases})
    missing = [base for base in [*bases, *again] if base.manifest.digest not in kept]
    made = {base.manifest.digest: ref for base in missing if (ref := _delta(objects, full, base))}
    deltas = kept | made
    new = [base for base in made if base not in before]
    refs = [whole, *(deltas[base] for base in [*new, *before] if base in deltas)]  # newest base first, as they were
    size, root_bytes = manifest.root.size, len(manifest.root_bytes)
    return Release(aim.product, aim.version, aim.compatible, manifest.digest, size, root_bytes, tuple(refs[:MAX_INDEXES]))


def _bases_of(catalogue: Catalogue, product: str, objects: ObjectWriter, opened: Collection[Digest]) -> list[PublishedArtifact]:
    """Open the bases of deltas that were lost, less those that are open already, each once."""
    wanted = {ref.base for ref in objects.lost if ref.base is not None and ref.base not in opened}
    rows = {release.manifest: release for release in catalogue.releases(product) if release.index_for(None) is not None}
    return list(_opened(objects.writer, (release for manifest, release in rows.items() if manifest in wanted)))


def _siblings(aim: _Aim, catalogue: Catalogue, objects: ObjectWriter) -> list[PublishedArtifact]:
    """Open the other variants of the version: most of their chunks are the same.

    Not what is published, if it was before: of its damaged pack nothing is taken, so that it is written as it was, in its place.
    """
    siblings = [release for release in catalogue.releases(aim.product) if release.version == aim.version]
    others = (one for one in siblings if one.index_for(None) is not None and one.manifest != objects.built.manifest.digest)
    return list(_opened(objects.writer, others))


def _opened(writer: OriginWriter, releases: Iterator[Release]) -> Iterator[PublishedArtifact]:
    """Open releases; one that the origin has lost a part of must not keep a new one from being published."""
    for release in releases:
        try:
            yield open_published(writer, release)
        except (ContentError, PublishError) as error:
            _log.warning(_UNREADABLE, release.path, error)


def _delta(objects: ObjectWriter, full: PackIndex, base: PublishedArtifact) -> IndexRef | None:
    try:
        return objects.delta(full, base)
    except BaseMissingError as error:
        _log.warning(_UNREADABLE, base.release.path, error)
        return None


# ---------------------------------------------------------------------- metadata


@dataclass(frozen=True, slots=True)
class _Signed:
    """What the origin says now."""

    release: Release
    entry: Channel
    changed: bool
    metadata_bytes: int
    versions: dict[Digest, str]


def _sign(aim: _Aim, objects: ObjectWriter, release: Release, before: Channel | None) -> _Signed:
    """Add the release to what is at the origin now, and write the new metadata, if there is any; `before` is what was judged."""
    seen: dict[str, int] = {}
    writer = objects.writer
    with writer.lock():
        repository = aim.fleet.repository(writer, now=aim.now, seen=seen)
        if aim.product not in repository.products():
            repository.delegate(aim.product, aim.fleet.product_keyring(aim.product))
        check_unmoved(before, current_entry(repository.catalogue, aim.product, aim.channel), aim.version)
        release = _with_others(release, _published(aim, repository.catalogue), objects.lost)
        objects.check_here()
        repository.add_release(release, objects.built.manifest.root_bytes)
        entry = _move_channel(aim, repository)
        _forget_indexes(aim, repository)
        changed = bool(repository.unsigned())
        size = _update_bytes(seen, aim.product)
        if changed or _is_old(aim, repository):
            moment = signing_time(repository, aim.now, sure=True)  # it was judged before
            files = repository.sign(aim.fleet.signing_keys(), now=moment, expiries=aim.fleet.expiries)
            write_metadata(writer, files)
            size = sum(map(len, files.values())) if changed else size
        versions = {old.manifest: old.version for old in repository.catalogue.releases(aim.product)}
    return _Signed(release, entry, changed, size, versions)


def _forget_indexes(aim: _Aim, repository: Repository) -> None:
    """Keep metadata small: deltas to a version are of use while a channel points to it; a base needs its full index, no more."""
    catalogue = repository.catalogue
    pointed = [entry.version for entry in current_channels(catalogue, aim.product, aim.channel)]
    repository.forget_indexes(aim.product, keep=versions_before(catalogue, aim.product, pointed))


def _update_bytes(seen: dict[str, int], product: str) -> int:
    """Return the bytes of the metadata files that every update of a product brings: timestamp, snapshot and its own role."""
    roles = {name: split_file_name(name) for name in seen}
    return sum(seen[name] for name, found in roles.items() if not found or found[1] in {"snapshot", encoded_role(product)})


def _with_others(release: Release, other: Release | None, lost: Collection[IndexRef]) -> Release:
    """Keep the indexes that another publisher signed for the same release meanwhile, but none that is lost."""
    if other is None or other.manifest != release.manifest:
        return release
    ours = {ref.base for ref in release.indexes}
    others = (ref for ref in other.indexes if ref.base not in ours and ref not in lost)
    return replace(release, indexes=(*release.indexes, *others)[:MAX_INDEXES])


def _move_channel(aim: _Aim, repository: Repository) -> Channel:
    entry = current_entry(repository.catalogue, aim.product, aim.channel)
    return repository.set_channel(aim.product, aim.channel, aim.version, policy=entry.policy if entry else None)


def _is_old(aim: _Aim, repository: Repository) -> bool:
    """Tell if a timestamp should be signed in passing: long before anybody is asked about the clock (`clock`)."""
    return repository.expiries()["timestamp"] < aim.now + aim.fleet.expiries.timestamp * 3 / 4


def _report(aim: _Aim, objects: ObjectWriter, signed: _Signed, seconds: float) -> PublishReport:
    release, root = signed.release, objects.built.manifest.root
    full = next(ref for ref in release.indexes if ref.base is None)
    bases = [(ref.base, ref) for ref in release.indexes if ref.base is not None and ref.base in signed.versions]
    deltas = tuple(DeltaReport(signed.versions[base], base, ref.payload_bytes, ref.length) for base, ref in bases)
    return PublishReport(
        product=aim.product, version=aim.version, compatible=aim.compatible, channel=aim.channel, sequence=signed.entry.sequence,
        changed=signed.changed, manifest=release.manifest, kind=str(root.kind), size=root.size, chunks=root.chunks,
        new_chunks=objects.new_chunks, root_bytes=release.root_bytes, full_bytes=full.payload_bytes, full_index_bytes=full.length,
        deltas=deltas, metadata_bytes=signed.metadata_bytes, stored_bytes=objects.stored_bytes, seconds=round(seconds, 3),
    )  # fmt: skip
