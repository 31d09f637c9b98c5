"""What the pipeline itself writes down of a request: its audit entry where no service made one, and a bug's frames."""

from traceback import extract_tb

import structlog

from keystead.audit.model import Entry, Outcome
from keystead.audit.strangers import TooManyRefusals
from keystead.core.errors import KeysteadError, Refusal
from keystead.core.ids import new_id
from keystead.web.exchange import Exchange
from keystead.web.services import Services

_log = structlog.get_logger("keystead.web")


def entry_of(services: Services, exchange: Exchange, outcome: Outcome, code: str, reason: str) -> Entry:
    """The audit entry of a request that no service has recorded."""
    operation, caller = exchange.operation, exchange.caller
    principal = caller.principal if caller is not None else None
    named = operation is not None and exchange.face is None  # by ids that were read; else by what was asked for
    what, resource = next(reversed(exchange.parameters.items()), ("", "")) if named else ("", "")
    return Entry(
        id=new_id("entry", services.region),
        at=services.clock.now(),
        tenancy=principal.tenancy if principal else "",
        compartment="",
        principal_id=principal.id if principal else "",
        principal_type=principal.type if principal else "",
        principal_name=principal.name if principal else "",
        requester=caller.requester if caller else "",
        token_id=caller.token_id if caller else "",
        source=exchange.source,
        request_id=exchange.request_id,
        action=operation.permissions[0] if operation and operation.permissions else "",
        operation=operation.name if operation else "Unknown",
        resource_type=what.removesuffix("_id"),
        resource_id=resource,
        resource_name="" if named else _printable(exchange),
        outcome=outcome,
        code=code,
        reason=reason,
        detail={},
    )


def record(services: Services, exchange: Exchange, error: Exception, status: int) -> Exception:
    """Record a refusal or failure, unless the guard has; the error that is answered. Raises: Fault, it cannot be."""
    if isinstance(error, Refusal) and error.recorded:
        return error
    code = error.code if isinstance(error, KeysteadError) else "InternalError"
    told: tuple[Outcome, str] = ("refused", error.message) if isinstance(error, Refusal) else ("failed", "")
    try:
        services.log.append(entry_of(services, exchange, told[0], code, told[1]))
    except TooManyRefusals as limited:
        if status < 500:  # that the region is sealed, or busy, is no secret
            return limited
    return error


def _printable(exchange: Exchange) -> str:
    text = f"{exchange.method[:16]} {exchange.raw_path[:200].decode('latin-1')}"
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)


def report(exchange: Exchange, error: Exception) -> None:
    """Tell the operator. Frames and the type only: messages of foreign errors may hold what was sent."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)[-12:]]
    _log.error(
        "request failed",
        request_id=exchange.request_id,
        operation=exchange.operation.name if exchange.operation else "Unknown",
        error=type(error).__name__,
        code=getattr(error, "code", ""),
        message=error.message if isinstance(error, KeysteadError) else "",
        frames=frames,
    )
