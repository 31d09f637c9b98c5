"""What tests of database systems look at: rows, wrapped keys, and refusals that change nothing."""

from collections.abc import Callable
from typing import Any

from tests.fakes.calls import Things
from tests.fakes.domain import DomainRegion
from tests.refusals import refused

from keystead.core.errors import Refusal
from keystead.core.page import PageRequest
from keystead.databases.creation import Created, NewSystem
from keystead.databases.model import DbSystem, WrappedKey

ALL = PageRequest(1000)


def unchanged(region: DomainRegion, run: Callable[[], object]) -> Refusal:
    generation, counts = region.snapshot.refresh(), rows(region)
    refusal = refused(run)
    assert region.snapshot.refresh() == generation
    assert rows(region) == counts
    return refusal


def rows(region: DomainRegion) -> dict[str, int]:
    """How many rows each table has."""
    tables = (
        "db_systems",
        "wrapped_keys",
        "jobs",
        "keys",
        "key_versions",
        "resource_principals",
        "backups",
        "audit_outbox",
    )
    with region.store.read() as tx:
        return {table: tx.connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables}


def create(region: DomainRegion, things: Things, name: str = "trains", **wanted: Any) -> Created:
    wanted = {"key": things.key} | wanted
    made = region.databases.create(region.admin, NewSystem(things.compartment, name, **wanted))
    region.snapshot.refresh()
    return made


def stored(region: DomainRegion, system_id: str) -> DbSystem:
    with region.store.read() as tx:
        found = tx.databases.system(region.tenancy, system_id)
    assert found is not None
    return found


def wrapped(region: DomainRegion, system_id: str) -> list[WrappedKey]:
    with region.store.read() as tx:
        return list(tx.databases.wrapped(region.tenancy, system_id))


def store_key(region: DomainRegion, system_id: str) -> bytes:
    return region.desk.open_store_key(region.host(), system_id).store_key


def other_key(region: DomainRegion, things: Things) -> str:
    key = region.vaults.create_key(region.admin, things.compartment, things.vault, "other").id
    region.snapshot.refresh()
    return key
