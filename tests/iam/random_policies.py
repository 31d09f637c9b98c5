"""Random statements over a small world, so that they often meet."""

import random

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tests.iam.naive import World

from keystead.iam.actions import GRANTABLE, TYPE_WORDS, VERBS
from keystead.iam.policy.compile import PolicySource
from keystead.iam.policy.model import (
    KEYWORDS,
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
    Name,
    OtherTenancy,
    Pattern,
    Permissions,
    Rule,
    Statement,
    Subject,
    Text,
    Variable,
    VerbOn,
    text,
)
from keystead.iam.policy.question import Question

WORLD = World(
    "root",
    {
        "c1": ("root", "Prod"),
        "c2": ("root", "Dev"),
        "c11": ("c1", "Keys"),
        "c12": ("c1", "Db"),
        "c111": ("c11", "Prod"),
    },
    {"Admins": "g1", "Dba": "g2", "to": "g3"},
    {"Apps": "g4", "Dba": "g5"},
)
FAR = World("far", {"f1": ("far", "Prod"), "f11": ("f1", "Keys")}, {"Admins": "g6"}, {})
DEFINITIONS = (
    "Define tenancy Home as root",
    "Define tenancy Far as far",
    "Define group Other/Dba as g1",
    "Define group Dba as g2",
    "Define dynamic-group Apps as g4",
    "Define compartment In as c11",
    "Define compartment In as c2",
)
BROAD = (
    "Allow any-user to manage all-resources in tenancy",
    "Endorse any-user to manage all-resources in any-tenancy",
    "Endorse any-user to associate keys in tenancy with all-resources in any-tenancy",
)
BROAD_FAR = ("Admit any-user of any-tenancy to manage all-resources in tenancy",)
PERMISSIONS = (
    "KEY_DECRYPT",
    "KEY_INSPECT",
    "KEY_ASSOCIATE",
    "KEY_ROTATE",
    "VAULT_READ",
    "MYSQL_INSTANCE_USE",
    "HOST_WATCH",
)
TIMES = ("2026-03-02T10:30:00Z", "2026-11-30T23:59:59.500Z", "2025-12-31T00:00:00Z")
MOMENTS = ("2026-01-01T00:00:00Z", "2026-11-30T23:59:59.500Z", "2027-01-01T00:00:00+02:00")
OF_DAY = ("09:00:00Z", "17:30:00Z", "00:00:00Z", "23:59:59Z")
NUMBERS = ("1", "2", "11", "30", "5")
OF_GROUPS, OF_PLACE = "request.principal.group.tag.ops.team", "target.resource.compartment.tag.ops.team"
VARIABLES = (
    "request.principal.type", "request.groups.id", "request.user.id", "target.key.id", "target.key.name2",
    OF_GROUPS, OF_PLACE, "target.resource.tag.ops.team",
)  # fmt: skip
SCALED = ("request.utc-timestamp", "request.utc-timestamp.time-of-day", "request.utc-timestamp.month-of-year")
VALUES = ("alpha", "ALPHA", "alpine", "b", "g1", "user", "mysqldbsystem", "")


def values() -> SearchStrategy[Text | Pattern]:
    kinds = st.sampled_from(["exact", "prefix", "suffix", "contains"])
    patterns = st.builds(Pattern, kinds, st.sampled_from(["al", "a", "lp", "g", "e", "alpha"]))
    return st.sampled_from(VALUES).map(Text) | patterns


def comparisons() -> SearchStrategy[Condition]:
    variables = st.sampled_from([*VARIABLES[:4], "target.instance.id"])
    equal = st.builds(Equal, variables, values() | variables.map(Variable), st.booleans())
    among = st.builds(Among, variables, st.lists(values(), min_size=1, max_size=3).map(tuple), st.booleans())
    month = st.builds(Equal, st.just("request.utc-timestamp.month-of-year"), st.sampled_from(NUMBERS).map(Text))
    day = st.builds(
        Equal, st.just("request.utc-timestamp.day-of-week"), st.sampled_from(["Monday", "tuesday"]).map(Text)
    )
    return equal | equal | among | month | day | _scaled()


def _scaled() -> SearchStrategy[Condition]:
    scaled = st.sampled_from(SCALED)
    sides = st.sampled_from(["before", "after"])
    beside = st.builds(Beside, scaled, sides, st.sampled_from([*MOMENTS, *OF_DAY, *NUMBERS]))
    forwards = st.tuples(st.sampled_from(MOMENTS), st.sampled_from(MOMENTS)).filter(
        lambda pair: MOMENTS.index(pair[0]) <= MOMENTS.index(pair[1]) and pair != (MOMENTS[1], MOMENTS[0])
    )
    wrapping = st.sampled_from([OF_DAY, NUMBERS]).flatmap(lambda kind: st.tuples(*[st.sampled_from(kind)] * 2))
    return beside | st.builds(lambda name, pair: Between(name, *pair), scaled, forwards | wrapping)


def conditions() -> SearchStrategy[Condition]:
    def grouped(parts: SearchStrategy[Condition]) -> SearchStrategy[Condition]:
        return st.builds(Group, st.sampled_from(["all", "any"]), st.lists(parts, min_size=1, max_size=3).map(tuple))

    return st.recursive(comparisons(), grouped, max_leaves=5)


def names() -> SearchStrategy[Name]:
    return st.builds(
        Name, st.sampled_from(["Admins", "admins", "Dba", "to", "Nobody"]), st.sampled_from(["", "Default", "x y"])
    )


def subjects() -> SearchStrategy[Subject]:
    who = st.lists(names() | st.sampled_from(["g1", "g2"]).map(ById), min_size=1, max_size=3).map(tuple)
    services = st.lists(st.sampled_from(["blockstorage", "Backup", "a-b_c"]).map(Name), min_size=1, max_size=2).map(
        tuple
    )
    return st.one_of(
        st.builds(Subject, st.just("group"), who),
        st.builds(Subject, st.sampled_from(["any-user", "any-group"])),
        st.builds(Subject, st.just("service"), services),
        st.builds(Subject, st.just("dynamic-group"), who),
    )


def simple_actions() -> SearchStrategy[VerbOn | Permissions]:
    words = st.sampled_from(
        ["keys", "vaults", "key-delegate", "key-family", "all-resources", "mysql-instances", "mysql-family"]
    )
    braces = st.lists(st.sampled_from(PERMISSIONS[:6]), min_size=1, max_size=3).map(tuple)
    return st.builds(VerbOn, st.sampled_from(VERBS), words) | st.builds(Permissions, braces)


def home_places() -> SearchStrategy[HomeTenancy | Compartment]:
    path = st.lists(st.sampled_from(["Prod", "keys", "Dev", "Db", "In"]), min_size=1, max_size=3).map(tuple)
    ids = st.sampled_from(["root", "c1", "c11", "c2", "nowhere"]).map(ById)
    return st.just(HomeTenancy()) | st.builds(Compartment, path | ids)


def allow_rules() -> SearchStrategy[Rule]:
    """Allow statements of the plain kind."""
    return rules("allow", st.just(False), home_places(), simple_only=True)


def rules(
    effect: str,
    denies: SearchStrategy[bool],
    places: SearchStrategy[object],
    origins: SearchStrategy[object] | None = None,
    *,
    simple_only: bool = False,
) -> SearchStrategy[Rule]:
    where, from_ = st.none() | conditions(), st.none() if origins is None else origins
    plain = st.builds(Rule, st.just(effect), denies, subjects(), simple_actions(), places, where, from_)
    if simple_only:
        return plain
    keys = st.sampled_from(["keys", "keys", "key-family", "volumes"])
    things = st.sampled_from(["volumes", "mysql-instances", "volume-family"])
    any_place = home_places() | other_tenancies() | st.just(AnyTenancy())
    action = st.builds(Associate, keys, any_place, things, any_place)
    return plain | plain | st.builds(Rule, st.just(effect), denies, subjects(), action, st.none(), where, from_)


def other_tenancies() -> SearchStrategy[OtherTenancy]:
    return st.sampled_from(["Home", "far", "Ghost"]).map(Name).map(OtherTenancy)


def any_rules() -> SearchStrategy[Rule]:
    """Of every effect, and what denies them; mostly what allows."""
    denies = st.booleans()
    elsewhere = other_tenancies() | st.just(AnyTenancy())
    return st.one_of(
        rules("allow", denies, home_places()),
        rules("endorse", denies, elsewhere | home_places()),
        rules("admit", denies, home_places(), elsewhere),
    )


def policies(
    statements: SearchStrategy[Rule] | None = None, places: tuple[str, ...] = ("root", "root", "c1", "c11", "c2")
) -> SearchStrategy[list[PolicySource]]:
    chosen = any_rules() if statements is None else statements
    written = st.lists(chosen.map(text), min_size=1, max_size=5).map(tuple)
    defined = st.lists(st.sampled_from(DEFINITIONS), max_size=6).map(tuple)
    # Often everything is open but for what is denied, or denials would seldom be seen.
    broad = st.sampled_from([(), BROAD if places[0] == "root" else BROAD_FAR])
    both = st.builds(lambda first, more, rest: first + more + rest, defined, broad, written)
    policy = st.builds(PolicySource, st.just("p"), st.sampled_from(places), both)
    return st.lists(policy, min_size=1, max_size=3)


def far_policies() -> SearchStrategy[list[PolicySource]]:
    """Those of the other tenancy."""
    denies = st.booleans()
    origins = other_tenancies() | st.just(AnyTenancy())
    return policies(rules("admit", denies, home_places(), origins), ("far", "far", "far", "f1"))


def random_question(source: random.Random, *, far: bool = False) -> Question:
    """A request from somebody of the first tenancy for something there, or (`far`) in either."""
    kind, name = source.choice(
        [("user", "joe"), ("user", "blockstorage"), ("service", "BlockStorage"), ("mysqldbsystem", "s")]
    )
    groups = frozenset(source.sample(["g1", "g2", "g3", "g4", "g5"], source.randint(0, 3)))
    path = _somewhere(source, far)
    known: dict[str, str | tuple[str, ...]] = {"request.principal.type": kind, "request.groups.id": tuple(groups)}
    for variable in ("request.user.id", "target.key.id", OF_PLACE, "target.resource.tag.ops.team"):
        if source.random() < 0.8:
            known[variable] = source.choice(VALUES)
    if source.random() < 0.8:
        known[OF_GROUPS] = tuple(source.sample(VALUES, source.randint(0, 3)))  # each group says its own
    if source.random() < 0.8:
        known["request.utc-timestamp"] = source.choice(TIMES)
    if source.random() < 0.6:
        known["associated.type"] = source.choice(["volumes", "mysql-instances", "buckets"])
        known["associated.place"] = _somewhere(source, far)
    permission = source.choice((*PERMISSIONS, "KEY_ASSOCIATE", "KEY_ASSOCIATE"))
    return Question("id", kind, name, groups, permission, path, known.get, "root", source.random() < 0.1)


def _somewhere(source: random.Random, far: bool) -> tuple[str, ...]:
    world = source.choice([WORLD, FAR]) if far else WORLD
    return world.path(source.choice([world.tenancy, *world.compartments]))


# Any tree that can be written down, for the round trip.

_LETTERS = st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"])
_WORDS = st.text(_LETTERS, min_size=1, max_size=12) | st.sampled_from(sorted(KEYWORDS))
_IDS = st.from_regex(r"[a-z0-9]+(\.[a-z0-9-]+){0,4}", fullmatch=True)


def any_statement() -> SearchStrategy[Statement]:
    name = st.builds(Name, _WORDS, st.just("") | _WORDS)
    one = name | _IDS.map(ById)
    subject = st.one_of(
        st.builds(Subject, st.sampled_from(["any-user", "any-group"])),
        st.builds(
            Subject, st.sampled_from(["group", "dynamic-group"]), st.lists(one, min_size=1, max_size=3).map(tuple)
        ),
        st.builds(Subject, st.just("service"), st.lists(name, min_size=1, max_size=3).map(tuple)),
    )
    compartment = st.builds(Compartment, st.lists(_WORDS, min_size=1, max_size=3).map(tuple) | _IDS.map(ById))
    home = st.just(HomeTenancy()) | compartment
    origin = st.just(AnyTenancy()) | st.builds(OtherTenancy, name)
    words = st.sampled_from(sorted(TYPE_WORDS))
    braces = st.lists(st.sampled_from(sorted(GRANTABLE)), min_size=1, max_size=4).map(tuple)
    simple = st.builds(VerbOn, st.sampled_from(VERBS), words) | st.builds(Permissions, braces)
    associate = st.builds(Associate, words, home | origin, words, home | origin)
    where = st.none() | _any_conditions()

    def rule(effect: str, places: SearchStrategy[object], from_: SearchStrategy[object]) -> SearchStrategy[Rule]:
        plain = st.builds(Rule, st.just(effect), st.booleans(), subject, simple, places, where, from_)
        return plain | st.builds(Rule, st.just(effect), st.booleans(), subject, associate, st.none(), where, from_)

    kinds = st.sampled_from(["tenancy", "group", "dynamic-group", "compartment"])
    return st.one_of(
        rule("allow", home, st.none()),
        rule("endorse", home | origin, st.none()),
        rule("admit", home, origin),
        st.builds(Definition, kinds, name, _IDS),
    )


def _any_conditions() -> SearchStrategy[Condition]:
    plain = _WORDS | st.just("")
    kinds = st.sampled_from(["exact", "prefix", "contains"])
    value = plain.map(Text) | st.builds(Pattern, kinds, plain) | st.builds(Pattern, st.just("suffix"), _WORDS)
    variable = st.sampled_from(
        ["target.key.id", "request.user.name", "target.resource.tag.ns.in", "target.instance.all"]
    )
    leaf = st.one_of(
        st.builds(Equal, variable, value | variable.map(Variable), st.booleans()),
        st.builds(Among, variable, st.lists(value, min_size=1, max_size=3).map(tuple), st.booleans()),
        _scaled(),
    )
    return st.recursive(
        leaf,
        lambda parts: st.builds(
            Group, st.sampled_from(["all", "any"]), st.lists(parts, min_size=1, max_size=3).map(tuple)
        ),
        max_leaves=5,
    )
