"""Statements of the policy language as trees, and their one canonical spelling.

    statement  := [Deny] (Allow grant | Endorse grant | Admit grant) | Define
    grant      := subject [of tenancy] to action in place [where condition]

`parse` (in `parse.py`) makes these trees; `text` writes them. For every tree t that `parse` makes,
`parse(text(t)) == t`. Keywords, verbs, types and variables are in lower case in a tree, permissions in upper case;
names and values keep the case they were written in and are compared without it.
Specification: docs/policy.md; grammar.lark.
"""

import re
from dataclasses import dataclass
from typing import Literal, assert_never

from keystead.iam.actions import Verb

SubjectKind = Literal["group", "dynamic-group", "service", "any-user", "any-group"]
PatternKind = Literal["exact", "prefix", "suffix", "contains"]
Effect = Literal["allow", "endorse", "admit"]
DefinedKind = Literal["tenancy", "group", "dynamic-group", "compartment"]

# fmt: off
KEYWORDS: frozenset[str] = frozenset({
    "allow", "deny", "endorse", "admit", "define", "as", "of", "to", "in", "with", "where", "id", "group",
    "dynamic-group", "service", "any-user", "any-group", "tenancy", "any-tenancy", "compartment", "associate",
    "all", "any", "not", "before", "after", "between", "and",
})
# fmt: on
_BARE = re.compile(r"[\w.@+-]+")


@dataclass(frozen=True, slots=True)
class Name:
    """A name, perhaps in an identity domain."""

    name: str
    domain: str = ""


@dataclass(frozen=True, slots=True)
class ById:
    """A thing named by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a statement is about. `who` is empty for any-user and any-group."""

    kind: SubjectKind
    who: tuple[Name | ById, ...] = ()


@dataclass(frozen=True, slots=True)
class HomeTenancy:
    """The tenancy the policy belongs to."""


@dataclass(frozen=True, slots=True)
class OtherTenancy:
    """A tenancy by the name a Define statement gave it."""

    name: Name


@dataclass(frozen=True, slots=True)
class AnyTenancy:
    """Whatever tenancy."""


@dataclass(frozen=True, slots=True)
class Compartment:
    """A compartment by its path of names, beginning below the one the policy is attached to; or by id."""

    at: tuple[str, ...] | ById


Place = HomeTenancy | OtherTenancy | AnyTenancy | Compartment


@dataclass(frozen=True, slots=True)
class VerbOn:
    """`use keys`."""

    verb: Verb
    type: str


@dataclass(frozen=True, slots=True)
class Permissions:
    """`{KEY_READ, KEY_ENCRYPT}`, in the order written."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Associate:
    """`associate keys in compartment A with volumes in compartment B`."""

    type: str
    place: Place
    with_type: str
    with_place: Place


Action = VerbOn | Permissions | Associate


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted value."""

    text: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """/x/, /x*/, /*x/ or /*x*/."""

    kind: PatternKind
    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """The value of another variable."""

    name: str


Value = Text | Pattern | Variable


@dataclass(frozen=True, slots=True)
class Equal:
    """`variable = value`, or `!=` when negated."""

    variable: str
    value: Value
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Among:
    """`variable in (...)`, or `not in` when negated."""

    variable: str
    values: tuple[Text | Pattern, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Beside:
    """`variable before '...'` or `variable after '...'`."""

    variable: str
    side: Literal["before", "after"]
    at: str


@dataclass(frozen=True, slots=True)
class Between:
    """`variable between '...' and '...'`, both ends included."""

    variable: str
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Group:
    """`all {...}` or `any {...}`."""

    kind: Literal["all", "any"]
    parts: tuple["Condition", ...]


Condition = Equal | Among | Beside | Between | Group


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow, endorse or admit, or with `denies` the denial of one.

    `place` is None with Associate, which names its own two. `origin` is the tenancy admitted, else None.
    """

    effect: Effect
    denies: bool
    subject: Subject
    action: Action
    place: Place | None
    condition: Condition | None = None
    origin: OtherTenancy | AnyTenancy | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """`Define tenancy Acme as <id>`: a name for something in another tenancy."""

    kind: DefinedKind
    name: Name
    id: str


Statement = Rule | Definition


def text(statement: Statement) -> str:
    """The canonical spelling, on one line."""
    if isinstance(statement, Definition):
        return f"Define {statement.kind} {_name(statement.name)} as {statement.id}"
    parts = [_opening(statement), subject_text(statement.subject)]
    if statement.origin is not None:
        parts += ["of", place_text(statement.origin)]
    parts += ["to", action_text(statement.action)]
    if statement.place is not None:
        parts += ["in", place_text(statement.place)]
    if statement.condition is not None:
        parts += ["where", condition_text(statement.condition)]
    return " ".join(parts)


def _opening(rule: Rule) -> str:
    if not rule.denies:
        return rule.effect.capitalize()
    return "Deny" if rule.effect == "allow" else f"Deny {rule.effect}"


def subject_text(subject: Subject) -> str:
    """`group Admins, id ks1.group...`."""
    who = ", ".join(f"id {one.id}" if isinstance(one, ById) else _name(one) for one in subject.who)
    return f"{subject.kind} {who}" if who else subject.kind


def action_text(action: Action) -> str:
    """What follows `to`, without the place."""
    match action:
        case VerbOn(verb, type_):
            return f"{verb} {type_}"
        case Permissions(names):
            return "{" + ", ".join(names) + "}"
        case Associate(type_, place, with_type, with_place):
            return f"associate {type_} in {place_text(place)} with {with_type} in {place_text(with_place)}"
        case _:
            assert_never(action)


def place_text(place: Place) -> str:
    """What follows `in`."""
    match place:
        case HomeTenancy():
            return "tenancy"
        case OtherTenancy(name):
            return f"tenancy {_name(name)}"
        case AnyTenancy():
            return "any-tenancy"
        case Compartment(at):
            return f"compartment id {at.id}" if isinstance(at, ById) else f"compartment {':'.join(map(_word, at))}"
        case _:
            assert_never(place)


def condition_text(condition: Condition) -> str:
    """What follows `where`."""
    match condition:
        case Equal(variable, value, negated):
            return f"{variable} {'!=' if negated else '='} {_value(value)}"
        case Among(variable, values, negated):
            return f"{variable} {'not in' if negated else 'in'} ({', '.join(_value(value) for value in values)})"
        case Beside(variable, side, at):
            return f"{variable} {side} {_quoted(at)}"
        case Between(variable, low, high):
            return f"{variable} between {_quoted(low)} and {_quoted(high)}"
        case Group(kind, parts):
            return f"{kind} {{{', '.join(condition_text(part) for part in parts)}}}"
        case _:
            assert_never(condition)


def _value(value: Value) -> str:
    match value:
        case Text(plain):
            return _quoted(plain)
        case Pattern(kind, plain):
            body = re.sub(r"([\\/*])", r"\\\1", plain)
            before = "*" if kind in ("suffix", "contains") else ""
            after = "*" if kind in ("prefix", "contains") else ""
            return f"/{before}{body}{after}/"
        case Variable(name):
            return name
        case _:
            assert_never(value)


def _name(name: Name) -> str:
    return f"{_word(name.domain)}/{_word(name.name)}" if name.domain else _word(name.name)


def _word(word: str) -> str:
    return word if _BARE.fullmatch(word) and word.lower() not in KEYWORDS else _quoted(word)


def _quoted(plain: str) -> str:
    return "'" + plain.replace("'", "''") + "'"
