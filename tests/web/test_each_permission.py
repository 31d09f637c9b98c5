"""Every operation with every single permission that it needs removed in turn, over HTTP.

Somebody who is in one group begins with nothing. What a refusal's audit entry says was missing is granted, and nothing
else, until the operation is done: what was granted by then is what it needs. Before that is used it is tried without
each of them, all others given. Each refusal answers like any other, is recorded once, and changes nothing.

So the permissions that the table names, and the docs with it, are those that are asked for.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.web.region import Region, approve, open_region
from tests.web.samples import HOST, OPERATIONS, body_of, target_of
from tests.web.test_every_operation import ORDER, _settle

from keystead.iam.approvals.operations import ABOUT_A_RULE

WALKED = [name for name in ORDER if name not in HOST]
# Asked for besides what the table names, by what the sample asks: a key is named for the system.
MORE: dict[str, set[str]] = {"CreateDbSystem": {"KEY_ASSOCIATE"}, "ChangeDbSystemKey": {"KEY_ASSOCIATE"}}
# Named by the table for other requests than the sample: mapping groups anew, a vault with keys in it.
LESS: dict[str, set[str]] = {"UpdateIdentityProvider": {"GROUP_UPDATE"}, "RestoreVault": {"KEY_RESTORE"}}
# What is asked about has to be seen; what is not seen is absent, and no permission is said to be missing.
SEES: dict[str, set[str]] = {
    "ExplainPolicy": {"KEY_INSPECT", "USER_INSPECT"},
    "WhoCan": {"COMPARTMENT_INSPECT"},
}
# What no policy gives: a wrapping key is for whoever made it, a vote for a rule's group, a request for whoever asked.
ENDS: dict[str, str] = {
    "ImportKey": "NotFound",
    "ImportKeyVersion": "NotFound",
    "Approve": "NotAnApprover",
    "Reject": "NotAnApprover",
    "WithdrawApproval": "NotFound",
}
# A refusal names the part that was refused.
PARTS = {"BackUpVault": "BackUpKey", "RestoreVault": "RestoreKey", "RestoreBackup": "CreateDbSystem"}


@dataclass
class Walk:
    """One region, in which everything is done once, by somebody in the group Team."""

    region: Region
    person: Any
    root: Any
    policy: str = ""
    granted: set[str] = field(default_factory=set)

    def grant(self, permissions: set[str]) -> None:
        """Exactly these, and something that nothing here asks for: a policy says something."""
        named = ", ".join(sorted(permissions | {"TAG_NAMESPACE_CREATE"}))
        body: dict[str, Any] = {"statements": [f"Allow group Team to {{{named}}} in tenancy"]}
        if self.policy:
            reply = self.root.call("PUT", f"/policies/{self.policy}", body)
        else:
            reply = self.root.post("/policies", body | {"compartment_id": self.region.ids["tenancy"], "name": "team"})
        assert reply.status in (200, 201), reply.body
        self.policy = reply.json["id"]
        self.granted = permissions

    def ask(self, name: str, **headers: str) -> Any:
        operation = OPERATIONS[name]
        return self.person.call(
            operation.method, target_of(self.region, operation), body_of(self.region, name), headers=headers
        )

    def refused(self, name: str) -> tuple[Any, str]:
        """The answer, and the permission that was missing; empty when nothing was refused for want of one."""
        region = self.region
        before, generation = len(region.log.entries), region.services.generation()
        reply = self.ask(name)
        if reply.status not in (403, 404):
            return reply, ""
        new = region.log.entries[before:]
        refusals = [entry for entry in new if entry.outcome == "refused"]
        assert len(refusals) == 1, (name, new)
        assert refusals[0].operation in (name, PARTS.get(name)), (name, refusals)
        assert region.services.generation() == generation, f"{name} changed something and refused"
        assert refusals[0].code == reply.json["code"]
        return reply, refusals[0].action


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    region = open_region(tmp_path_factory.mktemp("region"))
    root = region.client("root")
    made = root.post("/users", {"name": "person"}).json
    group = root.post("/groups", {"name": "Team"}).json["id"]
    assert root.call("PUT", f"/groups/{group}/members/{made['id']}").status < 300
    asked = {"tenancy": "acme", "user": "person", "password": made["password"]}
    token = region.client("").post("/auth/tokens", asked).json["token"]
    region.tokens["person"] = token
    return Walk(region, region.client("person"), root)


def done(walk: Walk, name: str, reply: Any) -> Any:
    """What is about a rule takes somebody else, always."""
    if name in ABOUT_A_RULE:
        assert (reply.status, reply.json["code"]) == (409, "ApprovalRequired"), reply.body
        named = reply.headers["approval"]
        approve(walk.region, named)
        reply = walk.ask(name, approval=named)
    return reply


@pytest.mark.slow
def test_each_permission_is_needed_and_together_they_suffice(walk: Walk) -> None:
    problems = []
    for name in WALKED:
        _settle(walk.region, name)
        problems += walked(walk, name)
    assert not problems, "\n".join(problems)


def walked(walk: Walk, name: str) -> list[str]:
    """Do one operation with as little as it takes; what is wrong about that, in words."""
    seen = SEES.get(name, set())
    wanted = (set(OPERATIONS[name].permissions) | MORE.get(name, set())) - LESS.get(name, set())
    problems, needed = without_each(walk, name, wanted, seen), set[str]()
    walk.grant(seen)
    while True:
        reply, missing = walk.refused(name)
        if not missing or missing in needed:
            break
        needed.add(missing)
        walk.grant(needed | seen)
    reply = done(walk, name, reply)
    if reply.status != OPERATIONS[name].status and reply.json.get("code") != ENDS.get(name, ""):
        problems.append(f"{name} with {sorted(needed)}: {reply.status} {reply.body[:200]!r}")
    if needed != wanted:
        problems.append(f"{name} asks for {sorted(needed)}, the table says {sorted(wanted)}")
    return problems


def without_each(walk: Walk, name: str, wanted: set[str], seen: set[str]) -> list[str]:
    """Every permission removed in turn, all others given; what was not refused."""
    found = []
    for permission in sorted(wanted | seen):
        walk.grant((wanted | seen) - {permission})
        reply, missing = walk.refused(name)
        if not missing or (permission in wanted and missing != permission):
            found.append(f"{name} without {permission}: {reply.status} {reply.body[:200]!r}, missing {missing!r}")
    return found
