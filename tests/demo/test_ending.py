"""The demo as a process that a signal ends: it leaves nothing behind, no process and no folder."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from cli.processes import Command


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder with a short path: the demo's control sockets have to fit into 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes that have to do with a folder, but for the demo itself."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode() if entry.name.isdecimal() else ""
        except OSError:  # it has ended meanwhile
            continue
        if str(folder) in line and " demo " not in line:
            found.append(line)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["the first member runs", "the site is updated"])
@pytest.mark.slow
@pytest.mark.net
async def test_a_demo_that_a_signal_ends_leaves_nothing(tmp_path: Path, scratch: Path, moment: str, number: signal.Signals) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "old").write_bytes(random.Random(1).randbytes(400_000))
    (tmp_path / "new").write_bytes(random.Random(2).randbytes(400_000))
    flags = ["--devices", "2", "--uplink", "256kbit", "--report", str(tmp_path / "report.html")]
    releases = ["--old", str(tmp_path / "old"), "--new", str(tmp_path / "new")]
    with Command(tmp_path / "logs", "demo", *releases, *flags, TMPDIR=str(scratch)) as command:
        if moment == "the first member runs":
            await command.until(lambda: bool(processes_of(scratch)))
        else:
            await command.until(lambda: "Updating the site" in command.out)
        assert await command.ends(number) == 128 + number
        assert command.err == ""
    assert processes_of(scratch) == []
    assert os.listdir(scratch) == []
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.net
async def test_a_demo_that_is_killed_leaves_no_process(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "logs").mkdir()
    for number, name in enumerate(("old", "new")):
        (tmp_path / name).write_bytes(random.Random(number).randbytes(400_000))
    flags = ["--devices", "2", "--uplink", "256kbit", "--report", str(tmp_path / "report.html")]
    releases = ["--old", str(tmp_path / "old"), "--new", str(tmp_path / "new")]
    with Command(tmp_path / "logs", "demo", *releases, *flags, TMPDIR=str(scratch)) as command:
        await command.until(lambda: "Updating the site" in command.out)
        assert len(processes_of(scratch)) == 4  # a gateway, two devices, the malicious peer
        assert await command.ends(signal.SIGKILL) == -signal.SIGKILL
    with trio.fail_after(30):
        while processes_of(scratch):
            assert not (tmp_path / "report.html").exists()
            await trio.sleep(0.01)
