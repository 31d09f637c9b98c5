"""What of an audit entry is searched by, and the numbers that stand for its texts in the index."""

import sqlite3
from datetime import datetime

import msgspec


class Searched(msgspec.Struct, gc=False):
    """What of an entry is searched by."""

    id: str
    at: datetime
    tenancy: str
    principal_id: str
    principal_type: str
    principal_name: str
    action: str
    operation: str
    resource_id: str
    resource_name: str
    resource_type: str
    outcome: str
    generation: int


class Line(msgspec.Struct, gc=False):
    entry: Searched


decoder = msgspec.json.Decoder(Line)


class Terms(dict[str, int]):
    """The numbers that stand for texts; a text not met before gets one, in the transaction under way."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection

    def __missing__(self, text: str) -> int:
        self._connection.execute("insert or ignore into terms (text) values (?)", (text,))
        number = find_term(self._connection, text)
        assert number is not None  # noqa: S101  # just inserted
        self[text] = number
        return number


def find_term(connection: sqlite3.Connection, text: str) -> int | None:
    row = connection.execute("select id from terms where text = ?", (text,)).fetchone()
    return None if row is None else int(row[0])
