"""Make and sign the metadata of an origin; pure, used by the publisher.

Theory of operation. A `Repository` holds the newest metadata of each role. Changes mark the roles that they touch; `sign` gives
those a new version and signatures, then makes a new snapshot if anything changed, then a new timestamp, and returns the new files
in the order in which they must be written: the timestamp comes last and is the only name that is ever replaced, so that a reader
sees the old state or the new one. Without changes `sign` is what `edgeswarm refresh` does.

What lies at the origin is verified before anything is added to it: a publisher that signed what it found would sign for whoever can
write there. Expired metadata is accepted, since signing it again is the cure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from ..content.digest import check_digest
from ..errors import PublishError, TrustError
from .catalogue import (
    EMPTY_SHA256,
    Catalogue,
    Channel,
    PolicyValue,
    Release,
    decode_release,
    encode_channel,
    encode_release,
)
from .ceremony import Expiries, check_root, expiry
from .client import Target, TrustClient, Want, drive, grace
from .clock import check_aware, format_time
from .keys import Keyring, SigningKey
from .local import LocalFiles
from .metadata import ISSUED_FIELD, parse, verified_by
from .names import check_name, check_product, file_name, product_patterns
from .workflow import TIMESTAMP_FILE

_Payload = TypeVar("_Payload", Targets, Snapshot, Timestamp)

# Longer than any metadata lasts: a publisher may sign expired metadata again.
_NEVER_TOO_LATE = grace(365 * 1000)


class Repository:
    """The metadata of one origin, for one that holds keys.

    Get one from `initialise` or `load`.

    Args:
        root: The newest root, verified.
        roles: Targets roles by name: `targets` and one for each product; verified, or new.
        snapshot: The newest snapshot; None if nothing was ever signed.
        timestamp: The newest timestamp; likewise.
    """

    def __init__(
        self,
        root: bytes,
        *,
        roles: Mapping[str, bytes],
        snapshot: bytes | None = None,
        timestamp: bytes | None = None,
    ) -> None:
        self._root_bytes = root
        self._root = parse(root, Root, "root").signed
        self._files = dict(roles)
        self._roles = {name: parse(data, Targets, name).signed for name, data in roles.items()}
        self._roles.setdefault("targets", Targets(version=1))
        self._snapshot = None if snapshot is None else parse(snapshot, Snapshot, "snapshot").signed
        self._snapshot_bytes = snapshot
        self._timestamp = None if timestamp is None else parse(timestamp, Timestamp, "timestamp").signed
        self._dirty = [name for name in self._roles if name not in self._files]
        self._new: dict[str, bytes] = {}

    @classmethod
    def initialise(cls, root: bytes) -> Repository:
        """Return a repository with nothing in it.

        Args:
            root: The first root, signed by enough keys (`draft_root`, `sign_draft`).

        Raises:
            TrustError: It is not version 1, or signatures are missing.
        """
        version = check_root(root).version
        if version != 1:
            raise TrustError(f"a new repository starts with root v1, not v{version}")
        repository = cls(root, roles={})
        repository._new[file_name("root", 1)] = root
        return repository

    @classmethod
    def load(
        cls,
        fetch: Callable[[str, int], bytes | None],
        *,
        bootstrap: bytes,
        now: datetime,
        saved: Mapping[str, bytes] | None = None,
    ) -> Repository:
        """Return the repository that lies at an origin, after verifying all of it.

        Args:
            fetch: Returns the object of a name below `metadata/`, of at most so many bytes, or None if there is none.
            bootstrap: A root that is trusted.
            now: Aware.
            saved: Metadata that was verified here before; guards the publisher against rollback.

        Raises:
            TrustError: Something does not verify.
            ObjectMissingError: Something is missing.
        """
        client = TrustClient(saved or {}, now=now, bootstrap=bootstrap, expiry=_NEVER_TOO_LATE)

        def answer(want: Want) -> bytes | None:
            return fetch(want.name, want.max_bytes)

        drive(client.refresh(), answer)
        for role in client.roles():
            drive(client.delegated(role), answer)
        held = LocalFiles(client.files)
        newest = {role: found[2] for role in ["root", "snapshot", "targets", *client.roles()] if (found := held.newest(role))}
        root, snapshot = newest.pop("root"), newest.pop("snapshot")
        return cls(root, roles=newest, snapshot=snapshot, timestamp=held.get(TIMESTAMP_FILE))

    # ------------------------------------------------------------------ what there is

    def target(self, path: str) -> Target | None:
        """Return what the product's role says about a path (`TargetSource`)."""
        role = self._roles.get(path.split("/")[0])
        found = None if role is None else role.targets.get(path)
        return None if found is None else Target(path, found.length, found.hashes.get("sha256", ""), found.custom)

    def target_paths(self) -> list[str]:
        """Return the sorted paths of all products (`TargetSource`)."""
        return sorted(path for name, role in self._roles.items() if name != "targets" for path in role.targets)

    @property
    def catalogue(self) -> Catalogue:
        """Releases and channels, with the changes that are not signed yet."""
        return Catalogue(self)

    def products(self) -> list[str]:
        """Return the sorted names of the products."""
        return sorted(name for name in self._roles if name != "targets")

    def unsigned(self) -> list[str]:
        """Return the sorted names of the targets roles that changed and wait for `sign`."""
        return sorted(self._dirty)

    def expiries(self) -> dict[str, datetime]:
        """Return when each signed role expires, by role."""
        roles = {name: self._roles[name].expires for name in self._files}
        online = {"snapshot": self._snapshot, "timestamp": self._timestamp}
        return {"root": self._root.expires, **roles, **{name: role.expires for name, role in online.items() if role}}

    # ------------------------------------------------------------------ changes

    def rotate_root(self, root: bytes) -> None:
        """Go on under a new root; roles whose signatures it does not trust any more are signed again.

        Raises:
            TrustError: It does not follow the present one, or signatures are missing.
        """
        self._root = check_root(root, self._root_bytes)
        self._root_bytes = root
        self._new[file_name("root", self._root.version)] = root
        data = self._files.get("targets")
        if data is not None and not verified_by(self._root, "targets", parse(data, Targets, "targets")):
            self._mark("targets")

    def delegate(self, product: str, keyring: Keyring) -> None:
        """Let a keyring sign a product: its releases and channels, nothing else. Again with other keys: those replace the old ones.

        Raises:
            TrustError: The name may not name a product.
        """
        check_product(product)
        targets = self._roles["targets"]
        delegations = targets.delegations or Delegations({}, {})
        roles = dict(delegations.roles or {})
        keyids = [key.keyid for key in keyring.keys]
        wanted = DelegatedRole(product, keyids, keyring.threshold, True, product_patterns(product))
        if roles.get(product) == wanted:
            return
        roles[product] = wanted
        keys = {**delegations.keys, **{key.keyid: key.tuf for key in keyring.keys}}
        used = {keyid for role in roles.values() for keyid in role.keyids}
        targets.delegations = Delegations({keyid: key for keyid, key in keys.items() if keyid in used}, roles)
        self._roles.setdefault(product, Targets(version=1))
        self._mark("targets")
        self._mark(product)

    def add_release(self, release: Release, root: bytes) -> bool:
        """Add a release, or new indexes to one that is there.

        Args:
            release: What to say about it.
            root: Its encoded manifest root.

        Returns:
            True if anything changed.

        Raises:
            ContentError: The root is not the one that the release names.
            PublishError: The product was not delegated, or the version is taken by other content.
        """
        check_digest(root, release.manifest, f"manifest root of {release.path}")
        role = self._product(release.product)
        old = role.targets.get(release.path)
        if old is not None:
            before = decode_release(release.product, release.version, release.variant, old.length, old.custom)
            if before == release:
                return False
            if (before.manifest, before.size) != (release.manifest, release.size):
                raise PublishError(f"{release.path} was published with other content: give the new content a new version")
        if release.root_bytes != len(root):
            raise PublishError(f"the manifest root of {release.path} has {len(root)} bytes, not {release.root_bytes}")
        self._put(release.product, release.path, len(root), sha256(root).hexdigest(), encode_release(release))
        return True

    def forget_indexes(self, product: str, *, keep: Collection[str]) -> None:
        """Drop the indexes of all versions but those in `keep`, so that metadata stays small.

        Nobody fetches the others any more; they still serve as bases. A version that a channel points to is kept.

        Raises:
            PublishError: The product was not delegated.
        """
        self._product(product)
        kept = {*keep, *(channel.version for channel in self._channels(product))}
        for release in self.catalogue.releases(product):
            if release.version not in kept and release.indexes:
                bare = Release(product, release.version, release.variant, release.manifest, release.size, release.root_bytes)
                old = self._roles[product].targets[release.path]
                self._put(product, release.path, old.length, old.hashes["sha256"], encode_release(bare))

    def remove_release(self, product: str, version: str) -> bool:
        """Remove all variants of a version; return False if there were none.

        Raises:
            PublishError: A channel points to it, or the product was not delegated.
        """
        role = self._product(product)
        pointing = [channel.name for channel in self._channels(product) if channel.version == version]
        if pointing:
            raise PublishError(f"channels {pointing} of {product!r} point to {version!r}: move them first")
        paths = [release.path for release in self.catalogue.releases(product) if release.version == version]
        for path in paths:
            del role.targets[path]
        if paths:
            self._mark(product)
        return bool(paths)

    def set_channel(self, product: str, name: str, version: str, *, policy: Mapping[str, PolicyValue] | None = None) -> Channel:
        """Point a channel at a version, forwards or back; its sequence grows by one. Saying the same again changes nothing.

        Returns:
            The channel as it is now.

        Raises:
            TrustError: A name or the policy breaks the rules.
            PublishError: There is no such release, or the product was not delegated.
        """
        self._product(product)
        check_name(version, "version")
        if not any(release.version == version for release in self.catalogue.releases(product)):
            raise PublishError(f"product {product!r} has no release {version!r} to point channel {name!r} at")
        exists = name in self.catalogue.channels(product)
        old = self.catalogue.channel(product, name) if exists else None
        new = Channel(product, name, version, old.sequence + 1 if old else 1, dict(policy or {}))
        if old is not None and (old.version, old.policy) == (new.version, new.policy):
            return old
        self._put(product, new.path, 0, EMPTY_SHA256, encode_channel(new))
        return new

    # ------------------------------------------------------------------ signatures

    def sign(self, keys: Sequence[SigningKey], *, now: datetime, expiries: Expiries | None = None) -> dict[str, bytes]:
        """Sign what changed, and always the timestamp.

        Args:
            keys: Any number of keys; each role takes those that it trusts.
            now: Aware; stands signed in the timestamp as `issued`.
            expiries: How long the new signatures last.

        Returns:
            New files by name below `metadata/`, in the order in which they must be written; the last one replaces `timestamp.json`.

        Raises:
            TrustError: Keys of a role are missing; nothing was signed.
        """
        lasts = expiries or Expiries()
        now = check_aware(now)
        self._check_keys(keys)
        files, self._new = dict(self._new), {}
        for role in self._dirty:
            self._sign_targets(role, keys, expiry(now, lasts.targets), files)
        if self._needs_snapshot(now, lasts):
            self._sign_snapshot(keys, expiry(now, lasts.snapshot), files)
        self._dirty = []
        files[TIMESTAMP_FILE] = self._sign_timestamp(keys, now, expiry(now, lasts.timestamp))
        return files

    def _check_keys(self, keys: Sequence[SigningKey]) -> None:
        """Refuse before anything is changed if the keys of a role are missing."""
        held = {key.public.keyid for key in keys}
        for role in [*self._dirty, "snapshot", "timestamp"]:
            trusted = self._delegator(role).get_delegated_role(role)
            here = len(held.intersection(trusted.keyids))
            if here < trusted.threshold:
                raise TrustError(f"role {role!r} takes {trusted.threshold} of its {len(trusted.keyids)} keys, and {here} are here")

    def _delegator(self, role: str) -> Root | Targets:
        return self._root if role in self._root.roles else self._roles["targets"]

    def _signed(self, role: str, payload: _Payload, keys: Sequence[SigningKey]) -> bytes:
        metadata = Metadata(payload)
        trusted = self._delegator(role).get_delegated_role(role).keyids
        for key in keys:
            if key.public.keyid in trusted:
                metadata.sign(key.signer, append=True)
        return metadata.to_bytes()

    def _sign_targets(self, role: str, keys: Sequence[SigningKey], expires: datetime, files: dict[str, bytes]) -> None:
        payload = self._roles[role]
        payload.version += role in self._files
        payload.expires = expires
        data = self._files[role] = self._signed(role, payload, keys)
        files[file_name(role, payload.version)] = data

    def _needs_snapshot(self, now: datetime, lasts: Expiries) -> bool:
        if self._snapshot is None or self._snapshot_bytes is None or self._dirty:
            return True
        trusted = verified_by(self._root, "snapshot", parse(self._snapshot_bytes, Snapshot, "snapshot"))
        return not trusted or self._snapshot.expires < now + lasts.snapshot / 2

    def _sign_snapshot(self, keys: Sequence[SigningKey], expires: datetime, files: dict[str, bytes]) -> None:
        """Name every targets role by version, length and hash: a stolen product key alone cannot give one site another file."""
        version = 1 if self._snapshot is None else self._snapshot.version + 1
        meta = {
            f"{name}.json": MetaFile.from_data(self._roles[name].version, data, ["sha256"]) for name, data in self._files.items()
        }
        self._snapshot = Snapshot(version=version, expires=expires, meta=meta)
        self._snapshot_bytes = files[file_name("snapshot", version)] = self._signed("snapshot", self._snapshot, keys)

    def _sign_timestamp(self, keys: Sequence[SigningKey], now: datetime, expires: datetime) -> bytes:
        """Name the snapshot by version and length; both roles' keys are kept together, so that a hash would add nothing."""
        if self._snapshot is None or self._snapshot_bytes is None:
            raise TrustError("there is no snapshot to name")
        version = 1 if self._timestamp is None else self._timestamp.version + 1
        meta = MetaFile(self._snapshot.version, length=len(self._snapshot_bytes))
        issued = {ISSUED_FIELD: format_time(now)}
        self._timestamp = Timestamp(version=version, expires=expires, snapshot_meta=meta, unrecognized_fields=issued)
        return self._signed("timestamp", self._timestamp, keys)

    # ------------------------------------------------------------------ parts of the changes

    def _product(self, product: str) -> Targets:
        if product == "targets" or product not in self._roles:
            raise PublishError(f"product {product!r} is not delegated to any key: run `edgeswarm delegate` first")
        return self._roles[product]

    def _channels(self, product: str) -> list[Channel]:
        return [self.catalogue.channel(product, name) for name in self.catalogue.channels(product)]

    def _put(self, product: str, path: str, length: int, sha256_hex: str, custom: Mapping[str, object]) -> None:
        target = TargetFile(length, {"sha256": sha256_hex}, path, {"custom": dict(custom)})
        self._roles[product].targets[path] = target
        self._mark(product)

    def _mark(self, role: str) -> None:
        if role not in self._dirty:
            self._dirty.append(role)
