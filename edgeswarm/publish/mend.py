"""Writes a damaged pack again where it lies, if what is bad in it can be made of the source at hand.

A pack is named by the digest of its bytes, so that nothing is trusted: the sound part and the new pieces are hashed first, and the
pack is replaced only if they give its name. They do not where something else in it is bad too, or the pieces were encoded at
another level. Then it stays as it is, for the publication of the release that it is of.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from blake3 import blake3

from ..abc import OriginWriter
from ..content.digest import Digest
from ..content.index import pack_name
from ..errors import PublishError

MAX_PATCH_BYTES = 64 * 1024 * 1024
"""Bytes of pieces that are made anew for one pack: they are held in memory. A guess."""

_BLOCK_BYTES = 1024 * 1024
_log = logging.getLogger("edgeswarm.publish")


def mend(writer: OriginWriter, pack: Digest, patches: Mapping[int, bytes]) -> bool:
    """Replace a damaged pack by a sound one; return False, with nothing changed, if that takes more than the patches.

    Args:
        writer: The origin.
        pack: Name of the pack.
        patches: The right bytes of bad pieces, by offset; they do not overlap.

    Raises:
        PublishError: The origin cannot be written.
    """
    name, made = pack_name(pack), blake3()
    try:
        for block in _patched(writer, name, patches):
            made.update(block)
    except PublishError:  # it ends too early, or cannot be read
        return False
    if made.digest() != pack:
        return False
    _log.warning("%s: was damaged at the origin and is written again", name)
    writer.put(name, _patched(writer, name, patches), replace=True)
    return True


def _patched(writer: OriginWriter, name: str, patches: Mapping[int, bytes]) -> Iterator[bytes]:
    at = 0
    for offset, data in sorted(patches.items()):
        yield from _blocks(writer, name, at, offset)
        yield data
        at = offset + len(data)
    yield from _blocks(writer, name, at, writer.size(name))


def _blocks(writer: OriginWriter, name: str, start: int, end: int) -> Iterator[bytes]:
    for offset in range(start, end, _BLOCK_BYTES):
        yield writer.read(name, offset=offset, length=min(_BLOCK_BYTES, end - offset))
