"""The commands on the pages about signing in are run as they stand there; those of other pages are in tests/docs."""

import re
import shlex
from pathlib import Path

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import Region

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("sign-in.md", "federation.md")
# What only names a command, or waits for a person; run with what it needs in test_auth and test_contract.
NAMED = {
    "keystead login", "keystead login --password", "keystead login --provider okta", "keystead identity-provider link",
    "keystead identity-provider update", "keystead identity-provider disable", "keystead user auth-token-create",
}  # fmt: skip


def shown(page: str) -> list[str]:
    """Commands in blocks and within sentences, whole lines."""
    text = (DOCS / page).read_text().replace("\\\n", " ")
    blocks = re.findall(r"^(?: {4})?(keystead .*)$", text, re.MULTILINE)
    return [*blocks, *re.findall(r"`(keystead [^`]+)`", text.replace("\n", " "))]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs(
    signed_in: Keystead, region: Region, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("shared\n")
    for group in ("dbas", "Dba"):
        assert signed_in("group", "create", group).code == 0
    commands = [each for each in shown(page) if each not in NAMED]
    assert len(commands) >= 2
    for each in commands:
        words = shlex.split(each.replace(" ID", " ks1.device.main.home." + "a" * 32))
        given = ("--code", "123456") if "enrol-totp" in words else ("--yes",) if "forget" in words else ()
        ran = signed_in(*words[1:], *given)
        assert ran.code == 0, (each, ran.err)
