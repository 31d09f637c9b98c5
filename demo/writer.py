"""A client that writes row after row, and notes each one only when the server has acknowledged its commit.

    DIR/acknowledged.log    one line for each acknowledged row: its number, and when (seconds since 1970)

Whatever happens to the server, every row in that log has to be there afterwards.
"""

import threading
import time
from pathlib import Path
from typing import Any

import pymysql

from demo import clients
from demo.stage import Stage

SCHEMA = "live"


class Writer(threading.Thread):
    """Writes until `stop`, or until the server is gone."""

    def __init__(self, stage: Stage, system: str) -> None:
        super().__init__(daemon=True)
        self._stage = stage
        self._system = system
        self._halt = threading.Event()
        self.log: Path = stage.place.directory / "acknowledged.log"
        self.acknowledged: list[tuple[int, float]] = []
        self.ended_at = 0.0
        self.error = ""
        self.writing = threading.Event()

    def run(self) -> None:
        """Row after row, each in a transaction of its own."""
        try:
            connection = clients.connect(self._stage, self._system, None)
            clients.query(connection, f"CREATE DATABASE IF NOT EXISTS {SCHEMA}")
            clients.query(
                connection, f"CREATE TABLE IF NOT EXISTS {SCHEMA}.entries (id INT PRIMARY KEY, note VARCHAR(64))"
            )
            with self.log.open("a") as log, connection.cursor() as cursor:
                number = 0
                while not self._halt.is_set():
                    number += 1
                    cursor.execute(f"INSERT INTO {SCHEMA}.entries VALUES (%s, %s)", (number, f"entry number {number}"))
                    self.acknowledged.append((number, time.time()))
                    log.write(f"{number} {self.acknowledged[-1][1]:.6f}\n")
                    self.writing.set()
            connection.close()
        except (pymysql.err.MySQLError, OSError) as error:
            self.error = str(error.args[-1])
        finally:
            self.ended_at = time.time()
            self.writing.set()

    def stop(self) -> None:
        """Let it end after the row that it is writing."""
        self._halt.set()
        self.join(15)

    def between(self, start: float, end: float) -> tuple[int, float]:
        """Rows acknowledged in a span of wall-clock time, and the longest wait between two of them in seconds."""
        moments = [at for _, at in list(self.acknowledged) if start <= at <= end]
        gaps = [later - earlier for earlier, later in zip([start, *moments], [*moments, end], strict=True)]
        return len(moments), max(gaps)

    def lost(self, connection: "pymysql.connections.Connection[Any]") -> int:
        """How many acknowledged rows are not in the table."""
        present = {row[0] for row in clients.query(connection, f"SELECT id FROM {SCHEMA}.entries")}
        logged = {int(line.split()[0]) for line in self.log.read_text().splitlines()}
        return len(logged - present)
