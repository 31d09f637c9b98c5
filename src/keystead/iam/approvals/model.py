"""Break glass: a membership for a while, with a reason.

    running --(its moment comes)--> ended      "time"
            --(somebody ends it)--> ended      "early"
            --(taken out, or put in for good)  "removed", "replaced"

What ends it is its moment, looked at when the membership is used; that the row says so too is bookkeeping.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from keystead.core.ids import BreakGlassId, GroupId, TenancyId, UserId

How = Literal["", "time", "early", "removed", "replaced"]


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """Somebody in a group until `expires_at`, and why. `ended_at` is None until somebody, or time, has ended it."""

    id: BreakGlassId
    tenancy: TenancyId
    group_id: GroupId
    group_name: str
    user_id: UserId
    user_name: str
    reason: str
    granted_by: UserId
    granted_by_name: str
    began_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    ended_by: str = ""
    how: How = ""

    def running(self, now: datetime) -> bool:
        """Whether the membership counts at `now`."""
        return self.ended_at is None and now < self.expires_at
