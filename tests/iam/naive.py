"""The policy language evaluated the plain way: every statement, every time, straight from its tree.

Written apart from the compiler, to disagree with it where that is wrong: no index, no closures, conditions by regular
expressions and datetimes.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time

from keystead.iam.actions import permissions_of
from keystead.iam.policy.compile import PolicySource, Question
from keystead.iam.policy.model import (
    Among,
    Beside,
    Between,
    ById,
    Compartment,
    Condition,
    Equal,
    Group,
    HomeTenancy,
    Pattern,
    Permissions,
    Rule,
    Text,
    Variable,
    VerbOn,
)
from keystead.iam.policy.parse import parse


class World:
    """One tenancy's names: compartments as (id -> parent id, name) and groups by name."""

    def __init__(self, tenancy: str, compartments: Mapping[str, tuple[str, str]], groups: Mapping[str, str]) -> None:
        self.tenancy = tenancy
        self.compartments = compartments
        self.groups = groups

    def group(self, name: str) -> str | None:
        return next((id_ for group, id_ in self.groups.items() if group.lower() == name.lower()), None)

    def compartment(self, base: str, names: tuple[str, ...]) -> str | None:
        if not names:
            return base
        for id_, (parent, name) in self.compartments.items():
            if parent == base and name.lower() == names[0].lower():
                return self.compartment(id_, names[1:])
        return None

    def path(self, compartment: str) -> tuple[str, ...]:
        if compartment == self.tenancy:
            return (compartment,)
        return (*self.path(self.compartments[compartment][0]), compartment)


def allows(world: World, policies: list[PolicySource], question: Question) -> bool:
    """Whether any statement of any policy allows it."""
    return any(
        _statement_allows(world, policy.compartment_id, parse(statement), question)
        for policy in policies
        for statement in policy.statements
    )


def _statement_allows(world: World, attached: str, rule: object, question: Question) -> bool:
    assert isinstance(rule, Rule) and rule.effect == "allow" and not rule.denies
    match rule.action:
        case VerbOn(verb, word):
            permitted = question.permission in permissions_of(verb, word)
        case Permissions(names):
            permitted = question.permission in names
        case _:
            raise AssertionError(rule.action)
    return (
        permitted
        and _is_subject(world, rule, question)
        and _is_place(world, attached, rule, question)
        and (rule.condition is None or _holds(rule.condition, question))
    )


def _is_subject(world: World, rule: Rule, question: Question) -> bool:
    subject = rule.subject
    if subject.kind == "any-user":
        return True
    if subject.kind == "any-group":
        return len(question.group_ids) > 0
    if subject.kind == "service":
        names = {one.name.lower() for one in subject.who if not isinstance(one, ById)}
        return question.principal_type == "service" and question.principal_name.lower() in names
    ids = set()
    for one in subject.who:
        if isinstance(one, ById):
            ids.add(one.id)
        elif subject.kind == "group" and one.domain.lower() in ("", "default"):
            ids.add(world.group(one.name))
    return bool(ids & question.group_ids)


def _is_place(world: World, attached: str, rule: Rule, question: Question) -> bool:
    match rule.place:
        case HomeTenancy():
            where: str | None = world.tenancy
        case Compartment(ById(id_)):
            where = id_
        case Compartment(names):
            assert isinstance(names, tuple)
            where = world.compartment(attached, names)
        case _:
            raise AssertionError(rule.place)
    if where is None or where not in question.compartment_path:
        return False
    return attached in world.path(where)


def _values(question: Question, variable: str) -> list[str]:
    if variable.startswith("request.utc-timestamp."):
        whole = question.variables("request.utc-timestamp")
        if not isinstance(whole, str):
            return []
        moment = datetime.fromisoformat(whole).astimezone(UTC)
        part = variable.split(".")[2]
        if part in ("month-of-year", "day-of-month"):
            return [str(moment.month if part == "month-of-year" else moment.day)]
        return [moment.strftime("%A" if part == "day-of-week" else "%H:%M:%SZ").lower()]
    value = question.variables(variable)
    if value is None:
        return []
    return [value.lower()] if isinstance(value, str) else [each.lower() for each in value]


def _holds(condition: Condition, question: Question) -> bool:
    match condition:
        case Group("all", parts):
            return all(_holds(part, question) for part in parts)
        case Group("any", parts):
            return any(_holds(part, question) for part in parts)
        case Equal(variable, Variable(other), negated):
            left, right = _values(question, variable), _values(question, other)
            return bool(left) and bool(right) and bool(set(left) & set(right)) != negated
        case Equal(variable, value, negated):
            left = _values(question, variable)
            return bool(left) and any(_same(value, each) for each in left) != negated
        case Among(variable, values, negated):
            left = _values(question, variable)
            return bool(left) and any(_same(value, each) for value in values for each in left) != negated
        case Beside(variable, side, at):
            left = _values(question, variable)
            return any(_comparable(each, at) and _order(each, at) == (-1 if side == "before" else 1) for each in left)
        case Between(variable, low, high):
            return any(_is_between(each, low, high) for each in _values(question, variable))
        case _:
            raise AssertionError(condition)


def _same(value: object, actual: str) -> bool:
    if isinstance(value, Text):
        return value.text.lower() == actual
    assert isinstance(value, Pattern)
    before = ".*" if value.kind in ("suffix", "contains") else ""
    after = ".*" if value.kind in ("prefix", "contains") else ""
    return re.fullmatch(before + re.escape(value.text.lower()) + after, actual, re.DOTALL) is not None


def _kind(text: str) -> type | None:
    if re.fullmatch("[0-9]{1,12}", text):
        return int
    for kind in (datetime, time):
        try:
            if kind.fromisoformat(text.upper()).tzinfo is not None:
                return kind
        except ValueError:
            continue
    return None


def _comparable(one: str, other: str) -> bool:
    return _kind(one) is not None and _kind(one) == _kind(other)


def _order(one: str, other: str) -> int:
    kind = _kind(one)
    if kind is int:
        left, right = int(one), int(other)
    else:
        left, right = kind.fromisoformat(one.upper()), kind.fromisoformat(other.upper())  # type: ignore
    return (left > right) - (left < right)


def _is_between(value: str, low: str, high: str) -> bool:
    if not _comparable(value, low) or not _comparable(value, high):
        return False
    if _order(low, high) <= 0:
        return _order(value, low) >= 0 and _order(value, high) <= 0
    return _order(value, low) >= 0 or _order(value, high) <= 0
