"""What one peer said that it has, kept for transfers that start later; bounded, whatever the peer says."""

from __future__ import annotations

import itertools

from ..content.digest import Digest
from ..wire.messages import Have

_MOST_MANIFESTS = 64
_MOST_BYTES = 1024 * 1024  # encoded: 64 manifests of 130,000 chunks each, 8 GB a release
_MERGE_AFTER = 16
# The peer says how many chunks a manifest has; nobody has verified it. 64 GB at the average size, 1 MiB to merge.
_MOST_MERGED_CHUNKS = 1 << 20


class Holdings:
    """Chunks by manifest, as the messages that announced them. The manifest that was heard of longest ago makes room."""

    def __init__(self) -> None:
        self._said: dict[Digest, list[Have]] = {}

    def __contains__(self, manifest: Digest) -> bool:
        return manifest in self._said

    def add(self, message: Have) -> None:
        """Take what the peer says; `RemoteProtocolError` if it counts a manifest's chunks in two ways."""
        said = self._said[message.manifest] = self._said.pop(message.manifest, [])
        if message.complete:
            said.clear()
        said.append(message)
        if len(said) > _MERGE_AFTER and message.chunks > _MOST_MERGED_CHUNKS:
            del said[:-_MERGE_AFTER]  # of so large an artifact only the latest news are kept until it is fetched here
        elif len(said) > _MERGE_AFTER:
            flags = self._flags(message.manifest, message.chunks)
            said[:] = Have.announce(manifest=message.manifest, flags=flags, complete=True)
        while len(self._said) > _MOST_MANIFESTS or (len(self._said) > 1 and self.size > _MOST_BYTES):
            del self._said[next(iter(self._said))]

    def drop(self, manifest: Digest, index: int) -> None:
        """Take back one chunk of what the peer said that it has."""
        said = self._said.get(manifest, [])
        if not said or not 0 <= index < said[-1].chunks <= _MOST_MERGED_CHUNKS:
            return
        flags = bytearray(self._flags(manifest, said[-1].chunks))
        if flags[index]:
            flags[index] = 0
            said[:] = Have.announce(manifest=manifest, flags=flags, complete=True)

    @property
    def size(self) -> int:
        """Encoded bytes that are kept."""
        return sum(len(have.data) for said in self._said.values() for have in said)

    def chunks(self, manifest: Digest, count: int) -> list[int]:
        """Return the chunks of a manifest that the peer has, ascending.

        Args:
            manifest: Digest of the manifest root.
            count: Number of its chunks, as verified here.

        Raises:
            RemoteProtocolError: The peer named another number.
        """
        return list(itertools.compress(range(count), self._flags(manifest, count)))

    def _flags(self, manifest: Digest, count: int) -> bytes:
        flags = 0  # a number: the fastest way to join sets of which a hostile peer says that they have millions of chunks
        for message in self._said.get(manifest, []):
            flags |= int.from_bytes(message.flags(count), "little")
        return flags.to_bytes(count, "little")
