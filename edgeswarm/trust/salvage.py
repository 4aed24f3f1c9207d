"""Make a repository of what is left at an origin whose timestamp, snapshot or first root is lost or damaged; pure.

Theory of operation. Signed files are trusted for their signatures, wherever they were found: roots follow each other from the one
that was trusted from the start, and the newest file of each targets role is taken if the keys that the roles above name signed it.
Timestamp and snapshot say nothing that those do not say, and are made anew. What a targets role said cannot be made anew: if its
newest file is lost, that is an error which names it, since an older one would take releases back.

Nodes never accept a timestamp or snapshot with a number below one that they saw, and the last numbers may be lost. So the new ones
start at the number of seconds since 1970, unless a higher one is seen: that is more than there can have been signatures, at any
rate below one a second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import TypeVar

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from ..errors import PublishError, TrustError
from .catalogue import Catalogue
from .ceremony import check_root
from .clock import BUILD_TIME, check_aware
from .metadata import parse, verified_by
from .names import encoded_role, file_name, split_file_name
from .repository import Repository
from .roleset import RoleSet
from .steps import Target
from .workflow import ROOT_MAX_BYTES, SNAPSHOT_MAX_BYTES, TARGETS_MAX_BYTES, TIMESTAMP_FILE, TIMESTAMP_MAX_BYTES

Fetch = Callable[[str, int], bytes | None]
_Payload = TypeVar("_Payload", Snapshot, Targets, Timestamp)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def salvage(names: Collection[str], fetch: Fetch, *, bootstrap: bytes, now: datetime) -> Repository:
    """Return the repository that the signed files at an origin make, with a timestamp and a snapshot that are still to be signed.

    Args:
        names: All names below `metadata/`.
        fetch: Returns the object of a name below `metadata/`, of at most so many bytes, or None if there is none or it is longer.
        bootstrap: A root that is trusted.
        now: Aware; a clock that is behind the build time of this software is not believed.

    Raises:
        PublishError: Nothing of this fleet is there, or the newest file of a root or targets role is lost or damaged: it is named.
        TrustError: `bootstrap` is no root.
    """
    left = _Left(names, fetch)
    root_bytes = left.newest_root(bootstrap)
    root = check_root(root_bytes)
    snapshot = left.newest_snapshot(root)
    targets = {"targets": left.targets(root, "targets", snapshot)}
    delegations = parse(targets["targets"], Targets, "targets").signed
    products = delegations.delegations.roles or {} if delegations.delegations else {}
    begun = [role for role in products if left.is_known(role, snapshot)]
    targets |= {role: left.targets(delegations, role, snapshot) for role in begun}
    seconds = int((max(check_aware(now), BUILD_TIME) - _EPOCH).total_seconds())
    timestamp = left.file(root, "timestamp", TIMESTAMP_FILE, TIMESTAMP_MAX_BYTES, Timestamp)
    seen = {
        "timestamp": max(seconds, timestamp.version if timestamp else 0),
        "snapshot": max(seconds, left.highest("snapshot"), timestamp.snapshot_meta.version if timestamp else 0),
    }
    told = fetch(TIMESTAMP_FILE, TIMESTAMP_MAX_BYTES) if timestamp else None  # when the last signature was made
    roles = RoleSet(root_bytes, targets=targets, timestamp=told, seen=seen)
    for role in sorted(products.keys() - begun):  # delegated by a publisher that got no further: its first file is made now
        roles.add(role)
    return Repository(roles)


class _Left:
    """The files that are left.

    Args:
        names: See `salvage`.
        fetch: See `salvage`.
    """

    def __init__(self, names: Collection[str], fetch: Fetch) -> None:
        self._fetch = fetch
        self._versions: dict[str, list[int]] = {}
        for version, role in sorted(found for name in names if (found := split_file_name(name))):
            self._versions.setdefault(role, []).append(version)

    def highest(self, role: str) -> int:
        """Return the highest version that a file of a role has by its name; 0 if there is none."""
        return max(self._versions.get(encoded_role(role), []), default=0)

    def newest_root(self, bootstrap: bytes) -> bytes:
        """Return the root that the files lead to; `PublishError` if one on the way is lost."""
        data, version = bootstrap, check_root(bootstrap).version
        while (found := self._fetch(file_name("root", version + 1), ROOT_MAX_BYTES)) is not None:
            try:
                version = check_root(found, data).version
            except TrustError as error:
                raise _lost(file_name("root", version + 1)) from error
            data = found
        if self.highest("root") > version:
            raise _lost(file_name("root", version + 1))
        return data

    def newest_snapshot(self, root: Root) -> Snapshot | None:
        """Return the newest snapshot that verifies: it tells which versions of the others there have been."""
        return next(self._verified(root, "snapshot", SNAPSHOT_MAX_BYTES, Snapshot), None)

    def is_known(self, role: str, snapshot: Snapshot | None) -> bool:
        """Tell if there ever was a file of a role, as far as can be seen."""
        return self.highest(role) > 0 or (snapshot is not None and f"{role}.json" in snapshot.meta)

    def targets(self, delegator: Root | Targets, role: str, snapshot: Snapshot | None) -> bytes:
        """Return the newest file of a targets role; `PublishError` if it does not verify."""
        named = snapshot.meta.get(f"{role}.json") if snapshot else None
        version = max(self.highest(role), named.version if named else 0)
        if not version:
            raise PublishError(f"no file of role {role!r} is there: is it mounted, and is it the origin of this fleet?")
        name = file_name(role, version)
        data = self._fetch(name, TARGETS_MAX_BYTES)
        if data is None or self.file(delegator, role, name, TARGETS_MAX_BYTES, Targets) is None:
            older = next(self._verified(delegator, role, TARGETS_MAX_BYTES, Targets), None)
            raise _lost(name, _loss(role, older))
        return data

    def file(self, delegator: Root | Targets, role: str, name: str, limit: int, kind: type[_Payload]) -> _Payload | None:
        """Return what a file says, or None if it does not verify."""
        data = self._fetch(name, limit)
        try:
            metadata = parse(data or b"", kind, name)
        except TrustError:
            return None
        fits = name == TIMESTAMP_FILE or name == file_name(role, metadata.signed.version)
        return metadata.signed if fits and verified_by(delegator, role, metadata) else None

    def _verified(self, delegator: Root | Targets, role: str, limit: int, kind: type[_Payload]) -> Iterator[_Payload]:
        for version in reversed(self._versions.get(role, [])):
            found = self.file(delegator, role, file_name(role, version), limit, kind)
            if found is not None:
                yield found


def _lost(name: str, loss: str = "") -> PublishError:
    return PublishError(
        f"metadata/{name} is lost or damaged, and only a copy can replace it: put one back, from a backup or from a mirror of the "
        f"origin (it is signed, so that any copy which verifies is right), and repair again{loss}"
    )


def _loss(role: str, older: Targets | None) -> str:
    """Say what a lost targets role means, as far as its newest older file tells."""
    if older is None:
        known = "no older file of it verifies"
    else:
        said = _products(older) if role == "targets" else _published(role, older)
        known = f"the newest older file, {file_name(role, older.version)}, has {said}, and lacks what was signed since"
    if role == "targets":
        what, last = "it says who signs which product", "a new fleet must be made"
    else:
        what, last = f"it says what is published of {role!r}", "publish under another product name, and subscribe the nodes to that"
    back = "Nothing goes on from an older file: nodes that saw the lost one refuse it, or would be taken back by it"
    return f". What is lost: {what}; {known}. {back}. If there is no copy anywhere, {last}"


def _products(targets: Targets) -> str:
    roles = targets.delegations.roles if targets.delegations else None
    return f"the products {', '.join(sorted(roles or {})) or 'none'}"


def _published(product: str, targets: Targets) -> str:
    catalogue = Catalogue(_Said(targets))
    versions = sorted({release.version for release in catalogue.releases(product)})
    channels = [catalogue.channel(product, name) for name in catalogue.channels(product)]
    pointers = ", ".join(f"{channel.name} -> {channel.version}" for channel in channels)
    return f"the releases {', '.join(versions) or 'none'} and the channels {pointers or 'none'}"


class _Said:
    """What one targets file says (`TargetSource`)."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets.targets

    def target(self, path: str) -> Target | None:
        found = self._targets.get(path)
        return None if found is None else Target(path, found.length, found.hashes.get("sha256", ""), found.custom)

    def target_paths(self) -> list[str]:
        return sorted(self._targets)
