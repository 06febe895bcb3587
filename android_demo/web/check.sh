#!/usr/bin/env bash
# Checks the page: its modules in Node, and the page in Chromium against what Python computes.
#   PYTHON       a Python with hwkeras's requirements; python3 by default
#   CHROMIUM     /usr/bin/chromium by default; with CI set, root installs it where it is missing
#   BUNDLES      a folder of `hwkeras bundle`; the Android app's assets by default
#   SCREENSHOTS  a folder to leave pictures of the page in
set -euo pipefail
case ${BUNDLES:-/} in /*) ;; *) BUNDLES=$PWD/$BUNDLES ;; esac # before cd
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
export BUNDLES=${BUNDLES:-$root/android_demo/app/src/main/assets}

skip() {
    echo "web: not checked: $1"
    exit 0
}

node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 20 || (major === 20 && minor >= 11) ? 0 : 1)' 2>/dev/null ||
    skip "there is no Node 20.11 or later"
command -v npm >/dev/null || skip "there is no npm"
if [ ! -x "$CHROMIUM" ] && [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "web: installing Debian's chromium"
    apt-get update -qq && apt-get install -qq --no-install-recommends chromium >/dev/null
fi
[ -x "$CHROMIUM" ] || skip "there is no Chromium at $CHROMIUM"

if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
    npm ci --no-audit --no-fund --loglevel=error
fi
node build.js
REFERENCE=$(mktemp -d)
export REFERENCE
trap 'rm -rf "$REFERENCE"' EXIT
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} "${PYTHON:-python3}" test/reference.py "$BUNDLES" "$REFERENCE"
node --test --test-reporter=spec test/*.test.js | grep -v '^✔' # what failed, and what was measured
