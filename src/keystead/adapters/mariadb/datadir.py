"""A fresh data directory, encrypted from its first byte.

MariaDB's own scripts are fed to `mariadbd --bootstrap`, which runs as the system's uid under the node's own
configuration and token, so that what it writes is encrypted already; nothing plain is left to be rewritten.
(`mariadb-install-db --user` is avoided: it changes the owner of a system-wide plugin directory.) Differences from a
stock directory:

- every system table is InnoDB (Aria's log would stay in clear), the two CSV log tables are left out;
- no anonymous accounts, no `root`, no test database, no help texts, no sys schema;
- one account is ours, by unix_socket; it bears the name of the operating-system user that runs this process (10.11
  maps no other name), so it opens for that user alone, without a password;
- `mariadb.sys`, the definer of MariaDB's own views, stays, locked.
"""

import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from keystead.adapters.mariadb.process import Owner, spawn
from keystead.adapters.mariadb.server import MARIADBD, last_errors, token_environment
from keystead.core.errors import Fault, Refusal, Unavailable
from keystead.core.secret import Secret

SHARE = Path("/usr/share/mysql")
_SCRIPTS = ("mysql_system_tables.sql", "mysql_system_tables_data.sql", "maria_add_gis_sp_bootstrap.sql")
_ARIA = re.compile(r"engine=Aria transactional=[01]", re.IGNORECASE)
_REFERENCES = re.compile(r" references help_\w+")  # Aria ignores them; InnoDB would want them well formed


@dataclass(frozen=True, slots=True)
class NodeDirectories:
    """Where a node lives: its data, its socket, and temporary files on tmpfs. All belong to the system's uid, 0700."""

    data: Path
    run: Path
    tmp: Path

    def make(self, owner: Owner) -> None:
        """Make those that are missing, with owner and mode, and empty the temporary one.

        Call before every start: a killed server leaves temporary files.

        Raises:
            Refusal: `NotTmpfs`: the temporary directory is not in memory.
        """
        for path in (self.data, self.run, self.tmp):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
            os.chown(path, owner.uid, owner.gid)
        require_tmpfs(self.tmp)
        empty(self.tmp)

    def remove(self) -> None:
        """Remove them with all they hold."""
        for path in (self.tmp, self.run, self.data):
            shutil.rmtree(path, ignore_errors=True)


def empty(directory: Path) -> None:
    """Remove what `directory` holds, never following a link."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def require_tmpfs(path: Path) -> None:
    """Raises: Refusal: `NotTmpfs`: `path` is not on tmpfs."""
    kind = filesystem_type(path)
    if kind != "tmpfs":
        raise Refusal(
            "NotTmpfs",
            f"{path} lies on {kind or 'an unknown file system'}, and temporary tables would spill there in clear",
            hint="choose a directory on tmpfs, such as one under /dev/shm",
        )


def filesystem_type(path: Path) -> str:
    """The type of the file system that holds `path`, from /proc/self/mountinfo; empty when unknown."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[2] == wanted:
            return words[words.index("-") + 1]
    return ""


def os_user() -> str:
    """The name of the operating-system user that runs this process, and of our account in every server.

    Raises:
        Fault: `NoUserName`: the uid has none, so unix_socket cannot know it.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise Fault("NoUserName", f"uid {os.geteuid()} has no name in the password database") from error


def bootstrap_sql(user: str) -> bytes:
    """The statements that make the system tables, and our account for operating-system user `user`.

    Raises:
        Fault: `NotInstalled`: MariaDB's scripts are missing.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", user):
        raise Fault("NoUserName", "the operating-system user's name has characters that an account cannot have")
    try:
        scripts = [(SHARE / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    except OSError as error:
        raise Fault("NotInstalled", f"MariaDB's bootstrap scripts are missing: {error}") from error
    tables = _REFERENCES.sub("", _ARIA.sub("engine=InnoDB", scripts[0]))
    tables = tables.replace("default_storage_engine=Aria", "default_storage_engine=InnoDB")
    tables = tables.replace("SET @have_csv = (SELECT support", "SET @have_csv = (SELECT 'NO' as support")
    account = f"'{user}'@'localhost'"
    parts = (
        "create database if not exists mysql;\nuse mysql;\nSET @auth_root_socket=NULL;\n",
        tables,
        "\n".join(line for line in scripts[1].splitlines() if "@current_hostname" not in line),
        scripts[2],
        "delete from mysql.global_priv where User <> 'mariadb.sys';\ndelete from mysql.proxies_priv;",
        "flush privileges;",
        f"create user {account} identified via unix_socket;",
        f"grant all privileges on *.* to {account} with grant option;\n",
    )
    return "\n".join(parts).encode()


def build(directories: NodeDirectories, owner: Owner, config: Path, log: Path, token: Secret) -> None:
    """Fill an empty data directory. The key endpoint must be serving `token` already.

    Nothing of it has to survive a crash (an unfinished directory is emptied and built again), so syncs are off; the
    clean end of the bootstrap leaves it durable.

    Raises:
        Refusal: `DirectoryNotEmpty`.
        Unavailable: `BootstrapKilled`: try again.
        Fault: `BootstrapFailed`, with the reason its log gives.
    """
    if any(directories.data.iterdir()):
        raise Refusal("DirectoryNotEmpty", f"{directories.data} is not empty", kind="conflict")
    size = log.stat().st_size if log.exists() else 0
    argv = (
        MARIADBD,
        f"--defaults-file={config}",
        "--bootstrap",
        "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=OFF",
        "--enforce-storage-engine=",
        "--log-warnings=0",
        "--max-allowed-packet=8M",
        "--net-buffer-length=16K",
    )
    process = spawn(
        argv,
        owner=owner,
        directory=directories.data,
        log=log,
        environment=token_environment(token),
        stdin=subprocess.PIPE,
    )
    with process:
        try:
            process.stdin.write(bootstrap_sql(os_user()))
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended early: its log says why
        process.wait()
        if process.was_killed:
            raise Unavailable("BootstrapKilled", "the building of the data directory was killed")
        if process.exit_code != 0:
            reason = last_errors(log, size)
            raise Fault("BootstrapFailed", f"the data directory could not be built: {reason}")
    _note_version(directories.data / "mysql_upgrade_info", owner)


def _note_version(path: Path, owner: Owner) -> None:
    """Where mariadb-upgrade looks for the version that made the system tables."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(_installed_version())
        os.fchown(file.fileno(), owner.uid, owner.gid)


def _installed_version() -> str:
    shown = subprocess.run((MARIADBD, "--no-defaults", "--version"), capture_output=True, text=True, check=True).stdout
    found = re.search(r"Ver (\d+\.\d+\.\d+)", shown)
    return f"{found[1] if found else '0.0.0'}-MariaDB"
