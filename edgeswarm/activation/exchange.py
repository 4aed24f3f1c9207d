"""Swap two paths in one step, which Python's standard library cannot do."""

from __future__ import annotations

import ctypes
import errno
import os

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h


def exchange(one: str, other: str) -> None:
    """Swap what is at two absolute paths, atomically.

    Raises:
        OSError: As the system gives it; ENOSYS or EINVAL where the C library, the kernel or the file system cannot do it.

    Source: renameat2(2), Linux 3.15, glibc 2.28, musl 1.2.6.
    """
    library = ctypes.CDLL(None, use_errno=True)
    try:
        call = library.renameat2
    except AttributeError as error:
        raise OSError(errno.ENOSYS, "the C library has no renameat2", one) from error
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one, None, other)
