"""MariaDB servers to compare: a plain one of our own making, and a system of a region."""

import contextlib
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from bench.harness import child, free_port, run_quietly, wait_until
from bench.keystead_region import API, Region

# What the plain server copies from the encrypted one, so that only encryption differs.
COPIED = (
    "innodb_flush_log_at_trx_commit",
    "innodb_doublewrite",
    "innodb_buffer_pool_size",
    "innodb_log_file_size",
    "innodb_log_buffer_size",
    "innodb_flush_method",
    "innodb_io_capacity",
    "innodb_checksum_algorithm",
    "innodb_autoextend_increment",
    "innodb_read_io_threads",
    "innodb_write_io_threads",
    "innodb_purge_threads",
    "sync_binlog",
    "binlog_format",
    "max_binlog_size",
    "gtid_strict_mode",
    "log_slave_updates",
    "key_buffer_size",
    "aria_pagecache_buffer_size",
    "query_cache_type",
    "query_cache_size",
    "tmp_memory_table_size",
    "max_heap_table_size",
    "max_allowed_packet",
    "table_open_cache",
    "max_connections",
    "performance_schema",
    "skip_name_resolve",
    "character_set_server",
    "enforce_storage_engine",
    "event_scheduler",
)
_UID = 61990
_JOB_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Server:
    """One running MariaDB server, and an account on it that may create schemas."""

    name: str
    socket: Path
    user: str = "root"
    password: str = ""

    @contextlib.contextmanager
    def session(self) -> Iterator["pymysql.cursors.Cursor"]:
        """A cursor in autocommit mode."""
        connection = pymysql.connect(
            unix_socket=str(self.socket), user=self.user, password=self.password, autocommit=True
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            yield cursor

    def settings(self) -> dict[str, str]:
        """The global variables."""
        with self.session() as cursor:
            cursor.execute("SHOW GLOBAL VARIABLES")
            return {str(name): str(value) for name, value in cursor.fetchall()}

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            with self.session() as cursor:
                cursor.execute("SELECT 1")
        except pymysql.MySQLError:
            return False
        return True


@contextlib.contextmanager
def start_plain(directory: Path, like: Mapping[str, str]) -> Iterator[Server]:
    """A server without encryption, its settings copied from `like` (global variables); stopped at the end.

    Its data lies in `directory`; as root it runs under a uid of its own.
    """
    home = directory / "plain"
    data = home / "data"
    data.mkdir(parents=True)
    socket = home / "mysql.sock"
    options = {
        "datadir": data,
        "socket": socket,
        "pid_file": home / "mysqld.pid",
        "port": free_port(),
        "bind_address": "127.0.0.1",
        "log_bin": "binlog",
        "server_id": 1,
        **{name: like[name] for name in COPIED if like.get(name)},
    }
    configuration = home / "my.cnf"
    configuration.write_text("[mariadbd]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    dropped: list[str] = []
    if os.geteuid() == 0:
        for path in (home, data, configuration):
            os.chown(path, _UID, _UID)
        # not --user: mariadb-install-db would change a directory of the system's own MariaDB
        dropped = ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups"]
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    base = f"--defaults-file={configuration}"
    # enforce_storage_engine would refuse the system tables, which are Aria here
    install = ["mariadb-install-db", base, "--auth-root-authentication-method=normal", "--skip-test-db"]
    run_quietly([*dropped, *install, "--enforce-storage-engine="], environment)
    log = home / "server.log"
    server = Server("plain", socket)
    with child([*dropped, "mariadbd", base], log, environment) as process:
        wait_until(server.answers, "plain MariaDB", process, log, 60)
        yield server


@dataclass(frozen=True, slots=True)
class System:
    """A database system of a region, and how to reach its server."""

    id: str
    server: Server


@dataclass(frozen=True, slots=True)
class Fleet:
    """Database systems under one key."""

    region: Region
    key: str
    systems: tuple[System, ...]


@contextlib.contextmanager
def start_encrypted(region: Region, count: int, memory_mb: int) -> Iterator[Fleet]:
    """Database systems under a key of their own; stopped at the end, because they would outlive the region."""
    first, root = region.administrator, region.tenancy_id

    def made(path: str, body: Mapping[str, object]) -> Any:
        return first.call("POST", API + path, body)

    place = made("/compartments", {"parent_id": root, "name": "bench"})["id"]
    vault = made("/vaults", {"compartment_id": place, "name": "bench"})["id"]
    key = made("/keys", {"compartment_id": place, "vault_id": vault, "name": "bench"})["id"]
    statement = "Allow any-user to use key-delegate in compartment bench where request.principal.type = 'mysqldbsystem'"
    made("/policies", {"compartment_id": root, "name": "bench", "statements": [statement]})
    started: list[System] = []
    try:
        for number in range(count):
            asked = {"compartment_id": place, "name": f"bench-{number}", "key_id": key, "memory_mb": memory_mb}
            created = made("/db-systems", {**asked, "admin_username": "admin"})
            system = created["db_system"]["id"]
            started.append(System(system, Server("encrypted", Path(), "admin", created["admin_password"])))
            _finish(region, created["job"]["id"])
            started[-1] = System(system, _reach(region, system, created["admin_password"]))
        yield Fleet(region, key, tuple(started))
    finally:
        for each in started:
            with contextlib.suppress(RuntimeError):  # a broken one shall not keep the others running
                _finish(region, made(f"/db-systems/{each.id}/actions/stop", {})["job"]["id"])


def _reach(region: Region, system: str, password: str) -> Server:
    """Its administrator's account on the Unix socket, whose path is asked of the server itself."""
    endpoint: Any = region.administrator.call("GET", f"{API}/db-systems/{system}/endpoint")
    connection = pymysql.connect(
        host=endpoint["host"],
        port=endpoint["port"],
        user="admin",
        password=password,
        ssl=ssl.create_default_context(cadata=endpoint["ca_pem"]),
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT @@socket")
        (socket,) = cursor.fetchone() or ("",)
    return Server("encrypted", Path(socket), "admin", password)


def _finish(region: Region, job: str) -> None:
    deadline = time.monotonic() + _JOB_SECONDS
    while time.monotonic() < deadline:
        found: Any = region.administrator.call("GET", f"{API}/jobs/{job}")
        if found["state"] == "SUCCEEDED":
            return
        if found["state"] in ("FAILED", "CANCELED"):
            raise RuntimeError(f"a job failed: {found}")
        time.sleep(0.05)
    raise RuntimeError(f"a job took more than {_JOB_SECONDS} s")
