#!/bin/bash
# Runs test/chaos against a binary with fault points, bin/nephos-chaos. Arguments go to `go test`, as in: scripts/chaos.sh -run TestMatrix
#
#   NEPHOS_CHAOS_LONG=1    all faults at all points, and docs/reliability.md is written anew
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -x bin/nephos-chaos ] || { echo "chaos: bin/nephos-chaos is missing: make build-chaos" >&2; exit 1; }
if [ -n "${NEPHOS_CHAOS_LONG:-}" ]; then export NEPHOS_CHAOS_DOC="$PWD/docs/reliability.md"; fi
NEPHOS_CHAOS_BIN="$PWD/bin/nephos-chaos" exec go test ./test/chaos -count=1 -v -timeout "${NEPHOS_CHAOS_TIMEOUT:-20m}" -parallel "${NEPHOS_CHAOS_LANES:-3}" "$@"
