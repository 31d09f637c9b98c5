"""The audit trail: who did what, on what, from where, and what came of it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from keystead.cli.command import Limit, command, group
from keystead.cli.console import Column
from keystead.cli.exits import CliError, usage
from keystead.cli.session import Session
from keystead.core.clock import isoformat, parse_moment

trail = group("The audit trail.")

Who = Annotated[str | None, typer.Option("--principal", metavar="WHO", help="Only what this principal did.")]
What = Annotated[str | None, typer.Option("--action", metavar="ACTION", help="Only this action or permission.")]
OnWhat = Annotated[str | None, typer.Option("--resource", metavar="WHAT", help="Only what concerns this resource.")]
Outcome = Annotated[
    str | None,
    typer.Option("--outcome", metavar="OUTCOME", help="allowed, refused, intent, succeeded or failed."),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="2026-01-31T12:00:00Z, or 90s, 10m, 2h, 7d ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="The same, for the end.")]

_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _when(entry: Mapping[str, Any]) -> str:
    """To the millisecond: order matters here."""
    return isoformat(parse_moment(entry["at"]))


def _who(entry: Mapping[str, Any]) -> str:
    name = entry.get("principal_name") or entry.get("principal_id") or "-"
    kind = entry.get("principal_type")
    return name if kind in {"user", "", None} else f"{name} ({kind})"


def _resource(entry: Mapping[str, Any]) -> str:
    name = entry.get("resource_name") or entry.get("resource_id") or ""
    return " ".join(filter(None, (entry.get("resource_type"), name)))


def _why(entry: Mapping[str, Any]) -> str:
    return str(entry.get("reason") or entry.get("code") or "").split("\n")[0]


_ENTRIES: list[Column] = [
    ("time", _when),
    ("who", _who),
    ("operation", "operation"),
    ("permission", "action"),
    ("resource", _resource),
    ("from", "source"),
    ("outcome", "outcome"),
    ("why", _why),
]


@command(trail, "list")
def list_entries(
    session: Session,
    principal: Who = None,
    action: What = None,
    resource: OnWhat = None,
    outcome: Outcome = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
) -> None:
    """List the newest entries, newest first."""
    found = session.client.items(
        "/audit/entries",
        limit,
        principal=principal,
        action=action,
        resource=resource,
        outcome=outcome,
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
    )
    session.console.table(list(found), _ENTRIES, "no entries")


@command(trail, "verify")
def verify(session: Session) -> None:
    """Check every chain of the trail. Exit code 1 when something was changed, cut or lost."""
    report = session.client.get("/audit/verification").data
    session.console.show(report)
    if report.get("intact", report.get("ok")) is not True:
        raise CliError("the audit trail is not intact", hint="keep a copy of it and find out why", code="AuditBroken")


def _moment(text: str | None, option: str) -> str | None:
    """A moment as the API wants it, from one, or from how long ago."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return isoformat(datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]]))
    try:
        return isoformat(parse_moment(text))
    except ValueError as error:
        raise usage(f"{option}: {text!r} is not a time", "2026-01-31T12:00:00Z, or 90s, 10m, 2h, 7d ago") from error
