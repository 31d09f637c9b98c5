"""Signing in by way of an identity provider: who is let in as whom, into which groups, and what never works."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.fakes.domain import DomainRegion, make_region
from tests.fakes.oidc import ISSUER, FakeProvider

from keystead.core.errors import Refusal
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.federation.login import Came, s256
from keystead.iam.federation.model import GroupMapping, IdentityProvider, mapped
from keystead.iam.federation.service import ProviderSettings, origin_of
from keystead.iam.model import Group

VERIFIER = "v" * 43
HERE = "http://127.0.0.1:4711/back"
PAGE = PageRequest(100)


class Place:
    """A region with one provider, and a person in front of a browser."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.region: DomainRegion = make_region(directory)
        self.federation = self.region.federation
        self.outside: FakeProvider = self.federation._outside  # type: ignore[assignment]
        given = ProviderSettings(client_id="keystead", client_secret=Secret(b"shared"), just_in_time=True)
        self.provider = self.federation.create_identity_provider(
            self.region.admin, "okta", ISSUER, replace(given, **settings)
        )

    def change(self, **settings: Any) -> IdentityProvider:
        return self.federation.update_identity_provider(
            self.region.admin, self.provider.id, ProviderSettings(**settings)
        )

    def start(self, tenancy: str = "acme", provider: str = "okta") -> str:
        return self.federation.start(
            tenancy, provider, HERE, s256(VERIFIER), "mine", "192.0.2.1", "r"
        ).authorization_url

    def back(self, brought: dict[str, str], provider: str = "") -> dict[str, str]:
        came = Came(brought["state"], brought.get("code", ""), brought.get("iss", ""), brought.get("error", ""))
        to = self.federation.come_back(provider or self.provider.id, came, "192.0.2.1", "r")
        assert to.startswith(HERE + "?")
        return {name: values[0] for name, values in parse_qs(urlsplit(to).query).items()}

    def sign_in(self, subject: str = "s-1", **claims: Any) -> Any:
        said = self.back(self.outside.approve(self.start(), subject, **claims))
        assert "error" not in said, self.why()
        assert said["state"] == "mine"
        issued = self.federation.finish(said["code"], VERIFIER, "192.0.2.1", "r")
        return self.region.tokens.authenticate(issued.token, "192.0.2.1", "r")

    def refused(self, **claims: Any) -> str:
        said = self.back(self.outside.approve(self.start(), **claims))
        assert set(said) == {"error", "state"}
        return self.why()

    def why(self) -> str:
        return self.region.journal.entries[-1].reason

    def group(self, name: str) -> Any:
        return self.region.iam.create_group(self.region.admin, name)

    def groups(self, caller: Any) -> set[str]:
        held = self.region.guard._directory.groups_of(caller.principal.id)
        self.region.snapshot.refresh()
        held = self.region.guard._directory.groups_of(caller.principal.id)
        return {found.name for found in self.region.iam.list_groups(self.region.admin, PAGE).items if found.id in held}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def denied(call: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call()
    assert caught.value.kind == "unauthenticated"
    return caught.value


def test_a_person_signs_in_and_is_the_same_next_time(place: Place) -> None:
    first, second = place.sign_in(), place.sign_in()
    assert first.principal.id == second.principal.id and first.principal.name == "ada"
    assert first.factors == {"federated"} and first.session != second.session
    entry = [found for found in place.region.entries() if found.operation == "FinishFederatedSignIn"][-1]
    assert entry.detail["identity_provider"] == "okta" and entry.detail["token_id"]


def test_factors_count_only_where_the_provider_is_trusted_with_them(place: Place) -> None:
    assert place.sign_in(amr=["pwd", "otp"]).factors == {"federated"}
    place.change(trusts_factors=True)
    assert place.sign_in(amr=["pwd", "otp", "hwk"]).factors == {"federated", "totp", "webauthn"}


def test_groups_follow_the_provider_at_each_sign_in_and_local_ones_stay(place: Place) -> None:
    dba, dev, local = place.group("Dba"), place.group("Dev"), place.group("Local")
    long = "cn=" + "d" * 500 + ",ou=groups"
    place.change(mappings=(GroupMapping(long, dba.id), GroupMapping("dev", dev.id), GroupMapping("local", local.id)))
    ada = place.sign_in(groups=[long, "dev", "unknown"])
    assert place.groups(ada) == {"Dba", "Dev"}
    place.region.iam.add_member(place.region.admin, local.id, ada.principal.id)
    assert place.groups(place.sign_in(groups=["dev", "local"])) == {"Dev", "Local"}
    assert place.groups(place.sign_in(groups=[])) == {"Local"}, "what was given here is not the provider's to take"
    place.sign_in(groups=["dev"])
    place.region.iam.add_member(place.region.admin, dev.id, ada.principal.id)
    assert place.groups(place.sign_in(groups=[])) == {"Local", "Dev"}, "it was made ours in between"


def test_groups_that_the_token_does_not_name_come_from_the_user_info(place: Place) -> None:
    dba = place.group("Dba")
    place.change(mappings=(GroupMapping("dba", dba.id),))
    place.outside.info = {"sub": "s-1", "groups": ["dba"]}
    assert place.groups(place.sign_in()) == {"Dba"}
    place.outside.info = {"sub": "somebody else", "groups": ["dba"]}
    assert "somebody else" in place.refused()


def test_precedence() -> None:
    mappings = (GroupMapping("a", "one", 20), GroupMapping("b", "two", 10), GroupMapping("b", "three", 10))  # type: ignore[arg-type]
    assert mapped(mappings, {"a", "b"}, "all") == {"one", "two", "three"}
    assert mapped(mappings, {"a", "b"}, "first") == {"two", "three"}
    assert mapped(mappings, {"a", "A", "c"}, "first") == {"one"}
    assert mapped(mappings, {"c"}, "first") == frozenset()


def test_claims_may_have_other_names_and_lie_within_objects(place: Place) -> None:
    dba = place.group("Dba")
    place.change(
        mappings=(GroupMapping("dba", dba.id),), groups_claim="realm_access.roles", name_claim="https://x.example/nick"
    )
    caller = place.sign_in(**{"realm_access": {"roles": ["dba"]}, "https://x.example/nick": "grace"})
    assert (caller.principal.name, place.groups(caller)) == ("grace", {"Dba"})


def test_nobody_is_linked_by_name_or_mail(place: Place) -> None:
    victim, _ = place.region.iam.create_user(place.region.admin, "victim@corp.example")
    claims = {"preferred_username": "victim@corp.example", "email": "victim@corp.example", "email_verified": True}
    assert "not linked" in place.refused(**claims)
    place.federation.link_federated_user(place.region.admin, place.provider.id, victim.id, "s-1")
    assert place.sign_in(**claims).principal.id == victim.id
    with pytest.raises(Refusal, match="linked already"):
        other, _ = place.region.iam.create_user(place.region.admin, "other")
        place.federation.link_federated_user(place.region.admin, place.provider.id, other.id, "s-1")


def test_only_those_who_are_linked_where_no_users_are_made(tmp_path: Path) -> None:
    place = Place(tmp_path, just_in_time=False)
    assert "nobody here is linked" in place.refused()


def test_a_blocked_user_stays_out(place: Place) -> None:
    ada = place.sign_in()
    place.region.iam.update_user(place.region.admin, ada.principal.id, "BLOCKED")
    assert "blocked" in place.refused()


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["keystead", "another"]},
        {"aud": ["keystead", "another"], "azp": "another"},
        {"azp": "another"},
        {"exp": 0},
        {"exp": None},
        {"exp": True},
        {"exp": float("nan")},
        {"nbf": float("nan")},
        {"iat": 0},
        {"iat": None},
        {"nbf": 99999999999},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"at_hash": "of another access token"},
        {"sub": ""},
        {"sub": None},
        {"preferred_username": None},
        {"preferred_username": "../../etc"},
    ],
)
def test_claims_that_do_not_hold(place: Place, claims: dict[str, Any]) -> None:
    assert place.refused(**claims)
    assert not [found for found in place.region.entries() if found.operation == "FinishFederatedSignIn"]


def test_several_audiences_are_fine_when_it_was_made_for_us(place: Place) -> None:
    assert place.sign_in(aud=["keystead", "another"], azp="keystead", at_hash="digest")


def test_a_token_of_one_sign_in_is_none_for_another(place: Place) -> None:
    """Mix-up: the code of one goes with the state of another."""
    mine, other = place.outside.approve(place.start()), place.outside.approve(place.start())
    assert place.back({"state": mine["state"], "code": other["code"]}).get("error") == "SignInRefused"
    assert "does not take the code" in place.why()


def test_a_state_is_good_once_for_its_provider_and_for_ten_minutes(place: Place) -> None:
    second = place.federation.create_identity_provider(
        place.region.admin, "second", ISSUER, ProviderSettings(client_id="keystead", just_in_time=True)
    )
    brought = place.outside.approve(place.start())
    denied(lambda: place.back(brought, second.id))
    assert place.back(brought)["code"]
    assert "used before" in denied(lambda: place.back(brought)).message
    old = place.outside.approve(place.start())
    place.region.clock.advance(601)
    assert "too long" in denied(lambda: place.back(old)).message
    for forged in ("", "x", old["state"][:-2] + "AA", old["state"] + "="):
        denied(lambda state=forged: place.back({"state": state, "code": "code-0"}))


def test_the_one_time_code_is_worth_nothing_without_the_verifier(place: Place) -> None:
    code = place.back(place.outside.approve(place.start()))["code"]
    denied(lambda: place.federation.finish(code, "w" * 43, "192.0.2.1", "r"))
    denied(lambda: place.federation.finish(code, VERIFIER, "192.0.2.1", "r"))  # and it was tried: it is gone
    code = place.back(place.outside.approve(place.start()))["code"]
    place.region.clock.advance(61)
    denied(lambda: place.federation.finish(code, VERIFIER, "192.0.2.1", "r"))
    denied(lambda: place.federation.finish("", VERIFIER, "192.0.2.1", "r"))


def test_what_happens_in_between_counts(place: Place) -> None:
    ada = place.sign_in()
    code = place.back(place.outside.approve(place.start()))["code"]
    place.region.iam.revoke_user_tokens(place.region.admin, ada.principal.id)
    denied(lambda: place.federation.finish(code, VERIFIER, "192.0.2.1", "r"))
    place.region.clock.advance(1)
    code = place.back(place.outside.approve(place.start()))["code"]
    place.change(state="DISABLED")
    denied(lambda: place.federation.finish(code, VERIFIER, "192.0.2.1", "r"))


@pytest.mark.parametrize("how", ["disable", "delete", "unlink"])
def test_what_a_provider_led_to_ends_with_it(place: Place, how: str) -> None:
    dba = place.group("Dba")
    place.change(mappings=(GroupMapping("dba", dba.id),))
    place.sign_in(groups=["dba"])
    said = place.back(place.outside.approve(place.start(), groups=["dba"]))
    issued = place.federation.finish(said["code"], VERIFIER, "192.0.2.1", "r")
    caller = place.region.tokens.authenticate(issued.token, "192.0.2.1", "r")
    if how == "disable":
        place.change(state="DISABLED")
        denied(place.start)
    elif how == "delete":
        place.federation.delete_identity_provider(place.region.admin, place.provider.id)
    else:
        place.federation.unlink_federated_user(place.region.admin, place.provider.id, caller.principal.id)
    denied(lambda: place.region.tokens.authenticate(issued.token, "192.0.2.1", "r"))
    assert place.groups(caller) == ({"Dba"} if how == "disable" else set())


def test_a_provider_that_names_itself_must_be_the_one(place: Place) -> None:
    brought = place.outside.approve(place.start())
    assert place.back(brought | {"iss": "https://evil.example"})["error"] == "SignInRefused"
    place.outside.says_issuer = True
    assert place.back(place.outside.approve(place.start()))["error"] == "SignInRefused"
    assert place.back(place.outside.approve(place.start()) | {"iss": ISSUER})["code"]


def test_a_provider_that_is_down(place: Place) -> None:
    brought = place.outside.approve(place.start())
    place.outside.down = True
    assert place.back(brought)["error"] == "ProviderUnavailable"
    with pytest.raises(Refusal) as caught:
        place.start()
    assert caught.value.kind == "unavailable"


def test_unknown_tenancies_and_providers_are_answered_alike(place: Place) -> None:
    seen = {denied(lambda t=t, p=p: place.start(t, p)).message for t, p in (("x", "okta"), ("acme", "x"))}
    place.change(state="DISABLED")
    assert seen == {denied(place.start).message}


def test_the_answer_goes_to_the_clients_own_machine_alone(place: Place) -> None:
    for elsewhere in ("https://evil.example/", "http://127.0.0.1.evil.example:80/", "http://127.0.0.1:80@evil/", "x"):
        with pytest.raises(Refusal, match="own machine"):
            place.federation.start("acme", "okta", elsewhere, s256(VERIFIER), "", "", "r")


def test_mapping_into_a_group_needs_the_right_to_change_it(place: Place) -> None:
    region = place.region
    sly = region.user("sly", "Federators")
    region.allow("Allow group Federators to manage identity-providers in tenancy")
    admins = region.iam.list_groups(region.admin, PAGE, "Administrators").items[0]
    with pytest.raises(Refusal):
        place.federation.update_identity_provider(
            sly, place.provider.id, ProviderSettings(mappings=(GroupMapping("x", admins.id),))
        )
    with pytest.raises(Refusal):
        place.federation.link_federated_user(sly, place.provider.id, region.admin.principal.id, "sly")


@pytest.mark.parametrize(
    "bad",
    [
        {"client_id": ""},
        {"scopes": ("profile",)},
        {"origins": ("https://x.example/path",)},
        {"groups_claim": "a b"},
        {"ca": "nonsense"},
        {"mappings": (GroupMapping("", "x"),)},
    ],
)
def test_settings_that_cannot_be(place: Place, bad: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        place.change(**bad)


def test_issuers() -> None:
    assert origin_of("https://id.example.com:8443/realms/a") == "https://id.example.com:8443"
    assert origin_of("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    for bad in ("http://id.example.com", "https://a@b/", "ftp://x", "https://x/?q=1", "https://x/#f", "https:///", "x"):
        assert origin_of(bad) is None


def test_the_clients_secret_is_nowhere_in_clear(place: Place) -> None:
    place.change(client_secret=Secret(b"a-very-shared-secret"))
    assert b"a-very-shared-secret" not in place.region.path.read_bytes()
    assert "a-very-shared-secret" not in str(place.region.entries())


def ruled(place: Place) -> tuple[Group, Any]:
    """Officers, mapped from `officers` before a rule made them approvers; two were added here."""
    region, officers = place.region, place.group("Officers")
    people = [region.user(name) for name in ("bob", "cy")]
    for person in people:
        region.iam.add_member(region.admin, officers.id, person.principal.id)
    place.change(mappings=(GroupMapping("officers", officers.id), GroupMapping("dev", place.group("Dev").id)))
    terms = RuleTerms(("destruction",), officers.id, 2)
    region.iam.create_approval_rule(region.admin, region.tenancy, "two", terms)
    region.snapshot.refresh()
    return officers, people


def test_a_provider_puts_nobody_among_approvers_however_early_it_was_mapped(place: Place) -> None:
    officers, _ = ruled(place)
    ada = place.sign_in(groups=["officers", "dev"])
    assert place.groups(ada) == {"Dev"}
    entry = [found for found in place.region.entries() if found.operation == "FederatedSignInCallback"][-1]
    assert entry.detail["groups_held_back"] == officers.id
    assert officers.id not in entry.detail["groups_added"]


def test_who_came_in_before_the_rule_stays_and_leaves_as_the_provider_says(place: Place) -> None:
    officers = place.group("Officers")
    place.change(mappings=(GroupMapping("officers", officers.id),))
    ada = place.sign_in(groups=["officers"])
    terms = RuleTerms(("destruction",), officers.id, 1)
    place.region.iam.create_approval_rule(place.region.admin, place.region.tenancy, "one", terms)
    assert place.groups(place.sign_in(groups=["officers"])) == {"Officers"}, "who made the rule saw them there"
    assert place.groups(place.sign_in(groups=[])) == set()
    assert place.groups(place.sign_in(groups=["officers"])) == set(), "and nobody comes back by themselves"
    assert ada.principal.name == "ada"


def test_linking_an_approver_to_a_subject_takes_the_others(place: Place) -> None:
    region, (_, people) = place.region, ruled(place)
    link = place.federation.link_federated_user
    with pytest.raises(Refusal) as caught:
        link(region.admin, place.provider.id, people[0].principal.id, "sly")
    assert caught.value.code == "ApprovalRequired"
    other = region.user("dora")
    assert link(region.admin, place.provider.id, other.principal.id, "s-9").user == other.principal.id
