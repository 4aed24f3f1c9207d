"""Beacons: one small multicast datagram that says "I am here and hold this version".

    4 bytes magic and format version | 24 bytes nonce | ciphertext | 16 bytes tag

The ciphertext is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under the 32-byte key of the site, with the first 4 bytes as
associated data. A beacon is a hint and never trusted: it only makes a node connect, and the link is authenticated. The tag keeps
strangers from resetting timers; epoch and sequence keep them from doing it with recorded beacons.
Bytes on the wire: docs/reference/wire.md, "Beacon".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from blake3 import blake3
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from ..errors import LocalProtocolError, RemoteProtocolError, TrustError

SITE_KEY_BYTES = 32
"""Length of a site key."""
NONCE_BYTES = 24
"""Length of a nonce: long enough to be drawn at random for ever."""
TAG_BYTES = 8
"""Length of a site tag and of the part of a node id that a beacon carries."""
BEACON_MAX_BYTES = 150
"""Longest beacon; those of this version have 87 to 103 bytes."""
AGE_UNKNOWN = 2**32 - 1
"""`Beacon.age` of a node that never heard of a check at the origin."""

_MAGIC = b"esb\x01"
_SEAL_BYTES = 16
# site tag, node, epoch, sequence, timestamp version, age, port, length of the address
_FIXED = struct.Struct(">8s8sQIQIHB")
_TAG_CONTEXT = "edgeswarm beacon v1 site tag"
_MAX_NUMBER = 2**63 - 1
_MAX_U32 = 2**32 - 1
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon:
    """What a beacon says.

    Attributes:
        site: Tag of fleet and site, 8 bytes, from `site_tag`.
        node: First 8 bytes of the node id.
        epoch: Grows with every start of the node; below 2**63.
        sequence: Grows with every beacon of an epoch; below 2**32.
        timestamp_version: Version of the newest timestamp metadata it holds; 0: none; below 2**63.
        age: Seconds since it knows of a check at the origin, its own or another node's; `AGE_UNKNOWN`: never.
        port: Where it accepts links; 0: it does not.
        address: IPv4 or IPv6 address for that, or "": the one that the datagram came from.
    """

    site: bytes
    node: bytes
    epoch: int
    sequence: int
    timestamp_version: int
    age: int = AGE_UNKNOWN
    port: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        if len(self.site) != TAG_BYTES or len(self.node) != TAG_BYTES:
            raise LocalProtocolError(
                f"beacon: wanted site and node of {TAG_BYTES} bytes, got {len(self.site)} and {len(self.node)}"
            )
        for name, most in _RANGES.items():
            if not 0 <= getattr(self, name) <= most:
                raise LocalProtocolError(f"beacon {name}: wanted 0 to {most}, got {getattr(self, name)}")
        _pack_address(self.address)


_RANGES = {"epoch": _MAX_NUMBER, "sequence": _MAX_U32, "timestamp_version": _MAX_NUMBER, "age": AGE_UNKNOWN, "port": _MAX_PORT}


def site_tag(fleet: str, site: str) -> bytes:
    """Return the 8 bytes that stand for a site of a fleet in beacons."""
    return blake3(f"{fleet}/{site}".encode(), derive_key_context=_TAG_CONTEXT).digest(length=TAG_BYTES)


def seal_beacon(beacon: Beacon, *, key: bytes, nonce: bytes) -> bytes:
    """Return the datagram of a beacon.

    Args:
        beacon: What to say.
        key: Primary key of the site, 32 bytes.
        nonce: 24 random bytes, never used twice with the same key.

    Raises:
        LocalProtocolError: Key or nonce have a wrong length.
    """
    if len(key) != SITE_KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise LocalProtocolError(
            f"beacon: wanted a key of {SITE_KEY_BYTES} and a nonce of {NONCE_BYTES} bytes, got {len(key)}, {len(nonce)}"
        )
    address = _pack_address(beacon.address)
    head = _FIXED.pack(
        beacon.site, beacon.node, beacon.epoch, beacon.sequence, beacon.timestamp_version, beacon.age, beacon.port, len(address)
    )  # fmt: skip
    return _MAGIC + nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(head + address, _MAGIC, nonce, key)


def open_beacon(datagram: bytes, *, keys: Sequence[bytes], site: bytes) -> Beacon:
    """Return what a datagram says.

    Args:
        datagram: What came; anything.
        keys: Keys of the site, 32 bytes each, the primary first.
        site: The site that is ours, from `site_tag`.

    Raises:
        RemoteProtocolError: Not a beacon of this version, or one with impossible values.
        TrustError: Sealed under none of the keys, or of another site.
    """
    shortest = len(_MAGIC) + NONCE_BYTES + _FIXED.size + _SEAL_BYTES
    if not shortest <= len(datagram) <= BEACON_MAX_BYTES or not datagram.startswith(_MAGIC):
        raise RemoteProtocolError(f"datagram of {len(datagram)} bytes: wanted a beacon, {shortest} to {BEACON_MAX_BYTES} bytes")
    beacon = _unpack(_unseal(datagram, keys))
    if beacon.site != site:
        raise TrustError(f"beacon: wanted site {site.hex()}, got {beacon.site.hex()}: two sites share a key")
    return beacon


def _unseal(datagram: bytes, keys: Sequence[bytes]) -> bytes:
    nonce, sealed = datagram[len(_MAGIC) : len(_MAGIC) + NONCE_BYTES], datagram[len(_MAGIC) + NONCE_BYTES :]
    for key in keys:
        try:
            return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, _MAGIC, nonce, key)
        except CryptoError:
            continue
    raise TrustError(f"beacon: sealed under none of our {len(keys)} site keys")


def _unpack(plain: bytes) -> Beacon:
    site, node, epoch, sequence, version, age, port, length = _FIXED.unpack_from(plain)
    address = plain[_FIXED.size :]
    if len(address) != length or length not in (0, 4, 16):
        raise RemoteProtocolError(f"beacon: wanted an address of 0, 4 or 16 bytes, got {length} and {len(address)} bytes behind it")
    try:
        return Beacon(
            site=site, node=node, epoch=epoch, sequence=sequence, timestamp_version=version, age=age, port=port,
            address=str(ip_address(address)) if address else "",
        )  # fmt: skip
    except LocalProtocolError as error:
        raise RemoteProtocolError(f"from the peer: {error}") from error


def _pack_address(address: str) -> bytes:
    """Return 0, 4 or 16 bytes; a zone (`%eth0`) means nothing to another host and is refused."""
    try:
        packed = ip_address(address).packed if address else b""
    except ValueError as error:
        raise LocalProtocolError(f"beacon address: wanted an IPv4 or IPv6 address or nothing, got {address[:40]!r}") from error
    if "%" in address:
        raise LocalProtocolError(f"beacon address: wanted one without a zone, got {address[:40]!r}")
    return packed
