"""What an operator does at the machine itself, as audit entries: there is no token, only who ran the command."""

import getpass

from keystead.audit.model import Entry
from keystead.core.clock import Clock
from keystead.core.ids import new_id


def operator_entry(
    operation: str,
    clock: Clock,
    region: str,
    *,
    tenancy: str,
    resource_type: str = "state",
    resource_id: str = "",
    resource_name: str = "",
    reason: str = "",
) -> Entry:
    """An act of whoever has root on the machine: it succeeded, because nobody else could have refused it."""
    return Entry(
        id=new_id("entry", region),
        at=clock.now(),
        tenancy=tenancy,
        compartment=tenancy,
        principal_id="",
        principal_type="operator",
        principal_name=_login(),
        requester="",
        token_id="",
        source="local",
        request_id="",
        action="",
        operation=operation,
        resource_type=resource_type,
        resource_id=resource_id or region,
        resource_name=resource_name or region,
        outcome="succeeded",
        reason=reason,
        detail={},
    )


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
