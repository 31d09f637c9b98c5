"""The pages about the API say what the code does."""

import json
import re
from pathlib import Path

from keystead.core.page import DEFAULT_LIMIT, MAX_LIMIT
from keystead.web.api import TABLE
from keystead.web.pipeline import Limits
from keystead.web.reference import text

API = Path(__file__).parents[2] / "docs" / "api"


def test_the_list_of_operations_is_current() -> None:
    written = (API / "operations.md").read_text()
    assert written == text(), "run: python -m keystead.web.reference > docs/api/operations.md"


def test_every_operation_is_listed_once() -> None:
    names = re.findall(r"^\| (\w+) \|", text(), re.MULTILINE)
    assert sorted(name for name in names if name != "Operation") == sorted(one.name for one in TABLE)


def test_figures_in_the_text() -> None:
    page = (API / "README.md").read_text()
    assert f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} when absent" in page
    assert Limits().body_bytes == 1 << 20 and "at most 1 MiB" in page


def test_codes_in_the_text_are_codes_of_ours() -> None:
    source = "".join(path.read_text() for path in (API.parents[1] / "src" / "keystead").rglob("*.py"))
    page = (API / "README.md").read_text()
    for row in re.findall(r"^\| [45][0-9, ]+ \|.*$", page, re.MULTILINE):
        for code in re.findall(r"`([A-Z]\w+)`", row.rpartition("|")[0].rpartition("|")[2]):
            assert f'"{code}"' in source, code


def test_examples_are_json() -> None:
    page = (API / "README.md").read_text()
    example = re.search(r'^\{"code".*?\}$', page, re.MULTILINE | re.DOTALL)
    assert example is not None and set(json.loads(example[0])) == {"code", "message", "hint", "request_id"}
