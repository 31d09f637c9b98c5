"""Clocks: a wall clock that is set back opens nothing."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.core.clock import (
    ManualClock,
    SteadyClock,
    SystemClock,
    check_moment,
    isoformat,
    isoformat_exact,
    parse_moment,
)
from keystead.core.errors import Refusal

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


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_what_is_stored_is_read_back_and_sorts_as_time_does(one: datetime, other: datetime) -> None:
    """The first years too: one moment that nobody can read back would stop every reader of the state."""
    assert datetime.fromisoformat(isoformat_exact(one)) == one
    assert (isoformat_exact(one) < isoformat_exact(other)) == (one < other)
    assert abs(parse_moment(isoformat(one)) - one) < timedelta(milliseconds=1)


EDGES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]


@pytest.mark.parametrize("text", EDGES)
def test_moments_that_are_none_in_utc(text: str) -> None:
    with pytest.raises(ValueError, match="not a moment"):
        parse_moment(text)


@pytest.mark.parametrize("text", [*EDGES, "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9000-01-01T00:00:00Z"])
def test_moments_of_strangers_lie_where_one_can_count(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_moment("expires_at", datetime.fromisoformat(text))
    assert caught.value.message == "expires_at must lie between the years 1970 and 9000"


def test_a_moment_that_can_be_is_taken_in_utc() -> None:
    taken = check_moment("expires_at", datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    assert (taken, taken.tzinfo) == (datetime(2030, 1, 1, 10, tzinfo=UTC), UTC)
