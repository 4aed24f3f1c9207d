"""Readers of installed artifacts, for the stores."""

from __future__ import annotations

from collections.abc import Callable

from ..abc import ReadStream
from ..content.digest import Digest
from ..content.manifest import Manifest
from ..content.tree import decode_entries
from ..errors import ContentError
from ..files import FileReader, TreeReader


def entries_name(manifest: Digest) -> str:
    """Return the name of the object that holds the encoded entries of an installed tree."""
    return f"entries/{manifest.hex()}"


def collect_entries(manifest: Manifest, get: Callable[[Digest], bytes]) -> bytes:
    """Return the encoded entries of a tree from its first chunks.

    Args:
        manifest: Of a tree.
        get: Returns the verified bytes of a chunk.

    Raises:
        ChunkMissingError: One of those chunks is not here.
        ContentError: They are no entries.
    """
    size = manifest.root.entries
    data = b"".join(get(manifest.chunk(index).digest) for index in manifest.range(0, size))[:size]
    decode_entries(data)
    return data


def reader_of(path: str, entries_bytes: bytes) -> ReadStream:
    """Return a reader of an installed tree, or of a file if there are no entries."""
    if not entries_bytes:
        return FileReader(path)
    return TreeReader(decode_entries(entries_bytes), entries_bytes, path)


def check_entries_size(manifest: Digest, size: int, entries_bytes: bytes | None) -> bytes:
    """Return the entries of a link; `ContentError` if they are gone or not those of the manifest."""
    got = entries_bytes or b""
    if len(got) != size:
        raise ContentError(f"installed tree {manifest.hex()[:12]}: wanted {size} bytes of entries, got {len(got)}")
    return got
