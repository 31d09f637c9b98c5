"""Statements filed so that a decision looks at few of them.

    location -> compartment of attachment -> action ("use keys", "KEY_READ") -> subject -> shelf
    shelf: one unconditional statement | conditional ones filed by a variable's value | the rest

A search looks at the compartments of the target's path, the few actions that include the permission, and the subjects
that the principal is: its cost does not depend on how many statements there are. Only conditions that name no value to
be filed under (patterns, times, !=), on the very same subject, action and place, are tried one after the other.

What denies is filed on a `DenyShelf`: there an absent variable fulfils a comparison, so each statement is also filed as
what remains of it when the variable that it is filed under is absent.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from keystead.iam.actions import COVERING
from keystead.iam.policy.conditions import CompiledCondition, Key, Reader, Variables, assume, compile_condition, read
from keystead.iam.policy.model import Condition
from keystead.iam.policy.question import Question, StatementRef
from keystead.iam.policy.variables import reads_request


@dataclass(frozen=True, slots=True)
class Grant:
    """A conditional statement on a shelf."""

    ref: StatementRef
    condition: CompiledCondition


class Shelf:
    """What one subject may do by one action in one place."""

    __slots__ = ("always", "filed", "rest")

    def __init__(self) -> None:
        self.always: StatementRef | None = None
        # variable -> (its reader, value -> grants); grants by condition, as a second equal one adds nothing
        self.filed: dict[str, tuple[Reader, dict[str, dict[Condition, Grant]]]] = {}
        self.rest: dict[Condition, Grant] = {}

    def put(self, ref: StatementRef, condition: CompiledCondition | None) -> None:
        """File one statement."""
        if condition is None:
            self.always = self.always or ref
            return
        grant = Grant(ref, condition)
        if not condition.keys:
            self.rest.setdefault(condition.source, grant)
            return
        # Where it meets the fewest others, so that a value that many share (one vault) is not what they are filed by.
        self.file(grant, *min(condition.keys, key=self._crowd))

    def file(self, grant: Grant, variable: str, values: frozenset[str]) -> None:
        """Put a grant where one of the values of a variable finds it."""
        _, by_value = self.filed.setdefault(variable, (read(variable), {}))
        for value in values:
            by_value.setdefault(value, {}).setdefault(grant.condition.source, grant)

    def _crowd(self, key: Key) -> int:
        variable, values = key
        by_value = self.filed[variable][1] if variable in self.filed else {}
        return max(len(by_value.get(value, ())) for value in values)

    def candidates(self, variables: Variables) -> Iterator[Grant]:
        """The conditional grants that may hold for this request."""
        for reader, by_value in self.filed.values():
            for value in reader(variables):
                yield from by_value.get(value, {}).values()
        yield from self.rest.values()

    def looks_at_request(self) -> bool:
        """Whether choosing the candidates depends on the request."""
        return any(reads_request(variable) for variable in self.filed)


class DenyShelf(Shelf):
    """What one subject is denied. `absent`: variable -> what remains of the statements filed under it without it."""

    __slots__ = ("absent",)

    def __init__(self) -> None:
        super().__init__()
        self.absent: dict[str, DenyShelf] = {}

    def file(self, grant: Grant, variable: str, values: frozenset[str]) -> None:
        super().file(grant, variable, values)
        remains = assume(grant.condition.source, variable)
        compiled = None if remains is None else compile_condition(remains, absent=True)
        self.absent.setdefault(variable, DenyShelf()).put(grant.ref, compiled)

    def candidates(self, variables: Variables) -> Iterator[Grant]:
        yield from super().candidates(variables)
        for variable, shelf in self.absent.items():
            if not self.filed[variable][0](variables):
                if shelf.always is not None:
                    yield Grant(shelf.always, _ALWAYS)
                yield from shelf.candidates(variables)

    def looks_at_request(self) -> bool:
        return super().looks_at_request() or any(shelf.looks_at_request() for shelf in self.absent.values())


_ALWAYS = CompiledCondition(None, lambda variables: True, False, ())  # type: ignore[arg-type]  # never shown: it holds

_Cell = dict[str, Shelf]  # subject -> shelf
_Cells = dict[str, _Cell]  # action -> cell


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: a statement that matches, or the shelves and conditional statements that do not."""

    ref: StatementRef | None
    looked: bool
    shelves: list[Shelf]
    failed: list[Grant]


class Index:
    """Statements of one effect."""

    __slots__ = ("_places", "_shelf")

    def __init__(self, shelf: type[Shelf] = Shelf) -> None:
        self._shelf = shelf
        self._places: dict[str, dict[str, _Cells]] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def put(
        self,
        where: str,
        attached: str,
        actions: Iterable[str],
        subjects: Iterable[str],
        ref: StatementRef,
        condition: CompiledCondition | None,
    ) -> None:
        """File one statement under one place."""
        cells = self._places.setdefault(where, {}).setdefault(attached, {})
        for action in actions:
            cell = cells.setdefault(action, {})
            for subject in subjects:
                shelf = cell.get(subject)
                if shelf is None:
                    shelf = cell[subject] = self._shelf()
                shelf.put(ref, condition)

    def search(self, question: Question, path: tuple[str, ...]) -> Found:
        """A statement that is about this. A few microseconds, however many statements there are."""
        conditional: list[Shelf] = []
        for shelf in self._shelves(question, path):
            if shelf.always is not None:
                return Found(shelf.always, False, conditional, [])
            conditional.append(shelf)
        variables = question.variables
        looked = False
        failed: list[Grant] = []
        for shelf in conditional:
            looked = looked or shelf.looks_at_request()
            for grant in shelf.candidates(variables):
                looked = looked or grant.condition.reads_request
                if grant.condition.test(variables):
                    return Found(grant.ref, looked, conditional, failed)
                failed.append(grant)
        return Found(None, looked, conditional, failed)

    def _shelves(self, question: Question, path: tuple[str, ...]) -> Iterator[Shelf]:
        actions = COVERING.get(question.permission, ())
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


def service_key(name: str) -> str:
    """The subject under which statements about a service are filed."""
    return f"service {name.casefold()}"


def _shelves_of(cell: _Cell, question: Question) -> Iterator[Shelf]:
    groups = question.group_ids
    if (shelf := cell.get("any-user ")) is not None:
        yield shelf
    if groups and (shelf := cell.get("any-group ")) is not None:
        yield shelf
    if question.principal_type == "service":
        shelf = cell.get(service_key(question.principal_name))
        if shelf is not None:
            yield shelf
    # Walk the shorter of the two.
    for group in groups if len(groups) <= len(cell) else [each for each in cell if each in groups]:
        shelf = cell.get(group)
        if shelf is not None:
            yield shelf
