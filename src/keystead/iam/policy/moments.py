"""What `before`, `after` and `between` compare: moments, times of day, and numbers.

    '2026-01-31T12:00:00Z'   a moment (RFC 3339, with its zone)
    '09:00:00Z'              a time of day, UTC
    '11'                     a number (a month, a day of the month, ...)

Only values of one kind compare. A range of moments runs forwards; one of times or numbers may wrap (22:00 to 06:00,
month 11 to 2). Parts of `request.utc-timestamp` (`.time-of-day`, `.day-of-week`, ...) are derived from it here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Literal

from keystead.core.clock import parse_moment

ScaleKind = Literal["moment", "time", "number"]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
TIMESTAMP = "request.utc-timestamp"
TIMESTAMP_PARTS: frozenset[str] = frozenset({"month-of-year", "day-of-month", "day-of-week", "time-of-day"})


@dataclass(frozen=True, slots=True)
class Scale:
    """A value on a scale. `at` is microseconds since the epoch, since midnight, or the number itself."""

    kind: ScaleKind
    at: int


def scale(text: str) -> Scale | None:
    """`text` as a moment, a time of day or a number; None when it is none of them."""
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return Scale("number", int(text))
    try:
        if "T" in text or "t" in text or " " in text:
            return Scale("moment", _microseconds(parse_moment(text.upper())))
        of_day = time.fromisoformat(text.upper())
    except (ValueError, OverflowError):
        return None
    offset = of_day.utcoffset()
    if offset is None or offset:
        return None
    return Scale("time", _of_day(of_day))


def within(value: Scale, low: Scale, high: Scale) -> bool:
    """Whether `value` lies between `low` and `high`, both included; a time or a number may wrap."""
    if not value.kind == low.kind == high.kind:
        return False
    if low.at <= high.at:
        return low.at <= value.at <= high.at
    return value.kind != "moment" and (value.at >= low.at or value.at <= high.at)


def timestamp_part(text: str, part: str) -> str | None:
    """One part of a timestamp: `month-of-year` '1'..'12', `day-of-month` '1'..'31', `day-of-week` 'monday'...,
    `time-of-day` 'HH:MM:SSZ'. None when `text` is not a moment or there is no such part."""
    try:
        moment = parse_moment(text)
    except (ValueError, OverflowError):
        return None
    match part:
        case "month-of-year":
            return str(moment.month)
        case "day-of-month":
            return str(moment.day)
        case "day-of-week":
            return DAYS[moment.weekday()]
        case "time-of-day":
            return moment.strftime("%H:%M:%SZ")
        case _:
            return None


def _microseconds(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _of_day(value: time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
