"""Root keys are offline: a draft is made in one place, signed in others, and comes back.

A draft is the metadata file itself with too few signatures. It can be carried on a stick, signed by each key holder with
`sign_draft`, in any order, and is accepted by a `Repository` once it has enough signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.metadata import Metadata, Role, Root

from ..errors import TrustError
from .clock import check_aware
from .keys import Keyring, SigningKey
from .metadata import judged, parse, verified_by


@dataclass(frozen=True, slots=True)
class Expiries:
    """How long each role stays valid after it is signed.

    Source: guesses, between the risk of a freeze (long) and sites that stop trusting because nobody signed (short).

    Attributes:
        root: Offline keys: a ceremony each time.
        targets: Top-level targets and each product; signed again by `edgeswarm refresh` when half of it is over.
        snapshot: Likewise.
        timestamp: Signed again by every `edgeswarm refresh`.
    """

    root: timedelta = timedelta(days=730)
    targets: timedelta = timedelta(days=365)
    snapshot: timedelta = timedelta(days=90)
    timestamp: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if min(self.root, self.targets, self.snapshot, self.timestamp) < timedelta(seconds=1):
            raise TrustError("metadata that expires as soon as it is signed is of no use: give at least a second")


def expiry(now: datetime, validity: timedelta) -> datetime:
    """Return when metadata signed at `now` expires, in UTC and whole seconds."""
    return (check_aware(now) + validity).replace(microsecond=0)


def draft_root(
    *,
    root: Keyring,
    targets: Keyring,
    snapshot: Keyring,
    timestamp: Keyring,
    now: datetime,
    expiries: Expiries | None = None,
    previous: bytes | None = None,
) -> bytes:
    """Return an unsigned root.

    Args:
        root: Who may sign the next root; 2 of 3 offline keys are a good start.
        targets: Who may delegate products.
        snapshot: Who may say which versions belong together; online.
        timestamp: Who may say what is newest; online.
        now: Aware.
        expiries: Its `root` is used.
        previous: The root that this one follows; None for the first.

    Raises:
        TrustError: `previous` is malformed.
    """
    version = 1 if previous is None else parse(previous, Root, "the previous root").signed.version + 1
    rings = {"root": root, "targets": targets, "snapshot": snapshot, "timestamp": timestamp}
    signed = Root(
        version=version,
        expires=expiry(now, (expiries or Expiries()).root),
        keys={key.keyid: key.tuf for ring in rings.values() for key in ring.keys},
        roles={name: Role([key.keyid for key in ring.keys], ring.threshold) for name, ring in rings.items()},
    )
    return Metadata(signed).to_bytes()


def sign_draft(draft: bytes, keys: Sequence[SigningKey]) -> bytes:
    """Return the draft with the signatures of `keys` added to those that it has.

    Raises:
        TrustError: It is no metadata file.
    """
    with judged("draft"):
        metadata: Metadata[Root] = Metadata.from_bytes(draft)
        for key in keys:
            metadata.sign(key.signer, append=True)
        return metadata.to_bytes()


def check_root(data: bytes, previous: bytes | None = None) -> Root:
    """Return a root that has enough signatures: its own, and those of the one before it.

    Raises:
        TrustError: It does not follow `previous`, or signatures are missing.
    """
    metadata = parse(data, Root, "root")
    version = metadata.signed.version
    trusted_by = [metadata.signed]
    if previous is not None:
        before = parse(previous, Root, "the previous root").signed
        if version != before.version + 1:
            raise TrustError(f"root v{version} does not follow root v{before.version}")
        trusted_by.append(before)
    for signer in trusted_by:
        if not verified_by(signer, Root.type, metadata):
            role = signer.roles[Root.type]
            raise TrustError(
                f"root v{version} is not signed by {role.threshold} of the {len(role.keyids)} keys of root v{signer.version}: "
                "let more key holders sign the draft"
            )
    return metadata.signed
