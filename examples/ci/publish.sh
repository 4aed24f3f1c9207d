#!/bin/sh
# Publish a release from a CI job: to a candidate channel first, and to the real one only if the update is small enough.
#
#   PRODUCT=app VERSION=1.4.2 EDGESWARM_FLEET=fleet ci/publish.sh build/app
#
# EDGESWARM_FLEET: folder with fleet.toml, root.json and keys/ (docs/how-to/publish-from-ci.md); EDGESWARM_PASSPHRASE: of the keys.
# CHANNEL (stable), CANDIDATE (candidate), MAX_UPDATE_BYTES (none): what one site may fetch to come from the newest older release.
set -eu
path=${1:?usage: publish.sh PATH}
: "${PRODUCT:?}" "${VERSION:?}" "${EDGESWARM_FLEET:?}"

publish() {
    edgeswarm publish "$path" --product "$PRODUCT" --version "$VERSION" --channel "$1" --json
}

report=$(publish "${CANDIDATE:-candidate}")
REPORT=$report LIMIT=${MAX_UPDATE_BYTES:-0} python3 - <<'END'
import json, os, sys

report, limit = json.loads(os.environ["REPORT"]), int(os.environ["LIMIT"])
for delta in report["deltas"][:1]:
    cost = report["metadata_bytes"] + report["root_bytes"] + delta["index_bytes"] + delta["delta_bytes"]
    print(f"a site at {delta['base_version']} fetches {cost} bytes", file=sys.stderr)
    if limit and cost > limit:
        sys.exit(f"that is more than the {limit} bytes allowed: not released")
END
publish "${CHANNEL:-stable}"
