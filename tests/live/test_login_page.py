"""`keystead login` with a real browser: a page is filled in, the command line let in, and its token needs its key."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
APP = """
import asyncio, os, pathlib, socket, uvloop
from datetime import UTC, datetime
from keystead.web.app import make_app
from keystead.web.listener import Listener
from tests.web.region import open_region

region = open_region(pathlib.Path(os.environ["STATE"]))


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
