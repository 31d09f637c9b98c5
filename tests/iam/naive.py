"""The policy language evaluated the plain way: every statement, every time, straight from its tree.

Written apart from the compiler, to disagree with it where that is wrong: no index, no closures, conditions by regular
expressions and datetimes.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time

from keystead.iam.actions import ALIASES, FAMILIES, permissions_of
from keystead.iam.policy.compile import PolicySource
from keystead.iam.policy.model import (
    Among,
    AnyTenancy,
    Associate,
    Beside,
    Between,
    ById,
    Compartment,
    Condition,
    Definition,
    Equal,
    Group,
    HomeTenancy,
    OtherTenancy,
    Pattern,
    Permissions,
    Place,
    Rule,
    Text,
    Variable,
    VerbOn,
)
from keystead.iam.policy.parse import parse
from keystead.iam.policy.question import Question


class World:
    """One tenancy's names: compartments as (id -> parent id, name) and groups by name."""

    def __init__(
        self,
        tenancy: str,
        compartments: Mapping[str, tuple[str, str]],
        groups: Mapping[str, str],
        dynamic: Mapping[str, str] | None = None,
    ) -> None:
        self.tenancy = tenancy
        self.dynamic = dynamic or {}
        self.compartments = compartments
        self.groups = groups

    def group(self, name: str) -> str | None:
        return next((id_ for group, id_ in self.groups.items() if group.lower() == name.lower()), None)

    def dynamic_group(self, name: str) -> str | None:
        return next((id_ for group, id_ in self.dynamic.items() if group.lower() == name.lower()), None)

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
    """Whether a statement allows it and none denies it."""
    if not _any(world, policies, question, "allow", denies=False):
        return False
    return question.exempt or not _any(world, policies, question, "allow", denies=True)


def endorses(world: World, policies: list[PolicySource], question: Question) -> bool:
    """Whether the principal's tenancy lets it out."""
    if not _any(world, policies, question, "endorse", denies=False):
        return False
    return question.exempt or not _any(world, policies, question, "endorse", denies=True)


def admits(world: World, policies: list[PolicySource], question: Question) -> bool:
    """Whether the other tenancy lets it in."""
    return _any(world, policies, question, "admit", denies=False) and not _any(
        world, policies, question, "admit", denies=True
    )


def _any(world: World, policies: list[PolicySource], question: Question, effect: str, *, denies: bool) -> bool:
    for policy in policies:
        trees = [parse(statement) for statement in policy.statements]
        defined: dict[tuple[str, str, str], str] = {}
        for tree in trees:
            if isinstance(tree, Definition):
                defined.setdefault((tree.kind, tree.name.domain.lower(), tree.name.name.lower()), tree.id)
        for tree in trees:
            if not isinstance(tree, Rule) or tree.effect != effect or tree.denies is not denies:
                continue
            if _Statement(world, policy.compartment_id, defined, tree, question).applies():
                return True
    return False


class _Statement:
    """One statement and one request."""

    def __init__(
        self, world: World, attached: str, defined: dict[tuple[str, str, str], str], rule: Rule, question: Question
    ) -> None:
        self.world = world
        self.attached = attached
        self.defined = defined
        self.rule = rule
        self.question = question

    def applies(self) -> bool:
        rule, question = self.rule, self.question
        if rule.effect != "allow" and self.attached != self.world.tenancy:
            return False
        if not (self.permits() and self.is_subject() and self.is_place() and self.is_origin()):
            return False
        return rule.condition is None or _holds(rule.condition, question, rule.denies)

    def permits(self) -> bool:
        match self.rule.action:
            case VerbOn(verb, word):
                return self.question.permission in permissions_of(verb, word)
            case Permissions(names):
                return self.question.permission in names
            case Associate(word):
                return word in ("keys", "key-delegate", "key-family", "all-resources") and (
                    self.question.permission in ("KEY_ASSOCIATE", "KEY_DISASSOCIATE")
                )

    def is_subject(self) -> bool:
        subject, question = self.rule.subject, self.question
        if subject.kind == "any-user":
            return True
        if subject.kind == "any-group":
            return len(question.group_ids) > 0
        if subject.kind == "service":
            own = [one for one in subject.who if not isinstance(one, ById) and one.domain.lower() in ("", "default")]
            names = {one.name.lower() for one in own}
            return question.principal_type == "service" and question.principal_name.lower() in names
        ids = set()
        for one in subject.who:
            if isinstance(one, ById):
                ids.add(one.id)
            elif self.rule.effect == "admit":
                ids.add(self.defined.get((subject.kind, one.domain.lower(), one.name.lower())))
            elif one.domain.lower() in ("", "default"):
                named = self.world.group if subject.kind == "group" else self.world.dynamic_group
                ids.add(named(one.name))
        return bool(ids & question.group_ids)

    def is_origin(self) -> bool:
        match self.rule.origin:
            case OtherTenancy(name):
                return self.defined.get(("tenancy", name.domain.lower(), name.name.lower())) == self.question.tenancy
            case _:
                return True

    def is_place(self) -> bool:
        action = self.rule.action
        if isinstance(action, Associate):
            return self.is_with(action) and self.reaches(action.place, True)
        return self.rule.place is not None and self.reaches(self.rule.place, False)

    def reaches(self, place: Place, associating: bool) -> bool:
        path, home, effect = self.question.compartment_path, self.world.tenancy, self.rule.effect
        match place:
            case HomeTenancy() | Compartment():
                if effect == "endorse" and not associating:
                    return False
                where = self.at_home(place)
                return where is not None and where in path and self.attached in path[: path.index(where) + 1]
            case OtherTenancy(name):
                return (
                    effect != "allow"
                    and self.defined.get(("tenancy", name.domain.lower(), name.name.lower())) == path[0]
                )
            case AnyTenancy():
                if path[0] != home:
                    return effect != "allow"
                return associating and self.attached == home

    def at_home(self, place: HomeTenancy | Compartment) -> str | None:
        match place:
            case HomeTenancy():
                return self.world.tenancy
            case Compartment(ById(id_)):
                return id_
            case Compartment(names):
                assert isinstance(names, tuple)
                said = self.defined.get(("compartment", "", names[0].lower())) if len(names) == 1 else None
                return said or self.world.compartment(self.attached, names)

    def is_with(self, action: Associate) -> bool:
        """What the key is for: of the right kind, in the right place; not knowing it is no excuse from a denial."""
        kinds = [
            each.lower() for each in FAMILIES.get(action.with_type, (ALIASES.get(action.with_type, action.with_type),))
        ]
        places, denies = _values(self.question, "associated.place"), self.rule.denies
        types = _values(self.question, "associated.type")
        if not (types[0] in kinds if types else denies):
            return False
        match action.with_place:
            case AnyTenancy():
                return True
            case OtherTenancy(name):
                wanted = [self.defined.get(("tenancy", name.domain.lower(), name.name.lower()))]
            case place:
                wanted = [self.at_home(place), self.attached]
        if None in wanted:
            return False
        return all(each in places for each in wanted) if places else denies


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


def _holds(condition: Condition, question: Question, absent: bool) -> bool:
    match condition:
        case Group("all", parts):
            return all(_holds(part, question, absent) for part in parts)
        case Group("any", parts):
            return any(_holds(part, question, absent) for part in parts)
        case Equal(variable, Variable(other), negated):
            left, right = _values(question, variable), _values(question, other)
            return bool(set(left) & set(right)) != negated if left and right else absent
        case Equal(variable, value, negated):
            left = _values(question, variable)
            return any(_same(value, each) for each in left) != negated if left else absent
        case Among(variable, values, negated):
            left = _values(question, variable)
            return any(_same(value, each) for value in values for each in left) != negated if left else absent
        case Beside(variable, side, at):
            left = [each for each in _values(question, variable) if _comparable(each, at)]
            return any(_order(each, at) == (-1 if side == "before" else 1) for each in left) if left else absent
        case Between(variable, low, high):
            left = [each for each in _values(question, variable) if _comparable(each, low)]
            return any(_is_between(each, low, high) for each in left) if left else absent
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
