"""`keystead doctor`: the settings in force and where each comes from; then this machine, check by check.

A check is `ok`, `warning` (works, but see the text) or `failed` (something will not work, or a secret is exposed).
"""

import contextlib
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import typer

from keystead.adapters.mariadb.plugins import login_plugin
from keystead.core.errors import KeysteadError
from keystead.server import keystore_health, settings
from keystead.server.process import confine, probe
from keystead.server.process.locks import holder
from keystead.server.sealing.unseal import SEAL_NAME, open_root, read_seal
from keystead.server.serve import check_port, socket_path
from keystead.server.settings import Effective, ranged

if TYPE_CHECKING:
    from keystead.cli.console import Console

State = Literal["ok", "warning", "failed"]
PROGRAMS: Final = (
    ("/usr/sbin/mariadbd", "mariadb-server"),
    ("/usr/bin/mariadb", "mariadb-client"),
    ("/usr/bin/mariadb-backup", "mariadb-backup"),
    ("/usr/bin/mbstream", "mariadb-backup"),
)
PLUGIN: Final = Path("/usr/lib/mysql/plugin/hashicorp_key_management.so")
PLUGIN_PACKAGE: Final = "mariadb-plugin-hashicorp-key-management"
TMPFS_MAGIC: Final = "tmpfs"
LOW_BYTES: Final = 2 * 1024**3
LEAST_BYTES: Final = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    state: State
    text: str

    def shown(self) -> dict[str, str]:
        """For tables and JSON."""
        return {"check": self.check, "state": self.state, "text": self.text}


def doctor(console: "Console", config: Path | None, state: Path | None) -> None:
    """Print both; exit code 1 when something failed."""
    effective = settings.load(config, state)
    shown = [
        {
            "setting": f"{section}.{name}",
            "value": getattr(getattr(effective.settings, section), name),
            "from": effective.origins.get(f"{section}.{name}", "default"),
            "about": about,
        }
        for section, name, about, _ in settings.described()
    ]
    findings = list(examine(effective))
    failed = any(finding.state == "failed" for finding in findings)
    if console.json:
        checks = [finding.shown() for finding in findings]
        console.document({"file": str(effective.file), "settings": shown, "checks": checks, "healthy": not failed})
    else:
        columns = [("SETTING", "setting"), ("VALUE", "value"), ("FROM", "from"), ("ABOUT", "about")]
        console.table(shown, columns)
        console.say("")
        console.table([finding.shown() for finding in findings], [("CHECK", "check"), ("", "state"), ("", "text")])
    if failed:
        raise typer.Exit(1)


def examine(effective: Effective) -> Iterator[Finding]:
    """Every check."""
    for name, check in CHECKS.items():
        try:
            yield Finding(name, *check(effective))
        except KeysteadError as error:
            yield Finding(name, "failed", f"{error.message}{f' ({error.hint})' if error.hint else ''}")
        except OSError as error:
            yield Finding(name, "failed", str(error))


Found = tuple[State, str]


def _state_directory(effective: Effective) -> Found:
    mode = stat.S_IMODE(effective.state.stat().st_mode)
    if mode & 0o066:
        return "failed", f"{effective.state} has mode {mode:04o}: others can list or change it (chmod 0711)"
    return "ok", f"{effective.state}, mode {mode:04o}"


def _key_file(effective: Effective) -> Found:
    path = effective.key_file
    if path is None:
        kinds = {slot.kind for slot in read_seal(effective.state / SEAL_NAME).slots}
        if found := sorted(kinds & {"pkcs11", "external"}):
            return "ok", f"none: the region opens by its {' or '.join(found)} slot"
        return "warning", "none: people open the region after every start (keystead unseal)"
    open_root(effective).wipe()
    same = path.stat().st_dev == effective.state.stat().st_dev
    text = f"{path} opens the seal, mode {stat.S_IMODE(path.stat().st_mode):04o}"
    if same:
        return "warning", f"{text}; it lies on the same file system as the state: one stolen disk holds both"
    return "ok", text


def _seal(effective: Effective) -> Found:
    seal = read_seal(effective.state / SEAL_NAME)
    slots = ", ".join(f"{slot.kind} ({slot.label})" for slot in seal.slots)
    return ("ok" if len(seal.slots) > 1 else "warning"), f"{len(seal.slots)} slots: {slots}"


def _running(effective: Effective) -> Found:
    found = holder(effective.runtime / "up.lock")
    if found is None:
        return "ok", "no"
    health = probe.http_health(effective)
    return ("ok", f"yes, process {found.pid}, {effective.url}") if health else ("failed", "yes, but it does not answer")


def _ports(effective: Effective) -> Found:
    listen, databases = effective.settings.listen, effective.settings.databases
    if holder(effective.runtime / "up.lock") is None:
        check_port(listen.host, listen.port)
        check_port("127.0.0.1", databases.endpoint_port, "[databases] endpoint_port")
    if len({listen.port, databases.endpoint_port} | set(ranged(databases.ports, "ports"))) != 2 + len(
        ranged(databases.ports, "ports")
    ):
        return "failed", "the API, the key endpoint and the database systems have ports in common"
    socket_path(effective)
    return "ok", f"API {listen.port}, key endpoint {databases.endpoint_port}, database systems {databases.ports}"


def _programs(_effective: Effective) -> Found:
    missing = sorted({package for path, package in PROGRAMS if not os.access(path, os.X_OK)})
    missing += [] if PLUGIN.exists() else [PLUGIN_PACKAGE]
    if missing:
        return "failed", f"missing: apt-get install {' '.join(missing)}"
    said = subprocess.run([PROGRAMS[0][0], "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    version = re.search(r"Ver (\S+)", said)
    return "ok", f"MariaDB {version[1] if version else 'of unknown version'} with {PLUGIN.name}"


def _logins(_effective: Effective) -> Found:
    if login_plugin() is None:
        return "warning", "no login plugin: systems run without logins by token (make native; gcc, libmariadb-dev)"
    return "ok", "database systems take logins by token"


def _tmpfs(effective: Effective) -> Found:
    path = Path(effective.settings.databases.tmpfs_dir)
    kind = file_system(path)
    if kind != TMPFS_MAGIC:
        return "failed", f"{path} is {kind or 'unknown'}, not tmpfs: temporary files would reach a disk"
    free = shutil.disk_usage(path).free
    return ("ok" if free > LEAST_BYTES else "warning"), f"{path}: {_size(free)} free"


def _core_dumps(_effective: Effective) -> Found:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    text = (
        f"limited to 0 in all our processes (here: hard limit {'none' if hard < 0 else hard}; core_pattern {pattern!r})"
    )
    if pattern.startswith("|"):
        # A pipe handler runs whatever the limit says unless the process is not dumpable, which ours are.
        return "warning", f"{text}: the handler of database servers may be given their memory"
    return "ok", text


def _swap(_effective: Effective) -> Found:
    lines = Path("/proc/swaps").read_text().splitlines()[1:]
    devices = [line.split()[0] for line in lines]
    plain = [device for device in devices if not _is_encrypted(device)]
    if not devices:
        return "ok", "off"
    if plain:
        return "warning", f"{', '.join(plain)}: keys in memory may reach a disk in clear (swapoff -a, or encrypt it)"
    return "ok", f"encrypted: {', '.join(devices)}"


def _locked(effective: Effective) -> Found:
    found = holder(effective.runtime / "up.lock")
    if found is None:
        return "ok", "not running; keys are kept out of swap where the system allows it"
    if confine.is_locked(found.pid):
        return "ok", "every page of our processes is kept out of swap"
    return "warning", "the system does not let us keep keys out of swap (CAP_IPC_LOCK, or LimitMEMLOCK=infinity)"


def _uids(effective: Effective) -> Found:
    if os.geteuid() != 0:
        return "warning", "not root: all database servers run as this user, and so do we"
    import pwd

    wanted = ranged(effective.settings.databases.uids, "uids")
    taken = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid in wanted]
    if taken:
        return "failed", f"{effective.settings.databases.uids} holds users of this machine: {', '.join(taken[:5])}"
    return "ok", f"{effective.settings.databases.uids} belong to nobody else"


def _disk(effective: Effective) -> Found:
    places = {effective.state, effective.data, effective.backups}
    frees = {path: shutil.disk_usage(path).free for path in places if path.exists()}
    path, free = min(frees.items(), key=lambda item: item[1])
    state: State = "ok" if free > LOW_BYTES else "warning" if free > LEAST_BYTES else "failed"
    return state, f"{_size(free)} free at {path}"


def _clock(_effective: Effective) -> Found:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(
            ["timedatectl", "show", "-p", "NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        if said.returncode == 0:
            synced = said.stdout.strip() == "yes"
            return ("ok", "synchronized") if synced else ("warning", "not synchronized: tokens live by the clock")
    return "warning", "whether it is synchronized cannot be told here"


def _memory(_effective: Effective) -> Found:
    from keystead.databases.creation import DEFAULT_MEMORY_MB

    read = Path("/proc/meminfo").read_text()
    free = re.search(r"MemAvailable:\s+(\d+) kB", read)
    size = int(free[1]) * 1024 if free else 0
    need = DEFAULT_MEMORY_MB * 1024**2
    return ("ok" if size > need else "warning"), f"{_size(size)} available; a system uses about {_size(need)}"


def _schema(effective: Effective) -> Found:
    from keystead.adapters.sql.migrations import HEAD
    from keystead.server.state.opening import open_state

    open_state(effective.state).dispose()
    return "ok", f"schema {HEAD}"


def _name(effective: Effective) -> Found:
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        socket.getaddrinfo(name, None)
        return "ok", f"{name} resolves"
    return "warning", f"{name} does not resolve: clients reach this machine as localhost only"


def _limits(_effective: Effective) -> Found:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ("ok" if hard >= 4096 else "warning"), f"{soft} open files, at most {hard}"


CHECKS: dict[str, Callable[[Effective], Found]] = {
    "running": _running,
    "state directory": _state_directory,
    "seal": _seal,
    "key file": _key_file,
    "state": _schema,
    "token": keystore_health.token,
    "other KMS": keystore_health.external,
    "ports": _ports,
    "MariaDB": _programs,
    "logins": _logins,
    "tmpfs": _tmpfs,
    "user ids": _uids,
    "core dumps": _core_dumps,
    "swap": _swap,
    "locked memory": _locked,
    "memory": _memory,
    "disk": _disk,
    "open files": _limits,
    "clock": _clock,
    "host name": _name,
}


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, as /proc/mounts calls it; empty when unknown."""
    real, best, kind = str(path.resolve()), "", ""
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, mounted, found, *_ = line.split()
        inside = real == mounted or real.startswith(mounted.rstrip("/") + "/")
        if inside and len(mounted) >= len(best):
            best, kind = mounted, found
    return kind


def _is_encrypted(device: str) -> bool:
    name = Path(device).resolve().name
    with contextlib.suppress(OSError):
        return Path(f"/sys/block/{name}/dm/uuid").read_text().startswith("CRYPT-")
    return name.startswith("zram")  # it never leaves memory


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"
