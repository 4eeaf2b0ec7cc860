#!/bin/bash
# Runs test/e2e against bin/nephos; arguments go to `go test`, as in: scripts/e2e.sh -run TestRealGuest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -x bin/nephos ] || { echo "e2e: bin/nephos is missing: make build" >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
code=0
NEPHOS_E2E_BIN="$PWD/bin/nephos" go test ./test/e2e -count=1 -v -timeout "${NEPHOS_E2E_TIMEOUT:-14m}" -parallel 2 "$@" 2>&1 | tee "$log" || code=$?
count() { grep -cE "^ *--- $1:" "$log" || true; }
echo "e2e: $(count PASS) passed, $(count FAIL) failed, $(count SKIP) skipped"
exit "$code"
