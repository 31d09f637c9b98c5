#!/usr/bin/env bash
# Builds the login plugin for MariaDB into the package. Usage: tools/native.sh [DIRECTORY]
# Needs gcc and libmariadb-dev (tools/install.sh native). Without a compiler it says so and succeeds: database systems
# then run without logins by security token.
set -euo pipefail
cd "$(dirname "$0")/.."
into=${1:-src/keystead/adapters/mariadb/built}
if ! command -v gcc >/dev/null; then
    echo "native: no gcc: the login plugin is not built; systems run without logins by security token" >&2
    exit 0
fi
mkdir -p "$into"
gcc -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
    -Wl,-z,relro,-z,now -Wl,-z,noexecstack -o "$into/.iam_auth.so.$$" native/iam_auth.c
chmod 644 "$into/.iam_auth.so.$$"
mv -f "$into/.iam_auth.so.$$" "$into/iam_auth.so"
