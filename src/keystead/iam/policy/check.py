"""What is looked at before statements are stored: that they can be read, reach no further than they may, and mean
something by the names of other tenancies; that no name in them merely looks like one, and no
comparison is with what a variable never is.
"""

import unicodedata
from collections.abc import Container, Iterator, Mapping, Sequence

from keystead.core.errors import Refusal
from keystead.iam.policy.model import (
    Among,
    Associate,
    ById,
    Compartment,
    Condition,
    Definition,
    Equal,
    Group,
    HomeTenancy,
    Name,
    OtherTenancy,
    Place,
    Rule,
    Statement,
    Text,
)
from keystead.iam.policy.parse import StatementError, parse
from keystead.iam.policy.variables import VALUES


def check_statements(
    statements: Sequence[str], *, at_root: bool = True, kept: Container[str] = ()
) -> tuple[Statement, ...]:
    """The trees of the statements of one policy about to be stored; `at_root`: it is attached to the tenancy. `kept`:
    those that are stored as they are, whatever is wrong with them; of one that cannot be read there is no tree.

    Raises:
        Refusal: the first one that cannot be read, that reaches beyond where the policy is attached, or that names
            something of another tenancy without a define statement.
    """
    trees, problems = _looked_at(statements, at_root)
    for number, refusal in problems:
        if statements[number - 1] not in kept:
            raise refusal
    return tuple(tree for tree in trees if tree is not None)


def problems_of(statements: Sequence[str], *, at_root: bool) -> Mapping[str, str]:
    """Which statements of a stored policy would be refused if they were new, and why."""
    return {statements[number - 1]: refusal.message for number, refusal in _looked_at(statements, at_root)[1]}


def _looked_at(
    statements: Sequence[str], at_root: bool
) -> tuple[Sequence[Statement | None], Sequence[tuple[int, Refusal]]]:
    """The trees (None: cannot be read), and what is wrong with which: those that cannot be read first."""
    trees: list[Statement | None] = []
    problems: list[tuple[int, Refusal]] = []
    for number, written in enumerate(statements, 1):
        tree, refusal = _tree(written, _before(number, statements))
        trees.append(tree)
        if refusal is not None:
            problems.append((number, refusal))
    defined: set[tuple[str, tuple[str, str]]] = {
        (each.kind, _folded(each.name)) for each in trees if isinstance(each, Definition)
    }
    for number, tree in enumerate(trees, 1):
        try:
            if tree is not None:
                _check_tree(tree, defined, at_root, _before(number, statements))
        except Refusal as refused:
            problems.append((number, refused))
    return trees, problems


def _before(number: int, statements: Sequence[str]) -> str:
    return f"statement {number}, " if len(statements) > 1 else ""


def _tree(written: str, before: str) -> tuple[Statement | None, Refusal | None]:
    try:
        return parse(written), None
    except StatementError as error:
        return None, error.within(before)
    except Refusal as refusal:
        return None, Refusal(refusal.code, before + refusal.message, hint=refusal.hint)


def _check_tree(tree: Statement, defined: set[tuple[str, tuple[str, str]]], at_root: bool, before: str) -> None:
    if not at_root:
        _check_reach(tree, before)
    if isinstance(tree, Rule):
        _check_names(tree, defined, before)
        _check_letters(tree, before)
        if tree.condition is not None:
            _check_values(tree.condition, before)


def policy_types(statements: Sequence[str]) -> tuple[str, ...]:
    """`target.policy.type`: "allow", "deny" or both; what cannot be read counts for nothing."""
    found = set()
    for written in statements:
        try:
            tree = parse(written)
        except Refusal:
            continue
        if isinstance(tree, Rule):
            found.add("deny" if tree.denies else "allow")
    return tuple(sorted(found))


def _check_reach(tree: Statement, before: str) -> None:
    if isinstance(tree, Definition) or tree.effect != "allow":
        kind = "define" if isinstance(tree, Definition) else tree.effect
        raise Refusal(
            "OutOfReach",
            f"{before}{kind} statements stand in a policy attached to the tenancy",
            hint="attach the policy to the tenancy",
        )
    if any(isinstance(place, HomeTenancy) for place in _places(tree)):
        raise Refusal(
            "OutOfReach",
            f"{before}a policy attached to a compartment cannot speak of the whole tenancy",
            hint="name the compartment, or attach the policy to the tenancy",
        )


def _check_names(rule: Rule, defined: set[tuple[str, tuple[str, str]]], before: str) -> None:
    named: list[tuple[str, Name]] = [
        ("tenancy", place.name) for place in (*_places(rule), rule.origin) if isinstance(place, OtherTenancy)
    ]
    if rule.effect == "admit" and rule.subject.kind in ("group", "dynamic-group"):
        named += [(rule.subject.kind, one) for one in rule.subject.who if isinstance(one, Name)]
    for kind, name in named:
        if (kind, _folded(name)) not in defined:
            raise Refusal(
                "NotDefined",
                f"{before}no define statement of this policy says which {kind} {name.name!r} is",
                hint=f"add: Define {kind} {name.name} as <id>",
            )


def _check_letters(rule: Rule, before: str) -> None:
    """Whatever is named here has a name in ASCII: letters that look alike would make a statement mean nobody, which
    nobody sees; least of all of one that denies.
    """
    words = [word for one in rule.subject.who if isinstance(one, Name) for word in (one.domain, one.name)]
    for place in _places(rule):
        if isinstance(place, Compartment) and not isinstance(place.at, ById):
            words += place.at
    for word in words:
        strange = next((letter for letter in word if not letter.isascii()), None)
        if strange is not None:
            called = unicodedata.name(strange, "no letter of ASCII")
            raise Refusal(
                "InvalidStatement",
                f"{before}nothing can be called {word!r}: {strange!r} is {called}",
                hint="names have letters, digits and . _ @ + - of ASCII",
            )


def _check_values(condition: Condition, before: str) -> None:
    """A variable of a few values is compared with one of those: `= '01'` would never be the first of a month."""
    match condition:
        case Group(_, parts):
            for part in parts:
                _check_values(part, before)
        case Equal(variable, Text(written)):
            _check_value(variable, written, before)
        case Among(variable, values):
            for value in values:
                if isinstance(value, Text):
                    _check_value(variable, value.text, before)
        case _:
            pass  # moments are checked when they are read, patterns and other variables are what they are


def _check_value(variable: str, written: str, before: str) -> None:
    possible = VALUES.get(variable)
    if possible is not None and written.casefold() not in possible:
        few = ", ".join(possible) if len(possible) < 8 else f"{possible[0]} to {possible[-1]}"
        raise Refusal("InvalidStatement", f"{before}{variable} is never {written[:40]!r}", hint=f"it is {few}")


def _places(rule: Rule) -> Iterator[Place]:
    if rule.place is not None:
        yield rule.place
    if isinstance(rule.action, Associate):
        yield rule.action.place
        yield rule.action.with_place


def _folded(name: Name) -> tuple[str, str]:
    return name.domain.casefold(), name.name.casefold()
