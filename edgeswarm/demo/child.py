"""Becomes a program that ends when its parent has gone, whatever ended that: so a demo that is killed leaves no nodes running.

    python -m edgeswarm.demo.child PARENT_PID PROGRAM [ARGUMENTS...]

Not for nodes that are not the demo's: they have to outlive whoever started them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # prctl(2): it survives execve(2), and is sent when the thread that made this process ends


def command_of(arguments: Sequence[str]) -> list[str]:
    """Return the command line that runs a program as a child of this process, to end with it."""
    return [sys.executable, "-m", __name__, str(os.getpid()), *arguments]


def main(arguments: Sequence[str]) -> None:
    """Ask for SIGKILL at the parent's end, then become the program. Elsewhere than on Linux it only becomes the program."""
    parent, program = int(arguments[0]), list(arguments[1:])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before it was asked
            sys.exit(1)
    os.execv(program[0], program)  # noqa: S606  # what the demo says


if __name__ == "__main__":
    main(sys.argv[1:])
