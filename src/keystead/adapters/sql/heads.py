"""What the state remembers of the audit trail: each writer's head (law 11)."""

from collections.abc import Mapping

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.store import translated
from keystead.audit.model import Head


class SqlHeads:
    """Heads by writer."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def noted(self) -> dict[str, Head]:
        """What was noted last."""
        with translated(), self._engine.connect() as connection:
            rows = connection.execute(sa.select(schema.audit_heads))
            return {row.writer: Head(row.sequence, row.hash) for row in rows}

    def note(self, heads: Mapping[str, Head]) -> None:
        """Note those that went on."""
        table = schema.audit_heads
        known = self.noted()
        newer = {writer: head for writer, head in heads.items() if known.get(writer) != head}
        if not newer:
            return
        with translated(), self._engine.connect().execution_options(writing=True) as connection, connection.begin():
            connection.execute(table.delete().where(table.c.writer.in_(list(newer))))
            connection.execute(
                table.insert(),
                [{"writer": writer, "sequence": head.sequence, "hash": head.hash} for writer, head in newer.items()],
            )

    def forget(self) -> None:
        """Remember nothing: after a rollback that somebody accepted."""
        with translated(), self._engine.connect().execution_options(writing=True) as connection, connection.begin():
            connection.execute(schema.audit_heads.delete())
