"""Identity's service: sign-in, names, versions, pages, and what a bad request leaves as it was."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from tests.fakes.domain import PASSWORD, REGION, DomainRegion, PlainHasher
from tests.fakes.factors import proofs
from tests.refusals import refused

from keystead.audit.service import AuditLog
from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.model import Policy, Target
from keystead.iam.policy.check import check_statements, problems_of
from keystead.iam.service import Iam

ALL = PageRequest(1000)


def unchanged(region: DomainRegion, run: Callable[[], object]) -> Refusal:
    """A refusal that left everything as it was."""
    generation = region.snapshot.refresh()
    refusal = refused(run)
    assert region.snapshot.refresh() == generation
    return refusal


# sign-in

WRONG = {
    "password": ("acme", "admin", b"wrong"),
    "user": ("acme", "nobody", PASSWORD),
    "tenancy": ("globex", "admin", PASSWORD),
    "empty": ("", "", b""),
    "bytes": ("acme", "admin", b"\xff\x00"),
}


class Counting(PlainHasher):
    """Counts what it is asked; `meanwhile` happens while it looks at a password."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.asked = 0
        self.meanwhile = meanwhile

    def verify(self, encoded: str, password: Secret) -> bool:
        self.asked += 1
        found = encoded.encode() == b"plain:" + password.reveal()
        self.meanwhile()
        return found

    def decoy(self, password: Secret) -> bool:
        self.asked += 1
        return False


def iam_with(region: DomainRegion, hasher: PlainHasher) -> Iam:
    log = AuditLog(region.journal)
    given = (region.guard, region.snapshot.directory, region.store, region.tokens, hasher, log, region.clock, REGION)
    return Iam(*given, proofs())


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_sign_in_tells_not_what_was_wrong_and_costs_the_same(region: DomainRegion, what: str) -> None:
    tenancy, user, password = WRONG[what]
    hasher, before = Counting(), len(region.journal.entries)
    refusal = refused(lambda: iam_with(region, hasher).sign_in(tenancy, user, Secret(password), "192.0.2.1", "r"))
    assert (refusal.code, refusal.message) == ("NotAuthenticated", "tenancy, user or password is wrong")
    assert refusal.recorded
    assert hasher.asked == 1
    (entry,) = region.journal.entries[before:]
    assert (entry.operation, entry.outcome, entry.source) == ("SignIn", "refused", "192.0.2.1")


def test_a_sign_in_is_recorded_with_its_token_and_without_its_text(region: DomainRegion) -> None:
    issued = region.iam.sign_in("acme", "admin", Secret(PASSWORD), "192.0.2.1", "r")
    entry = region.journal.entries[-1]
    assert (entry.outcome, entry.detail["token_id"]) == ("allowed", issued.token_id)
    assert issued.token not in repr(region.journal.entries)
    assert PASSWORD.decode() not in repr(region.journal.entries)


def test_who_was_made_in_another_process_signs_in_here_at_once(region: DomainRegion) -> None:
    user, password = region.again().iam.create_user(region.admin, "ann")
    assert region.iam.sign_in("acme", "ann", password, "", "r").principal_id == user.id


@pytest.mark.parametrize("how", ["reset_password", "delete_user", "block"])
def test_a_password_taken_away_while_it_is_looked_at_opens_nothing(region: DomainRegion, how: str) -> None:
    """Argon2 takes its time: an administrator may be faster."""
    user, password = region.iam.create_user(region.admin, "ann")
    acts: dict[str, Callable[[], object]] = {
        "reset_password": lambda: region.iam.reset_password(region.admin, user.id),
        "delete_user": lambda: region.iam.delete_user(region.admin, user.id),
        "block": lambda: region.iam.update_user(region.admin, user.id, "BLOCKED"),
    }
    refused(lambda: iam_with(region, Counting(acts[how])).sign_in("acme", "ann", password, "", "r"))


def test_tokens_revoked_while_a_password_is_looked_at_include_the_one_that_follows(region: DomainRegion) -> None:
    user, password = region.iam.create_user(region.admin, "ann")

    def later() -> None:
        region.clock.advance(0.01)
        region.iam.revoke_user_tokens(region.admin, user.id)
        region.clock.advance(0.01)

    issued = iam_with(region, Counting(later)).sign_in("acme", "ann", password, "", "r")
    refused(lambda: region.iam.authenticate(issued.token, "", "r"))


def test_a_new_password_replaces_the_old_one(region: DomainRegion) -> None:
    user, old = region.iam.create_user(region.admin, "ann")
    new = region.iam.reset_password(region.admin, user.id)
    refused(lambda: region.iam.sign_in("acme", "ann", old, "", "r"))
    region.clock.advance(0.001)
    region.iam.sign_in("acme", "ann", new, "", "r")


def test_passwords_are_long_random_and_shown_by_nothing(region: DomainRegion) -> None:
    made = region.iam.create_user(region.admin, "ann")
    other = region.iam.create_user(region.admin, "bob")
    assert len(made[1]) == 20
    assert made[1] != other[1]
    assert made[1].reveal().decode() not in repr(made)


def test_a_blocked_user_comes_back_when_unblocked(region: DomainRegion) -> None:
    user, password = region.iam.create_user(region.admin, "ann")
    region.iam.update_user(region.admin, user.id, "BLOCKED")
    refused(lambda: region.iam.sign_in("acme", "ann", password, "", "r"))
    region.iam.update_user(region.admin, user.id, "ACTIVE")
    region.iam.sign_in("acme", "ann", password, "", "r")


def test_who_may_only_update_users_deletes_none(region: DomainRegion) -> None:
    """A state is no way around USER_DELETE."""
    user, _ = region.iam.create_user(region.admin, "ann")
    clerk = region.user("clerk", "Clerks")
    region.allow("Allow group Clerks to use users in tenancy")
    region.snapshot.refresh()
    region.iam.update_user(clerk, user.id, "BLOCKED")
    region.snapshot.refresh()
    assert unchanged(region, lambda: region.iam.update_user(clerk, user.id, "DELETED")).code == "InvalidParameter"
    assert unchanged(region, lambda: region.iam.delete_user(clerk, user.id)).kind == "denied"


# names

BAD_NAMES = ["", " ", "a b", "-a", ".a", "ä", "a/b", "a\n", "x" * 101, "a'b", "a\x00"]
MADE: dict[str, Callable[[DomainRegion, str], object]] = {
    "compartment": lambda r, name: r.iam.create_compartment(r.admin, r.tenancy, name),
    "user": lambda r, name: r.iam.create_user(r.admin, name),
    "group": lambda r, name: r.iam.create_group(r.admin, name),
    "policy": lambda r, name: r.iam.create_policy(
        r.admin, r.tenancy, name, ("Allow any-user to inspect keys in tenancy",)
    ),
    "vault": lambda r, name: r.vaults.create_vault(r.admin, r.tenancy, name),
}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused(region: DomainRegion, kind: str, name: str) -> None:
    assert unchanged(region, lambda: MADE[kind](region, name)).code == "InvalidName"


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("again", ["Prod", "prod", "PROD"])
def test_a_name_is_taken_once_whatever_its_case(region: DomainRegion, kind: str, again: str) -> None:
    """Policies compare names without case: a second `administrators` would be granted what the first one is."""
    MADE[kind](region, "Prod")
    refusal = unchanged(region, lambda: MADE[kind](region, again))
    assert (refusal.code, refusal.kind) == ("NameTaken", "conflict")


def test_no_second_group_of_administrators_by_another_spelling(region: DomainRegion) -> None:
    clerk = region.user("clerk", "Clerks")
    region.allow("Allow group Clerks to manage groups in tenancy")
    region.snapshot.refresh()
    assert unchanged(region, lambda: region.iam.create_group(clerk, "ADMINISTRATORS")).code == "NameTaken"


@pytest.mark.parametrize("kind", ["user", "group", "policy"])
def test_the_name_of_what_was_deleted_is_free_again(region: DomainRegion, kind: str) -> None:
    made = MADE[kind](region, "prod")
    thing = made[0] if isinstance(made, tuple) else made
    getattr(region.iam, f"delete_{kind}")(region.admin, thing.id)  # type: ignore[attr-defined]
    MADE[kind](region, "prod")


def test_two_compartments_may_hold_the_same_names(region: DomainRegion) -> None:
    one = region.iam.create_compartment(region.admin, region.tenancy, "one")
    region.snapshot.refresh()
    two = region.iam.create_compartment(region.admin, one.id, "two")
    region.snapshot.refresh()
    region.iam.create_compartment(region.admin, two.id, "one")
    region.vaults.create_vault(region.admin, one.id, "v")
    region.vaults.create_vault(region.admin, region.tenancy, "v")


def test_nobody_moves_what_a_denial_means_by_making_a_compartment(region: DomainRegion) -> None:
    """A policy attached to a compartment may call it by its name, which a child of that name would take over."""
    one = region.iam.create_compartment(region.admin, region.tenancy, "One")
    region.snapshot.refresh()
    for name in ("One", "oNE"):
        refusal = unchanged(region, lambda name=name: region.iam.create_compartment(region.admin, one.id, name))  # type: ignore[misc]
        assert refusal.code == "InvalidName"
    nobody = region.user("nobody")
    region.snapshot.refresh()
    told = [refused(lambda name=name: region.iam.create_compartment(nobody, one.id, name)) for name in ("One", "x")]  # type: ignore[misc]
    assert told[0].code == told[1].code == "NotFound", "who may make none is not told what it is called"


def test_two_tenancies_may_use_the_same_names(region: DomainRegion) -> None:
    other = region.new_tenancy("globex")
    region.iam.create_user(region.admin, "ann")
    region.iam.create_user(other, "ann")
    assert [each.name for each in region.iam.list_users(other, ALL).items] == ["admin", "ann"]


@pytest.mark.parametrize("text", ["x" * 401, "two\nlines", "\x1b[31m"])
def test_a_bad_description_is_refused(region: DomainRegion, text: str) -> None:
    for make in (
        lambda: region.iam.create_compartment(region.admin, region.tenancy, "a", text),
        lambda: region.iam.create_user(region.admin, "a", text),
        lambda: region.iam.create_group(region.admin, "a", text),
        lambda: region.iam.create_policy(
            region.admin, region.tenancy, "a", ("Allow any-user to inspect keys in tenancy",), text
        ),
    ):
        assert unchanged(region, make).code == "InvalidParameter"


# ids and versions


@pytest.mark.parametrize("bad", ["", "x", "ks1.user.main.home", "'; drop table users", "ks1.key.main.home." + "a" * 32])
def test_a_malformed_id_is_refused(region: DomainRegion, bad: str) -> None:
    for run in (
        lambda: region.iam.get_user(region.admin, bad),
        lambda: region.iam.get_group(region.admin, bad),
        lambda: region.iam.get_policy(region.admin, bad),
        lambda: region.vaults.get_vault(region.admin, bad),
        lambda: region.databases.get_system(region.admin, bad),
        lambda: region.databases.get_backup(region.admin, bad),
        lambda: region.jobs.get_job(region.admin, bad),
    ):
        assert unchanged(region, run).code == "InvalidId"


def test_a_stale_version_changes_nothing(region: DomainRegion) -> None:
    admin, iam = region.admin, region.iam
    user, _ = iam.create_user(admin, "ann")
    group = iam.create_group(admin, "g")
    policy = region.allow("Allow any-user to inspect keys in tenancy")
    statements = ("Allow any-user to read keys in tenancy",)
    for run in (
        lambda: iam.update_user(admin, user.id, "BLOCKED", 2),
        lambda: iam.delete_user(admin, user.id, 0),
        lambda: iam.delete_group(admin, group.id, 2),
        lambda: iam.update_policy(admin, policy.id, statements, 2),
        lambda: iam.delete_policy(admin, policy.id, 2),
    ):
        refusal = unchanged(region, run)
        assert (refusal.code, refusal.kind) == ("Stale", "stale")


def test_each_change_has_the_next_version(region: DomainRegion) -> None:
    user, _ = region.iam.create_user(region.admin, "ann")
    blocked = region.iam.update_user(region.admin, user.id, "BLOCKED", 1)
    assert (user.version, blocked.version) == (1, 2)
    assert region.iam.get_user(region.admin, user.id) == blocked
    policy = region.allow("Allow any-user to inspect keys in tenancy")
    changed = region.iam.update_policy(region.admin, policy.id, ("Allow any-user to read keys in tenancy",), 1)
    assert region.iam.get_policy(region.admin, policy.id) == changed
    assert changed.version == 2


# groups and policies


def test_members_are_listed_and_removed(region: DomainRegion) -> None:
    ann, bob = region.user("ann", "Team"), region.user("bob", "Team")
    group = region.iam.list_groups(region.admin, ALL, "team").items[0]
    region.iam.add_member(region.admin, group.id, ann.principal.id)  # again: no harm
    assert [found.user.name for found in region.iam.list_members(region.admin, group.id, ALL).items] == ["ann", "bob"]
    region.iam.remove_member(region.admin, group.id, ann.principal.id)
    region.iam.remove_member(region.admin, group.id, ann.principal.id)
    region.iam.delete_user(region.admin, bob.principal.id)
    assert region.iam.list_members(region.admin, group.id, ALL).items == []


def test_a_group_of_one_tenancy_takes_no_user_of_another(region: DomainRegion) -> None:
    stranger = region.new_tenancy("globex")
    group = region.iam.create_group(region.admin, "g")
    assert (
        unchanged(region, lambda: region.iam.add_member(region.admin, group.id, stranger.principal.id)).kind
        == "not_found"
    )


@pytest.mark.parametrize(
    "statements", [(), ("nonsense",), ("Allow group Nobody to use keys in tenancy", "Allow"), ("Allow any-user",) * 51]
)
def test_a_policy_that_does_not_read_changes_nothing(region: DomainRegion, statements: tuple[str, ...]) -> None:
    policy = region.allow("Allow any-user to inspect keys in tenancy")
    for run in (
        lambda: region.iam.create_policy(region.admin, region.tenancy, "new", statements),
        lambda: region.iam.update_policy(region.admin, policy.id, statements),
    ):
        refusal = unchanged(region, run)
        assert refusal.kind == "bad_request"
    assert region.iam.get_policy(region.admin, policy.id) == policy


OLD = (
    "Admit group Auditors of tenancy Partner to inspect keys in tenancy",
    "Allow group Dba to use keys in tenancy where request.utc-timestamp.day-of-month = '01'",
)
"""What was stored by a version that asked less of statements."""
NEW = "Allow any-user to read keys in tenancy"


def stored_before(region: DomainRegion, *statements: str) -> Policy:
    policy = region.allow("Allow any-user to inspect keys in tenancy")
    old = replace(policy, statements=statements, version=2)
    target = Target("policies", policy.id, policy.name, policy.tenancy, (CompartmentId(policy.tenancy),))
    with region.store.write(region.guard.entry(region.admin, "", target, "Test", "allowed")) as tx:
        assert tx.iam.set_policy(old, 1)
    region.snapshot.refresh()
    return old


def test_statements_that_stand_there_stay_also_when_they_would_be_refused_today(region: DomainRegion) -> None:
    policy = stored_before(region, "Allow any-user to inspect keys in tenancy", *OLD)
    for each in OLD:
        assert unchanged(region, partial(check_statements, (each,))).kind == "bad_request"
    changed = region.iam.update_policy(region.admin, policy.id, (NEW, *OLD))
    assert changed.statements == (NEW, *OLD)
    assert region.entries()[-1].detail["kept_as_they_were"] == "2, 3"
    assert set(problems_of(changed.statements, at_root=True)) == set(OLD)
    region.insight.simulate(region.admin, region.tenancy, OLD, policy.id)
    left = region.iam.update_policy(region.admin, policy.id, (OLD[1],))
    for now in ((OLD[1].replace("Dba", "Dbas"), OLD[1]), (OLD[1], "nonsense"), OLD):
        refusal = unchanged(region, partial(region.iam.update_policy, region.admin, policy.id, now))
        assert refusal.kind == "bad_request"
    assert region.iam.get_policy(region.admin, policy.id) == left


def test_what_a_change_itself_breaks_is_not_kept(region: DomainRegion) -> None:
    define = "Define tenancy Partner as ocid1.tenancy.oc1..aaaa"
    group = "Define group Auditors as ocid1.group.oc1..aaaa"
    policy = stored_before(region, define, group, OLD[0])
    refusal = unchanged(region, lambda: region.iam.update_policy(region.admin, policy.id, (group, OLD[0])))
    assert refusal.code == "NotDefined"


# lists


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_pages_together_are_the_list(region: DomainRegion, limit: int) -> None:
    for number in range(4):
        region.iam.create_group(region.admin, f"g{number}")
    names, cursor = [], None
    while True:
        page = region.iam.list_groups(region.admin, PageRequest.of(limit, cursor))
        assert len(page.items) <= limit
        names += [group.name for group in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert names == ["Administrators", "g0", "g1", "g2", "g3"]


def test_lists_show_the_compartment_asked_for_and_no_other(region: DomainRegion) -> None:
    one = region.iam.create_compartment(region.admin, region.tenancy, "one")
    region.snapshot.refresh()
    inner = region.iam.create_compartment(region.admin, one.id, "inner")
    region.iam.create_policy(region.admin, one.id, "p", (f"Allow any-user to inspect keys in compartment id {one.id}",))
    region.snapshot.refresh()
    assert region.iam.list_compartments(region.admin, region.tenancy, ALL).items == [one]
    assert region.iam.list_compartments(region.admin, one.id, ALL).items == [inner]
    assert [each.name for each in region.iam.list_policies(region.admin, one.id, ALL).items] == ["p"]
    assert region.iam.list_policies(region.admin, inner.id, ALL).items == []
    assert inner.path == (region.tenancy, one.id, inner.id)


def test_a_deleted_thing_is_as_if_it_had_never_been(region: DomainRegion) -> None:
    group = region.iam.create_group(region.admin, "g")
    region.iam.delete_group(region.admin, group.id)
    gone = refused(lambda: region.iam.get_group(region.admin, group.id))
    never = refused(lambda: region.iam.get_group(region.admin, new_id("group", REGION)))
    assert (gone.code, gone.message, gone.hint) == (never.code, never.message, never.hint)
    assert refused(lambda: region.iam.delete_group(region.admin, group.id)).kind == "not_found"


def test_signing_out_names_the_token(region: DomainRegion) -> None:
    caller = replace(region.admin, token_id=new_id("token", REGION))
    region.iam.sign_out(caller)
    entry = region.entries()[-len(region.journal.entries) - 1]
    assert (entry.operation, entry.token_id) == ("SignOut", caller.token_id)
