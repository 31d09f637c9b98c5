"""Where-conditions, compiled into functions.

Meaning: values compare without regard to case. A variable that is absent (or an empty list), or not on the scale that
it is compared on, makes the comparison false, whatever the operator, in a statement that allows, and true in one that
denies: what cannot be evaluated opens nothing (law 9). A variable with several values (request.groups.id) equals what
any of them equals, and differs from what none of them equals.

A condition that can only hold when some variable has one of a few values has a *key*, variable and values, under which
an evaluator can file it and look it up instead of trying it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from keystead.iam.policy.model import (
    Among,
    Beside,
    Between,
    Condition,
    Equal,
    Group,
    Pattern,
    Text,
    Value,
    Variable,
    condition_text,
)
from keystead.iam.policy.moments import TIMESTAMP, TIMESTAMP_PARTS, Scale, scale, timestamp_part, within
from keystead.iam.policy.variables import reads_request

Variables = Callable[[str], str | tuple[str, ...] | None]
"""The value, or values, of a variable by its lower-case name; None when the request does not have it."""
Test = Callable[[Variables], bool]
Reader = Callable[[Variables], tuple[str, ...]]
Key = tuple[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class CompiledCondition:
    """`test` decides; `keys` are where the condition may be filed, the one that selects best first."""

    source: Condition
    test: Test
    reads_request: bool
    keys: tuple[Key, ...]


@lru_cache(maxsize=50_000)
def compile_condition(condition: Condition, absent: bool = False) -> CompiledCondition:
    """Ready to be evaluated many times. Remembered, as policies are compiled anew at each change.

    `absent`: what a comparison with an absent variable comes to (True for what denies).
    """
    volatile = any(reads_request(name) for name in variables_of(condition))
    return CompiledCondition(condition, _test(condition, absent), volatile, _keys(condition))


def assume(condition: Condition, variable: str) -> Condition | None:
    """What remains of a condition when every comparison with `variable` holds; None when all of it does."""
    if not isinstance(condition, Group):
        return None if variable in variables_of(condition) else condition
    parts = [assume(part, variable) for part in condition.parts]
    remaining = tuple(part for part in parts if part is not None)
    if not remaining or (condition.kind == "any" and len(remaining) < len(parts)):
        return None
    return remaining[0] if len(remaining) == 1 else Group(condition.kind, remaining)


def variables_of(condition: Condition) -> Iterator[str]:
    """Every variable that the condition reads."""
    match condition:
        case Group(_, parts):
            for part in parts:
                yield from variables_of(part)
        case Equal(variable, Variable(other), _):
            yield variable
            yield other
        case Equal(variable) | Among(variable) | Beside(variable) | Between(variable):
            yield variable
        case _:
            assert_never(condition)


def failing(condition: Condition, variables: Variables, absent: bool = False) -> str:
    """The smallest part of a false condition that explains why it is false, as text; '' when it holds."""
    if _test(condition, absent)(variables):
        return ""
    if isinstance(condition, Group) and (condition.kind == "all" or len(condition.parts) == 1):
        return next(filter(None, (failing(part, variables, absent) for part in condition.parts)))
    return condition_text(condition)


def read(variable: str) -> Reader:
    """A function giving the case-folded values of `variable`; empty when it is absent."""
    base, _, part = variable.rpartition(".")
    if base == TIMESTAMP and part in TIMESTAMP_PARTS:
        return _timestamp_reader(part)

    def reader(variables: Variables) -> tuple[str, ...]:
        value = variables(variable)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value.casefold(),)
        return tuple(each.casefold() for each in value)

    return reader


def _timestamp_reader(part: str) -> Reader:
    def reader(variables: Variables) -> tuple[str, ...]:
        whole = variables(TIMESTAMP)
        found = timestamp_part(whole, part) if isinstance(whole, str) else None
        return () if found is None else (found.casefold(),)

    return reader


def _test(condition: Condition, absent: bool) -> Test:
    match condition:
        case Group("all", parts):
            tests = [_test(part, absent) for part in parts]
            return lambda variables: all(test(variables) for test in tests)
        case Group(_, parts):
            tests = [_test(part, absent) for part in parts]
            return lambda variables: any(test(variables) for test in tests)
        case Equal(variable, Variable(other), negated):
            return _compare_variables(read(variable), read(other), negated, absent)
        case Equal(variable, value, negated):
            return _compare(read(variable), [_matcher(value)], negated, absent)
        case Among(variable, values, negated):
            return _compare(read(variable), [_matcher(value) for value in values], negated, absent)
        case Beside(variable, side, at):
            return _beside(read(variable), scale(at), side == "before", absent)
        case Between(variable, low, high):
            return _between(read(variable), scale(low), scale(high), absent)
        case _:
            assert_never(condition)


def _matcher(value: Value) -> Callable[[str], bool]:
    match value:
        case Text(plain) | Pattern("exact", plain):
            return plain.casefold().__eq__
        case Pattern(kind, plain):
            wanted = plain.casefold()
            if kind == "prefix":
                return lambda actual: actual.startswith(wanted)
            if kind == "suffix":
                return lambda actual: actual.endswith(wanted)
            return lambda actual: wanted in actual
        case Variable():
            raise AssertionError("variables are compared with variables elsewhere")
        case _:
            assert_never(value)


def _compare(reader: Reader, matchers: list[Callable[[str], bool]], negated: bool, absent: bool) -> Test:
    if len(matchers) == 1 and not negated and not absent:
        matches = matchers[0]
        return lambda variables: any(map(matches, reader(variables)))

    def test(variables: Variables) -> bool:
        actual = reader(variables)
        if not actual:
            return absent
        return any(matcher(each) for matcher in matchers for each in actual) is not negated

    return test


def _compare_variables(reader: Reader, other: Reader, negated: bool, absent: bool) -> Test:
    def test(variables: Variables) -> bool:
        left, right = reader(variables), other(variables)
        if not left or not right:
            return absent
        return any(each in right for each in left) is not negated

    return test


def _beside(reader: Reader, limit: Scale | None, before: bool, absent: bool) -> Test:
    def holds(actual: Scale) -> bool:
        assert limit is not None  # noqa: S101 (nothing is of its kind otherwise)
        return actual.at < limit.at if before else actual.at > limit.at

    return _on_scale(reader, limit, holds, absent)


def _between(reader: Reader, low: Scale | None, high: Scale | None, absent: bool) -> Test:
    def holds(actual: Scale) -> bool:
        assert low is not None and high is not None  # noqa: S101 (the parser reads both or neither)
        return within(actual, low, high)

    return _on_scale(reader, low, holds, absent)


def _on_scale(reader: Reader, like: Scale | None, holds: Callable[[Scale], bool], absent: bool) -> Test:
    """Whether it holds for some value of the kind of `like`; `absent` when there is none."""

    def test(variables: Variables) -> bool:
        scales = [scale(each) for each in reader(variables)]
        comparable = [each for each in scales if each is not None and like is not None and each.kind == like.kind]
        return any(map(holds, comparable)) if comparable else absent

    return test


def _keys(condition: Condition) -> tuple[Key, ...]:
    match condition:
        case Equal(variable, Text(plain), False):
            return ((variable, frozenset({plain.casefold()})),)
        case Among(variable, values, False):
            texts = [value.text.casefold() for value in values if isinstance(value, Text)]
            return ((variable, frozenset(texts)),) if len(texts) == len(values) else ()
        case Group("all", parts):
            return tuple(sorted({key for part in parts for key in _keys(part)}, key=_coarseness))
        case Group(_, parts):
            return _joined([dict(_keys(part)) for part in parts])
        case _:
            return ()


def _joined(alternatives: list[dict[str, frozenset[str]]]) -> tuple[Key, ...]:
    """Keys of any {...}: variables that every alternative is filed under, with the values of all of them."""
    shared = [variable for variable in alternatives[0] if all(variable in each for each in alternatives)]
    keys = [(variable, frozenset().union(*(each[variable] for each in alternatives))) for variable in shared]
    return tuple(sorted(keys, key=_coarseness))


def _coarseness(key: Key) -> tuple[int, int, str]:
    """Ids of things select best, then names, then places and kinds."""
    variable, values = key
    place = ".compartment." in variable
    rank = 0 if variable.endswith(".id") and not place else 1 if variable.endswith(".name") and not place else 2
    return (rank + place, len(values), variable)
