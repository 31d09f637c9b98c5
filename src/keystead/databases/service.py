"""Databases' public face: create, run, re-key, back up, restore and delete database systems.

Every method takes `caller` first and passes the Guard, for the caller and, where a key is used, for the system's own
principal too. What takes long is a job, written in the transaction of the change it serves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from keystead.core.clock import Clock
from keystead.core.errors import Refusal, check_version, not_found, stale, taken
from keystead.core.ids import BackupId, CompartmentId, DbSystemId, JobId, KeyId, NodeId, VaultId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.core.secret import Secret
from keystead.databases.accounts import check_admin_name, native_password_hash
from keystead.databases.desk import principal_of, target_of
from keystead.databases.hierarchy import FIRST, StoreKey, fresh_key
from keystead.databases.model import Act, Backup, DbSystem, FenceReceipt, WrappedKey, check_legal
from keystead.databases.placement import Placement
from keystead.databases.ports import DatabaseStore, DatabaseTx
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, Target
from keystead.iam.names import check_name
from keystead.iam.ports import ResourceIdentity
from keystead.iam.service import fresh_password
from keystead.jobs.model import Job
from keystead.vault.association import Associations, Sealed
from keystead.vault.model import Key, KeyVersion
from keystead.vault.service import Vaults
from keystead.vault.snapshot import Snapshot

DEFAULT_ADMIN = "admin"
MAX_SAMPLES, MIN_SAMPLE, MAX_SAMPLE = 64, 8, 256
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


@dataclass(frozen=True, slots=True)
class Created:
    """A new system on its way, its job, and its administrator's password: shown once, kept only as a hash."""

    system: DbSystem
    job: Job
    admin_password: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where clients connect, and the CA they must verify the server against (PEM)."""

    host: str
    port: int
    ca_pem: str


class Databases:
    """Database systems and their backups."""

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

    # systems

    def create(self, caller: Caller, wanted: NewSystem) -> Created:
        """A new system with a CMEK, or with a service-managed key.

        Raises:
            Refusal: the caller, or the system's own identity, may not associate the key; name taken; no room.
        """
        return self._create(caller, wanted, "create", {})

    def get_system(self, caller: Caller, system_id: str) -> DbSystem:
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetDbSystem")
        return system

    def list_systems(
        self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None
    ) -> Page[DbSystem]:
        place = self._place(caller, compartment)
        self._guard.permit(caller, "MYSQL_INSTANCE_INSPECT", self._in(place, "mysql-instances"), "ListDbSystems")
        with self._store.read() as tx:
            return cut(tx.databases.systems(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)

    def update_system(
        self, caller: Caller, system_id: str, *, deletion_protection: bool, if_match: int | None = None
    ) -> DbSystem:
        system = self._system(caller, system_id)
        detail = {"deletion_protection": str(deletion_protection)}
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "UpdateDbSystem", detail)
        with self._store.write(entry) as tx:
            current = _now(tx, system, if_match)
            return _saved(tx, current, replace(current, deletion_protection=deletion_protection))

    def start(self, caller: Caller, system_id: str, if_match: int | None = None) -> Job:
        return self._act(
            caller, system_id, "start", "MYSQL_INSTANCE_START", if_match, state="STARTING", desired="running"
        )

    def stop(self, caller: Caller, system_id: str, if_match: int | None = None) -> Job:
        return self._act(
            caller, system_id, "stop", "MYSQL_INSTANCE_STOP", if_match, state="STOPPING", desired="stopped"
        )

    def restart(self, caller: Caller, system_id: str, if_match: int | None = None) -> Job:
        return self._act(caller, system_id, "restart", "MYSQL_INSTANCE_START", if_match, state="UPDATING")

    def delete(self, caller: Caller, system_id: str, if_match: int | None = None) -> Job:
        """Delete the server, its data and its keys. Backups stay. Refused while deletion protection is on."""
        system = self._system(caller, system_id)
        if system.deletion_protection:
            self._guard.require(caller, "MYSQL_INSTANCE_DELETE", self._at(system), "DeleteDbSystem")
            refusal = Refusal(
                "DeletionProtected",
                f"database system {system.name!r} is protected against deletion",
                hint=f"keystead db unprotect {system.name}",
                kind="conflict",
            )
            self._guard.refuse(caller, "MYSQL_INSTANCE_DELETE", self._at(system), "DeleteDbSystem", refusal)
        return self._act(
            caller, system_id, "delete", "MYSQL_INSTANCE_DELETE", if_match, state="DELETING", desired="deleted"
        )

    def rotate_data_keys(self, caller: Caller, system_id: str) -> Job:
        """New data keys and a rewrite of every page under them, online."""
        return self._act(caller, system_id, "rotate", "MYSQL_INSTANCE_UPDATE", None, state="UPDATING")

    def verify(self, caller: Caller, system_id: str, samples: Sequence[bytes] = ()) -> Job:
        """Read the bytes on disk and report what protects them.

        `samples` are values of the customer's own rows, read under the customer's own login, to be looked for in clear
        beside our canaries; they go through the job's row only sealed under the system's store key.
        """
        extra: dict[str, str] = {}
        if samples:
            system = self._system(caller, system_id)
            self._guard.require(caller, "MYSQL_INSTANCE_READ", self._at(system), "VerifyDbSystem")
            _check_samples(samples)
            extra["samples"] = self._store_key(caller, system).seal_samples(samples)
        return self._act(caller, system_id, "verify", "MYSQL_INSTANCE_READ", None, extra=extra)

    def change_key(self, caller: Caller, system_id: str, key_id: str | None, if_match: int | None = None) -> DbSystem:
        """Rewrap the store key under another CMEK, the same key's newest version, or (None) a service-managed key.

        No data is rewritten and nothing is interrupted.
        """
        system = self._system(caller, system_id)
        entry = self._guard.permit_change(
            caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "ChangeDbSystemKey", {"key": key_id or "service-managed"}
        )
        check_version(system.version, if_match)
        check_legal(system, "change_key")
        if key_id is None:
            wanted: str = self._managed_key(caller, system)
        else:
            wanted = key_id
            self._associations.allow(caller, wanted, "ChangeDbSystemKey")
        identity = replace(caller, principal=principal_of(system), requester=caller.principal.id)
        with self._store.read() as tx:
            before = next(key for key in tx.databases.wrapped(system.tenancy, system.id) if key.kind == "store")
        sealed = self._associations.rewrap(identity, system.key, before.blob, wanted, "store-key", system.id)
        after = replace(
            before, parent=wanted, parent_version=sealed.key_version, blob=sealed.blob, created_at=self._clock.now()
        )
        with self._store.write(entry) as tx:
            if not tx.databases.replace_store_key(system.tenancy, before, after):
                raise stale()
            current = _now(tx, system, if_match)
            changed = replace(
                current, key=KeyId(wanted), key_version=sealed.key_version, service_managed=key_id is None
            )
            return _saved(tx, current, changed)

    def revalidate(self, caller: Caller, system_id: str) -> DbSystem:
        """Ask for access to be checked now. `host` checks all the time, so this only says what it would find."""
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_USE", self._at(system), "RevalidateDbSystem")
        access = self._associations.access(principal_of(system), system.key)
        if not access.granted:
            raise Refusal("StillInaccessible", access.text, hint="restore access to its key first", kind="conflict")
        return system

    def confirm(self, caller: Caller, system_id: str) -> DbSystem:
        """After a restore of the region's state: this system may open again, once its key is enabled."""
        system = self._system(caller, system_id)
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "ConfirmDbSystem")
        with self._store.write(entry) as tx:
            current = _now(tx, system, None)
            return _saved(tx, current, replace(current, confirmed=True))

    def delete_identity(self, caller: Caller, system_id: str) -> DbSystem:
        """Take the system's own identity away: it loses every key and is fenced."""
        return self._set_identity(caller, system_id, deleted=True)

    def restore_identity(self, caller: Caller, system_id: str) -> DbSystem:
        """Give the system its identity back."""
        return self._set_identity(caller, system_id, deleted=False)

    def hierarchy(self, caller: Caller, system_id: str) -> list[WrappedKey]:
        """The wrapped keys of a system; blobs are left out."""
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetKeyHierarchy")
        with self._store.read() as tx:
            return [replace(key, blob=b"") for key in tx.databases.wrapped(system.tenancy, system.id)]

    def last_fence(self, caller: Caller, system_id: str) -> FenceReceipt | None:
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetFenceReceipt")
        with self._store.read() as tx:
            return tx.databases.last_receipt(system.tenancy, system.id)

    def endpoint(self, caller: Caller, system_id: str) -> Endpoint:
        system = self._system(caller, system_id)
        self._guard.permit(caller, "MYSQL_INSTANCE_READ", self._at(system), "GetEndpoint")
        return Endpoint(self._placement.address, system.port, self._authority_pem.decode())

    # backups

    def create_backup(self, caller: Caller, system_id: str, name: str, key_id: str | None = None) -> tuple[Backup, Job]:
        """A full backup under a key of its own, wrapped by `key_id` or else by the system's key."""
        system = self._system(caller, system_id)
        check_name(name, "backup")
        new = BackupId(new_id("mysqlbackup", self._region))
        place = self._place(caller, system.compartment)
        target = Target("mysql-backups", new, name, system.tenancy, place.path)
        entry = self._guard.permit_change(
            caller, "MYSQL_BACKUP_CREATE", target, "CreateBackup", {"system": system.name}
        )
        check_legal(system, "backup")
        key = key_id or system.key
        if key_id is not None:
            self._associations.allow(caller, key_id, "CreateBackup")
        elif system.service_managed:
            raise Refusal(
                "KeyNeeded",
                f"database system {system.name!r} has a service-managed key, which a backup would not outlive",
                hint="choose a key for the backup (key_id, or --key on the command line)",
            )
        identity = replace(caller, principal=principal_of(system), requester=caller.principal.id)
        material = fresh_key()
        sealed = self._associations.seal(identity, key, material, "backup-key", new)
        material.wipe()
        backup = Backup(
            id=new,
            tenancy=system.tenancy,
            compartment=system.compartment,
            system=system.id,
            system_name=system.name,
            name=name,
            state="CREATING",
            key=KeyId(key),
            key_version=sealed.key_version,
            wrapped=sealed.blob,
            size=0,
            created_at=self._clock.now(),
        )
        job = self._job(caller, "backup", system, {"backup": new})
        with self._store.write(entry) as tx:
            _unoccupied(tx, system)
            if tx.databases.backups(place.tenancy, place.id, PageRequest(1), name):
                raise taken("backup", name)
            tx.databases.add_backup(backup)
            tx.jobs.add(job)
        return backup, job

    def get_backup(self, caller: Caller, backup_id: str) -> Backup:
        backup, target = self._backup(caller, backup_id)
        self._guard.permit(caller, "MYSQL_BACKUP_READ", target, "GetBackup")
        return backup

    def list_backups(
        self, caller: Caller, compartment: str, page: PageRequest, name: str | None = None
    ) -> Page[Backup]:
        place = self._place(caller, compartment)
        self._guard.permit(caller, "MYSQL_BACKUP_INSPECT", self._in(place, "mysql-backups"), "ListBackups")
        with self._store.read() as tx:
            return cut(tx.databases.backups(place.tenancy, place.id, page, name), page.limit, lambda item: item.name)

    def delete_backup(self, caller: Caller, backup_id: str, if_match: int | None = None) -> Job:
        backup, target = self._backup(caller, backup_id)
        entry = self._guard.permit_change(caller, "MYSQL_BACKUP_DELETE", target, "DeleteBackup")
        check_version(backup.version, if_match)
        job = self._job_of(caller, "delete-backup", backup.compartment, backup.id, backup.name, {})
        with self._store.write(entry) as tx:
            _unattended(tx, backup)
            if not tx.databases.change_backup(backup, replace(backup, state="DELETING")):
                raise stale()
            tx.jobs.add(job)
        return job

    def restore(self, caller: Caller, backup_id: str, wanted: NewSystem) -> Created:
        """A new system from a backup, under a key chosen now. Works when the source and its key are gone."""
        backup, target = self._backup(caller, backup_id)
        self._guard.require(caller, "MYSQL_BACKUP_READ", target, "RestoreBackup")
        if backup.state != "ACTIVE":
            raise Refusal(
                "IllegalState", f"backup {backup.name!r} is {backup.state}", hint="wait for it", kind="conflict"
            )
        self._guard.record(caller, "MYSQL_BACKUP_READ", target, "RestoreBackup", "allowed")
        return self._create(caller, wanted, "restore", {"backup": backup.id}, restored_from=backup.id)

    # how it is done

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
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_CREATE", target, "CreateDbSystem", detail)
        if wanted.key is not None:
            self._associations.allow(caller, wanted.key, "CreateDbSystem")
        now = self._clock.now()
        system = DbSystem(
            id=system_id,
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
            confirmed=True,
            reason="",
            reason_text="",
            created_at=now,
            machine=self._placement.machine,
            node=NodeId(new_id("mysqlnode", self._region)),
            restored_from=restored_from,
        )
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
            tx.iam.set_identity(_identity(system, deleted=False))
            tx.databases.add_system(system, FIRST, native_password_hash(password))
            tx.databases.add_wrapped(system.tenancy, _store_row(system, sealed))
            for key in keys:
                tx.databases.add_wrapped(system.tenancy, key)
            tx.jobs.add(job)
        return Created(system, job, password)

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
        for entry in self._snapshot.keyring.entries():
            if entry.key.managed_by == system.id:
                return entry.key.id
        place = self._place(caller, system.compartment)
        key, first = self._new_managed_key(caller, system, place)
        record = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), "CreateServiceManagedKey")
        with self._store.write(record) as tx:
            tx.vault.add_key(key, first)
        self._snapshot.refresh()
        return key.id

    def _act(
        self,
        caller: Caller,
        system_id: str,
        act: Act,
        permission: str,
        if_match: int | None,
        *,
        extra: Mapping[str, str] | None = None,
        **changes: str,
    ) -> Job:
        """Set what is wanted, and a job that brings it about, in one transaction."""
        system = self._system(caller, system_id)
        operation = f"{act.capitalize()}DbSystem"
        entry = self._guard.permit_change(caller, permission, self._at(system), operation)
        check_version(system.version, if_match)
        try:
            check_legal(system, act)
        except Refusal as refusal:
            self._guard.refuse(caller, permission, self._at(system), operation, refusal)
        job = self._job(caller, act, system, dict(extra or {}))
        with self._store.write(entry, reserve=act == "stop") as tx:
            if act == "delete":
                tx.jobs.cancel_for(system.tenancy, system.id, self._clock.now())
            else:
                _unoccupied(tx, system)
            current = _now(tx, system, if_match)
            check_legal(current, act)
            if changes:
                _saved(tx, current, replace(current, reason="", reason_text="", **changes))  # type: ignore[arg-type]
            tx.jobs.add(job)
        return job

    def _store_key(self, caller: Caller, system: DbSystem) -> StoreKey:
        """The system's store key, opened as its own principal."""
        with self._store.read() as tx:
            row = next(key for key in tx.databases.wrapped(system.tenancy, system.id) if key.kind == "store")
        identity = replace(caller, principal=principal_of(system), requester=caller.principal.id)
        material = self._associations.open(identity, system.key, row.blob, "store-key", system.id)
        opened = StoreKey(material, system.tenancy, self._region, system.id)
        material.wipe()
        return opened

    def _set_identity(self, caller: Caller, system_id: str, *, deleted: bool) -> DbSystem:
        system = self._system(caller, system_id)
        operation = "DeleteDbSystemIdentity" if deleted else "RestoreDbSystemIdentity"
        entry = self._guard.permit_change(caller, "MYSQL_INSTANCE_UPDATE", self._at(system), operation)
        with self._store.write(entry, reserve=deleted) as tx:
            tx.iam.set_identity(_identity(system, deleted=deleted))
        return system

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
            raise not_found("database system")
        return system

    def _backup(self, caller: Caller, backup_id: str) -> tuple[Backup, Target]:
        parse_id(backup_id, "mysqlbackup")
        with self._store.read() as tx:
            backup = tx.databases.backup(caller.principal.tenancy, backup_id)
        if backup is None:
            raise not_found("backup")
        path = self._place(caller, backup.compartment).path
        return backup, Target("mysql-backups", backup.id, backup.name, backup.tenancy, path)

    def _place(self, caller: Caller, compartment: str) -> Compartment:
        self._snapshot.refresh()
        found = self._snapshot.directory.compartment(caller.principal.tenancy, compartment)
        if found is None:
            raise not_found("compartment")
        return found

    def _at(self, system: DbSystem) -> Target:
        return target_of(system, self._snapshot)

    def _in(self, place: Compartment, kind: str) -> Target:
        return Target(kind, place.id, place.name, place.tenancy, place.path)


def _now(tx: DatabaseTx, system: DbSystem, if_match: int | None) -> DbSystem:
    """The system as of this transaction: jobs and its machine write it too. Raises: Refusal (gone, not `if_match`)."""
    current = tx.databases.system(system.tenancy, system.id)
    if current is None:
        raise not_found("database system")
    check_version(current.version, if_match)
    return current


def _saved(tx: DatabaseTx, before: DbSystem, after: DbSystem) -> DbSystem:
    if not tx.databases.change(before, after):
        raise stale()
    return replace(after, version=before.version + 1)


def _unoccupied(tx: DatabaseTx, system: DbSystem) -> None:
    """Raises: Refusal `Busy` while another job serves the system."""
    other = tx.jobs.open_for(system.tenancy, system.id)
    if other is not None:
        raise Refusal(
            "Busy",
            f"database system {system.name!r} is busy: {other.kind} is under way",
            hint=f"follow it with: keystead job wait {other.id}",
            kind="conflict",
        )


def _unattended(tx: DatabaseTx, backup: Backup) -> None:
    """Raises: Refusal `IllegalState` while a job takes or deletes the backup; one left half done has none."""
    taking = tx.jobs.open_for(backup.tenancy, backup.system)
    deleting = tx.jobs.open_for(backup.tenancy, backup.id)
    if deleting is not None or (taking is not None and taking.input.get("backup") == backup.id):
        raise Refusal("IllegalState", f"backup {backup.name!r} is {backup.state}", hint="wait for it", kind="conflict")


def _identity(system: DbSystem, *, deleted: bool) -> ResourceIdentity:
    return ResourceIdentity(system.tenancy, system.id, "mysqldbsystem", system.name, system.compartment, deleted)


def _store_row(system: DbSystem, sealed: Sealed) -> WrappedKey:
    return WrappedKey(
        system.id, "store", 0, 0, system.key, sealed.key_version, sealed.blob, system.created_at, None, latest=True
    )


def _check_samples(samples: Sequence[bytes]) -> None:
    if len(samples) > MAX_SAMPLES or any(not MIN_SAMPLE <= len(sample) <= MAX_SAMPLE for sample in samples):
        raise Refusal(
            "InvalidParameter",
            f"at most {MAX_SAMPLES} samples of {MIN_SAMPLE} to {MAX_SAMPLE} bytes can be looked for",
            hint="shorter values would be found by chance",
        )


def _check_memory(megabytes: int) -> None:
    if not MIN_MEMORY_MB <= megabytes <= MAX_MEMORY_MB:
        raise Refusal("InvalidParameter", f"memory_mb must be between {MIN_MEMORY_MB} and {MAX_MEMORY_MB}")
