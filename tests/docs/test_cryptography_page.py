"""docs/api/cryptography.md says what the catalogue and the limits of the code say."""

from pathlib import Path

from keystead.crypto.suites import CURRENT
from keystead.vault.use.batch import MAX_ITEMS
from keystead.vault.use.operations import MAX_PLAINTEXT, MAX_RANDOM
from keystead.web.api import cryptography

PAGE = (Path(__file__).parent.parent.parent / "docs" / "api" / "cryptography.md").read_text()


def test_every_algorithm_stands_with_what_it_can() -> None:
    rows = [line for line in PAGE.split("## Limits")[0].splitlines() if line.startswith("| ")][1:]
    told = {name: row for row in rows for name in row.split("|")[1].strip().split(", ")}
    assert set(told) == set(CURRENT)
    for name, suite in CURRENT.items():
        assert ("| yes |" in told[name]) == ("wrap" in suite.operations)
        if suite.schemes:
            assert told[name].split("|")[3].split(",")[0].strip() == suite.schemes[0]
            for scheme in suite.schemes:
                family, _, digest = scheme.rpartition("-")
                assert scheme in told[name] or (family in told[name] and f"-{digest}" in told[name])


def test_limits_and_paths() -> None:
    assert MAX_PLAINTEXT == MAX_RANDOM == 64 * 1024
    assert f"| items of a batch | {MAX_ITEMS} |" in PAGE
    for operation in cryptography.OPERATIONS:
        assert operation.path.rpartition("/")[2] in PAGE
