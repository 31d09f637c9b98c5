"""Tenancies over REST. See iam/tenancies."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from keystead.iam.model import Tenancy
from keystead.web.api.shared import extended, paged
from keystead.web.messages import Message, Name, NamedListing
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services


class CreateTenancy(Message):
    """A new tenancy."""

    name: Name
    admin: Name = "admin"


class TenancyReply(Message):
    """An organisation. `administrators_id`: the group that no deny statement is meant for."""

    id: str
    name: str
    administrators_id: str
    created_at: datetime


class NewTenancyReply(TenancyReply):
    """A tenancy with its first administrator."""

    admin_id: str
    admin_name: str
    password: Annotated[str, Meta(description="Shown once, when it is made; null in a replay.")] | None
    already_shown: bool = False


class TenancyPage(Message):
    """Some tenancies."""

    items: list[TenancyReply]
    next_page: str | None


def shown_tenancy(found: Tenancy) -> TenancyReply:
    return TenancyReply(
        id=found.id, name=found.name, administrators_id=found.administrators, created_at=found.created_at
    )


def create_tenancy(services: Services, call: Call[CreateTenancy, NoBody]) -> NewTenancyReply:
    made = services.iam.create_tenancy(call.caller, call.body.name, call.body.admin)
    password = made.password.reveal().decode()
    admin = made.admin
    return extended(
        shown_tenancy(made.tenancy), NewTenancyReply, admin_id=admin.id, admin_name=admin.name, password=password
    )


def list_tenancies(services: Services, call: Call[NoBody, NamedListing]) -> TenancyPage:
    found = services.iam.list_tenancies(call.caller, call.query.request(), call.query.name)
    return paged(found, shown_tenancy, TenancyPage)


def get_tenancy(services: Services, call: Call[NoBody, NoBody]) -> TenancyReply:
    return shown_tenancy(services.iam.get_tenancy(call.caller, call.path["tenancy_id"]))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateTenancy", "POST", "/tenancies", "Create a tenancy; its administrator's password is shown once",
        create_tenancy, "tenancies", request=CreateTenancy, reply=NewTenancyReply, status=201,
        permissions=("TENANCY_CREATE",), creates=True, secrets=("password",),
        description="Only the region's first tenancy makes others.",
    ),
    Operation(
        "ListTenancies", "GET", "/tenancies", "List the tenancies that the caller's may know of", list_tenancies,
        "tenancies", query=NamedListing, reply=TenancyPage, permissions=("TENANCY_INSPECT",),
    ),
    Operation(
        "GetTenancy", "GET", "/tenancies/{tenancy_id}", "Show a tenancy", get_tenancy, "tenancies",
        reply=TenancyReply, permissions=("TENANCY_INSPECT",),
    ),
)  # fmt: skip
