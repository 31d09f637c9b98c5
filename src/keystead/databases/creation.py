"""Database systems on their way into being: new ones, and those restored from a backup.

A system is created together with its identity, its wrapped keys and the job that brings it about, in one transaction;
its store key is wrapped as the system's own principal, so that what may not associate the key is never made.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from keystead.core.errors import Refusal, taken
from keystead.core.ids import DbSystemId, KeyId, NodeId, VaultId, new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.databases.accounts import check_admin_name, native_password_hash
from keystead.databases.base import Base, identity_of, naming
from keystead.databases.desk import principal_of
from keystead.databases.hierarchy import FIRST, StoreKey, fresh_key
from keystead.databases.model import DbSystem, WrappedKey
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.names import check_name
from keystead.iam.passwords import fresh_password
from keystead.jobs.model import Job
from keystead.vault.model import Key, KeyVersion
from keystead.vault.use.association import Sealed

DEFAULT_ADMIN = "admin"
MIN_MEMORY_MB, MAX_MEMORY_MB, DEFAULT_MEMORY_MB = 64, 1 << 20, 256


@dataclass(frozen=True, slots=True)
class NewSystem:
    """What a caller wants of a new system. `key` is the CMEK's id; None means a service-managed key."""

    compartment: str
    name: str
    key: str | None = None
    admin_username: str = DEFAULT_ADMIN
    memory_mb: int = DEFAULT_MEMORY_MB
    deletion_protection: bool = False
    follow_key: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """A new system on its way, its job, and its administrator's password: shown once, kept only as a hash."""

    system: DbSystem
    job: Job
    admin_password: Secret = field(repr=False)


class Creation(Base):
    """Creates systems."""

    def create(self, caller: Caller, wanted: NewSystem) -> Created:
        """A new system with a CMEK, or with a service-managed key.

        Raises:
            Refusal: the caller, or the system's own identity, may not associate the key; name taken; no room.
        """
        return self._create(caller, wanted, "create", {})

    def _create(
        self, caller: Caller, wanted: NewSystem, kind: str, extra: dict[str, str], restored_from: str = ""
    ) -> Created:
        place = self._place(caller, wanted.compartment)
        check_name(wanted.name, "database system")
        check_admin_name(wanted.admin_username)
        _check_memory(wanted.memory_mb)
        system_id = DbSystemId(new_id("mysqldbsystem", self._region))
        target = Target("mysql-instances", system_id, wanted.name, place.tenancy, place.path)
        detail = {"key": wanted.key or "service-managed"} | extra
        naming_it = naming(caller, wanted.key)
        entry = self._guard.permit_change(naming_it, "MYSQL_INSTANCE_CREATE", target, "CreateDbSystem", detail)
        if wanted.key is not None:
            self._associations.allow(naming_it, wanted.key, "CreateDbSystem")
        now = self._clock.now()
        system = self._wanted(wanted, system_id, place, restored_from, now)
        material = fresh_key()
        system, sealed, managed = self._associate(caller, system, place, material)
        store_key = StoreKey(material, system.tenancy, self._region, system.id)
        keys = store_key.new_data_keys(FIRST, system.node, now) if kind == "create" else []
        material.wipe()
        password = fresh_password()
        job = self._job(caller, kind, system, extra)
        with self._store.write(entry) as tx:
            if tx.databases.systems(place.tenancy, place.id, PageRequest(1), wanted.name):
                raise taken("database system", wanted.name)
            others = tx.databases.all_systems()
            system = replace(system, port=self._placement.free_port(others), uid=self._placement.free_uid(others))
            if managed is not None:
                tx.vault.add_key(*managed)
            tx.iam.set_identity(identity_of(system, deleted=False))
            tx.databases.add_system(system, FIRST, native_password_hash(password))
            tx.databases.add_wrapped(system.tenancy, _store_row(system, sealed))
            for key in keys:
                tx.databases.add_wrapped(system.tenancy, key)
            tx.jobs.add(job)
        return Created(system, job, password)

    def _wanted(
        self, wanted: NewSystem, new: DbSystemId, place: Compartment, restored_from: str, now: datetime
    ) -> DbSystem:
        """The row of a new system, as long as its port, its uid and the version of its key are not known."""
        return DbSystem(
            id=new,
            tenancy=place.tenancy,
            compartment=place.id,
            name=wanted.name,
            state="CREATING",
            desired="running",
            key=KeyId(wanted.key or ""),
            key_version=0,
            service_managed=wanted.key is None,
            admin_username=wanted.admin_username,
            port=0,
            uid=0,
            memory_mb=wanted.memory_mb,
            deletion_protection=wanted.deletion_protection,
            follow_key=wanted.follow_key,
            confirmed=True,
            reason="",
            reason_text="",
            created_at=now,
            machine=self._placement.machine,
            node=NodeId(new_id("mysqlnode", self._region)),
            restored_from=restored_from,
        )

    def _associate(
        self, caller: Caller, system: DbSystem, place: Compartment, material: Secret
    ) -> tuple[DbSystem, Sealed, tuple[Key, KeyVersion] | None]:
        """Wrap a new system's store key: under its CMEK, as its own principal, or under a new service-managed key."""
        identity = replace(caller, principal=principal_of(system), requester=caller.principal.id)
        if not system.service_managed:
            sealed = self._associations.seal(identity, system.key, material, "store-key", system.id, newborn=True)
            return replace(system, key_version=sealed.key_version), sealed, None
        key, first = self._new_managed_key(caller, system, place)
        sealed = self._associations.seal_new(identity, key, first, material, system.id)
        return replace(system, key=key.id, key_version=sealed.key_version), sealed, (key, first)

    def _new_managed_key(self, caller: Caller, system: DbSystem, place: Compartment) -> tuple[Key, KeyVersion]:
        key_id = KeyId(new_id("key", self._region))
        return self._vaults.new_key(caller, place, VaultId(""), f"service-managed-{system.name}", key_id, system.id)

    def _managed_key(self, caller: Caller, system: DbSystem) -> KeyId:
        """The system's service-managed key; made when it has none yet."""
        with self._store.read() as tx:
            found = tx.vault.managed_key(system.tenancy, system.id)
        if found is not None:
            return found.id
        place = self._place(caller, system.compartment)
        key, first = self._new_managed_key(caller, system, place)
        record = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "CreateServiceManagedKey")
        with self._store.write(record) as tx:
            tx.vault.add_key(key, first)
        self._snapshot.refresh()
        return key.id


def _store_row(system: DbSystem, sealed: Sealed) -> WrappedKey:
    return WrappedKey(
        system.id, "store", 0, 0, system.key, sealed.key_version, sealed.blob, system.created_at, None, latest=True
    )


def _check_memory(megabytes: int) -> None:
    if not MIN_MEMORY_MB <= megabytes <= MAX_MEMORY_MB:
        raise Refusal("InvalidParameter", f"memory_mb must be between {MIN_MEMORY_MB} and {MAX_MEMORY_MB}")
