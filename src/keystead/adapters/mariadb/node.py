"""A node on this machine: one MariaDB server with its directories, its record, its steps (the port `Node` of `host`).

    <data root>/<unique>/my.cnf  error.log  node.json  PREPARED          ours
    <data root>/<unique>/data/                                           the system's uid, 0700
    <memory root>/<unique>/run/  tmp/                                    the system's uid, 0700, on tmpfs

`node.json` names the running server (pid, start time, boot) and the SHA-256 of its token, so that a later life of
`host` adopts it; a server or child that no record names is found by its uid and the
directories it works in, and killed.
"""

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from keystead.adapters.backup_files import backup_file
from keystead.adapters.mariadb import accounts
from keystead.adapters.mariadb.backup import BackupRun, restore_into
from keystead.adapters.mariadb.client import Admin
from keystead.adapters.mariadb.datadir import NodeDirectories, build, empty
from keystead.adapters.mariadb.node_identity import NodeIdentity
from keystead.adapters.mariadb.node_logins import NodeLogins
from keystead.adapters.mariadb.plugins import login_plugin, place_plugins
from keystead.adapters.mariadb.process import Identity, Owner, Process, require_free_port, wait_until_silent
from keystead.adapters.mariadb.reencrypt import reencrypt
from keystead.adapters.mariadb.report import report_of
from keystead.adapters.mariadb.scan import redo_version, scan, total_size
from keystead.adapters.mariadb.server import Server
from keystead.core.errors import Fault, Unavailable
from keystead.core.secret import Secret
from keystead.databases.config import NodeConfig, Shape, render
from keystead.databases.model import DbSystem
from keystead.databases.node import Credentials, Progress

LOOPBACK = "127.0.0.1"
KEY_PLUGIN = "hashicorp"
START_SECONDS = 60.0
REFUSED_SECONDS = 15.0
STOP_SECONDS = 60.0
STRAY_ROUNDS = 5


class MariaDbNode(NodeLogins, NodeIdentity):
    """One server. `kill` may come from any thread at any time; everything else is called by one thread at a time."""

    def __init__(
        self,
        system: DbSystem,
        data_root: Path,
        memory_root: Path,
        endpoint_port: int,
        backups: Path,
        address: str = LOOPBACK,
    ) -> None:
        """`address`: what the server listens on; `*`: every address."""
        unique = system.id.rpartition(".")[2]
        self._system = system
        self._home = data_root / unique
        self._memory = memory_root / unique
        self._backups = backups
        self._endpoint_port = endpoint_port
        self._address = address
        self._owner = Owner(system.uid, system.uid) if system.uid else Owner.ours()
        self._directories = NodeDirectories(self._home / "data", self._memory / "run", self._memory / "tmp")
        self._server: Server | None = None
        self._lock = threading.Lock()
        self._killed = False

    def prepared(self) -> bool:
        return (self._home / "PREPARED").exists()

    def running(self) -> bool:
        server = self._server
        return server is not None and server.process.is_alive()

    def adopt(self) -> bytes | None:
        try:
            record = json.loads((self._home / "node.json").read_text())
            identity, token = Identity.parse(record["identity"]), bytes.fromhex(record["token_sha256"])
        except (OSError, ValueError, KeyError):
            identity, token = None, b""
        server = Server.adopt(identity, self._config().socket, self._log) if identity is not None else None
        self._server = server
        self._kill_strays(spare=server.process.pid if server is not None else 0)
        return token if server is not None else None

    def prepare(self, credentials: Credentials) -> None:
        self._place(credentials)
        empty(self._directories.data)
        build(self._directories, self._owner, self._home / "my.cnf", self._log, credentials.token)
        self._mark_prepared()

    def start(self, credentials: Credentials) -> None:
        self._killed = False
        require_free_port(self._address, self._system.port)
        server = self._launch(credentials)
        self._write("node.json", json.dumps({
            "identity": str(server.process.identity),
            "token_sha256": sha256(credentials.token.reveal()).hexdigest(),
        }).encode())  # fmt: skip
        with self._lock:
            self._server = server
        if self._killed:  # a fence came between the launch and here
            server.kill()
        server.wait_ready(START_SECONDS)

    def stop(self) -> None:
        server = self._server
        if server is not None:
            server.stop(STOP_SECONDS)
        self._forget()

    def kill(self) -> None:
        self._killed = True
        with self._lock:
            server = self._server
        if server is not None:
            server.kill()
        self._kill_strays(spare=0)
        self._forget()

    def silent(self, seconds: float) -> bool:
        return wait_until_silent(self._address, self._system.port, seconds)

    def refuses_start(self, void: Credentials) -> bool:
        server = self._launch(void)
        ended = server.process.wait(REFUSED_SECONDS)
        # Its own words must say that it got no keys: a server that ended for another reason proves nothing.
        refused = ended and server.process.exit_code not in (0, None) and KEY_PLUGIN in server.reason()
        if not ended:
            server.kill()
        server.process.close()
        return refused

    def wipe(self) -> None:
        shutil.rmtree(self._memory, ignore_errors=True)

    def put_administrator(self, name: str, password_hash: str) -> None:
        with self._admin() as admin:
            accounts.put_administrator(admin, name, password_hash)

    def drop_administrator(self, name: str) -> None:
        with self._admin() as admin:
            accounts.drop_account(admin, name)

    def reencrypt(self, number: int, progress: Progress) -> Mapping[str, str]:
        with self._admin() as admin:
            done = reencrypt(admin, self._directories.data, number, progress)
        self._renew_redo_log(number)
        return done

    def verify(self, progress: Progress, samples: Sequence[bytes], backups: Sequence[str]) -> Mapping[str, str]:
        canaries: tuple[bytes, ...] = ()
        if self.running():
            progress(1, "planting canaries")
            with self._admin() as admin:
                canaries = admin.plant_canaries().values
                progress(2, "having changed pages written to disk")
                admin.write_out()
        total = max(1, total_size([self._home]))
        found = scan(
            self._directories.data,
            temporary=[self._directories.tmp] if self._directories.tmp.is_dir() else [],
            logs=sorted(self._home.glob("*.log")),
            backups=[path for path in (backup_file(self._backups, each) for each in backups) if path.is_file()],
            canaries=(*canaries, *samples),
            progress=lambda read: progress(min(98, 2 + read * 96 // total), "reading the bytes on disk"),
        )
        if canaries:
            with self._admin() as admin:
                admin.drop_canaries()
        return {"report": json.dumps(report_of(found, len(canaries), len(samples)))}

    def checksums(self) -> Mapping[str, int]:
        with self._admin() as admin:
            return admin.checksums()

    def backup(self, token: Secret) -> Iterator[bytes]:
        with self._admin() as admin:
            run = BackupRun(admin, self._config(), self._owner, self._home, self._log, token)
            yield from run.chunks()

    def restore(self, chunks: Iterator[bytes], credentials: Credentials) -> Mapping[str, str]:
        self._place(credentials)
        empty(self._directories.data)
        restore_into(
            self._directories, self._owner, self._config(), self._home / "my.cnf", self._log, credentials.token, chunks
        )
        self._mark_prepared()
        return {}

    def discard(self) -> None:
        self.kill()
        shutil.rmtree(self._memory, ignore_errors=True)
        shutil.rmtree(self._home, ignore_errors=True)

    # how

    @property
    def _log(self) -> Path:
        return self._home / "error.log"

    def _config(self) -> NodeConfig:
        run = self._directories.run
        return NodeConfig(
            tenancy=self._system.tenancy,
            system=self._system.id,
            server_id=self._system.port,
            port=self._system.port,
            bind_address=self._address,
            endpoint_port=self._endpoint_port,
            data_directory=str(self._directories.data),
            run_directory=str(run),
            tmp_directory=str(self._directories.tmp),
            tls_certificate=str(run / "tls.crt"),
            tls_key=str(run / "tls.key"),
            tls_ca=str(run / "ca.crt"),
            shape=Shape.for_memory(self._system.memory_mb),
            plugin_directory=str(self._home / "plugin") if login_plugin() is not None else "",
            login_socket=str(self._login_socket) if login_plugin() is not None else "",
            redo_log_extra=(self._home / "REDO_EXTRA").exists(),
        )

    def _renew_redo_log(self, number: int) -> None:
        """Let the next start write a fresh redo log, under the newest key: it does so when the log's size differs."""
        if redo_version(self._directories.data) >= number:
            return
        mark = self._home / "REDO_EXTRA"
        if mark.exists():
            mark.unlink()
        else:
            self._write(mark.name, b"")

    def _place(self, credentials: Credentials) -> None:
        """Directories, configuration and TLS files, as a start needs them."""
        self._home.mkdir(parents=True, exist_ok=True)
        self._home.chmod(0o711)
        self._memory.mkdir(parents=True, exist_ok=True)
        self._memory.chmod(0o711)
        _require_path(self._home, self._owner)
        self._directories.make(self._owner)
        for name, content in (
            ("tls.key", credentials.tls_key),
            ("tls.crt", credentials.tls_certificate),
            ("ca.crt", credentials.authority),
        ):
            if content:  # a start that is to be refused brings none
                self._give(self._directories.run / name, content)
        place_plugins(self._home / "plugin")
        self._write("my.cnf", render(self._config()).encode(), 0o644)

    def _launch(self, credentials: Credentials) -> Server:
        self._place(credentials)
        config = self._config()
        return Server.start(
            self._home / "my.cnf", self._owner, self._directories.data, config.socket, self._log, credentials.token
        )

    def _admin(self) -> Admin:
        if not self.running():
            raise Unavailable("ServerNotRunning", "the database server is not running")
        return Admin.connect(self._config().socket)

    def _mark_prepared(self) -> None:
        self._write("PREPARED", b"")

    def _write(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Whole and durable, or not at all."""
        path = self._home / name
        fresh = path.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.chmod(mode)
        fresh.replace(path)

    def _give(self, path: Path, content: bytes) -> None:
        """A file of the system's uid in its directory, never through a link that it may have put there."""
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o400), "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), self._owner.uid, self._owner.gid)

    def _forget(self) -> None:
        with self._lock:
            if self._server is not None and not self._server.process.is_alive():
                self._server.process.close()
                self._server = None
        with contextlib.suppress(FileNotFoundError):
            (self._home / "node.json").unlink()

    def _kill_strays(self, spare: int) -> None:
        """End what works for this system and is not the server we hold; again, while that finds what it had begun."""
        for _ in range(STRAY_ROUNDS):
            strays = [pid for pid in _pids() if pid not in (spare, os.getpid()) and self._works_here(pid)]
            for pid in strays:
                identity = Identity.of(pid)
                process = Process.adopt(identity) if identity is not None else None
                if process is not None:
                    with process:
                        if self._works_here(pid):  # held now, so it is not another one that came to its number
                            process.kill()
                            process.wait(5.0)
            if not strays:
                return

    def _works_here(self, pid: int) -> bool:
        """Whether a living process is the system's: of its uid, and at work in its directories.

        The uid alone does not tell: another region on this machine may give the same one.
        """
        with contextlib.suppress(OSError):
            if Identity.of(pid) is None:
                return False
            status = Path(f"/proc/{pid}/status").read_text(encoding="latin-1")
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            mark = str(self._home)
            named = any(mark.encode() in word for word in words[1:])
            if f"\nUid:\t{self._owner.uid}\t" not in status:
                return False
            if self._owner == Owner.ours():  # so are many others
                return named and words[0].startswith((b"/usr/", b"mariadb", b"mbstream"))
            return named or f"{os.readlink(f'/proc/{pid}/cwd')}/".startswith(f"{mark}/")
        return False


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _require_path(path: Path, owner: Owner) -> None:
    """Raises: Fault `NotReachable`: the system's uid cannot get to its own directory."""
    if owner == Owner.ours():
        return
    for parent in (path, *path.parents):
        if not parent.stat().st_mode & 0o001:
            raise Fault(
                "NotReachable",
                f"{parent} cannot be entered by uid {owner.uid}",
                hint=f"chmod o+x {parent}, or set databases.data_dir to another place",
            )
