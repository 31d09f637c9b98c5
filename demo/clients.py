"""Database clients as the customer has them: PyMySQL over TLS, the server's certificate and name verified.

The account is the administrator that a database system is made with; nobody here is `root` of a database.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection

from demo.stage import Stage

TABLES = ("airlines", "airports", "flights", "planes", "weather")
SCHEMA = "nyc"

Row = tuple[Any, ...]


def connect(stage: Stage, system: str, schema: str | None = SCHEMA, patience: float = 60) -> "Connection[Any]":
    """A session of `system`'s administrator. `patience`: seconds to wait for any one answer.

    Raises:
        pymysql.err.OperationalError: refused, with the number and the text that the server gave.
    """
    found = stage.systems[system]
    return pymysql.connect(
        host="127.0.0.1",
        port=found["port"],
        user=found["admin_username"],
        password=stage.password(f"{found['admin_username']}@{system}"),
        database=schema,
        ssl_ca=str(stage.state / "databases-ca.pem"),
        ssl_verify_cert=True,
        ssl_verify_identity=True,
        autocommit=True,
        connect_timeout=patience,
        read_timeout=patience,
    )


@contextlib.contextmanager
def session(
    stage: Stage, system: str, schema: str | None = SCHEMA, patience: float = 60
) -> Iterator["Connection[Any]"]:
    """`connect`, closed at the end."""
    connection = connect(stage, system, schema, patience)
    try:
        yield connection
    finally:
        with contextlib.suppress(pymysql.err.Error):
            connection.close()


def query(connection: "Connection[Any]", text: str) -> Sequence[Row]:
    """All rows."""
    with connection.cursor() as cursor:
        cursor.execute(text)
        return tuple(cursor.fetchall())


def status(connection: "Connection[Any]", name: str) -> str:
    """One status variable."""
    rows = query(connection, f"SHOW STATUS LIKE '{name}'")
    return str(rows[0][1]) if rows else ""


def checksums(stage: Stage, system: str) -> tuple[dict[str, int], float]:
    """A checksum over every row of the five tables, and how long that took."""
    began = time.monotonic()
    with session(stage, system) as connection:
        rows = query(connection, f"CHECKSUM TABLE {', '.join(TABLES)} EXTENDED")
    return {str(name).partition(".")[2]: int(value) for name, value in rows}, time.monotonic() - began


def refusal(stage: Stage, system: str) -> tuple[int, str, float]:
    """What a client sees that connects now: error number, text, seconds; number 0 when it is let in."""
    began = time.monotonic()
    try:
        connect(stage, system, None, 10).close()
        number, text = 0, ""
    except pymysql.err.MySQLError as error:
        number, text = (error.args[0], str(error.args[1])) if len(error.args) > 1 else (-1, str(error))
    return number, text, time.monotonic() - began


def first_answer(stage: Stage, system: str, patience: float) -> float | None:
    """Wait until a query is answered; the wall-clock time of the answer, None when there is none in time."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(pymysql.err.MySQLError, OSError), session(stage, system, None, 2) as connection:
            query(connection, "SELECT 1")
            return time.time()
        time.sleep(0.02)
    return None
