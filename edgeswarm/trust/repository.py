"""Make and sign the metadata of an origin; pure, used by the publisher.

Theory of operation. A `Repository` holds the newest metadata of each role. Changes mark the roles that they touch; `sign` gives
those a new version and signatures, then makes a new snapshot if anything changed, then a new timestamp, and returns the new files
in the order in which they must be written: the timestamp comes last and is the only name that is ever replaced, so that a reader
sees the old state or the new one. `renew` is what `edgeswarm refresh` does.

What lies at the origin is verified before anything is added to it: a publisher that signed what it found would sign for whoever can
write there. Expired metadata is accepted, since signing it again is the cure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

from tuf.api.metadata import DelegatedRole, Delegations, TargetFile, Targets

from ..content.digest import check_digest
from ..errors import PublishError, TrustError
from .catalogue import (
    EMPTY_SHA256,
    MAX_HISTORY,
    Catalogue,
    Channel,
    PolicyValue,
    Release,
    decode_release,
    encode_channel,
    encode_release,
)
from .ceremony import Expiries, check_root
from .client import Target, TrustClient, Want, drive, grace
from .keys import Keyring, SigningKey
from .local import LocalFiles
from .names import check_name, check_product, product_patterns
from .roleset import RoleSet
from .workflow import TIMESTAMP_FILE

# Longer than any metadata lasts: a publisher may sign expired metadata again.
_NEVER_TOO_LATE = grace(365 * 1000)


class Repository:
    """The metadata of one origin, for one that holds keys.

    Get one from `initialise`, `load`, or `salvage` (module of that name).

    Args:
        roles: The signed roles, verified, or new.
    """

    def __init__(self, roles: RoleSet) -> None:
        self._roles = roles

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
        roles = RoleSet(root, targets={})
        roles.start()
        return cls(roles)

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
        return cls(RoleSet(root, targets=newest, snapshot=snapshot, timestamp=held.get(TIMESTAMP_FILE)))

    # ------------------------------------------------------------------ what there is

    def target(self, path: str) -> Target | None:
        """Return what the product's role says about a path (`TargetSource`)."""
        role = self._roles.targets.get(path.split("/")[0])
        found = None if role is None else role.targets.get(path)
        return None if found is None else Target(path, found.length, found.hashes.get("sha256", ""), found.custom)

    def target_paths(self) -> list[str]:
        """Return the sorted paths of all products (`TargetSource`)."""
        return sorted(path for name, role in self._roles.targets.items() if name != "targets" for path in role.targets)

    @property
    def catalogue(self) -> Catalogue:
        """Releases and channels, with the changes that are not signed yet."""
        return Catalogue(self)

    def products(self) -> list[str]:
        """Return the sorted names of the products."""
        return sorted(name for name in self._roles.targets if name != "targets")

    # ------------------------------------------------------------------ changes

    def delegate(self, product: str, keyring: Keyring) -> None:
        """Let a keyring sign a product: its releases and channels, nothing else. Again with other keys: those replace the old ones.

        Raises:
            TrustError: The name may not name a product.
        """
        check_product(product)
        targets = self._roles.targets["targets"]
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
        self._roles.mark("targets")
        self._roles.add(product)

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
        """Drop indexes that nobody fetches any more, so that metadata stays small.

        Args:
            product: Name of the product.
            keep: Versions that serve as bases: each keeps its full index, to be read back by. Versions that a channel points to
                keep all indexes, other versions none.

        Raises:
            PublishError: The product was not delegated.
        """
        self._product(product)
        pointed = {channel.version for channel in self._channels(product)}
        for release in self.catalogue.releases(product):
            kept = tuple(ref for ref in release.indexes if release.version in keep and ref.base is None)
            if release.version not in pointed and release.indexes != kept:
                old = self._roles.targets[product].targets[release.path]
                self._put(product, release.path, old.length, old.hashes["sha256"], encode_release(replace(release, indexes=kept)))

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
            self._roles.mark(product)
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
        history = self._history(old, version) if old else ()
        new = Channel(product, name, version, old.sequence + 1 if old else 1, dict(policy or {}), history)
        if old is not None and (old.version, old.policy) == (new.version, new.policy):
            return old
        self._put(product, new.path, 0, EMPTY_SHA256, encode_channel(new))
        return new

    # ------------------------------------------------------------------ signatures

    def unsigned(self) -> list[str]:
        """Return the sorted names of the targets roles that changed and wait for `sign`."""
        return self._roles.unsigned()

    def expiries(self) -> dict[str, datetime]:
        """Return when each signed role expires, by role."""
        return self._roles.expiries()

    def versions(self) -> dict[str, int]:
        """Return the version of the newest file of each role; see `RoleSet.versions`."""
        return self._roles.versions()

    def signed_times(self) -> tuple[datetime | None, datetime | None]:
        """Return when the newest timestamp was signed and when it expires; see `RoleSet.signed_times`."""
        return self._roles.signed_times()

    def rotate_root(self, root: bytes) -> None:
        """Go on under a new root; see `RoleSet.rotate_root`."""
        self._roles.rotate_root(root)

    def sign(self, keys: Sequence[SigningKey], *, now: datetime, expiries: Expiries | None = None) -> dict[str, bytes]:
        """Sign what changed, and always the timestamp; see `RoleSet.sign`."""
        return self._roles.sign(keys, now=now, expiries=expiries)

    def renew(
        self, keys: Sequence[SigningKey], *, now: datetime, expiries: Expiries | None = None, every: bool = False
    ) -> dict[str, bytes]:
        """Sign what is due and whose keys are here, and always the timestamp; see `RoleSet.renew`."""
        return self._roles.renew(keys, now=now, expiries=expiries, every=every)

    def lacking(self, role: str, keys: Sequence[SigningKey]) -> str:
        """Return what is wrong if `keys` cannot sign a role; see `RoleSet.lacking`."""
        return self._roles.lacking(role, keys)

    def due(self, now: datetime, expiries: Expiries) -> list[str]:
        """Return the roles that should be signed again; see `RoleSet.due`."""
        return self._roles.due(now, expiries)

    # ------------------------------------------------------------------ parts of the changes

    def _product(self, product: str) -> Targets:
        if product == "targets" or product not in self._roles.targets:
            raise PublishError(
                f"product {product!r} is not delegated to any key: publish its first release where the targets key is"
            )
        return self._roles.targets[product]

    def _channels(self, product: str) -> list[Channel]:
        return [self.catalogue.channel(product, name) for name in self.catalogue.channels(product)]

    def _history(self, old: Channel, version: str) -> tuple[str, ...]:
        """Return what a channel remembers once it points to `version`.

        One that kept no history so far is taken to have pointed to all that no channel points to now: some channel did.
        """
        before = old.history
        if not before and not old.remembers_all:
            pointed = {channel.version for channel in self._channels(old.product)}
            known = dict.fromkeys(release.version for release in self.catalogue.releases(old.product))
            before = tuple(name for name in known if name not in pointed)
        return tuple(name for name in dict.fromkeys((old.version, *before)) if name != version)[:MAX_HISTORY]

    def _put(self, product: str, path: str, length: int, sha256_hex: str, custom: Mapping[str, object]) -> None:
        target = TargetFile(length, {"sha256": sha256_hex}, path, {"custom": dict(custom)})
        self._roles.targets[product].targets[path] = target
        self._roles.mark(product)
