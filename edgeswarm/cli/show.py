"""What people and programs are shown: one JSON object, or a few aligned lines; progress on standard error."""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..errors import EdgeswarmError, NoSpaceError
from .streams import forget_output

_KIB = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")
_TELL_SECONDS = 10.0
"""How long a log waits for the next line of a stage. A guess: CI services end a job that is silent for minutes."""

ProgressTeller = Callable[[str, int, int], None]


class OutputError(EdgeswarmError):
    """Standard output could not be written; what was done is done. The exit code is that of a full disk if it is full, else 1."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output cannot be written: {cause.strerror or cause}; what was asked for is done")
        self.exit_code = NoSpaceError.exit_code if cause.errno == errno.ENOSPC else 1  # type: ignore[misc]  # of this one


@contextmanager
def written() -> Iterator[None]:
    """Raise `OutputError` for what keeps the block from writing; a reader that has gone wants no more, which is no error."""
    try:
        yield
    except BrokenPipeError:
        forget_output()
    except OSError as error:
        raise OutputError(error) from error


class PlainConsole(Console):
    """A console that goes on when whoever reads the output has gone."""

    def on_broken_pipe(self) -> None:
        """Raise what the system said; rich would end the process."""
        raise BrokenPipeError

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; what keeps standard output from being written is `OutputError`."""
        if self.stderr:
            super().print(*objects, **options)
            return
        with written():
            super().print(*objects, **options)


def show_error(message: str) -> None:
    """Write `edgeswarm: <message>` to stderr, in one line, red on a terminal."""
    text = " ".join(message.split())
    PlainConsole(stderr=True, soft_wrap=True, highlight=False).print(f"[red]edgeswarm: {escape(text)}[/red]")


def show(
    values: Mapping[str, Any], *, as_json: bool, title: str, rows: Sequence[tuple[str, str]] = (), hints: Sequence[str] = ()
) -> None:
    """Show a result.

    Args:
        values: All of it, for programs.
        as_json: Write `values` as one JSON object, and nothing else.
        title: One line for people.
        rows: (label, value) lines below it.
        hints: What to do next.
    """
    with written():
        if as_json:
            print(json.dumps(values))
        else:
            _show_lines(title, rows, hints)


def _show_lines(title: str, rows: Sequence[tuple[str, str]], hints: Sequence[str]) -> None:
    console = PlainConsole(soft_wrap=True, highlight=False)
    console.print(f"[bold]{escape(title)}[/bold]")
    width = max((len(label) for label, _ in rows), default=0)
    for label, value in rows:
        console.print(f"  [dim]{escape(label.ljust(width))}[/dim]  {escape(value)}")
    for hint in hints:
        console.print(f"  [cyan]{escape(hint)}[/cyan]")


def human_bytes(count: int) -> str:
    """Return a number of bytes for people: `812 B`, `4.2 MiB`."""
    if count < _KIB:
        return f"{count} B"
    power = next((i for i in range(1, len(_UNITS)) if count < 1000 * _KIB**i), len(_UNITS))
    return f"{count / _KIB**power:.3g} {_UNITS[power - 1]}"


@contextmanager
def progress_teller(*, as_json: bool, quiet: bool = False) -> Iterator[ProgressTeller]:
    """Yield a function `tell(stage, done, total)`, in bytes: it shows on standard error how far each stage is.

    Args:
        as_json: A program reads the result: no bars, whatever standard error is.
        quiet: Show nothing.
    """
    if quiet:
        yield lambda _stage, _done, _total: None
    elif sys.stderr.isatty() and not as_json:
        with _bars() as tell:
            yield tell
    else:
        yield PlainTeller()


class PlainTeller:
    """Progress for a log: a line at the end of each stage, and now and then one within a long stage.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._ended = ("", 0)
        self._next = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell how far a stage is, if it is time to; a stage without bytes goes without saying."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._next = stage, now + _TELL_SECONDS
        if done >= total:
            self._stage, before, self._ended = "", self._ended, (stage, total)
            if total and before != self._ended:  # what ends says so more than once
                print(f"{stage}: {human_bytes(total)}", file=sys.stderr, flush=True)
        elif now >= self._next:
            self._next = now + _TELL_SECONDS
            text = f"{stage}: {human_bytes(done)} of {human_bytes(total)}, {100 * done // total} %"
            print(text, file=sys.stderr, flush=True)


@contextmanager
def _bars() -> Iterator[ProgressTeller]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<16}"), BarColumn(30), DownloadColumn(binary_units=True), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done)

        yield tell
