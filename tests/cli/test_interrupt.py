"""Signals to a command: while it starts, in the middle of its work, and as it becomes another program."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio

from edgeswarm.cli import main
from edgeswarm.cli.interrupt import StoppedError, quiet_signals, until_stopped

from .processes import Command, Site

_STUCK = """
import os
with open(os.environ["MARK"], "w") as mark:
    mark.write("here")
while True:
    os.sched_yield()
"""
# Goes on only when a signal waits for this process: it has come while nobody could take it.
_WAITS = """
import os, signal, sys
if "edgeswarm.node" in sys.orig_argv:
    with open(os.environ["MARK"], "w") as mark:
        mark.write("here")
    while not signal.sigpending():
        os.sched_yield()
"""


def stuck(folder: Path, name: str, text: str, *arguments: str) -> Command:
    """Start a command that finds a module of ours in place of another, which it imports."""
    (folder / "fake").mkdir()
    (folder / "fake" / f"{name}.py").write_text(text)
    (folder / "logs").mkdir(exist_ok=True)
    path = f"{folder / 'fake'}:{Path(__file__).parents[2]}"
    return Command(folder / "logs", *arguments, PYTHONPATH=path, MARK=str(folder / "mark"))


def listing(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def is_stuck(folder: Path) -> bool:
    return (folder / "mark").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("cyclopts", ["--version"]),
        ("trio", ["status"]),
        ("trio", ["fetch", "app"]),
        ("trio", ["demo"]),
        ("trio", ["serve-origin", "."]),
    ],
)
@pytest.mark.slow
@pytest.mark.net
async def test_a_command_that_is_interrupted_while_it_starts(
    tmp_path: Path, module: str, arguments: list[str], number: signal.Signals, code: int
) -> None:
    with stuck(tmp_path, module, _STUCK, *arguments) as command:
        await command.until(lambda: is_stuck(tmp_path))
        assert await command.ends(number) == code
        assert (command.out, command.err) == ("", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.slow
@pytest.mark.net
async def test_a_command_that_is_interrupted_while_it_works(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """The module is imported when content is cut."""
    site = Site.create(tmp_path)
    before = listing(tmp_path / "fleet")
    arguments = ["publish", __file__, "--product", "app", "--version", "1", "--channel", "c", "--fleet", str(site.fleet.directory)]
    with stuck(tmp_path, "pyfastcdc", _STUCK, *arguments) as command:
        await command.until(lambda: is_stuck(tmp_path))
        assert await command.ends(number) == code
        assert (command.out, command.err) == ("", "")
    assert listing(tmp_path / "fleet") == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", ["agent", "gateway"])
@pytest.mark.slow
@pytest.mark.net
async def test_no_signal_is_lost_while_a_node_becomes_another_program(tmp_path: Path, verb: str, number: signal.Signals) -> None:
    site = Site.create(tmp_path)
    file = site.node("a", origin=str(site.origin), role="gateway" if verb == "gateway" else "device")
    with stuck(tmp_path, "sitecustomize", _WAITS, verb, "--config", str(file)) as command:
        await command.until(lambda: is_stuck(tmp_path))
        assert await command.ends(number) == 0
        assert (command.out, command.err) == ("", "")
    assert not (tmp_path / "a" / "state" / "control.sock").exists()


async def test_what_is_stopped_cleans_up() -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
        finally:
            cleaned.append("yes")

    with trio.fail_after(5), pytest.raises(StoppedError) as stopped:
        await until_stopped(work)
    assert (stopped.value.number, cleaned) == (signal.SIGTERM, ["yes"])


async def test_what_is_not_stopped_gives_its_result_or_its_error() -> None:
    async def seven() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("mine")

    assert await until_stopped(seven) == 7
    with pytest.raises(ValueError, match="mine"):
        await until_stopped(fails)


def test_handlers_are_put_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with quiet_signals() as at_work:
        at_work()
        with pytest.raises(StoppedError):
            signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    done = []

    async def work() -> None:
        signal.raise_signal(signal.SIGHUP)
        await trio.sleep(0.05)  # a signal that was received would have ended this
        done.append("work")

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with quiet_signals() as at_work:
            at_work()
            trio.run(until_stopped, work)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert done == ["work"]


def _report_all_errors_as_mine() -> None:
    """Do as python-tuf does while it reads metadata."""
    try:
        signal.raise_signal(signal.SIGTERM)
    except Exception as error:
        raise ValueError("not signed by enough of the keys") from error


def test_a_library_that_catches_errors_does_not_catch_a_stop() -> None:
    with quiet_signals() as at_work:
        at_work()
        with pytest.raises(StoppedError):
            _report_all_errors_as_mine()


def test_a_command_may_run_in_a_thread(tmp_path: Path) -> None:
    codes: list[int] = []

    def run() -> None:
        codes.append(main(["status", "--config", str(tmp_path / "nowhere.toml"), "--state", str(tmp_path)]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert codes == [75]  # and no traceback: the command was run, and no handler was set outside the main thread


_CLEANS_UP_FOR_LONG = """
import trio
from edgeswarm.cli.interrupt import quiet_signals, until_stopped

async def work():
    try:
        print("working", flush=True)
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            print("cleaning", flush=True)
            await trio.sleep(60)

with quiet_signals() as at_work:
    at_work()
    trio.run(until_stopped, work)
"""


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_insists_is_obeyed(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _CLEANS_UP_FOR_LONG], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(number)  # at once: it may be the same one, passed on
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.2)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
