"""When keys are rotated by themselves, and when their expiry is announced. Pure.

A key with `rotation_days` gets a new version that often, never later: its day is moved forward by up to a day, by an
amount of its own, so that keys made together are not rotated together. A key that was due several times while nothing
ran is rotated once. What is due is decided again inside the transaction that does it, so it is done once.

Expiry is announced 30, 7 and 1 days before it and when it has come: each once, and those missed meanwhile not any more.
"""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from keystead.core.errors import Refusal
from keystead.vault.model import Key

MIN_ROTATION_DAYS, MAX_ROTATION_DAYS = 60, 365
WARNINGS = (0, 1, 7, 30)
"""Days before expiry, the nearest first."""
_JITTER = timedelta(days=1)


def check_rotation(days: int) -> None:
    """Raises: Refusal when it is neither 0 (never by itself) nor 60 to 365 days."""
    if days and not MIN_ROTATION_DAYS <= days <= MAX_ROTATION_DAYS:
        raise Refusal(
            "InvalidParameter",
            f"rotation_days is between {MIN_ROTATION_DAYS} and {MAX_ROTATION_DAYS}, or 0 for never",
            hint="90 is a good choice; a key can be rotated by hand at any time",
        )


def next_rotation(key_id: str, number: int, since: datetime, days: int) -> datetime | None:
    """When the version after `number` is to be made, when `number` is from `since`; None for never."""
    if not days:
        return None
    drawn = hashlib.sha256(f"{key_id}/{number}".encode()).digest()[:4]
    early = _JITTER * (int.from_bytes(drawn, "big") / 2**32)
    return since + timedelta(days=days) - early


def rotated(key: Key, now: datetime) -> Key:
    """The key with a new current version, made now."""
    current = key.current + 1
    return replace(
        key,
        current=current,
        rotated_at=now,
        next_rotation_at=next_rotation(key.id, current, now, key.rotation_days),
        version=key.version + 1,
    )


def rotation_due(key: Key, now: datetime) -> bool:
    """Whether its time has come. Whether it may be done (state, lock) is another question."""
    return key.next_rotation_at is not None and key.next_rotation_at <= now


def warning_due(key: Key, now: datetime) -> int | None:
    """The warning (days before expiry, 0: it has come) that is to be given now; None when none is."""
    if key.expires_at is None:
        return None
    left = key.expires_at - now
    for days in WARNINGS:
        if left <= timedelta(days=days):
            return days if key.warned_days < 0 or days < key.warned_days else None
    return None


def next_due(key: Key, now: datetime) -> datetime | None:
    """The next moment after `now` at which upkeep has something to do for the key; None when there is none."""
    moments = [key.next_rotation_at, key.deletion_at, key.purge_at]
    if key.expires_at is not None:
        moments += [key.expires_at - timedelta(days=days) for days in WARNINGS]
    return min((moment for moment in moments if moment is not None and moment > now), default=None)
