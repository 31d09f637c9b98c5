#!/usr/bin/env bash
# Makes a virtual environment from a lock: every file is checked against its hash.
# Usage: tools/venv.sh DIRECTORY LOCK [pip arguments]
#
# Debian's own Python comes first: it is built with profile-guided optimisation, which self-built ones usually are not.
# PYTHON=/path/to/python overrides.
set -euo pipefail
cd "$(dirname "$0")/.."

directory=$1
lock=$2
shift 2

usable() {
    "$1" -c 'import sys, venv, ensurepip, ssl, sqlite3; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-/usr/bin/python3.11 /usr/bin/python3 python3.11 python3.12 python3.13 python3}; do
        if usable "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

exec 9<tools/venv.sh # two makes at once take turns
flock 9

if ! [ -x "$directory/bin/python" ] || ! usable "$directory/bin/python"; then
    if ! python=$(find_python); then
        tools/install.sh python
        python=$(find_python) || {
            echo "keystead needs Python 3.11 or later with venv (Debian: apt-get install python3 python3-venv)" >&2
            exit 1
        }
    fi
    echo "making $directory with $python" >&2
    rm -rf "$directory"
    "$python" -m venv "$directory"
fi
"$directory/bin/python" -m pip install -qq --disable-pip-version-check --no-input \
    --require-hashes --only-binary :all: "$@" -r "$lock"
