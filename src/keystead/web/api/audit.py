"""The audit trail over REST."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from keystead.audit.model import Entry, Outcome
from keystead.audit.query import EntryFilter
from keystead.core.clock import check_moment
from keystead.web.api.shared import paged
from keystead.web.messages import Listing, Message
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Word = Annotated[str, Meta(max_length=200)]


class EntryReply(Message):
    """Who did what, on what, from where, and whether it was allowed."""

    id: str
    at: datetime
    compartment_id: str
    principal_id: str
    principal_type: str
    principal_name: str
    requester: str
    token_id: str
    source: str
    request_id: str
    action: str
    operation: str
    resource_type: str
    resource_id: str
    resource_name: str
    outcome: str
    code: str
    reason: str
    detail: dict[str, str]
    generation: int


class EntryPage(Message):
    """Some entries, newest first."""

    items: list[EntryReply]
    next_page: str | None


class EntryListing(Listing):
    """Which entries."""

    principal: Annotated[Word, Meta(description="Id or name of who acted.")] = ""
    action: Annotated[Word, Meta(description="A permission (KEY_DECRYPT) or an operation (Decrypt).")] = ""
    resource: Annotated[Word, Meta(description="Id or name of what was acted on.")] = ""
    outcome: Annotated[Outcome, Meta(description="How it ended.")] | None = None
    since: Annotated[datetime, Meta(tz=True, description="Not before this moment (RFC 3339).")] | None = None
    until: Annotated[datetime, Meta(tz=True, description="Before this moment (RFC 3339).")] | None = None


class VerificationReply(Message):
    """Whether every segment's chain of hashes holds."""

    intact: bool
    segments: int
    entries: int
    problems: list[str]


def shown_entry(found: Entry) -> EntryReply:
    return EntryReply(
        id=found.id,
        at=found.at,
        compartment_id=found.compartment,
        principal_id=found.principal_id,
        principal_type=found.principal_type,
        principal_name=found.principal_name,
        requester=found.requester,
        token_id=found.token_id,
        source=found.source,
        request_id=found.request_id,
        action=found.action,
        operation=found.operation,
        resource_type=found.resource_type,
        resource_id=found.resource_id,
        resource_name=found.resource_name,
        outcome=found.outcome,
        code=found.code,
        reason=found.reason,
        detail=dict(found.detail),
        generation=found.generation,
    )


def list_entries(services: Services, call: Call[NoBody, EntryListing]) -> EntryPage:
    query = call.query
    wanted = EntryFilter(
        principal=query.principal,
        action=query.action,
        resource=query.resource,
        outcome=query.outcome or "",
        since=None if query.since is None else check_moment("since", query.since),
        until=None if query.until is None else check_moment("until", query.until),
    )
    return paged(services.audit_trail.list_entries(call.caller, wanted, query.request()), shown_entry, EntryPage)


def verify(services: Services, call: Call[NoBody, NoBody]) -> VerificationReply:
    found = services.audit_trail.verify(call.caller)
    return VerificationReply(
        intact=not found.problems, segments=found.segments, entries=found.entries, problems=list(found.problems)
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "ListAuditEntries", "GET", "/audit/entries", "Search the audit trail, newest first", list_entries, "audit",
        query=EntryListing, reply=EntryPage, permissions=("AUDIT_EVENT_READ",),
    ),
    Operation(
        "VerifyAudit", "GET", "/audit/verification", "Check the chain of hashes of the audit trail", verify, "audit",
        reply=VerificationReply, permissions=("AUDIT_EVENT_READ",),
    ),
)  # fmt: skip
