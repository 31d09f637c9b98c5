"""Moments, times of day and numbers compare only with their kind."""

import pytest

from keystead.iam.policy.moments import Scale, scale, timestamp_part, within


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", Scale("moment", 1_000_000)),
        ("1970-01-01t01:00:00.000001+01:00", Scale("moment", 1)),
        ("00:01:00Z", Scale("time", 60_000_000)),
        ("00:00:00+00:00", Scale("time", 0)),
        ("09:00:00+02:00", None),
        ("09:00:00", None),
        ("12", Scale("number", 12)),
        ("007", Scale("number", 7)),
        ("-1", None),
        ("١", None),
        ("9" * 13, None),
        ("1970-01-01T00:00:01", None),
        ("1970-01-01", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("monday", None),
        ("", None),
    ],
)
def test_what_is_on_a_scale(text: str, expected: Scale | None) -> None:
    assert scale(text) == expected


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        ("5", "5", "5", True),
        ("4", "5", "9", False),
        ("1", "11", "2", True),
        ("5", "11", "2", False),
        ("23:00:00Z", "22:00:00Z", "06:00:00Z", True),
        ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2025-01-01T00:00:00Z", False),
        ("2028-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2025-01-01T00:00:00Z", False),
        ("5", "00:00:00Z", "23:00:00Z", False),
    ],
)
def test_ranges(value: str, low: str, high: str, expected: bool) -> None:
    on, first, last = scale(value), scale(low), scale(high)
    assert on is not None and first is not None and last is not None
    assert within(on, first, last) is expected


def test_parts_of_a_timestamp_are_utc() -> None:
    late = "2026-12-31T23:30:00-01:00"
    assert timestamp_part(late, "month-of-year") == "1"
    assert timestamp_part(late, "day-of-month") == "1"
    assert timestamp_part(late, "day-of-week") == "friday"
    assert timestamp_part(late, "time-of-day") == "00:30:00Z"
    assert timestamp_part(late, "year") is None
    assert timestamp_part("soon", "day-of-week") is None
