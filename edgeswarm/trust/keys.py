"""Ed25519 keys that sign metadata: bytes in, bytes out; where they are kept is the caller's business."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from ..errors import TrustError

MAX_KEYS = 32
"""Keys of one role. Source: a guess; every key makes root or targets longer for every device."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a signing key.

    Attributes:
        tuf: The key as python-tuf knows it.
    """

    tuf: SSlibKey

    @property
    def keyid(self) -> str:
        """Identifier in metadata: 64 hex digits, SHA-256 of the key's canonical form (TUF specification 4.2)."""
        return self.tuf.keyid

    def to_pem(self) -> bytes:
        """Return the SubjectPublicKeyInfo in PEM."""
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.tuf.keyval["public"]))
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(cls, data: bytes) -> PublicKey:
        """Return the key in `data`, PEM.

        Raises:
            TrustError: It is no Ed25519 public key.
        """
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise TrustError("this is no public key in PEM form") from exc
        if not isinstance(key, Ed25519PublicKey):
            raise TrustError(f"metadata is signed with Ed25519 keys, this is a {type(key).__name__}")
        return cls(SSlibKey.from_crypto(key))


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A private key that signs metadata; its `repr` shows no secret.

    Attributes:
        signer: The key as python-tuf's signer.
        private: The private key.
    """

    signer: CryptoSigner
    private: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"SigningKey({self.public.keyid})"

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new key, from the operating system's randomness by way of `cryptography`."""
        private = Ed25519PrivateKey.generate()
        return cls(CryptoSigner(private), private)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self.signer.public_key)

    def to_pem(self, *, passphrase: bytes | None = None) -> bytes:
        """Return the key as PKCS#8 in PEM, encrypted if there is a passphrase.

        Raises:
            TrustError: The passphrase is empty.
        """
        if passphrase == b"":
            raise TrustError("the passphrase is empty: give one, or none at all")
        encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    @classmethod
    def from_pem(cls, data: bytes, *, passphrase: bytes | None = None) -> SigningKey:
        """Return the key in `data`, PKCS#8 in PEM.

        Raises:
            TrustError: It is no Ed25519 private key, or the passphrase is missing or wrong.
        """
        try:
            # cryptography refuses a passphrase for a plain key; here it is simply not needed.
            encrypted = b"ENCRYPTED" in data
            private = serialization.load_pem_private_key(data, passphrase if encrypted else None)
        except TypeError as exc:
            raise TrustError("this private key is encrypted: its passphrase is wanted") from exc
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise TrustError("this is no private key in PEM form, or the passphrase is wrong") from exc
        if not isinstance(private, Ed25519PrivateKey):
            raise TrustError(f"metadata is signed with Ed25519 keys, this is a {type(private).__name__}")
        return cls(CryptoSigner(private), private)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Who may sign a role: any `threshold` of `keys`.

    Attributes:
        keys: At least one, no two alike.
        threshold: How many of them must sign.

    Raises:
        TrustError: The threshold cannot be met, or a key is there twice.
    """

    keys: tuple[PublicKey, ...]
    threshold: int = 1

    def __post_init__(self) -> None:
        if len({key.keyid for key in self.keys}) != len(self.keys) or len(self.keys) > MAX_KEYS:
            raise TrustError(f"a role has at most {MAX_KEYS} keys, and each of them once")
        if not 1 <= self.threshold <= len(self.keys):
            raise TrustError(f"a threshold of {self.threshold} cannot be met by {len(self.keys)} keys")
