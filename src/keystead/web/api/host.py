"""What machines ask the region over HTTP: only the `host` service may call these operations.

Views are the domain's own objects as JSON: names as in `databases.desk`, bytes as base64, moments in RFC 3339.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from keystead.core.ids import DbSystemId
from keystead.databases.desk import Event, HostView, Report
from keystead.databases.model import FenceReceipt
from keystead.web.messages import Message, SystemRef
from keystead.web.operations import Call, NoBody, Operation, Waits
from keystead.web.services import Services


class Watch(Message):
    """What the machine knows. Answered at once when there is news, else when there is, or after the wait."""

    known_generation: Annotated[int, Meta(ge=-1, le=1 << 62, description="The generation of the view it has.")]
    wait_ms: Annotated[int, Meta(ge=0, le=60_000, description="How long to wait for news, in milliseconds.")] = 0


class OpenedReply(Message):
    """What a node needs to start: secrets, for the machine alone."""

    store_key: bytes
    tls_key: bytes
    tls_certificate: bytes
    authority: bytes


class FenceDone(Message):
    """A fence, with each step's milliseconds after the act that took access away was committed."""

    reason: Annotated[str, Meta(max_length=100)]
    reason_text: Annotated[str, Meta(max_length=1000)]
    committed_at: datetime
    steps: Annotated[list[tuple[str, float]], Meta(max_length=50)]


class NodeReport(Message):
    """What a machine saw or did. `receipt` comes with `fenced`."""

    system_id: SystemRef
    event: Event
    reason: Annotated[str, Meta(max_length=100)] = ""
    text: Annotated[str, Meta(max_length=4000)] = ""
    receipt: FenceDone | None = None


def watch(services: Services, call: Call[Watch, NoBody]) -> HostView:
    return services.host_desk.watch(call.caller)


def _store_key_waits(services: Services, call: Call[NoBody, NoBody]) -> Waits:
    return services.host_desk.store_key_waits(call.path["db_system_id"])


def open_store_key(services: Services, call: Call[NoBody, NoBody]) -> OpenedReply:
    opened = services.host_desk.open_store_key(call.caller, call.path["db_system_id"])
    return OpenedReply(
        store_key=opened.store_key,
        tls_key=opened.tls_key,
        tls_certificate=opened.tls_certificate,
        authority=opened.authority,
    )


def report(services: Services, call: Call[NodeReport, NoBody]) -> None:
    body = call.body
    done = body.receipt
    receipt = None
    if done is not None:
        system = DbSystemId(body.system_id)
        receipt = FenceReceipt(system, done.reason, done.reason_text, done.committed_at, tuple(done.steps))
    services.host_desk.report(call.caller, Report(body.system_id, body.event, body.reason, body.text, receipt))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "Watch", "POST", "/host/watch", "What this machine is to run, and where access stands", watch, "host",
        request=Watch, reply=HostView, permissions=("HOST_WATCH",), runs="wait",
    ),
    Operation(
        "OpenStoreKey", "POST", "/host/systems/{db_system_id}/actions/open-store-key",
        "Open a system's store key as that system's own principal", open_store_key, "host", reply=OpenedReply,
        permissions=("HOST_WATCH",), waits=_store_key_waits, first=True,
    ),
    Operation(
        "ReportNode", "POST", "/host/reports", "Tell what a node does", report, "host", request=NodeReport, status=204,
        permissions=("HOST_REPORT",), first=True,
    ),
)  # fmt: skip
