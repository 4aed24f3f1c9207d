"""What the verified targets say: releases and channels.

A release is the TUF target `<product>/releases/<version>/<variant>`: length and SHA-256 are those of the manifest root, which
lies at `manifests/<hex of its BLAKE3 digest>` of the origin. A channel is the target `<product>/channels/<name>`, of length 0.
What else there is to say stands in the target's `custom` object. Every device fetches this metadata, often over a thin uplink:
keys are one letter, digests are base64url without padding (43 characters).

Custom object of a release:
    `m`: digest of the manifest root.
    `s`: bytes of the artifact.
    `i`: indexes, each `[base, digest, length, payload]`: digest of the base's manifest root ("" for none: everything is in it),
        digest and length of the index object, encoded bytes that all its pieces take. Absent if there is none.

Custom object of a channel:
    `v`: version that it points to.
    `n`: sequence number, from 1.
    `p`: rollout policy, a flat object of strings and whole numbers. Absent if empty.
    `_h`: versions that it pointed to before, newest first: for publishers, who take no channel back unasked. Absent if empty.

Both: an unknown key is refused, unless it starts with `_`: then it is an annotation for people, and ignored.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..content.digest import DIGEST_BYTES, Digest
from ..errors import ConfigError, NotPublishedError, TrustError
from .names import channel_path, check_name, check_product, is_name, release_path
from .steps import Target

ANY_VARIANT = "any"
"""Variant that fits every device which has no variant of its own."""

MAX_ROOT_BYTES = 4096
"""Bytes of a manifest root. Source: ARCHITECTURE, manifest."""
MAX_INDEXES = 16
"""Indexes of one release. Source: a guess; each takes about 100 bytes in the metadata of every device."""
MAX_POLICY_ENTRIES = 16
"""Entries of a rollout policy. Source: a guess."""
MAX_POLICY_CHARACTERS = 256
"""Characters of a text in a rollout policy. Source: a guess."""
MAX_HISTORY = 32
"""Versions that a channel remembers. Source: a guess; each takes about 10 bytes in the metadata of every device."""
MAX_NUMBER = 2**53 - 1
"""Largest whole number that every JSON parser reads exactly. Source: RFC 8259, section 6."""

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing: the hash of a channel's target. Source: FIPS 180-4."""

PolicyValue = str | int


def _check_number(value: object, what: str, lowest: int = 0) -> int:
    if type(value) is int and lowest <= value <= MAX_NUMBER:
        return value
    raise TrustError(f"{what} is {str(value)[:40]!r}, wanted a whole number from {lowest} to {MAX_NUMBER}")


def _check_digest(value: object, what: str) -> None:
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES:
        raise TrustError(f"{what} is no digest of {DIGEST_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class IndexRef:
    """Where to find how a release is encoded against one base.

    Attributes:
        base: Digest of the base's manifest root; None: no base is needed.
        digest: Digest of the index object, stored at `index/`.
        length: Its bytes.
        payload_bytes: Encoded bytes of all its pieces and maps: what a site that holds the base fetches.

    Raises:
        TrustError: A field is out of range.
    """

    base: Digest | None
    digest: Digest
    length: int
    payload_bytes: int

    def __post_init__(self) -> None:
        if self.base is not None:
            _check_digest(self.base, "the base of an index")
        _check_digest(self.digest, "the name of an index")
        _check_number(self.length, "the length of an index", 1)
        _check_number(self.payload_bytes, "the payload of an index")


@dataclass(frozen=True, slots=True)
class Release:
    """One variant of one version of a product.

    Attributes:
        product: Name of the product.
        version: Version, for people; never compared.
        variant: Hardware that it is for (the `compatible` string), or `ANY_VARIANT`.
        manifest: Digest of the manifest root.
        size: Bytes of the artifact.
        root_bytes: Bytes of the manifest root.
        indexes: How it is encoded, at most one per base.

    Raises:
        TrustError: A field is out of range.
    """

    product: str
    version: str
    variant: str
    manifest: Digest
    size: int
    root_bytes: int
    indexes: tuple[IndexRef, ...] = ()

    def __post_init__(self) -> None:
        check_product(self.product)
        check_name(self.version, "version")
        check_name(self.variant, "variant")
        _check_digest(self.manifest, "the manifest of a release")
        _check_number(self.size, "the size of a release")
        if _check_number(self.root_bytes, "the length of a manifest root", 1) > MAX_ROOT_BYTES:
            raise TrustError(f"a manifest root of {self.root_bytes} bytes is too long: at most {MAX_ROOT_BYTES}")
        bases = [index.base for index in self.indexes]
        if len(bases) > MAX_INDEXES or len(set(bases)) != len(bases):
            raise TrustError(f"a release has at most {MAX_INDEXES} indexes, and one for each base")

    @property
    def path(self) -> str:
        """The target path."""
        return release_path(self.product, self.version, self.variant)

    def index_for(self, base: Digest | None) -> IndexRef | None:
        """Return the index against a base (None: against nothing), or None if there is none."""
        return next((index for index in self.indexes if index.base == base), None)


@dataclass(frozen=True, slots=True)
class Channel:
    """A named, moving pointer to a version of a product.

    Attributes:
        product: Name of the product.
        name: Name of the channel.
        version: The version that it points to.
        sequence: From 1; grows with every move, also with one back to an older version.
        policy: Rollout policy, flat.
        history: Versions that it pointed to before, newest first, each once; at most `MAX_HISTORY`.

    Raises:
        TrustError: A field is out of range.
    """

    product: str
    name: str
    version: str
    sequence: int
    policy: Mapping[str, PolicyValue] = field(default_factory=dict, hash=False)
    history: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_product(self.product)
        check_name(self.name, "channel")
        check_name(self.version, "version")
        _check_number(self.sequence, "the sequence of a channel", 1)
        _check_policy(self.policy)
        for version in self.history:
            check_name(version, "version in the history of a channel")
        if len(self.history) > MAX_HISTORY:
            raise TrustError(f"a channel remembers at most {MAX_HISTORY} versions, got {len(self.history)}")

    @property
    def path(self) -> str:
        """The target path."""
        return channel_path(self.product, self.name)

    @property
    def remembers_all(self) -> bool:
        """`history` holds every version that it ever pointed to: it is not full, and was kept from the start."""
        return len(self.history) < MAX_HISTORY and (bool(self.history) or self.sequence == 1)


def _check_policy(policy: object) -> dict[str, PolicyValue]:
    if not isinstance(policy, Mapping) or len(policy) > MAX_POLICY_ENTRIES:
        raise TrustError(f"a rollout policy is an object of at most {MAX_POLICY_ENTRIES} entries")
    for key, value in policy.items():
        check_name(key, "policy entry")
        if isinstance(value, str):
            if len(value) > MAX_POLICY_CHARACTERS:
                raise TrustError(f"policy entry {key!r} is {len(value)} characters long: at most {MAX_POLICY_CHARACTERS}")
        else:
            _check_number(value, f"policy entry {key!r}")
    return dict(policy)


def check_sequence(old: Channel | None, new: Channel) -> None:
    """Refuse a channel that goes back (guarantee G6): versions are free to, sequences never.

    Args:
        old: What this node followed last, persisted; None for nothing yet.
        new: What the catalogue says now.

    Raises:
        TrustError: The sequence went back, or the same sequence points to another version.
    """
    if old is None or new.sequence > old.sequence:
        return
    if new.sequence < old.sequence:
        raise TrustError(f"channel {new.path} went back from sequence {old.sequence} to {new.sequence}: a rollback was attempted")
    if new.version != old.version:
        raise TrustError(f"channel {new.path} says {new.version} and said {old.version}, both at sequence {new.sequence}")


# ---------------------------------------------------------------------- to and from the custom object


def _to_text(name: Digest | None) -> str:
    return "" if name is None else urlsafe_b64encode(name).decode().rstrip("=")


def _from_text(text: object) -> Digest:
    """Return the digest written in 43 characters; exactly one text per digest is accepted."""
    try:
        name = urlsafe_b64decode(text + "=") if isinstance(text, str) and text.isascii() else b""
    except Base64Error as exc:
        raise TrustError(f"{str(text)[:60]!r} is no digest in base64url") from exc
    if len(name) != DIGEST_BYTES or _to_text(name) != text:
        raise TrustError(f"{str(text)[:60]!r} is no digest in base64url")
    return name


def encode_release(release: Release) -> dict[str, object]:
    """Return the custom object of a release."""
    custom: dict[str, object] = {"m": _to_text(release.manifest), "s": release.size}
    if release.indexes:
        custom["i"] = [[_to_text(ref.base), _to_text(ref.digest), ref.length, ref.payload_bytes] for ref in release.indexes]
    return custom


def encode_channel(channel: Channel) -> dict[str, object]:
    """Return the custom object of a channel; JSON of it is what a node persists as the floor of `check_sequence`."""
    custom: dict[str, object] = {"v": channel.version, "n": channel.sequence}
    if channel.policy:
        custom["p"] = dict(channel.policy)
    if channel.history:
        custom["_h"] = list(channel.history)
    return custom


def _fields(custom: object, wanted: set[str], optional: str, what: str) -> dict[str, object]:
    """Return the fields of a custom object, less the annotations."""
    if not isinstance(custom, dict):
        raise TrustError(f"{what} has no custom object: it was not published by edgeswarm")
    fields = {key: value for key, value in custom.items() if not str(key).startswith("_")}
    if set(fields) - {optional} != wanted:
        raise TrustError(f"{what} has the fields {sorted(fields)}, wanted {sorted(wanted)}: a newer edgeswarm may be needed")
    return fields


def _decode_index(row: object) -> IndexRef:
    if not isinstance(row, list) or len(row) != 4:
        raise TrustError("an index is written as [base, digest, length, payload]")
    base, name, length, payload = row
    return IndexRef(
        None if base == "" else _from_text(base),
        _from_text(name),
        _check_number(length, "the length of an index"),
        _check_number(payload, "the payload of an index"),
    )


def decode_release(product: str, version: str, variant: str, length: int, custom: object) -> Release:
    """Return the release that a target describes.

    Args:
        product: From the target path.
        version: From the target path.
        variant: From the target path.
        length: Bytes of the target: the manifest root.
        custom: Parsed JSON, unchecked.

    Raises:
        TrustError: It breaks the schema.
    """
    fields = _fields(custom, {"m", "s"}, "i", release_path(product, version, variant))
    rows = fields.get("i", [])
    if not isinstance(rows, list) or len(rows) > MAX_INDEXES:
        raise TrustError(f"a release has a list of at most {MAX_INDEXES} indexes")
    indexes = tuple(_decode_index(row) for row in rows)
    size = _check_number(fields["s"], "the size of a release")
    return Release(product, version, variant, _from_text(fields["m"]), size, length, indexes)


def decode_channel(product: str, name: str, custom: object) -> Channel:
    """Return the channel that a target describes.

    Args:
        product: From the target path.
        name: From the target path.
        custom: Parsed JSON, unchecked.

    Raises:
        TrustError: It breaks the schema.
    """
    fields = _fields(custom, {"v", "n"}, "p", channel_path(product, name))
    version = check_name(fields["v"], "version")
    sequence = _check_number(fields["n"], "the sequence of a channel", 1)
    return Channel(product, name, version, sequence, _check_policy(fields.get("p", {})), _history(custom))


def _history(custom: object) -> tuple[str, ...]:
    """Return the versions of an annotation; devices do without, so that a malformed one must not stop them: it counts as absent."""
    rows = custom.get("_h") if isinstance(custom, dict) else None
    names = isinstance(rows, list) and all(map(is_name, rows))
    return tuple(rows[:MAX_HISTORY]) if rows and names else ()


# ---------------------------------------------------------------------- the catalogue


class TargetSource(Protocol):
    """Where verified targets come from: a `TrustClient` that has loaded the product, or a test's fake."""

    def target(self, path: str) -> Target | None:
        """Return what is verified about a path."""

    def target_paths(self) -> list[str]:
        """Return the sorted paths that may be asked for."""


class Catalogue:
    """The releases and channels of the products that a source has loaded.

    Args:
        source: Verified targets.
    """

    def __init__(self, source: TargetSource) -> None:
        self._source = source

    def channel(self, product: str, name: str) -> Channel:
        """Return a channel.

        Raises:
            NotPublishedError: There is none.
            ConfigError: What is asked for is no name.
            TrustError: What is said about it is malformed.
        """
        path = channel_path(check_product(product, ConfigError), check_name(name, "channel", ConfigError))
        found = self._source.target(path)
        if found is None:
            raise NotPublishedError(f"product {product!r} has no channel {name!r}; it has {self.channels(product) or 'none'}")
        return decode_channel(product, name, found.custom)

    def channels(self, product: str) -> list[str]:
        """Return the sorted names of the channels of a product."""
        return [parts[0] for parts in self._below(product, "channels", 1)]

    def release(self, product: str, version: str, compatible: str = ANY_VARIANT) -> Release:
        """Return the release for a device: of its own variant, else of `ANY_VARIANT`.

        Raises:
            NotPublishedError: There is none.
            ConfigError: What is asked for is no name.
            TrustError: What is said about it is malformed.
        """
        check_product(product, ConfigError)
        check_name(version, "version", ConfigError)
        for variant in dict.fromkeys((check_name(compatible, "variant", ConfigError), ANY_VARIANT)):
            found = self._source.target(release_path(product, version, variant))
            if found is not None:
                return decode_release(product, version, variant, found.length, found.custom)
        raise NotPublishedError(
            f"product {product!r} has no release {version!r} for {compatible!r}: it is not published, or no longer offered"
        )

    def releases(self, product: str) -> list[Release]:
        """Return all releases of a product, sorted by path.

        Raises:
            TrustError: What is said about one of them is malformed.
        """
        found = []
        for version, variant in self._below(product, "releases", 2):
            target = self._source.target(release_path(product, version, variant))
            if target is not None:
                found.append(decode_release(product, version, variant, target.length, target.custom))
        return found

    def _below(self, product: str, kind: str, depth: int) -> list[list[str]]:
        """Return the last `depth` parts of the paths below `<product>/<kind>/`; a path that breaks the name rule is left out."""
        prefix = f"{check_product(product, ConfigError)}/{kind}/"
        parts = [path[len(prefix) :].split("/") for path in self._source.target_paths() if path.startswith(prefix)]
        return [part for part in parts if len(part) == depth and all(is_name(text) for text in part)]
