"""Second factors on the pages: each of them shown as a browser without scripts would send it."""

import re
from collections.abc import Iterator
from html import unescape

import pytest
from tests.fakes.factors import Stick, code_at
from tests.web.asgi import Client, Reply
from tests.web.region import PASSWORD, Region, open_region
from tests.web.test_login import ASKED, hidden, send, show

from keystead.core.secret import Secret
from keystead.iam.factors.model import FactorRequired
from keystead.iam.model import Caller
from keystead.web.login_pages import ASK_AUTHENTICATOR, LOOK_AGAIN

HERE = "192.0.2.7"


class Person:
    """The administrator, with an app, an authenticator and recovery codes."""

    def __init__(self, region: Region) -> None:
        self.region, self.stick = region, Stick()
        iam, root = region.services.iam, region.caller()
        totp, self.uri = iam.enrol_totp(root, "phone")
        iam.confirm_factor(root, totp.id, self.code())
        vouching = self.vouching()
        stick, options = iam.enrol_webauthn(vouching, "stick")
        iam.confirm_factor(vouching, stick.id, self.stick.answer(options))
        self.codes = [each.reveal().decode() for each in iam.create_recovery_codes(vouching)]

    def code(self) -> Secret:
        return code_at(self.uri, self.region.clock.now().timestamp())

    def vouching(self) -> Caller:
        """A session of theirs that was begun with a second factor."""
        iam = self.region.services.iam
        self.region.clock.advance(30)
        with pytest.raises(FactorRequired) as asked:
            iam.sign_in("acme", "root", Secret(PASSWORD.encode()), HERE, "r")
        token = iam.prove_factor(asked.value.challenge, "totp", self.code(), HERE, "r").token
        return iam.authenticate(token, HERE, "r")


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(open_region(tmp_path_factory.mktemp("region")))


@pytest.fixture
def client(person: Person) -> Iterator[Client]:
    person.region.clock.advance(3601)  # another hour: what was tried before is forgotten
    made = person.region.client("")
    yield made
    made.close()


def choice(client: Client) -> Reply:
    """The page that offers the factors."""
    who = {"tenancy": "acme", "user": "root", "password": PASSWORD}
    return send(client, "/login/sign-in", {**hidden(show(client, "/login/authorize", **ASKED)), **who})


def kept(page: Reply) -> dict[str, str]:
    return {name: value for name, value in hidden(page).items() if name not in ("factor", "number", "assertion")}


def policy(page: Reply) -> str:
    return page.headers["content-security-policy"]


def let_in(page: Reply) -> bool:
    return page.status == 200 and b"root</strong> of <strong>acme" in page.body


def test_every_factor_is_offered_and_no_page_allows_more_than_its_own_script(client: Client) -> None:
    page = choice(client)
    assert page.status == 200
    for text in (b"authenticator app", b"Recovery code", b"Use your authenticator", b"Ask on another device"):
        assert text in page.body
    assert b"<script" not in page.body and "script-src" not in policy(page)
    for factor, script in (("webauthn", ASK_AUTHENTICATOR), ("click", LOOK_AGAIN)):
        shown = send(client, "/login/ask", {**kept(page), "factor": factor})
        assert re.findall(r"<script>(.*?)</script>", shown.body.decode()) == [script]
        assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}';", policy(shown)) and "unsafe" not in policy(shown)
        assert policy(shown).startswith("default-src 'none';")
        assert shown.body.count(b"onclick") == 0


@pytest.mark.parametrize("factor", ["totp", "recovery"])
def test_a_code_lets_in(person: Person, client: Client, factor: str) -> None:
    page = choice(client)
    wrong = send(client, "/login/factor", {**kept(page), "factor": factor, "code": "000000"})
    assert wrong.status == 401 and b"is wrong" in wrong.body and b"Recovery code" in wrong.body
    code = person.code().reveal().decode() if factor == "totp" else person.codes.pop()
    assert let_in(send(client, "/login/factor", {**kept(wrong), "factor": factor, "code": code}))
    again = send(client, "/login/factor", {**kept(wrong), "factor": factor, "code": code})
    assert again.status == 401 and not let_in(again)


def test_an_authenticator_lets_in(person: Person, client: Client) -> None:
    page = choice(client)
    shown = send(client, "/login/ask", {**kept(page), "factor": "webauthn"})
    options = re.search(r'data-options="([^"]*)"', shown.body.decode())
    assert options is not None
    fields = hidden(shown)
    assert fields["factor"] == "webauthn" and fields.pop("assertion") == ""
    proof = person.stick.answer(unescape(options[1])).reveal().decode()
    assert let_in(send(client, "/login/factor", {**fields, "assertion": proof}))


def test_an_assertion_that_was_not_asked_for_does_not(person: Person, client: Client) -> None:
    page = choice(client)
    proof = person.stick.answer('{"challenge": "00"}').reveal().decode()
    for assertion in (proof, "", "x" * 12000):
        reply = send(client, "/login/factor", {**kept(page), "factor": "webauthn", "assertion": assertion})
        assert reply.status == 401 and b"is wrong" in reply.body


def test_another_device_lets_in_by_the_number_that_is_shown(person: Person, client: Client) -> None:
    iam, vouching = person.region.services.iam, person.vouching()
    shown = send(client, "/login/ask", {**kept(choice(client)), "factor": "click"})
    number = hidden(shown)["number"]
    assert re.fullmatch("[0-9]{2}", number) and f"<p class=number id=number>{number}</p>" in shown.body.decode()
    waiting = send(client, "/login/factor", hidden(shown))
    assert waiting.status == 200 and hidden(waiting)["number"] == number and not let_in(waiting)
    [asked] = iam.list_sign_ins(vouching)
    assert iam.answer_sign_in(vouching, asked.id, number)
    assert let_in(send(client, "/login/factor", hidden(waiting)))


def test_a_wrong_number_there_ends_it_here(person: Person, client: Client) -> None:
    iam, vouching = person.region.services.iam, person.vouching()
    shown = send(client, "/login/ask", {**kept(choice(client)), "factor": "click"})
    [asked] = iam.list_sign_ins(vouching)
    assert not iam.answer_sign_in(vouching, asked.id, f"{(int(hidden(shown)['number']) + 1) % 100:02}")
    denied = send(client, "/login/factor", hidden(shown))
    assert denied.status == 401 and b"denied" in denied.body


def test_asking_too_often_leaves_the_other_factors(client: Client) -> None:
    for _ in range(3):
        assert b"id=number" in send(client, "/login/ask", {**kept(choice(client)), "factor": "click"}).body
    page = send(client, "/login/ask", {**kept(choice(client)), "factor": "click"})
    assert page.status == 429 and b"authenticator app" in page.body


def test_the_number_and_the_factors_on_the_page_are_what_they_may_be(client: Client) -> None:
    page = choice(client)
    evil = {**kept(page), "offered": "totp <script> click webauthn", "factor": ""}
    shown = send(client, "/login/ask", evil)
    assert b"<script" not in shown.body and hidden(shown)["offered"] == "totp click webauthn"
    assert send(client, "/login/factor", {**kept(page), "factor": "password", "code": "x"}).status == 400
    gone = send(client, "/login/ask", {**kept(page), "challenge": "x", "factor": "click"})
    assert gone.status == 401 and b"challenge is unknown" in gone.body


def test_forms_of_other_sites_ask_nobody(client: Client) -> None:
    fields = {**kept(choice(client)), "factor": "click"}
    assert send(client, "/login/ask", fields, sec_fetch_site="cross-site").status == 403
    assert send(client, "/login/ask", fields, origin="https://evil.example").status == 403
