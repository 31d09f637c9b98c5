"""The key-value engine, version 2, of the Vault dialect, for reading: what may be known of a key.

A secret at `<mount>/data/<key>` is a key of ours, its versions are the key's. Key material never leaves the region, so
what is read is what the key is, and the public half where there is one: a client that verifies signatures or wraps for
a key needs no transit engine to learn it. Nothing is written here.
"""

from datetime import datetime
from typing import Any

from keystead.core.errors import not_found
from keystead.crypto import public
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.suites import CURRENT
from keystead.vault.model import Key, KeyVersion
from keystead.web.dialects.vault_keys import MOUNT, TYPE_OF, key_of, list_keys
from keystead.web.dialects.vault_words import VaultCall, bad, operation
from keystead.web.operations import Operation
from keystead.web.services import Services


def read_secret(services: Services, call: VaultCall) -> dict[str, Any]:
    """One version, the current one unless `?version=` names another."""
    key, versions = _found(services, call)
    wanted = call.query.get("version", "0")
    if not wanted.isdecimal() or len(wanted) > 9:
        raise bad("version is not a number")
    number = int(wanted) or key.current
    version = next((each for each in versions if each.number == number), None)
    if version is None or version.state == "DELETED":
        raise not_found("secret")
    data = {"key_id": key.id, "type": TYPE_OF[key.algorithm], "state": _state(key, version)}
    if version.public:
        data["public_key"] = public.pem(PublicKey(CURRENT[key.algorithm], version.public))
    return {"data": data, "metadata": {**_times(version), "version": number, "custom_metadata": dict(key.tags) or None}}


def read_metadata(services: Services, call: VaultCall) -> dict[str, Any]:
    """What is known of all versions."""
    key, versions = _found(services, call)
    return {
        "cas_required": False,
        "created_time": key.created_at.isoformat(),
        "updated_time": key.changed_at.isoformat(),
        "current_version": key.current,
        "oldest_version": min((each.number for each in versions), default=1),
        "max_versions": 0,
        "delete_version_after": "0s",
        "custom_metadata": dict(key.tags) or None,
        "versions": {str(each.number): _times(each) for each in versions},
    }


def _found(services: Services, call: VaultCall) -> tuple[Key, list[KeyVersion]]:
    key = services.vaults.get_key(call.caller, key_of(services, call))
    if key.state in ("DELETED", "PURGED"):
        raise not_found("secret")
    return key, list(services.vaults.versions_of(call.caller, key.id))


def _state(key: Key, version: KeyVersion) -> str:
    return key.state if key.state != "ENABLED" else version.state


def _times(version: KeyVersion) -> dict[str, Any]:
    ends: datetime | None = version.deletion_at
    return {
        "created_time": version.created_at.isoformat(),
        "deletion_time": ends.isoformat() if ends is not None else "",
        "destroyed": version.state == "DELETED",
    }


OPERATIONS: tuple[Operation, ...] = (
    operation(
        "VaultReadSecret", "GET", "/data/{key}", "Show a version of a key, with its public half", read_secret,
        permissions=("KEY_READ",), root=MOUNT,
    ),
    operation(
        "VaultReadMetadata", "GET", "/metadata/{key}", "Show the versions of a key", read_metadata,
        permissions=("KEY_READ",), root=MOUNT,
    ),
    operation(
        "VaultListSecrets", "LIST", "/metadata", "List the keys of a vault", list_keys, permissions=("KEY_INSPECT",),
        root=MOUNT,
    ),
)  # fmt: skip
