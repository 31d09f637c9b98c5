"""Logins to databases over REST: mappings for people, decisions for machines."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from keystead.databases.logins.acts import NewMapping
from keystead.databases.logins.model import (
    MAX_GRANTS,
    MAX_PRECEDENCE,
    MAX_ROLES,
    ClientKind,
    EndedLogin,
    Grounds,
    LoginAnswer,
    LoginMapping,
    LoginRequest,
    MappedKind,
    MappingReport,
    MappingState,
)
from keystead.databases.logins.possession import MAX_PAYLOAD
from keystead.web.api.sessions import NewTokenReply, shown_token
from keystead.web.messages import Message
from keystead.web.operations import Call, NoBody, Operation, Waits
from keystead.web.services import Services

Short = Annotated[str, Meta(max_length=200)]


class MapLogin(Message):
    """Who may log in with tokens, and what for."""

    kind: Annotated[MappedKind, Meta(description="One user to an account, or a group's members to a proxy account.")]
    subject_id: Annotated[str, Meta(max_length=128, description="The user's or the group's id.")]
    account: Annotated[str, Meta(max_length=80, description="Empty: the user's name, or p_ and the group's.")] = ""
    client: Annotated[ClientKind, Meta(description="Which clients: password-like, OCI's, or OpenID's.")] = "token"
    roles: Annotated[
        tuple[Short, ...], Meta(max_length=MAX_ROLES, description="Made when missing; default roles.")
    ] = ()
    grants: Annotated[tuple[Short, ...], Meta(max_length=MAX_GRANTS, description="Such as SELECT ON shop.*")] = ()
    precedence: Annotated[
        int, Meta(ge=0, le=MAX_PRECEDENCE, description="Among several groups of a person the lowest holds.")
    ] = 100


class LoginMappingReply(Message):
    """A mapping. `state` tells how far its account is."""

    id: str
    db_system_id: str
    kind: MappedKind
    subject_id: str
    subject_name: str
    account: str
    client: ClientKind
    roles: tuple[str, ...]
    grants: tuple[str, ...]
    precedence: int
    state: MappingState
    reason_text: str
    created_at: datetime


class LoginMappings(Message):
    """The mappings of a system."""

    items: list[LoginMappingReply]


class LoginReadinessReply(Message):
    """Whether logins with tokens can work, and if not, why not."""

    ready: bool
    reasons: list[str]


class BeginSystemSession(Message):
    """The public half of a key that the machine made for one of its systems."""

    public_key: Annotated[str, Meta(max_length=4096, description="PEM, or a JWK as text.")]


class DecideLogin(Message):
    """What a database server tells of somebody who wants in."""

    client: ClientKind
    user: Annotated[str, Meta(max_length=512)]
    account_text: Annotated[str, Meta(max_length=4096)]
    nonce: Annotated[bytes, Meta(max_length=64)]
    payload: Annotated[bytes, Meta(max_length=2 * MAX_PAYLOAD)]
    address: Annotated[str, Meta(max_length=1024)]
    connection: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class CheckLogins(Message):
    """The logins that have open sessions."""

    held: Annotated[list[Grounds], Meta(max_length=20_000)]


class EndedLogins(Message):
    """Those whose sessions must end."""

    ended: list[EndedLogin]


class ReportMappings(Message):
    """What became of the accounts of mappings."""

    reports: Annotated[list[MappingReport], Meta(max_length=20_000)]


def shown_mapping(found: LoginMapping) -> LoginMappingReply:
    return LoginMappingReply(
        id=found.id,
        db_system_id=found.system,
        kind=found.kind,
        subject_id=found.subject,
        subject_name=found.subject_name,
        account=found.account,
        client=found.client,
        roles=found.roles,
        grants=found.grants,
        precedence=found.precedence,
        state=found.state,
        reason_text=found.reason_text,
        created_at=found.created_at,
    )


def map_login(services: Services, call: Call[MapLogin, NoBody]) -> LoginMappingReply:
    body = call.body
    wanted = NewMapping(body.kind, body.subject_id, body.account, body.client, body.roles, body.grants, body.precedence)
    return shown_mapping(services.databases.map_login(call.caller, call.path["db_system_id"], wanted))


def list_mappings(services: Services, call: Call[NoBody, NoBody]) -> LoginMappings:
    found = services.databases.list_mappings(call.caller, call.path["db_system_id"])
    return LoginMappings(items=[shown_mapping(each) for each in found])


def unmap_login(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.databases.unmap_login(call.caller, call.path["db_system_id"], call.path["login_mapping_id"])


def login_readiness(services: Services, call: Call[NoBody, NoBody]) -> LoginReadinessReply:
    found = services.databases.login_readiness(call.caller, call.path["db_system_id"])
    return LoginReadinessReply(ready=found.ready, reasons=list(found.reasons))


def decide_login(services: Services, call: Call[DecideLogin, NoBody]) -> LoginAnswer:
    body = call.body
    asked = LoginRequest(
        body.client, body.user, body.account_text, body.nonce, body.payload, body.address, body.connection
    )
    return services.login_desk.decide_login(call.caller, call.path["db_system_id"], asked)


def check_logins(services: Services, call: Call[CheckLogins, NoBody]) -> EndedLogins:
    held = call.body.held
    return EndedLogins(ended=services.login_desk.check_logins(call.caller, call.path["db_system_id"], held))


def report_mappings(services: Services, call: Call[ReportMappings, NoBody]) -> None:
    services.login_desk.report_mappings(call.caller, call.path["db_system_id"], call.body.reports)


def issue_session(services: Services, call: Call[BeginSystemSession, NoBody]) -> NewTokenReply:
    return shown_token(services.login_desk.issue_session(call.caller, call.path["db_system_id"], call.body.public_key))


def _must_read(services: Services, call: Call[DecideLogin, NoBody]) -> Waits:
    return "" if services.login_desk.knows(call.path["db_system_id"]) else "slow"


_SYSTEM = "/db-systems/{db_system_id}"
_HOST = "/host/systems/{db_system_id}/actions"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "MapLogin", "POST", f"{_SYSTEM}/login-mappings", "Let a user, or a group's members, log in with tokens",
        map_login, "db-systems", request=MapLogin, reply=LoginMappingReply, status=201,
        permissions=("MYSQL_INSTANCE_UPDATE",), creates=True,
        description="The account follows within moments: `state` tells.",
    ),
    Operation(
        "ListLoginMappings", "GET", f"{_SYSTEM}/login-mappings", "List who may log in with tokens", list_mappings,
        "db-systems", reply=LoginMappings, permissions=("MYSQL_INSTANCE_READ",),
    ),
    Operation(
        "UnmapLogin", "DELETE", f"{_SYSTEM}/login-mappings/{{login_mapping_id}}", "Take a mapping away",
        unmap_login, "db-systems", status=204, permissions=("MYSQL_INSTANCE_UPDATE",), takes_access=True,
        description="Sessions that came in by it end within seconds.",
    ),
    Operation(
        "GetLoginReadiness", "GET", f"{_SYSTEM}/login-readiness", "Show what stands in the way of logins with tokens",
        login_readiness, "db-systems", reply=LoginReadinessReply, permissions=("MYSQL_INSTANCE_READ",),
    ),
    Operation(
        "DecideLogin", "POST", f"{_HOST}/decide-login", "Whether somebody may log in to a database, and as whom",
        decide_login, "host", request=DecideLogin, reply=LoginAnswer, permissions=("HOST_WATCH",), runs="loop",
        waits=_must_read, first=True,
    ),
    Operation(
        "CheckLogins", "POST", f"{_HOST}/check-logins", "Which open sessions have nothing to rest upon any more",
        check_logins, "host", request=CheckLogins, reply=EndedLogins, permissions=("HOST_WATCH",),
        first=True,
    ),
    Operation(
        "IssueSystemSession", "POST", f"{_HOST}/issue-session", "A session token for a system itself, bound to a key",
        issue_session, "host", request=BeginSystemSession, reply=NewTokenReply, status=201,
        permissions=("HOST_WATCH",),
    ),
    Operation(
        "ReportMappings", "POST", f"{_HOST}/report-mappings", "Tell what became of the accounts of mappings",
        report_mappings, "host", request=ReportMappings, status=204, permissions=("HOST_REPORT",),
    ),
)  # fmt: skip
