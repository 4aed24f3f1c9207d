"""The ports: what the floors above expect of stores, origins, links, installers and files.

Every implementation of a port passes the conformance suite of that port in `edgeswarm.testing`. Blocking ports are called from
worker threads by the node; async ports run under trio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .content.digest import Digest
from .content.manifest import Manifest

ReadStream = Callable[[int, int], bytes]
"""Read `length` bytes at `offset` of an artifact's stream: `read(offset, length)`; raises `ContentError` on a short read."""


class File(Protocol):
    """An open file with positioned reads and writes."""

    def pread(self, length: int, offset: int) -> bytes:
        """Return up to `length` bytes at `offset`; fewer only at the end of the file."""

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`, or raise; a short write is an error."""

    def datasync(self) -> None:
        """Make the written bytes and the size durable. After a failure the file counts as lost: never retried."""

    def truncate(self, size: int) -> None:
        """Cut or extend to `size` bytes."""

    def size(self) -> int:
        """Return the size in bytes."""

    def close(self) -> None:
        """Close; safe to call twice."""


class FileOps(Protocol):
    """Every file operation of store, trust state and activation goes through this port, so that tests can record and fail them.

    Paths are absolute strings. Errors are `OSError` as the operating system gives them; callers map them.
    """

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, read_only: bool = False, mode: int = 0o600) -> File:
        """Open a regular file; never follows a symlink in the last part."""

    def read(self, path: str, limit: int) -> bytes:
        """Return a whole file of at most `limit` bytes; `OSError` (EFBIG) if it is larger."""

    def rename(self, source: str, target: str) -> None:
        """Replace `target` by `source`, atomically."""

    def link(self, source: str, target: str) -> None:
        """Make `target` a hard link to `source`; `FileExistsError` if it exists."""

    def symlink(self, text: str, path: str) -> None:
        """Make a symlink at `path` that says `text`."""

    def readlink(self, path: str) -> str:
        """Return what the symlink says."""

    def unlink(self, path: str) -> None:
        """Remove a file or symlink; `FileNotFoundError` if there is none."""

    def mkdir(self, path: str, mode: int = 0o700) -> None:
        """Make one directory; an existing one is fine."""

    def rmtree(self, path: str) -> None:
        """Remove a directory tree without following symlinks; a missing one is fine."""

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""

    def exists(self, path: str) -> bool:
        """Tell if something, a dangling symlink too, is there."""

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits; never follows a symlink."""

    def sync_directory(self, path: str) -> None:
        """Make creations, renames and removals in a directory durable."""

    def free_bytes(self, path: str) -> int:
        """Return the bytes that an unprivileged writer may still use on the file system of `path`."""


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """What a store holds.

    Attributes:
        chunks: Chunks held as bytes in segments.
        chunk_bytes: Their plain bytes.
        linked_chunks: Chunks readable from installed artifacts.
        linked_bytes: Their plain bytes.
        segment_bytes: Bytes of segment files on disk.
        recovery: What was wrong when the store was opened and had to be rebuilt, for people; "": nothing.
    """

    chunks: int
    chunk_bytes: int
    linked_chunks: int
    linked_bytes: int
    segment_bytes: int
    recovery: str = ""


@runtime_checkable
class ChunkStore(Protocol):
    """Chunks by digest. Blocking; one writer at a time, any number of readers, from any thread.

    Guarantee G1: when `put` returns, its chunks survive a power cut. Guarantee G2: `get` returns bytes that have the digest, or
    raises; a chunk that no longer verifies is forgotten and counts as missing from then on.
    """

    def put(self, chunks: Sequence[tuple[Digest, bytes]], *, owner: Digest) -> None:
        """Store chunks durably, as one transaction: all or none.

        Args:
            chunks: Digests with the plain bytes; a chunk already held is skipped; wrong bytes raise `ContentError`.
            owner: Digest of the manifest root on whose behalf they are kept; `release(owner)` lets them go.

        Raises:
            ContentError: Bytes do not have their digest; nothing was stored.
            NoSpaceError: Disk or quota is full; nothing was stored.
            StoreError: The disk failed.
        """

    def check_room(self, size: int) -> None:
        """Raise `NoSpaceError` if chunks of `size` bytes in all would be refused now: to be asked before they are fetched."""

    def get(self, digest: Digest) -> bytes:
        """Return the verified bytes of a chunk, from a segment or from an installed artifact; `ChunkMissingError` if not here."""

    def have(self, digests: Sequence[Digest]) -> bytes:
        """Tell which chunks are here, by index alone (no bytes are read): one byte per digest, 1 = here."""

    def link(self, manifest: Manifest, path: str) -> None:
        """Declare that the artifact `manifest` is installed at `path` (a file or a tree): its chunks are read from there.

        Nothing is copied; the caller has verified the content. A file that changes later is noticed when a chunk is read.
        """

    def unlink(self, manifest: Digest, path: str) -> None:
        """Forget that the artifact is installed at `path`; unknown ones are fine."""

    def keep(self, owner: Digest, reason: str) -> None:
        """Pin an owner's chunks with a reason (shown to people); survives `collect`."""

    def release(self, owner: Digest) -> None:
        """Drop the pin of an owner."""

    def require(self, owner: Digest, digests: Iterable[Digest]) -> None:
        """Declare that an owner needs chunks that are here already, whoever brought them: they stay while it is pinned."""

    def collect(self) -> int:
        """Free chunks that no pinned owner needs, or that can be read from a linked artifact; return the bytes freed."""

    def save_object(self, name: str, data: bytes) -> None:
        """Store a small named object durably (metadata, manifest root, state); replaces the old one atomically."""

    def save_objects(self, objects: Mapping[str, bytes], gone: Iterable[str] = ()) -> None:
        """Store small named objects and remove others, durably, as one transaction: all or nothing."""

    def load_object(self, name: str) -> bytes | None:
        """Return a small named object, or None; a damaged one raises `StoreError`."""

    def list_objects(self, prefix: str) -> list[str]:
        """Return the sorted names of the objects that start with `prefix`."""

    def delete_object(self, name: str) -> None:
        """Remove a small named object; a missing one is fine."""

    def statistics(self) -> StoreStatistics:
        """Return what the store holds, from the index alone."""

    def close(self) -> None:
        """Close; safe to call twice."""


class OriginReader(Protocol):
    """Read static objects by name, e.g. `metadata/timestamp.json` or `packs/ab/abcd.pack`. Async.

    Raises (all methods): `ObjectMissingError` when the origin says that there is no such object; `FetchError` with
    `temporary=True` for a dead link, a 5xx, a wrong range or a body that ends early.
    """

    async def read(self, name: str, *, limit: int) -> bytes:
        """Return a whole object of at most `limit` bytes; a longer one raises `FetchError` before it is read to the end."""

    def stream(self, name: str, *, offset: int, length: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream exactly `length` bytes from `offset`, in pieces of at most 64 KiB as they arrive.

        The iterator raises `FetchError` when the link breaks; what it yielded before is good to keep.
        """

    async def aclose(self) -> None:
        """Close connections; safe to call twice."""


class OriginWriter(Protocol):
    """Write static objects. Blocking; used by the publisher only.

    Objects are immutable but for those written with `replace=True`.
    """

    def put(self, name: str, data: bytes | Iterable[bytes], *, replace: bool = False) -> None:
        """Store an object durably and atomically: a reader sees nothing, the old or the new bytes.

        Raises:
            PublishError: It exists with other bytes and `replace` is false; or the origin cannot be written.
        """

    def get(self, name: str, *, limit: int) -> bytes | None:
        """Return a whole object, or None if there is none."""

    def read(self, name: str, *, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset` of an object; `PublishError` if they are not there."""

    def exists(self, name: str) -> bool:
        """Tell if there is such an object."""

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of all objects below a folder, e.g. `metadata`; none if there is no such folder.

        Raises:
            PublishError: The origin cannot be read.
        """

    def size(self, name: str) -> int:
        """Return the bytes of an object, 0 if there is none.

        Raises:
            PublishError: The origin cannot be read.
        """

    def delete(self, name: str) -> None:
        """Remove an object durably; a missing one is fine. Whoever is reading it may fail: nothing may name it any more.

        Raises:
            PublishError: It cannot be removed.
        """

    def lock(self) -> AbstractContextManager[None]:
        """Keep other publishers out; raises `PublishError` if another one holds it for longer than the implementation waits."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Who is at the other end of a link, as its verified certificate says.

    Attributes:
        fleet: Name of the fleet.
        site: Name of the site.
        node: Name of the node within the site.
        key: SHA-256 of the certificate's SubjectPublicKeyInfo, 32 bytes: the node id.
        address: Where it was reached or came from, for people.
    """

    fleet: str
    site: str
    node: str
    key: bytes
    address: str


class Link(Protocol):
    """One authenticated, encrypted, ordered byte stream between two nodes. Async."""

    @property
    def peer(self) -> PeerIdentity:
        """Who is at the other end."""

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`; waits while the peer is slow. One sender at a time. Raises `FetchError` when the link is gone."""

    async def receive(self) -> bytes:
        """Return some bytes, at most 256 KiB; b"" when the peer closed properly; `FetchError` when the link broke."""

    async def aclose(self) -> None:
        """Close; safe to call twice, and when cancelled closes at once."""


class Started(Protocol):
    """What `serve` tells that it is ready: trio's `TaskStatus[str]`."""

    def started(self, value: str) -> None:
        """Take the bound `host:port`."""


class Transport(Protocol):
    """Makes links. Async."""

    async def serve(self, address: str, handler: Callable[[Link], Awaitable[object]], *, task_status: Started) -> None:
        """Accept links at `host:port` and run the async `handler(link)` for each, until cancelled.

        `task_status.started(bound)` is called with the bound `host:port`. A handshake that fails is logged and closed; it never
        ends the server.
        """

    async def connect(self, address: str) -> Link:
        """Return an authenticated link to `host:port`.

        Raises:
            TrustError: The peer's certificate is not one of this fleet, is expired, or of another site.
            FetchError: Nobody answers there.
        """


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installer has in its target.

    Attributes:
        manifest: Digest of the manifest root.
        path: Where the artifact's bytes can be read (a file or a tree), safe until it is rolled away.
        version: Version string of the release, for people.
    """

    manifest: Digest
    path: str
    version: str


class Installer(Protocol):
    """Puts releases into one target (a file, a directory, ...). Blocking.

    `stage` may take long and is repeatable; `activate` and `rollback` switch atomically: the target holds the old or the new
    release, never a mix (guarantee G4), also after a power cut in the middle. The state survives restarts.
    """

    def stage(self, manifest: Manifest, version: str, read: ReadStream, progress: Callable[[int], None]) -> Installed:
        """Write the release beside the target, verify it, make it durable; what is staged already is kept.

        Args:
            manifest: What to install.
            version: For people.
            read: The artifact's stream, verified.
            progress: Called with the bytes written since the last call, which may be 0: often enough that what it raises, to stop
                the work, stops it soon. What was written is kept, and verified by the next call.
        """

    def activate(self, progress: Callable[[int], None] = lambda _read: None) -> Installed:
        """Switch the target to the staged release; the release it held becomes `previous`.

        Args:
            progress: Called with the bytes verified since the last call; what it raises stops the work with nothing switched.
        """

    def confirm(self) -> None:
        """Declare the active release good: it will not be rolled back by itself."""

    def rollback(self) -> Installed:
        """Switch the target back to `previous`; raises `ActivationError` if there is none."""

    def staged(self) -> Installed | None:
        """Return the release that is staged and not active."""

    def active(self) -> Installed | None:
        """Return the release that the target holds."""

    def previous(self) -> Installed | None:
        """Return the release that `rollback` goes back to."""

    def confirmed(self) -> bool:
        """Tell if the active release was confirmed."""
