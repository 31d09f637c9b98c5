"""Every operation that a rule may name waits for approval, whole and exact, and is done once; through the pipeline."""

from pathlib import Path
from typing import Any

import pytest
from tests.web.region import Region, approve, open_region
from tests.web.samples import OPERATIONS, body_of, target_of
from tests.web.test_every_operation import ORDER, _settle

from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.approvals.operations import APPROVABLE, SETS, operations_of
from keystead.web.api import TABLE

# What no rule covers and has to be done before.
FIRST = {
    "BeginBreakGlass": "RemoveGroupMember", "UnlockKey": "LockKey", "UnlockVault": "LockVault", "MoveKey": "RotateKey",
    "DeleteKey": "CancelKeyDeletion", "DeleteVault": "CancelVaultDeletion", "ScheduleKeyVersionDeletion": "RotateKey",
    "DeleteDbSystem": "UpdateDbSystem",
}  # fmt: skip


def covered(directory: Path, *operations: str) -> Region:
    """A region whose whole tenancy is under a rule."""
    region = open_region(directory)
    caller = region.services.iam.authenticate(region.tokens["root"], "setup", "setup")
    terms = RuleTerms(operations, region.ids["approvers_id"], 1)
    region.services.iam.create_approval_rule(caller, region.ids["tenancy"], "all", terms)
    return region


def ask(client: Any, region: Region, name: str, **headers: str) -> Any:
    operation = OPERATIONS[name]
    return client.call(operation.method, target_of(region, operation), body_of(region, name), headers=headers)


def test_what_can_be_named_is_in_the_table_and_changes_something() -> None:
    assert set(OPERATIONS) >= APPROVABLE
    assert {operation.method for operation in TABLE if operation.name in APPROVABLE} <= {
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
    }
    assert operations_of(("policy", "PurgeKey")) == (
        "CreatePolicy", "DeletePolicy", "PurgeKey", "TagCompartment", "TagDbSystem", "TagGroup", "UpdatePolicy",
    )  # fmt: skip
    assert set(operations_of(SETS)) == APPROVABLE


def test_each_waits_is_done_once_and_only_to_the_letter(tmp_path: Path) -> None:
    region = covered(tmp_path, *SETS)
    client = region.client("root")
    for name in [name for name in ORDER if name in APPROVABLE]:
        _settle_covered(region, name)
        if name in FIRST:
            assert ask(client, region, FIRST[name]).status < 300
        first = ask(client, region, name)
        assert (first.status, first.json["code"]) == (409, "ApprovalRequired"), (name, first.body)
        waiting = first.headers["approval"]
        assert ask(client, region, name, approval=waiting).status == 409, name
        approve(region, waiting)
        done = ask(client, region, name, approval=waiting)
        assert done.status == OPERATIONS[name].status, (name, done.body)
        shown = client.get(f"/approvals/{waiting}").json
        assert (shown["state"], shown["operation"]) == ("EXECUTED", name)
        again = ask(client, region, name, approval=waiting)
        assert again.status in (404, 409, 412), (name, again.body)
        entries = [*region.log.entries, *(entry for _, entry in region.store.outbox(0, 10_000))]
        used = {(entry.request_id) for entry in entries if entry.detail.get("approval") == waiting}
        assert len(used) == 1, name
    client.close()


def _settle_covered(region: Region, name: str) -> None:
    """As for everybody, by somebody whom no rule holds up: the rows are changed by hand."""
    if name not in ("PurgeKey", "PurgeVault"):
        _settle(region, name)
        return
    table = "keys" if name == "PurgeKey" else "vaults"
    from keystead.adapters.sql import schema

    with region.store.note() as tx:
        found = schema.metadata.tables[table]
        thing = region.ids["key_id" if name == "PurgeKey" else "vault_id"]
        tx.connection.execute(found.update().where(found.c.id == thing).values(state="DELETED", deletion_at=None))


@pytest.mark.parametrize(
    "change",
    [
        {"body": {"days": 8}},
        {"query": "?confirm_needed_by=9"},
        {"headers": {"if-match": '"1"'}},
        {"token": "other_root"},
    ],
    ids=["body", "query", "if-match", "caller"],
)
def test_another_request_does_not_pass(tmp_path: Path, change: dict[str, Any]) -> None:
    region = covered(tmp_path, "ScheduleKeyDeletion")
    client = region.client("root")
    path = f"/keys/{region.ids['key_id']}/actions/schedule-deletion"
    first = client.call("POST", path, {"days": 7})
    assert first.json["code"] == "ApprovalRequired"
    named = {"approval": first.headers["approval"]}
    approve(region, named["approval"])
    given = {"headers": named | change.get("headers", {})}
    if "token" in change:
        given["token"] = region.tokens[change["token"]]
    other = client.call("POST", path + change.get("query", ""), change.get("body", {"days": 7}), **given)
    assert other.json["code"] in ("ApprovalMismatch", "NotFound"), other.body
    # spelled in another way it is the same request, and the approval says how many need it
    reply = client.call("POST", path, raw=b' {\n"days" : 7 } ', headers=named | {"content-type": "application/json"})
    assert (reply.status, reply.json["state"]) == (200, "PENDING_DELETION")
    client.close()


@pytest.mark.parametrize("named", ["x", "ks1.key.main.home." + "a" * 32, "%00"])
def test_what_is_no_id_of_an_approval_is_refused(tmp_path: Path, named: str) -> None:
    region = open_region(tmp_path)
    client = region.client("root")
    reply = client.post("/groups", {"name": "new"}, headers={"approval": named})
    assert (reply.status, reply.json["code"]) == (400, "InvalidId")
    client.close()


def test_approvers_see_exactly_what_will_be_done(tmp_path: Path) -> None:
    region = covered(tmp_path, "RestoreKey", "ScheduleKeyDeletion")
    client = region.client("root")
    path = f"/keys/{region.ids['key_id']}/actions/schedule-deletion?confirm_needed_by=3"
    first = client.call("POST", path, {"days": 7}, headers={"if-match": '"4"'})
    shown = client.get(f"/approvals/{first.headers['approval']}").json
    assert shown["request"] == {
        "path": {"key_id": region.ids["key_id"]}, "query": {"confirm_needed_by": 3}, "body": {"days": 7}, "if_match": 4,
    }  # fmt: skip
    assert (shown["target_id"], shown["target_name"]) == (region.ids["key_id"], "key")
    long = client.post("/keys/actions/restore", body_of(region, "RestoreKey"))
    shown = client.get(f"/approvals/{long.headers['approval']}").json["request"]["body"]["backup"]
    assert len(shown["sha256"]) == 64 and shown["length"] == len(region.ids["key_backup"])
    client.close()
