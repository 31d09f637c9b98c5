"""Every command explains itself, and docs/cli.md is what the commands say."""

from pathlib import Path

import pytest

from keystead.cli.reference import commands, render
from keystead.server.main import app

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
COMMANDS = dict(commands(app))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert command.help.strip()[-1] in ".:'", name
    for param in command.params:
        assert getattr(param, "help", None) or param.name == "help" or param.hidden, f"{name}: {param.name}"


def test_the_reference_is_current() -> None:
    assert DOCUMENT.read_text() == render(app), "run: python tools/cli_reference.py"


def test_what_was_promised_is_there() -> None:
    promised = {
        "": "login logout whoami status init up down serve work host doctor",
        "compartment": "create list show",
        "user": "create list show block unblock delete reset-password revoke-tokens "
        "auth-token-create auth-token-list auth-token-delete",
        "group": "create list show delete add-member remove-member members",
        "policy": "create list show update add-statement delete",
        "vault": "create list show",
        "key": "create list show enable disable rotate versions encrypt decrypt wrap unwrap rewrap generate-data-key",
        "db": "create list show start stop restart delete protect unprotect change-key rotate-data-keys verify "
        "revalidate confirm delete-identity restore-identity keys fence-receipt connect",
        "backup": "create list show delete restore",
        "job": "list show wait",
        "audit": "list verify",
        "state": "backup restore",
    }
    pairs = ((group, verb) for group, verbs in promised.items() for verb in verbs.split())
    assert {" ".join(filter(None, ("keystead", *pair))) for pair in pairs} <= set(COMMANDS)
