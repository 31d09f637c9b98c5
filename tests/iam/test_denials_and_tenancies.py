"""What denies, what crosses from one tenancy to another, and what lets a key be used for something elsewhere."""

from collections.abc import Mapping

import pytest
from tests.iam.naive import World

from keystead.core.errors import Refusal
from keystead.iam.policy.check import check_statements, policy_types
from keystead.iam.policy.compile import PolicySource, compile_policies, decide_across
from keystead.iam.policy.question import Decision, Question
from keystead.iam.policy.variables import VALUES

HOME = World("home", {"keys": ("home", "Keys"), "db": ("home", "Db")}, {"Admins": "g1", "Dba": "g2"}, {"Apps": "g4"})
AWAY = World("away", {"akeys": ("away", "Keys")}, {"Admins": "g9"})
OPEN = "Allow any-user to manage all-resources in tenancy"
DEFINED = ("Define tenancy Away as away", "Define tenancy Home as home", "Define group Dba as g2")
ENDORSED = "Endorse group Dba to use keys in tenancy Away"
ADMITTED = "Admit group Dba of tenancy Home to use keys in compartment Keys"


def asked(
    permission: str = "KEY_DECRYPT",
    path: tuple[str, ...] = ("home", "keys"),
    known: Mapping[str, str | tuple[str, ...]] | None = None,
    groups: frozenset[str] = frozenset({"g2"}),
    exempt: bool = False,
) -> Question:
    return Question("id", "user", "joe", groups, permission, path, (known or {}).get, "home", exempt)


def at_home(*statements: str, question: Question) -> Decision:
    return compile_policies([PolicySource("p", "home", statements)], HOME).decide(question)


def across(home: tuple[str, ...], away: tuple[str, ...], question: Question) -> Decision:
    ours = compile_policies([PolicySource("p", "home", (*DEFINED, *home))], HOME)
    theirs = compile_policies([PolicySource("q", "away", (*DEFINED, *away))], AWAY)
    return decide_across(ours, [theirs], question)


def test_a_denial_overrides_whatever_allows() -> None:
    denial = "Deny group Dba to use keys in compartment Keys"
    decision = at_home(OPEN, denial, question=asked())
    assert not decision.allowed and decision.statement is not None and decision.statement.text == denial
    assert decision.reasons == ("statement 2 of p denies it",)
    assert at_home(OPEN, denial, question=asked(path=("home", "db"))).allowed
    assert at_home(OPEN, denial, question=asked(groups=frozenset({"g1"}))).allowed
    assert at_home(OPEN, denial, question=asked("KEY_ROTATE")).allowed, "it takes what the same words would give"
    assert not at_home(denial, question=asked()).allowed


def test_the_tenancys_administrators_are_exempt() -> None:
    denial = "Deny any-user to manage all-resources in tenancy"
    assert not at_home(OPEN, denial, question=asked()).allowed
    assert at_home(OPEN, denial, question=asked(exempt=True)).allowed
    assert not at_home(denial, question=asked(exempt=True)).allowed, "exempt is not allowed"


@pytest.mark.parametrize(
    ("condition", "known", "denied"),
    [
        ("request.user.name = 'joe'", {"request.user.name": "joe"}, True),
        ("request.user.name = 'joe'", {"request.user.name": "ann"}, False),
        ("request.user.name = 'joe'", {}, True),
        ("request.user.name != 'joe'", {}, True),
        ("request.user.name in ('a', 'b')", {}, True),
        ("request.user.name not in ('a', 'b')", {}, True),
        ("request.user.name = request.principal.id", {"request.user.name": "joe"}, True),
        ("request.utc-timestamp before '2026-01-01T00:00:00Z'", {}, True),
        ("request.utc-timestamp before '11'", {"request.utc-timestamp": "2026-03-02T10:30:00Z"}, True),
        ("request.utc-timestamp between '1' and '2'", {"request.utc-timestamp": "2026-03-02T10:30:00Z"}, True),
        ("all {request.user.name = 'joe', target.key.id = 'k'}", {"target.key.id": "k"}, True),
        ("all {request.user.name = 'joe', target.key.id = 'k'}", {"target.key.id": "other"}, False),
        ("all {request.user.name = 'joe', target.key.id = 'k'}", {"request.user.name": "joe"}, True),
        (
            "any {request.user.name = 'joe', target.key.id = 'k'}",
            {"request.user.name": "ann", "target.key.id": "x"},
            False,
        ),
        ("any {request.user.name = 'joe', target.key.id = 'k'}", {"request.user.name": "ann"}, True),
    ],
)
def test_what_cannot_be_evaluated_denies_and_does_not_allow(
    condition: str, known: Mapping[str, str], denied: bool
) -> None:
    decision = at_home(OPEN, f"Deny group Dba to use keys in tenancy where {condition}", question=asked(known=known))
    assert decision.allowed is not denied
    if not known:
        assert not at_home(f"Allow group Dba to use keys in tenancy where {condition}", question=asked()).allowed


def test_denials_stay_few_to_look_at_when_a_variable_is_absent() -> None:
    denials = [
        f"Deny group Dba to use keys in tenancy where all {{target.key.id = 'k{n}', request.user.name = 'u{n}'}}"
        for n in range(400)
    ]
    policies = compile_policies([PolicySource("p", "home", (OPEN, *denials))], HOME)
    looked = []

    def known(name: str) -> str | None:
        looked.append(name)
        return "u7" if name == "request.user.name" else None

    question = Question("id", "user", "joe", frozenset({"g2"}), "KEY_DECRYPT", ("home", "keys"), known, "home")
    assert not policies.decide(question).allowed
    assert len(looked) < 10


def test_nothing_crosses_but_what_both_sides_allow() -> None:
    there = asked(path=("away", "akeys"))
    assert across((ENDORSED,), (ADMITTED,), there).allowed
    assert not across((ENDORSED,), (), there).allowed
    assert not across((), (ADMITTED,), there).allowed
    assert not across((ENDORSED,), (OPEN,), there).allowed
    assert not across((OPEN,), (ADMITTED,), there).allowed
    assert not across((ENDORSED,), (ADMITTED,), asked("KEY_ROTATE", ("away", "akeys"))).allowed
    assert not across((ENDORSED,), (ADMITTED,), asked(path=("away",))).allowed, "elsewhere there"
    assert not across((ENDORSED,), (ADMITTED,), asked(path=("away", "akeys"), groups=frozenset({"g1"}))).allowed
    assert not across((ENDORSED, "Deny endorse group Dba to use keys in any-tenancy"), (ADMITTED,), there).allowed
    refusing = "Deny admit any-user of any-tenancy to use keys in tenancy"
    assert not across((ENDORSED,), (ADMITTED, refusing), there).allowed
    exempt = asked(path=("away", "akeys"), exempt=True)
    assert across((ENDORSED, "Deny endorse group Dba to use keys in any-tenancy"), (ADMITTED,), exempt).allowed
    assert not across((ENDORSED,), (ADMITTED, refusing), exempt).allowed, "our administrators are nobody's there"
    assert across(("Endorse any-user to use keys in any-tenancy",), (ADMITTED,), there).allowed


def test_an_admission_is_for_the_tenancy_it_names() -> None:
    there = asked(path=("away", "akeys"))
    wrong = "Admit group Dba of tenancy Away to use keys in compartment Keys"
    assert not across((ENDORSED,), (wrong,), there).allowed
    assert across((ENDORSED,), ("Admit any-user of any-tenancy to use keys in tenancy",), there).allowed
    assert not across((ENDORSED,), ("Admit group id g9 of tenancy Home to use keys in tenancy",), there).allowed


def test_a_key_is_associated_with_what_the_statement_names() -> None:
    statement = "Allow any-user to associate keys in compartment Keys with volumes in compartment Db"
    volume = {"associated.type": "volumes", "associated.place": ("home", "db")}

    def may(known: Mapping[str, str | tuple[str, ...]], path: tuple[str, ...] = ("home", "keys")) -> bool:
        return at_home(statement, question=asked("KEY_ASSOCIATE", path, known)).allowed

    assert may(volume)
    assert not may(volume, ("home", "db")), "a key that lies elsewhere"
    assert not may(volume | {"associated.type": "buckets"})
    assert not may(volume | {"associated.place": ("home", "keys")})
    assert not may({})
    assert not at_home(statement, question=asked("KEY_DECRYPT", known=volume)).allowed


def test_a_key_is_associated_across_tenancies_when_both_sides_say_so() -> None:
    """OCI's statement for database systems whose volumes lie in another tenancy."""
    condition = "where request.principal.type = 'mysqldbsystem'"
    endorsed = f"Endorse any-user TO associate keys in tenancy with volumes in any-tenancy {condition}"
    admitted = "Admit any-user of tenancy Home to associate keys in tenancy Home with volumes in tenancy"
    known = {
        "request.principal.type": "mysqldbsystem",
        "associated.type": "volumes",
        "associated.place": ("away", "akeys"),
    }
    question = asked("KEY_ASSOCIATE", known=known)
    assert across((endorsed,), (admitted,), question).allowed
    assert not across((), (admitted,), question).allowed
    assert not across((endorsed,), (), question).allowed
    for other in ({"associated.type": "buckets"}, {"request.principal.type": "user"}):
        assert not across((endorsed,), (admitted,), asked("KEY_ASSOCIATE", known=known | other)).allowed


@pytest.mark.parametrize("statement", [ENDORSED, "Deny admit any-user of any-tenancy to use keys in tenancy"])
def test_only_the_tenancy_speaks_to_others(statement: str) -> None:
    with pytest.raises(Refusal, match="stand in a policy attached to the tenancy"):
        check_statements(
            [DEFINED[0], statement][1:] if "Away" not in statement else [statement, DEFINED[0]], at_root=False
        )
    inner = compile_policies([PolicySource("p", "keys", (*DEFINED, ENDORSED))], HOME)
    assert not inner.endorses(asked(path=("away", "akeys"))).allowed and inner.notes


def test_names_of_other_tenancies_want_to_be_defined() -> None:
    assert len(check_statements([DEFINED[0], ENDORSED])) == 2
    with pytest.raises(Refusal, match="no define statement of this policy says which tenancy 'Away' is") as caught:
        check_statements([ENDORSED])
    assert caught.value.hint == "add: Define tenancy Away as <id>"
    with pytest.raises(Refusal, match="which group 'Dba' is"):
        check_statements([DEFINED[1], ADMITTED])


def test_policy_types() -> None:
    assert policy_types([OPEN]) == ("allow",)
    assert policy_types([OPEN, "Deny any-user to use keys in tenancy"]) == ("allow", "deny")
    assert policy_types(["nonsense", "Define tenancy A as b"]) == ()


def test_dynamic_groups_by_name() -> None:
    statement = "Allow dynamic-group Apps to use keys in tenancy"
    assert at_home(statement, question=asked(groups=frozenset({"g4"}))).allowed
    assert not at_home(statement, question=asked(groups=frozenset({"g2"}))).allowed


def test_a_name_in_one_domain_is_not_that_name_in_another() -> None:
    defined = ("Define group Theirs/Dba as g7", "Define group Ours/Dba as g2", "Define tenancy Home as home")
    admitted = "Admit group {} of tenancy Home to use keys in compartment Keys"
    question = asked(path=("away", "akeys"))
    for name, expected in (("Ours/Dba", True), ("Theirs/Dba", False), ("Dba", False)):
        theirs = compile_policies([PolicySource("q", "away", (*defined, admitted.format(name)))], AWAY)
        assert theirs.admits(question).allowed == expected, name
    service = Question("s", "service", "backup", frozenset(), "KEY_DECRYPT", ("home", "keys"), {}.get)
    for name, expected in (("backup", True), ("default/Backup", True), ("other/backup", False)):
        assert at_home(f"Allow service {name} to use keys in tenancy", question=service).allowed == expected, name


def test_what_is_defined_stays_what_is_meant_whoever_makes_something_of_that_name() -> None:
    """Or whoever may make compartments would lift denials."""
    denied = ("Define compartment Vital as keys", OPEN, "Deny any-user to use keys in compartment Vital")
    for made in ({}, {"decoy": ("home", "Vital")}):
        world = World("home", {"keys": ("home", "Keys"), **made}, {})
        assert not compile_policies([PolicySource("p", "home", denied)], world).decide(asked()).allowed


@pytest.mark.parametrize(
    "name", ["Соntractors", "Contraсtors", "Contractors\u200b", "\u212aeys", "ﬁnance", "x/Сontractors"]
)
@pytest.mark.parametrize(
    "statement",
    ["Deny group {} to use keys in tenancy", "Deny dynamic-group {} to use keys in tenancy",
     "Deny any-user to use keys in compartment Prod:{}", "Allow service backup, {} to use keys in tenancy",
     "Allow any-user to associate keys in tenancy with volumes in compartment {}"],
)  # fmt: skip
def test_a_name_that_merely_looks_like_one_is_refused(name: str, statement: str) -> None:
    if "compartment" in statement and "/" in name:
        name = name.partition("/")[2]
    quoted = "/".join(f"'{part}'" for part in name.split("/"))
    with pytest.raises(Refusal) as caught:
        check_statements((statement.format(quoted),))
    assert caught.value.code == "InvalidStatement" and "nothing can be called" in caught.value.message
    check_statements((statement.format("Contractors"),))


@pytest.mark.parametrize(
    ("condition", "never"),
    [
        ("request.utc-timestamp.day-of-month = '{}'", ("01", "0", "32", "1st")),
        ("request.utc-timestamp.month-of-year != '{}'", ("01", "13", "may")),
        ("any {{target.key.id = 'k', request.utc-timestamp.day-of-week in ('monday', '{}')}}", ("mon", "0", "")),
        ("request.user.mfaTotpVerified = '{}'", ("yes", "1", "no")),
        ("request.risk.level not in ('{}')", ("severe", "none")),
        ("target.policy.type = '{}'", ("admit",)),
    ],
)
def test_what_a_variable_never_is_is_refused(condition: str, never: tuple[str, ...]) -> None:
    """A denial that never holds would deny nothing, and look as if it did."""
    statement = "Deny group Dba to use keys in tenancy where " + condition
    for written in never:
        with pytest.raises(Refusal) as caught:
            check_statements((statement.format(written),))
        assert "is never" in caught.value.message and caught.value.hint


def test_every_value_of_a_variable_is_taken() -> None:
    for variable, values in VALUES.items():
        for value in values:
            check_statements((f"Deny group Dba to use keys in tenancy where {variable} = '{value.upper()}'",))
        check_statements((f"Allow group Dba to use keys in tenancy where {variable} = /*/",))
