from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from edgeswarm.activation import HealthContext, HealthResult, run_health_check
from edgeswarm.activation.health import OUTPUT_MAX_BYTES
from edgeswarm.errors import ConfigError

CONTEXT = HealthContext("app", "2.0", "/opt/app", "1.0")


def check(script: str, timeout_seconds: float = 20.0) -> HealthResult:
    return run_health_check(["/bin/sh", "-c", script], CONTEXT, timeout_seconds=timeout_seconds)


def test_zero_passes() -> None:
    result = check("echo fine; echo really >&2")
    assert (result.passed, result.exit_code, result.timed_out) == (True, 0, False)
    assert result.output == "fine\nreally\n"
    assert result.reason == "the health check passed"


def test_anything_else_fails() -> None:
    result = check("echo first; echo no database; exit 3")
    assert (result.passed, result.exit_code, result.timed_out) == (False, 3, False)
    assert result.reason == "the health check ended with 3: no database"


def test_a_signal_fails() -> None:
    assert check("kill -TERM $$").exit_code == -15


def test_it_knows_the_release() -> None:
    output = check('echo "$EDGESWARM_PRODUCT $EDGESWARM_VERSION $EDGESWARM_PATH $EDGESWARM_PREVIOUS_VERSION"; echo "$PATH"').output
    assert output == f"app 2.0 /opt/app 1.0\n{os.environ['PATH']}\n"


def test_it_reads_nothing_and_is_no_shell() -> None:
    result = run_health_check(["/bin/echo", "$HOME;", "*"], CONTEXT, timeout_seconds=20)
    assert result.output == "$HOME; *\n"
    assert check("cat").passed


@pytest.mark.slow
def test_a_hanging_check_is_killed_with_its_children(tmp_path: Path) -> None:
    result = check(f"echo begun; sleep 1000 & echo $! > {tmp_path}/child; wait", timeout_seconds=0.5)
    assert (result.passed, result.exit_code, result.timed_out) == (False, None, True)
    assert result.output == "begun\n"
    assert "did not end" in result.reason
    assert 0.5 <= result.seconds < 10
    child = int((tmp_path / "child").read_text())
    _wait_until_gone(child)


def _wait_until_gone(process: int) -> None:
    """A killed orphan stays a zombie until whoever adopted it collects it: that counts as gone."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
    pytest.fail(f"process {process} still runs")


def test_a_check_that_ignores_signals_is_killed_too() -> None:
    assert check("trap '' TERM INT HUP; while :; do :; done", timeout_seconds=0.1).timed_out


def test_a_child_that_keeps_the_output_open_delays_nothing() -> None:
    result = check("sleep 3 & echo done", timeout_seconds=60)
    assert result.passed
    assert result.seconds < 3
    assert result.output == "done\n"


def test_a_check_that_closes_its_output_is_waited_for() -> None:
    result = check("exec >&- 2>&-; sleep 0.2; exit 4")
    assert result.exit_code == 4


def test_only_the_tail_of_the_output_is_kept() -> None:
    result = run_health_check([sys.executable, "-c", "print('x' * 1_000_000); print('the end')"], CONTEXT, timeout_seconds=60)
    assert len(result.output) == OUTPUT_MAX_BYTES
    assert result.output.endswith("xxx\nthe end\n")


def test_output_without_end_is_cut_off_in_time() -> None:
    assert check("yes", timeout_seconds=0.2).timed_out


def test_output_that_is_no_text_is_shown_as_far_as_possible() -> None:
    assert check(r"printf '\377ok'").output == "\ufffdok"


def test_a_program_that_is_missing_is_a_failed_check(tmp_path: Path) -> None:
    result = run_health_check([str(tmp_path / "none")], CONTEXT, timeout_seconds=1)
    assert (result.passed, result.exit_code, result.timed_out) == (False, None, False)
    assert "could not be started" in result.reason
    assert "No such file" in result.reason


def test_it_can_be_stopped_and_is_killed_then(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def check_stop() -> None:
        if (tmp_path / "child").exists():
            raise StoppedError

    script = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/child; sleep 1000"
    with pytest.raises(StoppedError):
        run_health_check(["/bin/sh", "-c", script], CONTEXT, timeout_seconds=1000, check_stop=check_stop)
    _wait_until_gone(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize("command", [[], ["a\0b"]])
def test_a_command_that_is_none_is_a_config_error(command: list[str]) -> None:
    with pytest.raises(ConfigError, match="health check"):
        run_health_check(command, CONTEXT, timeout_seconds=1)
