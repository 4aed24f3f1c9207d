"""The edge to python-tuf: its exceptions are turned into ours here, and only here.

`TrustedMetadataSet` does the verification. It is internal to python-tuf, hence the pin `tuf>=7,<8`. Import this module
lazily: python-tuf takes about 0.1 s to load.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from typing import TypeAlias, TypeVar

from tuf.api.exceptions import (
    BadVersionNumberError,
    EqualVersionNumberError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from ..errors import EdgeswarmError, ExpiredError, TrustError
from .clock import parse_time
from .trusted_set import EnvelopeType, TrustedMetadataSet

__all__ = [
    "ISSUED_FIELD",
    "EqualVersionNumberError",
    "ExpiredMetadataError",
    "issued_by",
    "judged",
    "online_keys",
    "open_set",
    "parse",
    "parse_targets",
    "targets_in",
    "verified_by",
]

ISSUED_FIELD = "issued"
"""Field of the signed part of a timestamp: when it was signed, in TUF's time format. Other TUF clients ignore it."""

_Payload = TypeVar("_Payload", Root, Timestamp, Snapshot, Targets)
_AnyMetadata: TypeAlias = Metadata[Root] | Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets]

# The first that matches wins: subclasses stand before their bases.
_MEANINGS: tuple[tuple[type[Exception], type[TrustError], str], ...] = (
    (ExpiredMetadataError, ExpiredError, "has expired: its publisher must run `edgeswarm refresh`, or the clock is wrong"),
    (BadVersionNumberError, TrustError, "has a version that goes back or does not fit the rest"),
    (UnsignedMetadataError, TrustError, "is not signed by enough of the keys trusted for it"),
    (LengthOrHashMismatchError, TrustError, "is not the file that signed metadata names"),
    (DeserializationError, TrustError, "is malformed"),
    (RepositoryError, TrustError, "does not fit the rest of the metadata"),
    (Exception, TrustError, "is malformed"),
)


@contextmanager
def judged(name: str) -> Iterator[None]:
    """Turn whatever python-tuf and securesystemslib raise while `name` is looked at into `TrustError` or `ExpiredError`.

    Everything else that goes wrong in their parsers counts as malformed input too: bytes from a stranger raise
    `TrustError`, nothing else.
    """
    try:
        yield
    except EdgeswarmError:
        raise
    except Exception as exc:
        _, error, meaning = next(row for row in _MEANINGS if isinstance(exc, row[0]))
        detail = f" ({str(exc)[:200]})" if str(exc) else ""
        raise error(f"metadata {name} {meaning}{detail}") from exc


def open_set(root: bytes, name: str, reference: datetime) -> TrustedMetadataSet:
    """Return a trusted set that starts from `root`, judging expiry at `reference`.

    Raises:
        TrustError: The root is malformed or not signed by itself.
    """
    with judged(name):
        trusted = TrustedMetadataSet(root, EnvelopeType.METADATA)
    trusted.reference_time = reference
    return trusted


def parse(data: bytes, kind: type[_Payload], name: str) -> Metadata[_Payload]:
    """Return unverified metadata of one kind.

    Raises:
        TrustError: It is malformed or of another kind.
    """
    with judged(name):
        metadata: Metadata[_Payload] = Metadata.from_bytes(data)
    if not isinstance(metadata.signed, kind):
        raise TrustError(f"metadata {name} is {metadata.signed.type}, wanted {kind.type}")
    return metadata


def parse_targets(data: bytes, name: str) -> Metadata[Targets]:
    """Return an unverified targets role.

    Raises:
        TrustError: It is malformed or of another kind.
    """
    return parse(data, Targets, name)


def verified_by(delegator: Root | Targets, role: str, metadata: _AnyMetadata) -> bool:
    """Tell if `delegator` trusts the signatures of `metadata` for `role`; malformed ones count as no."""
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return False
    return True


def issued_by(timestamp: Timestamp) -> datetime | None:
    """Return when a verified timestamp says that it was signed; None if it does not say.

    Raises:
        TrustError: The field is malformed.
    """
    text = timestamp.unrecognized_fields.get(ISSUED_FIELD)
    if text is None:
        return None
    return parse_time(text)


def online_keys(root: Root) -> str:
    """Return 64 hex digits that name the keys of timestamp and snapshot: another value means that they were rotated."""
    roles = [root.roles["timestamp"], root.roles["snapshot"]]
    return sha256("\n".join(" ".join(sorted(role.keyids)) for role in roles).encode()).hexdigest()


def targets_in(trusted: TrustedMetadataSet, role: str) -> Targets:
    """Return a verified targets role of a trusted set.

    Raises:
        TrustError: There is none of that name.
    """
    signed = trusted.get(role)
    if not isinstance(signed, Targets):
        raise TrustError(f"role {role!r} is no verified targets role")
    return signed
