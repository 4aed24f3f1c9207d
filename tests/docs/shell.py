"""Runs what the documents show: blocks marked `run`, in their order, as one shell script in an empty folder.

A block marked `python run` is written to a file and run in its place. What stands in a comment that starts with `<!-- run` is run
too and not shown: it prepares, waits and compares; `edgeswarm-lines` there runs commands, one a line, in one process. Ports are
replaced by free ones.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^<!-- run\n(?P<hidden>.*?)^-->$|^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_SECONDS = 100
"""So long may a document take: all run at once, beside other tests. It is there for those that hang. A guess."""
_PORTS = ("7651", "8080")
_LINES = "import shlex, sys; from edgeswarm.cli import main; sys.exit(max(main(shlex.split(line)) for line in sys.stdin))"
_PROGRAMS = {"edgeswarm": '-m edgeswarm "$@"', "edgeswarm-lines": f"-c '{_LINES}' > /dev/null"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, or one hidden one, whose language is `sh`."""

    language: str
    runs: bool
    text: str


def blocks_of(document: Path) -> list[Block]:
    """Return the blocks of a Markdown file."""
    found = []
    for match in _BLOCK.finditer(document.read_text(encoding="utf-8")):
        words = (match["info"] or "").split() if match["hidden"] is None else ["sh", "run"]
        found.append(Block(words[0] if words else "", "run" in words, match["hidden"] or match["text"] or ""))
    return found


def script_of(document: Path, folder: Path) -> str:
    """Return what a document runs, as one script; its Python blocks are written into the folder."""
    parts = ["set -eu"]
    for number, block in enumerate(block for block in blocks_of(document) if block.runs):
        if block.language == "python":
            program = folder / f"block-{number}.py"
            program.write_text(with_free_ports(block.text), encoding="utf-8")
            parts.append(f"python {program.name}")
        else:
            parts.append(block.text)
    return with_free_ports("\n".join(parts))


def with_free_ports(text: str) -> str:
    """Replace the ports that the documents name, so that documents can run at the same time."""
    for port in _PORTS:
        if f"127.0.0.1:{port}" in text or (port == "7651" and port in text):
            text = text.replace(port, str(_free_port()))
    return text


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Running:
    """A document that is being run."""

    def __init__(self, document: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / ".bin").mkdir()
        for name, command in _PROGRAMS.items():
            program = folder / ".bin" / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}\n')
            program.chmod(0o755)
        environment = os.environ | {
            "PATH": f"{folder / '.bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "EXAMPLES": str(ROOT / "examples"),
        }
        for name in ("EDGESWARM_FLEET", "EDGESWARM_CONFIG", "EDGESWARM_PASSPHRASE"):
            environment.pop(name, None)
        script = script_of(document, folder)
        self._output = folder / ".output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def wait(self) -> tuple[int, str]:
        """Return exit code and output; whatever still runs is ended."""
        try:
            code = self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        self.end()
        logs = [self._output, *sorted(self._output.parent.glob("*.log"))]
        return code, "\n".join(log.read_text(errors="replace") for log in logs)

    def end(self) -> None:
        """End all processes that the document started: they are one session of their own."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
