"""Statements compiled into indexes, and the decision.

Meaning: nothing is allowed but what a statement allows, and nothing of that which another denies.

- An allow statement allows an action to a subject in a compartment and everything below it, when its condition holds.
- A deny statement takes exactly what the allow statement of the same words would give. The tenancy's administrators
  are exempt, so that nobody can lock everybody out.
- Between tenancies: an endorse statement of the one the principal is of AND an admit statement of every other one that
  is concerned, none of them denied. Names of what is in another tenancy are those of define statements of the policy.
- `associate keys in A with volumes in B` allows a key of A to be used for what lies in B.

Names stand for what they name when the set is compiled; a name that names nothing yet means nothing, and something as
soon as it exists, because each change compiles anew. A policy reaches only the compartment it is attached to and what
lies below, whatever its statements say.

Invariant: a `PolicySet` never changes. What a decision costs does not depend on how many statements there are (index).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from keystead.iam.actions import COVERING
from keystead.iam.policy.conditions import CompiledCondition, compile_condition, failing, variables_of
from keystead.iam.policy.index import DenyShelf, Found, Index, service_key
from keystead.iam.policy.model import Definition, Effect, Rule
from keystead.iam.policy.parse import parse
from keystead.iam.policy.question import Consideration, Decision, Question, StatementRef
from keystead.iam.policy.resolve import ANYWHERE, Defined, Meaning, Names, defined_as, meaning_of
from keystead.iam.policy.variables import tag_named

__all__ = ["Names", "PolicySet", "PolicySource", "compile_policies", "decide_across"]


@dataclass(frozen=True, slots=True)
class PolicySource:
    """A policy to be compiled: its statements and the compartment it is attached to."""

    policy_id: str
    compartment_id: str
    statements: tuple[str, ...]


class Other(Protocol):
    """Another tenancy that a question concerns."""

    def admits(self, question: Question) -> Decision: ...


@dataclass(frozen=True, slots=True)
class _Compiled:
    ref: StatementRef
    rule: Rule
    attached: str
    meaning: Meaning
    condition: CompiledCondition | None


def _admissions() -> dict[bool, dict[str, Index]]:
    return {False: {}, True: {}}


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policies of one tenancy, ready to decide. Made by `compile_policies`.

    `notes` tell of statements that mean nothing at present, for people.
    """

    tenancy: str = ""
    notes: tuple[str, ...] = ()
    _statements: tuple[_Compiled, ...] = ()
    _allowing: Index = field(default_factory=Index)
    _denying: Index = field(default_factory=lambda: Index(DenyShelf))
    _endorsing: Index = field(default_factory=Index)
    _unendorsing: Index = field(default_factory=lambda: Index(DenyShelf))
    # denies? -> tenancy of origin, or ANYWHERE
    _admitting: dict[bool, dict[str, Index]] = field(default_factory=_admissions)

    def decide(self, question: Question) -> Decision:
        """Whether this tenancy's statements allow it to a principal of its own, or to a service."""
        path = question.compartment_path
        found = self._allowing.search(question, path)
        if found.ref is None:
            return _refused(found, question)
        if not self._denying or question.exempt:
            return Decision(True, found.ref, found.looked, ())
        return _unless_denied(found, self._denying.search(question, path))

    def endorses(self, question: Question) -> Decision:
        """Whether a principal of this tenancy may do this where another one is concerned."""
        path = self._path(question)
        found = self._endorsing.search(question, path)
        if found.ref is None:
            return _refused(found, question)
        if not self._unendorsing or question.exempt:
            return Decision(True, found.ref, found.looked, ())
        return _unless_denied(found, self._unendorsing.search(question, path))

    def admits(self, question: Question) -> Decision:
        """Whether this tenancy lets a principal of another one do this."""
        found = self._admissions(question, denying=False)
        if found.ref is None:
            return _refused(found, question)
        return _unless_denied(found, self._admissions(question, denying=True))

    def explain(self, question: Question, effect: Effect = "allow") -> tuple[Consideration, ...]:
        """What every statement of this effect about the permission, anywhere, means here. Reads all statements."""
        wanted = set(COVERING.get(question.permission, ()))
        path = question.compartment_path if effect == "allow" else self._path(question)
        return tuple(
            _consider(each, question, path)
            for each in self._statements
            if each.rule.effect == effect and wanted & each.meaning.actions
        )

    def grants(self) -> Iterable[tuple[StatementRef, Rule, Meaning]]:
        """Every statement but definitions, with its tree and what its names stand for."""
        return ((each.ref, each.rule, each.meaning) for each in self._statements)

    def tags_read(self) -> Iterator[tuple[StatementRef, frozenset[str]]]:
        """Every statement that reads tags, with their names (NAMESPACE.KEY, in lower case)."""
        for each in self._statements:
            condition = each.meaning.condition
            tags = frozenset(filter(None, map(tag_named, variables_of(condition)))) if condition is not None else None
            if tags:
                yield each.ref, tags

    def _path(self, question: Question) -> tuple[str, ...]:
        """Where the target lies, as statements about more than one tenancy see it."""
        path = question.compartment_path
        home = path[:1] == (self.tenancy,)
        return path if home else (ANYWHERE, *path[:1])

    def _admissions(self, question: Question, *, denying: bool) -> Found:
        path, by_origin = self._path(question), self._admitting[denying]
        looked, last = False, Found(None, False, [], [])
        for origin in (question.tenancy, ANYWHERE):
            index = by_origin.get(origin)
            if index is not None:
                last = index.search(question, path)
                looked = looked or last.looked
                if last.ref is not None:
                    break
        return Found(last.ref, looked, last.shelves, last.failed)


def decide_across(home: PolicySet, others: Iterable[Other], question: Question) -> Decision:
    """Whether a principal of `home` may do what concerns `others` too: endorsed there and admitted by each of them."""
    decision = home.endorses(question)
    looked = decision.reads_request
    for other in others:
        if not decision.allowed:
            break
        decision = other.admits(question)
        looked = looked or decision.reads_request
    return Decision(decision.allowed, decision.statement, looked, decision.reasons)


def compile_policies(policies: Iterable[PolicySource], names: Names) -> PolicySet:
    """Compile all policies of a tenancy.

    Raises:
        Refusal: a statement that cannot be read; `check_statements` keeps such from being stored.
    """
    statements: list[_Compiled] = []
    notes: list[str] = []
    made = PolicySet(names.tenancy)
    for policy in policies:
        trees = [parse(written) for written in policy.statements]
        defined: dict[tuple[str, str, str], str] = {
            defined_as(tree.kind, tree.name): tree.id.lower()
            for tree in reversed(trees)
            if isinstance(tree, Definition)
        }
        for number, (written, tree) in enumerate(zip(policy.statements, trees, strict=True), 1):
            if isinstance(tree, Rule):
                ref = StatementRef(policy.policy_id, number, written)
                each = _compile(ref, tree, policy.compartment_id, names, defined, notes)
                statements.append(each)
                _file(made, each)
    return PolicySet(
        names.tenancy,
        tuple(notes),
        tuple(statements),
        made._allowing,
        made._denying,
        made._endorsing,
        made._unendorsing,
        made._admitting,
    )


def _compile(
    ref: StatementRef,
    rule: Rule,
    attached: str,
    names: Names,
    defined: Defined,
    notes: list[str],
) -> _Compiled:
    meaning = meaning_of(rule, attached, names, defined)
    if meaning.lacks:
        notes.append(f"statement {ref.number} of {ref.policy_id}: {meaning.lacks}")
    condition = None if meaning.condition is None else compile_condition(meaning.condition, absent=rule.denies)
    return _Compiled(ref, rule, attached, meaning, condition)


def _file(made: PolicySet, each: _Compiled) -> None:
    denies, meaning = each.rule.denies, each.meaning
    match each.rule.effect:
        case "allow":
            indexes = [made._denying if denies else made._allowing]
        case "endorse":
            indexes = [made._unendorsing if denies else made._endorsing]
        case "admit":
            by_origin = made._admitting[denies]
            indexes = [by_origin.setdefault(meaning.origin, Index(DenyShelf) if denies else Index())]
    for index in indexes:
        for where, attached in meaning.places:
            index.put(where, attached, meaning.actions, meaning.subjects, each.ref, each.condition)


def _unless_denied(found: Found, denial: Found) -> Decision:
    if denial.ref is None:
        return Decision(True, found.ref, found.looked or denial.looked, ())
    why = f"statement {denial.ref.number} of {denial.ref.policy_id} denies it"
    return Decision(False, denial.ref, denial.looked, (why,))


def _refused(found: Found, question: Question) -> Decision:
    return Decision(False, None, found.looked, _reasons(question, found))


def _reasons(question: Question, found: Found) -> tuple[str, ...]:
    if not found.shelves:
        return (f"no statement grants {question.permission} here to this principal",)
    reasons = [
        f"statement {grant.ref.number} of {grant.ref.policy_id} does not hold:"
        f" {failing(grant.condition.source, question.variables)}"
        for grant in found.failed[:3]
    ]
    others = sorted({variable for shelf in found.shelves for variable in shelf.filed})
    if not reasons:
        reasons = [f"{question.permission} is granted here for other values of {', '.join(others)}"]
    return tuple(reasons)


def _consider(each: _Compiled, question: Question, path: tuple[str, ...]) -> Consideration:
    meaning, denies = each.meaning, each.rule.denies
    why = ""
    if denies and question.exempt and each.rule.effect != "admit":
        why = "the tenancy's administrators are exempt from it"
    elif not _is_subject(each, question):
        why = "it is about someone else"
    elif each.rule.effect == "admit" and meaning.origin not in (question.tenancy, ANYWHERE):
        why = "it is about another tenancy"
    elif not any(where in path for where, _ in meaning.places):
        why = "it holds in another compartment"
    elif not any(where in path and attached in path[: path.index(where) + 1] for where, attached in meaning.places):
        why = "its policy is not attached to that compartment or one above"
    elif each.condition is not None:
        false = failing(each.condition.source, question.variables, denies)
        why = f"its condition does not hold: {false}" if false else ""
    return Consideration(each.ref, each.rule.effect, denies, not why, why)


def _is_subject(each: _Compiled, question: Question) -> bool:
    kind = each.rule.subject.kind
    if kind == "any-user":
        return True
    if kind == "any-group":
        return bool(question.group_ids)
    if kind == "service":
        return question.principal_type == "service" and service_key(question.principal_name) in each.meaning.subjects
    return any(subject in question.group_ids for subject in each.meaning.subjects)
