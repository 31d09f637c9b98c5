"""Errors over HTTP: one table from our errors to statuses, and the shape of the answer.

    {"code": "NotFound", "message": "...", "hint": "...", "request_id": "..."}

A `Fault` or a bug shows its request id and nothing else: what went wrong is for the operator's log. But that a token or
another KMS does not answer is said.
"""

import math
from datetime import datetime
from email.utils import format_datetime

import msgspec

from keystead.core.errors import Fault, KeystoreUnavailable, Kind, Refusal, Unavailable
from keystead.iam.approvals.rules import ApprovalRequired
from keystead.iam.factors.model import FactorRequired

STATUS: dict[Kind, int] = {
    "bad_request": 400,
    "unauthenticated": 401,
    "denied": 403,
    "not_found": 404,
    "conflict": 409,
    "stale": 412,
    "too_large": 413,
    "too_many": 429,
    "unavailable": 503,
}
RETRY_AFTER_S = 1
"""Where nobody knows better."""

_KINDS: dict[int, Kind] = {
    404: "not_found",
    413: "too_large",
    429: "too_many",
    503: "unavailable",
    401: "unauthenticated",
}


class HttpRefusal(Refusal):
    """A refusal only HTTP knows (405, 408, 415, ...): it names its status and headers."""

    def __init__(
        self, status: int, code: str, message: str, *, hint: str = "", headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(code, message, hint=hint, kind=_KINDS.get(status, "bad_request"))
        self.status = status
        self.headers = headers


def sealed() -> Refusal:
    """The answer to everything else while the region is sealed."""
    return Refusal(
        "Sealed",
        "the region is sealed: nobody has its keys until it is opened",
        hint="`keystead unseal` opens it, or POST /keystead/v1/seal/actions/unseal; GET /keystead/v1/seal says how",
        kind="unavailable",
    )


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """What every refused or failed request is answered with."""

    code: str
    message: str
    hint: str
    request_id: str


class FactorRequiredReply(ErrorReply, frozen=True, kw_only=True):
    """The password was right and a second factor is needed (or, `FactorPending`, nobody has answered yet)."""

    challenge: str
    factors: list[str]


def status_of(error: BaseException) -> int:
    """The HTTP status that words `error`."""
    match error:
        case HttpRefusal():
            return error.status
        case Refusal():
            return STATUS[error.kind]
        case Unavailable():
            return 503
        case Fault() if error.code == "AuditUnavailable":
            return 503
        case _:
            return 500


def headers_of(error: BaseException, status: int, now: datetime) -> list[tuple[bytes, bytes]]:
    """Headers an error brings besides the usual ones. Whoever is not let in learns the time that tokens go by."""
    headers: list[tuple[bytes, bytes]] = list(error.headers) if isinstance(error, HttpRefusal) else []
    if isinstance(error, ApprovalRequired):
        headers.append((b"approval", error.approval.encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
        headers.append((b"date", format_datetime(now, usegmt=True).encode()))
    return [*headers, *retry_after(error, status)]


def retry_after(error: BaseException, status: int) -> tuple[tuple[bytes, bytes], ...]:
    """`Retry-After` in seconds (RFC 9110, 10.2.3): when another try makes sense, as far as whoever refused knows."""
    if status not in (429, 503):
        return ()
    known = error.retry_s if isinstance(error, Refusal) else 0.0
    return ((b"retry-after", str(math.ceil(known) or RETRY_AFTER_S).encode()),)


def reply_to(error: BaseException, request_id: str) -> ErrorReply:
    """The body that tells of `error`."""
    match error:
        case FactorRequired():
            return FactorRequiredReply(
                code=error.code,
                message=error.message,
                hint=error.hint,
                request_id=request_id,
                challenge=error.challenge,
                factors=list(error.factors),
            )
        case Refusal() | KeystoreUnavailable():
            return ErrorReply(code=error.code, message=error.message, hint=error.hint, request_id=request_id)
        case Fault() if error.code == "AuditUnavailable":
            return ErrorReply(
                code=error.code,
                message="the audit log cannot be written, so nothing is answered that must be recorded",
                hint="look whether it was done before you repeat it; taking access away still works",
                request_id=request_id,
            )
        case Fault() if status_of(error) == 503:
            return ErrorReply(
                code=error.code,
                message="the service cannot do this now",
                hint="try again shortly; if it goes on, give the request id to the operators",
                request_id=request_id,
            )
        case _:
            return ErrorReply(
                code="InternalError",
                message="something went wrong on our side",
                hint="give the request id to the operators",
                request_id=request_id,
            )
