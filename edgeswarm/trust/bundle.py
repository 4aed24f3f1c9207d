"""What a node gets when it is enrolled: the files of its identity folder.

Files:
    node.key: the node's private key, PKCS#8 in PEM, not encrypted: the folder is readable by the node alone.
    node.crt: its certificate, PEM.
    ca.crt: the fleet authority's certificate, PEM.
    site.key: the key of the site's beacons, 32 bytes as 64 hex digits and a line end.
    root.json: the TUF root that the node trusts from the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ..errors import ConfigError, TrustError
from .authority import CertificateIdentity, identity_of, load_certificate, load_private_key

FILE_NAMES = ("node.key", "node.crt", "ca.crt", "site.key", "root.json")
"""The files of an identity folder."""

SITE_KEY_BYTES = 32
"""Source: XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03, section 2."""

MAX_FILE_BYTES = 512_000
"""Bytes of a file of the folder. Source: the limit of a TUF root, the longest of them."""


def new_site_key() -> bytes:
    """Return a random site key, 32 bytes, from the operating system by way of `cryptography`."""
    return ChaCha20Poly1305.generate_key()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is, and whom it trusts.

    Attributes:
        key: Private key, PEM.
        certificate: Certificate, PEM.
        authority: The fleet authority's certificate, PEM.
        site_key: Key of the site's beacons, 32 bytes.
        root: The TUF root to start from: the `bootstrap` of a `TrustClient`.
        names: What the certificate says.

    Raises:
        TrustError: The parts do not belong together, or one is malformed.
    """

    key: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    authority: bytes = field(repr=False)
    site_key: bytes = field(repr=False)
    root: bytes = field(repr=False)
    names: CertificateIdentity = field(init=False)

    def __post_init__(self) -> None:
        if len(self.site_key) != SITE_KEY_BYTES:
            raise TrustError(f"the site key has {len(self.site_key)} bytes, wanted {SITE_KEY_BYTES}")
        object.__setattr__(self, "names", _check_certificate(self.key, self.certificate, self.authority))
        _check_root(self.root)

    @property
    def fleet(self) -> str:
        """Name of the fleet."""
        return self.names.fleet

    @property
    def site(self) -> str:
        """Name of the site."""
        return self.names.site

    @property
    def node(self) -> str:
        """Name of the node within the site."""
        return self.names.node

    @property
    def node_id(self) -> bytes:
        """SHA-256 of the certificate's SubjectPublicKeyInfo, 32 bytes."""
        return self.names.spki_sha256

    def to_files(self) -> dict[str, bytes]:
        """Return the files of the identity folder by name; `node.key` and `site.key` are secret."""
        return {
            "node.key": self.key,
            "node.crt": self.certificate,
            "ca.crt": self.authority,
            "site.key": self.site_key.hex().encode() + b"\n",
            "root.json": self.root,
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Identity:
        """Return the identity in the files of a folder; files of other names are ignored.

        Raises:
            ConfigError: A file is missing or too long.
            TrustError: The parts do not belong together, or one is malformed.
        """
        key, certificate, authority, site_key, root = (_file(files, name) for name in FILE_NAMES)
        try:
            secret = bytes.fromhex(site_key.decode("ascii").strip())
        except ValueError as exc:
            raise TrustError(f"site.key is no text of {2 * SITE_KEY_BYTES} hex digits") from exc
        return cls(key, certificate, authority, secret, root)


def _file(files: Mapping[str, bytes], name: str) -> bytes:
    data = files.get(name)
    if data is None:
        raise ConfigError(f"the identity folder has no {name}: enrol the node with `edgeswarm enrol`")
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{name} in the identity folder is {len(data)} bytes long, at most {MAX_FILE_BYTES} make sense")
    return data


def _check_certificate(key_pem: bytes, certificate_pem: bytes, ca_pem: bytes) -> CertificateIdentity:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import Encoding

    key = load_private_key(key_pem, "node.key")
    certificate = load_certificate(certificate_pem, "node.crt")
    authority = load_certificate(ca_pem, "ca.crt")
    if certificate.public_key() != key.public_key():
        raise TrustError("node.key and node.crt do not belong together: enrol the node again")
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError) as exc:
        raise TrustError("node.crt was not issued by ca.crt: enrol the node again") from exc
    return identity_of(certificate.public_bytes(Encoding.DER))


def _check_root(data: bytes) -> None:
    from .metadata import open_set

    # A root is checked against itself here; its expiry is judged when newer ones were looked for.
    open_set(data, "root.json", datetime.min.replace(tzinfo=UTC))
