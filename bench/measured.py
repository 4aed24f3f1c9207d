"""Whole processes, measured: CPU seconds and peak memory of a command and of what it started. Source: wait4(2)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[1]


class Usage(NamedTuple):
    """What one command took.

    Attributes:
        cpu_s: User and system time, in seconds.
        peak_bytes: Most resident memory of the largest process.
        out: What it wrote to standard output.
    """

    cpu_s: float
    peak_bytes: int
    out: str


class CommandFailedError(Exception):
    """A command ended with another exit code than 0."""


_LAUNCHER = """
import json, os, sys
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as out:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024], out)
"""
"""A process counts what its parent held when it was made (getrusage(2)): so a small one, of 9 MB, starts the command."""


def run_measured(command: Sequence[str], folder: Path, *, root: bool = False) -> Usage:
    """Run a command and return what it took.

    Args:
        command: What to run.
        folder: For what it writes; it runs there.
        root: Run it in this project's folder instead, where its modules are found.

    Raises:
        CommandFailedError: It failed; with the end of what it wrote to standard error.
    """
    result, out, err = (folder / name for name in (".usage", ".out", ".err"))
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(result), *command]
    with out.open("wb") as to, err.open("wb") as errors:
        subprocess.run(launcher, cwd=_ROOT if root else folder, stdin=subprocess.DEVNULL, stdout=to, stderr=errors, check=False)
    code, cpu_s, peak = json.loads(result.read_text() or "[-1, 0, 0]") if result.exists() else (-1, 0.0, 0)
    if code:
        raise CommandFailedError(f"{' '.join(command)}: exit code {code}: {err.read_text(errors='replace')[-500:]}")
    return Usage(cpu_s, peak, out.read_text(errors="replace"))
