"""Rules of approval, requests that wait for it, and break glass: a membership for a while, with a reason.

A request that waits, its stored states and those that follow from votes and time:

    PENDING --(enough votes)--> [APPROVED] --(repeated to the letter, once)--> EXECUTED
            --(one approver)--> REJECTED      --(its requester)--> WITHDRAWN      --(its time is over)--> [EXPIRED]

Break glass:

    running --(its moment comes)--> ended      "time"
            --(somebody ends it)--> ended      "early"
            --(taken out, or put in for good)  "removed", "replaced"

What ends it is its moment, looked at when the membership is used; that the row says so too is bookkeeping.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from keystead.core.ids import (
    ApprovalId,
    ApprovalRuleId,
    BreakGlassId,
    CompartmentId,
    GroupId,
    PrincipalId,
    TenancyId,
    UserId,
)

Stored = Literal["PENDING", "EXECUTED", "REJECTED", "WITHDRAWN"]
State = Literal["PENDING", "APPROVED", "EXECUTED", "REJECTED", "WITHDRAWN", "EXPIRED"]
Choice = Literal["approve", "reject"]
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


@dataclass(frozen=True, slots=True)
class Rule:
    """`operations` on what lies in `compartment` or below need `needed` members of `group_id` to approve, within
    `hours`. Whoever is in `emergency_group` by break glass needs nobody; empty: there is no such way.
    """

    id: ApprovalRuleId
    tenancy: TenancyId
    compartment: CompartmentId
    name: str
    operations: tuple[str, ...]
    group_id: GroupId
    needed: int
    emergency_group: str
    hours: int
    description: str
    created_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class Term:
    """What one rule asked when the request was made: the rule as it was, and who was in its group then."""

    rule: str
    name: str
    version: int
    group: str
    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Approval:
    """A request that waits. `digest` is that of the whole request and who makes it; `request` shows it, as JSON.
    `target_version` is that of the thing it is about; 0 where that is not there yet, or has none. `used_by` is the id
    of the one request that carried it out.
    """

    id: ApprovalId
    tenancy: TenancyId
    compartment: CompartmentId
    operation: str
    target_type: str
    target_id: str
    target_name: str
    target_version: int
    requester: PrincipalId
    requester_name: str
    digest: str
    request: str
    terms: tuple[Term, ...]
    state: Stored
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    used_by: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class Vote:
    """What one person says. Each says it once."""

    user_id: UserId
    user_name: str
    choice: Choice
    comment: str
    at: datetime
