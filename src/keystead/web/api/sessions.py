"""Sessions, tokens of other purposes and API signing keys over REST. See iam/sessions and docs/tokens.md."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from keystead.iam.model import IssuedToken
from keystead.iam.sessions.model import ApiKey, Session
from keystead.web.api.shared import paged
from keystead.web.messages import Listing, Message, Name
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

KeyText = Annotated[str, Meta(max_length=4096, description="Ed25519, or RSA of 2048 to 4096 bits.")]


class ExchangeToken(Message):
    """What the new token is for."""

    audience: Annotated[
        Literal["api", "databases"], Meta(description="`databases`: to log in to databases, and nothing else.")
    ] = "api"
    public_key: Annotated[
        str, Meta(max_length=4096, description="Bind it to this key: PEM, or a JWK as text. Empty: a bearer token.")
    ] = ""
    minutes: Annotated[int, Meta(ge=1, le=60, description="How long it is good for, at most.")] = 60
    algorithm: Annotated[Literal["Ed25519", "RS256"], Meta(description="What it is signed with.")] = "Ed25519"


class NewTokenReply(Message):
    """A security token."""

    token: Annotated[str, Meta(description="Authorization: Bearer; or DPoP, with a proof, where it is bound.")]
    token_id: str
    token_type: Literal["Bearer", "DPoP"]
    expires_at: datetime
    user_id: str
    tenancy_id: str
    session_id: str


class RotateTokenKeys(Message):
    """How the keys of before end."""

    at_once: Annotated[bool, Meta(description="Every token that was issued is void, yours too.")] = False


class RotatedTokenKeys(Message):
    """The keys that sign from now on."""

    kids: list[str]
    others_until: Annotated[datetime, Meta(description="Until then the keys of before verify.")]


class DeviceLoginReply(Message):
    """What a device shows, and asks again with (RFC 8628)."""

    device_code: Annotated[str, Meta(description="A secret of the device's: ask with it.")]
    user_code: Annotated[str, Meta(description="To be typed in on the page.")]
    verification_path: Annotated[str, Meta(description="The page, at the region's address.")]
    expires_at: datetime
    interval: Annotated[int, Meta(description="Seconds between two askings.")]


class RedeemLogin(Message):
    """A code, and what shows whose it is."""

    way: Annotated[Literal["browser", "device"], Meta(description="`browser`: the redirect's code; `device`: its own.")]
    code: Annotated[str, Meta(max_length=200)]
    code_verifier: Annotated[str, Meta(max_length=128, description="PKCE (RFC 7636); for a browser's code.")] = ""
    public_key: Annotated[
        str, Meta(max_length=4096, description="Bind the token to this key: PEM, or JWK as text.")
    ] = ""


class KeySet(Message):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]]


class SessionReply(Message):
    """One sign-in and the tokens that come from it."""

    id: str
    factors: list[str]
    bound: Annotated[bool, Meta(description="Its tokens are bound to a key of the client's.")]
    source: str
    current: Annotated[bool, Meta(description="This request's own.")]
    created_at: datetime
    refreshed_at: datetime
    limit_at: Annotated[datetime, Meta(description="Nothing is refreshed after that.")]


class SessionPage(Message):
    """Some sessions."""

    items: list[SessionReply]
    next_page: str | None


class CreateApiKey(Message):
    """A public key that a user's requests are signed with."""

    name: Name
    public_key: Annotated[KeyText, Meta(description="PEM. The private half stays where it is.")]


class ApiKeyReply(Message):
    """An API signing key."""

    id: str
    user_id: str
    name: str
    fingerprint: Annotated[str, Meta(description="MD5 of the public key, as OCI's clients write it.")]
    key_id: Annotated[str, Meta(description="What signed requests name: tenancy/user/fingerprint.")]
    public_key: str
    created_at: datetime


class ApiKeyPage(Message):
    """Some API signing keys."""

    items: list[ApiKeyReply]
    next_page: str | None


def shown_token(issued: IssuedToken) -> NewTokenReply:
    assert issued.expires_at is not None  # noqa: S101 (a token that was just issued expires)
    return NewTokenReply(
        token=issued.token,
        token_id=issued.token_id,
        token_type="DPoP" if issued.key_bound else "Bearer",
        expires_at=issued.expires_at,
        user_id=issued.principal_id,
        tenancy_id=issued.tenancy,
        session_id=issued.session,
    )


def exchange_token(services: Services, call: Call[ExchangeToken, NoBody]) -> NewTokenReply:
    body = call.body
    issued = services.iam.exchange_token(call.caller, body.audience, body.public_key, body.minutes, body.algorithm)
    return shown_token(issued)


def refresh_token(services: Services, call: Call[NoBody, NoBody]) -> NewTokenReply:
    return shown_token(services.iam.refresh_token(call.caller))


def begin_device_login(services: Services, call: Call[NoBody, NoBody]) -> DeviceLoginReply:
    made = services.iam.begin_device_login(call.source, call.request_id)
    return DeviceLoginReply(
        device_code=made.device_code,
        user_code=made.user_code,
        verification_path="/login/device",
        expires_at=made.expires_at,
        interval=5,
    )


def redeem_login(services: Services, call: Call[RedeemLogin, NoBody]) -> NewTokenReply:
    body, iam = call.body, services.iam
    issued = iam.redeem_login(body.way, body.code, body.code_verifier, body.public_key, call.source, call.request_id)
    return shown_token(issued)


def get_jwks(services: Services, _call: Call[NoBody, NoBody]) -> KeySet:
    return KeySet(keys=[dict(each) for each in services.iam.public_keys()])


def rotate_token_keys(services: Services, call: Call[RotateTokenKeys, NoBody]) -> RotatedTokenKeys:
    done = services.iam.rotate_token_keys(call.caller, call.body.at_once)
    return RotatedTokenKeys(kids=list(done.kids), others_until=done.others_until)


def list_sessions(services: Services, call: Call[NoBody, Listing]) -> SessionPage:
    def shown(found: Session) -> SessionReply:
        return SessionReply(
            id=found.id,
            factors=list(found.factors),
            bound=bool(found.key),
            source=found.source,
            current=found.id == call.caller.session,
            created_at=found.created_at,
            refreshed_at=found.refreshed_at,
            limit_at=found.limit_at,
        )

    return paged(services.iam.list_sessions(call.caller, call.query.request()), shown, SessionPage)


def end_session(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.end_session(call.caller, call.path["session_id"])


def shown_api_key(found: ApiKey) -> ApiKeyReply:
    return ApiKeyReply(
        id=found.id,
        user_id=found.user,
        name=found.name,
        fingerprint=found.fingerprint,
        key_id=f"{found.tenancy}/{found.user}/{found.fingerprint}",
        public_key=found.public_key,
        created_at=found.created_at,
    )


def create_api_key(services: Services, call: Call[CreateApiKey, NoBody]) -> ApiKeyReply:
    body = call.body
    return shown_api_key(services.iam.create_api_key(call.caller, call.path["user_id"], body.name, body.public_key))


def list_api_keys(services: Services, call: Call[NoBody, Listing]) -> ApiKeyPage:
    found = services.iam.list_api_keys(call.caller, call.path["user_id"], call.query.request())
    return paged(found, shown_api_key, ApiKeyPage)


def delete_api_key(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.iam.delete_api_key(call.caller, call.path["user_id"], call.path["api_key_id"])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "ExchangeToken", "POST", "/auth/tokens/exchange", "Exchange what this request is proved with for another token",
        exchange_token, "auth", request=ExchangeToken, reply=NewTokenReply, status=201,
        description="A bearer token ends when the one does that it is exchanged for; bound to a key, it replaces it.",
    ),
    Operation(
        "RefreshToken", "POST", "/auth/tokens/refresh", "A new token for a session that is bound to a key",
        refresh_token, "auth", reply=NewTokenReply, status=201,
        description="For 24 hours after the sign-in at most.",
    ),
    Operation(
        "BeginDeviceLogin", "POST", "/auth/device", "Codes for a device that somebody lets in on the page",
        begin_device_login, "auth", reply=DeviceLoginReply, status=201, auth=False,
    ),
    Operation(
        "RedeemLogin", "POST", "/auth/logins", "Exchange the code of an allowed login for a security token",
        redeem_login, "auth", request=RedeemLogin, reply=NewTokenReply, status=201, auth=False,
        description="`LoginPending` and `SlowDown` (409): ask again later.",
    ),
    Operation(
        "GetJwks", "GET", "/auth/jwks", "The keys by which others verify this region's tokens", get_jwks, "auth",
        reply=KeySet, auth=False, recorded=False,
    ),
    Operation(
        "RotateTokenKeys", "POST", "/auth/token-keys/actions/rotate", "Sign tokens with new keys from now on",
        rotate_token_keys, "auth", request=RotateTokenKeys, reply=RotatedTokenKeys,
        permissions=("STATE_ROTATE_TOKEN_KEYS",),
        description="Tokens of before stay good until they end, unless `at_once`. For the region's first tenancy.",
    ),
    Operation(
        "ListSessions", "GET", "/auth/sessions", "List one's own sessions", list_sessions, "auth", query=Listing,
        reply=SessionPage,
    ),
    Operation(
        "EndSession", "DELETE", "/auth/sessions/{session_id}", "End one of one's own sessions; its tokens are void",
        end_session, "auth", status=204, takes_access=True,
    ),
    Operation(
        "CreateApiKey", "POST", "/users/{user_id}/api-keys", "Let requests signed by a key be a user's", create_api_key,
        "users", request=CreateApiKey, reply=ApiKeyReply, status=201, permissions=("USER_APIKEY_ADD",), creates=True,
    ),
    Operation(
        "ListApiKeys", "GET", "/users/{user_id}/api-keys", "List a user's API signing keys", list_api_keys, "users",
        query=Listing, reply=ApiKeyPage, permissions=("USER_READ",),
    ),
    Operation(
        "DeleteApiKey", "DELETE", "/users/{user_id}/api-keys/{api_key_id}",
        "Delete an API signing key; tokens it was exchanged for are void", delete_api_key, "users", status=204,
        permissions=("USER_APIKEY_REMOVE",), takes_access=True,
    ),
)  # fmt: skip
