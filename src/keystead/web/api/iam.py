"""Identity over REST: sign-in, compartments, users, groups."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from keystead.core.secret import Secret
from keystead.iam.approvals.break_glass import LONGEST_MINUTES
from keystead.iam.model import Compartment, Group, IssuedToken, Member, User
from keystead.web.api.shared import extended, paged
from keystead.web.messages import CompartmentRef, Description, Listing, Message, Name, NamedListing, Tagging
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

Password = Annotated[str, Meta(max_length=1024, description="Shown once, when it is made; null in a replay.")]
Device = Annotated[
    str, Meta(max_length=128, description="What a sign-in before gave to this client; empty: give me one.")
]


class SignIn(Message):
    """Who signs in."""

    tenancy: Annotated[str, Meta(max_length=100, description="Name of the tenancy.")]
    user: Annotated[str, Meta(max_length=100, description="Name of the user.")]
    password: Annotated[str, Meta(max_length=1024, description="The user's password.")]
    device: Device | None = None


class TokenReply(Message):
    """A security token of one hour."""

    token: Annotated[str, Meta(description="Send it as Authorization: Bearer <token>.")]
    token_id: str
    expires_at: datetime
    user_id: str
    tenancy_id: str
    device: Annotated[
        str, Meta(description="A secret for the next sign-in from this client, when it asked for one.")
    ] = ""


class WhoAmI(Message):
    """The principal that a token stands for."""

    id: str
    type: Literal["user", "service", "mysqldbsystem"]
    name: str
    tenancy_id: str
    token_id: str


def sign_in(services: Services, call: Call[SignIn, NoBody]) -> TokenReply:
    body = call.body
    password = Secret(body.password.encode())
    return shown_token(
        services.iam.sign_in(body.tenancy, body.user, password, call.source, call.request_id, body.device)
    )


def shown_token(issued: IssuedToken) -> TokenReply:
    """A token as its owner gets it."""
    assert issued.expires_at is not None  # noqa: S101 (a token that was just issued expires)
    return TokenReply(
        token=issued.token,
        token_id=issued.token_id,
        expires_at=issued.expires_at,
        user_id=issued.principal_id,
        tenancy_id=issued.tenancy,
        device=issued.device,
    )


def sign_out(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.sign_out(call.caller)


def who_am_i(_services: Services, call: Call[NoBody, NoBody]) -> WhoAmI:
    principal = call.caller.principal
    return WhoAmI(
        id=principal.id,
        type=principal.type,
        name=principal.name,
        tenancy_id=principal.tenancy,
        token_id=call.caller.token_id,
    )


# compartments


class CreateCompartment(Message):
    """A new compartment."""

    parent_id: CompartmentRef
    name: Name
    description: Description = ""


class CompartmentReply(Message):
    """A folder of resources. `path` runs from the root compartment to this one."""

    id: str
    name: str
    parent_id: str | None
    path: list[str]
    description: str
    tags: dict[str, str]
    created_at: datetime
    version: int


class ChildListing(NamedListing, kw_only=True):
    """Which compartments."""

    parent_id: CompartmentRef


class CompartmentPage(Message):
    """Some compartments."""

    items: list[CompartmentReply]
    next_page: str | None


def shown_compartment(found: Compartment) -> CompartmentReply:
    return CompartmentReply(
        id=found.id,
        name=found.name,
        parent_id=found.parent,
        path=list(found.path),
        description=found.description,
        tags=dict(found.tags),
        created_at=found.created_at,
        version=found.version,
    )


def create_compartment(services: Services, call: Call[CreateCompartment, NoBody]) -> CompartmentReply:
    body = call.body
    return shown_compartment(services.iam.create_compartment(call.caller, body.parent_id, body.name, body.description))


def list_compartments(services: Services, call: Call[NoBody, ChildListing]) -> CompartmentPage:
    query = call.query
    found = services.iam.list_compartments(call.caller, query.parent_id, query.request(), query.name)
    return paged(found, shown_compartment, CompartmentPage)


def get_compartment(services: Services, call: Call[NoBody, NoBody]) -> CompartmentReply:
    return shown_compartment(services.iam.get_compartment(call.caller, call.path["compartment_id"]))


def tag_compartment(services: Services, call: Call[Tagging, NoBody]) -> CompartmentReply:
    found = services.iam.tag_compartment(call.caller, call.path["compartment_id"], call.body.tags, call.if_match)
    return shown_compartment(found)


# users


class CreateUser(Message):
    """A new user: a person or an application."""

    name: Name
    description: Description = ""


class UpdateUser(Message):
    """What can be changed about a user."""

    state: Annotated[Literal["ACTIVE", "BLOCKED"], Meta(description="BLOCKED: no sign-in, and tokens are void.")]


class UserReply(Message):
    """A user."""

    id: str
    name: str
    state: Literal["ACTIVE", "BLOCKED", "DELETED"]
    description: str
    created_at: datetime
    version: int


class NewUserReply(UserReply):
    """A user and their first password."""

    password: Password | None
    already_shown: bool = False


class PasswordReply(Message):
    """A new password."""

    password: Password | None
    already_shown: bool = False


class UserPage(Message):
    """Some users."""

    items: list[UserReply]
    next_page: str | None


def shown_user(found: User) -> UserReply:
    return UserReply(
        id=found.id,
        name=found.name,
        state=found.state,
        description=found.description,
        created_at=found.created_at,
        version=found.version,
    )


def create_user(services: Services, call: Call[CreateUser, NoBody]) -> NewUserReply:
    made, password = services.iam.create_user(call.caller, call.body.name, call.body.description)
    return extended(shown_user(made), NewUserReply, password=password.reveal().decode())


def list_users(services: Services, call: Call[NoBody, NamedListing]) -> UserPage:
    found = services.iam.list_users(call.caller, call.query.request(), call.query.name)
    return paged(found, shown_user, UserPage)


def get_user(services: Services, call: Call[NoBody, NoBody]) -> UserReply:
    return shown_user(services.iam.get_user(call.caller, call.path["user_id"]))


def update_user(services: Services, call: Call[UpdateUser, NoBody]) -> UserReply:
    return shown_user(services.iam.update_user(call.caller, call.path["user_id"], call.body.state, call.if_match))


def delete_user(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.delete_user(call.caller, call.path["user_id"], call.if_match)


def reset_password(services: Services, call: Call[NoBody, NoBody]) -> PasswordReply:
    password = services.iam.reset_password(call.caller, call.path["user_id"])
    return PasswordReply(password=password.reveal().decode())


def revoke_tokens(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.revoke_user_tokens(call.caller, call.path["user_id"])


# groups


class CreateGroup(Message):
    """A new group."""

    name: Name
    description: Description = ""


class GroupReply(Message):
    """Users who are granted things together."""

    id: str
    name: str
    description: str
    tags: dict[str, str]
    created_at: datetime
    version: int
    break_glass_minutes: Annotated[int, Meta(description="How long break glass into it lasts at most; 0: never.")]


class UpdateGroup(Message):
    """What can be changed about a group."""

    description: Description | None = None
    break_glass_minutes: (
        Annotated[int, Meta(ge=0, le=LONGEST_MINUTES, description="Break glass into it lasts at most so long.")] | None
    ) = None
    require_factor: Annotated[bool, Meta(description="Members may do nothing without a second factor.")] | None = None


class MemberReply(UserReply):
    """A user in a group; `until`: when that ends, null when it does not."""

    until: datetime | None


class MemberPage(Message):
    """Some members."""

    items: list[MemberReply]
    next_page: str | None


class GroupPage(Message):
    """Some groups."""

    items: list[GroupReply]
    next_page: str | None


def shown_group(found: Group) -> GroupReply:
    return GroupReply(
        id=found.id,
        name=found.name,
        description=found.description,
        tags=dict(found.tags),
        created_at=found.created_at,
        version=found.version,
        break_glass_minutes=found.break_glass_minutes,
    )


def shown_member(found: Member) -> MemberReply:
    return extended(shown_user(found.user), MemberReply, until=found.until)


def create_group(services: Services, call: Call[CreateGroup, NoBody]) -> GroupReply:
    return shown_group(services.iam.create_group(call.caller, call.body.name, call.body.description))


def list_groups(services: Services, call: Call[NoBody, NamedListing]) -> GroupPage:
    found = services.iam.list_groups(call.caller, call.query.request(), call.query.name)
    return paged(found, shown_group, GroupPage)


def get_group(services: Services, call: Call[NoBody, NoBody]) -> GroupReply:
    return shown_group(services.iam.get_group(call.caller, call.path["group_id"]))


def delete_group(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.delete_group(call.caller, call.path["group_id"], call.if_match)


def update_group(services: Services, call: Call[UpdateGroup, NoBody]) -> GroupReply:
    body = call.body
    changed = services.iam.update_group(
        call.caller,
        call.path["group_id"],
        body.description,
        body.break_glass_minutes,
        call.if_match,
        body.require_factor,
    )
    return shown_group(changed)


def tag_group(services: Services, call: Call[Tagging, NoBody]) -> GroupReply:
    return shown_group(services.iam.tag_group(call.caller, call.path["group_id"], call.body.tags, call.if_match))


def list_members(services: Services, call: Call[NoBody, Listing]) -> MemberPage:
    found = services.iam.list_members(call.caller, call.path["group_id"], call.query.request())
    return paged(found, shown_member, MemberPage)


def add_member(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.add_member(call.caller, call.path["group_id"], call.path["user_id"])


def remove_member(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.remove_member(call.caller, call.path["group_id"], call.path["user_id"])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "SignIn", "POST", "/auth/tokens", "Exchange a password for a security token", sign_in, "auth",
        request=SignIn, reply=TokenReply, status=201, auth=False, runs="sign_in",
    ),
    Operation(
        "SignOut", "DELETE", "/auth/tokens/current", "Void the token of this request", sign_out, "auth", status=204,
        takes_access=True,
    ),
    Operation("WhoAmI", "GET", "/auth/whoami", "Who the token stands for", who_am_i, "auth", reply=WhoAmI),
    Operation(
        "CreateCompartment", "POST", "/compartments", "Create a compartment", create_compartment, "compartments",
        request=CreateCompartment, reply=CompartmentReply, status=201, permissions=("COMPARTMENT_CREATE",),
        creates=True,
    ),
    Operation(
        "ListCompartments", "GET", "/compartments", "List the compartments in a compartment", list_compartments,
        "compartments", query=ChildListing, reply=CompartmentPage, permissions=("COMPARTMENT_INSPECT",),
    ),
    Operation(
        "GetCompartment", "GET", "/compartments/{compartment_id}", "Show a compartment", get_compartment,
        "compartments", reply=CompartmentReply, permissions=("COMPARTMENT_INSPECT",),
    ),
    Operation(
        "TagCompartment", "PUT", "/compartments/{compartment_id}/tags", "Replace the tags of a compartment",
        tag_compartment, "compartments", request=Tagging, reply=CompartmentReply,
        permissions=("COMPARTMENT_UPDATE", "TAG_NAMESPACE_USE"), moves=True, takes_access=True,
    ),
    Operation(
        "CreateUser", "POST", "/users", "Create a user; the password is shown once", create_user, "users",
        request=CreateUser, reply=NewUserReply, status=201, permissions=("USER_CREATE",), creates=True,
        secrets=("password",),
    ),
    Operation(
        "ListUsers", "GET", "/users", "List users", list_users, "users", query=NamedListing, reply=UserPage,
        permissions=("USER_INSPECT",),
    ),
    Operation(
        "GetUser", "GET", "/users/{user_id}", "Show a user", get_user, "users", reply=UserReply,
        permissions=("USER_READ",),
    ),
    Operation(
        "UpdateUser", "PATCH", "/users/{user_id}", "Block or unblock a user", update_user, "users",
        request=UpdateUser, reply=UserReply, permissions=("USER_UPDATE",), moves=True, takes_access=True,
    ),
    Operation(
        "DeleteUser", "DELETE", "/users/{user_id}", "Delete a user", delete_user, "users", status=204,
        permissions=("USER_DELETE",), moves=True, takes_access=True,
    ),
    Operation(
        "ResetPassword", "POST", "/users/{user_id}/actions/reset-password",
        "Give a user a new password, shown once; tokens issued before are void", reset_password, "users",
        reply=PasswordReply, permissions=("USER_UIPASS_RESET",), secrets=("password",), creates=True,
    ),
    Operation(
        "RevokeUserTokens", "POST", "/users/{user_id}/actions/revoke-tokens", "Void every token of a user at once",
        revoke_tokens, "users", status=204, permissions=("USER_UPDATE",), takes_access=True,
    ),
    Operation(
        "CreateGroup", "POST", "/groups", "Create a group", create_group, "groups", request=CreateGroup,
        reply=GroupReply, status=201, permissions=("GROUP_CREATE",), creates=True,
    ),
    Operation(
        "ListGroups", "GET", "/groups", "List groups", list_groups, "groups", query=NamedListing, reply=GroupPage,
        permissions=("GROUP_INSPECT",),
    ),
    Operation(
        "GetGroup", "GET", "/groups/{group_id}", "Show a group", get_group, "groups", reply=GroupReply,
        permissions=("GROUP_INSPECT",),
    ),
    Operation(
        "UpdateGroup", "PATCH", "/groups/{group_id}", "Change what is decided about a group", update_group, "groups",
        request=UpdateGroup, reply=GroupReply, permissions=("GROUP_UPDATE",), moves=True,
    ),
    Operation(
        "TagGroup", "PUT", "/groups/{group_id}/tags", "Replace the tags of a group", tag_group, "groups",
        request=Tagging, reply=GroupReply, permissions=("GROUP_UPDATE", "TAG_NAMESPACE_USE"), moves=True,
        takes_access=True,
    ),
    Operation(
        "DeleteGroup", "DELETE", "/groups/{group_id}", "Delete a group", delete_group, "groups", status=204,
        permissions=("GROUP_DELETE",), moves=True, takes_access=True,
    ),
    Operation(
        "ListGroupMembers", "GET", "/groups/{group_id}/members", "List the members of a group", list_members, "groups",
        query=Listing, reply=MemberPage, permissions=("GROUP_INSPECT",),
    ),
    Operation(
        "AddGroupMember", "PUT", "/groups/{group_id}/members/{user_id}", "Put a user into a group", add_member,
        "groups", status=204, permissions=("GROUP_UPDATE",),
    ),
    Operation(
        "RemoveGroupMember", "DELETE", "/groups/{group_id}/members/{user_id}", "Take a user out of a group",
        remove_member, "groups", status=204, permissions=("GROUP_UPDATE",), takes_access=True,
    ),
)  # fmt: skip
