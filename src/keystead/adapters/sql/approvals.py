"""Rows of break glass and approvals."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from keystead.adapters.sql import schema_approvals as schema
from keystead.adapters.sql.rows import Table, read
from keystead.core.page import PageRequest
from keystead.iam.approvals.model import BreakGlass, How


class SqlApprovalRows:
    """`ApprovalRows` on a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._break_glass = Table(connection, schema.break_glass)

    def add_break_glass(self, begun: BreakGlass) -> None:
        self._break_glass.insert(begun)

    def break_glass(self, tenancy: str, break_glass_id: str) -> BreakGlass | None:
        return self._break_glass.one(BreakGlass, tenancy=tenancy, id=break_glass_id)

    def break_glasses(self, tenancy: str, group: str | None, page: PageRequest) -> Sequence[BreakGlass]:
        columns = schema.break_glass.c
        query = sa.select(schema.break_glass).where(columns.tenancy == tenancy)
        if group is not None:
            query = query.where(columns.group_id == group)
        rows = self._connection.execute(newest(query, columns.began_at, columns.id, page)).mappings()
        return [read(BreakGlass, dict(row)) for row in rows]

    def open_break_glass(self, tenancy: str, group: str, user: str) -> BreakGlass | None:
        found = self._break_glass.all(
            BreakGlass, "expires_at", tenancy=tenancy, group_id=group, user_id=user, ended_at=None
        )
        return found[-1] if found else None

    def due_break_glasses(self, now: datetime) -> Sequence[BreakGlass]:
        columns = schema.break_glass.c
        return self._break_glass.where(BreakGlass, columns.ended_at.is_(None), columns.expires_at <= now)

    def end_break_glass(self, found: BreakGlass, at: datetime, by: str, how: How) -> bool:
        where = {"tenancy": found.tenancy, "id": found.id, "ended_at": None}
        return self._break_glass.update(where, ended_at=at, ended_by=by, how=how) == 1


def newest(query: sa.Select[Any], at: sa.ColumnElement[Any], key: sa.ColumnElement[Any], page: PageRequest) -> Any:
    """The page of a query, newest first; the cursor is `<moment> <id>`."""
    if page.after is not None:
        moment, _, last = page.after.partition(" ")
        query = query.where(sa.tuple_(at, key) < sa.tuple_(sa.literal(moment), sa.literal(last)))
    return query.order_by(at.desc(), key.desc()).limit(page.limit + 1)
