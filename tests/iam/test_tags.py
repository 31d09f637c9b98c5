"""Tags of compartments and groups: what they open, from when on, who may set them, and what is recorded."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tests.fakes.domain import DomainRegion
from tests.iam.naive import World, allows
from tests.refusals import refused

from keystead.core.clock import ManualClock
from keystead.core.ids import CompartmentId, GroupId, PrincipalId, TenancyId, UserId
from keystead.iam.directory import Directory
from keystead.iam.model import Caller, Compartment, Group, Principal, Target, User
from keystead.iam.policy.compile import PolicySource, compile_policies
from keystead.iam.policy.model import Among, Condition, Equal, Pattern, Text, Variable, condition_text
from keystead.iam.policy.model import Group as Several
from keystead.iam.policy.question import Question
from keystead.iam.ports import IdentityChanges, Membership, ResourceIdentity
from keystead.iam.request import RequestVariables
from keystead.iam.tags import MAX_TAG_TEXT, MAX_TAGS, check_tags

OF_GROUPS = "Allow any-user to inspect users in tenancy where request.principal.group.tag.Ops.Team = 'dba'"
OF_PLACES = "Allow group Dba to inspect keys in tenancy where target.resource.compartment.tag.ops.env = 'DEV'"


def may(region: DomainRegion, who: Caller, permission: str, place: Compartment | None = None) -> bool:
    """As from the next request on."""
    region.snapshot.refresh()
    path = place.path if place else (CompartmentId(region.tenancy),)
    return region.guard.may(who, permission, Target("keys", path[-1], "x", region.tenancy, path))


def group_named(region: DomainRegion, name: str) -> Group:
    from keystead.core.page import PageRequest

    return region.iam.list_groups(region.admin, PageRequest(1), name).items[0]


def test_a_tag_of_a_group_opens_and_closes_for_its_members_from_the_next_request_on(region: DomainRegion) -> None:
    dan, eve = region.user("dan", "Dba"), region.user("eve", "Web")
    elsewhere = region.again()
    region.allow(OF_GROUPS)
    dba = group_named(region, "Dba")
    assert not may(region, dan, "USER_INSPECT")
    tagged = region.iam.tag_group(region.admin, dba.id, {"ops.TEAM": "DBA", "note": "x"})
    assert (tagged.version, dict(tagged.tags)) == (dba.version + 1, {"ops.TEAM": "DBA", "note": "x"})
    for process in (region, elsewhere):
        assert may(process, dan, "USER_INSPECT") and not may(process, eve, "USER_INSPECT")
    region.iam.remove_member(region.admin, dba.id, dan.principal.id)
    assert not may(elsewhere, dan, "USER_INSPECT")
    region.iam.add_member(region.admin, dba.id, dan.principal.id)
    assert may(elsewhere, dan, "USER_INSPECT")
    region.iam.tag_group(region.admin, dba.id, {})
    for process in (region, elsewhere):
        assert not may(process, dan, "USER_INSPECT")


def test_a_deleted_group_opens_nothing_and_its_name_comes_back_untagged(region: DomainRegion) -> None:
    dan = region.user("dan", "Dba")
    region.allow(OF_GROUPS)
    dba = group_named(region, "Dba")
    region.iam.tag_group(region.admin, dba.id, {"ops.team": "dba"})
    assert may(region, dan, "USER_INSPECT")
    region.iam.delete_group(region.admin, dba.id)
    assert not may(region, dan, "USER_INSPECT")
    again = region.iam.create_group(region.admin, "Dba")
    region.iam.add_member(region.admin, again.id, dan.principal.id)
    assert not may(region, dan, "USER_INSPECT") and not again.tags


def test_other_changes_of_a_group_leave_its_tags(region: DomainRegion) -> None:
    region.user("dan", "Dba")
    dba = group_named(region, "Dba")
    region.iam.tag_group(region.admin, dba.id, {"ops.team": "dba"})
    region.iam.update_group(region.admin, dba.id, "more")
    assert dict(group_named(region, "Dba").tags) == {"ops.team": "dba"}
    assert dict(region.iam.get_group(region.admin, dba.id).tags) == {"ops.team": "dba"}


def test_a_tag_of_a_compartment_opens_what_lies_in_it_and_not_what_lies_below(region: DomainRegion) -> None:
    dan = region.user("dan", "Dba")
    elsewhere = region.again()
    region.allow(OF_PLACES)
    dev = region.iam.create_compartment(region.admin, region.tenancy, "Dev")
    region.snapshot.refresh()
    below = region.iam.create_compartment(region.admin, dev.id, "Below")
    region.snapshot.refresh()
    assert not may(region, dan, "KEY_INSPECT", dev)
    tagged = region.iam.tag_compartment(region.admin, dev.id, {"Ops.Env": "dev"})
    assert tagged.version == dev.version + 1
    for process in (region, elsewhere):
        assert may(process, dan, "KEY_INSPECT", dev)
        assert not may(process, dan, "KEY_INSPECT", below) and not may(process, dan, "KEY_INSPECT")
    assert dict(region.iam.get_compartment(region.admin, dev.id).tags) == {"Ops.Env": "dev"}
    region.iam.tag_compartment(region.admin, dev.id, {"ops.env": "prod"})
    for process in (region, elsewhere):
        assert not may(process, dan, "KEY_INSPECT", dev)


def test_a_denial_reads_tags_too_and_their_absence_is_no_excuse(region: DomainRegion) -> None:
    dan = region.user("dan", "Dba")
    dev = region.iam.create_compartment(region.admin, region.tenancy, "Dev")
    region.snapshot.refresh()
    region.allow(
        "Allow group Dba to inspect keys in tenancy",
        "Deny group Dba to inspect keys in tenancy where target.resource.compartment.tag.ops.env != 'dev'",
    )
    assert not may(region, dan, "KEY_INSPECT", dev)
    region.iam.tag_compartment(region.admin, dev.id, {"ops.env": "dev"})
    assert may(region, dan, "KEY_INSPECT", dev)


def test_they_are_tags_of_the_target_where_that_is_a_group_or_a_compartment(region: DomainRegion) -> None:
    region.user("eve", "Web")
    dan = region.user("dan", "Dba")
    dev = region.iam.create_compartment(region.admin, region.tenancy, "Dev")
    other = region.iam.create_compartment(region.admin, region.tenancy, "Other")
    region.allow(
        "Allow group Dba to inspect groups in tenancy where target.resource.tag.ops.team = 'web'",
        "Allow group Dba to inspect compartments in tenancy where target.resource.tag.ops.env = 'dev'",
        "Allow group Dba to inspect keys in tenancy where target.resource.tag.ops.env = 'dev'",
    )
    web, dba = group_named(region, "Web"), group_named(region, "Dba")
    region.iam.tag_group(region.admin, web.id, {"ops.team": "web"})
    region.iam.tag_compartment(region.admin, dev.id, {"ops.env": "dev"})
    assert region.iam.get_group(dan, web.id).id == web.id
    refused(lambda: region.iam.get_group(dan, dba.id))
    assert region.iam.get_compartment(dan, dev.id).id == dev.id
    refused(lambda: region.iam.get_compartment(dan, other.id))
    found = region.insight.who_can(region.admin, "COMPARTMENT_INSPECT", dev.id)
    assert "dan" in {each.principal.name for each in found}
    found = region.insight.who_can(region.admin, "KEY_INSPECT", dev.id)
    assert "dan" not in {each.principal.name for each in found}


def test_a_simulation_tells_tags_of_a_compartment_from_tags_of_what_lies_in_it(region: DomainRegion) -> None:
    region.user("dan", "Dba")
    dev = region.iam.create_compartment(region.admin, region.tenancy, "Dev")
    region.iam.tag_compartment(region.admin, dev.id, {"ops.env": "dev"})
    region.snapshot.refresh()
    for kind, where, opens in (
        ("keys", "target.resource.tag", False),
        ("keys", "target.resource.compartment.tag", True),
        ("compartments", "target.resource.tag", True),
    ):
        statement = f"Allow group Dba to inspect {kind} in tenancy where {where}.ops.env = 'dev'"
        found = region.insight.simulate(region.admin, region.tenancy, (statement,)).differences
        assert [(each.principal.name, each.target_id) for each in found] == [("dan", dev.id)] * opens, statement


@pytest.mark.parametrize("lacks", ["TAG_NAMESPACE_USE", "GROUP_UPDATE", "COMPARTMENT_UPDATE"])
def test_it_takes_the_right_to_tag_besides_the_right_to_the_thing(region: DomainRegion, lacks: str) -> None:
    dan = region.user("dan", "Dba")
    place = region.iam.create_compartment(region.admin, region.tenancy, "Dev")
    dba = group_named(region, "Dba")
    held = {"TAG_NAMESPACE_USE", "TAG_NAMESPACE_INSPECT", "GROUP_UPDATE", "COMPARTMENT_UPDATE"} - {lacks}
    held |= {"GROUP_INSPECT", "COMPARTMENT_INSPECT"}
    region.allow(f"Allow group Dba to {{{', '.join(sorted(held))}}} in tenancy")
    region.snapshot.refresh()
    acts = {
        "COMPARTMENT_UPDATE": lambda: region.iam.tag_compartment(dan, place.id, {"a.b": "c"}),
        "GROUP_UPDATE": lambda: region.iam.tag_group(dan, dba.id, {"a.b": "c"}),
    }
    for permission, act in acts.items():
        if lacks in (permission, "TAG_NAMESPACE_USE"):
            assert lacks in refused(act).message
        else:
            act()


def test_the_right_to_tag_in_one_compartment_is_not_enough(region: DomainRegion) -> None:
    dan = region.user("dan", "Dba")
    place = region.iam.create_compartment(region.admin, region.tenancy, "Dev")
    region.allow("Allow group Dba to manage all-resources in compartment Dev")
    region.snapshot.refresh()
    refused(lambda: region.iam.tag_compartment(dan, place.id, {"a.b": "c"}))
    region.allow("Allow group Dba to use tag-namespaces in tenancy")
    region.iam.tag_compartment(dan, place.id, {"a.b": "c"})


def test_what_the_tags_were_and_are_is_recorded_with_the_statements_that_read_them(region: DomainRegion) -> None:
    region.user("dan", "Dba")
    dba = group_named(region, "Dba")
    policy = region.allow(OF_PLACES, OF_GROUPS)
    region.iam.tag_group(region.admin, dba.id, {"ops.team": "dba"})
    region.iam.tag_group(region.admin, dba.id, {"Ops.Team": "web", "note": "x"})
    region.iam.tag_group(region.admin, dba.id, {"Ops.Team": "web"})
    told = [dict(entry.detail) for entry in region.entries() if entry.operation == "TagGroup"]
    read_by = f"statement 2 of {policy.id}"
    assert told == [
        {"changes": '[["ops.team", null, "dba"]]', "read_by": read_by},
        {"changes": '[["Ops.Team", null, "web"], ["ops.team", "dba", null], ["note", null, "x"]]', "read_by": read_by},
        {"changes": '[["note", "x", null]]'},
    ]


def test_what_is_changed_cannot_be_hidden_by_what_else_is(region: DomainRegion) -> None:
    """Not by values that look like other tags, and not by so many that they fill the entry."""
    region.user("dan", "Dba")
    dba = group_named(region, "Dba")
    crowd = {f"a{number}": '=,"]' * 64 for number in range(MAX_TAGS - 1)}
    region.allow(*[OF_GROUPS] * 25)
    region.iam.tag_group(region.admin, dba.id, crowd | {"ops.team": 'x", "y'})
    told = next(dict(entry.detail) for entry in region.entries() if entry.operation == "TagGroup")
    shown = json.loads(told["changes"])
    assert shown[0] == ["ops.team", None, 'x", "y']
    assert 1 < len(shown) < MAX_TAGS
    assert (told["changes_in_all"], len(told["changes_sha256"])) == (str(MAX_TAGS), 64)
    assert told["read_by"].endswith(" and 5 more")


@pytest.mark.parametrize(
    "tags",
    [
        {f"a.b{number}": "x" for number in range(MAX_TAGS + 1)},
        {"a.b": "x" * (MAX_TAG_TEXT + 1)},
        {"a" * (MAX_TAG_TEXT + 1): "x"},
        {"": "x"},
        {"Ops.Team": "dba", "ops.team": "web"},
    ],
)
def test_what_no_tags_are(region: DomainRegion, tags: dict[str, str]) -> None:
    region.user("dan", "Dba")
    dba = group_named(region, "Dba")
    refused(lambda: region.iam.tag_group(region.admin, dba.id, tags))
    assert group_named(region, "Dba") == dba
    assert refused(lambda: check_tags(tags)).code == "InvalidParameter"


def test_who_was_overtaken_is_refused(region: DomainRegion) -> None:
    dev = region.iam.create_compartment(region.admin, region.tenancy, "Dev")
    region.iam.tag_compartment(region.admin, dev.id, {"a.b": "c"}, dev.version)
    assert refused(lambda: region.iam.tag_compartment(region.admin, dev.id, {}, dev.version)).code == "Stale"


def test_whoever_asks_for_approval_of_policies_has_it_of_tags(region: DomainRegion) -> None:
    from keystead.iam.approvals.acts import RuleTerms

    region.user("ann", "Officers")
    region.user("dan", "Dba")
    officers, dba = group_named(region, "Officers"), group_named(region, "Dba")
    region.iam.create_approval_rule(region.admin, region.tenancy, "two", RuleTerms(("policy",), officers.id, 1))
    region.snapshot.refresh()
    assert refused(lambda: region.iam.tag_group(region.admin, dba.id, {"a.b": "c"})).code == "ApprovalRequired"
    assert refused(lambda: region.iam.tag_compartment(region.admin, region.tenancy, {})).code == "ApprovalRequired"


# Conditions on tags, compiled and evaluated on the directory, against what a plain look at the tags says.

NAMES, VALUES = ("ops.team", "Ops.Team", "ops.env", "plain", "ops."), ("dba", "DBA", "web", "")
READ = (
    "request.principal.group.tag.ops.team", "request.principal.group.tag.ops.env",
    "request.principal.compartment.tag.ops.env", "target.resource.compartment.tag.ops.team",
    "target.resource.compartment.tag.ops.env",
)  # fmt: skip
TENANCY = "t"


def tags() -> SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=3).filter(
        lambda found: len({name.lower() for name in found}) == len(found)
    )


def conditions() -> SearchStrategy[Condition]:
    variable, text = st.sampled_from(READ), st.sampled_from(VALUES).map(Text)
    pattern = st.builds(Pattern, st.sampled_from(["prefix", "suffix", "contains"]), st.sampled_from(["d", "b", "we"]))
    simple = (
        st.builds(Equal, variable, text | pattern | variable.map(Variable), st.booleans())
        | st.builds(Among, variable, st.lists(text, min_size=1, max_size=2).map(tuple), st.booleans())
    )  # fmt: skip
    return st.recursive(
        simple,
        lambda parts: st.builds(
            Several, st.sampled_from(["all", "any"]), st.lists(parts, min_size=1, max_size=2).map(tuple)
        ),
        max_leaves=4,
    )


def seen(bearers: list[Mapping[str, str]], name: str) -> tuple[str, ...] | None:
    """What a tag is called is compared without case; a name without a namespace or a key is no name."""
    found = [value for tags in bearers for each, value in tags.items() if each.lower() == name]
    return tuple(found) or None


@pytest.mark.slow
@given(
    st.lists(tags(), min_size=3, max_size=3),
    st.lists(tags(), min_size=2, max_size=2),
    st.lists(st.tuples(st.booleans(), conditions()), min_size=1, max_size=3),
    st.integers(0, 2**32),
)
@settings(max_examples=150)
def test_compiled_statements_read_tags_as_a_plain_look_at_them_does(
    of_groups: list[dict[str, str]],
    of_places: list[dict[str, str]],
    written: list[tuple[bool, Condition]],
    seed: int,
) -> None:
    source = random.Random(seed)
    now = ManualClock().now()
    tenancy, root = TenancyId(TENANCY), CompartmentId(TENANCY)
    groups = [Group(GroupId(f"g{n}"), tenancy, f"G{n}", "", now, tags=each) for n, each in enumerate(of_groups)]
    places = [Compartment(root, tenancy, "root", None, (root,), "", now, tags=of_places[0])]
    child = CompartmentId("c1")
    places.append(Compartment(child, tenancy, "Prod", root, (root, child), "", now, tags=of_places[1]))
    member_of = source.sample(range(3), source.randint(0, 3))
    directory = Directory()
    directory.apply(
        IdentityChanges(
            compartments=places,
            users=[User(UserId("u"), tenancy, "joe", "ACTIVE", "", now)],
            groups=[(each, False) for each in groups],
            memberships=[Membership(TENANCY, f"g{n}", "u", deleted=False) for n in member_of],
            identities=[ResourceIdentity(TENANCY, "s", "mysqldbsystem", "flights", child, deleted=False)],
        )
    )
    statements = [f"{'Deny' if denies else 'Allow'} any-user to use keys in tenancy where {condition_text(condition)}"
                  for denies, condition in written]  # fmt: skip
    sources = [PolicySource("p", TENANCY, (*source.sample(["Allow any-user to use keys in tenancy"], 1), *statements))]
    if source.random() < 0.5:
        sources = [replace(sources[0], statements=tuple(statements))]
    compiled = compile_policies(sources, World(TENANCY, {"c1": (TENANCY, "Prod")}, {}))
    for kind, who in (("user", "u"), ("mysqldbsystem", "s")):
        for place in places:
            home = root if kind == "user" else child
            principal = Principal(PrincipalId(who), kind, "x", tenancy, home)  # type: ignore[arg-type]  # one of two
            target = Target("keys", "k", "k", tenancy, place.path)
            variables = RequestVariables(Caller(principal, ""), "KEY_DECRYPT", target, directory, now, "home", "")
            held = [of_groups[n] for n in member_of] if kind == "user" else []
            bearers = {
                "request.principal.group.tag.": held,
                "request.principal.compartment.tag.": [of_places[1]] if kind == "mysqldbsystem" else [],
                "target.resource.compartment.tag.": [place.tags],
            }
            plain = {
                name: seen(list(bearers[prefix]), name.removeprefix(prefix))
                for name in READ
                for prefix in bearers
                if name.startswith(prefix)
            }
            question = Question(who, kind, "x", frozenset(), "KEY_DECRYPT", place.path, variables, TENANCY)
            expected = allows(
                World(TENANCY, {"c1": (TENANCY, "Prod")}, {}), sources, replace(question, variables=plain.get)
            )
            decision = compiled.decide(question)
            assert decision.allowed == expected, (sources, kind, place, plain)
            assert not decision.reads_request, "tags change with the generation alone"
