"""A fleet for tests: an authority, a trusted root, and an identity for every node that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..trust.authority import NODE_DAYS, Authority
from ..trust.bundle import Identity, new_site_key
from ..trust.ceremony import draft_root, sign_draft
from ..trust.keys import Keyring, SigningKey


@dataclass(frozen=True, slots=True)
class SampleFleet:
    """A fleet with one root key and one site key; made by `SampleFleet.create`.

    Attributes:
        authority: Issues the certificates.
        root: The TUF root that every node trusts.
        root_key: Signs all four roles of the root.
        site_key: Of every site, 32 bytes.
    """

    authority: Authority
    root: bytes
    root_key: SigningKey
    site_key: bytes

    @classmethod
    def create(cls, name: str, now: datetime) -> SampleFleet:
        """Return a new fleet.

        Args:
            name: Of the fleet.
            now: Start of the authority and the root; aware.
        """
        key = SigningKey.generate()
        ring = Keyring((key.public,), 1)
        root = sign_draft(draft_root(root=ring, targets=ring, snapshot=ring, timestamp=ring, now=now), [key])
        return cls(Authority.create(name, now), root, key, new_site_key())

    def identity(self, site: str, node: str, now: datetime, *, days: int = NODE_DAYS) -> Identity:
        """Return what a newly enrolled node gets; its certificate starts at `now` and lasts for `days`."""
        key, certificate = self.authority.issue(site, node, now, days=days)
        return Identity(key, certificate, self.authority.certificate_pem, self.site_key, self.root)
