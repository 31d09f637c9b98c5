"""The walk over the table: each promise that every operation makes, held by every operation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.web.region import PASSWORD, Region, approve, open_region, unheard
from tests.web.samples import GUARDED, HOST, OPERATIONS, OWN, PUBLIC, body_of, needed_now, target_of

from keystead.core.secret import Secret
from keystead.iam.actions import SERVICE_GRANTS, granting
from keystead.iam.approvals.operations import ABOUT_A_RULE
from keystead.web.api import TABLE
from keystead.web.operations import PARAMETERS


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


@pytest.fixture
def fresh(tmp_path: Path) -> Region:
    return open_region(tmp_path)


@pytest.fixture
def ask(region: Region) -> Iterator[Any]:
    client = region.client("nobody")

    def send(name: str, token: str, prefix: str = "", **given: Any) -> Any:
        operation = OPERATIONS[name]
        if "raw" not in given:
            given.setdefault("body", body_of(region, name, prefix))
        return client.call(operation.method, target_of(region, operation, prefix), token=token, **given)

    yield send
    client.close()


def refused_and_recorded(region: Region, reply: Any, before: int, generation: int, name: str) -> Any:
    """The answer is of the one shape, there is exactly one entry for it, durable, and nothing was changed."""
    assert set(reply.json) == {"code", "message", "hint", "request_id"}, reply.body
    new = region.log.entries[before:]
    assert [entry.outcome for entry in new] == ["refused"], new
    entry = new[0]
    assert entry.operation == name and entry.code == reply.json["code"]
    assert entry.request_id == reply.json["request_id"] and entry.source == "192.0.2.7"
    assert region.log.durable == len(region.log.entries)
    assert region.services.generation() == generation
    return entry


@pytest.mark.parametrize("name", GUARDED)
def test_a_caller_who_may_do_nothing_is_refused_and_it_is_recorded(region: Region, ask: Any, name: str) -> None:
    before, generation = len(region.log.entries), region.services.generation()
    reply = ask(name, region.tokens["nobody"])
    assert reply.status in (403, 404), reply.body
    entry = refused_and_recorded(region, reply, before, generation, name)
    assert (entry.principal_name, entry.tenancy) == ("nobody", region.ids["tenancy"])


@pytest.mark.parametrize("name", [name for name in GUARDED if OPERATIONS[name].parameters or name in HOST])
def test_the_other_tenancy_sees_nothing(region: Region, ask: Any, name: str) -> None:
    before, generation = len(region.log.entries), region.services.generation()
    reply = ask(name, region.tokens["other_root"])
    assert reply.status in ((403, 404) if name in HOST else (404,)), reply.body
    refused_and_recorded(region, reply, before, generation, name)


@pytest.mark.parametrize("name", [*GUARDED, *sorted(OWN)])
def test_no_forged_expired_or_revoked_token_is_taken(region: Region, ask: Any, name: str) -> None:
    good = region.tokens["root"]
    head, payload, signature = good.split(".")
    forged = f"{head}.{payload}.{signature[:-4]}AAAA"
    other_head = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    for token in ("", "x", forged, f"{other_head}.{payload}.", good[:-1], good + "x", "a" * 5000):
        before, generation = len(region.log.entries), region.services.generation()
        reply = ask(name, token)
        assert (reply.status, reply.json["code"]) == (401, "NotAuthenticated"), (token, reply.body)
        refused_and_recorded(region, reply, before, generation, name)


def bad_bodies(name: str) -> list[tuple[bytes, str]]:
    operation = OPERATIONS[name]
    if operation.request is None:
        return [(b'{"unknown": 1}', "application/json"), (b"x", "text/plain")]
    fields = msgspec.structs.fields(operation.request)
    wrong = [(msgspec.json.encode({field.encode_name: {"a": [1]}}), "application/json") for field in fields]
    return [
        *wrong,
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'"text"', "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'{"unknown": 1}', "application/json"),
        (b"{}", "text/plain"),
    ]


@pytest.mark.parametrize("name", [name for name in [*GUARDED, "SignIn"] if OPERATIONS[name].method != "GET"])
def test_bad_bodies_are_refused_and_change_nothing(region: Region, ask: Any, name: str) -> None:
    for raw, kind in bad_bodies(name):
        before, generation = len(region.log.entries), region.services.generation()
        reply = ask(name, region.tokens["root"], raw=raw, headers={"content-type": kind})
        assert reply.status in (400, 415), (raw, reply.status, reply.body)
        assert reply.json["message"] and (reply.json["hint"] or "must be" in reply.json["message"])
        refused_and_recorded(region, reply, before, generation, name)


@pytest.mark.parametrize("name", [*GUARDED, "SignIn"])
def test_oversized_bodies_and_unknown_parameters_are_refused(region: Region, name: str) -> None:
    client = region.client("root")
    operation = OPERATIONS[name]
    target = target_of(region, operation)
    joint = "&" if "?" in target else "?"
    reply = client.call(operation.method, f"{target}{joint}unknown=1", body_of(region, name))
    assert (reply.status, reply.json["code"]) == (400, "InvalidParameter")
    if operation.method != "GET":
        reply = client.call(operation.method, target, raw=b" " * (1 << 20) + b" ")
        assert (reply.status, reply.json["code"]) == (413, "TooLarge")
    client.close()


@pytest.mark.parametrize("name", [name for name in GUARDED if OPERATIONS[name].parameters])
def test_malformed_ids_are_refused(region: Region, name: str) -> None:
    client = region.client("root")
    operation = OPERATIONS[name]
    for bad in ("x", "..", "%00", "%2e%2e%2f", "a" * 300, region.ids["job_id"].replace("job", "machine"), "'--"):
        path = operation.path
        for parameter in operation.parameters:
            path = path.replace(f"{{{parameter}}}", bad)
        reply = client.call(operation.method, path, body_of(region, name))
        assert (reply.status, reply.json["code"]) == (400, "InvalidId"), (bad, reply.body)
        assert reply.json["hint"]
    client.close()


@pytest.mark.parametrize("name", [name for name in GUARDED if OPERATIONS[name].moves])
def test_a_stale_if_match_is_refused(region: Region, ask: Any, name: str) -> None:
    before, generation = len(region.log.entries), region.services.generation()
    reply = ask(name, region.tokens["root"], headers={"if-match": '"999"'})
    assert (reply.status, reply.json["code"]) == (412, "Stale"), reply.body
    refused_and_recorded(region, reply, before, generation, name)


# The order in which the administrator can do everything once: what must be enabled or running before something else.
ORDER = [
    *[name for name in GUARDED if OPERATIONS[name].method == "GET"],
    "DecideLogin", "CheckLogins", "ReportMappings", "MapLogin", "UnmapLogin",
    "CreateApprovalRule", "UpdateApprovalRule", "DeleteApprovalRule", "Approve", "Reject", "WithdrawApproval",
    "UpdateGroup", "TagGroup", "RemoveGroupMember", "BeginBreakGlass", "EndBreakGlass",
    "ExplainPolicy", "WhoCan", "SimulatePolicy",
    "CreateCompartment", "TagCompartment", "CreateUser", "UpdateUser", "CreateAuthToken", "DeleteAuthToken",
    "CreateApiKey", "DeleteApiKey", "UpdateSignInSettings", "RemoveFactor", "ForgetDevice", "ResetPassword",
    "RevokeUserTokens", "CreateGroup",
    "AddGroupMember", "CreateIdentityProvider", "LinkFederatedUser", "UpdateIdentityProvider",
    "CreatePolicy", "UpdatePolicy", "DeletePolicy", "DeleteGroup",
    "UnlinkFederatedUser", "DeleteIdentityProvider", "DeleteUser",
    "CreateDynamicGroup", "UpdateDynamicGroup", "DeleteDynamicGroup", "CreateNetworkSource", "UpdateNetworkSource",
    "DeleteNetworkSource", "RotateTokenKeys", "CreateTenancy",
    "CreateVault", "CreateKey", "RotateKey", "Encrypt", "Decrypt", "Wrap", "Unwrap", "Rewrap", "GenerateDataKey",
    "Sign", "Verify", "EncryptBatch", "DecryptBatch", "WrapBatch", "UnwrapBatch", "RewrapBatch", "SignBatch",
    "VerifyBatch", "GenerateRandom", "CreateWrappingKey", "CreateVersionWrappingKey", "ImportKey", "ImportKeyVersion",
    "BackUpKey", "RestoreKey", "BackUpVault", "RestoreVault",
    "CreateDbSystem", "UpdateDbSystem", "TagDbSystem", "ChangeDbSystemKey", "ConfirmDbSystem", "RevalidateDbSystem",
    "DeleteDbSystemIdentity", "RestoreDbSystemIdentity", "CreateBackup", "RestoreBackup", "DeleteBackup",
    "IssueSystemSession", "RevokeDbSystemTokens",
    "StopDbSystem", "StartDbSystem", "RestartDbSystem", "VerifyDbSystem", "RotateDbSystem", "DeleteDbSystem",
    "DisableKey", "EnableKey", "BackUpState", "SealRegion", "Watch", "ReportNode",
    "OpenStoreKey",
    "UpdateVault", "MoveVault", "LockVault", "UnlockVault", "UpdateKey", "MoveKey", "LockKey", "UnlockKey",
    "DisableKeyVersion", "EnableKeyVersion", "ScheduleKeyVersionDeletion", "CancelKeyVersionDeletion",
    "ScheduleKeyDeletion", "CancelKeyDeletion", "DeleteKey", "RecoverKey", "PurgeKey",
    "ScheduleVaultDeletion", "CancelVaultDeletion", "DeleteVault", "RecoverVault", "PurgeVault",
]  # fmt: skip


def test_the_order_names_every_operation() -> None:
    assert sorted(ORDER) == sorted(GUARDED)
    assert {operation.name for operation in TABLE} == set(GUARDED) | PUBLIC | OWN


def test_an_administrator_can_do_everything(fresh: Region) -> None:
    client, host = fresh.client("root"), fresh.client("host")
    schemas = {operation.name: operation.reply for operation in TABLE}
    for name in ORDER:
        operation = OPERATIONS[name]
        before = len(fresh.log.entries)
        _settle(fresh, name)
        outbox = len(fresh.store.outbox(0, 10_000))
        asked = host if name in HOST else client
        reply = asked.call(operation.method, target_of(fresh, operation), body_of(fresh, name))
        if name in ABOUT_A_RULE:  # takes somebody else, always
            assert (reply.status, reply.json["code"]) == (409, "ApprovalRequired")
            named = {"approval": reply.headers["approval"]}
            approve(fresh, named["approval"])
            reply = asked.call(operation.method, target_of(fresh, operation), body_of(fresh, name), headers=named)
        assert reply.status == operation.status, (name, reply.status, reply.body)
        recorded = [*fresh.log.entries[before:], *(entry for _, entry in fresh.store.outbox(0, 10_000)[outbox:])]
        wanted = {"OpenStoreKey": "UseAssociatedKey", "DecideLogin": "LogInToDatabase"}.get(
            name, name
        )  # what it does it does as the system itself
        assert name in ("Watch", "CheckLogins") or any(entry.operation == wanted for entry in recorded), (
            name,
            recorded,
        )
        if schemas[name] is not None:
            msgspec.json.decode(reply.body, type=schemas[name])
    assert client.get("/auth/whoami").status == 200
    assert client.call("DELETE", "/auth/tokens/current").status == 204
    assert client.get("/auth/whoami").status == 401
    client.close()
    host.close()


def _settle(region: Region, name: str) -> None:
    """Play the part of `work` and `host`: the system has got where it was going and has no job under way."""
    from dataclasses import replace

    if name in ("Approve", "Reject", "WithdrawApproval"):
        unheard(region, region.ids["approval_id"])
    if name in ("PurgeKey", "PurgeVault"):
        vaults, caller = region.services.vaults, _caller(region, "root")
        if name == "PurgeKey":
            vaults.delete(caller, region.ids["key_id"], confirm_needed_by=needed_now(region))
        else:
            vaults.delete_vault(caller, region.ids["vault_id"], confirm_needed_by=needed_now(region))
    with region.store.note() as tx:
        system = tx.databases.system(region.ids["tenancy"], region.ids["db_system_id"])
        assert system is not None
        state, desired = ("INACTIVE", "stopped") if name == "StartDbSystem" else ("ACTIVE", "running")
        if system.state != "DELETING":
            tx.databases.change(system, replace(system, state=state, desired=desired))
        for thing in (system.id, region.ids["backup_id"]):
            tx.jobs.cancel_for(system.tenancy, thing, region.clock.now())


def test_access_can_be_taken_away_while_the_audit_disk_is_full(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    client = region.client("root")
    region.log.full = True
    assert client.get(target_of(region, OPERATIONS["GetKey"])).status == 503
    generation = region.services.generation()
    for name in ORDER:
        operation = OPERATIONS[name]
        if operation.takes_access:
            continue
        reply = client.call(operation.method, target_of(region, operation), body_of(region, name))
        assert (reply.status, reply.json["code"]) == (503, "AuditUnavailable"), (name, reply.body)
    assert region.services.generation() == generation, "something was done while it could not be recorded"
    outbox = len(region.store.outbox(0, 10_000))
    taking = [name for name in ORDER if OPERATIONS[name].takes_access]
    for name in [*sorted(taking, key=lambda name: name == "DeleteUser"), "SignOut"]:
        operation = OPERATIONS[name]
        _settle(region, name)
        reply = client.call(operation.method, target_of(region, operation), body_of(region, name))
        assert reply.status == operation.status, (name, reply.body)
        recorded = [entry.operation for _, entry in region.store.outbox(0, 10_000)[outbox:]]
        assert name in recorded, (name, recorded)
    region.log.full = False
    key = region.services.vaults.entry_of(_caller(region, "root"), region.ids["key_id"]).key
    assert key.state == "DELETED"
    client.close()


def _caller(region: Region, name: str) -> Any:
    token = region.services.iam.sign_in("acme", name, Secret(PASSWORD.encode()), "test", "test").token
    return region.services.iam.authenticate(token, "192.0.2.7", "test")


def test_sign_in(region: Region) -> None:
    client = region.client("")
    good = body_of(region, "SignIn")
    reply = client.post("/auth/tokens", good)
    assert reply.status == 201
    assert client.get("/auth/whoami", token=reply.json["token"]).json["name"] == "root"
    for wrong in ({"password": "x"}, {"user": "x"}, {"tenancy": "x"}, {"tenancy": "globex", "password": "y"}):
        before, generation = len(region.log.entries), region.services.generation()
        reply = client.post("/auth/tokens", good | wrong)
        assert (reply.status, reply.json["code"]) == (401, "NotAuthenticated")
        refused_and_recorded(region, reply, before, generation, "SignIn")
    assert not any(good["password"] in str(entry) for entry in region.log.entries)
    client.close()


def test_tokens_expire(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    client = region.client("root")
    region.clock.advance(3599)
    assert client.get("/auth/whoami").status == 200
    region.clock.advance(2)
    assert client.get("/auth/whoami").status == 401
    region.clock.set_back(7200)
    assert client.get("/auth/whoami").status == 401
    client.close()


def test_a_revoked_permission_holds_from_the_next_request(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    root, someone = region.client("root"), region.client("nobody")
    group = root.post("/groups", {"name": "Readers"}).json["id"]
    root.call("PUT", f"/groups/{group}/members/{region.ids['nobody']}")
    policy = root.post(
        "/policies",
        {
            "compartment_id": region.ids["tenancy"],
            "name": "readers",
            "statements": ["Allow group Readers to use keys in tenancy"],
        },
    ).json["id"]
    unwrap = (f"/keys/{region.ids['key_id']}/actions/unwrap", {"ciphertext": region.ids["wrapped"]})
    assert someone.post(*unwrap).status == 200
    disabled = someone.post(f"/keys/{region.ids['key_id']}/actions/disable")
    assert disabled.status == 403 and "to manage keys" in disabled.json["hint"]
    assert root.post(f"/keys/{region.ids['key_id']}/actions/disable").json["state"] == "DISABLED"
    assert (someone.post(*unwrap).status, someone.post(*unwrap).json["code"]) == (409, "KeyNotUsable")
    root.post(f"/keys/{region.ids['key_id']}/actions/enable")
    assert someone.post(*unwrap).status == 200
    root.call("DELETE", f"/policies/{policy}")
    assert someone.post(*unwrap).status == 404
    root.close()
    someone.close()


def test_etags_lead_the_next_change(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    client = region.client("root")
    path = f"/keys/{region.ids['key_id']}"
    seen = client.get(path).headers["etag"]
    changed = client.post(f"{path}/actions/disable", headers={"if-match": seen})
    assert changed.status == 200 and changed.headers["etag"] != seen
    assert client.post(f"{path}/actions/enable", headers={"if-match": seen}).status == 412
    assert client.post(f"{path}/actions/enable", headers={"if-match": changed.headers["etag"]}).status == 200
    client.close()


def test_lists_come_in_pages(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    client = region.client("root")
    for number in range(7):
        assert client.post("/groups", {"name": f"g{number}"}).status == 201
    names: list[str] = []
    page = ""
    while True:
        reply = client.get(f"/groups?limit=2{page}").json
        assert len(reply["items"]) <= 2
        names += [item["name"] for item in reply["items"]]
        if reply["next_page"] is None:
            break
        page = f"&page={reply['next_page']}"
    assert sorted(names) == sorted({*names}) and {f"g{number}" for number in range(7)} <= {*names}
    assert [item["name"] for item in client.get("/groups?name=g3").json["items"]] == ["g3"]
    assert client.get("/groups?page=@@@").status == 400
    client.close()


def test_created_once_under_one_key(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    client = region.client("root")
    headers = {"idempotency-key": "make-a-user"}
    first = client.post("/users", {"name": "new"}, headers=headers)
    again = client.post("/users", {"name": "new"}, headers=headers)
    assert first.status == again.status == 201 and first.json["id"] == again.json["id"]
    assert first.json["password"] and again.json["password"] is None and again.json["already_shown"]
    assert client.post("/users", {"name": "new"}).json["code"] == "NameTaken"
    client.close()


def test_an_answer_is_not_repeated_to_who_has_lost_the_right_to_it(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    client = region.client("root")
    tenancy = region.caller().principal.tenancy
    nobody = next(each for each in client.get("/users").json["items"] if each["name"] == "nobody")
    group = client.post("/groups", {"name": "makers", "description": ""}).json
    assert client.call("PUT", f"/groups/{group['id']}/members/{nobody['id']}").status < 300
    statements = ["Allow group makers to manage groups in tenancy"]
    policy = client.post("/policies", {"name": "p", "compartment_id": tenancy, "statements": statements}).json

    def make() -> Any:
        headers = {"idempotency-key": "a-group"}
        return client.post("/groups", {"name": "mine"}, headers=headers, token=region.tokens["nobody"])

    made = make()
    assert made.status == 201 and make().json == made.json
    assert client.call("DELETE", f"/policies/{policy['id']}").status == 204
    assert (make().status, make().json["code"]) == (404, "NotFound")
    seen = [(entry.operation, entry.outcome) for entry in region.log.entries[-2:]]
    assert seen == [("CreateGroup", "refused")] * 2
    client.close()


def test_permissions_named_by_the_table_are_in_the_catalogue() -> None:
    served = {permission for found in SERVICE_GRANTS.values() for permission in found}
    for operation in TABLE:
        for permission in operation.permissions:
            assert permission in served or granting(permission) is not None, (operation.name, permission)


def test_every_row_is_complete() -> None:
    for operation in TABLE:
        assert operation.summary and not operation.summary.endswith("."), operation.name
        assert set(operation.parameters) <= set(PARAMETERS), operation.name
        assert operation.permissions or operation.name in PUBLIC | OWN, operation.name
        assert not operation.secrets or operation.creates, f"{operation.name} shows a secret and cannot be repeated"
        if operation.secrets:
            assert operation.reply is not None
            assert {*operation.secrets, "already_shown"} <= set(operation.reply.__struct_fields__)
