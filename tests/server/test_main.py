"""The console script: its commands, their help, and what it does with errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keystead.server.main import app

OURS = ("init", "up", "down", "serve", "work", "host", "doctor", "migrate")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYSTEAD_")}
    return subprocess.run(
        [sys.executable, "-m", "keystead.server.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


def test_help_names_every_command() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    for name in (*OURS, "login", "key", "db", "state"):
        assert f"  {name} " in said


@pytest.mark.parametrize("name", OURS)
def test_every_command_has_help(name: str) -> None:
    found = CliRunner().invoke(app, [name, "--help"])
    assert found.exit_code == 0
    assert len(found.output.splitlines()) > 5


def test_help_loads_none_of_the_heavy_parts() -> None:
    """`keystead --help` is for people who wait for it."""
    heavy = ("sqlalchemy", "h11", "msgspec", "cryptography", "alembic", "structlog", "pymysql", "joserfc", "lark")
    program = (
        "import sys; from typer.testing import CliRunner; from keystead.server.main import app;"
        f"CliRunner().invoke(app, ['--help']); print([name for name in {heavy!r} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == "[]"


def test_where_there_is_no_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "keystead.server.process.confine.confine", lambda: None
    )  # it would confine the test's own process
    for command in ("up", "down", "doctor", "migrate", "serve", "work", "host"):
        found = CliRunner().invoke(app, [command, "--state", str(tmp_path)])
        assert found.exit_code == 1, found
        assert "there is no region here" in found.stderr
        assert "keystead init" in found.stderr


def test_init_for_scripts(tmp_path: Path) -> None:
    given = ["--state", str(tmp_path / "state"), "--key-file", str(tmp_path / "key"), "--port", "8123"]
    found = run("init", *given, "--tenancy", "acme", "--admin", "olivia", "--set", "listen.workers=1", "--json")
    assert found.returncode == 0, found.stderr
    shown = json.loads(found.stdout)
    assert shown["url"] == "https://127.0.0.1:8123"
    assert (shown["tenancy"], shown["user"]) == ("acme", "olivia")
    assert len(shown["password"]) == 20
    assert len(shown["passphrase"]) == 39
    assert "workers = 1" in (tmp_path / "state/keystead.toml").read_text()
    again = run("init", *given)
    assert again.returncode == 1
    assert "there is a region" in again.stderr


def test_init_refuses_settings_that_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keystead.server.process.confine.confine", lambda: None)
    for given, words in (
        ("listen.prot=1", "did you mean port?"),
        ("listen.port=x", "[listen] port"),
        ("x", "not a setting"),
        ("a.b=c", "no section [a]"),
    ):
        command = ["init", "--state", str(tmp_path / "state"), "--key-file", str(tmp_path / "k"), "--set", given]
        found = CliRunner().invoke(app, command)
        assert found.exit_code == 1
        assert words in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_internal_error_shows_frames_and_no_values() -> None:
    program = (
        "import sys; from keystead.server import main, settings;\n"
        "def broken(*_a, **_k): raise ValueError('hunter2')\n"
        "settings.load = broken; sys.argv = ['keystead', 'doctor']; main.main()"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 70
    assert "ValueError" in found.stderr
    assert "hunter2" not in found.stderr
