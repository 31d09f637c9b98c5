"""The statement that would grant what was missing."""

from keystead.iam.actions import granting
from keystead.iam.model import Principal
from keystead.iam.policy.model import (
    Compartment,
    Condition,
    Equal,
    Group,
    HomeTenancy,
    Name,
    Place,
    Rule,
    Subject,
    Text,
    VerbOn,
    text,
)


def suggest(permission: str, principal: Principal, group: str | None, place: tuple[str, ...]) -> str:
    """The statement that would grant `permission` in `place` to `group`, or without one to the principal's kind.

    `place` are compartment names below the root, empty for the tenancy; the policy belongs to the tenancy. Empty when
    no statement can (the catalogue alone grants what services do).
    """
    smallest = granting(permission)
    if smallest is None:
        return ""
    subject, condition = _beneficiary(principal, group)
    where: Place = Compartment(place) if place else HomeTenancy()
    return text(Rule("allow", False, subject, VerbOn(smallest.verb, smallest.type), where, condition))


def _beneficiary(principal: Principal, group: str | None) -> tuple[Subject, Condition | None]:
    if group is not None:
        return Subject("group", (Name(group),)), None
    if principal.type == "service":
        return Subject("service", (Name(principal.name),)), None
    if principal.type == "user":
        return Subject("any-user"), Equal("request.user.id", Text(principal.id))
    kind = Equal("request.principal.type", Text(principal.type))
    home = Equal("request.resource.compartment.id", Text(principal.compartment))
    return Subject("any-user"), Group("all", (kind, home))
