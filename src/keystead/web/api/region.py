"""The region itself over REST: health, the API's own description, backup of the state."""

from collections.abc import Iterator
from typing import Any, Literal

from keystead.web.messages import Message
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services


class HealthReply(Message):
    """Whether the region can work. `sealed`: its root key is not open."""

    status: Literal["ok", "sealed"]
    version: str
    region: str


def health(services: Services, _call: Call[NoBody, NoBody]) -> HealthReply:
    return HealthReply(status="sealed" if services.sealed() else "ok", version=services.version, region=services.region)


def describe(_services: Services, _call: Call[NoBody, NoBody]) -> Any:
    from keystead.web.openapi import document  # it is made from the table this handler is part of

    return document()


def back_up_state(services: Services, call: Call[NoBody, NoBody]) -> Iterator[bytes]:
    return services.state.backup(call.caller)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GetHealth", "GET", "/health", "Whether the region can work", health, "region", reply=HealthReply, auth=False,
        recorded=False, runs="loop", while_sealed=True,
    ),
    Operation(
        "GetOpenApi", "GET", "/openapi.json", "This description", describe, "region", auth=False, recorded=False,
        runs="loop", while_sealed=True,
    ),
    Operation(
        "BackUpState", "POST", "/state/actions/backup", "An encrypted backup of the region's state", back_up_state,
        "region", permissions=("STATE_BACKUP",), runs="stream",
        description="A stream; cut short, it is refused by restore. The root key is not part of it.",
    ),
)  # fmt: skip
