"""A fake region, and the command line run against it."""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.region import Region, Server
from typer.main import get_command
from typer.testing import CliRunner

from keystead.server.main import app


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Keystead = Callable[..., Ran]

built = functools.cache(get_command)  # building a hundred commands takes longer than running one


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty KEYSTEAD_HOME."""
    monkeypatch.setenv("KEYSTEAD_HOME", str(tmp_path / "home"))
    for name in ("KEYSTEAD_CONFIG", "KEYSTEAD_PROFILE", "MYSQL_PWD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(Region())
    yield running
    running.close()


@pytest.fixture
def region(server: Server) -> Region:
    return server.region


@pytest.fixture
def keystead(home: Path, monkeypatch: pytest.MonkeyPatch) -> Keystead:
    """Runs one command in this process: `keystead("key", "list", stdin=b"")`."""

    def run(*arguments: str, stdin: bytes | str | None = None) -> Ran:
        monkeypatch.setattr("typer.testing._get_command", built)
        result = CliRunner().invoke(app, list(arguments), input=stdin, prog_name="keystead")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def signed_in(keystead: Keystead, server: Server) -> Keystead:
    """The same, signed in as olivia of acme."""
    ran = keystead(
        *("login", "--url", server.url, "--tenancy", "acme", "--user", "olivia", "--password-stdin"),
        stdin="correct horse\n",
    )
    assert ran.code == 0, ran.err
    return keystead
