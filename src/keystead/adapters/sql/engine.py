"""Engines: SQLite in WAL mode with every commit synced, foreign keys on, and one writer at a time.

What is deleted or overwritten is overwritten in the file too (`secure_delete`): keys that were purged are not found in
free space. The write-ahead log is emptied by `SqlStore.scrub`.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

BUSY_MS = 10_000


def sqlite_engine(path: Path) -> sa.Engine:
    """An engine on the SQLite file `path`; made when it is not there (mode 0600)."""
    if not path.exists():
        path.touch(mode=0o600)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # The driver's own BEGIN is deferred; we begin ourselves so that a writer takes its lock at the start.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            f"busy_timeout={BUSY_MS}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine
