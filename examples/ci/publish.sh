#!/bin/sh
# Publish a release from a CI job, only if the update is small enough.
#
#   PRODUCT=app VERSION=1.4.2 EDGESWARM_FLEET=fleet ci/publish.sh build/app
#
# EDGESWARM_FLEET: folder with fleet.toml, root.json and keys/ (docs/how-to/publish-from-ci.md); EDGESWARM_PASSPHRASE: of the keys.
# CHANNEL (stable). MAX_UPDATE_BYTES (any): what one site that holds the channel's present release may fetch.
set -eu
path=${1:?usage: publish.sh PATH}
: "${PRODUCT:?}" "${VERSION:?}" "${EDGESWARM_FLEET:?}"

exec edgeswarm publish "$path" --product "$PRODUCT" --version "$VERSION" --channel "${CHANNEL:-stable}" \
    ${MAX_UPDATE_BYTES:+--max-update-bytes "$MAX_UPDATE_BYTES"} --json
