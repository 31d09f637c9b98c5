"""What is done with backups: take, look at, delete, restore into a new system."""

from dataclasses import replace

from keystead.core.errors import Refusal, check_version, not_found, stale, taken
from keystead.core.ids import BackupId, KeyId, check_region, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.databases.base import naming, require_unoccupied
from keystead.databases.creation import Created, Creation, NewSystem
from keystead.databases.desk import principal_of
from keystead.databases.hierarchy import fresh_key
from keystead.databases.model import Backup, DbSystem, check_legal
from keystead.databases.ports import DatabaseTx
from keystead.iam.model import Caller, Target
from keystead.iam.names import check_name
from keystead.jobs.model import Job


class BackupActs(Creation):
    """Acts on backups."""

    def create_backup(self, caller: Caller, system_id: str, name: str, key_id: str | None = None) -> tuple[Backup, Job]:
        """A full backup under a key of its own, wrapped by `key_id` or else by the system's key."""
        system = self._system(caller, system_id)
        check_name(name, "backup")
        new = BackupId(new_id("mysqlbackup", self._region))
        place = self._place(caller, system.compartment)
        target = Target("mysql-backups", new, name, system.tenancy, place.path)
        naming_it = naming(caller, key_id)
        entry = self._guard.permit_change(
            naming_it, "MYSQL_BACKUP_CREATE", target, "CreateBackup", {"system": system.name}
        )
        check_legal(system, "backup")
        key = self._key_for_backup(naming_it, system, key_id)
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
            require_unoccupied(tx, system)
            if tx.databases.backups(place.tenancy, place.id, PageRequest(1), name):
                raise taken("backup", name)
            tx.databases.add_backup(backup)
            tx.jobs.add(job)
        return backup, job

    def _key_for_backup(self, caller: Caller, system: DbSystem, key_id: str | None) -> str:
        """The key that is asked for, or the system's. Raises: Refusal."""
        if key_id is not None:
            self._associations.allow(caller, key_id, "CreateBackup")
            return key_id
        if system.service_managed:
            raise Refusal(
                "KeyNeeded",
                f"database system {system.name!r} has a service-managed key, which a backup would not outlive",
                hint="choose a key for the backup (key_id, or --key on the command line)",
            )
        return system.key

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
        self._guard.permit(caller, "MYSQL_BACKUP_READ", target, "RestoreBackup")
        return self._create(caller, wanted, "restore", {"backup": backup.id}, restored_from=backup.id)

    def _backup(self, caller: Caller, backup_id: str) -> tuple[Backup, Target]:
        parse_id(backup_id, "mysqlbackup")
        with self._store.read() as tx:
            backup = tx.databases.backup(caller.principal.tenancy, backup_id)
        if backup is None:
            check_region(backup_id, self._region)
            raise not_found("backup")
        path = self._place(caller, backup.compartment).path
        return backup, Target("mysql-backups", backup.id, backup.name, backup.tenancy, path)


def _unattended(tx: DatabaseTx, backup: Backup) -> None:
    """Raises: Refusal `IllegalState` while a job takes or deletes the backup; one left half done has none."""
    taking = tx.jobs.open_for(backup.tenancy, backup.system)
    deleting = tx.jobs.open_for(backup.tenancy, backup.id)
    if deleting is not None or (taking is not None and taking.input.get("backup") == backup.id):
        raise Refusal("IllegalState", f"backup {backup.name!r} is {backup.state}", hint="wait for it", kind="conflict")
