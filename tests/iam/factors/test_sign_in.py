"""Signing in step by step, attacked."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from tests.fakes.domain import PASSWORD, DomainRegion
from tests.fakes.factors import Stick, code_at

from keystead.core.errors import Refusal
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.factors.model import FactorRequired, SignInSettings
from keystead.iam.model import Caller, IssuedToken

HERE, ELSEWHERE = "192.0.2.1", "203.0.113.9"
RIGHT = Secret(PASSWORD)


def refused(run: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        run()
    assert caught.value.recorded
    return caught.value


@dataclass
class Person:
    """The administrator, with an app."""

    region: DomainRegion
    uri: Secret
    factor_id: str

    def password(self, source: str = HERE, device: str | None = None) -> FactorRequired:
        with pytest.raises(FactorRequired) as caught:
            self.region.iam.sign_in("acme", "admin", RIGHT, source, "r", device)
        return caught.value

    def code(self) -> Secret:
        return code_at(self.uri, self.region.clock.now().timestamp())

    def totp(self, source: str = HERE, device: str | None = None) -> IssuedToken:
        """All of it; with a code that was not used before."""
        self.region.clock.advance(30)
        challenge = self.password(source, device).challenge
        return self.region.iam.prove_factor(challenge, "totp", self.code(), source, "r", device)

    def caller(self, source: str = HERE) -> Caller:
        return self.region.iam.authenticate(self.totp(source).token, source, "r")


@pytest.fixture
def person(region: DomainRegion) -> Person:
    factor, uri = region.iam.enrol_totp(region.admin, "phone")
    person = Person(region, uri, factor.id)
    region.iam.confirm_factor(region.admin, factor.id, person.code())
    return person


def test_a_password_is_enough_while_nobody_has_another_factor(region: DomainRegion) -> None:
    issued = region.iam.sign_in("acme", "admin", RIGHT, HERE, "r")
    assert region.iam.authenticate(issued.token, HERE, "r").factors == {"password"}


def test_a_factor_is_asked_for_and_the_token_says_that_it_was_shown(person: Person) -> None:
    asked = person.password()
    assert (asked.code, asked.factors) == ("FactorRequired", ("totp", "click"))
    assert person.caller().factors == {"password", "totp"}


def test_who_does_not_know_the_password_does_not_learn_that_there_is_a_factor(person: Person) -> None:
    wrong = refused(lambda: person.region.iam.sign_in("acme", "admin", Secret(b"x"), HERE, "r"))
    nobody = refused(lambda: person.region.iam.sign_in("acme", "nobody", Secret(b"x"), HERE, "r"))
    assert (wrong.code, wrong.message, wrong.hint) == (nobody.code, nobody.message, nobody.hint)
    assert not isinstance(wrong, FactorRequired)


def test_a_code_works_once_even_in_another_sign_in(person: Person) -> None:
    person.totp()
    iam, code = person.region.iam, person.code()
    challenge = person.password().challenge
    assert refused(lambda: iam.prove_factor(challenge, "totp", code, HERE, "r")).code == "FactorWrong"


def test_the_code_of_the_enrolment_does_not_sign_in(person: Person) -> None:
    challenge, code = person.password().challenge, person.code()
    run = lambda: person.region.iam.prove_factor(challenge, "totp", code, HERE, "r")  # noqa: E731
    assert refused(run).code == "FactorWrong"


def test_a_clock_set_back_revives_no_code(person: Person) -> None:
    region = person.region
    region.clock.advance(90)
    used = person.code()
    region.iam.prove_factor(person.password().challenge, "totp", used, HERE, "r")
    region.clock.set_back(60)
    earlier, challenge = person.code(), person.password(ELSEWHERE).challenge
    for code in (earlier, used):
        assert (
            refused(lambda code=code: region.iam.prove_factor(challenge, "totp", code, ELSEWHERE, "r")).code
            == "FactorWrong"
        )


def test_a_challenge_gives_one_token(person: Person) -> None:
    region = person.region
    region.clock.advance(30)
    challenge = person.password().challenge
    region.iam.prove_factor(challenge, "totp", person.code(), HERE, "r")
    region.clock.advance(30)
    again = refused(lambda: region.iam.prove_factor(challenge, "totp", person.code(), HERE, "r"))
    assert again.code == "ChallengeInvalid"


def test_a_challenge_is_good_for_five_minutes_and_five_tries(person: Person) -> None:
    region = person.region
    challenge = person.password().challenge
    region.clock.advance(301)
    assert (
        refused(lambda: region.iam.prove_factor(challenge, "totp", person.code(), HERE, "r")).code == "ChallengeInvalid"
    )
    region.clock.advance(3600)
    challenge = person.password().challenge
    codes = [
        refused(lambda: region.iam.prove_factor(challenge, "totp", Secret(b"x"), HERE, "r")).code for _ in range(5)
    ]
    assert codes[0] == "FactorWrong" and codes[-1] in ("TooManyAttempts", "ChallengeInvalid")
    region.clock.advance(120)
    for _ in range(2):
        region.clock.advance(60)
        refused(lambda: region.iam.prove_factor(challenge, "totp", Secret(b"x"), HERE, "r"))
    assert (
        refused(lambda: region.iam.prove_factor(challenge, "totp", person.code(), HERE, "r")).code == "ChallengeInvalid"
    )


@pytest.mark.parametrize("change", ["swap", "cut", "other", "empty", "long"])
def test_a_forged_challenge_is_nothing(person: Person, change: str) -> None:
    good = person.password().challenge
    forged = {
        "swap": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "cut": good[:-4],
        "other": "ksc_" + "a" * 32 + "_" + good.rpartition("_")[2],
        "empty": "",
        "long": good * 50,
    }[change]
    person.region.clock.advance(30)
    run = lambda: person.region.iam.prove_factor(forged, "totp", person.code(), HERE, "r")  # noqa: E731
    assert refused(run).code == "ChallengeInvalid"


def test_the_challenge_of_another_user_takes_only_their_factors(person: Person) -> None:
    region = person.region
    bob, password = region.iam.create_user(region.admin, "bob")
    region.snapshot.refresh()
    token = region.iam.sign_in("acme", "bob", password, HERE, "r")
    factor, uri = region.iam.enrol_totp(region.iam.authenticate(token.token, HERE, "r"), "phone")
    caller = region.iam.authenticate(token.token, HERE, "r")
    region.iam.confirm_factor(caller, factor.id, code_at(uri, region.clock.now().timestamp()))
    region.clock.advance(30)
    challenge = person.password().challenge
    bobs = code_at(uri, region.clock.now().timestamp())
    assert refused(lambda: region.iam.prove_factor(challenge, "totp", bobs, HERE, "r")).code == "FactorWrong"
    assert str(bob.id) != region.admin.principal.id


def test_a_new_password_voids_the_challenge(person: Person) -> None:
    region = person.region
    challenge = person.password().challenge
    region.iam.reset_password(region.admin, region.admin.principal.id)
    region.clock.advance(30)
    assert (
        refused(lambda: region.iam.prove_factor(challenge, "totp", person.code(), HERE, "r")).code == "ChallengeInvalid"
    )


def test_a_recovery_code_works_once_however_many_try_at_once(person: Person) -> None:
    region = person.region
    codes = region.iam.create_recovery_codes(person.caller())
    challenges = [person.password().challenge for _ in range(4)]

    def attempt(challenge: str) -> bool:
        try:
            region.iam.prove_factor(challenge, "recovery", codes[0], HERE, "r")
        except Refusal:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, challenges)) == 1


def test_new_recovery_codes_void_the_old_ones(person: Person) -> None:
    region = person.region
    caller = person.caller()
    old, new = region.iam.create_recovery_codes(caller), region.iam.create_recovery_codes(caller)
    assert len(new) == 10
    challenge = person.password().challenge
    assert refused(lambda: region.iam.prove_factor(challenge, "recovery", old[0], HERE, "r")).code == "FactorWrong"
    typed = Secret(new[0].reveal().decode().upper().replace("-", " ").encode())
    issued = region.iam.prove_factor(challenge, "recovery", typed, HERE, "r")
    assert region.iam.authenticate(issued.token, HERE, "r").factors == {"password", "recovery"}


def test_one_challenge_is_not_proved_twice_at_once(person: Person) -> None:
    region = person.region
    codes = region.iam.create_recovery_codes(person.caller())
    challenge = person.password().challenge

    def attempt(code: Secret) -> bool:
        try:
            region.iam.prove_factor(challenge, "recovery", code, HERE, "r")
        except Refusal:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, codes[:4])) == 1


# webauthn


def test_an_authenticator_signs_in_and_its_answers_are_not_replayed(person: Person) -> None:
    region, stick = person.region, Stick()
    caller = person.caller()
    factor, options = region.iam.enrol_webauthn(caller, "stick")
    region.iam.confirm_factor(caller, factor.id, stick.answer(options))
    asked = person.password()
    assert asked.factors == ("webauthn", "totp", "click")
    begun = region.iam.begin_factor(asked.challenge, "webauthn", HERE, "r")
    answer = stick.answer(begun.options)
    issued = region.iam.prove_factor(asked.challenge, "webauthn", answer, HERE, "r")
    assert region.iam.authenticate(issued.token, HERE, "r").factors == {"password", "webauthn"}
    other = person.password().challenge
    region.iam.begin_factor(other, "webauthn", HERE, "r")
    assert refused(lambda: region.iam.prove_factor(other, "webauthn", answer, HERE, "r")).code == "FactorWrong"
    cloned = region.iam.begin_factor(other, "webauthn", HERE, "r")
    stick.counter = 0
    assert refused(
        lambda: region.iam.prove_factor(other, "webauthn", stick.answer(cloned.options), HERE, "r")
    ).code == ("FactorWrong")


# another device


def ask(person: Person) -> tuple[str, str]:
    challenge = person.password(ELSEWHERE).challenge
    return challenge, person.region.iam.begin_factor(challenge, "click", ELSEWHERE, "r").number


def test_another_device_lets_in_by_the_number(person: Person) -> None:
    region, mine = person.region, person.caller()
    challenge, number = ask(person)
    pending = lambda: region.iam.prove_factor(challenge, "click", Secret(b""), ELSEWHERE, "r")  # noqa: E731
    assert refused(pending).code == "FactorPending"
    (waiting,) = region.iam.list_sign_ins(mine)
    assert waiting.source == ELSEWHERE
    assert region.iam.answer_sign_in(mine, waiting.id, f" {number} ")
    issued = pending()
    assert region.iam.authenticate(issued.token, ELSEWHERE, "r").factors == {"password", "click"}
    assert refused(pending).code == "ChallengeInvalid"


def test_a_wrong_number_denies(person: Person) -> None:
    region, mine = person.region, person.caller()
    challenge, number = ask(person)
    (waiting,) = region.iam.list_sign_ins(mine)
    assert not region.iam.answer_sign_in(mine, waiting.id, "11" if number != "11" else "12")
    assert refused(lambda: region.iam.answer_sign_in(mine, waiting.id, number)).code == "NotFound"
    run = lambda: region.iam.prove_factor(challenge, "click", Secret(b""), ELSEWHERE, "r")  # noqa: E731
    assert refused(run).code == "FactorDenied"
    assert refused(run).code == "ChallengeInvalid"


def test_it_waits_a_minute_and_asks_thrice_an_hour(person: Person) -> None:
    region, mine = person.region, person.caller()
    challenge, number = ask(person)
    (waiting,) = region.iam.list_sign_ins(mine)
    region.clock.advance(60)
    assert region.iam.list_sign_ins(mine) == []
    assert refused(lambda: region.iam.answer_sign_in(mine, waiting.id, number)).code == "NotFound"
    run = lambda: region.iam.prove_factor(challenge, "click", Secret(b""), ELSEWHERE, "r")  # noqa: E731
    assert refused(run).code == "FactorDenied"
    ask(person)
    ask(person)
    fourth = person.password(ELSEWHERE).challenge
    enough = refused(lambda: region.iam.begin_factor(fourth, "click", ELSEWHERE, "r"))
    assert enough.code == "TooManyRequests" and 3000 < enough.retry_s <= 3600


def test_a_session_of_a_password_alone_vouches_for_nobody(person: Person) -> None:
    region = person.region
    ask(person)
    weak = replace(region.admin, factors=frozenset({"password"}))
    assert refused(lambda: region.iam.list_sign_ins(weak)).code == "FreshFactorNeeded"


def test_another_user_does_not_answer(person: Person) -> None:
    region, mine = person.region, person.caller()
    _, number = ask(person)
    (waiting,) = region.iam.list_sign_ins(mine)
    bob = replace(region.user("bob"), factors=frozenset({"password", "totp"}))
    assert refused(lambda: region.iam.answer_sign_in(bob, waiting.id, number)).code == "NotFound"


# having them


def test_who_has_one_changes_them_only_just_after_showing_one(person: Person) -> None:
    region = person.region
    fresh = person.caller()
    region.iam.enrol_totp(fresh, "tablet")
    region.clock.advance(601)
    for run in (
        lambda: region.iam.enrol_totp(fresh, "other"),
        lambda: region.iam.enrol_webauthn(fresh, "other"),
        lambda: region.iam.create_recovery_codes(fresh),
        lambda: region.iam.remove_factor(fresh, fresh.principal.id, person.factor_id),
    ):
        assert refused(run).code == "FreshFactorNeeded"
    region.iam.remove_factor(person.caller(), fresh.principal.id, person.factor_id)
    assert region.iam.sign_in("acme", "admin", RIGHT, HERE, "r").token


def test_an_administrator_removes_the_factor_of_another(person: Person) -> None:
    region = person.region
    bob, password = region.iam.create_user(region.admin, "bob")
    region.snapshot.refresh()
    caller = region.iam.authenticate(region.iam.sign_in("acme", "bob", password, HERE, "r").token, HERE, "r")
    factor, uri = region.iam.enrol_totp(caller, "phone")
    region.iam.confirm_factor(caller, factor.id, code_at(uri, region.clock.now().timestamp()))
    with pytest.raises(FactorRequired):
        region.iam.sign_in("acme", "bob", password, HERE, "r")
    assert [each.name for each in region.iam.list_factors(region.admin, bob.id)] == ["phone"]
    region.iam.remove_factor(region.admin, bob.id, factor.id)
    assert region.iam.sign_in("acme", "bob", password, HERE, "r").token


def test_no_secret_lies_in_the_state_in_clear(person: Person) -> None:
    import base64
    from urllib.parse import parse_qs, urlsplit

    text = parse_qs(urlsplit(person.uri.reveal().decode()).query)["secret"][0]
    codes = person.region.iam.create_recovery_codes(person.caller())
    challenge = person.password().challenge
    raw = b"".join(each.read_bytes() for each in person.region.path.parent.glob("state.db*"))
    plain = codes[0].reveal().replace(b"-", b"")
    for secret in (text.encode(), base64.b32decode(text), codes[0].reveal(), plain, challenge[-43:].encode()):
        assert secret not in raw


# where they are required


def test_a_group_lets_nobody_in_without_one(person: Person) -> None:
    region = person.region
    bob, password = region.iam.create_user(region.admin, "bob")
    group = region.iam.create_group(region.admin, "Careful")
    region.iam.add_member(region.admin, group.id, bob.id)
    region.allow("Allow group Careful to inspect users in tenancy")
    region.snapshot.refresh()
    caller = region.iam.authenticate(region.iam.sign_in("acme", "bob", password, HERE, "r").token, HERE, "r")
    assert region.iam.list_users(caller, PageRequest(5)).items
    region.iam.update_group(region.admin, group.id, require_factor=True)
    told = refused(lambda: region.iam.list_users(caller, PageRequest(5)))
    assert told.code == "FactorNeeded" and "keystead factor enrol-totp" in told.hint
    again = region.iam.authenticate(region.iam.sign_in("acme", "bob", password, HERE, "r").token, HERE, "r")
    factor, uri = region.iam.enrol_totp(again, "phone")
    region.iam.confirm_factor(again, factor.id, code_at(uri, region.clock.now().timestamp()))
    region.clock.advance(30)
    with pytest.raises(FactorRequired) as asked:
        region.iam.sign_in("acme", "bob", password, HERE, "r")
    code = code_at(uri, region.clock.now().timestamp())
    issued = region.iam.prove_factor(asked.value.challenge, "totp", code, HERE, "r")
    assert region.iam.list_users(region.iam.authenticate(issued.token, HERE, "r"), PageRequest(5)).items


def test_a_statement_reads_the_factor_and_the_risk(person: Person) -> None:
    region = person.region
    region.allow(
        "Allow group Careful to inspect users in tenancy where request.user.mfaTotpVerified = 'true'",
        "Allow group Careful to inspect groups in tenancy where request.risk.level = 'low'",
    )
    bob = region.user("bob", "Careful")
    region.allow("Allow group Careful to inspect compartments in tenancy", name="more")
    page = PageRequest(5)
    weak = replace(bob, token_id="t", factors=frozenset({"password"}), risk=0)
    refused(lambda: region.iam.list_users(weak, page))
    assert region.iam.list_users(replace(weak, factors=frozenset({"password", "recovery"})), page).items
    assert region.iam.list_groups(weak, page).items
    refused(lambda: region.iam.list_groups(replace(weak, risk=70), page))


# known devices, and risk


def test_a_device_is_given_to_who_asks_and_known_again(region: DomainRegion) -> None:
    iam = region.iam
    assert iam.sign_in("acme", "admin", RIGHT, HERE, "r").device == ""
    device = iam.sign_in("acme", "admin", RIGHT, HERE, "r", "").device
    assert device.startswith("ksd_")
    assert iam.sign_in("acme", "admin", RIGHT, HERE, "r", device).device == ""
    assert iam.sign_in("acme", "admin", RIGHT, HERE, "r", "ksd_forged").device not in ("", device)


def test_risk_is_refused_as_a_wrong_password_is_and_explained_in_the_audit(region: DomainRegion) -> None:
    iam = region.iam
    device = iam.sign_in("acme", "admin", RIGHT, HERE, "r", "").device
    iam.update_sign_in_settings(region.admin, SignInSettings("low", "medium"))
    wrong = refused(lambda: iam.sign_in("acme", "admin", Secret(b"x"), ELSEWHERE, "r"))
    risky = refused(lambda: iam.sign_in("acme", "admin", RIGHT, ELSEWHERE, "r"))
    assert (wrong.code, wrong.message, wrong.hint) == (risky.code, risky.message, risky.hint)
    entry = region.journal.entries[-1]
    assert (entry.code, entry.detail["risk_level"]) == ("SignInTooRisky", "high")
    parts = {name for name in entry.detail if name.startswith("risk_")}
    assert parts == {"risk_level", "risk_new_device", "risk_new_network", "risk_pace", "risk_failures"}
    assert iam.sign_in("acme", "admin", RIGHT, HERE, "r", device).token


def of_risk(region: DomainRegion, source: str = HERE, device: str | None = None) -> dict[str, str]:
    """What the entry of a sign-in that is let in says of its risk."""
    region.iam.sign_in("acme", "admin", RIGHT, source, "r", device)
    entry = [each for each in region.entries() if each.operation == "SignIn"][-1]
    assert entry.outcome == "allowed"
    return {name: value for name, value in entry.detail.items() if name.startswith("risk")}


CALM = {"risk": "0", "risk_level": "low"}


def test_a_usual_sign_in_says_that_there_is_nothing_unusual(region: DomainRegion) -> None:
    device = region.iam.sign_in("acme", "admin", RIGHT, HERE, "r", "").device
    assert of_risk(region, HERE, device) == CALM


def test_a_new_device_is_in_the_entry(region: DomainRegion) -> None:
    region.iam.sign_in("acme", "admin", RIGHT, HERE, "r", "")
    assert of_risk(region) == {"risk": "25", "risk_level": "low", "risk_new_device": "25"}


def test_a_new_network_is_in_the_entry(region: DomainRegion) -> None:
    device = region.iam.sign_in("acme", "admin", RIGHT, HERE, "r", "").device
    region.clock.advance(700)  # so that it is not the pace
    assert of_risk(region, ELSEWHERE, device) == {"risk": "20", "risk_level": "low", "risk_new_network": "20"}


def test_an_impossible_pace_is_in_the_entry(region: DomainRegion) -> None:
    """Three networks within ten minutes, all of them known."""
    device = region.iam.sign_in("acme", "admin", RIGHT, HERE, "r", "").device
    for source in (ELSEWHERE, "198.51.100.7"):
        region.iam.sign_in("acme", "admin", RIGHT, source, "r", device)
    assert of_risk(region, HERE, device) == {"risk": "30", "risk_level": "medium", "risk_pace": "30"}
    region.clock.advance(601)
    assert of_risk(region, HERE, device) == CALM


def test_failures_are_in_the_entry(region: DomainRegion) -> None:
    region.iam.sign_in("acme", "admin", RIGHT, HERE, "r")
    for number in (1, 2):
        refused(lambda: region.iam.sign_in("acme", "admin", Secret(b"x"), ELSEWHERE, "r"))
        points = str(5 * number)
        assert of_risk(region) == {"risk": points, "risk_level": "low", "risk_failures": points}


def test_an_unusual_hour_is_in_the_entry(region: DomainRegion) -> None:
    region.iam.sign_in("acme", "admin", RIGHT, HERE, "r")
    region.clock.advance(8 * 86400 + 6 * 3600)
    assert of_risk(region) == {"risk": "10", "risk_level": "low", "risk_hour": "10"}


def test_low_risk_is_let_in_without_asking_when_the_tenancy_says_so(person: Person) -> None:
    region = person.region
    device = person.totp(HERE, "").device
    region.iam.update_sign_in_settings(person.caller(), SignInSettings("medium", "never"))
    region.clock.advance(timedelta(hours=1).total_seconds())
    issued = region.iam.sign_in("acme", "admin", RIGHT, HERE, "r", device)
    assert region.iam.authenticate(issued.token, HERE, "r").factors == {"password"}
    assert person.password(ELSEWHERE).code == "FactorRequired"
