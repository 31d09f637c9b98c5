"""What the names in a statement stand for.

    subjects   ids of groups, or a word with a blank, which no id has ("any-user ", "service backup")
    places     (where, attached): the compartment or tenancy a statement reaches, and the one its policy is attached to
    origin     of an admit statement: the id of the tenancy it lets in

A tenancy's id is that of its root compartment. ANYWHERE stands for every other tenancy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

from keystead.iam.actions import ALIASES, FAMILIES, action_key
from keystead.iam.policy.model import (
    Action,
    Among,
    AnyTenancy,
    Associate,
    ById,
    Compartment,
    Condition,
    Equal,
    Group,
    HomeTenancy,
    Name,
    OtherTenancy,
    Permissions,
    Place,
    Rule,
    Subject,
    Text,
    VerbOn,
)
from keystead.iam.policy.question import ASSOCIATED_PLACE, ASSOCIATED_TYPE

ANYWHERE = "*"
# Names of the identity domain that every tenancy has.
_OWN_DOMAINS = frozenset({"", "default"})
_KEYS = frozenset({"keys", "key-delegate", "key-family", "all-resources"})

Defined = Mapping[tuple[str, str, str], str]
"""What define statements say: kind, domain and name (`defined_as`) -> id."""


def defined_as(kind: str, name: Name) -> tuple[str, str, str]:
    """Under what a define statement is found; a name in one domain is not that name in another."""
    return kind, name.domain.casefold(), name.name.casefold()


class Names(Protocol):
    """What names stand for in one tenancy; compared without regard to case."""

    @property
    def tenancy(self) -> str:
        """Id of the tenancy, which is that of its root compartment."""
        ...

    def group(self, name: str) -> str | None:
        """Id of the group of that name."""
        ...

    def dynamic_group(self, name: str) -> str | None:
        """Id of the dynamic group of that name."""
        ...

    def compartment(self, base: str, names: tuple[str, ...]) -> str | None:
        """Id of the compartment reached from `base` by a path of names."""
        ...


@dataclass(frozen=True, slots=True)
class Meaning:
    """A statement with its names resolved. `lacks` says what it names that does not exist, for people."""

    actions: frozenset[str]
    subjects: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    origin: str
    condition: Condition | None
    lacks: str


def meaning_of(rule: Rule, attached: str, names: Names, defined: Defined) -> Meaning:
    """Resolve one statement of a policy attached to `attached`; `defined`: what its define statements say."""
    resolver = _Resolver(rule, attached, names, defined)
    subjects = tuple(resolver.subjects())
    places = tuple(resolver.places())
    origin, condition = resolver.origin(), resolver.condition()
    lacks = ""
    if not places:
        lacks = "where it holds does not exist"
    elif len(subjects) < max(1, len(rule.subject.who)):
        lacks = "someone it names does not exist"
    return Meaning(_actions(rule.action), subjects, places, origin, condition, lacks)


class _Resolver:
    def __init__(self, rule: Rule, attached: str, names: Names, defined: Defined) -> None:
        self._rule = rule
        self._attached = attached
        self._names = names
        self._defined = defined

    def subjects(self) -> Iterator[str]:
        subject = self._rule.subject
        match subject.kind:
            case "any-user" | "any-group":
                yield f"{subject.kind} "
            case "service":
                for one in subject.who:
                    if isinstance(one, Name) and one.domain.casefold() in _OWN_DOMAINS:
                        yield f"service {one.name.casefold()}"
            case "group" | "dynamic-group":
                for one in subject.who:
                    found = one.id.lower() if isinstance(one, ById) else self._group(subject, one)
                    if found is not None:
                        yield found
            case _:
                assert_never(subject.kind)

    def _group(self, subject: Subject, name: Name) -> str | None:
        if self._rule.effect == "admit":  # theirs, not ours
            return self._defined.get(defined_as(subject.kind, name))
        if name.domain.casefold() not in _OWN_DOMAINS:
            return None
        return self._names.group(name.name) if subject.kind == "group" else self._names.dynamic_group(name.name)

    def places(self) -> Iterator[tuple[str, str]]:
        action = self._rule.action
        if self._rule.effect != "allow" and self._attached != self._names.tenancy:
            return  # who speaks for a compartment does not speak to other tenancies
        if isinstance(action, Associate):
            if self._with(action.with_place) is not None:
                yield from self._reach(action.place, associating=True)
        elif self._rule.place is not None:
            yield from self._reach(self._rule.place, associating=False)

    def _reach(self, place: Place, *, associating: bool) -> Iterator[tuple[str, str]]:
        effect, home = self._rule.effect, self._names.tenancy
        abroad = effect != "allow"
        match place:
            case HomeTenancy() | Compartment():
                found = self._at_home(place)
                if found is not None and (effect != "endorse" or associating):
                    yield found, self._attached
            case OtherTenancy(name):
                other = self._defined.get(defined_as("tenancy", name))
                if other is not None and abroad:
                    yield other, self._attached if other == home else other
            case AnyTenancy():
                if abroad:
                    yield ANYWHERE, ANYWHERE
                if associating:
                    yield home, self._attached
            case _:
                assert_never(place)

    def _at_home(self, place: HomeTenancy | Compartment) -> str | None:
        if isinstance(place, HomeTenancy):
            return self._names.tenancy
        if isinstance(place.at, ById):
            return place.at.id.lower()
        # First what the policy itself says: whoever makes a compartment of that name does not change what is meant.
        defined = self._defined.get(defined_as("compartment", Name(place.at[0]))) if len(place.at) == 1 else None
        return defined or self._names.compartment(self._attached, place.at)

    def _with(self, place: Place) -> str | None:
        """Where the thing lies that a key is associated with; None when there is no such place."""
        match place:
            case HomeTenancy() | Compartment():
                return self._at_home(place)
            case OtherTenancy(name):
                return self._defined.get(defined_as("tenancy", name))
            case AnyTenancy():
                return ANYWHERE
            case _:
                assert_never(place)

    def origin(self) -> str:
        match self._rule.origin:
            case None:
                return ""
            case AnyTenancy():
                return ANYWHERE
            case OtherTenancy(name):
                return self._defined.get(defined_as("tenancy", name), "")

    def condition(self) -> Condition | None:
        action, written = self._rule.action, self._rule.condition
        if not isinstance(action, Associate):
            return written
        kinds = FAMILIES.get(action.with_type, (ALIASES.get(action.with_type, action.with_type),))
        parts: list[Condition] = [Among(ASSOCIATED_TYPE, tuple(Text(kind) for kind in kinds))]
        place = self._with(action.with_place)
        if place is not None and place != ANYWHERE:
            parts.append(Equal(ASSOCIATED_PLACE, Text(place)))
            if isinstance(action.with_place, HomeTenancy | Compartment):
                parts.append(Equal(ASSOCIATED_PLACE, Text(self._attached)))
        return Group("all", (*parts, written) if written is not None else tuple(parts))


def _actions(action: Action) -> frozenset[str]:
    match action:
        case VerbOn(verb, word):
            return frozenset({action_key(verb, word)})
        case Permissions(permissions):
            return frozenset(permissions)
        case Associate(type_):
            return frozenset({"KEY_ASSOCIATE", "KEY_DISASSOCIATE"}) if type_ in _KEYS else frozenset()
        case _:
            assert_never(action)
