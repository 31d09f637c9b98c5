"""One valid request for every operation of the table, built from the ids of a region."""

import re
from typing import Any

import msgspec
from tests.fakes.inventory import MemoryBackups
from tests.web.region import API_KEYS, PASSWORD, Region

from keystead.databases.dependants import DatabaseDependants
from keystead.vault.insight.inventory import counted
from keystead.web.api import TABLE
from keystead.web.operations import Operation

OPERATIONS = {operation.name: operation for operation in TABLE}
# Open to everybody, or to whoever is signed in: nothing to refuse.
PUBLIC = {
    "BeginDeviceLogin",
    "RedeemLogin",
    "GetJwks",
    "GetHealth",
    "GetOpenApi",
    "SignIn",
    "BeginFactor",
    "ProveFactor",
    "GetSeal",
    "Unseal",
    "ResetUnseal",
}
OWN = {
    "WhoAmI", "SignOut", "ExchangeToken", "RefreshToken", "ListSessions", "EndSession", "EnrolTotp", "EnrolWebAuthn",
    "ConfirmFactor", "CreateRecoveryCodes", "ListSignIns", "AnswerSignIn",
}  # fmt: skip
PUBLIC |= {"StartFederatedSignIn", "FederatedSignInCallback", "FinishFederatedSignIn"}
GUARDED = [name for name in OPERATIONS if name not in PUBLIC | OWN]
# Acts that only a key with two halves can do: they are tried on one.
SIGNING = {"Sign", "Verify", "SignBatch", "VerifyBatch", "GetPublicKey"}
HOST = {"IssueSystemSession", "Watch", "OpenStoreKey", "ReportNode", "DecideLogin", "CheckLogins", "ReportMappings"}
PROVIDER = {"issuer": "https://id.example.com", "client_id": "keystead", "client_secret": "shared"}


def body_of(region: Region, name: str, prefix: str = "") -> Any:
    """A valid body, or None for operations that take none."""
    ids = {key: region.ids[prefix + key] for key in region.ids if not key.startswith("other_")}
    place = {"compartment_id": ids["compartment_id"]}
    here = f"Allow group Some to {{}} keys in compartment id {ids['compartment_id']}"
    bodies: dict[str, Any] = {
        "Unseal": {"kind": "share", "secret": "share"},
        "SignIn": {"tenancy": "acme", "user": "root", "password": PASSWORD},
        "CreateCompartment": {"parent_id": ids["tenancy"], "name": "new"},
        "CreateUser": {"name": "new", "description": "somebody new"},
        "UpdateUser": {"state": "BLOCKED"},
        "CreateAuthToken": {"name": "new", "days": 30},
        "CreateApiKey": {"name": "new", "public_key": API_KEYS[1]},
        "ExchangeToken": {"audience": "databases"},
        "CreateGroup": {"name": "New"},
        "UpdateSignInSettings": {"factor_from": "medium", "refuse_from": "never"},
        "UpdateGroup": {"break_glass_minutes": 60},
        "TagGroup": {"tags": {"ops.team": "dba"}},
        "TagCompartment": {"tags": {"ops.env": "prod", "note": "ours"}},
        "BeginBreakGlass": {"user_id": ids["user_id"], "seconds": 60, "reason": "because"},
        "ExplainPolicy": {
            "principal_id": ids["user_id"],
            "action": "KEY_DECRYPT",
            "resource_id": ids["key_id"],
        },
        "WhoCan": {"action": "use keys", "resource_id": ids["compartment_id"]},
        "SimulatePolicy": place | {"statements": [here.format("use")]},
        "CreateDynamicGroup": {"name": "new", "matching_rule": "ALL {resource.type = 'mysqldbsystem'}"},
        "UpdateDynamicGroup": {"matching_rule": "ANY {resource.type = 'mysqldbsystem'}"},
        "CreateNetworkSource": {"name": "new", "networks": ["192.0.2.0/24"]},
        "UpdateNetworkSource": {"networks": ["2001:db8::/32"]},
        "RotateTokenKeys": {"at_once": False},
        "CreateTenancy": {"name": "initech", "admin": "ada"},
        "CreateApprovalRule": {"compartment_id": ids["ruled_id"]}
        | {"name": "new", "operations": ["CreateUser"], "group_id": ids["approvers_id"], "needed": 1},
        "UpdateApprovalRule": {"operations": ["CreateUser"], "group_id": ids["approvers_id"], "needed": 1},
        "CreatePolicy": place | {"name": "new", "statements": [here.format("use")]},
        "UpdatePolicy": {"statements": [here.format("inspect")]},
        "CreateIdentityProvider": PROVIDER
        | {"name": "new", "group_mappings": [{"value": "dba", "group_id": ids["group_id"], "precedence": 10}]},
        "UpdateIdentityProvider": {"just_in_time": True, "scopes": ["openid", "groups"]},
        "LinkFederatedUser": {"subject": "s-1"},
        "CreateVault": place | {"name": "new"},
        "CreateKey": place | {"name": "new", "vault_id": ids["vault_id"]},
        "UpdateVault": {"key_limit": 100, "networks": ["192.0.2.0/24"]},
        "UpdateKey": {"rotation_days": 90, "expires_at": "2030-01-01T00:00:00Z", "tags": {"team": "dba"}},
        "ScheduleKeyDeletion": {"days": 7},
        "ScheduleVaultDeletion": {"days": 7},
        "ScheduleKeyVersionDeletion": {"days": 7},
        "LockKey": {"lock": "CanNotDelete"},
        "LockVault": {"lock": "ReadOnly"},
        "MoveKey": place,
        "MoveVault": place,
        "Encrypt": {"plaintext": "d29yZHM="},
        "Decrypt": {"ciphertext": ids["encrypted"]},
        "Wrap": {"key_material": "d29yZHM="},
        "Unwrap": {"ciphertext": ids["wrapped"]},
        "Rewrap": {"ciphertext": ids["wrapped"]},
        "GenerateDataKey": {},
        "Sign": {"message": "d29yZHM="},
        "Verify": {"message": "d29yZHM=", "signature": "AAAA"},
        "GenerateRandom": {"length": 16},
        "EncryptBatch": {"items": [{"plaintext": "d29yZHM="}]},
        "DecryptBatch": {"items": [{"ciphertext": ids["encrypted"]}]},
        "WrapBatch": {"items": [{"key_material": "d29yZHM="}], "atomic": True},
        "UnwrapBatch": {"items": [{"ciphertext": ids["wrapped"]}, {"ciphertext": "AAAA"}]},
        "RewrapBatch": {"items": [{"ciphertext": ids["wrapped"]}]},
        "SignBatch": {"items": [{"message": "d29yZHM="}]},
        "VerifyBatch": {"items": [{"message": "d29yZHM=", "signature": "AAAA"}]},
        "CreateWrappingKey": {"algorithm": "AES-256"},
        "CreateVersionWrappingKey": {"expires_in_hours": 1},
        "ImportKey": place
        | {
            "name": "imported",
            "vault_id": ids["vault_id"],
            "wrapping_key_id": ids["wrapping_key_id"],
            "wrapped_key": ids["wrapped_key"],
        },
        "ImportKeyVersion": {
            "wrapping_key_id": ids["version_wrapping_key_id"],
            "wrapped_key": ids["version_wrapped_key"],
        },
        "BackUpVault": {"leave_out": True},
        "RestoreKey": {"backup": ids["key_backup"]},
        "RestoreVault": {"backup": ids["vault_backup"]},
        "CreateDbSystem": place | {"name": "new", "key_id": ids["key_id"]},
        "TagDbSystem": {"tags": {"ops.env": "prod"}},
        "UpdateDbSystem": {"deletion_protection": False},
        "ChangeDbSystemKey": {"key_id": ids["key_id"]},
        "CreateBackup": {"db_system_id": ids["db_system_id"], "name": "new"},
        "RestoreBackup": place | {"name": "restored"},
        "MapLogin": {"kind": "group", "subject_id": ids["group_id"], "roles": ["reader"]},
        "DecideLogin": {
            "client": "token",
            "user": "people",
            "account_text": ids["account_text"],
            "nonce": "",
            "payload": ids["login_token"],
            "address": "192.0.2.7",
            "connection": 1,
        },
        "CheckLogins": {"held": []},
        "IssueSystemSession": {"public_key": API_KEYS[0]},
        "ReportMappings": {"reports": [{"mapping": ids["login_mapping_id"]}]},
        "Watch": {"known_generation": 0, "wait_ms": 0},
        "ReportNode": {"system_id": ids["db_system_id"], "event": "running"},
    }
    return bodies.get(name)


def target_of(region: Region, operation: Operation, prefix: str = "") -> str:
    """The operation's path with the ids of what is there, and the query it must have."""
    names = {"key_id": "signing_key_id"} if operation.name in SIGNING else {}
    path = re.sub(r"\{(\w+)\}", lambda found: region.ids[prefix + names.get(found[1], found[1])], operation.path)
    if operation.query is None:
        return path
    asked = {field.encode_name for field in msgspec.structs.fields(operation.query)}
    extra = ["if=delete"] if "if" in asked else []
    if "confirm_needed_by" in asked:
        extra.append(
            f"confirm_needed_by={needed_now(region, prefix, 1 if 'key_version_id' in operation.parameters else None)}"
        )
    needed = {name for name in ("compartment_id", "parent_id") if name in operation.query.__struct_fields__}
    query = "&".join([*(f"{name}={region.ids[prefix + 'compartment_id']}" for name in sorted(needed)), *extra])
    return f"{path}?{query}" if query else path


def needed_now(region: Region, prefix: str = "", version: int | None = None) -> int:
    """By how many things the key (the only one of its vault that anything needs), or a version of it, is needed."""
    tenancy, key_id = region.ids[prefix + "tenancy"], region.ids[prefix + "key_id"]
    with region.store.read() as tx:
        key = tx.vault.key(tenancy, key_id)
        return 0 if key is None else len(counted(DatabaseDependants(MemoryBackups()).survey().needs(tx, key), version))
