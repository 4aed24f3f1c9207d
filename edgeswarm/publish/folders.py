"""Small files and folders of the publisher, written whole or not at all, secrets readable by the owner alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ..errors import ConfigError, PublishSpaceError
from ..files import OsFiles, name_new
from ..origin import FULL_ERRNOS

SECRET_MODE = 0o600
MAX_FILE_BYTES = 1024 * 1024
"""Bytes of a file of the publisher's folder. Source: a guess, twice the limit of a TUF root."""

_FILES = OsFiles()


def read_file(path: str, what: str) -> bytes:
    """Return a whole small file.

    Raises:
        ConfigError: It is missing, too long or unreadable; `what` says in the message what it is.
    """
    with mapped(path, what):
        return _FILES.read(path, MAX_FILE_BYTES)


def write_new(path: str, data: bytes, what: str, *, mode: int = SECRET_MODE) -> None:
    """Write a new file durably: it is there whole, or not at all.

    Raises:
        ConfigError: There is one already, or it cannot be written.
        PublishSpaceError: There is no room.
    """
    _put(path, data, what, mode, _name_new)


def write_over(path: str, data: bytes, what: str, *, mode: int = SECRET_MODE) -> None:
    """Write a file durably in place of the one that may be there: there is the old one or the new one.

    Raises:
        ConfigError: It cannot be written.
        PublishSpaceError: There is no room.
    """
    _put(path, data, what, mode, _FILES.rename)


def list_folder(path: str, what: str) -> list[str]:
    """Return the sorted names in a folder; none if it is not there.

    Raises:
        ConfigError: It cannot be listed.
    """
    with mapped(path, what):
        return _FILES.listdir(path) if os.path.isdir(path) else []


def make_folder(path: str, what: str) -> None:
    """Make one folder of the owner's, and tell that it is new.

    Raises:
        ConfigError: There is something of that name already, or it cannot be made.
        PublishSpaceError: There is no room.
    """
    with _written(path, what):
        os.mkdir(path, 0o700)
        _FILES.sync_directory(os.path.dirname(path))


@contextmanager
def new_folder(path: str, what: str) -> Iterator[str]:
    """Make a folder as a whole: yields a temporary one, which gets its name when the block ends well, and is removed otherwise.

    Args:
        path: Absolute; nothing may be there but an empty folder.
        what: For the message.

    Raises:
        ConfigError: Something is there already, or it cannot be made.
        PublishSpaceError: There is no room.
    """
    if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise ConfigError(f"{what} {path}: exists already and is not empty; it was left as it is")
    parent, name = os.path.split(path)
    temporary = os.path.join(parent, f".{name}.{os.urandom(6).hex()}.part")
    with _written(path, what):
        os.makedirs(parent, exist_ok=True)
        os.mkdir(temporary, 0o700)
    try:
        yield temporary
        with _written(path, what):
            _FILES.sync_directory(temporary)
            os.rename(temporary, path)
            _FILES.sync_directory(parent)
    finally:
        _FILES.rmtree(temporary)


def write_files(folder: str, files: Mapping[str, bytes], what: str) -> None:
    """Write secret files by relative name, making the folders that they need."""
    for name, data in files.items():
        path = os.path.join(folder, name)
        with _written(path, what):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write_new(path, data, what)


def _put(path: str, data: bytes, what: str, mode: int, place: Callable[[str, str], None]) -> None:
    """Write a file beside its place, make it durable, and only then give it its name."""
    temporary = f"{path}.{os.urandom(6).hex()}.part"
    with _written(path, what):
        try:
            _write(temporary, data, mode)
            place(temporary, path)
        finally:
            if _FILES.exists(temporary):
                _FILES.unlink(temporary)
        _FILES.sync_directory(os.path.dirname(path))


def _name_new(fresh: str, path: str) -> None:
    if not name_new(_FILES, fresh, path):
        raise FileExistsError


def _write(path: str, data: bytes, mode: int) -> None:
    file = _FILES.open(path, exclusive=True, mode=mode)
    try:
        file.pwrite(data, 0)
        file.datasync()
    finally:
        file.close()


@contextmanager
def mapped(path: str, what: str) -> Iterator[None]:
    """Turn what the operating system says about one of our files into `ConfigError`."""
    try:
        yield
    except FileExistsError as error:
        raise ConfigError(f"{what} {path}: exists already; it was left as it is") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{what} {path}: is not there") from error
    except OSError as error:
        raise ConfigError(f"{what} {path}: {error.strerror or error}") from error


@contextmanager
def _written(path: str, what: str) -> Iterator[None]:
    """Map what a write says: a full disk is told apart. A read that finds a file too long has the same number (EFBIG)."""
    with mapped(path, what):
        try:
            yield
        except OSError as error:
            if error.errno in FULL_ERRNOS:
                raise PublishSpaceError(f"{what} {path}: {error.strerror or error}: make room, and run it again") from error
            raise
