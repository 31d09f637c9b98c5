"""Known devices: what somebody has signed in from, as the region remembers it."""

from typing import Annotated

import typer

from keystead.cli.command import Yes, command, group
from keystead.cli.console import moment
from keystead.cli.factors import UserName, whose
from keystead.cli.session import Session

devices = group("Devices that somebody has signed in from: list and forget them.")

_COLUMNS = (("id", "id"), ("last used", moment("last_at")), ("since", moment("first_at")))

DeviceId = Annotated[str, typer.Argument(metavar="ID", help="Id of the device.", show_default=False)]


@command(devices, "list")
def list_devices(session: Session, user: UserName = None) -> None:
    """List one's own known devices, or a user's; the one used last first."""
    found = session.client.get(f"/users/{whose(session, user)}/devices").data["items"]
    session.console.table(found, _COLUMNS, "no known devices")


@command(devices, "forget")
def forget(session: Session, device_id: DeviceId, user: UserName = None, yes: Yes = False) -> None:
    """Know a device no more: the next sign-in from it is one from anywhere. Sessions go on."""
    session.confirm(f"forget device {device_id}", yes)
    session.client.delete(f"/users/{whose(session, user)}/devices/{device_id}")
    session.console.result({"id": device_id, "forgotten": True}, f"device {device_id} is forgotten")
