"""How often somebody may be wrong: budgets, pure.

A budget belongs to who is tried from where, never to the user alone, so that nobody spends another's:

    device   a user, from a device that this user has signed in from before (it shows what it was given then)
    place    a user (as typed, whether there is one or not), from a network
    source   a network, whoever is tried from there; not asked of known devices
    user     how often a user was tried in vain from anywhere: never waited for, only counted (see risk)

Each attempt is paid for before the password is looked at, in one transaction, so that many at once are as good as one
after another. FREE attempts cost nothing; each one more doubles the wait, up to LONGEST. What was spent is forgotten
after FORGET without a further attempt; a budget that is being waited for costs nothing more.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

BudgetKind = Literal["device", "place", "source", "user"]
FREE: Final[dict[BudgetKind, int]] = {"device": 5, "place": 5, "source": 30, "user": 1 << 30}
FIRST_WAIT: Final = timedelta(seconds=2)
LONGEST: Final = timedelta(minutes=15)
FORGET: Final = timedelta(hours=1)
AT_ONCE: Final = datetime.fromtimestamp(0, UTC)
MAX_BUDGETS: Final = 20_000
"""Rows kept; beyond it the oldest go first."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What was spent: `spent` attempts, the last one `at`; nothing more until `until`: AT_ONCE after a free one.

    It is not the moment of that attempt: of several at once, one that began earlier may come to pay later.
    """

    mark: bytes
    kind: BudgetKind
    spent: int
    at: datetime
    until: datetime


def pay(found: Budget | None, kind: BudgetKind, mark: bytes, now: datetime) -> tuple[Budget, timedelta]:
    """The budget after one more attempt at `now`, and how long to wait first (zero: go on).

    A clock set back makes nobody wait longer than LONGEST, and nothing is forgotten for it.
    """
    if found is None or now - found.at >= FORGET:
        found = Budget(mark, kind, 0, now, AT_ONCE)
    wait = min(found.until - now, LONGEST)
    if wait > timedelta(0):
        return found, wait
    spent = found.spent + 1
    over = spent - FREE[kind]
    until = AT_ONCE if over < 0 else now + min(FIRST_WAIT * 2 ** min(over, 16), LONGEST)
    return Budget(mark, kind, spent, max(now, found.at), until), timedelta(0)


def give_back(paid: Budget) -> Budget | None:
    """After the password was right: nothing is owed any more; of a source's budget only this one attempt is not."""
    if paid.kind != "source" or paid.spent <= 1:
        return None
    return replace(paid, spent=paid.spent - 1, until=AT_ONCE)
