"""What a login rests upon, at its beginning and for as long as it lasts.

The tenancy's statement for the login service, the person (active, the token not revoked), the mapping, the membership
and the permission on the system. One function each, asked at login and again every few seconds.
"""

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.databases.logins.model import Grounds, LoginMapping
from keystead.iam.directory import Directory
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Principal, Target
from keystead.iam.permissions import Permission

LOGIN_PERMISSION: Permission = "MYSQL_INSTANCE_USE"
SERVICE = "mysql_dp_auth"
SERVICE_NEEDS: tuple[Permission, ...] = (
    "AUTHENTICATION_INSPECT",
    "GROUP_MEMBERSHIP_INSPECT",
    "DYNAMIC_GROUP_INSPECT",
)
STATEMENT = f"ALLOW service {SERVICE} TO {{{', '.join(SERVICE_NEEDS)}}} IN TENANCY"


def login_service_refusal(guard: Guard, tenancy: TenancyId) -> Refusal | None:
    """Why the login service may not look people of this tenancy up; None when it may."""
    nobody = Principal(PrincipalId(SERVICE), "service", SERVICE, TenancyId(""), CompartmentId(""))
    service = Caller(nobody, request_id="")
    place = Target("tenancies", tenancy, "tenancy", tenancy, (CompartmentId(tenancy),))
    if all(guard.may(service, permission, place) for permission in SERVICE_NEEDS):
        return None
    return Refusal(
        "LoginServiceNotAllowed",
        "no policy lets the database login service look people up",
        hint=f"this statement would: {STATEMENT}",
        kind="denied",
    )


def groups_of(directory: Directory, principal: str) -> frozenset[str]:
    """All groups somebody is in now, dynamic ones too."""
    return directory.groups_of(principal) | directory.dynamic_groups_of(principal)


def why_ended(directory: Directory, guard: Guard, held: Grounds, mapping: LoginMapping | None, target: Target) -> str:
    """Why sessions of this login may not go on; empty while they may."""
    person = directory.principal(held.subject)
    if person is None:
        return "the user is blocked or gone"
    if any(
        subject and directory.voided(subject, held.issued_at) for subject in (held.token_id, held.subject, held.session)
    ):
        return "the token was revoked"
    if mapping is None or person.tenancy != mapping.tenancy:
        return "the mapping was taken away"
    if mapping.kind == "group" and (mapping.subject != held.group or held.group not in groups_of(directory, person.id)):
        return "the membership ended"
    caller = Caller(person, request_id="", token_id=held.token_id, expires_at=held.expires_at)
    if not guard.may(caller, LOGIN_PERMISSION, target):
        return f"{LOGIN_PERMISSION} on the system was taken away"
    refusal = login_service_refusal(guard, target.tenancy)
    return refusal.message if refusal is not None else ""
