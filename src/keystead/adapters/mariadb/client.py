"""Our administrative connection to a server, over its Unix socket, as the account that bears our user's name.

No password, no key and no row of a customer passes here, except the canaries of our own schema. Passwords of accounts
are hashed before they become part of a statement, so neither the process list nor a binary log ever shows one.

Re-encryption under new data keys, told by this server (`publish` happens at the key endpoint):

    publish +2  ->  look()  ->  rotation() until done  ->  force_aria()  ->  flush_binlogs()  ->  restart with another
    redo log size  ->  scan

MariaDB rewrites only what is more than one version behind, and its own percentages are unreliable: `Rotation` counts
finished tablespaces by their size.
"""

import contextlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pymysql
from pymysql.constants import CR, ER

from keystead.adapters.mariadb.datadir import os_user
from keystead.core.errors import Fault, Unavailable

SYSTEM_SCHEMAS = ("mysql", "information_schema", "performance_schema", "sys")
CANARY_SCHEMA = "mysql_canary"
"""No pattern of the administrator's matches its name (accounts.py): what we read there runs nobody else's functions."""
_SEEN = "hashicorp_key_management_cache_version_timeout"
_SEEN_DEFAULT = 60000
# Under these the page cleaner writes without waiting. In this order: a capacity is never above its maximum.
_EAGER = (
    ("innodb_io_capacity_max", 40000),
    ("innodb_io_capacity", 20000),
    ("innodb_max_dirty_pages_pct_lwm", 0),
    ("innodb_max_dirty_pages_pct", 0),
)
_CLOSED = 0  # the driver's own, for a connection that it has found broken before
_CONNECTION_KILLED = 1927  # ER_CONNECTION_KILLED, which the driver does not name
_GONE = (
    _CLOSED,
    _CONNECTION_KILLED,
    ER.SERVER_SHUTDOWN,
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    CR.CR_CONNECTION_ERROR,
    CR.CR_CONN_HOST_ERROR,
)


@dataclass(frozen=True, slots=True)
class Tablespace:
    """One row of InnoDB's view. `size` in bytes; `rotating` while it is being rewritten."""

    name: str
    key_id: int
    encrypted: bool
    min_version: int
    current_version: int
    rotating: bool
    size: int

    @property
    def done(self) -> bool:
        """Whether every page is under the current version."""
        return self.encrypted and not self.rotating and self.min_version >= self.current_version


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far InnoDB's re-encryption is. `fraction` (0 to 1) weighs tablespaces by size."""

    done: bool
    fraction: float
    min_version: int
    current_version: int
    remaining: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Binlog:
    """A binary log file and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Canaries:
    """Random strings that were written into every kind of place; to be found nowhere on disk in clear."""

    values: tuple[bytes, ...]


class Admin:
    """One connection. Use `with Admin.connect(...)`; not for several threads at once."""

    def __init__(self, connection: "pymysql.Connection[Any]") -> None:
        self._connection = connection

    @classmethod
    def connect(cls, socket_path: str, seconds: float = 5.0, *, read_seconds: float | None = None) -> "Admin":
        """Log in. `read_seconds` bounds each statement (None: none).

        Raises:
            Unavailable: `ServerUnreachable`: nothing answers, or we are not let in.
        """
        try:
            connection = pymysql.connect(
                unix_socket=socket_path,
                user=os_user(),
                autocommit=True,
                charset="utf8mb4",
                connect_timeout=max(1, round(seconds)),
                read_timeout=read_seconds,
            )
        except (pymysql.MySQLError, OSError) as error:
            raise Unavailable("ServerUnreachable", f"the database server cannot be asked: {_text(error)}") from error
        return cls(connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Run one statement; `%s` stand for `arguments`. Returns its rows.

        Raises:
            Unavailable: `ServerUnreachable`: the connection broke.
            Fault: `StatementFailed`: the server refused it.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, arguments or None)
                return list(cursor.fetchall())
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in _GONE:
                raise Unavailable("ServerUnreachable", f"the database server went away: {_text(error)}") from error
            raise Fault("StatementFailed", f"the database server refused a statement: {_text(error)}") from error
        except OSError as error:
            raise Unavailable("ServerUnreachable", f"the database server went away: {_text(error)}") from error

    def run(self, *statements: str) -> None:
        """Run statements for their effect. Raises as `query`."""
        for statement in statements:
            self.query(statement)

    def ping(self) -> None:
        """Raises as `query` unless the server answers."""
        self.query("DO 1")

    def version(self) -> str:
        """The server's version: `10.11.19-MariaDB...`."""
        return str(self.query("SELECT VERSION()")[0][0])

    def uptime(self) -> int:
        """Seconds since the server started."""
        return int(self.query("SHOW GLOBAL STATUS LIKE 'Uptime'")[0][1])

    def kill_connections(self, user: str | None = None) -> int:
        """End every other connection (of `user`, when given). Returns how many were told to end."""
        rows = self.query(
            "SELECT id FROM information_schema.processlist"
            " WHERE id <> CONNECTION_ID() AND command <> 'Daemon' AND (%s IS NULL OR user = %s)",
            user,
            user,
        )
        killed = 0
        for (number,) in rows:
            with contextlib.suppress(Fault):  # it has ended meanwhile
                self.query(f"KILL CONNECTION {int(number)}")
                killed += 1
        return killed

    def reload_tls(self) -> None:
        """Read the certificate and its key again."""
        self.run("FLUSH SSL")

    # re-encryption

    def look(self) -> int:
        """Make the server ask for the latest data-key versions (an idle one never does). Takes about a second.

        Returns the highest version it works with now. The cache time is put back even when something fails.
        """
        try:
            self.run(f"SET GLOBAL {_SEEN} = 0", "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION")
            time.sleep(1.2)  # the encryption threads wake up once a second
            self.query("SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION")
        finally:
            self.run(f"SET GLOBAL {_SEEN} = {_SEEN_DEFAULT}")
        return self.rotation().current_version

    def set_rotation_speed(self, iops: int) -> None:
        """Pages per second that re-encryption may rewrite; the server's default of 100 takes 11 minutes per GB."""
        self.run(f"SET GLOBAL innodb_encryption_rotation_iops = {int(iops)}")

    def write_out(self, seconds: float = 15.0) -> bool:
        """Have every page on disk that was changed until now, while statements go on. False: not all in `seconds`."""
        names = [name for name, _ in _EAGER]
        before = self.query(f"SELECT {', '.join(f'@@GLOBAL.{name}' for name in names)}")[0]
        changed, deadline = self._innodb("lsn_current"), time.monotonic() + seconds
        try:
            self.run(*(f"SET GLOBAL {name} = {value}" for name, value in _EAGER))
            # A checkpoint follows its pages by a little, and with nothing to write there is none.
            while self._innodb("buffer_pool_pages_dirty") and self._innodb("lsn_last_checkpoint") < changed:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
            return True
        finally:
            # backwards: a capacity is never above its maximum
            self.run(
                *(f"SET GLOBAL {name} = {value}" for name, value in reversed(list(zip(names, before, strict=True))))
            )

    def _innodb(self, status: str) -> int:
        return int(self.query(f"SHOW GLOBAL STATUS LIKE 'Innodb_{status}'")[0][1])

    def tablespaces(self) -> tuple[Tablespace, ...]:
        """Every InnoDB tablespace with its key versions."""
        rows = self.query(
            "SELECT e.NAME, e.CURRENT_KEY_ID, e.ENCRYPTION_SCHEME, e.MIN_KEY_VERSION, e.CURRENT_KEY_VERSION,"
            " e.ROTATING_OR_FLUSHING, COALESCE(s.FILE_SIZE, 0)"
            " FROM information_schema.INNODB_TABLESPACES_ENCRYPTION e"
            " LEFT JOIN information_schema.INNODB_SYS_TABLESPACES s ON s.SPACE = e.SPACE"
        )
        return tuple(
            Tablespace(str(name), key, scheme == 1, low, current, bool(busy), int(size))
            for name, key, scheme, low, current, busy, size in rows
        )

    def rotation(self) -> Rotation:
        """How far every tablespace is on its way to its current version."""
        spaces = self.tablespaces()
        total = sum(max(1, space.size) for space in spaces)
        finished = sum(max(1, space.size) for space in spaces if space.done)
        remaining = tuple(sorted(space.name for space in spaces if not space.done))
        return Rotation(
            done=not remaining,
            fraction=finished / total if total else 1.0,
            min_version=min((space.min_version for space in spaces), default=0),
            current_version=max((space.current_version for space in spaces), default=0),
            remaining=remaining,
        )

    def aria_tables(self) -> tuple[str, ...]:
        """Tables that are Aria (none, unless an upgrade of MariaDB made system tables so again)."""
        return self._tables("engine = 'Aria' AND table_schema <> 'information_schema'")

    def force_aria(self) -> tuple[str, ...]:
        """Rewrite what is Aria under the current version. Returns the tables."""
        return self._alter(self.aria_tables(), "FORCE")

    def convert_aria(self) -> tuple[str, ...]:
        """Turn what is Aria into InnoDB, because Aria's log stays in clear. Returns the tables."""
        return self._alter(self.aria_tables(), "ENGINE = InnoDB")

    def _alter(self, tables: Sequence[str], change: str) -> tuple[str, ...]:
        if tables:
            self.run("SET SESSION enforce_storage_engine = NULL, sql_log_bin = 0")
            self.run(*(f"ALTER TABLE {table} {change}" for table in tables))
            self.run("SET SESSION enforce_storage_engine = InnoDB, sql_log_bin = 1")
        return tuple(tables)

    # binary logs

    def flush_binlogs(self) -> str:
        """Begin a new binary log, under the current version. Returns its name."""
        self.run("FLUSH BINARY LOGS")
        return self.binlogs()[-1].name

    def binlogs(self) -> tuple[Binlog, ...]:
        """The binary logs that are kept, oldest first."""
        return tuple(Binlog(str(row[0]), int(row[1])) for row in self.query("SHOW BINARY LOGS"))

    def purge_binlogs(self, before: str, seconds: float = 10.0) -> bool:
        """Delete the binary logs older than the one named `before`: point-in-time restore cannot reach back there.

        One that crash recovery may still need stays until InnoDB has caught up, usually within a second. Whether all
        went within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.run("FLUSH ENGINE LOGS")
            self.query("PURGE BINARY LOGS TO %s", before)
            if self.binlogs()[0].name >= before:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    def position(self) -> str:
        """The GTID position of the binary log."""
        return str(self.query("SELECT @@gtid_binlog_pos")[0][0])

    # data

    def tables(self) -> tuple[str, ...]:
        """Quoted names of all base tables of customers, sorted."""
        listed = ", ".join(f"'{schema}'" for schema in (*SYSTEM_SCHEMAS, CANARY_SCHEMA))
        return self._tables(f"table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_schema NOT IN ({listed})")

    def _tables(self, condition: str) -> tuple[str, ...]:
        rows = self.query(
            "SELECT table_schema, table_name FROM information_schema.tables"  # noqa: S608  # conditions are ours
            f" WHERE {condition} ORDER BY table_schema, table_name"
        )
        return tuple(f"{quote_name(schema)}.{quote_name(table)}" for schema, table in rows)

    def checksums(self) -> dict[str, int]:
        """A checksum over all rows of every customer table, by quoted name. Reads all of it."""
        found: dict[str, int] = {}
        for table in self.tables():
            found[table] = int(self.query(f"CHECKSUM TABLE {table} EXTENDED")[0][1] or 0)
        return found

    def plant_canaries(self) -> Canaries:
        """Write fresh canaries through every path that reaches a disk: rows, indexes, undo, redo, binary log, spills.

        The table's pages are on disk when this returns. What was planted before is replaced.
        """
        values = tuple(f"canary{secrets.token_hex(16)}".encode() for _ in range(4))
        row, changed, deleted, spilled = (value.decode() for value in values)
        table = f"{CANARY_SCHEMA}.canary"
        self.run(
            f"CREATE SCHEMA IF NOT EXISTS {CANARY_SCHEMA}",
            f"DROP TABLE IF EXISTS {table}",
            f"CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, word VARCHAR(80), body MEDIUMTEXT,"
            " KEY (word), FULLTEXT (body)) ENGINE = InnoDB",
        )
        for word in (row, changed, deleted, spilled):
            self.query(
                f"INSERT INTO {table} (word, body) SELECT %s, CONCAT_WS(' ', %s, seq, REPEAT(%s, 40))"  # noqa: S608  # our table
                f" FROM {CANARY_SCHEMA}.seq_1_to_50",
                word,
                word,
                word,
            )
        self.query(f"UPDATE {table} SET word = CONCAT('x', word) WHERE word = %s", changed)  # noqa: S608  # our table
        self.query(f"DELETE FROM {table} WHERE word = %s", deleted)  # noqa: S608  # our table
        self._spill(table)
        self.run(f"FLUSH TABLES {table} FOR EXPORT", "UNLOCK TABLES")
        return Canaries(values)

    def _spill(self, table: str) -> None:
        """Make a sort and a grouping that do not fit in memory, so that temporary files are written."""
        rows = f"{table} c JOIN {CANARY_SCHEMA}.seq_1_to_50 s"
        self.run("SET SESSION sort_buffer_size = 32768, tmp_memory_table_size = 0, max_heap_table_size = 16384")
        self.query(f"SELECT COUNT(*) FROM (SELECT DISTINCT c.body FROM {rows}) t")  # noqa: S608  # our table
        numbered = f"SELECT ROW_NUMBER() OVER (ORDER BY c.word, s.seq) n FROM {rows}"  # noqa: S608  # our table
        self.query(f"SELECT MAX(n) FROM ({numbered}) t")  # noqa: S608  # our table
        self.run(
            "SET SESSION sort_buffer_size = DEFAULT, tmp_memory_table_size = DEFAULT, max_heap_table_size = DEFAULT"
        )

    def drop_canaries(self) -> None:
        """Remove our schema."""
        self.run(f"DROP SCHEMA IF EXISTS {CANARY_SCHEMA}")


def quote_name(name: str) -> str:
    """An identifier in backticks."""
    return "`" + name.replace("`", "``") + "`"


def _text(error: BaseException) -> str:
    """What a driver's error says, without the statement and without its Python class."""
    if isinstance(error, pymysql.MySQLError) and len(error.args) > 1:
        return f"{error.args[1]} ({error.args[0]})"
    return str(error)
