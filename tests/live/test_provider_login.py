"""The command line against a real region and a real OpenID Connect provider: the commands of docs/federation.md, and a
second factor of ours after the provider's page, to the end.
"""

import contextlib
import json
import os
import pty
import re
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.factors import code_at
from tests.live.logins_region import LoginPlace
from tests.live.test_federation import GROUP, PYTHON, Landed, NoFurther, Provider
from tests.live.test_up import PROGRAM
from tests.ports import free_block

from keystead.core.secret import Secret

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PYTHON.exists(), reason="run `make .oidc-venv/.locked`"),
]
SECRET = "s3cret&="


class Terminal:
    """Somebody's command line: a home of their own, one region."""

    def __init__(self, place: LoginPlace, name: str) -> None:
        self.place = place
        self.home = {"KEYSTEAD_HOME": str(place.directory / name)}
        self.where = ("--url", f"https://127.0.0.1:{place.port}", "--ca", str(place.state / "ca.pem"))

    def run(self, *arguments: str, stdin: str = "") -> str:
        done = self.place.run(*arguments, stdin=stdin, **self.home)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    def told(self, *arguments: str) -> Any:
        return json.loads(self.run("--json", *arguments))

    @contextlib.contextmanager
    def start(self, *arguments: str) -> "Iterator[tuple[subprocess.Popen[str], int]]":
        """It runs with a terminal; what is written there is typed."""
        typing, keyboard = pty.openpty()
        pipes = {"stdin": keyboard, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = self.place.environment() | self.home
        try:
            yield subprocess.Popen([PROGRAM, *arguments], text=True, env=environment, **pipes), typing
        finally:
            os.close(typing)
            os.close(keyboard)


class Browser(NoFurther):
    """Follows the provider's pages, until they lead to the region."""

    def __init__(self, region: str) -> None:
        self.region = region

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if newurl.startswith(self.region):
            raise Landed(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@pytest.fixture(scope="module")
def place() -> Iterator[LoginPlace]:
    directory = Path(tempfile.mkdtemp(prefix="ks-provider-"))
    port, endpoint, provider = free_block(3)
    found = LoginPlace(directory, port, endpoint)
    made = found.run(
        "init",
        *("--state", str(found.state), "--key-file", str(directory / "outside/root.key")),
        *("--credentials-file", str(directory / "credentials.json"), "--port", str(port)),
        *("--set", f"databases.endpoint_port={endpoint}"),
        *("--set", f"federation.inside=http://127.0.0.1:{provider}", "--json"),
    )
    try:
        assert made.returncode == 0, made.stderr
        found.up()
        (directory / "issuer").write_text(f"http://127.0.0.1:{provider}")
        yield found
    finally:
        found.run("down", "--state", str(found.state))
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def admin(place: LoginPlace) -> Terminal:
    shown = json.loads((place.directory / "credentials.json").read_text())
    terminal = Terminal(place, "admin")
    who = ("--tenancy", shown["tenancy"], "--user", shown["user"])
    terminal.run("login", *terminal.where, *who, "--password-stdin", stdin=shown["password"])
    return terminal


@pytest.fixture(scope="module")
def provider(place: LoginPlace, admin: Terminal) -> Iterator[Provider]:
    """Set up by the commands of the page."""
    issuer = (place.directory / "issuer").read_text()
    secret = place.directory / "secret.txt"
    secret.write_text(SECRET)
    admin.run("group", "create", "Dba")
    made = admin.told(
        *("identity-provider", "create", "canaille", "--issuer", issuer, "--client-id", "keystead"),
        *("--client-secret-file", str(secret), "--scopes", "openid,profile,groups", "--just-in-time"),
        *("--name-claim", "sub"),
    )
    admin.run("identity-provider", "map-group", "canaille", GROUP, "Dba")
    found = Provider(made["redirect_uri"], int(issuer.rpartition(":")[2]))
    yield found
    found.process.terminate()
    found.process.wait(10)


def come_back(place: LoginPlace, provider: Provider, url: str) -> None:
    """Everything that a person's browser does: the provider's pages, the region, and this machine's loopback."""
    region = f"https://127.0.0.1:{place.port}/"
    jar = urllib.request.HTTPCookieProcessor()
    provider.browser = urllib.request.build_opener(jar, Browser(region))
    landed = provider.approve(url)
    assert landed.startswith(region), landed
    context = ssl.create_default_context(cafile=str(place.state / "ca.pem"))
    urllib.request.urlopen(landed, timeout=30, context=context).read()


def through_provider(
    terminal: Terminal, tenancy: str, provider: Provider, *more: str, code: Callable[[], str] = str
) -> "subprocess.CompletedProcess[str]":
    where = (*terminal.where, "--tenancy", tenancy)
    shown = ""
    with terminal.start("login", *where, "--provider", "canaille", *more) as (login, typing):
        assert login.stderr is not None
        for line in login.stderr:
            shown += line
            if found := re.search(r"http://127\.0\.0\.1:\d+/\S+", line):
                come_back(terminal.place, provider, found[0])
                break
        os.write(typing, f"{code()}\n".encode())
        out, err = login.communicate(timeout=60)
    return subprocess.CompletedProcess(login.args, login.returncode, out, shown + err)


def test_a_factor_of_ours_after_the_provider(place: LoginPlace, admin: Terminal, provider: Provider) -> None:
    tenancy = json.loads((place.directory / "credentials.json").read_text())["tenancy"]
    ada = Terminal(place, "ada")
    first = through_provider(ada, tenancy, provider)
    assert first.returncode == 0, first.stderr
    assert ada.told("whoami")["name"] == "ada"
    assert [each["name"] for each in admin.told("group", "members", "Dba")] == ["ada"]

    made = ada.told("factor", "enrol-totp", "phone")

    def code(ahead: float) -> str:
        return code_at(Secret(made["uri"].encode()), time.time() + ahead).reveal().decode()

    ada.run("factor", "confirm", made["id"], "--code", code(0))
    ada.run("logout")

    wrong = through_provider(ada, tenancy, provider, "--factor", "totp:000000")
    assert wrong.returncode != 0 and "FactorWrong" in wrong.stderr, wrong.stderr
    again = through_provider(ada, tenancy, provider, code=lambda: code(30))  # each is good once
    assert again.returncode == 0, again.stderr
    assert ada.told("whoami")["name"] == "ada"
    sessions = ada.told("session", "list")
    assert any({"federated", "totp"} <= set(each["factors"]) for each in sessions), sessions

    admin.run("identity-provider", "disable", "canaille")
    refused = place.run("whoami", **ada.home)
    assert refused.returncode != 0, "what the provider led to ends with it"
    assert through_provider(ada, tenancy, provider).returncode != 0
