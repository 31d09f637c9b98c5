"""A node's own plugin directory: the system's key management plugin, and ours for logins where it has been built.

    <data root>/<unique>/plugin/   ours, readable by all    hashicorp_key_management.so -> the system's    iam_auth.so

A server loads plugins from one directory alone; the system's is left as its package made it. Ours is built by
tools/native.sh (make install) and lies in this package; where no compiler was there, it is not, and servers run without
logins by token (`keystead doctor` says so).
"""

import os
import shutil
from pathlib import Path

SYSTEM = Path("/usr/lib/mysql/plugin")
KEYS = "hashicorp_key_management.so"
LOGIN = "iam_auth.so"


def login_plugin() -> Path | None:
    """The plugin for logins; None where it has not been built."""
    built = Path(__file__).with_name("built") / LOGIN
    return built if built.is_file() else None


def place_plugins(directory: Path) -> None:
    """Make, or bring up to date, a node's plugin directory. A server that runs keeps what it has loaded."""
    built = login_plugin()
    if built is None:
        shutil.rmtree(directory, ignore_errors=True)
        return
    directory.mkdir(mode=0o755, exist_ok=True)
    directory.chmod(0o755)
    keys = directory / KEYS
    if not keys.is_symlink() or keys.readlink() != SYSTEM / KEYS:
        keys.unlink(missing_ok=True)
        keys.symlink_to(SYSTEM / KEYS)
    fresh = directory / f".{LOGIN}.{os.getpid()}"
    shutil.copyfile(built, fresh)
    fresh.chmod(0o644)
    fresh.replace(directory / LOGIN)  # never written in place: a server may have it mapped
