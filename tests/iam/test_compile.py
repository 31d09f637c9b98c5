"""What statements mean: who is allowed what, where, and why not."""

import sys
from collections.abc import Iterable, Mapping

import pytest
from tests.iam.naive import World

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.iam.actions import GRANTABLE, VERBS, granting
from keystead.iam.model import Principal, PrincipalType
from keystead.iam.policy.check import check_statements
from keystead.iam.policy.compile import PolicySet, PolicySource, compile_policies
from keystead.iam.policy.parse import StatementError
from keystead.iam.policy.question import Decision, Question
from keystead.iam.policy.suggest import suggest

WORLD = World(
    "root",
    {"prod": ("root", "Prod"), "keys": ("prod", "Keys"), "dev": ("root", "Dev"), "in": ("keys", "Inner")},
    {"Admins": "g1", "Dba": "g2"},
)
Known = Mapping[str, str | tuple[str, ...]]


def ask(
    policies: PolicySet,
    permission: str = "KEY_DECRYPT",
    *,
    where: str = "keys",
    groups: Iterable[str] = ("g1",),
    kind: str = "user",
    name: str = "joe",
    known: Known | None = None,
) -> Decision:
    variables = (known or {}).get
    return policies.decide(Question("id", kind, name, frozenset(groups), permission, WORLD.path(where), variables))


def holding(*statements: str, attached: str = "root") -> PolicySet:
    return compile_policies([PolicySource("p", attached, statements)], WORLD)


def allowed(statement: str, attached: str = "root", **asked: object) -> bool:
    return ask(holding(statement, attached=attached), **asked).allowed  # type: ignore[arg-type]


def test_nothing_is_allowed_by_default() -> None:
    decision = ask(holding())
    assert decision == Decision(False, None, False, ("no statement grants KEY_DECRYPT here to this principal",))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("permission", "smallest"),
    [("KEY_INSPECT", "inspect"), ("KEY_READ", "read"), ("KEY_DECRYPT", "use"), ("KEY_ROTATE", "manage")],
)
def test_a_verb_holds_those_before_it(verb: str, permission: str, smallest: str) -> None:
    expected = VERBS.index(verb) >= VERBS.index(smallest)  # type: ignore[arg-type]
    for word in ("keys", "key-family", "all-resources"):
        assert allowed(f"Allow group Admins to {verb} {word} in tenancy", permission=permission) is expected


def test_permissions_in_braces_grant_those_alone() -> None:
    statement = "Allow group Admins to {KEY_READ, key_decrypt} in tenancy"
    assert allowed(statement) and allowed(statement, permission="KEY_READ")
    assert not allowed(statement, permission="KEY_INSPECT")


def test_key_delegate_is_a_duty_of_its_own() -> None:
    assert not allowed("Allow group Admins to manage keys in tenancy", permission="KEY_ASSOCIATE")
    assert not allowed("Allow group Admins to use key-delegate in tenancy", permission="KEY_DECRYPT")
    assert allowed("Allow group Admins to use key-delegate in tenancy", permission="KEY_ASSOCIATE")


def test_no_statement_grants_what_only_services_hold() -> None:
    assert not allowed("Allow any-user to manage all-resources in tenancy", permission="HOST_WATCH")
    assert not allowed(
        "Allow any-user to manage machines in tenancy", permission="HOST_REPORT", kind="service", name="host"
    )
    assert not allowed("Allow any-user to manage all-resources in tenancy", permission="NO_SUCH_PERMISSION")


@pytest.mark.parametrize(
    ("subject", "asked", "expected"),
    [
        ("group Admins", {}, True),
        ("group ADMINS", {}, True),
        ("group Dba, admins", {}, True),
        ("group Dba", {}, False),
        ("group Nobody", {}, False),
        ("group Default/Admins", {}, True),
        ("group Elsewhere/Admins", {}, False),
        ("group id G1", {}, True),
        ("group id g9", {}, False),
        ("group Admins", {"groups": ()}, False),
        ("any-user", {"groups": ()}, True),
        ("any-user", {"groups": (), "kind": "mysqldbsystem"}, True),
        ("any-user", {"groups": (), "kind": "service"}, True),
        ("any-group", {}, True),
        ("any-group", {"groups": ()}, False),
        ("service joe", {}, False),
        ("service Joe", {"kind": "service"}, True),
        ("service a, joe", {"kind": "service", "groups": ()}, True),
        ("service a", {"kind": "service"}, False),
        ("dynamic-group Admins", {}, False),
        ("dynamic-group id g1", {}, True),
    ],
)
def test_subjects(subject: str, asked: dict[str, object], expected: bool) -> None:
    assert allowed(f"Allow {subject} to use keys in tenancy", **asked) is expected


@pytest.mark.parametrize(
    ("place", "attached", "where", "expected"),
    [
        ("tenancy", "root", "root", True),
        ("tenancy", "root", "in", True),
        ("compartment Prod", "root", "prod", True),
        ("compartment Prod", "root", "in", True),
        ("compartment Prod", "root", "root", False),
        ("compartment Prod", "root", "dev", False),
        ("compartment prod:KEYS", "root", "keys", True),
        ("compartment Prod:Keys", "root", "prod", False),
        ("compartment Keys", "root", "keys", False),
        ("compartment Keys", "prod", "keys", True),
        ("compartment Keys:Inner", "prod", "in", True),
        ("compartment Nowhere", "root", "keys", False),
        ("compartment id keys", "root", "in", True),
        ("compartment id keys", "root", "dev", False),
        ("compartment id KEYS", "prod", "keys", True),
        # A policy reaches no further than where it is attached.
        ("compartment id keys", "dev", "keys", False),
        ("compartment id prod", "keys", "keys", False),
        ("tenancy", "prod", "keys", False),
        ("tenancy", "prod", "prod", False),
        ("compartment id root", "prod", "keys", False),
    ],
)
def test_places(place: str, attached: str, where: str, expected: bool) -> None:
    assert allowed(f"Allow group Admins to use keys in {place}", attached=attached, where=where) is expected


DAY = {"request.utc-timestamp": "2026-03-02T10:30:00.000Z"}  # a Monday


@pytest.mark.parametrize(
    ("condition", "known", "expected"),
    [
        ("target.key.id = 'K1'", {"target.key.id": "k1"}, True),
        ("target.key.id = 'k1'", {"target.key.id": "k2"}, False),
        ("target.key.id = 'k1'", {}, False),
        ("TARGET.Key.ID != 'k1'", {"target.key.id": "k2"}, True),
        ("target.key.id != 'k1'", {"target.key.id": "K1"}, False),
        ("target.key.id != 'k1'", {}, False),
        ("target.key.id not in ('k1', 'k2')", {}, False),
        ("target.key.id not in ('k1', 'k2')", {"target.key.id": "k3"}, True),
        ("target.key.id not in ('k1', 'k2')", {"target.key.id": "K2"}, False),
        ("target.key.id in ('k1', /x*/)", {"target.key.id": "K1"}, True),
        ("target.key.id in ('k1', /x*/)", {"target.key.id": "xyz"}, True),
        ("target.key.id in ('k1', /x*/)", {"target.key.id": "yx"}, False),
        ("target.key.id = /a*/", {"target.key.id": "Abc"}, True),
        ("target.key.id = /*C/", {"target.key.id": "abc"}, True),
        ("target.key.id = /*b*/", {"target.key.id": "abc"}, True),
        ("target.key.id = /b*/", {"target.key.id": "abc"}, False),
        ("target.key.id = /*/", {"target.key.id": ""}, True),
        ("target.key.id = /*/", {}, False),
        ("target.key.id = /a.c/", {"target.key.id": "abc"}, False),
        ("request.user.id = target.user.id", {"request.user.id": "u", "target.user.id": "U"}, True),
        ("request.user.id = target.user.id", {"request.user.id": "u"}, False),
        ("request.user.id != target.user.id", {"request.user.id": "u"}, False),
        ("request.user.id != target.user.id", {"target.user.id": "u"}, False),
        ("request.user.id != target.user.id", {"request.user.id": "u", "target.user.id": "v"}, True),
        ("request.groups.id = 'b'", {"request.groups.id": ("a", "b")}, True),
        ("request.groups.id != 'b'", {"request.groups.id": ("a", "b")}, False),
        ("request.groups.id != 'c'", {"request.groups.id": ("a", "b")}, True),
        ("request.groups.id != 'c'", {"request.groups.id": ()}, False),
        ("request.utc-timestamp before '2026-03-02T10:30:01Z'", DAY, True),
        ("request.utc-timestamp before '2026-03-02T12:30:00+02:00'", DAY, False),
        ("request.utc-timestamp after '2026-03-02T10:29:59.999Z'", DAY, True),
        ("request.utc-timestamp after '2026-03-02T10:30:00Z'", DAY, False),
        ("request.utc-timestamp between '2026-03-02T10:30:00Z' and '2026-03-02T10:30:00Z'", DAY, True),
        ("request.utc-timestamp between '2026-03-03T00:00:00Z' and '2026-03-04T00:00:00Z'", DAY, False),
        ("request.utc-timestamp after '09:00:00Z'", DAY, False),
        ("request.utc-timestamp after '2020-01-01T00:00:00Z'", {}, False),
        ("request.utc-timestamp after '2020-01-01T00:00:00Z'", {"request.utc-timestamp": "soon"}, False),
        ("request.utc-timestamp.time-of-day between '09:00:00Z' and '17:00:00Z'", DAY, True),
        ("request.utc-timestamp.time-of-day between '22:00:00Z' and '06:00:00Z'", DAY, False),
        ("request.utc-timestamp.time-of-day between '22:00:00Z' and '11:00:00Z'", DAY, True),
        ("request.utc-timestamp.day-of-week = 'MONDAY'", DAY, True),
        ("request.utc-timestamp.day-of-week in ('saturday', 'sunday')", DAY, False),
        ("request.utc-timestamp.day-of-month = '2'", DAY, True),
        ("request.utc-timestamp.month-of-year between '11' and '3'", DAY, True),
        ("request.utc-timestamp.month-of-year in ('1', '2')", DAY, False),
        ("all {target.key.id = 'a', target.vault.id = 'v'}", {"target.key.id": "a", "target.vault.id": "v"}, True),
        ("all {target.key.id = 'a', target.vault.id = 'v'}", {"target.key.id": "a"}, False),
        ("any {target.key.id = 'a', target.vault.id = 'v'}", {"target.vault.id": "v"}, True),
        ("any {target.key.id = 'a', target.key.id = 'b'}", {"target.key.id": "b"}, True),
        ("any {target.key.id = 'a', target.key.id = 'b'}", {"target.key.id": "c"}, False),
        ("any {all {target.key.id = 'a', target.vault.id = 'v'}, target.key.id = 'b'}", {"target.key.id": "b"}, True),
        ("all {any {target.key.id = 'a', target.key.id = 'b'}, target.vault.id != 'v'}", {"target.key.id": "b"}, False),
    ],
)
def test_conditions(condition: str, known: Known, expected: bool) -> None:
    statement = f"Allow group Admins to use keys in compartment Prod where {condition}"
    decision = ask(holding(statement), known=known)
    assert decision.allowed is expected
    assert bool(decision.reasons) is not expected


def test_the_decision_names_the_statement_and_the_policy() -> None:
    policies = compile_policies(
        [
            PolicySource("p1", "root", ("Allow group Dba to use keys in tenancy",)),
            PolicySource(
                "p2",
                "prod",
                ("Allow group Dba to use vaults in tenancy", "allow GROUP admins to use keys in compartment Keys"),
            ),
        ],
        WORLD,
    )
    statement = ask(policies).statement
    assert statement is not None
    assert (statement.policy_id, statement.number) == ("p2", 2)
    assert statement.text == "allow GROUP admins to use keys in compartment Keys"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("Allow group Admins to use keys in tenancy", False),
        ("Allow any-user to use keys in tenancy where target.key.id = 'k'", False),
        ("Allow any-user to use keys in tenancy where target.key.id = 'other'", False),
        ("Allow any-user to use keys in tenancy where request.principal.type = 'user'", False),
        ("Allow any-user to use keys in tenancy where request.networkSource.name = 'office'", True),
        ("Allow any-user to use keys in tenancy where request.user.mfaTotpVerified != 'true'", True),
        ("Allow any-user to use keys in tenancy where request.utc-timestamp.day-of-week = 'monday'", True),
        ("Allow any-user to use keys in tenancy where request.utc-timestamp after '2020-01-01T00:00:00Z'", True),
        # Somebody else's, somewhere else, for something else: not looked at.
        ("Allow group Dba to use keys in tenancy where request.networkSource.name = 'office'", False),
        ("Allow any-user to use keys in compartment Dev where request.networkSource.name = 'office'", False),
        ("Allow any-user to use vaults in tenancy where request.networkSource.name = 'office'", False),
    ],
)
def test_a_decision_says_whether_it_read_what_may_change(statement: str, expected: bool) -> None:
    known = {"target.key.id": "k", "request.principal.type": "user"}
    assert ask(holding(statement), known=known).reads_request is expected


def test_an_unconditional_grant_needs_no_look_at_the_request() -> None:
    policies = holding(
        "Allow any-user to use keys in tenancy where request.networkSource.name = 'office'",
        "Allow group Admins to use keys in compartment Prod",
    )
    assert ask(policies) == Decision(True, ask(policies).statement, False, ())


def test_a_name_given_later_counts_from_the_next_compilation() -> None:
    statements = ("Allow group Late to use keys in compartment Prod:Later",)
    before = compile_policies([PolicySource("p", "root", statements)], WORLD)
    assert len(before.notes) == 1 and "does not exist" in before.notes[0]
    later = World("root", {**WORLD.compartments, "late": ("prod", "later")}, {**WORLD.groups, "late": "g1"})
    after = compile_policies([PolicySource("p", "root", statements)], later)
    assert not after.notes
    question = Question("id", "user", "joe", frozenset({"g1"}), "KEY_READ", ("root", "prod", "late"), {}.get)
    assert not before.decide(question).allowed and after.decide(question).allowed


def test_statements_are_checked_before_they_are_stored() -> None:
    good = "Allow group Admins to use keys in tenancy"
    assert len(check_statements([good, good])) == 2
    with pytest.raises(StatementError, match=r"^statement 2, line 1, column 1: ") as caught:
        check_statements([good, "Alow group A to use keys in tenancy"])
    assert 'did you mean "allow"?' in caught.value.hint and caught.value.column == 1
    with pytest.raises(Refusal, match="cannot speak of the whole tenancy"):
        check_statements([good], at_root=False)


def test_explanations() -> None:
    policies = compile_policies(
        [
            PolicySource(
                "p",
                "root",
                (
                    "Allow group Dba to use keys in tenancy",
                    "Allow group Admins to use keys in compartment Dev",
                    "Allow group Admins to use keys in tenancy where all {target.vault.id = 'v', target.key.id = /a*/}",
                    "Allow group Admins to read keys in tenancy",
                    "Allow group Admins to use keys in compartment Prod",
                ),
            ),
            PolicySource("q", "dev", ("Allow group Admins to use keys in compartment id keys",)),
        ],
        WORLD,
    )
    known = {"target.vault.id": "v", "target.key.id": "b"}
    question = Question("id", "user", "joe", frozenset({"g1"}), "KEY_DECRYPT", WORLD.path("keys"), known.get)
    told = [
        (each.statement.policy_id, each.statement.number, each.applies, each.why) for each in policies.explain(question)
    ]
    assert told == [
        ("p", 1, False, "it is about someone else"),
        ("p", 2, False, "it holds in another compartment"),
        ("p", 3, False, "its condition does not hold: target.key.id = /a*/"),
        ("p", 5, True, ""),
        ("q", 1, False, "its policy is not attached to that compartment or one above"),
    ]


def test_refusals_give_reasons() -> None:
    condition = "all {target.vault.id = 'v', request.networkSource.name = /office*/}"
    policies = holding(f"Allow group Admins to use keys in tenancy where {condition}")
    assert ask(policies, known={"target.vault.id": "v"}).reasons == (
        "statement 1 of p does not hold: request.networksource.name = /office*/",
    )
    assert ask(policies, known={"target.vault.id": "w"}).reasons == (
        "KEY_DECRYPT is granted here for other values of target.vault.id",
    )


def principal(kind: PrincipalType) -> Principal:
    return Principal(PrincipalId("me"), kind, "it", TenancyId("root"), CompartmentId("dev"))


@pytest.mark.parametrize("place", [(), ("Prod",), ("Prod", "Keys")])
@pytest.mark.parametrize("kind", ["user", "mysqldbsystem", "service", "group"])
def test_the_statement_suggested_grants_it(kind: str, place: tuple[str, ...]) -> None:
    who: PrincipalType = "user" if kind == "group" else kind  # type: ignore[assignment]
    known = {"request.user.id": "me", "request.principal.type": who, "request.resource.compartment.id": "dev"}
    for permission in GRANTABLE:
        statement = suggest(permission, principal(who), "Admins" if kind == "group" else None, place)
        check_statements([statement])
        groups = ("g1",) if kind == "group" else ()
        answer = ask(holding(statement), permission, groups=groups, kind=who, name="it", known=known)
        assert answer.allowed, statement
        someone = {**known, "request.user.id": "you", "request.principal.type": "x"}
        assert not ask(holding(statement), permission, groups=(), kind="user", name="you", known=someone).allowed


def test_suggestions_read_well() -> None:
    assert (
        suggest("KEY_ASSOCIATE", principal("user"), "Dba", ("Prod", "Keys"))
        == "Allow group Dba to use key-delegate in compartment Prod:Keys"
    )
    assert suggest("KEY_ASSOCIATE", principal("mysqldbsystem"), None, ("Keys",)) == (
        "Allow any-user to use key-delegate in compartment Keys where all"
        " {request.principal.type = 'mysqldbsystem', request.resource.compartment.id = 'dev'}"
    )
    assert suggest("MYSQL_INSTANCE_CREATE", principal("user"), "Key People", ()) == (
        "Allow group 'Key People' to manage mysql-instances in tenancy"
    )
    assert suggest("HOST_WATCH", principal("service"), None, ()) == ""


def calls_of(policies: PolicySet, question: Question) -> int:
    """How many function calls a decision takes: a measure that a busy machine does not change."""
    count = 0

    def watch(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(watch)
    try:
        policies.decide(question)
    finally:
        sys.setprofile(None)
    return count


def many(count: int) -> PolicySet:
    """`count` statements about other groups, compartments, keys and actions, and a few that matter."""
    world = World(
        "root", {f"c{at}": ("root", f"C{at}") for at in range(100)}, {f"G{at}": f"g{at}" for at in range(2000)}
    )
    kinds = (
        "Allow group G{n} to use keys in compartment C1",
        "Allow any-user to use keys in compartment C1 where target.key.id = 'k{n}'",
        "Allow any-user to use keys in compartment C1"
        " where all {{target.vault.id = 'v', target.key.id in ('a{n}', 'c{n}')}}",
        "Allow group G{n} to manage all-resources in tenancy where target.key.id = /k{n}*/",
        "Allow group G1999 to use vaults in tenancy where request.networkSource.name = /n{n}*/",
    )
    filler = tuple(kinds[at % len(kinds)].format(n=at // len(kinds)) for at in range(count))
    needed = (
        "Allow group G1999 to use keys in compartment C1 where all {target.vault.id = 'v', target.key.id = 'mine'}",
        "Allow group G1999 to read keys in compartment C1",
    )
    return compile_policies([PolicySource("p", "root", filler + needed)], world)


def test_the_cost_of_a_decision_does_not_grow_with_the_number_of_statements() -> None:
    few, lots = many(10), many(3000)
    for permission, key in (("KEY_DECRYPT", "mine"), ("KEY_DECRYPT", "other"), ("KEY_READ", "x"), ("KEY_ROTATE", "x")):
        known = {"target.key.id": key, "target.vault.id": "v"}
        question = Question("id", "user", "joe", frozenset({"g1999", "x", "y"}), permission, ("root", "c1"), known.get)
        assert few.decide(question).allowed == lots.decide(question).allowed
        assert calls_of(lots, question) <= calls_of(few, question) + 5


def test_every_grantable_permission_has_a_smallest_statement() -> None:
    assert all(granting(permission) for permission in GRANTABLE)
