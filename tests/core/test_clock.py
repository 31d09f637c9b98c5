"""Clocks: a wall clock that is set back opens nothing."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.core.clock import ManualClock, SteadyClock, SystemClock, isoformat, parse_moment

STEPS = st.lists(st.tuples(st.sampled_from(["advance", "back", "ahead"]), st.floats(0.001, 1e5)), max_size=30)


@given(STEPS)
def test_a_steady_clock_never_goes_back_and_never_falls_behind(steps: list[tuple[str, float]]) -> None:
    inner = ManualClock()
    steady = SteadyClock(inner)
    before = steady.now()
    for what, seconds in steps:
        match what:
            case "advance":
                inner.advance(seconds)
            case "back":
                inner.set_back(seconds)
            case _:
                inner.set_back(-seconds)
        now = steady.now()
        assert now >= before
        assert now >= inner.now()
        before = now


def test_set_back_it_goes_on_at_the_pace_of_time() -> None:
    inner = ManualClock()
    steady = SteadyClock(inner)
    inner.advance(10)
    at = steady.now()
    inner.set_back(3600)
    inner.advance(5)
    assert steady.now() == at + timedelta(seconds=5)
    inner.set_back(-3600)
    assert steady.now() == inner.now()


def test_it_begins_no_earlier_than_it_is_told() -> None:
    inner = ManualClock()
    last = inner.now() + timedelta(days=1)
    steady = SteadyClock(inner, last)
    assert steady.now() == last
    inner.advance(1)
    assert steady.now() == last + timedelta(seconds=1)
    assert SteadyClock(inner, inner.now() - timedelta(days=1)).now() == inner.now()


def test_the_machines_clock_is_aware_and_goes_on() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_moments_are_told_in_utc_with_milliseconds() -> None:
    moment = datetime(2026, 1, 31, 13, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=1)))
    assert isoformat(moment) == "2026-01-31T12:00:00.123Z"
    assert parse_moment("2026-01-31T13:00:00.123456+01:00") == moment


@pytest.mark.parametrize("text", ["", "2026-01-31", "2026-01-31T12:00:00", "noon"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|isoformat"):
        parse_moment(text)
