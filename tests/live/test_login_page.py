"""`keystead login` with a real browser: a page is filled in, a second factor of each kind is shown, the command line is
let in, and its token needs its key."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright
from tests.fakes.factors import code_at
from tests.live.test_webauthn import CREATE
from tests.ports import free_port

from keystead.core.secret import Secret

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
APP = """
import asyncio, dataclasses, os, pathlib, socket, uvloop
from datetime import UTC, datetime
from keystead.adapters.webauthn import WebAuthnAuthenticators
from keystead.web.app import make_app
from keystead.web.listener import Listener
from tests.web.region import open_region

region = open_region(pathlib.Path(os.environ["STATE"]))
real = WebAuthnAuthenticators("localhost", ["http://localhost:" + os.environ["PORT"]], "Keystead home")
region.services.iam._proofs = dataclasses.replace(region.services.iam._proofs, authenticators=real)


async def serve():
    listener = Listener(make_app(region.services))
    listener.listen(socket.create_server(("127.0.0.1", int(os.environ["PORT"]))))
    while True:  # the region's clock is set by hand: keep it at what clients go by
        region.clock.advance(max(0.0, (datetime.now(UTC) - region.clock.now()).total_seconds()))
        await asyncio.sleep(0.1)


uvloop.run(serve())
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("login")
    (state / "served.py").write_text(APP)
    port = free_port()
    paths = os.pathsep.join(map(str, (state, ROOT, ROOT / "src")))
    child = subprocess.Popen(
        [sys.executable, str(state / "served.py")],
        env={"PATH": os.environ["PATH"], "STATE": str(state), "PYTHONPATH": paths, "PORT": str(port)},
        stdout=(state / "log").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for _ in range(300):
            assert child.poll() is None, (state / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(10)


@pytest.fixture
def page() -> Iterator[Page]:
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


class Terminal:
    """The command line, as somebody in front of a terminal starts it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        paths = os.pathsep.join(map(str, (ROOT / "src",)))
        self.env = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "KEYSTEAD_HOME": str(home), "BROWSER": "true"}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        _, terminal = os.openpty()
        run = [sys.executable, "-c", "from keystead.cli.main import app; app()", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(run, stdin=terminal, stdout=pipe, stderr=pipe, env=self.env, text=True)

    def run(self, *words: str) -> tuple[int, str, str]:
        child = self.start(*words)
        out, err = child.communicate(timeout=60)
        return child.returncode, out, err


def said(child: "subprocess.Popen[str]", pattern: str) -> str:
    """The first of what it says that looks like that."""
    assert child.stderr is not None
    for line in child.stderr:
        found = re.search(pattern, line)
        if found is not None:
            return found[0]
    raise AssertionError(f"it said nothing like {pattern}")


def let_in(page: Page, decision: str = "Allow") -> None:
    for name, value in (("tenancy", "acme"), ("user", "root"), ("password", _password())):
        page.fill(f"#{name}", value)
    page.click("text=Sign in >> nth=-1")
    assert page.locator("strong", has_text="acme").count() == 1
    page.click(f"button:has-text('{decision}')")


def _password() -> str:
    from tests.web.region import PASSWORD

    return PASSWORD


def test_the_browser_lets_the_command_line_in(url: str, page: Page, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "home")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    login = terminal.start("login", "--url", url)
    page.goto(said(login, r"http://\S+/login/authorize\?\S+"))
    let_in(page)
    page.wait_for_url(re.compile(r"http://127\.0\.0\.1:\d+/[\w-]+\?code="))
    out, _ = login.communicate(timeout=60)
    assert login.returncode == 0 and "signed in to" in out and "as root" in out
    assert not [text for text in problems if "Content Security Policy" in text], problems
    key, token = tmp_path / "home/tokens/default.key", tmp_path / "home/tokens/default.json"
    assert stat.S_IMODE(key.stat().st_mode) == stat.S_IMODE(token.stat().st_mode) == 0o600
    assert terminal.run("whoami")[0] == 0
    assert terminal.run("session", "list")[0] == 0
    code, out, err = terminal.run("login", "--refresh")
    assert code == 0, err
    held = json.loads(token.read_text())
    token.write_text(json.dumps({**held, "bound": False}))  # as who stole the token alone
    assert terminal.run("whoami")[0] == 3
    token.write_text(json.dumps(held))
    assert terminal.run("logout")[0] == 0


def test_no_means_no(url: str, page: Page, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "home")
    login = terminal.start("login", "--url", url)
    page.goto(said(login, r"http://\S+/login/authorize\?\S+"))
    let_in(page, "Deny")
    _, err = login.communicate(timeout=60)
    assert login.returncode == 3 and "denied" in err
    assert not (tmp_path / "home/tokens").exists()


def test_a_device_is_let_in_with_its_code(url: str, page: Page, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "home")
    login = terminal.start("login", "--url", url, "--device")
    code = said(login, r"[A-Z]{4}-[A-Z]{4}")
    page.goto(f"{url}/login/device")
    page.fill("#user_code", code)
    let_in(page)
    assert "is let in" in page.inner_text("body")
    out, err = login.communicate(timeout=60)
    assert login.returncode == 0, err
    assert "as root" in out
    assert terminal.run("whoami")[0] == 0


# second factors


class Person:
    """A user with an app, recovery codes and the authenticator of this browser."""

    def __init__(self, url: str, page: Page) -> None:
        self.page, self.api = page, url.replace("127.0.0.1", "localhost")
        self.name = "ada-" + os.urandom(3).hex()
        self.step = 0.0
        root = self.post("", "auth/tokens", tenancy="acme", user="root", password=_password())["token"]
        made = self.post(root, "users", name=self.name)
        self.password = made["password"]
        token = self.post("", "auth/tokens", tenancy="acme", user=self.name, password=self.password)["token"]
        phone = self.post(token, "auth/totp", name="phone")
        self.uri = Secret(phone["uri"].encode())
        self.post(token, "auth/factors/actions/confirm", factor_id=phone["id"], code=self.code())
        self.token = self.vouching()
        self.plug_in()
        stick = self.post(self.token, "auth/webauthn", name="browser")
        page.goto(f"{self.api}/login/device")
        credential = page.evaluate(CREATE, stick["options"])
        self.post(self.token, "auth/factors/actions/confirm", factor_id=stick["id"], credential=credential)
        self.codes = self.post(self.token, "auth/recovery-codes")["codes"]

    def post(self, token: str, path: str, **body: Any) -> Any:
        return self.call("POST", token, path, body)

    def call(self, method: str, token: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.api}/keystead/v1/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=20) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            told = json.loads(error.read())
            assert told["code"] == "FactorRequired", told
            return told

    def plug_in(self) -> None:
        session = self.page.context.new_cdp_session(self.page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        session.send("WebAuthn.addVirtualAuthenticator", {"options": options})

    def code(self) -> str:
        """The earliest that is good and later than the last: each is good once, a step early and a step late."""
        while self.step >= time.time() // 30 + 1:
            time.sleep(0.5)
        self.step = max(self.step + 1, time.time() // 30 - 1)
        return code_at(self.uri, self.step * 30).reveal().decode()

    def vouching(self) -> str:
        asked = self.post("", "auth/tokens", tenancy="acme", user=self.name, password=self.password)
        shown = {"challenge": asked["challenge"], "factor": "totp"}
        return str(self.post("", "auth/factors", **shown, code=self.code())["token"])

    def to_the_factors(self) -> None:
        for name, value in (("tenancy", "acme"), ("user", self.name), ("password", self.password)):
            self.page.fill(f"#{name}", value)
        self.page.click("text=Sign in >> nth=-1")

    def shows(self, factor: str) -> None:
        """Do on the page what a person does for this factor."""
        page = self.page
        if factor in ("totp", "recovery"):
            page.check(f"input[value={factor}]")
            page.fill("#code", self.codes.pop() if factor == "recovery" else self.code())
            page.click("text=Go on")
        elif factor == "webauthn":
            page.click("text=Use your authenticator")  # the rest is between the browser and the authenticator
        else:
            page.click("text=Ask on another device")
            number = page.inner_text("#number")
            [waiting] = self.call("GET", self.token, "auth/sign-ins")["items"]
            self.post(self.token, "auth/sign-ins/actions/answer", sign_in_id=waiting["id"], number=number)
        page.wait_for_selector("button:has-text('Allow')")


@pytest.fixture
def watched(page: Page) -> Iterator[Page]:
    """A page that breaks no policy of its own."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    yield page
    assert not [text for text in problems if "Content Security Policy" in text], problems


def test_each_factor_lets_the_command_line_in(url: str, watched: Page, tmp_path: Path) -> None:
    person = Person(url, watched)
    for factor in ("webauthn", "click", "recovery", "totp"):
        terminal = Terminal(tmp_path / factor)
        login = terminal.start("login", "--url", person.api)
        watched.goto(said(login, r"http://\S+/login/authorize\?\S+"))
        person.to_the_factors()
        person.shows(factor)
        watched.click("button:has-text('Allow')")
        watched.wait_for_url(re.compile(r"http://127\.0\.0\.1:\d+/[\w-]+\?code="))
        out, err = login.communicate(timeout=60)
        assert login.returncode == 0 and f"as {person.name}" in out, (factor, err)
        code, out, err = terminal.run("session", "list", "--json")
        assert code == 0, err
        assert [each for each in json.loads(out) if set(each["factors"]) == {"password", factor}], out


@pytest.mark.parametrize("factor", ["webauthn", "click"])
def test_a_device_is_let_in_with_a_second_factor(url: str, watched: Page, tmp_path: Path, factor: str) -> None:
    person = Person(url, watched)
    terminal = Terminal(tmp_path / "home")
    login = terminal.start("login", "--url", person.api, "--device")
    code = said(login, r"[A-Z]{4}-[A-Z]{4}")
    watched.goto(f"{person.api}/login/device")
    watched.fill("#user_code", code)
    person.to_the_factors()
    person.shows(factor)
    watched.click("button:has-text('Allow')")
    assert "is let in" in watched.inner_text("body")
    out, err = login.communicate(timeout=60)
    assert login.returncode == 0 and f"as {person.name}" in out, err


def test_an_authenticator_of_somebody_else_lets_nobody_in(url: str, watched: Page) -> None:
    person = Person(url, watched)
    other = watched.context.browser.new_page()  # another browser, with an authenticator that nobody registered
    person.page = other
    person.plug_in()
    other.goto(f"{person.api}/login/device")
    other.fill("#user_code", "BBBB-BBBB")
    person.to_the_factors()
    other.click("text=Use your authenticator")
    other.wait_for_selector("text=The authenticator did not answer.")
    other.click("text=Use another factor")
    assert other.locator("#code").count() == 1
