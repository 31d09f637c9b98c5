"""Vaults, keys and their versions, and the acts of their lives."""

import base64

from tests.fakes.region.cryptography import crypto, crypto_batch
from tests.fakes.region.routes import Request, base64_of, check_origin, no_clash, route, rows
from tests.fakes.region.state import LATER, MOMENT, Json, Refused, Region, base32

LIFE: Json = {
    "state": "ENABLED", "deletion_at": None, "purge_at": None, "retention_days": 90, "purge_protection": False,
    "lock": "", "tags": {}, "changed_by": "olivia", "changed_at": MOMENT,
}  # fmt: skip
VAULT_SETTINGS: Json = {"networks": [], "trusted_services": [], "key_limit": 0}
KEY_SETTINGS: Json = {
    "operations": [], "not_before": None, "expires_at": None, "rotation_days": 0, "next_rotation_at": None,
    "rotated_at": None, "minimum_version": 1, "backed_up_at": None,
}  # fmt: skip

rows("vault", "/vaults/{vault_id}", change="PATCH")
rows("key", "/keys/{key_id}", change="PATCH")


@route("POST", "/vaults")
def create_vault(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "vault", ask.body["name"], compartment_id=ask.body["compartment_id"])
    made = {"protection": "software", "kind": "shared", **LIFE, **VAULT_SETTINGS, "state": "ACTIVE", **ask.body}
    return 201, ask.region.keep("vault", **made)


@route("POST", "/keys")
def create_key(ask: Request) -> tuple[int, Json]:
    no_clash(ask.region, "key", ask.body["name"], compartment_id=ask.body["compartment_id"])
    ask.region.get("vault", ask.body["vault_id"])
    return 201, new_key(ask.region, ask.body)


def new_key(region: Region, body: Json) -> Json:
    usual = {"algorithm": "AES-256", "protection": "software", **LIFE, **KEY_SETTINGS, "current_version": 1}
    return region.keep("key", **{**usual, **body})


@route("GET", "/keys/{key_id}/versions")
def list_versions(ask: Request, key_id: str) -> Json:
    return ask.page([version(key_id, it + 1) for it in range(ask.region.get("key", key_id)["current_version"])])


def version(key_id: str, number: int, state: str = "ENABLED") -> Json:
    shown = {"state": state, "origin": "generated", "deletion_at": None, "created_at": MOMENT}
    return {"id": f"ks1.keyversion.main.home.{base32(number)}", "key_id": key_id, "number": number, **shown}


def number_of(version_id: str) -> int:
    return int.from_bytes(base64.b32decode(version_id.rpartition(".")[2].upper()), "big")


@route("GET", "/keys/{key_id}/versions/{key_version_id}")
def get_version(ask: Request, key_id: str, key_version_id: str) -> Json:
    return version(key_id, number_of(key_version_id))


@route("POST", "/keys/{key_id}/versions/{key_version_id}/actions/{verb}")
def act_on_version(ask: Request, key_id: str, key_version_id: str, verb: str) -> Json:
    state = {"enable": "ENABLED", "schedule-deletion": "PENDING_DELETION"}.get(verb, "DISABLED")
    return version(key_id, number_of(key_version_id), state)


@route("DELETE", "/keys/{key_id}")
def delete_key(ask: Request, key_id: str) -> Json:
    return deleted(ask, ask.region.get("key", key_id))


@route("DELETE", "/vaults/{vault_id}")
def delete_vault(ask: Request, vault_id: str) -> Json:
    return deleted(ask, ask.region.get("vault", vault_id))


def deleted(ask: Request, thing: Json) -> Json:
    check_origin(thing, "delete", {"ACTIVE", "ENABLED", "DISABLED", "PENDING_DELETION"})
    return ask.region.change(thing, ask.seen, state="DELETED", deletion_at=None, purge_at=LATER)


@route("POST", "/vaults/{vault_id}/actions/{verb}")
def act_on_vault(ask: Request, vault_id: str, verb: str) -> Json:
    if verb == "generate-random":
        ask.region.get("vault", vault_id)
        return {"random_bytes": base64_of(bytes(range(ask.body.get("length", 32))))}
    return lived(ask, ask.region.get("vault", vault_id), verb, "ACTIVE")


def lived(ask: Request, thing: Json, verb: str, back: str) -> Json:
    """What becomes of a vault or a key by one of the acts of its life."""
    origins = {"cancel-deletion": {"PENDING_DELETION"}, "recover": {"DELETED"}, "purge": {"DELETED"}}
    origins["schedule-deletion"] = {"ACTIVE", "ENABLED", "DISABLED"}
    check_origin(thing, verb, origins.get(verb))
    changes: Json = {
        "schedule-deletion": {"state": "PENDING_DELETION", "deletion_at": LATER},
        "cancel-deletion": {"state": back, "deletion_at": None},
        "recover": {"state": back, "purge_at": None},
        "purge": {"state": "PURGED", "purge_at": None},
        "lock": {"lock": (ask.body or {}).get("lock", "")},
        "unlock": {"lock": ""},
        "move": {"compartment_id": (ask.body or {}).get("compartment_id", "")},
    }
    return ask.region.change(thing, ask.seen, **changes[verb])


@route("GET", "/keys/{key_id}/public-key")
def public_key(ask: Request, key_id: str) -> Json:
    key = ask.region.get("key", key_id)
    pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    number = int(ask.query.get("key_version", key["current_version"]))
    shown = {"pem": pem, "jwk": {"kty": "OKP", "kid": "k"}, "schemes": ["ED25519"], "algorithm": "ED25519"}
    return {"key_id": key_id, "key_version": number, **shown}


@route("POST", "/keys/{key_id}/actions/{verb}")
def act_on_key(ask: Request, key_id: str, verb: str) -> Json:
    key = ask.region.get("key", key_id)
    move = {"enable": ("DISABLED", "ENABLED"), "disable": ("ENABLED", "DISABLED")}.get(verb)
    if move is not None:
        if key["state"] != move[0]:
            raise Refused(409, "IllegalState", f"key {key['name']!r} is {key['state']}: it cannot {verb}")
        return ask.region.change(key, ask.seen, state=move[1])
    if verb in ("schedule-deletion", "cancel-deletion", "recover", "purge", "lock", "unlock", "move"):
        return lived(ask, key, verb, "DISABLED")
    if verb == "rotate":
        return ask.region.change(key, ask.seen, current_version=key["current_version"] + 1)
    if key["state"] == "DISABLED":
        raise Refused(409, "KeyDisabled", f"key {key['name']!r} is disabled", "an administrator can enable it")
    if verb.endswith("-batch"):
        return crypto_batch(key, verb.removesuffix("-batch"), ask.body)
    return crypto(key, verb, ask.body)
