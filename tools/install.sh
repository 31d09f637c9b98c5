#!/usr/bin/env bash
# Installs the Debian packages that are missing, and nothing else. Does nothing when all are there.
# Usage: tools/install.sh GROUP...      groups: python mariadb softhsm native wrk sysbench make
#
# Promises:
# - No service is started, stopped or restarted: a policy-rc.d that denies it is in place while apt runs, and what was
#   there before is put back afterwards, also when something fails.
# - A MariaDB or MySQL server that is already installed stays as it is: not upgraded, not restarted, not removed.
# - A MariaDB server that this script brings is not enabled at boot: Keystead runs its own server processes.
set -euo pipefail

policy=${KEYSTEAD_POLICY_FILE:-/usr/sbin/policy-rc.d} # elsewhere in tests only
saved=$policy.before-keystead
lock=${KEYSTEAD_POLICY_FILE:+$KEYSTEAD_POLICY_FILE.lock}
marker='# placed by keystead tools/install.sh'

say() { echo "install: $*" >&2; }
die() { say "$*"; exit 1; }
present() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
# Installed by the Debian package, or by any other way that brought the program.
have() { present "$1" || { [ -n "${2:-}" ] && [ -e "$2" ]; }; }

missing=()
want() { have "$@" || missing+=("$1"); }

for group in "$@"; do
    case $group in
        python)
            # Debian's Python lacks venv; another usable Python will do where it is there already
            if [ -x /usr/bin/python3 ] || ! command -v python3 >/dev/null; then
                want python3
                want python3-venv
            fi ;;
        mariadb)
            want mariadb-server
            want mariadb-plugin-hashicorp-key-management
            want mariadb-backup
            want mariadb-client ;;
        softhsm) want softhsm2 /usr/bin/softhsm2-util ;;
        native)
            want gcc /usr/bin/gcc
            want libmariadb-dev ;;
        wrk) want wrk /usr/local/bin/wrk ;;
        sysbench) want sysbench /usr/local/bin/sysbench ;;
        make) want make ;;
        *) die "no such group: $group" ;;
    esac
done
[ ${#missing[@]} -eq 0 ] && exit 0

command -v apt-get >/dev/null || die "this machine has no apt-get; please install by its own means: ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "root is needed once to install: ${missing[*]}
    as root: $(realpath "$0") $*"
    say "asking sudo, to install: ${missing[*]}"
    exec sudo "$(realpath "$0")" "$@"
fi

# One at a time; apt has its own lock, the policy file has not.
exec 9>"${lock:-/run/keystead-install.lock}"
flock 9

# apt-get that starts nothing and asks nothing
apt() { DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"; }

put_back() {
    if [ -e "$saved" ] || [ -L "$saved" ]; then
        mv -f "$saved" "$policy"
    elif grep -qsF "$marker" "$policy"; then
        rm -f "$policy"
    fi
}
trap put_back EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
put_back # what a run that was killed left behind

plan() { LC_ALL=C apt -s install --no-install-recommends --no-upgrade "${missing[@]}" 2>/dev/null; }

if ! steps=$(plan); then
    say "refreshing the package lists"
    apt -qq update >&2
    steps=$(plan) || die "the package sources of this machine do not offer: ${missing[*]}"
fi
# "Inst name [old] (new ...)" is a change of version, "Remv" a removal.
servers='(mariadb|mysql|percona|galera)[a-z0-9.-]*(server|galera)[a-z0-9.-]*|galera-[0-9]+'
if changes=$(grep -E "^(Inst ($servers) \[|Remv )" <<<"$steps"); then
    die "installing ${missing[*]} would change what is installed already; please do that by hand first:
$changes"
fi

had_server=no
present mariadb-server && had_server=yes

if [ -e "$policy" ] || [ -L "$policy" ]; then
    mv "$policy" "$saved"
fi
printf '#!/bin/sh\n%s\nexit 101\n' "$marker" >"$policy"
chmod 755 "$policy"

say "installing ${missing[*]}"
log=$(mktemp)
if ! apt -q install -y --no-install-recommends --no-upgrade "${missing[@]}" >"$log" 2>&1; then
    say "package lists may be old; refreshing them and trying once more"
    apt -qq update >&2 || say "the package lists could not be refreshed"
    apt -q install -y --no-install-recommends --no-upgrade "${missing[@]}" >"$log" 2>&1 || {
        tail -n 40 "$log" >&2
        die "apt-get failed; its whole output is in $log"
    }
fi
rm -f "$log"

if [ $had_server = no ] && present mariadb-server; then
    # what its package has just enabled: both worlds, whichever this machine starts with
    find /etc/systemd/system -type l -name 'mariadb*' -lname '*/systemd/system/mariadb*' -delete 2>/dev/null || true
    update-rc.d mariadb disable >/dev/null 2>&1 || true
fi
