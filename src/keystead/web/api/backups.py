"""Backups over REST."""

from datetime import datetime

from keystead.databases.creation import (
    DEFAULT_ADMIN,
    DEFAULT_MEMORY_MB,
    NewSystem,
)
from keystead.databases.model import Backup, BackupState
from keystead.web.api.databases import (
    AdminName,
    CmekRef,
    Memory,
    NewDbSystemReply,
    StartedReply,
    shown_created,
    started,
)
from keystead.web.api.jobs import JobReply, shown_job
from keystead.web.api.shared import keystore_of, paged
from keystead.web.messages import CompartmentListing, CompartmentRef, Message, Name, SystemRef
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services


class CreateBackup(Message):
    """A new full backup."""

    db_system_id: SystemRef
    name: Name
    key_id: CmekRef = None


class BackupReply(Message):
    """A full backup under its own key. `size` is in bytes as stored."""

    id: str
    compartment_id: str
    db_system_id: str
    db_system_name: str
    name: str
    state: BackupState
    reason_text: str
    key_id: str
    key_version: int
    size: int
    detail: dict[str, str]
    created_at: datetime
    version: int


class BackupPage(Message):
    """Some backups."""

    items: list[BackupReply]
    next_page: str | None


class NewBackupReply(Message):
    """A backup on its way and the job that makes it."""

    backup: BackupReply
    job: JobReply


class Restore(Message):
    """The new database system that a backup becomes. Its key is chosen now, never the backup's by default."""

    compartment_id: CompartmentRef
    name: Name
    key_id: CmekRef = None
    admin_username: AdminName = DEFAULT_ADMIN
    memory_mb: Memory = DEFAULT_MEMORY_MB


def shown_backup(found: Backup) -> BackupReply:
    return BackupReply(
        id=found.id,
        compartment_id=found.compartment,
        db_system_id=found.system,
        db_system_name=found.system_name,
        name=found.name,
        state=found.state,
        reason_text=found.reason_text,
        key_id=found.key,
        key_version=found.key_version,
        size=found.size,
        detail=dict(found.detail),
        created_at=found.created_at,
        version=found.version,
    )


def create_backup(services: Services, call: Call[CreateBackup, NoBody]) -> NewBackupReply:
    body = call.body
    backup, job = services.databases.create_backup(call.caller, body.db_system_id, body.name, body.key_id)
    return NewBackupReply(backup=shown_backup(backup), job=shown_job(job))


def list_backups(services: Services, call: Call[NoBody, CompartmentListing]) -> BackupPage:
    query = call.query
    found = services.databases.list_backups(call.caller, query.compartment_id, query.request(), query.name)
    return paged(found, shown_backup, BackupPage)


def get_backup(services: Services, call: Call[NoBody, NoBody]) -> BackupReply:
    return shown_backup(services.databases.get_backup(call.caller, call.path["backup_id"]))


def delete_backup(services: Services, call: Call[NoBody, NoBody]) -> StartedReply:
    return started(services.databases.delete_backup(call.caller, call.path["backup_id"], call.if_match))


def restore(services: Services, call: Call[Restore, NoBody]) -> NewDbSystemReply:
    body = call.body
    wanted = NewSystem(
        compartment=body.compartment_id,
        name=body.name,
        key=body.key_id,
        admin_username=body.admin_username,
        memory_mb=body.memory_mb,
    )
    made = services.databases.restore(call.caller, call.path["backup_id"], wanted)
    return shown_created(services, call.caller, made)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateBackup", "POST", "/backups", "Back up a database system", create_backup, "backups",
        request=CreateBackup, reply=NewBackupReply, status=202, permissions=("MYSQL_BACKUP_CREATE",), creates=True,
    ),
    Operation(
        "ListBackups", "GET", "/backups", "List the backups in a compartment", list_backups, "backups",
        query=CompartmentListing, reply=BackupPage, permissions=("MYSQL_BACKUP_INSPECT",),
    ),
    Operation(
        "GetBackup", "GET", "/backups/{backup_id}", "Show a backup", get_backup, "backups", reply=BackupReply,
        permissions=("MYSQL_BACKUP_READ",),
    ),
    Operation(
        "DeleteBackup", "DELETE", "/backups/{backup_id}", "Delete a backup", delete_backup, "backups",
        reply=StartedReply, status=202, permissions=("MYSQL_BACKUP_DELETE",), moves=True,
    ),
    Operation(
        "RestoreBackup", "POST", "/backups/{backup_id}/actions/restore", "Restore to a new database system", restore,
        "backups", request=Restore, reply=NewDbSystemReply, status=202,
        permissions=("MYSQL_BACKUP_READ", "MYSQL_INSTANCE_CREATE"), creates=True, secrets=("admin_password",),
        waits=keystore_of,
    ),
)  # fmt: skip
