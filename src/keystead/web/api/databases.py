"""Database systems over REST."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, structs

from keystead.core.secret import Secret
from keystead.databases.creation import (
    DEFAULT_ADMIN,
    DEFAULT_MEMORY_MB,
    MAX_MEMORY_MB,
    MIN_MEMORY_MB,
    Created,
    NewSystem,
)
from keystead.databases.model import DbSystem, FenceReceipt, SystemState, WrappedKey
from keystead.databases.systems import MAX_SAMPLES
from keystead.iam.model import Caller
from keystead.jobs.model import Job
from keystead.vault.transfer.backups import never_backed_up
from keystead.web.api.jobs import JobReply, shown_job
from keystead.web.api.shared import keystore_of, paged
from keystead.web.messages import CompartmentListing, CompartmentRef, KeyRef, Message, Name, Tagging
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

CmekRef = Annotated[KeyRef | None, Meta(description="The CMEK; null for a service-managed key.")]
AdminName = Annotated[
    str,
    Meta(
        description="Name of the administrator account.",
        extra_json_schema={"pattern": "^[a-z][a-z0-9_]{0,31}$"},
    ),
]
Memory = Annotated[int, Meta(ge=MIN_MEMORY_MB, le=MAX_MEMORY_MB, description="Memory for the server, in MiB.")]
ShownOnce = Annotated[str, Meta(description="Shown once, when it is made; null in a replay.")]


class CreateDbSystem(Message):
    """A new database system."""

    compartment_id: CompartmentRef
    name: Name
    key_id: CmekRef = None
    admin_username: AdminName = DEFAULT_ADMIN
    memory_mb: Memory = DEFAULT_MEMORY_MB
    deletion_protection: bool = False
    follow_key: bool = False


class UpdateDbSystem(Message):
    """What can be changed about a database system as it runs."""

    deletion_protection: bool | None = None
    follow_key: Annotated[
        bool | None, Meta(description="Rewrap the store key under each new version of its key, by itself.")
    ] = None


class VerifyDbSystem(Message):
    """What else to look for on disk: values of your own rows (base64), beside Keystead's canaries."""

    samples: Annotated[tuple[bytes, ...], Meta(max_length=MAX_SAMPLES)] = ()


class ChangeKey(Message):
    """The key to move to. The key it has already: to its newest version."""

    key_id: CmekRef


class DbSystemReply(Message):
    """One managed MySQL-compatible server. `reason` says why it is INACCESSIBLE or FAILED."""

    id: str
    compartment_id: str
    name: str
    state: SystemState
    reason: str
    reason_text: str
    key_id: str | None
    key_version: int
    service_managed: bool
    admin_username: str
    port: int
    memory_mb: int
    deletion_protection: bool
    follow_key: bool
    confirmed: bool
    restored_from: str | None
    tags: dict[str, str]
    created_at: datetime
    version: int


class DbSystemPage(Message):
    """Some database systems."""

    items: list[DbSystemReply]
    next_page: str | None


class RekeyedDbSystemReply(DbSystemReply):
    """A database system under another key, and what whoever depends on that key should know."""

    warnings: tuple[str, ...] = ()


class NewDbSystemReply(Message):
    """A database system on its way, the job that makes it, its administrator's password, and warnings about its key."""

    db_system: DbSystemReply
    job: JobReply
    admin_password: ShownOnce | None
    already_shown: bool = False
    warnings: tuple[str, ...] = ()


class StartedReply(Message):
    """The job that does what was asked."""

    job: JobReply


class HierarchyKey(Message):
    """One wrapped key: the store key (slot and number 0) or a data key. Its bytes are not shown."""

    kind: str
    slot: int
    number: int
    parent_id: str
    parent_version: int
    latest: bool
    created_at: datetime


class HierarchyReply(Message):
    """Which key protects which: CMEK, store key, data keys."""

    items: list[HierarchyKey]


class FenceStep(Message):
    """One step of a fence, in milliseconds after the act that took access away was committed."""

    name: str
    after_ms: float


class FenceReply(Message):
    """What the last fence did."""

    db_system_id: str
    reason: str
    reason_text: str
    committed_at: datetime
    steps: list[FenceStep]


class LastFenceReply(Message):
    """The last fence of a database system; null when there was none."""

    fence: FenceReply | None


class EndpointReply(Message):
    """Where to connect, and the certificate that signed the server's own."""

    host: str
    port: int
    ca_pem: str


def shown_system(found: DbSystem) -> DbSystemReply:
    return DbSystemReply(
        id=found.id,
        compartment_id=found.compartment,
        name=found.name,
        state=found.state,
        reason=found.reason,
        reason_text=found.reason_text,
        key_id=None if found.service_managed else found.key,
        key_version=found.key_version,
        service_managed=found.service_managed,
        admin_username=found.admin_username,
        port=found.port,
        memory_mb=found.memory_mb,
        deletion_protection=found.deletion_protection,
        follow_key=found.follow_key,
        confirmed=found.confirmed,
        restored_from=found.restored_from or None,
        tags=dict(found.tags),
        created_at=found.created_at,
        version=found.version,
    )


def shown_created(services: Services, caller: Caller, made: Created) -> NewDbSystemReply:
    password: Secret = made.admin_password
    return NewDbSystemReply(
        db_system=shown_system(made.system),
        job=shown_job(made.job),
        admin_password=password.reveal().decode(),
        warnings=key_warnings(services, caller, made.system),
    )


def key_warnings(services: Services, caller: Caller, system: DbSystem) -> tuple[str, ...]:
    """What whoever has just put a system under a key should know about it."""
    if system.service_managed:
        return ()
    said = never_backed_up(services.vaults.entry_of(caller, system.key).key)
    return (said,) if said else ()


def shown_wrapped(found: WrappedKey) -> HierarchyKey:
    return HierarchyKey(
        kind=found.kind,
        slot=found.slot,
        number=found.number,
        parent_id=found.parent,
        parent_version=found.parent_version,
        latest=found.latest,
        created_at=found.created_at,
    )


def shown_fence(found: FenceReceipt) -> FenceReply:
    return FenceReply(
        db_system_id=found.system,
        reason=found.reason,
        reason_text=found.reason_text,
        committed_at=found.committed_at,
        steps=[FenceStep(name=name, after_ms=after) for name, after in found.steps],
    )


def started(job: Job) -> StartedReply:
    return StartedReply(job=shown_job(job))


def create_db_system(services: Services, call: Call[CreateDbSystem, NoBody]) -> NewDbSystemReply:
    body = call.body
    wanted = NewSystem(
        compartment=body.compartment_id,
        name=body.name,
        key=body.key_id,
        admin_username=body.admin_username,
        memory_mb=body.memory_mb,
        deletion_protection=body.deletion_protection,
        follow_key=body.follow_key,
    )
    return shown_created(services, call.caller, services.databases.create(call.caller, wanted))


def list_db_systems(services: Services, call: Call[NoBody, CompartmentListing]) -> DbSystemPage:
    query = call.query
    found = services.databases.list_systems(call.caller, query.compartment_id, query.request(), query.name)
    return paged(found, shown_system, DbSystemPage)


def get_db_system(services: Services, call: Call[NoBody, NoBody]) -> DbSystemReply:
    return shown_system(services.databases.get_system(call.caller, call.path["db_system_id"]))


def tag_db_system(services: Services, call: Call[Tagging, NoBody]) -> DbSystemReply:
    tagged = services.databases.tag_system(call.caller, call.path["db_system_id"], call.body.tags, call.if_match)
    return shown_system(tagged)


def update_db_system(services: Services, call: Call[UpdateDbSystem, NoBody]) -> DbSystemReply:
    changed = services.databases.update_system(
        call.caller,
        call.path["db_system_id"],
        deletion_protection=call.body.deletion_protection,
        follow_key=call.body.follow_key,
        if_match=call.if_match,
    )
    return shown_system(changed)


def delete_db_system(services: Services, call: Call[NoBody, NoBody]) -> StartedReply:
    return started(services.databases.delete(call.caller, call.path["db_system_id"], call.if_match))


def start_db_system(services: Services, call: Call[NoBody, NoBody]) -> StartedReply:
    return started(services.databases.start(call.caller, call.path["db_system_id"], call.if_match))


def stop_db_system(services: Services, call: Call[NoBody, NoBody]) -> StartedReply:
    return started(services.databases.stop(call.caller, call.path["db_system_id"], call.if_match))


def restart_db_system(services: Services, call: Call[NoBody, NoBody]) -> StartedReply:
    return started(services.databases.restart(call.caller, call.path["db_system_id"], call.if_match))


def rotate_data_keys(services: Services, call: Call[NoBody, NoBody]) -> StartedReply:
    return started(services.databases.rotate_data_keys(call.caller, call.path["db_system_id"]))


def verify_db_system(services: Services, call: Call[VerifyDbSystem, NoBody]) -> StartedReply:
    return started(services.databases.verify(call.caller, call.path["db_system_id"], call.body.samples))


def change_key(services: Services, call: Call[ChangeKey, NoBody]) -> RekeyedDbSystemReply:
    changed = services.databases.change_key(call.caller, call.path["db_system_id"], call.body.key_id, call.if_match)
    warnings = key_warnings(services, call.caller, changed)
    return RekeyedDbSystemReply(**structs.asdict(shown_system(changed)), warnings=warnings)


def revalidate(services: Services, call: Call[NoBody, NoBody]) -> DbSystemReply:
    return shown_system(services.databases.revalidate(call.caller, call.path["db_system_id"]))


def confirm(services: Services, call: Call[NoBody, NoBody]) -> DbSystemReply:
    return shown_system(services.databases.confirm(call.caller, call.path["db_system_id"]))


def delete_identity(services: Services, call: Call[NoBody, NoBody]) -> DbSystemReply:
    return shown_system(services.databases.delete_identity(call.caller, call.path["db_system_id"]))


def revoke_tokens(services: Services, call: Call[NoBody, NoBody]) -> DbSystemReply:
    return shown_system(services.databases.revoke_tokens(call.caller, call.path["db_system_id"]))


def restore_identity(services: Services, call: Call[NoBody, NoBody]) -> DbSystemReply:
    return shown_system(services.databases.restore_identity(call.caller, call.path["db_system_id"]))


def key_hierarchy(services: Services, call: Call[NoBody, NoBody]) -> HierarchyReply:
    found = services.databases.hierarchy(call.caller, call.path["db_system_id"])
    return HierarchyReply(items=[shown_wrapped(item) for item in found])


def last_fence(services: Services, call: Call[NoBody, NoBody]) -> LastFenceReply:
    found = services.databases.last_fence(call.caller, call.path["db_system_id"])
    return LastFenceReply(fence=None if found is None else shown_fence(found))


def endpoint(services: Services, call: Call[NoBody, NoBody]) -> EndpointReply:
    found = services.databases.endpoint(call.caller, call.path["db_system_id"])
    return EndpointReply(host=found.host, port=found.port, ca_pem=found.ca_pem)


_SYSTEM = "/db-systems/{db_system_id}"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateDbSystem", "POST", "/db-systems", "Create a database system", create_db_system, "db-systems",
        request=CreateDbSystem, reply=NewDbSystemReply, status=202, permissions=("MYSQL_INSTANCE_CREATE",),
        creates=True, secrets=("admin_password",),
        description="With a CMEK the caller needs KEY_ASSOCIATE or KEY_READ on it, the system itself KEY_ASSOCIATE.",
        waits=keystore_of,
    ),
    Operation(
        "ListDbSystems", "GET", "/db-systems", "List the database systems in a compartment", list_db_systems,
        "db-systems", query=CompartmentListing, reply=DbSystemPage, permissions=("MYSQL_INSTANCE_INSPECT",),
    ),
    Operation(
        "GetDbSystem", "GET", _SYSTEM, "Show a database system", get_db_system, "db-systems", reply=DbSystemReply,
        permissions=("MYSQL_INSTANCE_READ",),
    ),
    Operation(
        "UpdateDbSystem", "PATCH", _SYSTEM, "Switch the protection against deletion, or following the key",
        update_db_system, "db-systems", request=UpdateDbSystem, reply=DbSystemReply,
        permissions=("MYSQL_INSTANCE_UPDATE",), moves=True,
    ),
    Operation(
        "TagDbSystem", "PUT", f"{_SYSTEM}/tags", "Replace the tags of a database system", tag_db_system, "db-systems",
        request=Tagging, reply=DbSystemReply, permissions=("MYSQL_INSTANCE_UPDATE", "TAG_NAMESPACE_USE"), moves=True,
        takes_access=True,
    ),
    Operation(
        "DeleteDbSystem", "DELETE", _SYSTEM, "Delete a database system and its data", delete_db_system, "db-systems",
        reply=StartedReply, status=202, permissions=("MYSQL_INSTANCE_DELETE",), moves=True,
    ),
    Operation(
        "StartDbSystem", "POST", f"{_SYSTEM}/actions/start", "Start", start_db_system, "db-systems",
        reply=StartedReply, status=202, permissions=("MYSQL_INSTANCE_START",), moves=True,
    ),
    Operation(
        "StopDbSystem", "POST", f"{_SYSTEM}/actions/stop", "Stop", stop_db_system, "db-systems", reply=StartedReply,
        status=202, permissions=("MYSQL_INSTANCE_STOP",), moves=True, takes_access=True,
    ),
    Operation(
        "RestartDbSystem", "POST", f"{_SYSTEM}/actions/restart", "Stop and start", restart_db_system, "db-systems",
        reply=StartedReply, status=202, permissions=("MYSQL_INSTANCE_START",), moves=True,
    ),
    Operation(
        "RotateDbSystem", "POST", f"{_SYSTEM}/actions/rotate-data-keys", "Rewrite the data under new data keys",
        rotate_data_keys, "db-systems", reply=StartedReply, status=202, permissions=("MYSQL_INSTANCE_UPDATE",),
        description="Online. The job's result says what still needs the old version.",
    ),
    Operation(
        "VerifyDbSystem", "POST", f"{_SYSTEM}/actions/verify", "Prove from the bytes on disk what is encrypted",
        verify_db_system, "db-systems", request=VerifyDbSystem, reply=StartedReply, status=202,
        permissions=("MYSQL_INSTANCE_READ",),
        description="The report is the job's result.",
    ),
    Operation(
        "ChangeDbSystemKey", "POST", f"{_SYSTEM}/actions/change-key", "Move to another key, or to its newest version",
        change_key, "db-systems", request=ChangeKey, reply=RekeyedDbSystemReply, permissions=("MYSQL_INSTANCE_UPDATE",),
        moves=True, description="The store key is rewrapped; no data is rewritten. Null: a service-managed key.",
        waits=keystore_of,
    ),
    Operation(
        "RevalidateDbSystem", "POST", f"{_SYSTEM}/actions/revalidate", "Look again now whether the key is accessible",
        revalidate, "db-systems", reply=DbSystemReply, permissions=("MYSQL_INSTANCE_USE",),
    ),
    Operation(
        "ConfirmDbSystem", "POST", f"{_SYSTEM}/actions/confirm", "Let a system start after the state was restored",
        confirm, "db-systems", reply=DbSystemReply, permissions=("MYSQL_INSTANCE_UPDATE",),
    ),
    Operation(
        "DeleteDbSystemIdentity", "POST", f"{_SYSTEM}/actions/delete-identity", "Take the system's identity away",
        delete_identity, "db-systems", reply=DbSystemReply, permissions=("MYSQL_INSTANCE_UPDATE",),
        takes_access=True, description="It is fenced until the identity is restored.",
    ),
    Operation(
        "RevokeDbSystemTokens", "POST", f"{_SYSTEM}/actions/revoke-tokens", "Void every token of the system's own",
        revoke_tokens, "db-systems", reply=DbSystemReply, permissions=("MYSQL_INSTANCE_UPDATE",), takes_access=True,
    ),
    Operation(
        "RestoreDbSystemIdentity", "POST", f"{_SYSTEM}/actions/restore-identity", "Give the system its identity back",
        restore_identity, "db-systems", reply=DbSystemReply, permissions=("MYSQL_INSTANCE_UPDATE",),
    ),
    Operation(
        "GetKeyHierarchy", "GET", f"{_SYSTEM}/key-hierarchy", "Show which key protects which", key_hierarchy,
        "db-systems", reply=HierarchyReply, permissions=("MYSQL_INSTANCE_READ",),
    ),
    Operation(
        "GetFenceReceipt", "GET", f"{_SYSTEM}/last-fence", "Show what the last fence did, step by step", last_fence,
        "db-systems", reply=LastFenceReply, permissions=("MYSQL_INSTANCE_READ",),
    ),
    Operation(
        "GetEndpoint", "GET", f"{_SYSTEM}/endpoint", "Show where to connect", endpoint, "db-systems",
        reply=EndpointReply, permissions=("MYSQL_INSTANCE_READ",),
    ),
)  # fmt: skip
