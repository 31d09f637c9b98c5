"""What the pages show is run as it stands, on a real region."""

import os
import subprocess
import sys

import pytest
from tests.docs.place import ROOT, place

TUTORIAL = "docs/tutorial.md"
PAGES = (
    "README.md", TUTORIAL, "docs/operations.md", "docs/database-login.md", "docs/dialects/vault.md",
    "docs/approvals.md",
)  # fmt: skip
NOBODY = 65534

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_does_what_is_shown(page: str) -> None:
    with place(nobody() if page == TUTORIAL else None) as found:
        found.run_page(ROOT / page)


def nobody() -> int | None:
    """Somebody else than root: whoever begins is not. None: nor are we, or others may not read this clone."""
    if os.geteuid() != 0:
        return None
    as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    can = subprocess.run([*as_nobody, sys.executable, "-c", "import keystead"], capture_output=True, check=False)
    return None if can.returncode else NOBODY
