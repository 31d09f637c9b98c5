"""Physical backups with mariadb-backup: a stream of bytes out of a running server, and a data directory out of one.

The stream is mbstream's and holds the tablespaces as they lie on disk, encrypted under the system's data keys; nothing
is left on disk here. The caller encrypts it again under the backup's own key and keeps the wrapped data keys beside it.

Both programs run confined as the system's uid, so neither can read another system's files; `mariadb-backup` reads the
data keys with a token of its own in its environment. It logs in with an account made for this one run, whose random
password it reads from an anonymous file in memory: not from argv, not from a disk.

    backup    account -> mariadb-backup --backup --stream=mbstream -> bytes -> account dropped
    restore   bytes -> mbstream -x -> backup-my.cnf pointed at this node's mount -> mariadb-backup --prepare
"""

import contextlib
import os
import re
import secrets
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from keystead.adapters.mariadb import accounts
from keystead.adapters.mariadb.client import Admin
from keystead.adapters.mariadb.datadir import NodeDirectories, empty
from keystead.adapters.mariadb.process import Owner, Process, spawn
from keystead.adapters.mariadb.server import token_environment
from keystead.core.errors import Fault, KeysteadError, Refusal, Unavailable
from keystead.core.secret import Secret
from keystead.databases.config import NodeConfig, plugin_options, render

BACKUP = "/usr/bin/mariadb-backup"
STREAM = "/usr/bin/mbstream"
CHUNK = 1 << 18
_SETTINGS = "backup-my.cnf"
_PLUGIN = ("plugin_dir=/usr/lib/mysql/plugin/", "plugin_load=hashicorp_key_management=hashicorp_key_management")
_KEPT = re.compile(r"innodb_[a-z0-9_]+=[\w.:;/-]*|\[mysqld\]")
_POSITION = re.compile(r"^\S+\s+\d+\s+([0-9,-]+)?\s*$")
_STAMP = re.compile(r"^(\[\d\d\] )?\d{4}-\d\d-\d\d +\d?\d:\d\d:\d\d (\d+ \[ERROR\] )?")
# It lists the tablespaces and opens them then; one dropped, renamed or being made in between ends it.
_DISTURBED = re.compile(r"Can't open datafile|Failed to validate first page|previously opened tablespace")
_TELLING = re.compile(r"error|fail|cannot|can't|denied", re.IGNORECASE)


class BackupRun:
    """One backup of a running server. Iterate `chunks` to its end; ending early kills the child."""

    def __init__(self, admin: Admin, config: NodeConfig, owner: Owner, home: Path, log: Path, token: Secret) -> None:
        """`admin` is connected to the server, `home` the node's own directory, `token` may read the system's keys.

        The child's messages go to `backup.log` beside `log`; they hold names of files only.
        """
        self._admin = admin
        self._config = config
        self._owner = owner
        self._home = home
        self._log = log.with_name("backup.log")
        self._token = token
        self._process: Process | None = None

    @property
    def process(self) -> Process | None:
        """The child while it runs, to be killed by a fence."""
        return self._process

    def chunks(self) -> Iterator[bytes]:
        """The stream's bytes, in pieces.

        Raises:
            Unavailable: `BackupKilled`, `ServerUnreachable`, `BackupDisturbed`: try again.
            Fault: `BackupFailed`, also at the very end: what came before is then worth nothing.
        """
        self._log.unlink(missing_ok=True)
        password = Secret(secrets.token_urlsafe(24).encode())
        accounts.put_backup_account(self._admin, accounts.BACKUP_ACCOUNT, password)
        try:
            with self._start(password) as process:
                self._process = process
                try:
                    while chunk := process.stdout.read(CHUNK):
                        yield chunk
                    process.wait()
                finally:
                    process.kill()
                    process.wait(5)
                    self._process = None
                if process.was_killed:
                    raise Unavailable("BackupKilled", "the backup was killed")
                if process.exit_code != 0:
                    self._admin.query("SELECT 1")  # when the server itself has gone, the backup can be taken again
                    words = last_words(self._log)
                    if _DISTURBED.search(words):
                        raise Unavailable("BackupDisturbed", f"a table came or went while it was read: {words}")
                    raise Fault("BackupFailed", f"the backup failed: {words}")
        finally:
            with contextlib.suppress(KeysteadError):  # the server may be gone by now
                accounts.drop_account(self._admin, accounts.BACKUP_ACCOUNT, "localhost")

    def _start(self, password: Secret) -> Process:
        login = {
            "user": accounts.BACKUP_ACCOUNT,
            "password": password.reveal().decode(),
            "socket": self._config.socket,
        }
        text = (
            render(self._config)
            + "\n[mariadb-backup]\n"
            + "".join(f"{key} = {value}\n" for key, value in login.items())
        )
        settings = _in_memory(text.encode(), self._owner)
        try:
            return spawn(
                (
                    BACKUP,
                    f"--defaults-file=/proc/self/fd/{settings}",
                    "--backup",
                    "--stream=mbstream",
                    f"--target-dir={self._config.tmp_directory}",
                    f"--datadir={self._config.data_directory}",
                ),
                owner=self._owner,
                directory=self._home,
                log=self._log,
                environment=token_environment(self._token),
                pipe_output=True,
                pass_fds=(settings,),
            )
        finally:
            os.close(settings)


def restore_into(
    directories: NodeDirectories,
    owner: Owner,
    config: NodeConfig,
    config_file: Path,
    log: Path,
    token: Secret,
    chunks: Iterable[bytes],
) -> Mapping[str, str]:
    """Fill the empty data directory from a stream that `BackupRun` made, and bring it to a consistent state.

    `token` may read, at this node's own mount, every data-key version that the backup needs. Whatever goes wrong, the
    directory is empty again. Returns `gtid`, the position in the source's binary log (may be empty).

    Raises:
        Refusal: `DirectoryNotEmpty`.
        Unavailable: `RestoreKilled`: try again.
        Fault: `RestoreFailed`; and whatever `chunks` raises.
    """
    del config_file  # the server is started with it; neither program reads it
    if any(directories.data.iterdir()):
        raise Refusal("DirectoryNotEmpty", f"{directories.data} is not empty", kind="conflict")
    log = log.with_name("restore.log")
    log.unlink(missing_ok=True)
    try:
        _extract(directories, owner, log, chunks)
        _point_here(directories.data / _SETTINGS, config, owner)
        _prepare(directories, owner, log, token)
        position = _position(directories.data)
        _tidy(directories.data)
    except BaseException:
        empty(directories.data)
        raise
    return {"gtid": position}


def last_words(log: Path) -> str:
    """The line of a program's messages that tells what went wrong, without its time."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    errors = [line for line in lines if "[ERROR]" in line]
    telling = [line for line in lines if _TELLING.search(line) and "my_thread_global_end" not in line]
    found = errors[0] if errors else (telling or lines or ["it gives no reason"])[-1]
    return _STAMP.sub("", found).strip()[:300]


def _extract(directories: NodeDirectories, owner: Owner, log: Path, chunks: Iterable[bytes]) -> None:
    with spawn(
        (STREAM, "-x", "-C", str(directories.data)),
        owner=owner,
        directory=directories.data,
        log=log,
        stdin=subprocess.PIPE,
    ) as process:
        try:
            for chunk in chunks:
                process.stdin.write(chunk)
            process.stdin.close()
            process.wait()
        except BrokenPipeError:
            process.wait(5)
        finally:
            was_killed = process.was_killed
            process.kill()
            process.wait(5)
        if was_killed:
            raise Unavailable("RestoreKilled", "the restore was killed")
        if process.exit_code != 0:
            raise Fault("RestoreFailed", f"the backup cannot be unpacked: {last_words(log)}")


def _prepare(directories: NodeDirectories, owner: Owner, log: Path, token: Secret) -> None:
    with spawn(
        (BACKUP, f"--defaults-file={directories.data / _SETTINGS}", "--prepare", f"--target-dir={directories.data}",
         f"--tmpdir={directories.tmp}"),
        owner=owner,
        directory=directories.data,
        log=log,
        environment=token_environment(token),
    ) as process:  # fmt: skip
        try:
            process.wait()
        finally:
            process.kill()
            process.wait(5)
        if process.was_killed:
            raise Unavailable("RestoreKilled", "the restore was killed")
        if process.exit_code != 0:
            raise Fault("RestoreFailed", f"the backup cannot be prepared: {last_words(log)}")


def _point_here(settings: Path, config: NodeConfig, owner: Owner) -> None:
    """Rewrite the settings that came with the backup: InnoDB's layout is kept, the source's key endpoint is not."""
    try:
        descriptor = os.open(settings, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Fault("RestoreFailed", "the backup holds no settings: it is not one of ours") from error
    with open(descriptor, encoding="utf-8") as file:
        kept = [line.strip() for line in file if _KEPT.fullmatch(line.strip())]
    ours = plugin_options(config.tenancy, config.system, config.endpoint_port)
    lines = [*kept, *_PLUGIN, *(f"{name}={value}" for name, value in ours.items())]
    settings.unlink()
    descriptor = os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        os.fchown(file.fileno(), owner.uid, owner.gid)


def _position(data: Path) -> str:
    """The GTID position that the backup is at; empty when its source had no binary log."""
    for name in ("mariadb_backup_binlog_info", "xtrabackup_binlog_info"):
        with contextlib.suppress(OSError):
            descriptor = os.open(data / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, encoding="utf-8", errors="replace") as file:
                found = _POSITION.match(file.readline())
            return (found[1] or "") if found else ""
    return ""


def _tidy(data: Path) -> None:
    """Remove what only the restore needed."""
    for path in data.iterdir():
        if path.name == _SETTINGS or path.name.startswith(("xtrabackup_", "mariadb_backup_")):
            path.unlink()


def _in_memory(content: bytes, owner: Owner) -> int:
    """A descriptor of an anonymous file that `owner` may read through /proc/self/fd. The caller closes it."""
    descriptor = os.memfd_create("settings")
    os.write(descriptor, content)
    os.fchmod(descriptor, 0o400)  # MariaDB ignores settings that anyone may write
    os.fchown(descriptor, owner.uid, owner.gid)
    return descriptor
