"""Auth tokens over REST: secrets of a user's for applications. See iam/auth_tokens."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from keystead.iam.auth_tokens import MAX_DAYS, USUAL_DAYS
from keystead.iam.model import AuthToken
from keystead.web.api.shared import extended, paged
from keystead.web.messages import Listing, Message, Name
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services


class CreateAuthToken(Message):
    """A new auth token."""

    name: Name
    days: Annotated[int, Meta(ge=1, le=MAX_DAYS, description="How long it is good for.")] = USUAL_DAYS


class AuthTokenReply(Message):
    """An auth token, without its text."""

    id: str
    user_id: str
    name: str
    created_at: datetime
    expires_at: datetime


class NewAuthTokenReply(AuthTokenReply):
    """An auth token with its text."""

    text: Annotated[str, Meta(description="Shown once, when it is made; null in a replay.")] | None
    already_shown: bool = False


class AuthTokenPage(Message):
    """Some auth tokens."""

    items: list[AuthTokenReply]
    next_page: str | None


def shown_auth_token(found: AuthToken) -> AuthTokenReply:
    return AuthTokenReply(
        id=found.id,
        user_id=found.user,
        name=found.name,
        created_at=found.created_at,
        expires_at=found.expires_at,
    )


def create_auth_token(services: Services, call: Call[CreateAuthToken, NoBody]) -> NewAuthTokenReply:
    body = call.body
    made, text = services.iam.create_auth_token(call.caller, call.path["user_id"], body.name, body.days)
    return extended(shown_auth_token(made), NewAuthTokenReply, text=text.reveal().decode())


def list_auth_tokens(services: Services, call: Call[NoBody, Listing]) -> AuthTokenPage:
    found = services.iam.list_auth_tokens(call.caller, call.path["user_id"], call.query.request())
    return paged(found, shown_auth_token, AuthTokenPage)


def delete_auth_token(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.delete_auth_token(call.caller, call.path["user_id"], call.path["auth_token_id"])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateAuthToken", "POST", "/users/{user_id}/auth-tokens", "Make a secret for an application, shown once",
        create_auth_token, "users", request=CreateAuthToken, reply=NewAuthTokenReply, status=201,
        permissions=("USER_AUTHTOKEN_SET",), creates=True, secrets=("text",),
        description="It is exchanged for security tokens, for example by a login of the Vault dialect.",
    ),
    Operation(
        "ListAuthTokens", "GET", "/users/{user_id}/auth-tokens", "List a user's auth tokens", list_auth_tokens, "users",
        query=Listing, reply=AuthTokenPage, permissions=("USER_READ",),
    ),
    Operation(
        "DeleteAuthToken", "DELETE", "/users/{user_id}/auth-tokens/{auth_token_id}", "Delete an auth token",
        delete_auth_token, "users", status=204, permissions=("USER_AUTHTOKEN_REMOVE",), takes_access=True,
    ),
)  # fmt: skip
