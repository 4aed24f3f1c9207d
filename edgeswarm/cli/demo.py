"""`edgeswarm demo`: see it work on this machine, in two minutes."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import trio
from cyclopts import Parameter
from rich.console import Console

from ..demo.compare import same_content
from ..demo.happenings import Scenario
from ..demo.inputs import LEAST_BYTES, Inputs, default_inputs, own_inputs, size_of
from ..demo.report import render_report
from ..demo.scenario import run_scenario
from ..demo.shaping import parse_rate
from ..demo.site import SiteSpec
from ..demo.summary import LiveView, print_summary
from ..errors import ConfigError
from .interrupt import until_stopped
from .show import PlainConsole

_FAILED_EXIT = 1
_Flag = Annotated[bool, Parameter(negative="")]


def demo(
    *,
    old: Path | None = None,
    new: Path | None = None,
    devices: int = 8,
    uplink: str = "2mbit",
    kill_gateway: _Flag = False,
    half_empty: _Flag = False,
    own_uplinks: int | None = None,
    level: int = 12,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    report: Path = Path("report.html"),
    keep: Annotated[Path | None, Parameter(name="--keep")] = None,
) -> int:
    """Update a site of real processes over a thin, breaking uplink, and show what it cost.

    An origin, a gateway, devices and a malicious peer run on loopback, with mutual TLS. The uplink is shaped and cut for some
    seconds, a device is killed in mid-transfer and started again. Exit code 0 only if every device has the right bytes and the
    wrong chunks were refused.

    Args:
        old: Old release, a file or directory; default: a release of ruff from the package index.
        new: New release.
        devices: Number of devices.
        uplink: Rate of the uplink, e.g. 2mbit.
        kill_gateway: Kill the gateway in mid-transfer; a device with an uplink of its own goes on.
        half_empty: Half of the devices start without the old release.
        own_uplinks: So many devices have an uplink of their own; default: none, or one with --kill-gateway.
        level: zstd level of the publisher.
        json_file: Write the results here as JSON.
        report: Write the report here.
        keep: Keep everything that the run made in this folder, which must not exist.
    """
    uplinks = own_uplinks if own_uplinks is not None else int(kill_gateway)
    spec = SiteSpec(devices=devices, empty=devices // 2 if half_empty else 0, own_uplinks=uplinks, level=level)
    scenario = Scenario(rate=parse_rate(uplink), kill_gateway_at=0.6 if kill_gateway else None)
    scenario.check(spec)
    _check_places(report, json_file, keep)
    inputs = _inputs(old, new)
    result = _run(inputs, spec, scenario, keep)
    report.write_text(render_report(result), encoding="utf-8")
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print_summary(PlainConsole(), result, report, json_file)
    return 0 if result["passed"] else _FAILED_EXIT


def _inputs(old: Path | None, new: Path | None) -> Inputs:
    if old is None and new is None:
        return default_inputs()
    if old is None or new is None:
        raise ConfigError("--old and --new: give both or none")
    inputs = own_inputs(old, new)
    if same_content(inputs.old, inputs.new):
        raise ConfigError(f"{inputs.old} and {inputs.new} hold the same content: there would be nothing to update")
    if size_of(inputs.new) < LEAST_BYTES:
        raise ConfigError(f"{inputs.new}: wanted a release of at least {LEAST_BYTES} bytes, or there is nothing to be seen")
    return inputs


def _check_places(report: Path, json_file: Path | None, keep: Path | None) -> None:
    """Refuse now what could not be written after the run."""
    for path in (report, json_file):
        if path is not None:
            _check_writable(path)
    if keep is not None and (keep.exists() or not keep.absolute().parent.is_dir()):
        raise ConfigError(f"--keep {keep}: wanted a folder that is not there yet, in one that is")


def _check_writable(path: Path) -> None:
    """Raise `ConfigError` now for a file that could not be written after the run; what is there is left as it is."""
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: there is no folder to write it to")
    fresh = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    if fresh:
        path.unlink()


def _run(inputs: Inputs, spec: SiteSpec, scenario: Scenario, keep: Path | None) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="edgeswarm-demo-"))
    try:
        with LiveView(Console(), spec.devices) as view:
            run = partial(run_scenario, folder, inputs, spec, scenario, view.tell, view.watch, view.stage)
            return trio.run(until_stopped, run).as_dict()
    finally:
        if keep is not None:
            shutil.move(folder, keep)
        else:
            shutil.rmtree(folder, ignore_errors=True)
