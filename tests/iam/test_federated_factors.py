"""A second factor of ours after a provider's word: by group, by policy, by risk, and never instead of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.factors import code_at
from tests.iam.test_federation import VERIFIER, Place, denied

from keystead.core.errors import Refusal
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.factors.model import FactorRequired, SignInSettings
from keystead.iam.federation.model import GroupMapping
from keystead.iam.model import Caller, IssuedToken

pytestmark = pytest.mark.slow

HERE, ELSEWHERE = "192.0.2.1", "203.0.113.9"


class Person:
    """Somebody at a provider, with an app of ours."""

    def __init__(self, directory: Path) -> None:
        self.place = Place(directory)
        self.region, self.iam = self.place.region, self.place.region.iam
        ada = self.place.sign_in()
        self.id = ada.principal.id
        factor, self.uri = self.iam.enrol_totp(ada, "phone")
        self.iam.confirm_factor(ada, factor.id, self.code())
        self.region.clock.advance(60)

    def code(self) -> Secret:
        return code_at(self.uri, self.region.clock.now().timestamp())

    def arrive(self, source: str = HERE, device: str | None = None, **claims: object) -> IssuedToken:
        """From the provider's page to the token, or what is asked for instead of it."""
        said = self.place.back(self.place.outside.approve(self.place.start(), **claims))
        return self.place.federation.finish(said["code"], VERIFIER, source, "r", device)

    def asked(self, source: str = HERE, **claims: object) -> FactorRequired:
        with pytest.raises(FactorRequired) as caught:
            self.arrive(source, **claims)
        assert caught.value.recorded
        return caught.value

    def prove(self, challenge: str, device: str | None = None) -> IssuedToken:
        self.region.clock.advance(30)
        return self.iam.prove_factor(challenge, "totp", self.code(), HERE, "r", device)

    def caller(self, issued: IssuedToken, source: str = HERE) -> Caller:
        return self.iam.authenticate(issued.token, source, "r")


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value


def test_who_has_a_factor_here_is_asked_for_it_after_the_provider(person: Person) -> None:
    asked = person.asked()
    assert (asked.code, asked.factors) == ("FactorRequired", ("totp", "click"))
    caller = person.caller(person.prove(asked.challenge))
    assert (caller.principal.id, caller.factors) == (person.id, {"federated", "totp"})
    ours = [each for each in person.region.entries() if each.operation == "ProveFactor" and each.outcome == "allowed"]
    assert ours[-1].detail["factors"] == "federated totp"


def test_the_challenge_of_a_provider_is_worth_no_more_than_that_of_a_password(person: Person) -> None:
    asked = person.asked()
    wrong = refused(lambda: person.iam.prove_factor(asked.challenge, "totp", Secret(b"000000"), HERE, "r"))
    assert wrong.code == "FactorWrong"
    person.prove(asked.challenge)
    assert refused(lambda: person.prove(asked.challenge)).code == "ChallengeInvalid"
    late = person.asked()
    person.region.clock.advance(301)
    assert refused(lambda: person.prove(late.challenge)).code == "ChallengeInvalid"


@pytest.mark.parametrize("how", ["disable", "delete", "unlink"])
@pytest.mark.parametrize("when", ["before the factor", "after it"])
def test_it_ends_with_the_provider_before_the_factor_and_after(person: Person, how: str, when: str) -> None:
    place, admin = person.place, person.region.admin
    challenge = person.asked().challenge
    issued = person.prove(challenge) if when == "after it" else None
    if how == "disable":
        place.change(state="DISABLED")
    elif how == "delete":
        place.federation.delete_identity_provider(admin, place.provider.id)
    else:
        place.federation.unlink_federated_user(admin, place.provider.id, person.id)
    if issued is not None:
        denied(lambda: person.region.tokens.authenticate(issued.token, HERE, "r"))
    else:
        denied(lambda: person.prove(challenge))
        allowed = [each.operation for each in person.region.entries() if each.outcome == "allowed"]
        assert "ProveFactor" not in allowed


def test_a_factor_that_the_provider_is_trusted_with_is_enough(person: Person) -> None:
    person.asked(amr=["pwd", "otp"])
    person.place.change(trusts_factors=True)
    assert person.caller(person.arrive(amr=["pwd", "otp"])).factors == {"federated", "totp"}
    person.asked(amr=["pwd"])


def test_a_group_requires_it_of_those_who_come_by_way_of_a_provider(person: Person) -> None:
    """Also when the tenancy asks nobody by itself, and when the group is the provider's own doing, just now."""
    place, iam, admin = person.place, person.region.iam, person.region.admin
    iam.update_sign_in_settings(admin, SignInSettings("never", "never"))
    dba = place.group("Dba")
    place.change(mappings=(GroupMapping("dba", dba.id),))
    assert person.caller(person.arrive()).factors == {"federated"}
    iam.update_group(admin, dba.id, require_factor=True)
    person.asked(groups=["dba"])
    assert person.caller(person.arrive(groups=[])).factors == {"federated"}


def test_who_has_none_may_only_enrol_one_until_then(tmp_path: Path) -> None:
    place = Place(tmp_path)
    iam, admin = place.region.iam, place.region.admin
    dba = place.group("Dba")
    iam.create_policy(admin, admin.principal.tenancy, "all", ("Allow group Dba to inspect users in tenancy",))
    place.change(mappings=(GroupMapping("dba", dba.id),))
    grace = place.sign_in(groups=["dba"])
    assert iam.list_users(grace, PageRequest(10)).items
    iam.update_group(admin, dba.id, require_factor=True)
    bare = place.sign_in(groups=["dba"])
    assert refused(lambda: iam.list_users(bare, PageRequest(10))).code == "FactorNeeded"
    factor, uri = iam.enrol_totp(bare, "phone")
    iam.confirm_factor(bare, factor.id, code_at(uri, place.region.clock.now().timestamp()))
    place.region.clock.advance(60)
    said = place.back(place.outside.approve(place.start(), groups=["dba"]))
    with pytest.raises(FactorRequired) as asked:
        place.federation.finish(said["code"], VERIFIER, HERE, "r")
    code = code_at(uri, place.region.clock.now().timestamp())
    issued = iam.prove_factor(asked.value.challenge, "totp", code, HERE, "r")
    assert iam.list_users(iam.authenticate(issued.token, HERE, "r"), PageRequest(10)).items


def test_a_policy_asks_for_it(person: Person) -> None:
    place, iam, admin = person.place, person.region.iam, person.region.admin
    dba = place.group("Dba")
    place.change(mappings=(GroupMapping("dba", dba.id),))
    only = "Allow group Dba to inspect users in tenancy where request.user.mfaTotpVerified = 'true'"
    iam.create_policy(admin, admin.principal.tenancy, "all", (only,))
    iam.update_sign_in_settings(admin, SignInSettings("never", "never"))
    without = person.caller(person.arrive(groups=["dba"]))
    assert refused(lambda: iam.list_users(without, PageRequest(10))).code in ("NotAuthorized", "NotFound")
    iam.update_sign_in_settings(admin, SignInSettings("low", "never"))
    having = person.caller(person.prove(person.asked(groups=["dba"]).challenge))
    assert iam.list_users(having, PageRequest(10)).items


def test_risk_asks_for_it_and_is_told(person: Person) -> None:
    """From an unknown network, without the device that was given here."""
    iam, admin = person.region.iam, person.region.admin
    given = person.prove(person.asked().challenge, device="").device
    assert given
    iam.update_sign_in_settings(admin, SignInSettings("medium", "never"))
    known = person.arrive(device=given)
    assert person.caller(known).risk == 0
    asked = person.asked(ELSEWHERE)
    entry = next(each for each in reversed(person.region.journal.entries) if each.code == "FactorRequired")
    told = {name: value for name, value in entry.detail.items() if name.startswith("risk")}
    assert told["risk_level"] in ("medium", "high")
    assert (told["risk_new_device"], told["risk_new_network"]) == ("25", "20")
    assert entry.detail["identity_provider"] == "okta" and asked.factors


def test_risk_refuses_and_looks_like_any_other_failure(person: Person) -> None:
    iam, admin = person.region.iam, person.region.admin
    person.prove(person.asked().challenge, device="")
    iam.update_sign_in_settings(admin, SignInSettings("low", "medium"))
    seen = refused(lambda: person.arrive(ELSEWHERE))
    nothing = refused(lambda: person.place.federation.finish("no code", VERIFIER, HERE, "r"))
    assert (seen.code, seen.message, seen.hint) == (nothing.code, nothing.message, nothing.hint)
    entries = [each for each in person.region.journal.entries if each.code == "SignInTooRisky"]
    assert entries and entries[-1].detail["risk_new_device"] == "25"
    assert entries[-1].operation == "FinishFederatedSignIn"


def test_coming_by_way_of_a_provider_pays_back_no_attempts_at_the_password(person: Person) -> None:
    iam, admin = person.region.iam, person.region.admin
    iam.update_sign_in_settings(admin, SignInSettings("never", "never"))
    for _ in range(6):
        refused(lambda: iam.sign_in("acme", "ada", Secret(b"wrong"), HERE, "r"))
    person.arrive()
    assert refused(lambda: iam.sign_in("acme", "ada", Secret(b"wrong"), HERE, "r")).code == "TooManyAttempts"
