"""An origin that is a folder: a disk, a network share, a web server's root, a stick."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import TypeVar

import trio

from ..errors import FetchError, LocalProtocolError, PublishError, PublishSpaceError
from ..files import OsFiles, name_new
from .deadlines import STALL_SECONDS, whole_seconds
from .names import check_name, check_range, is_name
from .static import StaticObject, open_object
from .threads import Threads

_T = TypeVar("_T")
PIECE_BYTES = 64 * 1024
"""Largest piece that `stream` yields: part of the port `OriginReader`."""

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a write says that finds no room. Source: write(2)."""

_READ_BYTES = 1024 * 1024  # A hop to a thread costs 116 us (ARCHITECTURE.md): 1 MiB a hop keeps it below a tenth of the copy.
_LOCK_SECONDS = 60.0  # A guess: longer than another publisher needs to write its metadata.
_LOCK_POLL_SECONDS = 0.1  # flock(2) has no deadline of its own; a person does not notice a tenth of a second.
# Both start with a dot: no object can (names.py), so that no server of ours serves them, and one pattern keeps others from it.
_UNFINISHED = ".tmp"
_LOCK = ".lock"
_PRIVATE_MODE = 0o770  # of `.tmp`, less the umask: a web server, which is another user, cannot read what is not finished
_LEFTOVER_SECONDS = 86400.0  # A guess: no publisher writes one object for a day, so what is older was left by a crash.
_FILES = OsFiles()


class DirectoryOrigin:
    """Reads objects from a folder (port `OriginReader`), in worker threads that are left alone when they hang, as on a dead share.

    Args:
        folder: Where.
        stall_seconds: Longest wait for one block.
    """

    def __init__(self, folder: str, *, stall_seconds: float = STALL_SECONDS) -> None:
        self._folder = folder
        self._stall_seconds = stall_seconds
        self._threads = Threads()

    def __repr__(self) -> str:
        return f"DirectoryOrigin({self._folder!r})"

    async def read(self, name: str, *, limit: int) -> bytes:
        """Return a whole object of at most `limit` bytes; see `OriginReader.read`."""
        return await self._threads.run(name, whole_seconds(limit, self._stall_seconds), partial(self._read, name, limit))

    def _read(self, name: str, limit: int) -> bytes:
        found = open_object(self._folder, name)
        try:
            # The size is not trusted alone: a file may grow while it is read.
            data = found.read(0, limit + 1) if found.size <= limit else b""
        finally:
            found.close()
        if max(len(data), found.size) > limit:
            raise FetchError(f"{name}: want at most {limit} bytes, it has {max(len(data), found.size)}", temporary=False)
        return data

    @asynccontextmanager
    async def stream(self, name: str, *, offset: int, length: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream exactly `length` bytes from `offset`; see `OriginReader.stream`."""
        check_range(name, offset, length)
        file = _File(self._folder, name, self._stall_seconds, self._threads)
        try:
            await file.open()
            async with aclosing(_pieces(file, offset, length)) as pieces:
                yield pieces
        finally:
            file.leave()

    async def aclose(self) -> None:
        """Do nothing: no file stays open between calls."""
        await trio.lowlevel.checkpoint()


class _File:
    """An open object. A thread that hangs in it is not waited for: it closes the file itself if it ever comes back."""

    def __init__(self, folder: str, name: str, stall_seconds: float, threads: Threads) -> None:
        self.name = name
        self._threads = threads
        self._folder = folder
        self._stall_seconds = stall_seconds
        self._using = threading.Lock()
        self._found: StaticObject | None = None
        self._left = False

    async def open(self) -> None:
        await self._in_thread(self._open)

    async def read(self, offset: int, length: int) -> bytes:
        return await self._in_thread(partial(self._read, offset, length))

    def leave(self) -> None:
        """Close the file, now or when the thread that uses it ends."""
        self._left = True
        self._close_if_left()

    async def _in_thread(self, use: Callable[[], _T]) -> _T:
        return await self._threads.run(self.name, self._stall_seconds, partial(self._guarded, use))

    def _guarded(self, use: Callable[[], _T]) -> _T:
        try:
            with self._using:
                return use()
        finally:
            self._close_if_left()

    def _open(self) -> None:
        self._found = open_object(self._folder, self.name)

    def _read(self, offset: int, length: int) -> bytes:
        if self._found is None:
            raise LocalProtocolError(f"{self.name} is not open")
        return self._found.read(offset, length)

    def _close_if_left(self) -> None:
        if self._left and self._using.acquire(blocking=False):
            found, self._found = self._found, None
            self._using.release()
            if found is not None:
                found.close()


async def _pieces(file: _File, offset: int, length: int) -> AsyncGenerator[bytes, None]:
    while length:
        block = await file.read(offset, min(length, _READ_BYTES))
        for start in range(0, len(block), PIECE_BYTES):
            await trio.lowlevel.checkpoint()  # each piece is a place to be cancelled at, as it is with every other origin
            yield block[start : start + PIECE_BYTES]
        offset += len(block)
        length -= len(block)
        if not block:
            raise FetchError(f"{file.name}: ends at byte {offset}, {length} bytes too early")


class DirectoryWriter:
    """Writes objects into a folder (port `OriginWriter`). Blocking.

    An object is written beside its place (`.tmp/`), made durable, and only then given its name, so that a reader or a web server
    never sees half of one. What a publisher that died left there is removed after a day, by the next one that takes the lock.
    Hold `lock` while publishing.

    Args:
        folder: Where; made if it is not there.
        lock_seconds: How long `lock` waits for another publisher.
    """

    def __init__(self, folder: str, *, lock_seconds: float = _LOCK_SECONDS) -> None:
        self._folder = folder
        self._lock_seconds = lock_seconds

    def __repr__(self) -> str:
        return f"DirectoryWriter({self._folder!r})"

    def put(self, name: str, data: bytes | Iterable[bytes], *, replace: bool = False) -> None:
        """Store an object durably and atomically; see `OriginWriter.put`.

        The same bytes again are fine, and nothing is written.

        Raises:
            PublishError: It exists with other bytes and `replace` is false; or the folder cannot be written.
        """
        check_name(name)
        path = os.path.join(self._folder, name)
        blocks = [data] if isinstance(data, bytes) else data
        with self._mapped(name):
            if not replace and os.path.lexists(path):
                self._compare(name, blocks)
                return
            self._make_folders(os.path.dirname(name))
            self._make_folders(_UNFINISHED)
            self._write(name, path, blocks, replace=replace)

    def _write(self, name: str, path: str, blocks: Iterable[bytes], *, replace: bool) -> None:
        temporary = os.path.join(self._folder, _UNFINISHED, f"{os.getpid()}-{os.urandom(8).hex()}")
        try:
            _write_durably(temporary, blocks)
            if replace:
                os.rename(temporary, path)
            elif not name_new(_FILES, temporary, path):
                self._compare(name, _blocks_of(temporary))
            _sync_folder(os.path.dirname(path))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _compare(self, name: str, blocks: Iterable[bytes]) -> None:
        found = open_object(self._folder, name)
        try:
            at = 0
            for block in blocks:
                if found.read(at, len(block)) != block:
                    break
                at += len(block)
            else:
                if at == found.size:
                    return
        finally:
            found.close()
        raise PublishError(f"{name}: exists in {self._folder} with other bytes, and objects never change: publish under a new name")

    def get(self, name: str, *, limit: int) -> bytes | None:
        """Return a whole object of at most `limit` bytes, or None if there is none.

        Raises:
            PublishError: It is larger, or cannot be read.
        """
        if not self.exists(name):
            return None
        with self._mapped(name):
            found = open_object(self._folder, name)
            try:
                data = found.read(0, limit + 1)
            finally:
                found.close()
        if len(data) > limit:
            raise PublishError(f"{name}: want at most {limit} bytes, it has {found.size}")
        return data

    def read(self, name: str, *, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset` of an object.

        Raises:
            PublishError: There is no such object, it is shorter, or it cannot be read.
        """
        try:
            found = open_object(self._folder, name)
            try:
                data = found.read(offset, length)
            finally:
                found.close()
        except FetchError as exc:
            raise PublishError(f"{name}: cannot be read in {self._folder}: {exc}") from exc
        if len(data) != length:
            raise PublishError(f"{name}: wanted {length} bytes at {offset}, it has {found.size} in all")
        return data

    def exists(self, name: str) -> bool:
        """Tell if there is such an object."""
        check_name(name)
        return os.path.lexists(os.path.join(self._folder, name))

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of all objects below a folder; see `OriginWriter.names`.

        Raises:
            PublishError: It cannot be read.
        """
        check_name(folder)
        with self._mapped(folder):
            return sorted(_names_below(self._folder, folder))

    def size(self, name: str) -> int:
        """Return the bytes of an object, 0 if there is none; see `OriginWriter.size`."""
        check_name(name)
        with self._mapped(name):
            try:
                return os.lstat(os.path.join(self._folder, name)).st_size
            except FileNotFoundError:
                return 0

    def delete(self, name: str) -> None:
        """Remove an object durably; see `OriginWriter.delete`."""
        check_name(name)
        path = os.path.join(self._folder, name)
        with self._mapped(name, "removed"), contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            _sync_folder(os.path.dirname(path))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other publishers out, of this process, this machine and (where the share supports flock) others.

        Raises:
            PublishError: Another publisher holds it for longer than `lock_seconds`.
        """
        with self._mapped("lock"):
            self._make_folders(_UNFINISHED)
            descriptor = os.open(os.path.join(self._folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            with self._mapped("lock"):
                self._wait_for_lock(descriptor)
                self._remove_leftovers()
            yield
        finally:
            os.close(descriptor)  # lets the lock go

    def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._lock_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 32, 0).decode("ascii", "replace") or "unknown"
                    raise PublishError(
                        f"{self._folder}: another publisher (process {holder}) holds the lock, waited {self._lock_seconds:g} s"
                    ) from exc
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return

    def _remove_leftovers(self) -> None:
        """Remove what publishers left that died; one that still writes, without the lock, may take its own away meanwhile."""
        oldest = time.time() - _LEFTOVER_SECONDS
        with os.scandir(os.path.join(self._folder, _UNFINISHED)) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry.path)

    def _make_folders(self, relative: str) -> None:
        """Make the origin's folder and those below it, each of them durable in its parent."""
        path = self._folder
        for part in ("", *relative.split("/")):
            path = os.path.join(path, part) if part else path
            if not os.path.isdir(path):
                os.makedirs(path, _PRIVATE_MODE if part == _UNFINISHED else 0o777, exist_ok=True)
                _sync_folder(os.path.dirname(path.rstrip("/")))

    @contextmanager
    def _mapped(self, name: str, done: str = "published") -> Iterator[None]:
        """Map what the operating system says to `PublishError`, in one place."""
        try:
            yield
        except OSError as exc:
            message = f"{name}: cannot be {done} in {self._folder}: {exc.strerror}"
            if exc.errno in FULL_ERRNOS:
                raise PublishSpaceError(f"{message}; no release changed: make room and publish again") from exc
            raise PublishError(message) from exc
        except FetchError as exc:
            raise PublishError(f"{name}: cannot be compared in {self._folder}: {exc}") from exc


def _names_below(top: str, folder: str) -> Iterator[str]:
    try:
        with os.scandir(os.path.join(top, folder)) as entries:
            found = [(f"{folder}/{entry.name}", entry.is_dir(follow_symlinks=False)) for entry in entries if is_name(entry.name)]
    except FileNotFoundError:
        return
    for name, is_folder in found:
        if is_folder:
            yield from _names_below(top, name)
        else:
            yield name


def _write_durably(path: str, blocks: Iterable[bytes]) -> None:
    # 0o666 less the umask: a web server that runs as another user must be able to read it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb", buffering=_READ_BYTES) as file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(descriptor)


def _blocks_of(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            yield block


def _sync_folder(path: str) -> None:
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
