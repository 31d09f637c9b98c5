"""docs/policy.md says what the catalogue and the parser know. `KEYSTEAD_WRITE_DOCS=1` brings its tables up to date."""

import os
import re
from pathlib import Path

import pytest

from keystead.iam import actions
from keystead.iam.policy import variables
from keystead.iam.policy.check import check_statements
from keystead.iam.policy.matching import check_matching
from keystead.iam.policy.parse import parse

DOC = Path(__file__).parents[2] / "docs" / "policy.md"


@pytest.mark.parametrize(
    ("name", "table"), [("actions", actions.as_markdown()), ("variables", variables.as_markdown())]
)
def test_tables_are_those_of_the_catalogue(name: str, table: str) -> None:
    written = DOC.read_text()
    found = re.search(rf"(<!-- {name}: [^\n]*-->\n)(.*?)(<!-- end -->)", written, re.DOTALL)
    assert found is not None
    if os.environ.get("KEYSTEAD_WRITE_DOCS"):
        DOC.write_text(written[: found.start(2)] + table + written[found.end(2) :])
    else:
        assert found[2] == table, "run this test with KEYSTEAD_WRITE_DOCS=1"


def test_statements_shown_are_read() -> None:
    words = "Allow|Deny|Endorse|Admit|Define"
    shown = re.findall(r"`(Allow [^`]*)`", DOC.read_text())
    blocks = re.findall(rf"^(?:{words}) .* .*$", DOC.read_text(), re.MULTILINE)
    assert len(shown) >= 2 and len(blocks) >= 9
    check_statements([*shown, *blocks])
    rules = re.findall(r"^(?:ALL|ANY) \{.*$", DOC.read_text(), re.MULTILINE)
    assert len(rules) == 3
    for rule in rules:
        check_matching(rule)


def test_subjects_places_and_conditions_shown_are_read() -> None:
    doc = DOC.read_text()
    rows = [line for line in doc[: doc.index("## What is denied")].splitlines() if line.startswith("| `")]
    about_subjects = [row for row in rows if row in doc[: doc.index("## What")]]
    subjects = [
        found for row in about_subjects for found in re.findall(r"`((?:group|dynamic-group|service|any-)[^`]*)`", row)
    ]
    places = [found for row in rows for found in re.findall(r"^\| `((?:tenancy|compartment)[^`]*)`", row)]
    conditions = re.findall(r"^where (.*)$", doc, re.MULTILINE)
    assert len(subjects) == 10 and len(places) == 4 and len(conditions) == 3
    for subject in subjects:
        parse(f"Allow {subject.replace('...', '.x')} to use keys in tenancy")
    for place in places:
        parse(f"Allow any-user to use keys in {place.replace('...', '.x')}")
    for condition in conditions:
        parse(f"Allow any-user to use keys in tenancy where {condition}")
