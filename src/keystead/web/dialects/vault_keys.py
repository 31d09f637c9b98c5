"""Keys in the Vault dialect: made, read, listed, rotated, set up, deleted.

A key of transit is a key of ours in the vault that the mount names, in the compartment where that vault lies; a key's
id does for its name. Vault deletes for ever and only after `deletion_allowed`, which is kept as a tag; here a deletion
is soft, and ends like every other with the key's retention.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any

from keystead.core.errors import Refusal, not_found
from keystead.crypto import public
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.suites import CURRENT, Algorithm, Suite
from keystead.iam.model import Caller
from keystead.vault.lifecycle.settings import KeySettings
from keystead.vault.model import Key, KeyVersion
from keystead.web.dialects.common import Loose, every
from keystead.web.dialects.vault_words import VaultCall, bad, operation
from keystead.web.operations import Call, Operation
from keystead.web.services import Services

MOUNT = "/v1/{mount}"
DELETION_TAG = "vault:deletion-allowed"
DAY_S = 86_400
TYPES: Mapping[str, Algorithm] = {
    "aes128-gcm96": "AES-128",
    "aes192-gcm96": "AES-192",
    "aes256-gcm96": "AES-256",
    "rsa-2048": "RSA-2048",
    "rsa-3072": "RSA-3072",
    "rsa-4096": "RSA-4096",
    "ecdsa-p256": "EC-P256",
    "ecdsa-p384": "EC-P384",
    "ecdsa-p521": "EC-P521",
    "ed25519": "ED25519",
    "ml-dsa-65": "ML-DSA-65",
    "hpke-x25519-mlkem768": "HPKE-X25519-MLKEM768",
}
TYPE_OF: Mapping[str, str] = {algorithm: name for name, algorithm in TYPES.items()}
_PERIOD = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")


class KeyRequest(Loose):
    """How a key is made or set up."""

    type: str | None = None
    derived: bool | None = None
    convergent_encryption: bool | None = None
    exportable: bool | None = None
    allow_plaintext_backup: bool | None = None
    deletion_allowed: bool | None = None
    min_decryption_version: int | None = None
    min_encryption_version: int | None = None
    auto_rotate_period: str | int | None = None


def path_of(call: VaultCall) -> list[str]:
    """The compartments and the vault that the mount names."""
    return [name for name in call.path["mount"].split("/") if name]


def key_of(services: Services, call: VaultCall) -> str:
    """The id of the key that is named. Guards nothing. Raises: Refusal `NotFound`."""
    return services.vaults.key_at(call.caller, path_of(call), call.path["key"])


def create_key(services: Services, call: Call[KeyRequest, Any]) -> dict[str, Any]:
    """A key that is there already stays as it is, as in Vault."""
    body = call.body
    _check_exportable(body)
    if body.derived or body.convergent_encryption:
        raise bad("keys are not derived here", "use associated_data to bind a ciphertext to its context")
    algorithm = TYPES.get(body.type or "aes256-gcm96")
    if algorithm is None:
        raise bad(f"unknown key type {body.type!r}", f"known: {', '.join(TYPES)}")
    settings = KeySettings()
    if body.auto_rotate_period:
        settings = KeySettings(rotation_days=_days(body.auto_rotate_period))
    vault, name = services.vaults.vault_at(call.caller, path_of(call)), call.path["key"]
    try:
        key = services.vaults.create_key(call.caller, vault.compartment, vault.id, name, algorithm, settings=settings)
    except Refusal as refusal:
        if refusal.code != "NameTaken":
            raise
        return _standing(services, call)
    return _shown(services, call.caller, key)


def _standing(services: Services, call: VaultCall) -> dict[str, Any]:
    key = services.vaults.get_key(call.caller, key_of(services, call))
    if key.state in ("DELETED", "PURGED"):
        raise Refusal(
            "NameTaken",
            f"a key named {key.name!r} was deleted and can still be recovered",
            hint=f"keystead key recover {key.name}, or purge it",
            kind="conflict",
        )
    return _shown(services, call.caller, key)


def read_key(services: Services, call: VaultCall) -> dict[str, Any]:
    key = services.vaults.get_key(call.caller, key_of(services, call))
    if key.state in ("DELETED", "PURGED"):
        raise not_found("key")
    return _shown(services, call.caller, key)


def list_keys(services: Services, call: VaultCall) -> dict[str, Any]:
    vault = services.vaults.vault_at(call.caller, path_of(call))
    found = every(lambda page: services.vaults.list_keys(call.caller, vault.compartment, page))
    names = [key.name for key in found if key.vault == vault.id and key.state not in ("DELETED", "PURGED")]
    if not names:
        raise not_found("key")
    return {"keys": names}


def rotate_key(services: Services, call: VaultCall) -> dict[str, Any]:
    return _shown(services, call.caller, services.vaults.rotate(call.caller, key_of(services, call)))


def configure_key(services: Services, call: Call[KeyRequest, Any]) -> dict[str, Any]:
    body = call.body
    _check_exportable(body)
    given: dict[str, Any] = {}
    if body.min_decryption_version is not None:
        given["minimum_version"] = max(1, body.min_decryption_version)
    if body.auto_rotate_period is not None:
        given["rotation_days"] = _days(body.auto_rotate_period)
    key_id, seen = key_of(services, call), None
    if body.deletion_allowed is not None:
        found = services.vaults.entry_of(call.caller, key_id).key
        tags, seen = dict(found.tags), found.version
        tags.pop(DELETION_TAG, None)
        given["tags"] = tags | ({DELETION_TAG: "true"} if body.deletion_allowed else {})
    if given:
        key = services.vaults.update_key(call.caller, key_id, KeySettings(**given), seen)
    else:
        key = services.vaults.get_key(call.caller, key_id)
    return _shown(services, call.caller, key)


def delete_key(services: Services, call: VaultCall) -> None:
    """Softly: it can be recovered, by our API, until its retention is over."""
    key = services.vaults.entry_of(call.caller, key_of(services, call)).key
    if key.state in ("DELETED", "PURGED"):
        raise not_found("key")
    if key.tags.get(DELETION_TAG) != "true":
        services.vaults.get_key(call.caller, key.id)  # who may not see it is not told this
        raise bad(
            f"error deleting policy {key.name}: deletion is not allowed for this key", "set deletion_allowed first"
        )
    services.vaults.delete(call.caller, key.id, key.version)


def _check_exportable(body: KeyRequest) -> None:
    if body.exportable or body.allow_plaintext_backup:
        raise bad("keys cannot be exported", "key material never leaves the region")


def _days(period: str | int) -> int:
    """Whole days, from seconds or from a duration such as 2160h."""
    text = str(period)
    found = _PERIOD.fullmatch(text) if not text.isdecimal() else None
    if found is not None and text:
        parts = [int(part or 0) for part in found.groups()]
        seconds = parts[0] * DAY_S + parts[1] * 3600 + parts[2] * 60 + parts[3]
    elif text.isdecimal() and len(text) < 12:
        seconds = int(text)
    else:
        raise bad("auto_rotate_period is not a duration", "write seconds, or for example 2160h")
    days, rest = divmod(seconds, DAY_S)
    if rest or (days and not 60 <= days <= 365):
        raise bad("auto rotate period must be 0 to disable, or 60 to 365 whole days")
    return days


def _shown(services: Services, caller: Caller, key: Key) -> dict[str, Any]:
    """A key as Vault shows it, after an act that let the caller see it; and, beside, our id and state."""
    suite = CURRENT[key.algorithm]
    versions = services.vaults.versions_of(caller, key.id)
    return {
        "allow_plaintext_backup": False,
        "auto_rotate_period": key.rotation_days * DAY_S,
        "deletion_allowed": key.tags.get(DELETION_TAG) == "true" and not key.lock,
        "derived": False,
        "exportable": False,
        "imported_key": any(version.origin == "imported" for version in versions),
        "keys": {
            str(version.number): _shown_version(suite, version)
            for version in versions
            if version.number >= key.minimum_version and version.state != "DELETED"
        },
        "latest_version": key.current,
        "min_available_version": 0,
        "min_decryption_version": key.minimum_version,
        "min_encryption_version": 0,
        "name": key.name,
        "soft_deleted": False,
        "supports_decryption": "decrypt" in suite.operations,
        "supports_derivation": False,
        "supports_encryption": "encrypt" in suite.operations,
        "supports_signing": "sign" in suite.operations,
        "type": TYPE_OF[key.algorithm],
        "key_id": key.id,
        "state": key.state,
    }


def _shown_version(suite: Suite, version: KeyVersion) -> Any:
    if not version.public:
        return int(version.created_at.timestamp())
    if suite.family == "ed25519":
        half, name = base64.b64encode(version.public[-32:]).decode(), "ed25519"
    else:
        half = public.pem(PublicKey(suite, version.public))
        name = f"P-{suite.bits}" if suite.family == "ec" else TYPE_OF[suite.name]
    return {
        "certificate_chain": "",
        "creation_time": version.created_at.isoformat(),
        "name": name,
        "public_key": half,
    }


OPERATIONS: tuple[Operation, ...] = (
    operation(
        "VaultCreateKey", "POST", "/keys/{key}", "Create a key, unless it is there", create_key, request=KeyRequest,
        permissions=("KEY_CREATE", "VAULT_CREATE_KEY"), root=MOUNT,
    ),
    operation("VaultReadKey", "GET", "/keys/{key}", "Show a key", read_key, permissions=("KEY_READ",), root=MOUNT),
    operation(
        "VaultListKeys", "LIST", "/keys", "List the keys of a vault", list_keys, permissions=("KEY_INSPECT",),
        root=MOUNT,
    ),
    operation(
        "VaultRotateKey", "POST", "/keys/{key}/rotate", "Make a new current version", rotate_key, request=Loose,
        permissions=("KEY_ROTATE",), root=MOUNT,
    ),
    operation(
        "VaultConfigureKey", "POST", "/keys/{key}/config", "Change a key's settings", configure_key, request=KeyRequest,
        permissions=("KEY_UPDATE",), root=MOUNT,
    ),
    operation(
        "VaultDeleteKey", "DELETE", "/keys/{key}", "Delete a key softly", delete_key, permissions=("KEY_DELETE",),
        root=MOUNT, takes_access=True,
    ),
)  # fmt: skip
