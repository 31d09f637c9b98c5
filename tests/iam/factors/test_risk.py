"""Risk is a table: the same facts, the same score, and each part is named."""

import re
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from keystead.iam.factors.risk import HIGH, MEDIUM, Facts, as_markdown, assess, level_of, reaches

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUIET = {"known_device": True, "known_network": True, "devices": 1, "networks": 1}
DOC = Path(__file__).parents[3] / "docs" / "sign-in.md"


def test_what_is_usual_scores_nothing_and_the_first_time_is_usual() -> None:
    assert assess(Facts(NOON, **QUIET)).parts == {}
    assert assess(Facts(NOON, known_device=False, known_network=False)).score == 0


def test_each_part() -> None:
    cases = {
        "new-device": {"known_device": False},
        "new-network": {"known_network": False},
        "pace": {"network_changes": 2},
        "hour": {"hours": frozenset({3}), "days": 7},
    }
    for name, changes in cases.items():
        assert set(assess(Facts(NOON, **{**QUIET, **changes})).parts) == {name}
    assert assess(Facts(NOON, **{**QUIET, "hours": frozenset({11}), "days": 9})).parts == {}
    assert assess(Facts(NOON, **QUIET, network_changes=1)).parts == {}
    strange = assess(Facts(NOON, **{**QUIET, "known_device": False}, failures=3, network_changes=1))
    assert strange.parts == {"new-device": 25, "pace": 30, "failures": 15} and strange.level == "high"


@given(st.integers(0, 1000))
def test_strangers_do_not_make_a_known_device_suspicious(failures: int) -> None:
    assert assess(Facts(NOON, **QUIET, failures=failures)).score == 0


@given(st.booleans(), st.booleans(), st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))
def test_the_score_is_bounded_and_more_never_lowers_it(
    device: bool, network: bool, changes: int, failures: int, days: int
) -> None:
    facts = {"known_device": device, "known_network": network, "devices": 1, "networks": 1}
    less = assess(Facts(NOON, **facts, network_changes=changes, failures=failures, days=days))
    more = assess(Facts(NOON, **facts, network_changes=changes + 1, failures=failures + 1, days=days + 1))
    assert 0 <= less.score <= more.score <= 100
    assert less == assess(Facts(NOON, **facts, network_changes=changes, failures=failures, days=days))


def test_levels() -> None:
    assert [level_of(score) for score in (0, MEDIUM - 1, MEDIUM, HIGH - 1, HIGH, 100)] == [
        "low", "low", "medium", "medium", "high", "high",
    ]  # fmt: skip
    assert reaches("high", "medium") and not reaches("low", "medium") and not reaches("high", "never")


def test_the_page_shows_the_table() -> None:
    found = re.search(r"<!-- risk -->\n(.*?)<!-- end -->", DOC.read_text(), re.DOTALL)
    assert found is not None and found[1] == as_markdown()
