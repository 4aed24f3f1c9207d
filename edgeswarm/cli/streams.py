"""Where output goes when whoever read it has gone: nowhere. What a command does and its exit code do not depend on its readers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class ForgivingStream:
    """A text stream that loses what cannot be written; all else is the stream's own.

    Args:
        stream: Where it goes as long as that works.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write if possible; return the number of characters all the same."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()


@contextlib.contextmanager
def forgiving_stderr() -> Iterator[None]:
    """Let no message to standard error end what it tells of: its reader may have gone, its disk be full, or there be none."""
    before: Any = sys.stderr
    with contextlib.ExitStack() as stack:
        where = before if before is not None else stack.enter_context(open(os.devnull, "w"))
        sys.stderr = ForgivingStream(where)
        try:
            yield
        finally:
            sys.stderr = before


def forget_output() -> None:
    """Let standard output lead nowhere from now on; the interpreter would try once more at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
