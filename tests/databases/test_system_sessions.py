"""A system's own session tokens: for its machine alone, bound, short, and over with what they rest upon."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from tests.fakes.calls import Things
from tests.fakes.domain import REGION, DomainRegion
from tests.refusals import refused

from keystead.core.ids import MachineId, new_id
from keystead.core.page import PageRequest
from keystead.crypto.proofkey import PublicJwk
from keystead.crypto.sign import SigningKey
from keystead.databases.desk import Report
from keystead.iam.model import Caller, IssuedToken, Target

PAGE = PageRequest(50)
PEM = SigningKey(bytes([7] * 32)).public.pem().decode()


def proved(key: PublicJwk) -> bool:
    return key == PublicJwk.from_pem(PEM)


def issue(region: DomainRegion, system: str, pem: str = PEM) -> IssuedToken:
    return region.logins.issue_session(region.host(), system, pem)


def enter(region: DomainRegion, issued: IssuedToken) -> Caller:
    return region.iam.authenticate(issued.token, "192.0.2.1", "r", proved)


def test_it_stands_for_the_system_with_its_key_and_for_half_an_hour(region: DomainRegion, things: Things) -> None:
    issued = issue(region, things.system)
    caller = enter(region, issued)
    assert (caller.principal.id, caller.principal.type) == (things.system, "mysqldbsystem")
    assert (caller.factors, caller.key_bound, issued.session) == ({"resource"}, True, "")
    assert issued.expires_at == region.clock.now() + timedelta(minutes=30)
    assert refused(lambda: region.iam.authenticate(issued.token, "192.0.2.1", "r")).code == "NotAuthenticated"
    region.clock.advance(timedelta(minutes=30).total_seconds())
    assert refused(lambda: enter(region, issued)).code == "NotAuthenticated"


def test_it_is_the_act_of_the_system_in_the_log(region: DomainRegion, things: Things) -> None:
    issued = issue(region, things.system)
    entry = region.entries()[-1]
    assert (entry.operation, entry.principal_id, entry.outcome) == ("IssueSystemSession", things.system, "allowed")
    assert entry.detail["token_id"] == issued.token_id


def test_what_it_may_do_is_what_statements_grant_now(region: DomainRegion, things: Things) -> None:
    caller = enter(region, issue(region, things.system))
    assert refused(lambda: region.iam.list_groups(caller, PAGE)).code == "NotAuthorized"
    root = region.admin
    group = region.iam.create_dynamic_group(root, "Systems", f"ANY {{resource.id = '{things.system}'}}")
    statement = "Allow dynamic-group Systems to inspect groups in tenancy where request.token.bound = 'true'"
    region.iam.create_policy(root, region.tenancy, "systems", (statement,))
    region.iam.list_groups(caller, PAGE)
    region.iam.delete_dynamic_group(root, group.id)
    assert refused(lambda: region.iam.list_groups(caller, PAGE)).code == "NotAuthorized"


@pytest.mark.parametrize("end", ["revoke", "delete identity", "delete and restore identity"])
def test_it_ends_at_once(region: DomainRegion, things: Things, end: str) -> None:
    issued, root = issue(region, things.system), region.admin
    enter(region, issued)
    if end == "revoke":
        region.databases.revoke_tokens(root, things.system)
    else:
        region.databases.delete_identity(root, things.system)
        if end != "delete identity":
            region.databases.restore_identity(root, things.system)
    assert refused(lambda: enter(region, issued)).code == "NotAuthenticated"
    if end == "delete identity":
        assert refused(lambda: issue(region, things.system)).code == "IdentityDeleted"
    else:
        region.clock.advance(1)
        enter(region, issue(region, things.system))


def test_it_holds_while_the_system_may_use_its_key(region: DomainRegion, things: Things) -> None:
    issued, again = issue(region, things.system), region.again()
    enter(region, issued)
    region.vaults.disable(region.admin, things.key)
    for process in (region, again):  # at once, before its machine has heard of it
        assert refused(lambda process=process: enter(process, issued)).code == "NotAuthenticated"  # type: ignore[misc]
    region.vaults.enable(region.admin, things.key)
    enter(region, issued)  # nothing was fenced
    with region.store.write(region.guard.entry(region.admin, "", root_of(region), "Test", "allowed")) as tx:
        system = tx.databases.system(region.tenancy, things.system)
        assert system is not None
        tx.databases.change(system, replace(system, confirmed=False))
    assert refused(lambda: enter(region, issued)).code == "NotAuthenticated"


def test_what_it_had_before_a_fence_is_void_for_good(region: DomainRegion, things: Things) -> None:
    issued = issue(region, things.system)
    entitled = region.iam.exchange_token(enter(region, issued), "databases", public_key=PEM)
    region.clock.advance(1)
    region.desk.report(region.host(), Report(things.system, "fenced", "vault_unreachable", "no answer"))
    assert refused(lambda: enter(region, issued)).code == "NotAuthenticated"
    at_a_database = partial(region.iam.authenticate_for_databases, entitled.token, "192.0.2.1", "r", proved)
    assert refused(at_a_database).code == "NotAuthenticated"
    region.desk.report(region.host(), Report(things.system, "running"))
    assert refused(lambda: enter(region, issued)).code == "NotAuthenticated"
    region.clock.advance(1)
    enter(region, issue(region, things.system))


def root_of(region: DomainRegion) -> Target:
    return Target("tenancies", region.tenancy, "tenancy", region.tenancy, ())


def test_another_machine_gets_none(region: DomainRegion, things: Things) -> None:
    with region.store.note() as tx:
        system = tx.databases.system(region.tenancy, things.system)
        assert system is not None
        tx.databases.change(system, replace(system, machine=MachineId(new_id("machine", REGION))))
    assert refused(lambda: issue(region, things.system)).code == "NotFound"


def test_nobody_but_a_machine_gets_one(region: DomainRegion, things: Things) -> None:
    admin, iam = region.admin, region.iam
    assert refused(lambda: region.logins.issue_session(admin, things.system, PEM)).code == "NotFound"
    assert refused(lambda: iam.issue_for_resource(admin, things.system, PEM)).code == "IdentityDeleted"
    assert refused(lambda: iam.issue_for_resource(region.host(), admin.principal.id, PEM)).code == "IdentityDeleted"


def test_a_system_gets_database_tokens_that_end_with_its_own(region: DomainRegion, things: Things) -> None:
    issued = issue(region, things.system)
    caller = enter(region, issued)
    region.clock.advance(600)
    for audience in ("databases", "api"):
        got = region.iam.exchange_token(caller, audience, public_key=PEM)  # type: ignore[arg-type]  # each is one
        assert got.expires_at == issued.expires_at
    assert refused(lambda: region.iam.refresh_token(caller)).code == "NotRefreshable"
