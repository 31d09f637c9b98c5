"""Notes of creating requests (web/idempotency.py tells what they are for)."""

from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.store import translated
from keystead.core.clock import Clock


class Note(NamedTuple):
    """What is known of an earlier request: `status` 0 without an answer; what was allowed for it as it was given."""

    request_hash: bytes
    status: int
    body: bytes
    granted: bytes


class SqlIdempotency:
    """The notes, each kept for `kept`; each method is a transaction of its own."""

    def __init__(self, engine: sa.Engine, clock: Clock, kept: timedelta) -> None:
        self._engine = engine
        self._clock = clock
        self._kept = kept

    def begin(self, tenancy: str, principal: str, key: str, request_hash: bytes) -> Note | None:
        """Note a request; None when it is the first of its key, else that one."""
        table, now = schema.idempotency, self._clock.now()
        with translated(), self._writing() as connection, connection.begin():
            connection.execute(table.delete().where(table.c.created_at < now - self._kept))
            row = connection.execute(sa.select(table).where(*self._where(tenancy, principal, key))).first()
            if row is not None:
                return Note(bytes(row.request_hash), int(row.status), bytes(row.body), bytes(row.granted))
            connection.execute(
                table.insert().values(
                    tenancy=tenancy,
                    principal=principal,
                    key=key,
                    request_hash=request_hash,
                    status=0,
                    body=b"",
                    granted=b"",
                    created_at=now,
                )
            )
        return None

    def finish(self, tenancy: str, principal: str, key: str, status: int, body: bytes, granted: bytes) -> None:
        """Keep the answer, and what was allowed for it."""
        statement = schema.idempotency.update().where(*self._where(tenancy, principal, key))
        with translated(), self._writing() as connection, connection.begin():
            connection.execute(statement.values(status=status, body=body, granted=granted))

    def forget(self, tenancy: str, principal: str, key: str) -> None:
        """Remove the note."""
        with translated(), self._writing() as connection, connection.begin():
            connection.execute(schema.idempotency.delete().where(*self._where(tenancy, principal, key)))

    def _writing(self) -> sa.Connection:
        return self._engine.connect().execution_options(writing=True)

    def _where(self, tenancy: str, principal: str, key: str) -> list[sa.ColumnElement[bool]]:
        columns = schema.idempotency.c
        return [columns.tenancy == tenancy, columns.principal == principal, columns.key == key]
