"""Calls for keys, counted in the index of the audit trail: per key, principal, operation, outcome and day (UTC).

Rows hold the numbers of the index's terms. The index counts an entry in the transaction that indexes it, so each counts
once; when the index is made again, so are the counts.
"""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from keystead.vault.insight.usage import Use

COUNTED = frozenset({"key", "keys", "key-delegate"})
"""Types of resources whose entries are counted."""
CALLS_SCHEMA = """
create table if not exists calls (
    tenancy integer not null, resource integer not null, principal integer not null, operation integer not null,
    outcome integer not null, day integer not null, principal_type integer not null, principal_name integer not null,
    calls integer not null, primary key (tenancy, resource, principal, operation, outcome, day)
) without rowid;
"""
_ADD = (
    "insert into calls values (?,?,?,?,?,?,?,?,?) on conflict do update set calls = calls + excluded.calls,"
    " principal_name = excluded.principal_name"
)
_READ = """
select p.text, t.text, n.text, o.text, r.text, sum(c.calls), min(c.day), max(c.day)
from calls c join terms p on p.id = c.principal join terms t on t.id = c.principal_type
join terms n on n.id = c.principal_name join terms o on o.id = c.operation join terms r on r.id = c.outcome
where c.tenancy = ? and c.resource = ? and c.day >= ?
group by c.principal, c.operation, c.outcome order by 6 desc, 3, 4
"""
_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Searched(Protocol):
    """What is read of an entry."""

    tenancy: str
    resource_id: str
    principal_id: str
    principal_type: str
    principal_name: str
    operation: str
    outcome: str


def counted_as(entry: Searched, terms: Mapping[str, int], at: int) -> tuple[int, ...]:
    """The row that an entry of `at` (microseconds) is counted in, but for the count."""
    return (
        terms[entry.tenancy],
        terms[entry.resource_id],
        terms[entry.principal_id],
        terms[entry.operation],
        terms[entry.outcome],
        at // _DAY_US,
        terms[entry.principal_type],
        terms[entry.principal_name],
    )


def add_calls(connection: sqlite3.Connection, counts: Mapping[tuple[int, ...], int]) -> None:
    """Count, in the transaction under way."""
    connection.executemany(_ADD, [(*of, count) for of, count in counts.items()])


def read_calls(connection: sqlite3.Connection, tenancy: int | None, key: int | None, since: int) -> list[Use]:
    """Calls for a key (its terms; None: it was never called) from the day of `since` (microseconds) on."""
    rows = connection.execute(_READ, (tenancy, key, since // _DAY_US)).fetchall()
    return [
        Use(who, kind, name, operation, outcome, calls, _day(first), _day(last))
        for who, kind, name, operation, outcome, calls, first, last in rows
    ]


def _day(number: int) -> datetime:
    return _EPOCH + timedelta(days=number)
