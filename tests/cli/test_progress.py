"""What a log shows of long work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeswarm.cli import main
from edgeswarm.cli.show import PlainTeller

MIB = 1024 * 1024


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def told(capsys: pytest.CaptureFixture[str], moments: list[tuple[float, str, int, int]]) -> list[str]:
    """Return the lines for (seconds, stage, done, total)."""
    clock = Clock()
    tell = PlainTeller(clock)
    for seconds, stage, done, total in moments:
        clock.now = 1000.0 + seconds
        tell(stage, done, total)
    return capsys.readouterr().err.splitlines()


def test_a_short_stage_is_one_line_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    moments = [(float(i), "read", i * MIB, 9 * MIB) for i in range(1, 10)]
    assert told(capsys, [*moments, (9.5, "encode", 0, 0), (9.6, "check", 7, 7)]) == ["read: 9 MiB", "check: 7 B"]


def test_a_long_stage_says_every_ten_seconds_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    moments = [(i / 2, "read", i * MIB, 60 * MIB) for i in range(1, 61)]
    assert told(capsys, moments) == ["read: 21 MiB of 60 MiB, 35 %", "read: 41 MiB of 60 MiB, 68 %", "read: 60 MiB"]


def test_the_seconds_of_one_stage_are_not_those_of_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    moments = [(0.0, "read", 1, 2), (9.0, "read", 2, 2), (12.0, "encode", 1, 3), (21.0, "encode", 2, 3), (22.0, "encode", 2, 3)]
    assert told(capsys, moments) == ["read: 2 B", "encode: 2 B of 3 B, 66 %"]


def test_an_end_that_is_told_twice_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    moments = [(0.0, "app 1", 0, 0), (1.0, "app 1", 5, 5), (1.2, "app 1", 5, 5), (2.0, "app 2", 5, 5)]
    assert told(capsys, moments) == ["app 1: 5 B", "app 2: 5 B"]


@pytest.mark.parametrize("flags", [[], ["--json"], ["--quiet"], ["--json", "--quiet"]])
def test_progress_stands_on_stderr_with_json_too_unless_it_is_not_wanted(
    fleet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    (tmp_path / "app").write_bytes(b"program")
    line = ["publish", str(tmp_path / "app"), "--product", "app", "--version", "1", "--channel", "stable", "--fleet", fleet]
    assert main([*line, *flags]) == 0
    out, err = capsys.readouterr()
    assert err == ("" if "--quiet" in flags else "read: 7 B\nencode: 7 B\n")
    assert not flags or "--json" not in flags or json.loads(out)["version"] == "1"


def test_old_releases_are_pruned(fleet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ("1", "2", "3"):
        (tmp_path / "app").write_bytes(b"program" + version.encode())
        line = [
            "publish",
            str(tmp_path / "app"),
            "--product",
            "app",
            "--version",
            version,
            "--channel",
            "stable",
            "--delta-from",
            "0",
        ]
        assert main([*line, "--fleet", fleet, "--quiet"]) == 0
    line = ["prune", "--product", "app", "--keep", "1", "--fleet", fleet]
    capsys.readouterr()
    assert main([*line, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("Would remove 2 of 3 versions of app\n  removed  1, 2\n  kept     3\n")
    assert main([*line, "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["removed"], json.loads(out)["deleted"]) == (["1", "2"], [])
    assert err.startswith("read indexes: ")
    assert main([*line, "--grace", "0"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Removed 0 of 1 versions of app\n  kept     3\n  deleted  ")
    assert "delete: " in err
    for days in ("nan", "1e9", "-1"):
        assert main([*line, "--grace", days]) == 2
        assert "--grace: wanted 0 to 36500 days" in capsys.readouterr().err
