"""Sessions: refreshed with their key alone, ended at once in every process, exchanged without outliving themselves."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region, open_region

from keystead.core.errors import Refusal
from keystead.core.page import PageRequest
from keystead.crypto.proofkey import PublicJwk
from keystead.crypto.sign import SigningKey
from keystead.iam.model import Caller, IssuedToken

PAGE = PageRequest(50)
KEY = SigningKey(bytes([7] * 32)).public


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


def holds(_key: PublicJwk) -> bool:
    return True


def enter(region: DomainRegion, issued: IssuedToken) -> Caller:
    return region.iam.authenticate(issued.token, "192.0.2.1", "r", holds if issued.key_bound else None)


def issued_to(region: DomainRegion, name: str) -> IssuedToken:
    """As signing in with a password ends."""
    who = region.user(name).principal
    return region.tokens.issue(who, factors=("password",), source="192.0.2.1")


def signed_in(region: DomainRegion, name: str = "ann") -> Caller:
    """With a token that is bound to KEY."""
    bearer = enter(region, issued_to(region, name))
    return enter(region, region.iam.exchange_token(bearer, public_key=KEY.pem().decode()))


def code_of(run: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as caught:
        run()
    return caught.value.code


def test_binding_a_bearer_token_replaces_it(region: DomainRegion) -> None:
    first = issued_to(region, "ann")
    bearer = enter(region, first)
    assert bearer.factors == {"password"} and not bearer.key_bound
    bound = region.iam.exchange_token(bearer, public_key=KEY.pem().decode())
    assert code_of(lambda: enter(region, first)) == "NotAuthenticated"
    caller = enter(region, bound)
    assert caller.key_bound and caller.session == bearer.session and caller.factors == {"password"}
    (listed,) = region.iam.list_sessions(caller, PAGE).items
    assert (listed.id, listed.source, listed.factors) == (caller.session, "192.0.2.1", ("password",))


def test_only_a_key_refreshes_and_for_a_day_at_most(region: DomainRegion) -> None:
    bearer = enter(region, issued_to(region, "bob"))
    assert code_of(lambda: region.iam.refresh_token(bearer)) == "NotRefreshable"
    caller = signed_in(region)
    for _ in range(27):
        region.clock.advance(3000)
        caller = enter(region, region.iam.refresh_token(caller))
    region.clock.advance(3000)
    last = region.iam.refresh_token(caller)
    assert last.expires_at is not None
    assert last.expires_at - region.clock.now() == timedelta(hours=24, seconds=-28 * 3000)
    assert last.key_bound
    region.clock.advance(2390)
    caller = enter(region, last)
    region.clock.advance(5)
    assert region.clock.now() < last.expires_at
    region.clock.advance(10)
    assert code_of(lambda: region.iam.refresh_token(caller)) == "NotAuthenticated"


def test_what_a_bearer_token_is_exchanged_for_ends_with_it(region: DomainRegion) -> None:
    first = issued_to(region, "ann")
    region.clock.advance(3000)
    made = region.iam.exchange_token(enter(region, first), "databases")
    assert made.expires_at is not None and first.expires_at is not None
    assert made.expires_at <= first.expires_at
    assert code_of(lambda: enter(region, made)) == "NotAuthenticated", "a token for databases is none for the API"
    caller = region.iam.authenticate_for_databases(made.token, "192.0.2.1", "r")
    assert caller.principal.name == "ann"
    assert code_of(lambda: region.iam.authenticate_for_databases(first.token, "", "")) == "NotAuthenticated"


def test_a_bound_token_for_databases_wants_its_key(region: DomainRegion) -> None:
    made = region.iam.exchange_token(signed_in(region), "databases", KEY.pem().decode())
    ask = region.iam.authenticate_for_databases
    assert code_of(lambda: ask(made.token, "", "")) == "NotAuthenticated"
    assert code_of(lambda: ask(made.token, "", "", lambda _: False)) == "NotAuthenticated"
    assert ask(made.token, "", "", holds).key_bound
    assert not ask(made.token, "", "", bare=True).key_bound


@pytest.mark.parametrize("how", ["end", "sign out", "revoke", "block", "password"])
def test_an_ended_session_is_over_in_every_process_at_once(region: DomainRegion, how: str) -> None:
    caller = signed_in(region)
    tokens = [region.iam.exchange_token(caller, "databases"), region.iam.refresh_token(caller)]
    there = open_region(region.path.parent, region.clock, region.machine, region.tenancy, region.admin)
    database = lambda: there.iam.authenticate_for_databases(tokens[0].token, "", "")  # noqa: E731
    database()
    enter(there, tokens[1])
    match how:
        case "end":
            region.iam.end_session(caller, caller.session)
        case "sign out":
            region.iam.sign_out(caller)
        case "revoke":
            region.iam.revoke_user_tokens(region.admin, caller.principal.id)
        case "block":
            region.iam.update_user(region.admin, caller.principal.id, "BLOCKED")
        case _:
            region.iam.reset_password(region.admin, caller.principal.id)
    assert code_of(database) == "NotAuthenticated"
    assert code_of(lambda: enter(there, tokens[1])) == "NotAuthenticated"
    if how != "block":
        assert code_of(lambda: region.iam.refresh_token(caller)) == "NotAuthenticated"


def test_a_session_is_ended_by_whose_it_is(region: DomainRegion) -> None:
    ann, bob = signed_in(region), signed_in(region, "bob")
    assert code_of(lambda: region.iam.end_session(bob, ann.session)) == "NotFound"
    assert [each.id for each in region.iam.list_sessions(bob, PAGE).items] == [bob.session]
    region.iam.end_session(ann, ann.session)
    assert not region.iam.list_sessions(ann, PAGE).items
    assert code_of(lambda: region.iam.end_session(ann, ann.session)) == "NotFound"


def test_an_api_key_stands_for_its_user_until_it_is_deleted(region: DomainRegion) -> None:
    ann = region.user("ann")
    made = region.iam.create_api_key(region.admin, ann.principal.id, "app", KEY.pem().decode())
    key_id = f"{made.tenancy}/{made.user}/{made.fingerprint}"
    there = open_region(region.path.parent, region.clock, region.machine, region.tenancy, region.admin)
    app = there.iam.authenticate_by_key(key_id, "192.0.2.1", "r", holds)
    assert (app.principal.name, app.factors, app.key_bound) == ("ann", {"apikey"}, True)
    made_of_it = there.iam.exchange_token(app, "databases")
    assert region.iam.authenticate_for_databases(made_of_it.token, "", "").factors == {"apikey"}
    assert code_of(lambda: there.iam.authenticate_by_key(key_id, "", "", lambda _: False)) == "NotAuthenticated"
    region.iam.delete_api_key(region.admin, ann.principal.id, made.id)
    assert code_of(lambda: there.iam.authenticate_by_key(key_id, "", "", holds)) == "NotAuthenticated"
    assert code_of(lambda: there.iam.authenticate_for_databases(made_of_it.token, "", "")) == "NotAuthenticated"


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----", "{}"])
def test_what_is_no_public_key_is_refused(region: DomainRegion, text: str) -> None:
    ann = region.user("ann")
    assert code_of(lambda: region.iam.create_api_key(region.admin, ann.principal.id, "k", text)) == "InvalidKey"


def test_exchanging_again_and_again_ends_with_the_sessions_24_hours(region: DomainRegion) -> None:
    caller, pem = signed_in(region), KEY.pem().decode()
    for _ in range(28):
        region.clock.advance(3000)
        caller = enter(region, region.iam.exchange_token(caller, public_key=pem))
    assert caller.expires_at is not None
    assert caller.expires_at - region.clock.now() == timedelta(hours=24, seconds=-28 * 3000)
    region.clock.advance(timedelta(hours=24, seconds=-28 * 3000).total_seconds())
    assert code_of(lambda: region.iam.exchange_token(caller, public_key=pem)) == "NotAuthenticated"
