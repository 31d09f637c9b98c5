"""Whether state and audit trail belong together (law 11), looked at before anything starts.

Accepting older state is itself a change: it is recorded, goes on from a generation above all that the trail has seen
(so that nobody takes a new change for an old one), leaves every key disabled until somebody enables it (it may have
been disabled since) and every database system fenced until it is confirmed.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from keystead.adapters.sql import schema
from keystead.adapters.sql.audit_index import AuditIndex
from keystead.adapters.sql.heads import SqlHeads
from keystead.adapters.sql.store import SqlStore
from keystead.audit.model import Head
from keystead.audit.rollback import check_rollback
from keystead.core.clock import Clock, SystemClock
from keystead.server.operator import operator_entry
from keystead.server.settings import Effective
from keystead.server.state.opening import INDEX_FILE, SEGMENTS, open_state


def check(effective: Effective, *, accept: bool) -> None:
    """Compare both.

    Raises:
        Refusal: `StateRolledBack` or `AuditRolledBack`, unless accepted.
    """
    engine = open_state(effective.state)
    segments = effective.state / SEGMENTS
    segments.mkdir(mode=0o700, exist_ok=True)
    index = AuditIndex(effective.state / INDEX_FILE, segments)
    try:
        index.integrate()
        with engine.connect() as connection:
            generation = int(connection.execute(sa.select(schema.region.c.generation)).scalar_one())
        refusal = check_rollback(generation, SqlHeads(engine).noted(), index.view())
        if refusal is None:
            return
        if not accept:
            raise refusal
        accept_state(
            engine, index.highest_generation(), index.heads(), "AcceptRollback", refusal.message, SystemClock()
        )
    finally:
        index.close()
        engine.dispose()


def accept_state(
    engine: sa.Engine, above: int, heads: Mapping[str, Head], operation: str, reason: str, clock: Clock
) -> None:
    """Go on with this state: recorded, above generation `above`, keys disabled, every database system fenced."""
    with engine.connect() as connection:
        region = str(connection.execute(sa.select(schema.region.c.name)).scalar_one())
        tenancies = [str(found) for found in connection.execute(sa.select(schema.tenancies.c.id)).scalars()]
    entries = [operator_entry(operation, clock, region, tenancy=tenancy, reason=reason) for tenancy in tenancies]
    # One transaction: half of it would be old state that opens quietly.
    with SqlStore(engine, clock).write(*entries, above=above) as tx:
        systems = schema.db_systems
        tx.connection.execute(
            systems.update().where(systems.c.state != "DELETED").values(confirmed=False, version=systems.c.version + 1)
        )
        keys = schema.keys
        tx.connection.execute(
            keys.update()
            .where(keys.c.state == "ENABLED", keys.c.managed_by == "")  # a system's own goes with its confirmation
            .values(
                state="DISABLED",
                changed_by=operation,
                changed_at=clock.now(),
                version=keys.c.version + 1,
                generation=tx.generation,
            )
        )
        tx.connection.execute(schema.region.update().values(rollback_accepted=True))
        tx.connection.execute(schema.audit_heads.delete())
        if heads:
            rows = [{"writer": writer, "sequence": head.sequence, "hash": head.hash} for writer, head in heads.items()]
            tx.connection.execute(schema.audit_heads.insert(), rows)
