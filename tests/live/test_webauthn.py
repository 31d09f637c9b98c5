"""Authenticators with a real browser: Chromium's virtual authenticator against what we ask for and check."""

import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator

import pytest

from keystead.adapters.webauthn import WebAuthnAuthenticators
from keystead.core.errors import Refusal

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.live, pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")]
CREATE = """async text => {
  const options = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(text));
  return JSON.stringify((await navigator.credentials.create({publicKey: options})).toJSON());
}"""
GET = """async text => {
  const options = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(text));
  return JSON.stringify((await navigator.credentials.get({publicKey: options})).toJSON());
}"""
USER = "ks1.user.main.home." + "a" * 32


class Page(http.server.BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>sign in</title>")

    def log_message(self, *_: object) -> None:
        pass


class Browser:
    """A page at `origin` with a virtual authenticator."""

    def __init__(self, page, session, origin: str) -> None:
        self.page, self.session, self.origin = page, session, origin
        self.authenticator = ""

    def plug_in(self, *, verified: bool = True) -> None:
        if self.authenticator:
            self.session.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self.authenticator})
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": verified, "automaticPresenceSimulation": True,
        }  # fmt: skip
        made = self.session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self.authenticator = made["authenticatorId"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    origin = f"http://localhost:{server.server_address[1]}"
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = chromium.new_page()
        page.goto(origin)
        session = page.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        yield Browser(page, session, origin)
        chromium.close()
    server.shutdown()


def ours(browser: Browser) -> WebAuthnAuthenticators:
    return WebAuthnAuthenticators("localhost", [browser.origin], "Keystead home")


def test_a_real_browser_registers_and_signs_in(browser: Browser) -> None:
    browser.plug_in()
    side, challenge = ours(browser), b"c" * 32
    credential = browser.page.evaluate(CREATE, side.registration(challenge, USER, "ada", []))
    made = side.registered(credential, challenge)
    assert made.credential and made.public_key
    with pytest.raises(Refusal):
        side.registered(credential, b"d" * 32)
    with pytest.raises(Refusal):
        WebAuthnAuthenticators("localhost", ["https://evil.example"], "x").registered(credential, challenge)

    nonce = b"n" * 32
    answer = browser.page.evaluate(GET, side.assertion(nonce, [made.credential]))
    assert side.credential_of(answer) == made.credential
    counter = side.asserted(answer, nonce, made.public_key, made.counter)
    assert counter > made.counter
    with pytest.raises(Refusal):  # replayed: the counter has moved on
        side.asserted(answer, nonce, made.public_key, counter)
    with pytest.raises(Refusal):  # for another challenge
        side.asserted(answer, b"m" * 32, made.public_key, made.counter)
    with pytest.raises(Refusal):  # at another origin
        WebAuthnAuthenticators("localhost", ["http://localhost:1"], "x").asserted(answer, nonce, made.public_key, 0)
    forged = json.loads(answer)
    forged["response"]["signature"] = forged["response"]["signature"][:-6] + "AAAAAA"
    with pytest.raises(Refusal):
        side.asserted(json.dumps(forged), nonce, made.public_key, made.counter)


def test_who_is_not_verified_is_not_let_in(browser: Browser) -> None:
    browser.plug_in(verified=True)
    side, challenge = ours(browser), b"e" * 32
    made = side.registered(browser.page.evaluate(CREATE, side.registration(challenge, USER, "ada", [])), challenge)
    # As a page would that asks for less than we do: presence without verification.
    options = json.loads(side.assertion(b"f" * 32, [made.credential])) | {"userVerification": "discouraged"}
    browser.session.send(
        "WebAuthn.setUserVerified", {"authenticatorId": browser.authenticator, "isUserVerified": False}
    )
    answer = browser.page.evaluate(GET, json.dumps(options))
    with pytest.raises(Refusal):
        side.asserted(answer, b"f" * 32, made.public_key, made.counter)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"id": 1}', "x" * 20000, '{"id":"a","rawId":"b"}', "[" * 5000]
)
def test_what_is_no_credential_is_refused(text: str) -> None:
    side = WebAuthnAuthenticators("localhost", ["http://localhost"], "x")
    with pytest.raises(Refusal):
        side.registered(text, b"c" * 32)
    with pytest.raises(Refusal):
        side.asserted(text, b"c" * 32, b"k", 0)
    assert side.credential_of(text) == b""
