"""What the pages show is run as it stands, on a real region."""

import os
import subprocess
import sys

import pytest
from tests.docs.place import ROOT, place

PAGES = (
    "README.md", "docs/tutorial.md", "docs/operations.md", "docs/database-login.md", "docs/dialects/vault.md",
    "docs/approvals.md",
)  # fmt: skip
NOBODY = 65534

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_does_what_is_shown(page: str) -> None:
    with place() as found:
        found.run_page(ROOT / page)


@pytest.mark.skipif(os.geteuid() != 0, reason="is what the other test does already")
def test_the_tutorial_needs_no_root() -> None:
    as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    can = subprocess.run([*as_nobody, sys.executable, "-c", "import keystead"], capture_output=True, check=False)
    if can.returncode:
        pytest.skip("others may not read this clone")
    with place(NOBODY) as found:
        found.run_page(ROOT / "docs/tutorial.md")
