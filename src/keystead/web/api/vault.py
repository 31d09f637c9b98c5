"""The vault over REST: vaults, keys and versions. What is done with keys: `cryptography`."""

from datetime import datetime
from typing import Literal

from keystead.vault.model import Algorithm, Key, KeyState, KeyVersion, Protection, Vault
from keystead.web.api.shared import paged
from keystead.web.messages import CompartmentListing, CompartmentRef, Listing, Message, Name, VaultRef
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services


class CreateVault(Message):
    """A new vault."""

    compartment_id: CompartmentRef
    name: Name
    protection: Literal["software"] = "software"


class VaultReply(Message):
    """A named container of keys."""

    id: str
    compartment_id: str
    name: str
    protection: Protection
    created_at: datetime
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
        protection=found.protection,
        created_at=found.created_at,
        version=found.version,
    )


def create_vault(services: Services, call: Call[CreateVault, NoBody]) -> VaultReply:
    body = call.body
    return shown_vault(services.vaults.create_vault(call.caller, body.compartment_id, body.name, body.protection))


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


class KeyReply(Message):
    """A named series of key versions; `current_version` seals, older ones only open."""

    id: str
    compartment_id: str
    vault_id: str
    name: str
    algorithm: Algorithm
    state: KeyState
    current_version: int
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
        state=found.state,
        current_version=found.current,
        created_at=found.created_at,
        changed_by=found.changed_by,
        changed_at=found.changed_at,
        version=found.version,
    )


def shown_key_version(found: KeyVersion) -> KeyVersionReply:
    return KeyVersionReply(id=found.id, key_id=found.key, number=found.number, created_at=found.created_at)


def create_key(services: Services, call: Call[CreateKey, NoBody]) -> KeyReply:
    body = call.body
    return shown_key(
        services.vaults.create_key(call.caller, body.compartment_id, body.vault_id, body.name, body.algorithm)
    )


def list_keys(services: Services, call: Call[NoBody, CompartmentListing]) -> KeyPage:
    query = call.query
    found = services.vaults.list_keys(call.caller, query.compartment_id, query.request(), query.name)
    return paged(found, shown_key, KeyPage)


def get_key(services: Services, call: Call[NoBody, NoBody]) -> KeyReply:
    return shown_key(services.vaults.get_key(call.caller, call.path["key_id"]))


def list_key_versions(services: Services, call: Call[NoBody, Listing]) -> KeyVersionPage:
    found = services.vaults.list_versions(call.caller, call.path["key_id"], call.query.request())
    return paged(found, shown_key_version, KeyVersionPage)


def enable_key(services: Services, call: Call[NoBody, NoBody]) -> KeyReply:
    return shown_key(services.vaults.enable(call.caller, call.path["key_id"], call.if_match))


def disable_key(services: Services, call: Call[NoBody, NoBody]) -> KeyReply:
    return shown_key(services.vaults.disable(call.caller, call.path["key_id"], call.if_match))


def rotate_key(services: Services, call: Call[NoBody, NoBody]) -> KeyReply:
    return shown_key(services.vaults.rotate(call.caller, call.path["key_id"], call.if_match))


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
        "EnableKey", "POST", "/keys/{key_id}/actions/enable", "Let a key be used again", enable_key, "keys",
        reply=KeyReply, permissions=("KEY_UPDATE",), moves=True,
        description="What was fenced because the key was disabled heals by itself.",
    ),
    Operation(
        "DisableKey", "POST", "/keys/{key_id}/actions/disable", "Take a key away from everything that uses it",
        disable_key, "keys", reply=KeyReply, permissions=("KEY_UPDATE",), moves=True, takes_access=True,
        description="Refused from the next request on; every database system that depends on the key is fenced.",
    ),
    Operation(
        "RotateKey", "POST", "/keys/{key_id}/actions/rotate", "Make a new current version", rotate_key, "keys",
        reply=KeyReply, permissions=("KEY_ROTATE",), moves=True,
        description="Older versions open what they sealed and seal nothing any more.",
    ),
)  # fmt: skip
