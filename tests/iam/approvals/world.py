"""A region with a rule: two of three officers approve what destroys keys in Prod."""

from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.approvals.model import Rule
from keystead.iam.approvals.rules import ApprovalRequired
from keystead.iam.model import Asked, Caller
from keystead.vault.model import Key

_requests = count(1)


@dataclass
class World:
    region: DomainRegion
    prod: str
    group: str
    rule: Rule
    key: Key
    people: dict[str, Caller]

    def asks(self, who: str, text: str, approval: str = "", operation: str = "DeleteKey") -> Caller:
        """Somebody in the act of making the request `text`, as the pipeline would say it."""
        caller = self.people[who]
        digest = sha256(f"{text} {caller.principal.id}".encode()).hexdigest()
        asked = Asked(operation, digest, '{"path":{}}', approval)
        return replace(caller, asked=asked, request_id=f"request-{next(_requests)}")

    def delete(self, who: str = "olivia", approval: str = "", text: str = "delete finance", **given: int) -> Key:
        return self.region.vaults.delete(self.asks(who, text, approval), self.key.id, **given)

    def ask(self, who: str = "olivia", text: str = "delete finance") -> str:
        """Ask for it; the id under which it waits."""
        with pytest.raises(ApprovalRequired) as caught:
            self.delete(who, text=text)
        return caught.value.approval

    def approve(self, approval: str, *who: str) -> None:
        for name in who:
            self.region.iam.approve(self.people[name], approval)


def code(run: object, *given: object, **named: object) -> str:
    with pytest.raises(Refusal) as caught:
        run(*given, **named)  # type: ignore[operator]
    assert caught.value.recorded or not caught.value.code.startswith("Approval")
    return caught.value.code


def make_world(directory: Path) -> World:
    region = make_region(directory)
    prod = region.iam.create_compartment(region.admin, region.tenancy, "Prod")
    people = {name: region.user(name, "Officers") for name in ("ada", "bob", "cy")}
    people |= {"olivia": region.user("olivia", "Keepers"), "admin": region.admin}
    people["dora"] = region.user("dora", "Keepers")
    region.allow(
        "Allow group Keepers to manage key-family in tenancy",
        "Allow group Keepers to manage groups in tenancy",
        "Allow group Officers to use approvals in tenancy",
        "Allow group Officers to manage keys in tenancy",
        name="people",
    )
    vault = region.vaults.create_vault(region.admin, prod.id, "vault")
    key = region.vaults.create_key(region.admin, prod.id, vault.id, "finance")
    group = group_of(region, "Officers")
    rule = region.iam.create_approval_rule(region.admin, prod.id, "two", RuleTerms(("destruction",), group, 2))
    region.snapshot.refresh()
    return World(region, prod.id, group, rule, key, people)


def group_of(region: DomainRegion, name: str) -> str:
    return next(group.id for group in region.snapshot.directory.groups_in(region.tenancy) if group.name == name)
