"""The vault over REST: vaults, keys, versions, and cryptography with keys.

Bytes travel as base64 (RFC 4648 section 4, with padding). The replies of the hot path are built from the request's own
path and what the service returned; nothing is looked up a second time.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from keystead.vault.model import Algorithm, Key, KeyState, KeyVersion, Protection, Vault
from keystead.web.api.shared import paged
from keystead.web.messages import CompartmentListing, CompartmentRef, Listing, Message, Name, VaultRef
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

# Room for 64 KiB of plaintext in an envelope.
Ciphertext = Annotated[bytes, Meta(max_length=70_000, description="An envelope made by this key.")]
Plaintext = Annotated[bytes, Meta(description="At most 64 KiB.")]
AssociatedData = Annotated[
    bytes, Meta(max_length=8192, description="Authenticated, not encrypted; must be given again to open.")
]


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
    algorithm: Literal["AES-256"] = "AES-256"


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


# cryptography


class Encrypt(Message):
    """What to encrypt."""

    plaintext: Plaintext
    associated_data: AssociatedData = b""


class Open(Message):
    """What to decrypt, unwrap or rewrap."""

    ciphertext: Ciphertext
    associated_data: AssociatedData = b""


class Wrap(Message):
    """The key to wrap."""

    key_material: Plaintext
    associated_data: AssociatedData = b""


class GenerateDataKey(Message):
    """How the new data key is wanted."""

    associated_data: AssociatedData = b""
    include_plaintext: bool = True


class CiphertextReply(Message):
    """An envelope, and which key and version made it."""

    ciphertext: bytes
    key_id: str
    key_version: int


class PlaintextReply(Message):
    """What was encrypted."""

    plaintext: bytes


class KeyMaterialReply(Message):
    """What was wrapped."""

    key_material: bytes


class DataKeyReply(Message):
    """A fresh data key of 32 bytes: wrapped, and in clear when that was asked for."""

    ciphertext: bytes
    plaintext: bytes | None
    key_id: str
    key_version: int


def encrypt(services: Services, call: Call[Encrypt, NoBody]) -> CiphertextReply:
    key, body = call.path["key_id"], call.body
    made = services.vaults.encrypt(call.caller, key, body.plaintext, body.associated_data)
    return CiphertextReply(ciphertext=made.blob, key_id=key, key_version=made.key_version)


def decrypt(services: Services, call: Call[Open, NoBody]) -> PlaintextReply:
    body = call.body
    return PlaintextReply(
        plaintext=services.vaults.decrypt(call.caller, call.path["key_id"], body.ciphertext, body.associated_data)
    )


def wrap(services: Services, call: Call[Wrap, NoBody]) -> CiphertextReply:
    key, body = call.path["key_id"], call.body
    made = services.vaults.wrap(call.caller, key, body.key_material, body.associated_data)
    return CiphertextReply(ciphertext=made.blob, key_id=key, key_version=made.key_version)


def unwrap(services: Services, call: Call[Open, NoBody]) -> KeyMaterialReply:
    body = call.body
    return KeyMaterialReply(
        key_material=services.vaults.unwrap(call.caller, call.path["key_id"], body.ciphertext, body.associated_data)
    )


def rewrap(services: Services, call: Call[Open, NoBody]) -> CiphertextReply:
    key, body = call.path["key_id"], call.body
    made = services.vaults.rewrap(call.caller, key, body.ciphertext, body.associated_data)
    return CiphertextReply(ciphertext=made.blob, key_id=key, key_version=made.key_version)


def generate_data_key(services: Services, call: Call[GenerateDataKey, NoBody]) -> DataKeyReply:
    key, body = call.path["key_id"], call.body
    made = services.vaults.generate_data_key(
        call.caller, key, body.associated_data, plaintext_wanted=body.include_plaintext
    )
    return DataKeyReply(ciphertext=made.blob, plaintext=made.plaintext, key_id=key, key_version=made.key_version)


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
    Operation(
        "Encrypt", "POST", "/keys/{key_id}/actions/encrypt", "Encrypt at most 64 KiB", encrypt, "cryptography",
        request=Encrypt, reply=CiphertextReply, permissions=("KEY_ENCRYPT",), runs="loop",
    ),
    Operation(
        "Decrypt", "POST", "/keys/{key_id}/actions/decrypt", "Decrypt what encrypt made", decrypt, "cryptography",
        request=Open, reply=PlaintextReply, permissions=("KEY_DECRYPT",), runs="loop",
    ),
    Operation(
        "Wrap", "POST", "/keys/{key_id}/actions/wrap", "Wrap a key of your own", wrap, "cryptography", request=Wrap,
        reply=CiphertextReply, permissions=("KEY_ENCRYPT",), runs="loop",
    ),
    Operation(
        "Unwrap", "POST", "/keys/{key_id}/actions/unwrap", "Unwrap what wrap or generate-data-key made", unwrap,
        "cryptography", request=Open, reply=KeyMaterialReply, permissions=("KEY_DECRYPT",), runs="loop",
    ),
    Operation(
        "Rewrap", "POST", "/keys/{key_id}/actions/rewrap", "Bring a ciphertext to the key's current version", rewrap,
        "cryptography", request=Open, reply=CiphertextReply, permissions=("KEY_DECRYPT", "KEY_ENCRYPT"), runs="loop",
        description="What is inside is not shown.",
    ),
    Operation(
        "GenerateDataKey", "POST", "/keys/{key_id}/actions/generate-data-key", "Make a fresh data key of 32 bytes",
        generate_data_key, "cryptography", request=GenerateDataKey, reply=DataKeyReply, permissions=("KEY_ENCRYPT",),
        runs="loop",
    ),
)  # fmt: skip
