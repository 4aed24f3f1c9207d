"""What the demo writes on a terminal: the course while it runs, then the summary. rich is loaded when it is used."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, Self

from .charts import SOURCES, count_text, percent_text, seconds_text, size_text
from .report import THIS_RUN, headline, ways

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from .result import Incident, Sample

NEXT_COMMANDS = (
    ("edgeswarm init fleet --name acme", "make a fleet: keys and a signed, empty origin"),
    ("edgeswarm publish app --product app --version 1 --channel stable --fleet fleet", "publish a file or folder of yours"),
    ("edgeswarm gateway --config gateway/edgeswarm.toml", "run a gateway, in the folder that `edgeswarm enrol` made"),
)
"""The next commands to try, and what each is for."""

_BAR_CELLS = 20
_LINE_SECONDS = 2.0  # a guess: lines of a log that a person can follow
_STYLES = {"cut": "yellow", "killed": "yellow", "gateway-killed": "yellow", "refused": "magenta", "complete": "green"}


def print_summary(
    console: Console, result: dict[str, Any], report_path: str | PathLike[str], json_path: str | PathLike[str] | None
) -> None:
    """Print what a run showed; fits 80 columns, but for paths and commands, which stay in one piece to be copied.

    Args:
        console: Where to.
        result: `Result.as_dict()`, or what was loaded from its JSON.
        report_path: Where the page is.
        json_path: Where the JSON is; None: nowhere.
    """
    console.print()
    console.print(headline(result), style="bold", markup=False, highlight=False)
    console.print()
    console.print(_ways_table(result))
    console.print()
    console.print(_sources_table(result))
    _print_facts(console, result)
    _print_checks(console, result)
    _print_next(console, report_path, json_path)


def _ways_table(result: dict[str, Any]) -> Table:
    from rich.progress_bar import ProgressBar

    table = _table("Over the uplink", "Bytes", "Share")
    rows = ways(result)[:4]
    most = max(max(count for _, count in rows), 1)
    for text, count in rows:
        style = "bold cyan" if text == THIS_RUN else ""
        bar = ProgressBar(total=most, completed=count, width=_BAR_CELLS, complete_style="cyan", finished_style="cyan")
        table.add_row(text, size_text(count), percent_text(count / most), bar, style=style)
    return table


def _sources_table(result: dict[str, Any]) -> Table:
    from rich.progress_bar import ProgressBar

    table = _table("The devices' bytes came from", "Bytes", "Share")
    by_source = result["bytes_by_source"]
    total = max(sum(by_source.get(source, 0) for source in SOURCES), 1)
    texts = {
        "local": "local, here already",
        "peer": "other devices",
        "gateway": "the gateway",
        "origin": "the origin, by own uplink",
    }
    for source in SOURCES:
        count = by_source.get(source, 0)
        bar = ProgressBar(total=total, completed=count, width=_BAR_CELLS, complete_style="cyan", finished_style="cyan")
        table.add_row(texts[source], size_text(count), percent_text(count / total), bar)
    return table


def _table(*heads: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    first, *others = heads
    table.add_column(first, min_width=32)
    for head in others:
        table.add_column(head, justify="right", no_wrap=True, min_width=7)
    table.add_column("", width=_BAR_CELLS)
    return table


def _print_facts(console: Console, result: dict[str, Any]) -> None:
    right = sum(1 for device in result["devices"] if device["digests_ok"])
    rows = [
        ("last device done after", f"{seconds_text(result['time_s'])} (no way below {seconds_text(result['bound_s'])})"),
        ("digests verified", f"{right} of {count_text(len(result['devices']), 'device')}"),
        ("wrong chunks refused", str(result["refused_chunks"])),
        ("bytes / one copy", f"{result['duplicate_factor']:.3f}"),
        ("requests over the uplink", f"{result['uplink_requests']} (one copy and the breaks explain {_explained(result)})"),
        *_kill_rows(result.get("kill")),
    ]
    console.print()
    for label, value in rows:
        console.print(f"{label:<33} {value}", markup=False, highlight=False)


def _explained(result: dict[str, Any]) -> str:
    return str(result.get("uplink_allowed_requests", "-"))  # not in the JSON of older runs


def _kill_rows(kill: dict[str, Any] | None) -> list[tuple[str, str]]:
    if kill is None:
        return []
    again = "nothing" if kill["again_bytes"] is None else size_text(kill["again_bytes"])
    return [("the killed device went on with", f"{again}, had {size_text(kill['done_bytes'])} before")]


def _print_checks(console: Console, result: dict[str, Any]) -> None:
    from rich.text import Text

    console.print()
    for check in result["checks"]:
        mark = ("pass  ", "green") if check["passed"] else ("FAIL  ", "bold red")
        line = check["name"] if check["passed"] else f"{check['name']}: {check['detail']}"
        console.print(Text.assemble(mark, line), highlight=False)
    passed = all(check["passed"] for check in result["checks"])
    console.print("All checks passed." if passed else "The run FAILED.", style="bold green" if passed else "bold red")


def _print_next(console: Console, report_path: str | PathLike[str], json_path: str | PathLike[str] | None) -> None:
    def line(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    line("")
    line(f"report  {report_path}")
    if json_path is not None:
        line(f"JSON    {json_path}")
    line("\nNext, try:", "bold")
    for command, purpose in NEXT_COMMANDS:
        line(f"  # {purpose}", "dim")
        line(f"  {command}", "cyan")


class LiveView:
    """Shows a run while it goes on; `stage`, `tell` and `watch` are the callbacks of `run_scenario`.

    On a terminal two bars that are drawn again and again, with the incidents above them; elsewhere plain lines, one of
    progress every two seconds of the run. Not thread-safe; used as a context manager.
    """

    def __init__(self, console: Console, devices: int, cost: int = 0, *, size: int = 0) -> None:
        """Prepare, show nothing yet.

        Args:
            console: Where to.
            devices: How many there are.
            cost: Bytes of one copy over the uplink, if it is known yet; `watch` tells it again.
            size: Bytes of the new release, so that a device that has them counts as done; 0: not known, then bytes are shown.
        """
        self.console, self.devices, self.cost, self.size = console, devices, cost, size
        self._progress: Progress | None = None
        self._tasks: tuple[Any, Any] | None = None
        self._next_line = 0.0

    def __enter__(self) -> Self:
        """Start drawing, on a terminal."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}", markup=False), TimeElapsedColumn(), console=self.console, transient=True,
            )  # fmt: skip
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop drawing and leave the lines of what happened."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def stage(self, text: str) -> None:
        """Say that a stage begins."""
        self._print(text, "bold")

    def tell(self, incident: Incident) -> None:
        """Say what happened."""
        self._print(f"{seconds_text(incident.seconds):>8}  {incident.text}", _STYLES.get(incident.kind, ""))

    def watch(self, sample: Sample, cost: int) -> None:
        """Show a moment.

        Args:
            sample: The moment.
            cost: Bytes of one copy.
        """
        self.cost = cost
        if self._progress is not None:
            self._draw(self._progress, sample)
        elif sample.seconds >= self._next_line:
            self._next_line = sample.seconds + _LINE_SECONDS
            texts = f"uplink {self._uplink_text(sample)}; devices: {self._devices_text(sample)}"
            self._print(f"{seconds_text(sample.seconds):>8}  {texts}")

    def _print(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _draw(self, progress: Progress, sample: Sample) -> None:
        if self._tasks is None:
            self._tasks = progress.add_task("uplink ", total=None, text=""), progress.add_task("devices", total=None, text="")
        uplink, devices = self._tasks
        progress.update(
            uplink, total=self.cost or None, completed=min(sample.uplink_bytes, self.cost), text=self._uplink_text(sample)
        )
        total = self.size * self.devices or None
        progress.update(devices, total=total, completed=sum(sample.done.values()), text=self._devices_text(sample))

    def _uplink_text(self, sample: Sample) -> str:
        used = size_text(sample.uplink_bytes)
        return f"{used}, {percent_text(sample.uplink_bytes / self.cost)} of one copy" if self.cost > 0 else used

    def _devices_text(self, sample: Sample) -> str:
        if self.size > 0:
            return f"{sum(count >= self.size for count in sample.done.values())} of {self.devices} have all"
        have = [*sample.done.values(), *[0] * (self.devices - len(sample.done))]
        return f"{size_text(min(have, default=0))} to {size_text(max(have, default=0))} each"
