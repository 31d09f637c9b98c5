"""The vault over REST: vaults, keys and versions made and shown. Their life: `lifecycle`; their use: `cryptography`."""

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Annotated, TypeVar

from msgspec import UNSET, Meta, UnsetType

from keystead.crypto.suites import Algorithm
from keystead.crypto.suites import Operation as Operation_
from keystead.vault.lifecycle.settings import KeySettings, VaultSettings
from keystead.vault.model import (
    Key,
    KeyState,
    KeyVersion,
    Lock,
    Origin,
    Protection,
    Vault,
    VaultKind,
    VaultState,
    VersionState,
)
from keystead.web.api.shared import keystore_of, paged
from keystead.web.messages import CompartmentListing, CompartmentRef, Listing, Message, Name, Tags, VaultRef
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Settings = TypeVar("Settings")
Retention = Annotated[int, Meta(description="For how many days it can be recovered once it is deleted: 7 to 90.")]
Protected = Annotated[bool, Meta(description="Nobody can purge it before its retention is over. Once on, it stays on.")]
Networks = Annotated[
    tuple[str, ...], Meta(max_length=100, description="From where it may be reached (CIDR); empty: from everywhere.")
]
KeyLimit = Annotated[int, Meta(ge=0, description="How many keys it may hold; 0: any number.")]
Moment = Annotated[datetime, Meta(tz=True, description="A moment with its zone (RFC 3339).")]
RotationDays = Annotated[int, Meta(description="A new version that often: 60 to 365 days, or 0 for never by itself.")]
Operations = Annotated[
    tuple[Operation_, ...], Meta(description="What it may be used for; empty: all that its algorithm can.")
]


class CreateVault(Message):
    """A new vault."""

    compartment_id: CompartmentRef
    name: Name
    protection: Annotated[Protection, Meta(description="That of keys for which none is named.")] = "software"
    kind: Annotated[
        VaultKind, Meta(description="The keys of a private vault are wrapped by a key of the vault's own.")
    ] = "shared"
    retention_days: Retention | UnsetType = UNSET
    purge_protection: Protected | UnsetType = UNSET
    key_limit: KeyLimit | UnsetType = UNSET
    networks: Networks | UnsetType = UNSET
    trusted_services: tuple[str, ...] | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


class UpdateVault(Message):
    """What is to change about a vault; what is not given stays."""

    retention_days: Retention | UnsetType = UNSET
    purge_protection: Protected | UnsetType = UNSET
    key_limit: KeyLimit | UnsetType = UNSET
    networks: Networks | UnsetType = UNSET
    trusted_services: tuple[str, ...] | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


class VaultReply(Message):
    """A named container of keys. States are as of now: a deadline that has passed counts."""

    id: str
    compartment_id: str
    name: str
    kind: VaultKind
    protection: Protection
    state: VaultState
    deletion_at: datetime | None
    purge_at: datetime | None
    retention_days: int
    purge_protection: bool
    lock: Lock
    networks: tuple[str, ...]
    trusted_services: tuple[str, ...]
    key_limit: int
    tags: dict[str, str]
    created_at: datetime
    changed_by: str
    changed_at: datetime
    version: int


class VaultPage(Message):
    """Some vaults."""

    items: list[VaultReply]
    next_page: str | None


def shown_vault(found: Vault) -> VaultReply:
    return VaultReply(
        id=found.id,
        compartment_id=found.compartment,
        name=found.name,
        kind=found.kind,
        protection=found.protection,
        state=found.state,
        deletion_at=found.deletion_at,
        purge_at=found.purge_at,
        retention_days=found.retention_days,
        purge_protection=found.purge_protection,
        lock=found.lock,
        networks=found.networks,
        trusted_services=found.trusted_services,
        key_limit=found.key_limit,
        tags=dict(found.tags),
        created_at=found.created_at,
        changed_by=found.changed_by,
        changed_at=found.changed_at,
        version=found.version,
    )


def create_vault(services: Services, call: Call[CreateVault, NoBody]) -> VaultReply:
    body = call.body
    made = services.vaults.create_vault(
        call.caller, body.compartment_id, body.name, body.protection, body.kind, given(VaultSettings, body)
    )
    return shown_vault(made)


def update_vault(services: Services, call: Call[UpdateVault, NoBody]) -> VaultReply:
    settings = given(VaultSettings, call.body)
    return shown_vault(services.vaults.update_vault(call.caller, call.path["vault_id"], settings, call.if_match))


def list_vaults(services: Services, call: Call[NoBody, CompartmentListing]) -> VaultPage:
    query = call.query
    found = services.vaults.list_vaults(call.caller, query.compartment_id, query.request(), query.name)
    return paged(found, shown_vault, VaultPage)


def get_vault(services: Services, call: Call[NoBody, NoBody]) -> VaultReply:
    return shown_vault(services.vaults.get_vault(call.caller, call.path["vault_id"]))


# keys


class CreateKey(Message):
    """A new key with its first version."""

    compartment_id: CompartmentRef
    vault_id: VaultRef
    name: Name
    algorithm: Algorithm = "AES-256"
    protection: Annotated[Protection | None, Meta(description="That of its vault when absent.")] = None
    operations: Operations | UnsetType = UNSET
    not_before: Moment | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    rotation_days: RotationDays | UnsetType = UNSET
    retention_days: Retention | UnsetType = UNSET
    purge_protection: Protected | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


class UpdateKey(Message):
    """What is to change about a key; what is not given stays, and null takes a moment away."""

    operations: Operations | UnsetType = UNSET
    not_before: Moment | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    rotation_days: RotationDays | UnsetType = UNSET
    retention_days: Retention | UnsetType = UNSET
    purge_protection: Protected | UnsetType = UNSET
    minimum_version: Annotated[int, Meta(ge=1, description="Older versions open nothing.")] | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


class KeyReply(Message):
    """A named series of key versions; `current_version` seals, older ones only open. States are as of now."""

    id: str
    compartment_id: str
    vault_id: str
    name: str
    algorithm: Algorithm
    protection: Protection
    state: KeyState
    current_version: int
    minimum_version: int
    operations: tuple[str, ...]
    not_before: datetime | None
    expires_at: datetime | None
    deletion_at: datetime | None
    purge_at: datetime | None
    retention_days: int
    purge_protection: bool
    lock: Lock
    rotation_days: int
    next_rotation_at: datetime | None
    rotated_at: datetime | None
    backed_up_at: datetime | None
    tags: dict[str, str]
    created_at: datetime
    changed_by: str
    changed_at: datetime
    version: int


class KeyPage(Message):
    """Some keys."""

    items: list[KeyReply]
    next_page: str | None


class KeyVersionReply(Message):
    """One version of a key. Its material is never shown."""

    id: str
    key_id: str
    number: int
    state: VersionState
    origin: Origin
    deletion_at: datetime | None
    created_at: datetime


class KeyVersionPage(Message):
    """Some versions, oldest first."""

    items: list[KeyVersionReply]
    next_page: str | None


def shown_key(found: Key) -> KeyReply:
    return KeyReply(
        id=found.id,
        compartment_id=found.compartment,
        vault_id=found.vault,
        name=found.name,
        algorithm=found.algorithm,
        protection=found.protection,
        state=found.state,
        current_version=found.current,
        minimum_version=found.minimum_version,
        operations=found.operations,
        not_before=found.not_before,
        expires_at=found.expires_at,
        deletion_at=found.deletion_at,
        purge_at=found.purge_at,
        retention_days=found.retention_days,
        purge_protection=found.purge_protection,
        lock=found.lock,
        rotation_days=found.rotation_days,
        next_rotation_at=found.next_rotation_at,
        rotated_at=found.rotated_at,
        backed_up_at=found.backed_up_at,
        tags=dict(found.tags),
        created_at=found.created_at,
        changed_by=found.changed_by,
        changed_at=found.changed_at,
        version=found.version,
    )


def shown_key_version(found: KeyVersion) -> KeyVersionReply:
    return KeyVersionReply(
        id=found.id,
        key_id=found.key,
        number=found.number,
        state=found.state,
        origin=found.origin,
        deletion_at=found.deletion_at,
        created_at=found.created_at,
    )


def create_key(services: Services, call: Call[CreateKey, NoBody]) -> KeyReply:
    body = call.body
    made = services.vaults.create_key(
        call.caller,
        body.compartment_id,
        body.vault_id,
        body.name,
        body.algorithm,
        body.protection,
        given(KeySettings, body),
    )
    return shown_key(made)


def update_key(services: Services, call: Call[UpdateKey, NoBody]) -> KeyReply:
    settings = given(KeySettings, call.body)
    return shown_key(services.vaults.update_key(call.caller, call.path["key_id"], settings, call.if_match))


def list_keys(services: Services, call: Call[NoBody, CompartmentListing]) -> KeyPage:
    query = call.query
    found = services.vaults.list_keys(call.caller, query.compartment_id, query.request(), query.name)
    return paged(found, shown_key, KeyPage)


def get_key(services: Services, call: Call[NoBody, NoBody]) -> KeyReply:
    return shown_key(services.vaults.get_key(call.caller, call.path["key_id"]))


def list_key_versions(services: Services, call: Call[NoBody, Listing]) -> KeyVersionPage:
    found = services.vaults.list_versions(call.caller, call.path["key_id"], call.query.request())
    return paged(found, shown_key_version, KeyVersionPage)


def get_key_version(services: Services, call: Call[NoBody, NoBody]) -> KeyVersionReply:
    path = call.path
    return shown_key_version(services.vaults.get_version(call.caller, path["key_id"], path["key_version_id"]))


def given(kind: Callable[..., Settings], body: Message) -> Settings:
    """The settings that a body holds; what is not given is left as it is."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # always a dataclass
    values = {name: getattr(body, name, UNSET) for name in names}
    return kind(**{name: value for name, value in values.items() if value is not UNSET})


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateVault", "POST", "/vaults", "Create a vault", create_vault, "vaults", request=CreateVault,
        reply=VaultReply, status=201, permissions=("VAULT_CREATE",), creates=True,
    ),
    Operation(
        "ListVaults", "GET", "/vaults", "List the vaults in a compartment", list_vaults, "vaults",
        query=CompartmentListing, reply=VaultPage, permissions=("VAULT_INSPECT",),
    ),
    Operation(
        "GetVault", "GET", "/vaults/{vault_id}", "Show a vault", get_vault, "vaults", reply=VaultReply,
        permissions=("VAULT_READ",),
    ),
    Operation(
        "CreateKey", "POST", "/keys", "Create a key with its first version", create_key, "keys", request=CreateKey,
        reply=KeyReply, status=201, permissions=("KEY_CREATE", "VAULT_CREATE_KEY"), creates=True,
        waits=keystore_of,
    ),
    Operation(
        "ListKeys", "GET", "/keys", "List the keys in a compartment", list_keys, "keys", query=CompartmentListing,
        reply=KeyPage, permissions=("KEY_INSPECT",),
    ),
    Operation(
        "GetKey", "GET", "/keys/{key_id}", "Show a key", get_key, "keys", reply=KeyReply, permissions=("KEY_READ",)
    ),
    Operation(
        "ListKeyVersions", "GET", "/keys/{key_id}/versions", "List the versions of a key", list_key_versions, "keys",
        query=Listing, reply=KeyVersionPage, permissions=("KEY_READ",),
    ),
    Operation(
        "GetKeyVersion", "GET", "/keys/{key_id}/versions/{key_version_id}", "Show a version of a key", get_key_version,
        "keys", reply=KeyVersionReply, permissions=("KEY_READ",),
    ),
    Operation(
        "UpdateKey", "PATCH", "/keys/{key_id}", "Change what you decide about a key", update_key, "keys",
        request=UpdateKey, reply=KeyReply, permissions=("KEY_UPDATE",), moves=True,
        description="Operations, not-before, expiry, rotation, retention, purge protection, minimum version, tags.",
    ),
    Operation(
        "UpdateVault", "PATCH", "/vaults/{vault_id}", "Change what you decide about a vault", update_vault, "vaults",
        request=UpdateVault, reply=VaultReply, permissions=("VAULT_UPDATE",), moves=True,
        description="Retention, purge protection, limits, networks, tags.",
    ),
)  # fmt: skip
