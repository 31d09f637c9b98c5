"""The Guard: decides as of now, records, and says no more than the caller may know."""

from collections.abc import Callable
from dataclasses import replace
from threading import Thread

import pytest
from tests.fakes.domain import REGION, DomainRegion, ListJournal, make_region
from tests.refusals import refused

from keystead.audit.service import AuditLog
from keystead.core.clock import ManualClock
from keystead.core.errors import Fault, Unavailable
from keystead.core.ids import CompartmentId, GroupId, PolicyId, PrincipalId, TenancyId, UserId, new_id
from keystead.core.page import PageRequest
from keystead.iam import directory as directory_module
from keystead.iam.directory import Directory
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, Group, Policy, Principal, Target, Tenancy, User
from keystead.iam.ports import IdentityChanges, Membership


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> DomainRegion:
    region = make_region(tmp_path_factory.mktemp("template"))
    prod = region.iam.create_compartment(region.admin, region.tenancy, "Prod")
    region.snapshot.refresh()
    region.iam.create_compartment(region.admin, prod.id, "Keys")
    region.user("ann", "Team")
    region.snapshot.refresh()
    return region


def ann(region: DomainRegion) -> Caller:
    with region.store.read() as tx:
        found = tx.iam.user_by_name(region.tenancy, "ann")
    assert found is not None
    return replace(region.admin, principal=region.snapshot.directory.principal(found[0].id))  # type: ignore[arg-type]


def key_in(region: DomainRegion, *place: str) -> Target:
    """A key that lies in the compartment of that path of names."""
    path, names = [CompartmentId(region.tenancy)], list(place)
    while names:
        name = names.pop(0)
        inner = next(
            each
            for each in region.snapshot.directory.compartments_of(region.tenancy)
            if each.parent == path[-1] and each.name == name
        )
        path.append(inner.id)
    return Target("keys", new_id("key", REGION), "finance", region.tenancy, tuple(path), {"key.name": "finance"})


def test_an_entry_tells_who_what_where_and_what_came_of_it(region: DomainRegion) -> None:
    target = key_in(region, "Prod", "Keys")
    caller = replace(region.admin, token_id="t", source="192.0.2.1", request_id="req", requester="someone")
    region.guard.permit(caller, "KEY_READ", target, "GetKey", {"more": "said"})
    entry = region.journal.entries[-1]
    principal = caller.principal
    assert (entry.tenancy, entry.compartment) == (region.tenancy, target.path[-1])
    assert (entry.principal_id, entry.principal_type, entry.principal_name) == (principal.id, "user", "admin")
    assert (entry.token_id, entry.source, entry.request_id, entry.requester) == ("t", "192.0.2.1", "req", "someone")
    assert (entry.action, entry.operation) == ("KEY_READ", "GetKey")
    assert (entry.resource_type, entry.resource_id, entry.resource_name) == ("keys", target.id, "finance")
    assert (entry.outcome, entry.code, entry.reason, dict(entry.detail)) == ("allowed", "", "", {"more": "said"})
    assert entry.at == region.clock.now()


def test_a_change_is_not_recorded_by_itself_its_refusal_is(region: DomainRegion) -> None:
    target, before = key_in(region), len(region.journal.entries)
    entry = region.guard.permit_change(region.admin, "KEY_UPDATE", target, "DisableKey")
    assert len(region.journal.entries) == before
    assert entry.outcome == "allowed"
    refusal = refused(lambda: region.guard.permit_change(ann(region), "KEY_UPDATE", target, "DisableKey"))
    assert refusal.recorded
    assert [(each.outcome, each.code) for each in region.journal.entries[before:]] == [("refused", "NotFound")]


def test_previews_record_nothing(region: DomainRegion) -> None:
    before = len(region.journal.entries)
    assert region.guard.may(region.admin, "KEY_UPDATE", key_in(region))
    assert not region.guard.may(ann(region), "KEY_UPDATE", key_in(region))
    assert len(region.journal.entries) == before


@pytest.mark.parametrize("run", ["permit", "permit_change", "require"])
def test_a_refusal_that_cannot_be_recorded_is_an_outage(region: DomainRegion, run: str) -> None:
    region.journal.broken = True
    with pytest.raises(Fault, match="audit"):
        getattr(region.guard, run)(ann(region), "KEY_UPDATE", key_in(region), "DisableKey")


@pytest.mark.parametrize(
    ("place", "words"), [((), "tenancy"), (("Prod",), "compartment Prod"), (("Prod", "Keys"), "compartment Prod:Keys")]
)
def test_who_sees_it_is_told_the_statement(region: DomainRegion, place: tuple[str, ...], words: str) -> None:
    region.allow("Allow group Team to inspect keys in tenancy")
    target = key_in(region, *place)
    refusal = refused(lambda: region.guard.permit(ann(region), "KEY_DECRYPT", target, "Decrypt"))
    assert (refusal.kind, refusal.message) == ("denied", "ann lacks KEY_DECRYPT on key 'finance'")
    assert refusal.hint.endswith(f"Allow group Team to use keys in {words}")
    region.allow(refusal.hint.partition(": ")[2])
    region.guard.permit(ann(region), "KEY_DECRYPT", target, "Decrypt")


def test_who_does_not_see_it_learns_neither_name_nor_permission(region: DomainRegion) -> None:
    refusal = refused(lambda: region.guard.permit(ann(region), "KEY_DECRYPT", key_in(region), "Decrypt"))
    assert refusal.kind == "not_found"
    assert "finance" not in refusal.message + refusal.hint
    assert "KEY" not in refusal.message + refusal.hint


def test_nobody_is_allowed_anything_in_another_tenancy_even_by_a_policy_there(region: DomainRegion) -> None:
    stranger = region.new_tenancy("globex")
    region.allow("Allow any-user to manage all-resources in tenancy")
    assert region.guard.may(ann(region), "KEY_READ", key_in(region))
    assert not region.guard.may(stranger, "KEY_READ", key_in(region))


def test_the_regions_own_services_may_do_what_the_catalogue_says_and_nothing_else(region: DomainRegion) -> None:
    region.allow("Allow any-user to manage all-resources in tenancy")
    assert region.guard.may(region.host(), "HOST_WATCH", key_in(region))
    assert not region.guard.may(region.host(), "KEY_READ", key_in(region))
    impostor = replace(region.host(), principal=replace(region.host().principal, name="anything"))
    assert not region.guard.may(impostor, "HOST_WATCH", key_in(region))


def test_no_statement_gives_a_person_what_belongs_to_services(region: DomainRegion) -> None:
    assert not region.guard.may(region.admin, "HOST_WATCH", key_in(region))


@pytest.mark.parametrize("end", ["group deleted", "left the group", "policy deleted", "policy changed", "blocked"])
def test_what_is_taken_away_is_refused_from_the_next_decision_on(region: DomainRegion, end: str) -> None:
    policy = region.allow("Allow group Team to use keys in tenancy")
    caller, target, admin = ann(region), key_in(region), region.admin
    group = region.iam.list_groups(admin, PageRequest(100), "Team").items[0]
    assert region.guard.may(caller, "KEY_DECRYPT", target)
    match end:
        case "group deleted":
            region.iam.delete_group(admin, group.id)
        case "left the group":
            region.iam.remove_member(admin, group.id, caller.principal.id)
        case "policy deleted":
            region.iam.delete_policy(admin, policy.id)
        case "policy changed":
            region.iam.update_policy(admin, policy.id, ("Allow group Team to inspect keys in tenancy",))
        case "blocked":
            region.iam.update_user(admin, caller.principal.id, "BLOCKED")
    assert not region.guard.may(caller, "KEY_DECRYPT", target)
    assert not region.again().guard.may(caller, "KEY_DECRYPT", target)


def test_another_process_sees_a_change_from_its_next_decision_on(region: DomainRegion) -> None:
    elsewhere = region.again()
    policy = region.allow("Allow group Team to use keys in tenancy")
    caller, target = ann(region), key_in(region)
    assert elsewhere.guard.may(caller, "KEY_DECRYPT", target)
    region.iam.delete_policy(region.admin, policy.id)
    assert not elsewhere.guard.may(caller, "KEY_DECRYPT", target)


def test_what_depends_on_the_hour_is_asked_each_time(region: DomainRegion) -> None:
    region.allow("Allow group Team to use keys in tenancy where request.utc-timestamp before '2026-01-01T01:00:00Z'")
    caller, target = ann(region), key_in(region)
    generation = region.snapshot.refresh()
    assert region.guard.may(caller, "KEY_DECRYPT", target)
    region.clock.advance(3600)
    assert not region.guard.may(caller, "KEY_DECRYPT", target)
    assert region.snapshot.refresh() == generation


def test_conditions_on_the_target_are_decided_for_each_target(region: DomainRegion) -> None:
    region.allow("Allow group Team to use keys in tenancy where target.key.name = 'finance'")
    caller, finance = ann(region), key_in(region)
    other = replace(finance, id=new_id("key", REGION), name="other", attributes={"key.name": "other"})
    for _ in range(2):
        assert region.guard.may(caller, "KEY_DECRYPT", finance)
        assert not region.guard.may(caller, "KEY_DECRYPT", other)


def test_the_identity_of_a_resource_counts_once_it_is_there(region: DomainRegion) -> None:
    """`newborn` is for the transaction that makes it, and is not remembered."""
    region.allow("Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'")
    unborn = Caller(
        Principal(
            PrincipalId(new_id("mysqldbsystem", REGION)),
            "mysqldbsystem",
            "flights",
            region.tenancy,
            CompartmentId(region.tenancy),
        ),
        "r",
    )
    target = replace(key_in(region), type="key-delegate")
    region.guard.require(unborn, "KEY_ASSOCIATE", target, "CreateDbSystem", newborn=True)
    refused(lambda: region.guard.require(unborn, "KEY_ASSOCIATE", target, "UseAssociatedKey"))


def test_a_refused_resource_is_told_the_statement_for_those_of_its_compartment(region: DomainRegion) -> None:
    system = Principal(
        PrincipalId(new_id("mysqldbsystem", REGION)), "mysqldbsystem", "flights", region.tenancy,
        CompartmentId(region.tenancy),
    )  # fmt: skip
    target = replace(key_in(region, "Prod"), type="key-delegate")
    refusal = refused(lambda: region.guard.require(Caller(system, "r"), "KEY_ASSOCIATE", target, "x", newborn=True))
    statement = refusal.hint.partition(": ")[2]
    region.allow(statement)
    region.guard.require(Caller(system, "r"), "KEY_ASSOCIATE", target, "x", newborn=True)
    other = replace(system, compartment=target.path[-1])
    refused(lambda: region.guard.require(Caller(other, "r"), "KEY_ASSOCIATE", target, "x", newborn=True))


def test_a_state_that_does_not_answer_is_an_outage_never_an_answer(region: DomainRegion) -> None:
    def gone() -> int:
        raise Unavailable("StateUnavailable", "gone")

    guard = Guard(region.snapshot.directory, gone, AuditLog(region.journal), region.clock, REGION)
    for run in (guard.may, lambda *given: guard.permit(*given, "GetKey")):
        with pytest.raises(Unavailable):
            run(region.admin, "KEY_READ", key_in(region))  # type: ignore[operator]


class Interrupted(Directory):
    """Lets something happen in the middle of one decision."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], None] | None = None

    def groups_of(self, principal: str) -> frozenset[str]:
        found, happens = super().groups_of(principal), self.meanwhile
        if happens is not None:
            self.meanwhile = None
            happens()
        return found


def test_a_decision_made_beside_a_change_is_not_remembered_after_it() -> None:
    """A thread that began before a revocation may still be allowed; those that begin after it may not."""
    tenancy, directory, generation = TenancyId(new_id("tenancy", REGION)), Interrupted(), [1]
    guard = Guard(directory, lambda: generation[0], AuditLog(ListJournal()), ManualClock(), REGION)
    caller, target, changes = _small_world(tenancy, "Allow group Team to use keys in tenancy")
    directory.apply(changes)

    def revoked_and_decided_elsewhere() -> None:
        left = replace(changes.memberships[0], deleted=True)
        directory.apply(IdentityChanges(memberships=(left,)))
        generation[0] = 2
        assert not guard.may(caller, "KEY_DECRYPT", target)

    directory.meanwhile = revoked_and_decided_elsewhere
    assert guard.may(caller, "KEY_DECRYPT", target)
    assert not guard.may(caller, "KEY_DECRYPT", target)


def test_policies_compiled_beside_a_change_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    tenancy, directory = TenancyId(new_id("tenancy", REGION)), Directory()
    guard = Guard(directory, lambda: 1, AuditLog(ListJournal()), ManualClock(), REGION)
    caller, target, changes = _small_world(tenancy, "Allow group Team to use keys in tenancy")
    directory.apply(changes)
    gone = IdentityChanges(policies=((changes.policies[0][0], True),))
    thread = Thread(target=directory.apply, args=(gone,))
    compile_policies = directory_module.compile_policies

    def slowly(*given: object) -> object:
        compiled = compile_policies(*given)  # type: ignore[arg-type]
        thread.start()
        thread.join(0.1)  # either it waits for us, or what we made is of no use any more
        return compiled

    monkeypatch.setattr(directory_module, "compile_policies", slowly)
    directory.policies(tenancy)
    thread.join()
    monkeypatch.undo()
    assert not guard.may(caller, "KEY_DECRYPT", target)


def _small_world(tenancy: TenancyId, statement: str) -> tuple[Caller, Target, IdentityChanges]:
    now, root = ManualClock().now(), CompartmentId(tenancy)
    user = User(UserId(new_id("user", REGION)), tenancy, "ann", "ACTIVE", "", now)
    group = Group(GroupId(new_id("group", REGION)), tenancy, "Team", "", now)
    policy = Policy(PolicyId(new_id("policy", REGION)), tenancy, root, "p", (statement,), "", now)
    changes = IdentityChanges(
        tenancies=(Tenancy(tenancy, "acme", now),),
        compartments=(Compartment(root, tenancy, "acme", None, (root,), "", now),),
        users=(user,),
        groups=((group, False),),
        memberships=(Membership(tenancy, group.id, user.id, deleted=False),),
        policies=((policy, False),),
    )
    caller = Caller(Principal(PrincipalId(user.id), "user", "ann", tenancy, root), "r")
    return caller, Target("keys", new_id("key", REGION), "finance", tenancy, (root,)), changes


def test_a_service_may_what_statements_of_the_tenancy_grant_it(region: DomainRegion) -> None:
    nothing = CompartmentId("")
    service = Caller(Principal(PrincipalId("mysql_dp_auth"), "service", "mysql_dp_auth", TenancyId(""), nothing), "r")
    everywhere = (CompartmentId(region.tenancy),)
    target = Target("authentication", region.tenancy, "sign-in", region.tenancy, everywhere)
    assert not region.guard.may(service, "AUTHENTICATION_INSPECT", target)
    policy = region.allow(
        "ALLOW service mysql_dp_auth TO {AUTHENTICATION_INSPECT, GROUP_MEMBERSHIP_INSPECT} IN TENANCY"
    )
    assert region.guard.may(service, "AUTHENTICATION_INSPECT", target)
    assert not region.guard.may(service, "DYNAMIC_GROUP_INSPECT", target)
    other = replace(service, principal=replace(service.principal, id=PrincipalId("backup"), name="backup"))
    assert not region.guard.may(other, "AUTHENTICATION_INSPECT", target)
    elsewhere = region.new_tenancy("globex").principal.tenancy
    foreign = replace(target, tenancy=elsewhere, path=(CompartmentId(elsewhere),))
    assert not region.guard.may(service, "AUTHENTICATION_INSPECT", foreign)
    region.iam.delete_policy(region.admin, policy.id)
    assert not region.guard.may(service, "AUTHENTICATION_INSPECT", target)


def test_only_the_group_made_with_the_tenancy_is_exempt_from_denials(region: DomainRegion) -> None:
    region.allow("Allow any-user to manage keys in tenancy", "Deny any-user to manage keys in tenancy")
    assert region.guard.may(region.admin, "KEY_READ", key_in(region))
    assert not region.guard.may(ann(region), "KEY_READ", key_in(region))
    impostor = region.user("eve", "Administrators2")
    assert not region.guard.may(impostor, "KEY_READ", key_in(region))


def test_dynamic_groups_and_named_networks_hold_from_the_next_request_on(region: DomainRegion) -> None:
    source = region.iam.create_network_source(region.admin, "office", ("192.0.2.0/24",))
    region.allow("Allow group Team to read keys in tenancy where request.networkSource.name = 'office'")
    here, there = (replace(ann(region), source=address) for address in ("192.0.2.9", "198.51.100.1"))
    assert region.guard.may(here, "KEY_READ", key_in(region))
    assert not region.guard.may(there, "KEY_READ", key_in(region))
    region.iam.update_network_source(region.admin, source.id, ("198.51.100.0/24",))
    assert region.guard.may(there, "KEY_READ", key_in(region)) and not region.guard.may(
        here, "KEY_READ", key_in(region)
    )
