"""Publish from Python: make a fleet if there is none, publish, and say what the update costs one site.

python examples/publish_release.py fleet build/app app 1.4.2 stable
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import edgeswarm


def main(arguments: list[str]) -> int:
    directory, path, product, version, channel = arguments
    now = datetime.now(UTC)
    is_new = not Path(directory).exists()
    fleet = edgeswarm.init_fleet(directory, name="acme", now=now) if is_new else edgeswarm.Fleet.open(directory)
    options = edgeswarm.PublishOptions(delta_from=5)
    report = edgeswarm.publish_release(fleet, path, product=product, version=version, channel=channel, now=now, options=options)
    print(f"{product} {report.version} is sequence {report.sequence} of {channel}")
    print(f"  a site with nothing fetches {edgeswarm.site_cost(report)} bytes")
    for delta in report.deltas:
        print(f"  a site at {delta.base_version} fetches {edgeswarm.site_cost(report, delta.base_version)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
