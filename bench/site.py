"""One site's update, measured at its uplink.

    python -m bench.site --old A --new B --devices 8 --uplink 2mbit --json

Prints one JSON object; its keys are documented in docs/reference/bench.md. Without --json, the same as a short table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import trio

from edgeswarm.demo.happenings import Scenario
from edgeswarm.demo.inputs import Inputs, default_inputs, own_inputs
from edgeswarm.demo.scenario import run_scenario
from edgeswarm.demo.shaping import parse_rate
from edgeswarm.demo.site import SiteSpec
from edgeswarm.errors import ConfigError, EdgeswarmError

SUMMARY = (
    "uplink_bytes", "delta_bytes", "metadata_bytes", "full_bytes", "independent_bytes", "duplicate_factor", "time_s", "bound_s",
    "uplink_repeated_bytes", "passed",
)  # fmt: skip


def measure(inputs: Inputs, spec: SiteSpec, scenario: Scenario) -> dict[str, Any]:
    """Run one site in a temporary folder and return its result as plain values."""
    with tempfile.TemporaryDirectory(prefix="edgeswarm-bench-") as folder:
        run = partial(
            run_scenario, Path(folder), inputs, spec, scenario, lambda _incident: None, lambda _sample, _cost: None,
            lambda text: print(text, file=sys.stderr),
        )  # fmt: skip
        return trio.run(run).as_dict()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.site", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--old", type=Path, help="old release, a file or directory (default: ruff)")
    parser.add_argument("--new", type=Path, help="new release")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--empty", type=int, default=0, help="devices without the old release")
    parser.add_argument("--own-uplinks", type=int, default=0, help="devices with an uplink of their own")
    parser.add_argument("--uplink", default="2mbit", help="rate of each uplink, e.g. 2mbit")
    parser.add_argument("--breaks", action="store_true", help="cut the uplink, kill a device, let a malicious peer take part")
    parser.add_argument("--kill-gateway", action="store_true", help="kill the gateway at 60 %%; needs --own-uplinks")
    parser.add_argument("--level", type=int, default=12, help="zstd level of the publisher")
    parser.add_argument("--json", action="store_true", help="print the whole result as one JSON object")
    return parser.parse_args(arguments)


def wish_of(chosen: argparse.Namespace) -> tuple[Inputs, SiteSpec, Scenario]:
    """Return what is to be measured; `ConfigError` if it makes no sense."""
    spec = SiteSpec(
        devices=chosen.devices, empty=chosen.empty, own_uplinks=chosen.own_uplinks, bad_peer=chosen.breaks, level=chosen.level
    )  # fmt: skip
    scenario = Scenario(
        rate=parse_rate(chosen.uplink), cut_at=0.25 if chosen.breaks else None, kill_at=0.5 if chosen.breaks else None,
        kill_gateway_at=0.6 if chosen.kill_gateway else None,
    )  # fmt: skip
    scenario.check(spec)
    if (chosen.old is None) != (chosen.new is None):
        raise ConfigError("--old and --new: give both or none")
    return own_inputs(chosen.old, chosen.new) if chosen.old is not None else default_inputs(), spec, scenario


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 only if all checks of the run passed."""
    chosen = parse(arguments)
    try:
        result = measure(*wish_of(chosen))
    except EdgeswarmError as error:
        print(f"bench.site: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result) if chosen.json else "\n".join(f"{name:24}{result[name]}" for name in SUMMARY))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
