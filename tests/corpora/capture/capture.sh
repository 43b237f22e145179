#!/usr/bin/env bash
# Captures the corpora anew: capture.sh [TOOL...]
#
# As root on Debian or Ubuntu with postgresql, libpq-dev, ruby-activerecord, ruby-pg, python3-venv, nodejs and npm.
# CORPORA_WORK keeps what is installed from one run to the next.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${CORPORA_WORK:-$(mktemp -d -t corpora-XXXXXX)}
mkdir -p "$work"
test -d "$work/venv" || { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q -r "$here/requirements.txt"; }
test -d "$work/node_modules" || { cp "$here/package.json" "$work" && (cd "$work" && npm install --no-audit --no-fund --silent); }
python3 "$here/driver.py" "$work" "$here/.." "$@"
