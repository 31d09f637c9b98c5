"""Approval rules, and the one request that waits."""

from tests.fakes.region.routes import Request, route, rows
from tests.fakes.region.state import LATER, MOMENT, Json, Region

rows("approvalrule", "/approval-rules/{approval_rule_id}", change="PUT", delete=True)

RULE_FIELDS = ("name", "compartment_id", "operations", "group_id", "needed", "hours")


@route("POST", "/approval-rules")
def create_rule(ask: Request) -> tuple[int, Json]:
    fields = {name: ask.body[name] for name in RULE_FIELDS}
    return 201, ask.region.keep("approvalrule", **fields, emergency_group_id=None, description="")


def waiting(region: Region) -> Json:
    """The request that waits: always this one."""
    if not region.all("approval"):
        rule = {"rule_id": region.new_id("approvalrule"), "rule_name": "two", "group_id": "g", "needed": 2}
        region.note(
            "approval", operation="PurgeKey", state="PENDING", target_type="keys", target_id="k", target_name="finance",
            target_version=3, compartment_id=region.tenancy, requester_id="u", requester_name="olivia",
            request={"path": {"key_id": "k"}}, digest="5e1f", rules=[rule], votes=[], approvers=["ada", "bob"],
            expires_at=LATER, ended_at=None, created_at=MOMENT,
        )  # fmt: skip
    return region.all("approval")[0]


@route("GET", "/approvals")
def list_approvals(ask: Request) -> Json:
    return ask.page([waiting(ask.region)])


@route("GET", "/approvals/{approval_id}")
def get_approval(ask: Request, approval_id: str) -> Json:
    return waiting(ask.region)


@route("POST", "/approvals/{approval_id}/actions/{choice}")
def say(ask: Request, approval_id: str, choice: str) -> Json:
    found = waiting(ask.region)
    if choice == "withdraw":
        return {**found, "state": "WITHDRAWN"}
    vote = {"user_id": "u", "user_name": "ada", "choice": choice, "comment": ask.body.get("comment", ""), "at": MOMENT}
    return {**found, "votes": [vote], "state": "PENDING" if choice == "approve" else "REJECTED"}
