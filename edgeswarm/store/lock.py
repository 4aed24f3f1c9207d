"""One process, one store: an exclusive lock on the directory."""

from __future__ import annotations

import contextlib
import fcntl
import os

from ..errors import StoreError
from .failures import mapped

_PID_BYTES = 20


class DirectoryLock:
    """Holds `<directory>/lock` with flock(2) until closed; the system lets go of it when the process dies.

    Args:
        directory: Must exist.

    Raises:
        StoreError: Another process, or another store of this one, holds it.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, "lock")
        with mapped(f"store {directory}: lock"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, _PID_BYTES, 0).decode("ascii", "replace").strip() or "unknown"
            self.close()
            raise StoreError(f"store {directory}: in use by process {holder}; stop it, or use another directory") from error
        self._write_pid()

    def _write_pid(self) -> None:
        # Only for people: a full disk must not keep a store from opening.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let go of the lock; safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
