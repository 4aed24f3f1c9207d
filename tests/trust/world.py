"""A small fleet for tests: fixed keys, a repository, an origin that is a dict, and a node that saves what it verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from edgeswarm.content.digest import digest
from edgeswarm.trust.catalogue import Catalogue, IndexRef, Release
from edgeswarm.trust.ceremony import Expiries, draft_root, sign_draft
from edgeswarm.trust.client import STRICT, ExpiryPolicy, Outcome, TrustClient, Want, drive
from edgeswarm.trust.floor import VersionFloor
from edgeswarm.trust.keys import Keyring, SigningKey
from edgeswarm.trust.repository import Repository

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def key(name: str) -> SigningKey:
    """Return the signing key of a name: the same in every run."""
    private = Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
    return SigningKey(CryptoSigner(private), private)


def ring(*names: str, threshold: int = 1) -> Keyring:
    return Keyring(tuple(key(name).public for name in names), threshold)


ROOT_KEYS = [key("root a"), key("root b"), key("root c")]
ONLINE = [key("online")]
TARGETS = [key("targets")]
PRODUCT = [key("ruff a"), key("ruff b")]
ALL = [*ONLINE, *TARGETS, *PRODUCT]


def release(version: str, variant: str = "any", base: str | None = None) -> tuple[Release, bytes]:
    """Return a release with a made-up manifest root."""
    root = f"manifest root of ruff {version} for {variant}".encode()
    indexes = [IndexRef(None, digest(b"full" + root), 900, 1_000_000)]
    if base:
        indexes.append(IndexRef(digest(base.encode()), digest(b"delta" + root), 300, 50_000))
    return Release("ruff", version, variant, digest(root), 5_000_000, len(root), tuple(indexes)), root


class World:
    """A fleet's repository and origin."""

    def __init__(self) -> None:
        self.origin: dict[str, bytes] = {}
        self.root1 = self.draft_root()
        self.repository = Repository.initialise(self.root1)
        self.repository.delegate("ruff", ring("ruff a", "ruff b", threshold=2))
        self.release("1.0")
        self.publish()

    def draft_root(
        self, *, previous: bytes | None = None, online: str = "online", now: datetime = NOW, **lasts: timedelta
    ) -> bytes:
        draft = draft_root(
            root=ring("root a", "root b", "root c", threshold=2),
            targets=ring("targets"),
            snapshot=ring(online),
            timestamp=ring(online),
            now=now,
            expiries=Expiries(**lasts),
            previous=previous,
        )
        return sign_draft(draft, ROOT_KEYS[:2])

    def release(self, version: str) -> None:
        self.repository.add_release(*release(version))
        self.repository.set_channel("ruff", "stable", version)

    def publish(self, now: datetime = NOW, keys: list[SigningKey] | None = None, **lasts: timedelta) -> dict[str, bytes]:
        files = self.repository.sign(keys or ALL, now=now, expiries=Expiries(**lasts))
        self.origin.update(files)
        return files


class Node:
    """What a node keeps between refreshes."""

    def __init__(self, bootstrap: bytes | None) -> None:
        self.bootstrap = bootstrap
        self.files: dict[str, bytes] = {}
        self.floor = VersionFloor()
        self.wanted: list[str] = []
        self.client: TrustClient | None = None

    def open(self, now: datetime = NOW, expiry: ExpiryPolicy = STRICT) -> TrustClient:
        return TrustClient(self.files, now=now, bootstrap=self.bootstrap, expiry=expiry, floor=self.floor)

    def refresh(self, origin: Mapping[str, bytes], now: datetime = NOW, expiry: ExpiryPolicy = STRICT) -> Outcome:
        """Refresh with product `ruff`, then save."""
        self.wanted = []
        self.client = self.open(now, expiry)
        answer = self.answers(origin)
        drive(self.client.refresh(), answer)
        outcome = drive(self.client.product("ruff"), answer)
        self.files.update(outcome.changed)
        for name in outcome.obsolete:
            del self.files[name]
        self.floor = outcome.floor
        return outcome

    def answers(self, origin: Mapping[str, bytes]) -> Callable[[Want], bytes | None]:
        def answer(want: Want) -> bytes | None:
            self.wanted.append(want.name)
            return origin.get(want.name)

        return answer

    @property
    def catalogue(self) -> Catalogue:
        assert self.client is not None
        return Catalogue(self.client)
