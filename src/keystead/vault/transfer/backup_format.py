"""The backup of a key, or of a part of a vault, format version 1 (docs/formats/key-backup.md). Pure.

    stream (crypto/stream) under the tenancy's backup key
      fields    {"format": "keystead-key-backup", "version": 1, "kind": "key" | "vault", "tenancy", "region", "id",
                 "name", "created_at", "keys": how many}                              readable by anyone, authenticated
      content   canonical JSON {"vault": null | {...}, "keys": [{..., "versions": [...]}]}

    backup key of a tenancy = subkey(subkey(subkey(root, "vault-store"), "key-backup"), "tenancy", context=tenancy id)

Promise: it opens for the same tenancy under the same root key, whole and unchanged, or not at all: `Unreadable` for
every cause alike, but for what the header says openly: `WrongTrustDomain` when it names another tenancy or region.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from keystead.core import canonical
from keystead.core.canonical import Value
from keystead.core.clock import parse_moment
from keystead.core.errors import Refusal, Unreadable
from keystead.core.ids import CompartmentId, KeyId, KeyVersionId, TenancyId, VaultId, looks_like_id
from keystead.core.secret import Secret
from keystead.crypto.stream import Reader, decrypt_stream, encrypt_stream, read_header
from keystead.crypto.suites import BY_NUMBER, CURRENT
from keystead.vault.model import Key, KeyVersion, Vault

FORMAT = "keystead-key-backup"
VERSION = 1
MAX_BLOB = 700 * 1024
"""What fits into a request."""
MAX_PART = 400 * 1024
"""A part of a vault's backup is closed once it holds so many bytes of content."""

Kind = Literal["key", "vault"]


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A version and its material; None where it was destroyed before."""

    version: KeyVersion
    material: Secret | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key as it was, with its versions."""

    key: Key
    versions: tuple[KeptVersion, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is in a backup. `vault` is there in parts of a vault's backup."""

    kind: Kind
    tenancy: TenancyId
    region: str
    created_at: datetime
    keys: tuple[KeptKey, ...]
    vault: Vault | None = None

    def wipe(self) -> None:
        """Overwrite the material."""
        for kept in self.keys:
            for each in kept.versions:
                if each.material is not None:
                    each.material.wipe()


def seal(kept: Kept, backup_key: Secret) -> bytes:
    """The backup. Raises: Refusal, `TooLarge`: it would not fit into a request."""
    about: Key | Vault = kept.vault if kept.vault is not None else kept.keys[0].key
    fields: dict[str, Value] = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kept.kind,
        "tenancy": kept.tenancy,
        "region": kept.region,
        "id": about.id,
        "name": about.name,
        "created_at": _moment(kept.created_at),
        "keys": len(kept.keys),
    }
    content: dict[str, Value] = {
        "vault": None if kept.vault is None else _vault(kept.vault),
        "keys": [_key(each) for each in kept.keys],
    }
    blob = b"".join(encrypt_stream(backup_key.reveal(), fields, (canonical.encode(content),)))
    if len(blob) > MAX_BLOB:
        raise Refusal(
            "TooLarge",
            f"the backup would take {len(blob)} bytes, and {MAX_BLOB} can be restored at once",
            hint="destroy versions that nothing needs any more",
            kind="too_large",
        )
    return blob


def size_of(kept: KeptKey) -> int:
    """How many bytes it takes in a backup's content."""
    return len(canonical.encode(_key(kept)))


def open_backup(blob: bytes, backup_key: Secret, tenancy: str, region: str) -> Kept:
    """What is in a backup.

    Raises:
        Refusal: `WrongTrustDomain`: it says that it is another tenancy's or region's.
        Unreadable: for every other cause alike.
    """
    if len(blob) > MAX_BLOB:
        raise Unreadable
    source = Reader((blob,))
    header = read_header(source)
    fields = header.fields
    if fields.get("format") != FORMAT or fields.get("version") != VERSION:
        raise Unreadable
    if (fields.get("tenancy"), fields.get("region")) != (tenancy, region):
        raise Refusal(
            "WrongTrustDomain",
            "this backup belongs to another tenancy or another region",
            hint="it opens where its root key is: in the same region, or one restored from that region's state backup",
            kind="conflict",
        )
    content = b"".join(decrypt_stream(backup_key.reveal(), source, header))
    try:
        return _content(fields, json.loads(content))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # raised below, so that no cause hangs on the error
    raise Unreadable


def _key(kept: KeptKey) -> dict[str, Value]:
    key = kept.key
    return {
        "id": key.id,
        "name": key.name,
        "compartment": key.compartment,
        "vault": key.vault,
        "algorithm": key.algorithm,
        "suite": CURRENT[key.algorithm].number,
        "current": key.current,
        "created_at": _moment(key.created_at),
        "operations": list(key.operations),
        "not_before": _maybe(key.not_before),
        "expires_at": _maybe(key.expires_at),
        "retention_days": key.retention_days,
        "purge_protection": key.purge_protection,
        "lock": key.lock,
        "tags": _pairs(key.tags),
        "rotation_days": key.rotation_days,
        "rotated_at": _maybe(key.rotated_at),
        "minimum_version": key.minimum_version,
        "versions": [_version(each) for each in kept.versions],
    }


def _version(kept: KeptVersion) -> dict[str, Value]:
    version = kept.version
    return {
        "id": version.id,
        "number": version.number,
        "created_at": _moment(version.created_at),
        "material": _b64(kept.material.reveal()) if kept.material is not None else None,
        "public": _b64(version.public),
        "origin": version.origin,
        "state": version.state,
        "fingerprint": _b64(version.fingerprint),
    }


def _vault(vault: Vault) -> dict[str, Value]:
    return {
        "id": vault.id,
        "name": vault.name,
        "compartment": vault.compartment,
        "protection": vault.protection,
        "kind": vault.kind,
        "created_at": _moment(vault.created_at),
        "retention_days": vault.retention_days,
        "purge_protection": vault.purge_protection,
        "lock": vault.lock,
        "networks": list(vault.networks),
        "trusted_services": list(vault.trusted_services),
        "key_limit": vault.key_limit,
        "tags": _pairs(vault.tags),
    }


def _content(fields: Mapping[str, Any], found: Mapping[str, Any]) -> Kept:
    tenancy, made = TenancyId(fields["tenancy"]), parse_moment(fields["created_at"])
    vault = None if found["vault"] is None else _read_vault(tenancy, found["vault"])
    keys = tuple(_read_key(tenancy, each, made) for each in found["keys"])
    if fields["kind"] not in ("key", "vault") or (fields["kind"] == "vault") != (vault is not None):
        raise ValueError("another kind")
    if len(keys) != fields["keys"] or (vault is None and len(keys) != 1):
        raise ValueError("another number of keys")
    return Kept(fields["kind"], tenancy, fields["region"], made, keys, vault)


def _read_key(tenancy: TenancyId, found: Mapping[str, Any], made: datetime) -> KeptKey:
    if BY_NUMBER[found["suite"]].name != found["algorithm"] or not looks_like_id(found["id"], "key"):
        raise ValueError("another algorithm")
    key = Key(
        id=KeyId(found["id"]),
        tenancy=tenancy,
        compartment=CompartmentId(found["compartment"]),
        vault=VaultId(found["vault"]),
        name=found["name"],
        algorithm=found["algorithm"],
        state="DISABLED",
        current=found["current"],
        created_at=parse_moment(found["created_at"]),
        changed_by="",
        changed_at=made,
        operations=tuple(found["operations"]),
        not_before=_read_moment(found["not_before"]),
        expires_at=_read_moment(found["expires_at"]),
        retention_days=found["retention_days"],
        purge_protection=found["purge_protection"],
        lock=found["lock"],
        tags=_read_pairs(found["tags"]),
        rotation_days=found["rotation_days"],
        rotated_at=_read_moment(found["rotated_at"]),
        minimum_version=found["minimum_version"],
        backed_up_at=made,
    )
    versions = tuple(_read_version(key, each) for each in found["versions"])
    numbers = [each.version.number for each in versions]
    if sorted(set(numbers)) != numbers or key.current not in numbers:
        raise ValueError("its versions do not fit")
    return KeptKey(key, versions)


def _read_version(key: Key, found: Mapping[str, Any]) -> KeptVersion:
    material = None if found["material"] is None else Secret(_bytes(found["material"]))
    version = KeyVersion(
        id=KeyVersionId(found["id"]),
        key=key.id,
        number=found["number"],
        wrapped=b"",
        created_at=parse_moment(found["created_at"]),
        public=_bytes(found["public"]),
        origin=found["origin"],
        state=found["state"] if material is not None else "DELETED",
        fingerprint=_bytes(found["fingerprint"]),
    )
    return KeptVersion(version, material)


def _read_vault(tenancy: TenancyId, found: Mapping[str, Any]) -> Vault:
    made = parse_moment(found["created_at"])
    return Vault(
        id=VaultId(found["id"]),
        tenancy=tenancy,
        compartment=CompartmentId(found["compartment"]),
        name=found["name"],
        protection=found["protection"],
        created_at=made,
        changed_by="",
        changed_at=made,
        kind=found["kind"],
        retention_days=found["retention_days"],
        purge_protection=found["purge_protection"],
        lock=found["lock"],
        networks=tuple(found["networks"]),
        trusted_services=tuple(found["trusted_services"]),
        key_limit=found["key_limit"],
        tags=_read_pairs(found["tags"]),
    )


def _pairs(tags: Mapping[str, str]) -> Sequence[Sequence[str]]:
    """As pairs: names of tags need not be ASCII."""
    return [[name, text] for name, text in sorted(tags.items())]


def _read_pairs(found: Sequence[Sequence[str]]) -> dict[str, str]:
    return {name: text for name, text in found}  # noqa: C416 (each is exactly a pair)


def _moment(moment: datetime) -> str:
    return moment.isoformat()


def _maybe(moment: datetime | None) -> str | None:
    return None if moment is None else _moment(moment)


def _read_moment(text: str | None) -> datetime | None:
    return None if text is None else parse_moment(text)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
