"""The demo and all its variants, one after another, on real input.

    python -m bench.variants [--json]

Prints a line a variant, or one JSON object; exit code 0 only if every run passed its checks.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from edgeswarm.demo.happenings import Scenario
from edgeswarm.demo.inputs import default_inputs
from edgeswarm.demo.site import SiteSpec

from .site import measure

BROKEN = Scenario()
CALM = replace(BROKEN, cut_at=None, kill_at=None)
VARIANTS = {
    "calm": (SiteSpec(bad_peer=False), CALM),
    "demo": (SiteSpec(), BROKEN),
    "one device": (SiteSpec(devices=1, bad_peer=False), CALM),
    "gateway killed": (SiteSpec(own_uplinks=1), replace(BROKEN, kill_gateway_at=0.6)),
    "half empty": (SiteSpec(empty=4), BROKEN),
    "two own uplinks": (SiteSpec(own_uplinks=2), BROKEN),
}
COLUMNS = ("uplink_bytes", "duplicate_factor", "uplink_repeated_bytes", "uplink_header_bytes", "time_s", "bound_s", "passed")


def main() -> int:
    """Run all variants and return the exit code."""
    inputs = default_inputs()
    results = {}
    for name, (spec, scenario) in VARIANTS.items():
        results[name] = measure(inputs, spec, scenario)
        # At once: a run of all takes ten minutes, and what it has shown must not be lost when it is ended.
        print(name, *(f"{column}={results[name][column]}" for column in COLUMNS), file=sys.stderr, flush=True)
    if "--json" in sys.argv[1:]:
        print(json.dumps(results))
    else:
        print(f"{'variant':18}" + "".join(f"{name:>23}" for name in COLUMNS))
        for name, result in results.items():
            print(f"{name:18}" + "".join(f"{result[column]!s:>23}" for column in COLUMNS))
    return 0 if all(result["passed"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
