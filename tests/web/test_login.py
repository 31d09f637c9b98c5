"""The pages on which somebody lets a client in, and the codes that follow: walked as a browser and a client do it."""

import base64
import hashlib
import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from tests.web.asgi import Client, Reply
from tests.web.proving import Key
from tests.web.region import PASSWORD, Region, open_region

BACK = "http://127.0.0.1:45678/callback"
VERIFIER = "v" * 64
STATE = "s" * 32
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
ASKED = {
    "response_type": "code",
    "client_id": "keystead-cli",
    "redirect_uri": BACK,
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "state": STATE,
}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


@pytest.fixture
def client(region: Region) -> Iterator[Client]:
    made = region.client("")
    yield made
    made.close()


def show(client: Client, page: str, **asked: str) -> Reply:
    return client.get(f"={page}?{urlencode(asked)}")


def hidden(reply: Reply) -> dict[str, str]:
    found = re.findall(r'<input type=hidden name="(\w+)" value="([^"]*)">', reply.body.decode())
    return {name: unescape(value) for name, value in found}


def send(client: Client, page: str, fields: dict[str, str], **headers: str) -> Reply:
    sent = FORM | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"={page}", raw=urlencode(fields).encode(), headers=sent)


def signed_in(client: Client, fields: dict[str, str], password: str = PASSWORD) -> Reply:
    who = {"tenancy": "acme", "user": "nobody", "password": password}
    return send(client, "/login/sign-in", {**fields, **who})


def redeem(client: Client, way: str, code: str, verifier: str = "", key: Key | None = None) -> Reply:
    body: dict[str, Any] = {"way": way, "code": code, "code_verifier": verifier}
    return client.post("/auth/logins", body | ({"public_key": key.public.pem()} if key is not None else {}))


def code_in(client: Client) -> str:
    """Through the pages, to the code."""
    page = signed_in(client, hidden(show(client, "/login/authorize", **ASKED)))
    done = send(client, "/login/consent", {**hidden(page), "decision": "allow"})
    assert done.status == 303, done.body
    place = urlsplit(done.headers["location"])
    given = parse_qs(place.query)
    assert (place.netloc, place.path, given["state"]) == ("127.0.0.1:45678", "/callback", [STATE])
    return given["code"][0]


def test_the_browser_lets_the_command_line_in(region: Region, client: Client) -> None:
    page = show(client, "/login/authorize", **ASKED, user="<b>nobody</b>")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert b"<script" not in page.body and b"&lt;b&gt;nobody" in page.body
    asked = signed_in(client, hidden(page))
    assert b"nobody</strong> of <strong>acme" in asked.body and b"192.0.2.7" in asked.body
    assert "form-action 'self' http://127.0.0.1:45678;" in asked.headers["content-security-policy"]
    key = Key()
    code = code_in(client)
    reply = redeem(client, "browser", code, VERIFIER, key)
    assert (reply.status, reply.json["token_type"]) == (201, "DPoP")
    shown = key.dpop(reply.json["token"], "GET", "/auth/whoami", region.clock.now())
    assert client.get("/auth/whoami", headers=shown).json["name"] == "nobody"
    again = redeem(client, "browser", code, VERIFIER, key)
    assert (again.status, again.json["code"]) == (401, "CodeInvalid")


def test_a_code_without_its_verifier_is_spent(client: Client) -> None:
    for verifier in ("", "w" * 64, CHALLENGE):
        code = code_in(client)
        assert redeem(client, "browser", code, verifier).json["code"] == "CodeInvalid"
        assert redeem(client, "browser", code, VERIFIER).json["code"] == "CodeInvalid"


def test_a_code_is_over_soon(region: Region, client: Client) -> None:
    code = code_in(client)
    region.clock.advance(121)
    assert redeem(client, "browser", code, VERIFIER).json["code"] == "CodeInvalid"


@pytest.mark.parametrize(
    "wrong",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:45678@evil.example/callback"},
        {"redirect_uri": "http://localhost:45678/callback"},
        {"redirect_uri": "http://127.0.0.1:45678/callback/../x"},
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"state": "short"},
        {"response_type": "token"},
        {"client_id": "another"},
    ],
)
def test_what_a_client_may_not_ask(client: Client, wrong: dict[str, str]) -> None:
    reply = show(client, "/login/authorize", **(ASKED | wrong))
    assert reply.status == 400 and b"<form" not in reply.body
    if "redirect_uri" in wrong or "state" in wrong or wrong.get("code_challenge") == "":
        fields = {name: (ASKED | wrong)[name] for name in ("redirect_uri", "code_challenge", "state")}
        assert signed_in(client, fields).status == 400


def test_a_wrong_password_shows_the_page_again(client: Client) -> None:
    reply = signed_in(client, hidden(show(client, "/login/authorize", **ASKED)), "wrong")
    assert reply.status == 401 and b"is wrong" in reply.body and b"type=password" in reply.body.replace(b'"', b"")
    assert b'wrong"' not in reply.body


def test_no_means_no(client: Client) -> None:
    page = signed_in(client, hidden(show(client, "/login/authorize", **ASKED)))
    done = send(client, "/login/consent", {**hidden(page), "decision": "deny"})
    assert "error=access_denied" in done.headers["location"] and "code=" not in done.headers["location"]
    again = send(client, "/login/consent", {**hidden(page), "decision": "allow"})
    assert again.status == 400


def test_forms_of_other_sites_are_refused(client: Client) -> None:
    fields = hidden(show(client, "/login/authorize", **ASKED))
    assert send(client, "/login/sign-in", fields, sec_fetch_site="cross-site").status == 403
    assert send(client, "/login/sign-in", fields, origin="https://evil.example").status == 403
    page = signed_in(client, fields)
    assert send(client, "/login/consent", {**hidden(page), "decision": "allow"}, origin="https://evil").status == 403


def test_a_device_is_let_in_with_its_code(region: Region, client: Client) -> None:
    begun = client.post("/auth/device").json
    assert re.fullmatch("[B-Z]{4}-[B-Z]{4}", begun["user_code"])
    assert redeem(client, "device", begun["device_code"]).json["code"] == "LoginPending"
    assert redeem(client, "device", begun["device_code"]).json["code"] == "SlowDown"
    page = signed_in(client, {"user_code": begun["user_code"].lower()})
    assert b"192.0.2.7" in page.body
    region.clock.advance(6)
    assert redeem(client, "device", begun["device_code"]).json["code"] == "LoginPending"
    assert b"is let in" in send(client, "/login/consent", {**hidden(page), "decision": "allow"}).body
    reply = redeem(client, "device", begun["device_code"])
    assert (reply.status, reply.json["token_type"]) == (201, "Bearer")
    assert client.get("/auth/whoami", token=reply.json["token"]).json["name"] == "nobody"
    assert redeem(client, "device", begun["device_code"]).json["code"] == "CodeInvalid"


def test_guessing_and_late_codes_find_nothing(region: Region, client: Client) -> None:
    assert signed_in(client, {"user_code": "BBBB-BBBB"}).status == 400
    begun = client.post("/auth/device").json
    assert redeem(client, "browser", begun["device_code"], VERIFIER).json["code"] == "CodeInvalid"
    region.clock.advance(601)
    assert signed_in(client, {"user_code": begun["user_code"]}).status == 400
    assert redeem(client, "device", begun["device_code"]).json["code"] == "CodeInvalid"


def test_whoever_is_blocked_meanwhile_gets_nothing(region: Region, client: Client) -> None:
    code = code_in(client)
    region.services.iam.revoke_user_tokens(region.caller_again("root"), region.ids["nobody"])
    assert redeem(client, "browser", code, VERIFIER).json["code"] == "CodeInvalid"


def test_a_browser_is_a_known_device_from_its_first_sign_in_on(region: Region) -> None:
    """It keeps a cookie; what others try from its network then holds it up no more, and it is listed and forgotten."""
    region.clock.advance(3700)
    client = region.client("")
    asked = hidden(show(client, "/login/authorize", **ASKED))
    page = signed_in(client, asked)
    cookie, _, rules = page.headers["set-cookie"].partition("; ")
    assert re.fullmatch(r"__Host-keystead-device=ksd_[A-Za-z0-9_-]{43}", cookie)
    assert set(rules.split("; ")) == {"Path=/", "Max-Age=34560000", "Secure", "HttpOnly", "SameSite=Strict"}
    for _ in range(7):
        last = signed_in(client, asked, "wrong")
    assert (last.status, last.headers["retry-after"]) == (429, "2")
    region.clock.advance(2)
    signed_in(client, asked, "wrong")
    assert signed_in(client, asked).headers["retry-after"] == "4"
    who = {**asked, "tenancy": "acme", "user": "nobody", "password": PASSWORD}
    again = send(client, "/login/sign-in", who, cookie=f"other=1; {cookie}")
    assert again.status == 200 and "set-cookie" not in again.headers, "known, and given no other"
    mine = region.caller_again("nobody")
    device = region.services.iam.list_devices(mine, mine.principal.id)[0]
    region.services.iam.forget_device(mine, mine.principal.id, device.id)
    assert send(client, "/login/sign-in", who, cookie=cookie).status == 429
    region.clock.advance(3700)
    assert send(client, "/login/sign-in", who, cookie=cookie).headers["set-cookie"].split(";")[0].count("ksd_") == 2
    client.close()


def test_a_browser_of_many_keeps_the_latest(region: Region) -> None:
    region.clock.advance(3700)
    client = region.client("")
    shown = [f"ksd_{letter * 43}" for letter in "abcdef"]
    who = {"tenancy": "acme", "user": "nobody", "password": PASSWORD}
    asked = {**hidden(show(client, "/login/authorize", **ASKED)), **who}
    reply = send(client, "/login/sign-in", asked, cookie="__Host-keystead-device=" + ".".join(shown) + ".x%22")
    kept = reply.headers["set-cookie"].split(";")[0].partition("=")[2].split(".")
    assert kept[1:] == shown[:4] and kept[0] not in shown
    twice = "; ".join(f"__Host-keystead-device={each}" for each in (kept[0], kept[0]))
    assert "set-cookie" in send(client, "/login/sign-in", asked, cookie=twice).headers, "which of two is nobody's guess"
    client.close()
