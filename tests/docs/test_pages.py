"""What the pages show is run as it stands, on a real region."""

from pathlib import Path

import pytest
from tests.docs.place import ROOT, place

PAGES = ("README.md", "docs/tutorial.md", "docs/operations.md")


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_every_command_does_what_is_shown(page: str) -> None:
    with place() as found:
        found.run_page(Path(ROOT / page))
