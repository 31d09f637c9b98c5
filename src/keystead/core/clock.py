"""Time comes from a `Clock`.

`now` (UTC) is for people and deadlines, `monotonic` for leases and timeouts: a wall clock that is set back must open
nothing. `monotonic` is CLOCK_BOOTTIME, so that two processes on one machine may compare their readings.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from keystead.core.errors import Refusal

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back; counts suspend."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """A clock whose `now` never goes back: a wall clock that is set back does not revive what has expired.

    It follows `inner` forwards, and while that shows an earlier time than before, goes on at monotonic pace.
    """

    def __init__(self, inner: Clock, not_before: datetime | None = None) -> None:
        self._inner = inner
        highest = max(inner.now(), not_before) if not_before else inner.now()
        self._highest = (highest, inner.monotonic())

    def now(self) -> datetime:
        wall, at = self._inner.now(), self._inner.monotonic()
        highest, since = self._highest
        elapsed = at - since
        if (wall - highest).total_seconds() > elapsed:
            self._highest = (wall, at)
            return wall
        return highest + timedelta(seconds=elapsed)

    def monotonic(self) -> float:
        return self._inner.monotonic()


class ManualClock:
    """A clock for tests: stands still until told."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_back(self, seconds: float) -> None:
        """Set the wall clock back; the monotonic one does not follow."""
        self._now -= timedelta(seconds=seconds)


def isoformat(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and a Z: `2026-01-31T12:00:00.000Z`."""
    return _text(moment, "milliseconds")


def isoformat_exact(moment: datetime) -> str:
    """The same with microseconds, for what is stored: texts that sort as their moments do, and are read back."""
    return _text(moment, "microseconds")


def check_moment(name: str, moment: datetime) -> datetime:
    """A moment that a stranger gave, in UTC. `name` is what they call it.

    Raises:
        Refusal: `InvalidParameter`, it lies where no time zone, deadline or retention could be counted from it.
    """
    with suppress(OverflowError):
        found = moment.astimezone(UTC)
        if EARLIEST <= found < LATEST:
            return found
    raise Refusal("InvalidParameter", f"{name} must lie between the years {EARLIEST.year} and {LATEST.year}")


def _text(moment: datetime, precision: str) -> str:
    # strftime writes years before 1000 with fewer than four digits, which nobody reads back.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def parse_moment(text: str) -> datetime:
    """Read RFC 3339 back.

    Raises:
        ValueError: not a moment, or without a zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment needs a zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not a moment in UTC") from error
