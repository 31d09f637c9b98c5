"""What every part of the databases' service is built upon: finding systems and places, making jobs.

Nothing here guards by itself.
"""

from dataclasses import replace

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, check_version, not_found, required, stale
from keystead.core.ids import CompartmentId, JobId, check_region, new_id, parse_id
from keystead.databases.desk import target_of
from keystead.databases.model import DbSystem
from keystead.databases.placement import Placement
from keystead.databases.ports import DatabaseStore, DatabaseTx
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.ports import ResourceIdentity
from keystead.jobs.model import Job
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.service import Vaults
from keystead.vault.use.association import Associations


class Base:
    """The ports of databases, and how things are found."""

    def __init__(
        self,
        guard: Guard,
        snapshot: Snapshot,
        store: DatabaseStore,
        vaults: Vaults,
        associations: Associations,
        placement: Placement,
        authority_pem: bytes,
        clock: Clock,
        region: str,
    ) -> None:
        self._guard = guard
        self._snapshot = snapshot
        self._store = store
        self._vaults = vaults
        self._associations = associations
        self._placement = placement
        self._authority_pem = authority_pem
        self._clock = clock
        self._region = region

    def _job(self, caller: Caller, kind: str, system: DbSystem, extra: dict[str, str]) -> Job:
        return self._job_of(caller, kind, system.compartment, system.id, system.name, extra)

    def _job_of(
        self, caller: Caller, kind: str, compartment: CompartmentId, resource: str, name: str, extra: dict[str, str]
    ) -> Job:
        now = self._clock.now()
        return Job(
            id=JobId(new_id("job", self._region)),
            tenancy=caller.principal.tenancy,
            compartment=compartment,
            kind=kind,
            resource=resource,
            resource_name=name,
            requester=caller.principal.id,
            requester_name=caller.principal.name,
            state="ACCEPTED",
            step="",
            percent=0,
            input=extra,
            created_at=now,
            updated_at=now,
        )

    def _system(self, caller: Caller, system_id: str) -> DbSystem:
        parse_id(system_id, "mysqldbsystem")
        with self._store.read() as tx:
            system = tx.databases.system(caller.principal.tenancy, system_id)
        if system is None:
            check_region(system_id, self._region)
            raise not_found("database system")
        return system

    def _place(self, caller: Caller, compartment: str) -> Compartment:
        self._snapshot.refresh()
        found = self._snapshot.directory.compartment(caller.principal.tenancy, compartment)
        if found is None:
            check_region(compartment, self._region)
            raise not_found("compartment")
        return found

    def _at(self, system: DbSystem) -> Target:
        return target_of(system, self._snapshot)

    def _in(self, place: Compartment, kind: str) -> Target:
        return Target(kind, place.id, place.name, place.tenancy, place.path)


def naming(caller: Caller, key: str | None) -> Caller:
    """The caller in a request that names a key, for `request.kms-key.id`."""
    return caller if key is None else replace(caller, told={"kms-key.id": key})


def now(tx: DatabaseTx, system: DbSystem, if_match: int | None) -> DbSystem:
    """The system as of this transaction: jobs and its machine write it too. Raises: Refusal (gone, not `if_match`)."""
    current = required(tx.databases.system(system.tenancy, system.id), "database system")
    check_version(current.version, if_match)
    return current


def saved(tx: DatabaseTx, before: DbSystem, after: DbSystem) -> DbSystem:
    if not tx.databases.change(before, after):
        raise stale()
    return replace(after, version=before.version + 1)


def require_unoccupied(tx: DatabaseTx, system: DbSystem) -> None:
    """Raises: Refusal `Busy` while another job serves the system."""
    other = tx.jobs.open_for(system.tenancy, system.id)
    if other is not None:
        raise Refusal(
            "Busy",
            f"database system {system.name!r} is busy: {other.kind} is under way",
            hint=f"follow it with: keystead job wait {other.id}",
            kind="conflict",
        )


def identity_of(system: DbSystem, *, deleted: bool) -> ResourceIdentity:
    return ResourceIdentity(
        system.tenancy, system.id, "mysqldbsystem", system.name, system.compartment, deleted, system.tags
    )
