"""docs/lifecycle.md has the table of legal moves. `KEYSTEAD_WRITE_DOCS=1` brings it up to date."""

import os
import re
from pathlib import Path
from typing import get_args

from keystead.vault.lifecycle import table as lifecycle

DOC = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def test_the_moves_are_those_of_the_table() -> None:
    written = DOC.read_text()
    found = re.search(r"(<!-- moves: [^\n]*-->\n)(.*?)(<!-- end -->)", written, re.DOTALL)
    assert found is not None
    table = "\n" + lifecycle.as_markdown() + "\n"
    if os.environ.get("KEYSTEAD_WRITE_DOCS"):
        DOC.write_text(written[: found.start(2)] + table + written[found.end(2) :])
    else:
        assert found[2] == table, "run this test with KEYSTEAD_WRITE_DOCS=1"


def test_every_reason_is_explained() -> None:
    written = DOC.read_text()
    for reason in get_args(lifecycle.Loss):
        assert f"| `{reason}` |" in written
