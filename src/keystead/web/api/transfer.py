"""Keys that come in and go out over REST: bring your own key, and backups of keys and vaults.

Material travels wrapped for a wrapping key, backups as encrypted blobs; both as base64.
"""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from keystead.crypto import public
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.suites import Algorithm
from keystead.crypto.transport import MAX_WRAPPED, Way, wrapping_suite
from keystead.vault.lifecycle.settings import KeySettings
from keystead.vault.model import Protection
from keystead.vault.transfer.backup_format import MAX_BLOB
from keystead.vault.transfer.importing import Imported, Wrapped, WrappedForm
from keystead.vault.transfer.wrapping import DEFAULT_HOURS, WrappingKey
from keystead.web.api.shared import keystore_of
from keystead.web.api.vault import (
    KeyReply,
    Moment,
    Operations,
    Protected,
    Retention,
    RotationDays,
    VaultReply,
    given,
    shown_key,
    shown_vault,
)
from keystead.web.messages import CompartmentRef, Message, Name, Tags, VaultRef, id_pattern
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

WrappingAlgorithm = Annotated[Way, Meta(description="How the material will be wrapped.")]
Hours = Annotated[int, Meta(description="When the wrapping key ends if nothing is imported by it: 1 to 168 hours.")]
WrappingKeyRef = Annotated[
    str, Meta(pattern=id_pattern("wrappingkey"), max_length=120, description="Id of a wrapping key.")
]
WrappedKey = Annotated[
    bytes, Meta(max_length=2 * MAX_WRAPPED, description="The material, wrapped; or a whole transfer blob.")
]
Format = Annotated[
    WrappedForm,
    Meta(
        description="What is wrapped: raw is the bytes of a symmetric key, the seed of Ed25519, ML-DSA-65 and X-Wing, "
        "PKCS#8 of RSA and EC; or der, pem, jwk. byok: wrapped_key is a key transfer blob."
    ),
]
Backup = Annotated[bytes, Meta(max_length=MAX_BLOB, description="As the backup was given out.")]


class CreateWrappingKey(Message):
    """What is to come in."""

    algorithm: Algorithm = "AES-256"
    wrapping_algorithm: WrappingAlgorithm = "HPKE-X25519-MLKEM768"
    expires_in_hours: Hours = DEFAULT_HOURS


class CreateVersionWrappingKey(Message):
    """How a new version is to come in."""

    wrapping_algorithm: WrappingAlgorithm = "HPKE-X25519-MLKEM768"
    expires_in_hours: Hours = DEFAULT_HOURS


class WrappingKeyReply(Message):
    """A wrapping key for one import by its caller. `key_id` is null when it is for a new key."""

    id: str
    vault_id: str
    key_id: str | None
    algorithm: Algorithm
    wrapping_algorithm: Way
    public_key: Annotated[str, Meta(description="SubjectPublicKeyInfo as PEM.")]
    created_at: datetime
    expires_at: datetime


class ImportKey(Message):
    """A key made elsewhere."""

    compartment_id: CompartmentRef
    vault_id: VaultRef
    name: Name
    wrapping_key_id: WrappingKeyRef
    wrapped_key: WrappedKey
    format: Format = "raw"
    protection: Annotated[Protection | None, Meta(description="That of its vault when absent.")] = None
    operations: Operations | UnsetType = UNSET
    not_before: Moment | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    rotation_days: RotationDays | UnsetType = UNSET
    retention_days: Retention | UnsetType = UNSET
    purge_protection: Protected | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET


class ImportKeyVersion(Message):
    """A version made elsewhere."""

    wrapping_key_id: WrappingKeyRef
    wrapped_key: WrappedKey
    format: Format = "raw"


class ImportReply(Message):
    """The key, and the check value of the material that came in: AES-CMAC:... or SPKI-SHA256:..."""

    key: KeyReply
    key_version: int
    key_check_value: str


class KeyBackupReply(Message):
    """A key's backup. It opens in this tenancy of this region alone, or where the region was restored."""

    key: KeyReply
    backup: bytes


class BackUpVault(Message):
    """Which part of a vault's backup."""

    after: Annotated[str, Meta(max_length=120, description="What the part before said; empty for the first.")] = ""
    leave_out: Annotated[bool, Meta(description="Leave out keys whose material is not here, instead of refusing.")] = (
        False
    )


class VaultBackupReply(Message):
    """A part of a vault's backup: complete when `after` is null, else the next part is asked for with it."""

    vault: VaultReply
    backup: bytes
    keys: int
    left_out: tuple[str, ...]
    after: str | None


class RestoreKey(Message):
    """A key's backup; where it says nothing else, the key comes back where it was."""

    backup: Backup
    vault_id: VaultRef | None = None
    compartment_id: CompartmentRef | None = None
    name: Name | None = None


class RestoredKeyReply(Message):
    """A key that is back, DISABLED."""

    key: KeyReply
    warnings: tuple[str, ...]


class RestoreVault(Message):
    """A part of a vault's backup."""

    backup: Backup
    compartment_id: CompartmentRef | None = None


class RestoredVaultReply(Message):
    """A vault that is back: how many of its keys came with this part, and how many were there."""

    vault: VaultReply
    restored: int
    present: int
    warnings: tuple[str, ...]


def shown_wrapping_key(found: WrappingKey) -> WrappingKeyReply:
    return WrappingKeyReply(
        id=found.id,
        vault_id=found.vault,
        key_id=found.key or None,
        algorithm=found.algorithm,
        wrapping_algorithm=found.way,
        public_key=public.pem(PublicKey(wrapping_suite(found.way), found.public)),
        created_at=found.created_at,
        expires_at=found.expires_at,
    )


def shown_import(made: Imported) -> ImportReply:
    return ImportReply(key=shown_key(made.key), key_version=made.version.number, key_check_value=made.check_value)


def create_wrapping_key(services: Services, call: Call[CreateWrappingKey, NoBody]) -> WrappingKeyReply:
    body = call.body
    made = services.vaults.create_wrapping_key(
        call.caller, call.path["vault_id"], body.algorithm, body.wrapping_algorithm, body.expires_in_hours
    )
    return shown_wrapping_key(made)


def create_version_wrapping_key(services: Services, call: Call[CreateVersionWrappingKey, NoBody]) -> WrappingKeyReply:
    body = call.body
    made = services.vaults.create_version_wrapping_key(
        call.caller, call.path["key_id"], body.wrapping_algorithm, body.expires_in_hours
    )
    return shown_wrapping_key(made)


def import_key(services: Services, call: Call[ImportKey, NoBody]) -> ImportReply:
    body = call.body
    wrapped = Wrapped(body.wrapping_key_id, body.wrapped_key, body.format)
    settings = given(KeySettings, body)
    made = services.vaults.import_key(
        call.caller, body.compartment_id, body.vault_id, body.name, wrapped, body.protection, settings
    )
    return shown_import(made)


def import_key_version(services: Services, call: Call[ImportKeyVersion, NoBody]) -> ImportReply:
    body = call.body
    wrapped = Wrapped(body.wrapping_key_id, body.wrapped_key, body.format)
    return shown_import(services.vaults.import_version(call.caller, call.path["key_id"], wrapped, call.if_match))


def back_up_key(services: Services, call: Call[NoBody, NoBody]) -> KeyBackupReply:
    made = services.vaults.back_up_key(call.caller, call.path["key_id"])
    return KeyBackupReply(key=shown_key(made.key), backup=made.blob)


def back_up_vault(services: Services, call: Call[BackUpVault, NoBody]) -> VaultBackupReply:
    body = call.body
    made = services.vaults.back_up_vault(call.caller, call.path["vault_id"], body.after, leave_out=body.leave_out)
    return VaultBackupReply(
        vault=shown_vault(made.vault), backup=made.blob, keys=made.keys, left_out=made.left_out, after=made.after
    )


def restore_key(services: Services, call: Call[RestoreKey, NoBody]) -> RestoredKeyReply:
    body = call.body
    back = services.vaults.restore_key(call.caller, body.backup, body.vault_id, body.compartment_id, body.name)
    return RestoredKeyReply(key=shown_key(back.key), warnings=back.warnings)


def restore_vault(services: Services, call: Call[RestoreVault, NoBody]) -> RestoredVaultReply:
    back = services.vaults.restore_vault(call.caller, call.body.backup, call.body.compartment_id)
    return RestoredVaultReply(
        vault=shown_vault(back.vault), restored=back.restored, present=back.present, warnings=back.warnings
    )


_ONE_USE = "It serves one import by its caller, for that vault and algorithm, until it ends."

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateWrappingKey", "POST", "/vaults/{vault_id}/wrapping-keys", "Make a wrapping key for a key of your own",
        create_wrapping_key, "import and backup", request=CreateWrappingKey, reply=WrappingKeyReply, status=201,
        permissions=("VAULT_IMPORT_KEY",), creates=True, description=_ONE_USE,
    ),
    Operation(
        "CreateVersionWrappingKey", "POST", "/keys/{key_id}/wrapping-keys",
        "Make a wrapping key for a version of your own", create_version_wrapping_key, "import and backup",
        request=CreateVersionWrappingKey, reply=WrappingKeyReply, status=201, permissions=("KEY_IMPORT",),
        creates=True, description=_ONE_USE,
    ),
    Operation(
        "ImportKey", "POST", "/keys/actions/import", "Create a key of material of your own", import_key,
        "import and backup", request=ImportKey, reply=ImportReply, status=201,
        permissions=("KEY_IMPORT", "VAULT_IMPORT_KEY"), creates=True,
        description="The material comes wrapped; what was destroyed here before is refused.",
        waits=keystore_of,
    ),
    Operation(
        "ImportKeyVersion", "POST", "/keys/{key_id}/actions/import-version",
        "Make material of your own the new current version", import_key_version, "import and backup",
        request=ImportKeyVersion, reply=ImportReply, permissions=("KEY_IMPORT", "KEY_ROTATE"), moves=True,
        waits=keystore_of,
    ),
    Operation(
        "BackUpKey", "POST", "/keys/{key_id}/actions/backup", "An encrypted backup of a key with all its versions",
        back_up_key, "import and backup", reply=KeyBackupReply, permissions=("KEY_BACKUP",),
        description="It opens in the same tenancy under the same root key, and nowhere else.",
    ),
    Operation(
        "RestoreKey", "POST", "/keys/actions/restore", "Have a key back from its backup, DISABLED", restore_key,
        "import and backup", request=RestoreKey, reply=RestoredKeyReply, status=201,
        permissions=("KEY_RESTORE", "VAULT_CREATE_KEY"), creates=True,
        description="A key that is there and not deleted is never replaced.",
    ),
    Operation(
        "BackUpVault", "POST", "/vaults/{vault_id}/actions/backup", "A part of the backup of a vault with its keys",
        back_up_vault, "import and backup", request=BackUpVault, reply=VaultBackupReply,
        permissions=("VAULT_BACKUP", "KEY_BACKUP"),
    ),
    Operation(
        "RestoreVault", "POST", "/vaults/actions/restore", "Have a vault back from a part of its backup",
        restore_vault, "import and backup", request=RestoreVault, reply=RestoredVaultReply, status=201,
        permissions=("VAULT_RESTORE", "KEY_RESTORE"), creates=True,
        description="Its keys come back DISABLED; those that are there are left alone.",
    ),
)  # fmt: skip
