"""A writer with an acknowledgement log: whatever COMMIT was answered for must be there afterwards.

    with Writer(region, system) as writer:
        ...                              # kill, fence, rotate
    writer.check()                       # every acknowledged row, with its content, and no row twice

Rows that were sent but not acknowledged may be there or not; that is what "not acknowledged" means.
"""

import contextlib
import threading
from typing import TYPE_CHECKING

import pymysql

if TYPE_CHECKING:
    from tests.faults.region import Region, System

PAUSE = 0.005


class Writer:
    """Inserts numbered rows, one transaction each, from its own thread, connecting anew as long as it has to."""

    def __init__(self, region: "Region", system: "System", table: str = "ledger") -> None:
        self._region, self._system, self._table = region, system, table
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self.acknowledged: list[int] = []
        self.refusals: list[str] = []
        self._first = 0

    def __enter__(self) -> "Writer":
        ((self._first,),) = self._region.sql(
            self._system,
            "CREATE DATABASE IF NOT EXISTS shop",
            f"CREATE TABLE IF NOT EXISTS shop.{self._table} (id INT PRIMARY KEY, text VARCHAR(40)) ENGINE=InnoDB",
            f"SELECT COALESCE(MAX(id), 0) FROM shop.{self._table}",
        )
        self._thread.start()
        self.wait(len(self.acknowledged) + 3)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def wait(self, count: int, seconds: float = 30.0) -> None:
        """Until so many rows are acknowledged."""
        from tests.faults.machine import eventually

        eventually(f"{count} acknowledged rows", lambda: len(self.acknowledged) >= count, seconds)

    def wait_more(self, count: int = 3, seconds: float = 30.0) -> None:
        """Until it writes again."""
        self.wait(len(self.acknowledged) + count, seconds)

    def check(self) -> None:
        found = dict(self._region.sql(self._system, f"SELECT id, text FROM shop.{self._table}"))
        lost = [number for number in self.acknowledged if found.get(number) != _text(number)]
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} acknowledged rows are lost: {lost[:10]}"

    def _run(self) -> None:
        number = self._first
        while not self._stopping.is_set():
            try:
                with contextlib.closing(self._region.connect(self._system, 3.0)) as connection:
                    while not self._stopping.wait(PAUSE):
                        number += 1
                        with connection.cursor() as cursor:
                            sent = (number, _text(number))
                            cursor.execute(f"INSERT INTO shop.{self._table} VALUES (%s, %s)", sent)
                        self.acknowledged.append(number)
            except (pymysql.MySQLError, OSError) as error:
                self.refusals.append(str(error))
                self._stopping.wait(0.02)


def _text(number: int) -> str:
    return f"row {number} of the ledger"
