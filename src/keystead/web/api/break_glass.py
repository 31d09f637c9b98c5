"""Break glass over REST: memberships for a while, with a reason. See iam/approvals/break_glass."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from keystead.iam.approvals.break_glass import LONGEST_MINUTES
from keystead.iam.approvals.model import BreakGlass
from keystead.web.api.shared import paged
from keystead.web.messages import Listing, Message, id_pattern
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

UserRef = Annotated[str, Meta(pattern=id_pattern("user"), max_length=120, description="Id of a user.")]
GroupRef = Annotated[str, Meta(pattern=id_pattern("group"), max_length=120, description="Id of a group.")]


class BeginBreakGlass(Message):
    """Who is to be in the group for a while, and why."""

    user_id: UserRef
    seconds: Annotated[int, Meta(ge=1, le=LONGEST_MINUTES * 60, description="For how long; the group has a limit.")]
    reason: Annotated[str, Meta(min_length=1, max_length=400, description="Why: it stands in the audit trail.")]


class BreakGlassReply(Message):
    """A membership for a while. It counts until `expires_at`, or until it was ended."""

    id: str
    group_id: str
    group_name: str
    user_id: str
    user_name: str
    reason: str
    granted_by_id: str
    granted_by_name: str
    began_at: datetime
    expires_at: datetime
    running: bool
    ended_at: datetime | None
    how: Annotated[
        Literal["", "time", "early", "removed", "replaced"], Meta(description="What ended it; empty while it is not.")
    ]


class BreakGlassPage(Message):
    """Some of them, newest first."""

    items: list[BreakGlassReply]
    next_page: str | None


class BreakGlassListing(Listing, kw_only=True):
    """Of which group."""

    group_id: GroupRef | None = None


def shown_break_glass(services: Services, found: BreakGlass) -> BreakGlassReply:
    now = services.clock.now()
    over = found.ended_at is None and not found.running(now)  # and nobody has written that down yet
    return BreakGlassReply(
        id=found.id,
        group_id=found.group_id,
        group_name=found.group_name,
        user_id=found.user_id,
        user_name=found.user_name,
        reason=found.reason,
        granted_by_id=found.granted_by,
        granted_by_name=found.granted_by_name,
        began_at=found.began_at,
        expires_at=found.expires_at,
        running=found.running(now),
        ended_at=found.expires_at if over else found.ended_at,
        how="time" if over else found.how,
    )


def begin_break_glass(services: Services, call: Call[BeginBreakGlass, NoBody]) -> BreakGlassReply:
    body = call.body
    begun = services.iam.begin_break_glass(call.caller, call.path["group_id"], body.user_id, body.seconds, body.reason)
    return shown_break_glass(services, begun)


def list_break_glass(services: Services, call: Call[NoBody, BreakGlassListing]) -> BreakGlassPage:
    found = services.iam.list_break_glass(call.caller, call.query.request(), call.query.group_id)
    return paged(found, lambda item: shown_break_glass(services, item), BreakGlassPage)


def end_break_glass(services: Services, call: Call[NoBody, NoBody]) -> BreakGlassReply:
    return shown_break_glass(services, services.iam.end_break_glass(call.caller, call.path["break_glass_id"]))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "BeginBreakGlass", "POST", "/groups/{group_id}/break-glass", "Put a user into a group for a while",
        begin_break_glass, "groups", request=BeginBreakGlass, reply=BreakGlassReply, status=201,
        permissions=("GROUP_BREAK_GLASS",), creates=True,
        description="It ends by itself. For oneself it takes GROUP_BREAK_GLASS_SELF too. An alert is recorded at its "
        "beginning and at its end.",
    ),
    Operation(
        "ListBreakGlass", "GET", "/break-glass", "Who was in a group for a while, and why", list_break_glass, "groups",
        query=BreakGlassListing, reply=BreakGlassPage, permissions=("GROUP_INSPECT",),
    ),
    Operation(
        "EndBreakGlass", "POST", "/break-glass/{break_glass_id}/actions/end", "End it before its time",
        end_break_glass, "groups", reply=BreakGlassReply, permissions=("GROUP_BREAK_GLASS",), takes_access=True,
        description="Whoever has it may always give it back.",
    ),
)  # fmt: skip
