"""Joins the web's idempotency notes to their rows (web and adapters are strangers to each other)."""

from keystead.adapters.sql.idempotency import SqlIdempotency
from keystead.web.idempotency import Remembered


class IdempotencyNotes:
    """The web's `IdempotencyStore` on SQL rows."""

    def __init__(self, rows: SqlIdempotency) -> None:
        self._rows = rows
        self.finish = rows.finish
        self.forget = rows.forget

    def begin(self, tenancy: str, principal: str, key: str, request_hash: bytes) -> Remembered | None:
        """Note that a request begins; None when it is the first of its key."""
        found = self._rows.begin(tenancy, principal, key, request_hash)
        return None if found is None else Remembered(*found)
