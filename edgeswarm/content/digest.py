"""Names of content: BLAKE3-256 of the plain bytes."""

from __future__ import annotations

from typing import TypeAlias

from blake3 import blake3

from ..errors import ContentError

Digest: TypeAlias = bytes
"""32 bytes of BLAKE3."""

DIGEST_BYTES = 32

_SHORT_HEX = 12


def digest(data: bytes | memoryview) -> Digest:
    """Return the BLAKE3-256 digest of `data`, 32 bytes."""
    # One thread: more cost more than they give below 1 MiB, and chunks are at most a quarter of that [BLAKE3: 4-5 GB/s on one].
    return blake3(data).digest()


def short(name: Digest) -> str:
    """Return the first 12 hex digits of a digest, for messages."""
    return name.hex()[:_SHORT_HEX]


def check_digest(data: bytes | memoryview, wanted: Digest, what: str) -> None:
    """Check that `data` has the digest `wanted`.

    Raises:
        ContentError: It has another one; `what` names the thing in the message.
    """
    got = digest(data)
    if got != wanted:
        raise ContentError(f"{what}: wanted digest {short(wanted)}, got {short(got)} over {len(data)} bytes")
