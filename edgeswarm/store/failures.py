"""Foreign errors of the store, mapped in one place."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import NoSpaceError, StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# A read that fails for these means that the bytes are lost: a bad sector, a checksum of the file system, a file that is gone or was
# replaced. Anything else says that this process is out of something or may not look.
_LOST = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA, errno.ENOENT, errno.EINVAL, errno.ELOOP})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedIndexError(StoreError):
    """The index database is not a database any more: it is rebuilt from the segments when the store is opened again."""


def blames_disk(error: OSError) -> bool:
    """Tell if a failed read means that the bytes are lost, rather than that this process is out of something."""
    return error.errno in _LOST


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Raise `NoSpaceError`, `DamagedIndexError` or `StoreError` for what the system or SQLite raises; `what` was being done."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpaceError(f"{what}: the disk is full ({error}); free some space or lower the store's quota") from error
        raise StoreError(f"{what}: {error}") from error
    except sqlite3.Error as error:
        raise _from_sqlite(what, error) from error


def _from_sqlite(what: str, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code: sqlite.org/rescode.html
    if code == sqlite3.SQLITE_FULL:
        return NoSpaceError(f"{what}: the disk is full ({error}); free some space or lower the store's quota")
    if code in _DAMAGED:
        return DamagedIndexError(f"{what}: the index is damaged ({error}); open the store again to rebuild it")
    return StoreError(f"{what}: the index failed: {error}")
