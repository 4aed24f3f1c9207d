from __future__ import annotations

import io
import math
import re
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from edgeswarm.demo.result import Incident, Sample
from edgeswarm.demo.summary import NEXT_COMMANDS, LiveView, print_summary

from .test_report import COST, SIZE, fake_result


def _console(*, terminal: bool = False, encoding: str = "utf-8") -> tuple[Console, io.BytesIO]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    environment = {"TERM": "xterm-256color"}
    return Console(file=file, width=80, force_terminal=terminal, _environ=environment), raw


def _summary(result: dict[str, Any], **options: Any) -> str:
    console, raw = _console(**options)
    print_summary(console, result, "report.html", "result.json")
    return raw.getvalue().decode()


def _sample(seconds: float, uplink: int = COST // 2, *done: int) -> Sample:
    return Sample(seconds, uplink, {f"device-{number}": count for number, count in enumerate(done)})


def test_the_summary_has_the_numbers_and_fits_80_columns() -> None:
    text = _summary(fake_result())
    assert all(len(line) <= 80 for line in text.splitlines())
    wanted = (
        "every device on its own, full", "64.2 MB", "one full copy", "8.02 MB", "every device on its own, delta", "37.4 MB",
        "this run", "4.30 MB", "7 %", "208 MB", "96.0 MB", "32.0 MB", "0 B", "19.4 s (no way below 17.1 s)", "8 of 8 devices",
        "1.023", "pass  every device has the right bytes", "All checks passed.", "report.html", "result.json", "93 % saved",
    )  # fmt: skip
    assert [part for part in wanted if part not in text] == []
    assert re.search(r"wrong chunks refused +1\n", text)
    assert len(NEXT_COMMANDS) == 3
    assert all(command in text for command, _ in NEXT_COMMANDS)


def test_a_failed_run_says_why() -> None:
    checks = [{"name": "every device has the right bytes", "passed": False, "detail": "7 of 8 [b]verified[/b]"}]
    text = _summary(fake_result(time_s=math.nan, checks=checks))
    assert "FAIL  every device has the right bytes: 7 of 8 [b]verified[/b]" in text
    assert "The run FAILED." in text
    assert "never" in text


def test_an_ascii_terminal_is_enough() -> None:
    assert "this run" in _summary(fake_result(), encoding="ascii")


def test_no_json_no_line_about_it() -> None:
    console, raw = _console()
    print_summary(console, fake_result(), "report.html", None)
    assert "JSON" not in raw.getvalue().decode()


def test_a_long_path_stays_in_one_piece() -> None:
    console, raw = _console()
    path = "/tmp/" + "long/" * 30 + "report.html"
    print_summary(console, fake_result(), path, path)
    assert raw.getvalue().decode().count(path) == 2


def test_elsewhere_than_on_a_terminal_lines_are_plain_and_two_seconds_apart() -> None:
    console, raw = _console()
    with LiveView(console, 2, 0, size=SIZE) as view:
        view.stage("Updating [b]the site[/b]")
        for step in range(20):
            view.watch(_sample(step / 4, COST // 2, SIZE, 5), COST)
        view.tell(Incident(4.5, "cut", "the uplink is cut [for] 4 s"))
    lines = raw.getvalue().decode().splitlines()
    assert lines == [
        "Updating [b]the site[/b]",
        "   0.0 s  uplink 2.10 MB, 50 % of one copy; devices: 1 of 2 have all",
        "   2.0 s  uplink 2.10 MB, 50 % of one copy; devices: 1 of 2 have all",
        "   4.0 s  uplink 2.10 MB, 50 % of one copy; devices: 1 of 2 have all",
        "   4.5 s  the uplink is cut [for] 4 s",
    ]


def test_without_the_size_bytes_are_shown() -> None:
    console, raw = _console()
    with LiveView(console, 3) as view:
        view.watch(_sample(0.0, 1000, 5_000_000, 7_000_000), 0)
    assert "uplink 1.00 kB; devices: 0 B to 7.00 MB each" in raw.getvalue().decode()


@pytest.mark.parametrize("size", [0, SIZE])
def test_on_a_terminal_bars_are_drawn_and_incidents_stay(size: int) -> None:
    console, raw = _console(terminal=True)
    with LiveView(console, 2, COST, size=size) as view:
        view.watch(_sample(1.0, COST // 2, SIZE, SIZE // 2), COST)
        view.tell(Incident(1.5, "killed", "device-0 is killed"))
        view.watch(_sample(2.0, 2 * COST, SIZE, SIZE), COST)
    text = raw.getvalue().decode()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "device-0 is killed" in drawn
    assert "200 % of one copy" in drawn
    assert ("2 of 2 have all" if size else "42.0 MB each") in drawn
    assert all(len(line.rpartition("\r")[2]) <= 80 for line in drawn.splitlines())
    assert "\x1b[?25h" in text  # the cursor is back


def test_an_error_ends_the_drawing() -> None:
    console, raw = _console(terminal=True)
    view = LiveView(console, 2, COST)
    with pytest.raises(ValueError, match="boom"), view:
        raise ValueError("boom")
    assert b"\x1b[?25h" in raw.getvalue()


@pytest.mark.slow
def test_importing_loads_no_rich() -> None:
    code = "import sys, edgeswarm.demo.summary, edgeswarm.demo.report; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
