"""Bring your own key, and backups of keys: real wrapping, so that what arrives can be looked at."""

import base64

from tests.fakes.region.routes import Request, base64_of, route
from tests.fakes.region.state import LATER, MOMENT, Json
from tests.fakes.region.vault import new_key

from keystead.crypto import asymmetric, byok, checkvalue, transport
from keystead.crypto.public import pem
from keystead.crypto.suites import suite_of


def wrapping_key(ask: Request, vault: str, key: str | None, algorithm: str) -> tuple[int, Json]:
    way = ask.body.get("wrapping_algorithm", "HPKE-X25519-MLKEM768")
    suite = transport.wrapping_suite(way)
    private = asymmetric.generate(suite)
    spki = pem(asymmetric.PrivateKey(suite, private).public)
    shown = {"vault_id": vault, "key_id": key, "algorithm": algorithm, "wrapping_algorithm": way, "public_key": spki}
    made = ask.region.note("wrappingkey", **shown, expires_at=LATER, created_at=MOMENT)
    ask.region.private[made["id"]] = private
    return 201, made


@route("POST", "/vaults/{vault_id}/wrapping-keys")
def create_wrapping_key(ask: Request, vault_id: str) -> tuple[int, Json]:
    return wrapping_key(ask, vault_id, None, ask.body.get("algorithm", "AES-256"))


@route("POST", "/keys/{key_id}/wrapping-keys")
def create_version_wrapping_key(ask: Request, key_id: str) -> tuple[int, Json]:
    key = ask.region.get("key", key_id)
    return wrapping_key(ask, key["vault_id"], key_id, key["algorithm"])


def arrived(ask: Request) -> tuple[Json, str]:
    row = ask.region.get("wrappingkey", ask.body["wrapping_key_id"])
    private, blob = ask.region.private[row["id"]], base64.b64decode(ask.body["wrapped_key"])
    if ask.body["format"] == "byok":
        plain = transport.unwrap_transfer(private, byok.read(blob).wrapped)
    else:
        plain = transport.unwrap(row["wrapping_algorithm"], private, blob)
    ask.region.arrived.append(plain.reveal())
    suite = suite_of(row["algorithm"])
    return row, ask.region.told or checkvalue.of_material(suite, plain)


@route("POST", "/keys/actions/import")
def import_key(ask: Request) -> tuple[int, Json]:
    row, told = arrived(ask)
    body = {name: value for name, value in ask.body.items() if name not in ("wrapping_key_id", "wrapped_key", "format")}
    key = new_key(ask.region, {"algorithm": row["algorithm"], **body})
    return 201, {"key": key, "key_version": 1, "key_check_value": told}


@route("POST", "/keys/{key_id}/actions/import-version")
def import_version(ask: Request, key_id: str) -> Json:
    _, told = arrived(ask)
    key = ask.region.get("key", key_id)
    key = ask.region.change(key, ask.seen, current_version=key["current_version"] + 1)
    return {"key": key, "key_version": key["current_version"], "key_check_value": told}


@route("POST", "/keys/{key_id}/actions/backup")
def back_up_key(ask: Request, key_id: str) -> Json:
    return {"key": ask.region.get("key", key_id), "backup": base64_of(key_id.encode())}


@route("POST", "/keys/actions/restore")
def restore_key(ask: Request) -> tuple[int, Json]:
    key = ask.region.get("key", base64.b64decode(ask.body["backup"]).decode())
    return 201, {"key": ask.region.change(key, None, state="DISABLED"), "warnings": ["rotate it"]}


@route("POST", "/vaults/{vault_id}/actions/backup")
def back_up_vault(ask: Request, vault_id: str) -> Json:
    """In two parts."""
    after = None if ask.body["after"] else "more"
    blob = base64_of(vault_id.encode())
    left_out = ["in-token"] if ask.body["leave_out"] else []
    return {
        "vault": ask.region.get("vault", vault_id), "backup": blob, "keys": 2, "left_out": left_out, "after": after,
    }  # fmt: skip


@route("POST", "/vaults/actions/restore")
def restore_vault(ask: Request) -> tuple[int, Json]:
    vault = ask.region.get("vault", base64.b64decode(ask.body["backup"]).decode())
    return 201, {"vault": vault, "restored": 1, "present": 1, "warnings": []}
