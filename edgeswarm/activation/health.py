"""Run a health check: the command that says whether a release works on this device.

The command is a list of arguments, never a shell line. It gets the environment of this process and what it may want to know of the
release; exit code 0 means healthy. Blocking.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from ..errors import ConfigError

OUTPUT_MAX_BYTES = 4096
"""How much of the end of the output is kept."""

# Wake-ups to see that the command has ended while something it started still holds its output open: 20 a second cost nothing.
_POLL_SECONDS = 0.05
_READ_BYTES = 65536
# What a pipe holds at most by default settings (1 MiB, pipe(7)): somebody who writes on for ever must not keep us reading.
_DRAIN_READS = 16


@dataclass(frozen=True, slots=True)
class HealthResult:
    """How a health check ended.

    Attributes:
        passed: The release is healthy.
        exit_code: Of the command, negative for a signal; None if it could not be started or did not end in time.
        timed_out: It did not end in time and was killed with all its children.
        seconds: How long it took.
        output: The last 4 KiB of standard output and standard error.
    """

    passed: bool
    exit_code: int | None
    timed_out: bool
    seconds: float
    output: str

    @property
    def reason(self) -> str:
        """One line for people: why it failed, or that it passed."""
        last = self.output.strip().rpartition("\n")[2]
        tail = f": {last}" if last else ""
        if self.passed:
            return "the health check passed"
        if self.timed_out:
            return f"the health check did not end within {self.seconds:.0f} s{tail}"
        if self.exit_code is None:
            return f"the health check could not be started{tail}"
        return f"the health check ended with {self.exit_code}{tail}"


@dataclass(frozen=True, slots=True)
class HealthContext:
    """What the command is told, as environment variables.

    Attributes:
        product: `EDGESWARM_PRODUCT`.
        version: `EDGESWARM_VERSION`, the release that was activated.
        path: `EDGESWARM_PATH`, the target.
        previous_version: `EDGESWARM_PREVIOUS_VERSION`, what a roll back leads to; empty if there is nothing.
    """

    product: str
    version: str
    path: str
    previous_version: str = ""

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the command."""
        own = {"PRODUCT": self.product, "VERSION": self.version, "PATH": self.path, "PREVIOUS_VERSION": self.previous_version}
        return dict(os.environ) | {f"EDGESWARM_{name}": value for name, value in own.items()}


def run_health_check(
    command: Sequence[str],
    context: HealthContext,
    *,
    timeout_seconds: float,
    check_stop: Callable[[], None] = lambda: None,
) -> HealthResult:
    """Run the command to its end, or to the end of its time.

    A command that fails, hangs or cannot be started is a failed check, not an error. Its process group is killed when it hangs;
    what it started and left running when it ended in time is let alone.

    Args:
        command: Program and arguments.
        context: What it is told.
        timeout_seconds: When to give up.
        check_stop: Called 20 times a second; what it raises, e.g. when the node shuts down, ends the check, which is then neither
            passed nor failed: the command is killed and the error goes on.

    Raises:
        ConfigError: The command is empty or contains NUL.
    """
    if not command or any("\0" in part for part in command):
        raise ConfigError(f"health check: wanted a program and its arguments, got {list(command)!r}")
    begin = time.monotonic()
    try:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=context.environment(), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return HealthResult(False, None, False, time.monotonic() - begin, str(error))
    ended, output = _attend(process, begin + timeout_seconds, check_stop)
    code = process.returncode if ended else None
    return HealthResult(code == 0, code, not ended, time.monotonic() - begin, output.decode(errors="replace"))


def _attend(process: subprocess.Popen[bytes], deadline: float, check_stop: Callable[[], None]) -> tuple[bool, bytes]:
    """Collect output until the process ends; kill its group when it does not. Return whether it ended, and the output's tail."""
    pipe = process.stdout
    assert pipe is not None, "it was opened with PIPE"  # noqa: S101  # tells mypy what Popen promised
    tail = bytearray()
    try:
        ended = _wait(process, pipe, tail, deadline, check_stop)
        return ended, bytes(tail)
    finally:
        if process.returncode is None:
            _kill_group(process)
        pipe.close()


def _wait(
    process: subprocess.Popen[bytes], pipe: IO[bytes], tail: bytearray, deadline: float, check_stop: Callable[[], None]
) -> bool:
    os.set_blocking(pipe.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while process.poll() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            check_stop()
            if not selector.get_map():
                time.sleep(min(left, _POLL_SECONDS))
            elif selector.select(min(left, _POLL_SECONDS)) and not _collect(pipe, tail):
                selector.unregister(pipe)
    for _ in range(_DRAIN_READS):
        if not _collect(pipe, tail):
            break
    return True


def _collect(pipe: IO[bytes], tail: bytearray) -> bool:
    """Move what is there into the tail; False at the end, and when nothing is there."""
    try:
        data = os.read(pipe.fileno(), _READ_BYTES)
    except BlockingIOError:
        return False
    tail += data
    del tail[:-OUTPUT_MAX_BYTES]
    return bool(data)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the command and all it started in its session, and collect it. It was not waited for, so its id is still its own."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
