"""Statements compiled into an index, and the decision.

Meaning: nothing is allowed but what a statement allows. A statement allows an action to a subject in a compartment and
everything below it, when its condition holds. Names stand for what they name when the set is compiled; a name that
names nothing yet allows nothing, and means something as soon as it exists, because each change compiles anew. A policy
reaches only the compartment it is attached to and what lies below, whatever its statements say.

    location -> compartment of attachment -> action ("use keys", "KEY_READ") -> subject -> shelf
    shelf: one unconditional statement | conditional ones filed by a variable's value | the rest

A decision looks at the compartments of the target's path, the few actions that include the permission, and the subjects
that the principal is: its cost does not depend on how many statements there are. Only conditions that name no value to
be filed under (patterns, times, !=), on the very same subject, action and place, are tried one after the other.

Invariant: a `PolicySet` never changes. Only allow statements are evaluated by this version; others are refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from keystead.core.errors import Refusal
from keystead.iam.actions import COVERING, action_key, granting
from keystead.iam.model import Principal
from keystead.iam.policy.conditions import CompiledCondition, Key, Reader, Variables, compile_condition, failing, read
from keystead.iam.policy.model import (
    Action,
    Associate,
    ById,
    Compartment,
    Condition,
    Definition,
    Equal,
    Group,
    HomeTenancy,
    Name,
    Permissions,
    Place,
    Rule,
    Statement,
    Subject,
    Text,
    VerbOn,
    text,
)
from keystead.iam.policy.parse import StatementError, parse
from keystead.iam.policy.variables import reads_request

# Names of the identity domain that every tenancy has.
_OWN_DOMAINS = frozenset({"", "default"})


class Names(Protocol):
    """What names stand for in one tenancy; compared without regard to case."""

    @property
    def tenancy(self) -> str:
        """Id of the tenancy, which is that of its root compartment."""
        ...

    def group(self, name: str) -> str | None:
        """Id of the group of that name."""
        ...

    def compartment(self, base: str, names: tuple[str, ...]) -> str | None:
        """Id of the compartment reached from `base` by a path of names."""
        ...


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy to be compiled: its statements and the compartment it is attached to."""

    policy_id: str
    compartment_id: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatementRef:
    """One statement of a policy; `number` counts from 1."""

    policy_id: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """May this principal do this here?

    `group_ids`: every group the principal is in. `compartment_path`: ids from the tenancy's root to the target's
    compartment. `variables` gives the where-variables by lower-case name, None for what the request does not have.
    """

    principal_id: str
    principal_type: str
    principal_name: str
    group_ids: frozenset[str]
    permission: str
    compartment_path: tuple[str, ...]
    variables: Variables


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `statement` is the one that allows.

    `reads_request`: a variable was read that may differ in the next request of this principal for this thing (time,
    network, factor); only other decisions may be remembered, and those no longer than a generation. `reasons` say why
    not, for people who may know.
    """

    allowed: bool
    statement: StatementRef | None
    reads_request: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Consideration:
    """What one statement that grants the permission somewhere means for a question; `why` is empty when it allows."""

    statement: StatementRef
    allows: bool
    why: str


@dataclass(frozen=True, slots=True)
class _Grant:
    ref: StatementRef
    condition: CompiledCondition


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement with its names resolved; `where` is None when its place does not exist."""

    ref: StatementRef
    rule: Rule
    attached: str
    where: str | None
    actions: frozenset[str]
    subjects: tuple[str, ...]
    condition: CompiledCondition | None


class _Shelf:
    """What one subject may do by one action in one place."""

    __slots__ = ("always", "filed", "rest")

    def __init__(self) -> None:
        self.always: StatementRef | None = None
        # variable -> (its reader, value -> grants); grants by condition, as a second equal one adds nothing
        self.filed: dict[str, tuple[Reader, dict[str, dict[Condition, _Grant]]]] = {}
        self.rest: dict[Condition, _Grant] = {}

    def put(self, ref: StatementRef, condition: CompiledCondition | None) -> None:
        if condition is None:
            self.always = self.always or ref
            return
        grant = _Grant(ref, condition)
        if not condition.keys:
            self.rest.setdefault(condition.source, grant)
            return
        # Where it meets the fewest others, so that a value that many share (one vault) is not what they are filed by.
        variable, values = min(condition.keys, key=self._crowd)
        _, by_value = self.filed.setdefault(variable, (read(variable), {}))
        for value in values:
            by_value.setdefault(value, {}).setdefault(condition.source, grant)

    def _crowd(self, key: Key) -> int:
        variable, values = key
        by_value = self.filed[variable][1] if variable in self.filed else {}
        return max(len(by_value.get(value, ())) for value in values)

    def candidates(self, variables: Variables) -> Iterator[_Grant]:
        """The conditional grants that may hold for this request."""
        for reader, by_value in self.filed.values():
            for value in reader(variables):
                yield from by_value.get(value, {}).values()
        yield from self.rest.values()

    def looks_at_request(self) -> bool:
        """Whether choosing the candidates depends on the request."""
        return any(reads_request(variable) for variable in self.filed)


_Cell = dict[str, _Shelf]  # subject -> shelf
_Cells = dict[str, _Cell]  # action -> cell


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies of one tenancy, ready to decide. Made by `compile_policies`.

    `notes` tell of statements that mean nothing at present, for people.
    """

    notes: tuple[str, ...] = ()
    _statements: tuple[_Compiled, ...] = ()
    _places: dict[str, dict[str, _Cells]] = field(default_factory=dict)

    def decide(self, question: Question) -> Decision:
        """Whether some statement allows it. A few microseconds, however many statements there are."""
        conditional: list[_Shelf] = []
        for shelf in self._shelves(question):
            if shelf.always is not None:
                return Decision(True, shelf.always, False, ())
            conditional.append(shelf)
        return _decide_by_conditions(conditional, question)

    def explain(self, question: Question) -> tuple[Consideration, ...]:
        """What every statement that grants the permission to anyone, anywhere, means here. Reads all statements."""
        wanted = set(COVERING.get(question.permission, ()))
        return tuple(_consider(each, question) for each in self._statements if wanted & each.actions)

    def _shelves(self, question: Question) -> Iterator[_Shelf]:
        actions = COVERING.get(question.permission, ())
        path = question.compartment_path
        for depth, compartment in enumerate(path, 1):
            by_attachment = self._places.get(compartment)
            if by_attachment is None:
                continue
            for above in path[:depth]:
                cells = by_attachment.get(above)
                if cells is None:
                    continue
                for action in actions:
                    cell = cells.get(action)
                    if cell is not None:
                        yield from _shelves_of(cell, question)


def compile_policies(policies: Iterable[PolicySource], names: Names) -> PolicySet:
    """Compile all policies of a tenancy.

    Raises:
        Refusal: a statement that cannot be read or is of a kind not yet supported; `check_statements` keeps such
            from being stored.
    """
    statements = []
    places: dict[str, dict[str, _Cells]] = {}
    notes: list[str] = []
    for policy in policies:
        for number, written in enumerate(policy.statements, 1):
            ref = StatementRef(policy.policy_id, number, written)
            compiled = _compile(ref, policy.compartment_id, _supported(parse(written)), names, notes)
            statements.append(compiled)
            if compiled.where is not None:
                cells = places.setdefault(compiled.where, {}).setdefault(compiled.attached, {})
                for action in compiled.actions:
                    cell = cells.setdefault(action, {})
                    for subject in compiled.subjects:
                        cell.setdefault(subject, _Shelf()).put(ref, compiled.condition)
    return PolicySet(tuple(notes), tuple(statements), places)


def check_statements(statements: Sequence[str], *, at_root: bool = True) -> tuple[Statement, ...]:
    """The trees of statements about to be stored; `at_root` says that their policy is attached to the tenancy.

    Raises:
        Refusal: the first one that cannot be read or evaluated, or that reaches beyond where its policy is attached.
    """
    trees = []
    for number, written in enumerate(statements, 1):
        before = f"statement {number}, " if len(statements) > 1 else ""
        try:
            rule = _supported(parse(written))
        except StatementError as error:
            raise error.within(before) from None
        except Refusal as refusal:
            raise Refusal(refusal.code, before + refusal.message, hint=refusal.hint) from None
        if not at_root and isinstance(rule.place, HomeTenancy):
            raise Refusal(
                "OutOfReach",
                f"{before}a policy attached to a compartment cannot grant in the whole tenancy",
                hint="name the compartment, or attach the policy to the tenancy",
            )
        trees.append(rule)
    return tuple(trees)


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


def _supported(statement: Statement) -> Rule:
    if isinstance(statement, Definition):
        raise _unsupported("define")
    if statement.denies:
        raise _unsupported("deny")
    if statement.effect != "allow":
        raise _unsupported(statement.effect)
    if isinstance(statement.action, Associate):
        raise _unsupported("associate")
    return statement


def _unsupported(kind: str) -> Refusal:
    return Refusal(
        "NotSupported",
        f"{kind} statements are not yet supported",
        hint="use an allow statement with a verb or with permissions in braces",
    )


def _compile(ref: StatementRef, attached: str, rule: Rule, names: Names, notes: list[str]) -> _Compiled:
    where = _where(rule.place, attached, names)
    subjects = tuple(_subjects(rule.subject, names))
    wanted = 1 if not rule.subject.who else len(rule.subject.who)
    if where is None or len(subjects) < wanted:
        what = "its compartment" if where is None else "someone it names"
        notes.append(f"statement {ref.number} of {ref.policy_id}: {what} does not exist")
    condition = None if rule.condition is None else compile_condition(rule.condition)
    return _Compiled(ref, rule, attached, where, _actions(rule.action), subjects, condition)


def _where(place: Place | None, attached: str, names: Names) -> str | None:
    match place:
        case HomeTenancy():
            return names.tenancy
        case Compartment(at):
            return at.id.lower() if isinstance(at, ById) else names.compartment(attached, at)
        case _:
            return None


def _actions(action: Action) -> frozenset[str]:
    match action:
        case VerbOn(verb, word):
            return frozenset({action_key(verb, word)})
        case Permissions(permissions):
            return frozenset(permissions)
        case Associate():
            return frozenset()
        case _:
            assert_never(action)


def _subjects(subject: Subject, names: Names) -> Iterator[str]:
    """Keys of a cell: a group's id, or a word with a blank, which no id has."""
    match subject.kind:
        case "any-user" | "any-group":
            yield f"{subject.kind} "
        case "service":
            for one in subject.who:
                if isinstance(one, Name):
                    yield _service_key(one.name)
        case "group" | "dynamic-group":
            for one in subject.who:
                found = one.id.lower() if isinstance(one, ById) else _group(subject.kind, one, names)
                if found is not None:
                    yield found
        case _:
            assert_never(subject.kind)


def _service_key(name: str) -> str:
    return f"service {name.casefold()}"


def _group(kind: str, name: Name, names: Names) -> str | None:
    # Dynamic groups, and identity domains other than the tenancy's own, do not exist yet.
    if kind != "group" or name.domain.casefold() not in _OWN_DOMAINS:
        return None
    return names.group(name.name)


def _shelves_of(cell: _Cell, question: Question) -> Iterator[_Shelf]:
    groups = question.group_ids
    if (shelf := cell.get("any-user ")) is not None:
        yield shelf
    if groups and (shelf := cell.get("any-group ")) is not None:
        yield shelf
    if question.principal_type == "service":
        shelf = cell.get(_service_key(question.principal_name))
        if shelf is not None:
            yield shelf
    # Walk the shorter of the two.
    for group in groups if len(groups) <= len(cell) else [each for each in cell if each in groups]:
        shelf = cell.get(group)
        if shelf is not None:
            yield shelf


def _decide_by_conditions(shelves: list[_Shelf], question: Question) -> Decision:
    variables = question.variables
    looked = False
    failed: list[_Grant] = []
    for shelf in shelves:
        looked = looked or shelf.looks_at_request()
        for grant in shelf.candidates(variables):
            looked = looked or grant.condition.reads_request
            if grant.condition.test(variables):
                return Decision(True, grant.ref, looked, ())
            failed.append(grant)
    return Decision(False, None, looked, _reasons(question, shelves, failed))


def _reasons(question: Question, shelves: list[_Shelf], failed: list[_Grant]) -> tuple[str, ...]:
    if not shelves:
        return (f"no statement grants {question.permission} here to this principal",)
    reasons = [
        f"statement {grant.ref.number} of {grant.ref.policy_id} does not hold:"
        f" {failing(grant.condition.source, question.variables)}"
        for grant in failed[:3]
    ]
    others = sorted({variable for shelf in shelves for variable in shelf.filed})
    if not reasons:
        reasons = [f"{question.permission} is granted here for other values of {', '.join(others)}"]
    return tuple(reasons)


def _consider(each: _Compiled, question: Question) -> Consideration:
    path = question.compartment_path
    why = ""
    if not _is_subject(each, question):
        why = "it is about someone else"
    elif each.where is None or each.where not in path:
        why = "it holds in another compartment"
    elif each.attached not in path[: path.index(each.where) + 1]:
        why = "its policy is not attached to that compartment or one above"
    elif each.condition is not None:
        false = failing(each.condition.source, question.variables)
        why = f"its condition does not hold: {false}" if false else ""
    return Consideration(each.ref, not why, why)


def _is_subject(each: _Compiled, question: Question) -> bool:
    kind = each.rule.subject.kind
    if kind == "any-user":
        return True
    if kind == "any-group":
        return bool(question.group_ids)
    if kind == "service":
        return question.principal_type == "service" and _service_key(question.principal_name) in each.subjects
    return any(subject in question.group_ids for subject in each.subjects)
