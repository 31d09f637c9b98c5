"""The region's store: transactions that carry their audit entries, and what the hot path reads.

`write` takes the entries that belong to the change: they are rows of the same transaction (law 2), so a committed
change cannot be without its record, nor the record without its change. Every write advances the region's generation;
rows of the hot path are stamped with it.

A write that takes access away says so (`reserve`): on a full disk it finds the space kept for such (reserve.py).
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from keystead.adapters.sql import schema
from keystead.adapters.sql.approvals import SqlApprovalRows
from keystead.adapters.sql.databases import SqlDatabaseRows
from keystead.adapters.sql.dynamic_groups import SqlDynamicGroupRows
from keystead.adapters.sql.factors import SqlFactorRows
from keystead.adapters.sql.federation import SqlFederationRows, SqlProvisioningRows
from keystead.adapters.sql.iam import SqlIamRows
from keystead.adapters.sql.jobs import SqlJobRows
from keystead.adapters.sql.logins import SqlLoginRows
from keystead.adapters.sql.network_sources import SqlNetworkSourceRows
from keystead.adapters.sql.reserve import Reserve
from keystead.adapters.sql.tokens import SqlSessionRows
from keystead.adapters.sql.vault import SqlVaultRows
from keystead.audit.model import Entry
from keystead.core.clock import Clock, isoformat_exact, parse_moment
from keystead.core.errors import Fault, Unavailable
from keystead.iam.approvals.gate import settle


class SqlTx:
    """One transaction, seen by each domain package through its own rows."""

    def __init__(self, connection: sa.Connection, generation: int) -> None:
        self.connection = connection
        self.generation = generation
        self.iam = SqlIamRows(connection, generation)
        self.factors = SqlFactorRows(connection)
        self.vault = SqlVaultRows(connection, generation)
        self.dynamic_groups = SqlDynamicGroupRows(connection, generation)
        self.network_sources = SqlNetworkSourceRows(connection, generation)
        self.jobs = SqlJobRows(connection)
        self.databases = SqlDatabaseRows(connection)
        self.approvals = SqlApprovalRows(connection, generation)
        self.sessions = SqlSessionRows(connection, generation)
        self.logins = SqlLoginRows(connection)
        self.federation = SqlFederationRows(connection)
        self.provisioning = SqlProvisioningRows(connection, generation)


class SqlStore:
    """Transactions on the region's database."""

    def __init__(self, engine: sa.Engine, clock: Clock, reserve: Reserve | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self._reserve = reserve
        if reserve is not None:
            reserve.keep()

    @contextmanager
    def read(self) -> Iterator[SqlTx]:
        """A consistent view. Raises: Unavailable."""
        with translated(), self._engine.connect() as connection, connection.begin():
            yield SqlTx(connection, 0)

    @contextmanager
    def write(self, *entries: Entry, reserve: bool = False, above: int = 0) -> Iterator[SqlTx]:
        """A change with its audit entries; at least one. `reserve`: it takes access away. `above`: a generation that
        the change's own is to be higher than, whatever the state is at.

        Raises:
            Unavailable: nothing was changed.
            Refusal: the approval that an entry names does not stand any more; nothing was changed.
        """
        if not entries:
            raise Fault("Unaudited", "a change without an audit entry")
        with (
            self._room(reserve),
            translated(),
            self._engine.connect().execution_options(writing=True) as connection,
            connection.begin(),
        ):
            generation = self._advance(connection, above)
            tx = SqlTx(connection, generation)
            settle(tx.approvals, entries, self._clock.now())
            yield tx
            rows = [{"id": entry.id, "entry": to_json(entry._replace(generation=generation))} for entry in entries]
            connection.execute(schema.audit_outbox.insert(), rows)

    @contextmanager
    def note(self, *, told: bool = False) -> Iterator[SqlTx]:
        """A change that is no act of anybody's: leases and progress of jobs, which their own entries tell of. `told`:
        other processes are to look; the generation advances.
        """
        with translated(), self._engine.connect().execution_options(writing=True) as connection, connection.begin():
            yield SqlTx(connection, self._advance(connection, 0) if told else 0)

    def scrub(self) -> None:
        """Empty the write-ahead log, so that what was overwritten is in no file any more; as far as readers allow."""
        with translated(), self._engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def outbox(self, after: int, limit: int = 500) -> list[tuple[int, Entry]]:
        """Committed entries with a sequence above `after`, oldest first."""
        query = (
            sa.select(schema.audit_outbox)
            .where(schema.audit_outbox.c.sequence > after)
            .order_by(schema.audit_outbox.c.sequence)
            .limit(limit)
        )
        with translated(), self._engine.connect() as connection:
            return [(row.sequence, from_json(row.entry)) for row in connection.execute(query)]

    @contextmanager
    def _room(self, reserve: bool) -> Iterator[None]:
        """The reserve, for those that may use it; kept (again) by the others."""
        kept = self._reserve
        if kept is None:
            yield
            return
        if reserve:
            kept.make_room()
        else:
            kept.keep()
        try:
            yield
        except Unavailable:
            if reserve:  # whatever it was: if it was for want of room, the next attempt has some
                kept.give()
            raise

    def _advance(self, connection: sa.Connection, above: int) -> int:
        table = schema.region
        held = table.c.generation
        base = sa.case((held < above, above), else_=held) if above else held
        connection.execute(table.update().values(generation=base + 1, changed_at=self._clock.now()))
        return int(connection.execute(sa.select(held)).scalar_one())


@contextmanager
def translated() -> Iterator[None]:
    """The driver's outages as ours."""
    try:
        yield
    except (OperationalError, sqlite3.OperationalError) as error:  # the driver's own comes from `scrub`
        full = "disk is full" in str(error.orig if isinstance(error, OperationalError) else error)
        raise Unavailable(
            "StateFull" if full else "StateUnavailable",
            "the disk that holds the region's state is full" if full else "the region's state does not answer",
            hint="free some space: taking keys away still works" if full else "try again in a moment",
        ) from error


def to_json(entry: Entry) -> dict[str, Any]:
    """An entry as a JSON object."""
    return entry._asdict() | {"at": isoformat_exact(entry.at), "detail": dict(entry.detail)}


def from_json(found: Mapping[str, Any]) -> Entry:
    """And back."""
    return Entry(**{**found, "at": parse_moment(found["at"])})
