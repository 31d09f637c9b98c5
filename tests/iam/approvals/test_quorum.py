"""m of n: what others got wrong, and every way around that we could think of."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.iam.approvals.world import World, code, group_of, make_world

from keystead.core.errors import Refusal
from keystead.core.ids import UserId
from keystead.core.page import PageRequest
from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.approvals.model import Vote
from keystead.iam.approvals.rules import ApprovalRequired

_page = PageRequest(10)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(template: World, tmp_path: Path) -> Iterator[World]:
    yield replace(template, region=template.region.copy(tmp_path))


def state(world: World, approval: str) -> str:
    return world.region.iam.get_approval(world.people["olivia"], approval).state


def test_two_of_three_approve_and_it_is_done_once(world: World) -> None:
    waiting = world.ask()
    assert world.ask() == waiting, "the same request waits once"
    assert code(world.delete, approval=waiting) == "ApprovalRequired"
    world.approve(waiting, "ada")
    assert code(world.delete, approval=waiting) == "ApprovalRequired"
    world.approve(waiting, "bob")
    assert state(world, waiting) == "APPROVED"
    assert world.delete(approval=waiting).state == "DELETED"
    assert state(world, waiting) == "EXECUTED"
    world.region.vaults.recover(world.region.admin, world.key.id)
    assert code(world.delete, approval=waiting) == "ApprovalOver", "replayed"
    entry = next(entry for entry in world.region.entries() if entry.detail.get("approval") == waiting)
    assert (entry.operation, entry.outcome) == ("DeleteKey", "allowed")
    assert sorted(entry.detail["approved_by"].split(", ")) == ["ada", "bob"]


def test_it_is_bound_to_the_letter_to_the_caller_and_to_the_tenancy(world: World) -> None:
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    assert code(world.delete, approval=waiting, text="delete another") == "ApprovalMismatch"
    assert code(world.delete, "dora", waiting) == "NotFound"
    assert code(world.delete, "dora", waiting, "delete finance") == "NotFound"
    other = world.region.new_tenancy("globex")
    world.region.snapshot.refresh()
    assert code(world.region.iam.approve, other, waiting) == "NotFound"
    assert world.delete(approval=waiting).state == "DELETED"


def test_nobody_approves_what_they_asked_for(world: World) -> None:
    waiting = world.ask("ada")
    assert code(world.region.iam.approve, world.people["ada"], waiting) == "OwnRequest"
    by_key = replace(world.people["ada"], token_id="of an api key", source="elsewhere")
    assert code(world.region.iam.approve, by_key, waiting) == "OwnRequest"
    world.approve(waiting, "bob")
    assert code(world.delete, "ada", waiting) == "ApprovalRequired", "one of two"
    world.approve(waiting, "cy")
    assert world.delete("ada", waiting).state == "DELETED"


def test_each_person_counts_once(world: World) -> None:
    waiting = world.ask()
    world.approve(waiting, "ada")
    assert code(world.region.iam.approve, world.people["ada"], waiting) == "AlreadyVoted"
    assert code(world.delete, approval=waiting) == "ApprovalRequired"


def test_policy_makes_nobody_an_approver(world: World) -> None:
    waiting = world.ask()
    assert code(world.region.iam.approve, world.region.admin, waiting) == "NotAnApprover"
    world.region.allow("Allow group Keepers to manage approvals in tenancy")
    for name in ("olivia", "dora"):
        assert code(world.region.iam.approve, world.people[name], waiting) in ("OwnRequest", "NotAnApprover")


def test_who_joins_the_group_afterwards_does_not_count_and_who_left_does_not_either(world: World) -> None:
    waiting, region = world.ask(), world.region
    late = region.user("late")
    _join(world, late.principal.id)
    assert code(region.iam.approve, late, waiting) == "NotAnApprover"
    world.approve(waiting, "ada", "bob")
    region.iam.remove_member(region.admin, world.group, world.people["bob"].principal.id)
    assert code(world.delete, approval=waiting) == "ApprovalRequired"
    region.iam.update_user(region.admin, world.people["ada"].principal.id, "BLOCKED")
    assert state(world, waiting) == "PENDING"


def _join(world: World, user: str) -> None:
    """As with the approval of others: past the rule that covers it."""
    from keystead.iam.ports import Membership

    target = world.region.iam._at_group(world.region.iam._group(world.region.admin, world.group))
    entry = world.region.guard.entry(world.region.admin, "GROUP_UPDATE", target, "AddGroupMember", "allowed")
    with world.region.store.write(entry) as tx:
        tx.iam.set_membership(Membership(world.region.tenancy, world.group, user, False))
    world.region.snapshot.refresh()


def test_a_vote_of_somebody_who_joined_later_counts_for_nothing_even_where_it_stands(world: World) -> None:
    waiting, region = world.ask(), world.region
    late = region.user("late").principal
    _join(world, late.id)
    world.approve(waiting, "ada")
    with region.store.note() as tx:
        found = tx.approvals.approval(region.tenancy, waiting)
        assert found is not None
        tx.approvals.add_vote(found, Vote(UserId(str(late.id)), "late", "approve", "", region.clock.now()))
    assert code(world.delete, approval=waiting) == "ApprovalRequired"
    assert state(world, waiting) == "PENDING"


def test_a_group_of_the_same_name_elsewhere_does_not_count(world: World) -> None:
    region, waiting = world.region, world.ask()
    other = region.new_tenancy("globex")
    region.snapshot.refresh()
    there = region.iam.create_group(other, "Officers")
    region.iam.add_member(other, there.id, other.principal.id)
    assert code(region.iam.approve, other, waiting) == "NotFound"
    terms = RuleTerms(("destruction",), there.id, 1)
    assert code(region.iam.create_approval_rule, region.admin, world.prod, "x", terms) == "NotFound"


def test_a_new_group_of_the_same_name_is_another(world: World) -> None:
    """The rule's group is deleted (with approval) and made anew: nobody in it approves anything."""
    region, waiting = world.region, world.ask()
    group = region.iam._group(region.admin, world.group)
    entry = region.guard.entry(region.admin, "GROUP_DELETE", region.iam._at_group(group), "DeleteGroup", "allowed")
    with region.store.write(entry) as tx:
        tx.iam.delete_group(group)
    again = region.iam.create_group(region.admin, "Officers")
    for name in ("ada", "bob"):
        region.iam.add_member(region.admin, again.id, world.people[name].principal.id)
    region.allow("Allow group Officers to use approvals in tenancy")
    assert code(region.iam.approve, world.people["ada"], waiting) == "NotAnApprover"


@pytest.mark.parametrize("needed", [0, -1, 4, 21])
def test_a_rule_needs_at_least_one_and_no_more_than_there_are(world: World, needed: int) -> None:
    terms = RuleTerms(("destruction",), world.group, needed)
    create = world.region.iam.create_approval_rule
    assert code(create, world.region.admin, world.prod, "bad", terms) == "InvalidParameter"


def test_terms_that_say_zero_let_nothing_pass(world: World) -> None:
    """Whatever a row says: without a vote nothing is approved."""
    from keystead.adapters.sql import schema_approvals as tables

    waiting = world.ask()
    with world.region.store.note() as tx:
        found = tx.approvals.approval(world.region.tenancy, waiting)
        assert found is not None
        for terms in ([], [{"rule": world.rule.id, "name": "", "version": 1, "group": world.group, "needed": 0,
                            "members": []}]):  # fmt: skip
            tx.connection.execute(tables.approvals.update().values(terms=terms))
    assert code(world.delete, approval=waiting) == "ApprovalRequired"


def test_it_expires(world: World) -> None:
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    world.region.clock.advance(24 * 3600)
    assert code(world.delete, approval=waiting) == "ApprovalOver"
    assert code(world.region.iam.approve, world.people["cy"], waiting) == "ApprovalOver"
    assert state(world, waiting) == "EXPIRED"
    assert world.ask() != waiting


def test_one_against_it_is_enough_and_whoever_asked_takes_it_back(world: World) -> None:
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    world.region.iam.reject(world.people["cy"], waiting, "not today")
    assert code(world.delete, approval=waiting) == "ApprovalOver"
    second = world.ask()
    world.approve(second, "ada", "bob")
    assert code(world.region.iam.withdraw_approval, world.people["dora"], second) == "NotFound"
    world.region.iam.withdraw_approval(world.people["olivia"], second)
    assert code(world.delete, approval=second) == "ApprovalOver"


def test_the_requesters_right_is_judged_again(world: World) -> None:
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    region = world.region
    region.iam.remove_member(region.admin, group_of(region, "Keepers"), world.people["olivia"].principal.id)
    assert code(world.delete, approval=waiting) == "NotFound"


def test_what_was_changed_in_between_has_to_be_asked_for_again(world: World) -> None:
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    world.region.vaults.disable(world.region.admin, world.key.id)
    assert code(world.delete, approval=waiting) == "ApprovalVoid"
    assert world.ask() != waiting


def test_a_weaker_rule_takes_the_approval_of_the_old_one_and_voids_what_waits(world: World) -> None:
    region, weaker = world.region, RuleTerms(("destruction",), world.group, 1)
    waiting = world.ask()
    world.approve(waiting, "ada")
    change = region.iam.update_approval_rule
    assert code(change, region.admin, world.rule.id, weaker) == "ApprovalRequired"
    with pytest.raises(Refusal) as caught:
        change(world.asks("admin", "weaker"), world.rule.id, weaker)
    asked = caught.value.approval  # type: ignore[attr-defined]
    assert code(region.iam.approve, world.people["olivia"], asked) == "NotFound"
    world.approve(asked, "ada")
    assert code(change, world.asks("admin", "weaker", asked), world.rule.id, weaker) == "ApprovalRequired"
    world.approve(asked, "bob")
    assert change(world.asks("admin", "weaker", asked), world.rule.id, weaker).needed == 1
    assert code(world.delete, approval=waiting) == "ApprovalVoid"
    assert code(region.iam.delete_approval_rule, region.admin, world.rule.id) == "ApprovalRequired"


def test_nothing_around_it(world: World) -> None:
    """Carrying the key away, puppets in the group, taking over an approver's account, the vault instead of the key."""
    region, olivia = world.region, world.people["olivia"]
    free = region.iam.create_compartment(region.admin, region.tenancy, "Free")
    region.allow("Allow group Keepers to manage users in tenancy")
    ada = world.people["ada"].principal.id
    for run in (
        lambda: region.vaults.move_key(olivia, world.key.id, free.id),
        lambda: region.vaults.move_vault(olivia, world.key.vault, free.id),
        lambda: region.vaults.purge(olivia, world.key.id),
        lambda: region.vaults.delete_vault(olivia, world.key.vault),
        lambda: region.iam.add_member(olivia, world.group, olivia.principal.id),
        lambda: region.iam.delete_group(olivia, world.group),
        lambda: region.iam.reset_password(olivia, ada),
        lambda: region.iam.create_auth_token(olivia, ada, "mine"),
    ):
        assert code(run) == "ApprovalRequired"
    # closing a door takes nobody else
    assert region.vaults.disable(olivia, world.key.id).state == "DISABLED"
    region.iam.remove_member(olivia, world.group, ada)


def test_another_way_into_the_group_is_closed_too(world: World) -> None:
    """A directory elsewhere that keeps groups asks for the same permission, by another operation."""
    region = world.region
    group = region.iam._at_group(region.iam._group(region.admin, world.group))
    caller = world.asks("olivia", "anything")
    assert code(region.guard.require, caller, "GROUP_UPDATE", group, "PatchScimGroup") == "ApprovalRequired"
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    named = world.asks("olivia", "delete finance", waiting)
    assert code(region.guard.require, named, "GROUP_UPDATE", group, "PatchScimGroup") == "ApprovalRequired"
    other = region.iam._at_group(region.iam._group(region.admin, group_of(region, "Keepers")))
    region.guard.require(caller, "GROUP_UPDATE", other, "PatchScimGroup")


def test_a_vault_elsewhere_whose_key_is_covered_is_covered(world: World) -> None:
    region = world.region
    free = region.iam.create_compartment(region.admin, region.tenancy, "Free")
    vault = region.vaults.create_vault(region.admin, free.id, "outside")
    assert region.vaults.delete_vault(region.admin, vault.id).state == "DELETED"
    region.vaults.recover_vault(region.admin, vault.id)
    region.vaults.create_key(region.admin, world.prod, vault.id, "inside")
    assert code(region.vaults.delete_vault, region.admin, vault.id) == "ApprovalRequired"


def test_a_puppet_for_a_while_does_not_count(world: World) -> None:
    region = world.region
    eve = region.user("eve")
    region.iam.begin_break_glass(*_by_admin(world), eve.principal.id, 600, "why")
    region.snapshot.refresh()
    assert world.group in region.snapshot.directory.groups_of(eve.principal.id)
    waiting = world.ask()
    assert code(region.iam.approve, eve, waiting) == "NotAnApprover"


def _by_admin(world: World) -> tuple[object, ...]:
    return world.region.admin, world.group


def test_a_bare_count_does_not_suffice_where_a_rule_covers_it_and_an_approval_needs_none(world: World) -> None:
    from tests.fakes.calls import active

    from keystead.databases.creation import NewSystem

    region = world.region
    region.allow("Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'")
    made = region.databases.create(region.admin, NewSystem(world.prod, "flights", world.key.id))
    active(region, made.system.id)
    region.snapshot.refresh()
    with pytest.raises(Refusal) as caught:
        world.delete(confirm_needed_by=1)
    assert caught.value.code == "ApprovalRequired"
    waiting = world.ask(text="without a count")
    world.approve(waiting, "ada", "bob")
    assert world.delete(approval=waiting, text="without a count").state == "DELETED"


def test_in_an_emergency_nobody_else_is_needed_and_it_is_told(world: World) -> None:
    region = world.region
    emergency = region.iam.create_group(region.admin, "Emergency").id
    terms = RuleTerms(("destruction",), world.group, 2, emergency_group=emergency)
    with pytest.raises(Refusal) as caught:
        region.iam.update_approval_rule(world.asks("admin", "emergency"), world.rule.id, terms)
    asked = caught.value.approval  # type: ignore[attr-defined]
    world.approve(asked, "ada", "bob")
    region.iam.update_approval_rule(world.asks("admin", "emergency", asked), world.rule.id, terms)
    olivia = world.people["olivia"].principal.id
    region.iam.add_member(region.admin, emergency, olivia)
    assert code(world.delete) == "ApprovalRequired", "a member for good is in no emergency"
    region.iam.remove_member(region.admin, emergency, olivia)
    region.iam.begin_break_glass(region.admin, emergency, olivia, 60, "the building burns")
    assert world.delete().state == "DELETED"
    alert = next(entry for entry in region.entries() if entry.operation == "ApprovalBypassed")
    assert (alert.principal_name, alert.detail["rules"], alert.detail["of"]) == ("olivia", "two", "DeleteKey")
    region.clock.advance(60)
    region.vaults.recover(region.admin, world.key.id)
    assert code(world.delete) == "ApprovalRequired"


def test_two_at_once_do_it_once(world: World) -> None:
    """Both have looked at the gate before either wrote."""
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    region = world.region
    target = region.vaults._entry(world.people["olivia"], world.key.id).target
    entries = [
        region.guard.permit_change(world.asks("olivia", "delete finance", waiting), "KEY_DELETE", target, "DeleteKey")
        for _ in range(2)
    ]
    with region.store.write(entries[0]):
        pass
    generation = region.snapshot.refresh()
    with pytest.raises(Refusal) as caught, region.store.write(entries[1]):
        raise AssertionError("the second got in")
    assert caught.value.code == "ApprovalOver"
    assert region.snapshot.refresh() == generation


def test_what_changed_between_the_look_and_the_act_counts(world: World) -> None:
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    region = world.region
    target = region.vaults._entry(world.people["olivia"], world.key.id).target
    caller = world.asks("olivia", "delete finance", waiting)
    entry = region.guard.permit_change(caller, "KEY_DELETE", target, "DeleteKey")
    region.iam.remove_member(region.admin, world.group, world.people["bob"].principal.id)
    with pytest.raises(Refusal), region.store.write(entry):
        raise AssertionError("it got in")
    assert state(world, waiting) == "PENDING"


def test_every_rule_that_covers_it_is_met_by_people_of_its_own(world: World) -> None:
    region = world.region
    region.user("max", "Managers")
    region.allow("Allow group Managers to use approvals in tenancy")
    terms = RuleTerms(("DeleteKey",), group_of(region, "Managers"), 1)
    region.iam.create_approval_rule(region.admin, region.tenancy, "managers", terms)
    world.people["max"] = _caller(world, "max")
    waiting = world.ask()
    world.approve(waiting, "ada", "bob")
    assert code(world.delete, approval=waiting) == "ApprovalRequired"
    world.approve(waiting, "max")
    assert world.delete(approval=waiting).state == "DELETED"


def _caller(world: World, name: str) -> object:
    user = next(user for user in world.region.snapshot.directory.users_in(world.region.tenancy) if user.name == name)
    principal = world.region.snapshot.directory.principal(user.id)
    return replace(world.region.admin, principal=principal)


def test_a_way_in_that_cannot_ask_is_refused(world: World) -> None:
    assert code(world.region.vaults.delete, world.people["olivia"], world.key.id) == "ApprovalRequired"


def test_what_waits_is_seen_by_who_asked_and_who_may_look(world: World) -> None:
    waiting, iam = world.ask(), world.region.iam
    assert [item.approval.id for item in iam.list_approvals(world.people["olivia"], _page, mine=True).items] == [
        waiting
    ]
    assert iam.list_approvals(world.people["dora"], _page, mine=True).items == []
    assert code(iam.get_approval, world.people["dora"], waiting) == "NotFound"
    shown = iam.get_approval(world.people["ada"], waiting)
    assert (shown.approvers, shown.approval.target_name) == (("ada", "bob", "cy"), "finance")


def test_a_preview_names_who_could_approve(world: World) -> None:
    region, olivia = world.region, world.people["olivia"]
    preview = region.vaults.impact(olivia, world.key.id, "delete")
    assert [(each.rule, each.needed, each.approvers) for each in preview.quorums] == [("two", 2, ("ada", "bob", "cy"))]
    (own,) = region.vaults.impact(world.people["ada"], world.key.id, "delete").quorums
    assert own.approvers == ("bob", "cy"), "nobody approves what they ask for"
    assert region.vaults.impact(olivia, world.key.id, "delete", 1).quorums == preview.quorums
    narrow = RuleTerms(("ScheduleKeyVersionDeletion",), world.group, 1)
    region.iam.create_approval_rule(region.admin, region.tenancy, "versions", narrow)
    region.snapshot.refresh()
    by_act = {version: region.vaults.impact(olivia, world.key.id, "delete", version).quorums for version in (None, 1)}
    assert [each.rule for each in by_act[1]] == ["two", "versions"], "of one version it is another operation"
    assert by_act[None] == preview.quorums
    for act in ("disable", "rotate"):
        assert region.vaults.impact(olivia, world.key.id, act).quorums == ()  # type: ignore[arg-type]
    region.iam.update_user(region.admin, world.people["bob"].principal.id, "BLOCKED")
    eve = region.user("eve")
    region.iam.begin_break_glass(*_by_admin(world), eve.principal.id, 600, "why")
    region.snapshot.refresh()
    assert region.vaults.impact(olivia, world.key.id, "delete").quorums[0].approvers == ("ada", "cy")


def test_there_are_no_groups_within_groups_and_no_rule_asks_resources(world: World) -> None:
    """What others overlooked: members of a nested group. Here nothing but users for good is in a rule's group."""
    region = world.region
    inner = region.iam.create_group(region.admin, "Inner").id
    assert code(region.iam.add_member, region.admin, group_of(region, "Keepers"), inner) in ("InvalidId", "NotFound")
    dynamic = region.iam.create_dynamic_group(region.admin, "Systems", "ALL {resource.type = 'mysqldbsystem'}")
    terms = RuleTerms(("destruction",), str(dynamic.id), 1)
    assert code(region.iam.create_approval_rule, region.admin, world.prod, "x", terms) in ("InvalidId", "NotFound")


OPENS = "Allow any-user to use keys in compartment Prod where request.principal.group.tag.ops.team = 'dba'"


@pytest.mark.parametrize("words", [("policy",), ("UpdatePolicy",)], ids=["set", "stored before it had tags"])
@pytest.mark.parametrize("place", ["Prod", "root"])
def test_a_rule_about_policies_covers_the_tags_that_they_read(world: World, words: tuple[str, ...], place: str) -> None:
    region, iam = world.region, world.region.iam
    admin, where = region.admin, world.prod if place == "Prod" else region.tenancy
    keepers = group_of(region, "Keepers")
    dev = iam.create_compartment(admin, region.tenancy, "Dev")
    iam.create_policy(admin, where, "opens", (OPENS, OPENS.replace("principal.group", "principal.compartment")))
    iam.create_approval_rule(admin, where, "statements", RuleTerms(words, world.group, 2))
    region.snapshot.refresh()
    for tag, thing, operation in (
        (iam.tag_group, keepers, "TagGroup"),
        (iam.tag_compartment, dev.id, "TagCompartment"),
    ):
        asks = world.asks("admin", f"{operation} {thing}", operation=operation)
        with pytest.raises(ApprovalRequired) as caught:
            tag(asks, thing, {"Ops.Team": "dba"})
        assert caught.value.recorded
        world.approve(caught.value.approval, "ada", "bob")
        tag(world.asks("admin", f"{operation} {thing}", caught.value.approval, operation), thing, {"Ops.Team": "dba"})
        read_by_nobody = {"Ops.Team": "dba", "ops.other": "x", "note": "y"}
        if place == "Prod" or words == ("UpdatePolicy",):
            tag(admin, thing, read_by_nobody)
        else:  # the set names tagging itself, of all that lies in the root or below
            assert code(tag, asks, thing, read_by_nobody) == "ApprovalRequired"


def test_a_rule_elsewhere_does_not_cover_tags_that_its_policies_do_not_read(world: World) -> None:
    region, iam = world.region, world.region.iam
    iam.create_policy(region.admin, region.tenancy, "opens", (OPENS,))
    iam.create_approval_rule(region.admin, world.prod, "statements", RuleTerms(("policy",), world.group, 2))
    region.snapshot.refresh()
    iam.tag_group(region.admin, group_of(region, "Keepers"), {"Ops.Team": "dba"})
