"""Between frozen dataclasses and rows: fields and columns share their names, so there is nothing to map by hand."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from keystead.core.page import PageRequest

Row = TypeVar("Row")


def values(item: Any, **extra: Any) -> dict[str, Any]:
    """The columns of a dataclass, and `extra` ones that the domain object does not show."""
    return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)} | extra


def read(cls: type[Row], row: Mapping[str, Any]) -> Row:
    """A dataclass from a row; columns it does not know are left out."""
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # always a dataclass
    return cls(**{name: value for name, value in row.items() if name in names})


class Table:
    """The few statements every package needs, on one table, in one transaction."""

    def __init__(self, connection: sa.Connection, table: sa.Table) -> None:
        self._connection = connection
        self._table = table

    def insert(self, item: Any, **extra: Any) -> None:
        self._connection.execute(self._table.insert().values(**values(item, **extra)))

    def one(self, cls: type[Row], **where: Any) -> Row | None:
        row = self._connection.execute(self._select(where)).mappings().first()
        return None if row is None else read(cls, dict(row))

    def all(self, cls: type[Row], *order: str, **where: Any) -> list[Row]:
        query = self._select(where).order_by(*(self._table.c[name] for name in order))
        return [read(cls, dict(row)) for row in self._connection.execute(query).mappings()]

    def where(self, cls: type[Row], *conditions: sa.ColumnElement[bool]) -> list[Row]:
        """All rows that meet the conditions."""
        query = sa.select(self._table).where(*conditions)
        return [read(cls, dict(row)) for row in self._connection.execute(query).mappings()]

    def page(self, cls: type[Row], request: PageRequest, **where: Any) -> list[Row]:
        """By name; one row more than asked for, so that the caller learns whether more follow."""
        query = self._select(where).order_by(self._table.c.name).limit(request.limit + 1)
        if request.after is not None:
            query = query.where(self._table.c.name > request.after)
        return [read(cls, dict(row)) for row in self._connection.execute(query).mappings()]

    def update(self, where: Mapping[str, Any], **changes: Any) -> int:
        """Compare-and-set: how many rows matched `where` (0 means that somebody was faster)."""
        statement = self._table.update().where(*self._conditions(where)).values(**changes)
        return self._connection.execute(statement).rowcount

    def delete(self, **where: Any) -> int:
        return self._connection.execute(self._table.delete().where(*self._conditions(where))).rowcount

    def _select(self, where: Mapping[str, Any]) -> sa.Select[Any]:
        return sa.select(self._table).where(*self._conditions(where))

    def _conditions(self, where: Mapping[str, Any]) -> Sequence[sa.ColumnElement[bool]]:
        return [self._condition(name, value) for name, value in where.items() if value is not ...]

    def _condition(self, name: str, value: Any) -> sa.ColumnElement[bool]:
        column = self._table.c[name]
        condition: sa.ColumnElement[bool]
        if isinstance(value, tuple | list | frozenset):
            condition = column.in_(value)
        elif name == "name":
            # As policies compare names: were `Admins` and `admins` two groups, a statement would mean either of them.
            condition = sa.func.lower(column) == value.lower()
        else:
            condition = column == value
        return condition
