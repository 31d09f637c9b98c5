"""Identity providers over REST, and signing in by way of them. See iam/federation."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from keystead.core.ids import GroupId
from keystead.core.secret import Secret
from keystead.iam.federation.login import Came
from keystead.iam.federation.model import MAX_MAPPINGS, FederatedUser, GroupMapping, IdentityProvider
from keystead.iam.federation.service import ProviderSettings
from keystead.web.api.iam import Device, TokenReply, shown_token
from keystead.web.api.shared import paged
from keystead.web.exchange import Answer
from keystead.web.messages import Description, Listing, Message, Name, NamedListing, id_pattern
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services

State = Literal["ENABLED", "DISABLED"]
Choice = Annotated[
    Literal["all", "first"],
    Meta(description="`all`: every mapping that matches; `first`: those of the smallest matching precedence alone."),
]
Issuer = Annotated[str, Meta(max_length=500, description="As the provider writes it in its tokens; never changes.")]
ClientId = Annotated[str, Meta(max_length=500, description="What the provider calls this region.")]
ClientSecret = Annotated[
    str, Meta(max_length=4096, description="Kept sealed and never shown; empty: a client without one.")
]
Scopes = Annotated[list[str], Meta(max_length=20, description="What is asked for; openid is among them.")]
Origins = Annotated[
    list[str], Meta(max_length=10, description="Other origins than the issuer's own that its endpoints have.")
]
Ca = Annotated[str, Meta(max_length=65536, description="PEM of the CAs that vouch for it; empty: the system's.")]
Claim = Annotated[str, Meta(max_length=200, description="A claim's name, or a path within objects: a.b.")]
Mappings = Annotated[list["GroupMappingMessage"], Meta(max_length=MAX_MAPPINGS, description="Replaces all of them.")]
UserRef = Annotated[str, Meta(pattern=id_pattern("user"), max_length=120, description="Id of a user.")]
GroupRef = Annotated[str, Meta(pattern=id_pattern("group"), max_length=120, description="Id of a group.")]


class GroupMappingMessage(Message):
    """Whoever has this value among their groups at the provider is in our group."""

    value: Annotated[str, Meta(min_length=1, max_length=2048, description="Compared as it is.")]
    group_id: GroupRef
    precedence: Annotated[int, Meta(ge=0, le=1_000_000, description="Smaller goes first.")] = 100


class CreateIdentityProvider(Message):
    """A new identity provider."""

    name: Name
    issuer: Issuer
    client_id: ClientId
    client_secret: ClientSecret = ""
    scopes: Scopes = msgspec.field(default_factory=lambda: ["openid", "profile", "email"])
    origins: Origins = msgspec.field(default_factory=list)
    ca: Ca = ""
    subject_claim: Claim = "sub"
    name_claim: Claim = "preferred_username"
    groups_claim: Claim = "groups"
    just_in_time: Annotated[bool, Meta(description="Who is not linked gets a user on first sign-in.")] = False
    links_provisioned: Annotated[
        bool, Meta(description="A user provisioned with the subject as external id is linked on first sign-in.")
    ] = False
    trusts_factors: Annotated[bool, Meta(description="Second factors that it says were used count here.")] = False
    group_choice: Choice = "all"
    group_mappings: Mappings = msgspec.field(default_factory=list)
    description: Description = ""


class UpdateIdentityProvider(Message):
    """What changes; what is absent stays. The issuer stays in any case."""

    state: State | UnsetType = UNSET
    client_id: ClientId | UnsetType = UNSET
    client_secret: ClientSecret | UnsetType = UNSET
    scopes: Scopes | UnsetType = UNSET
    origins: Origins | UnsetType = UNSET
    ca: Ca | UnsetType = UNSET
    subject_claim: Claim | UnsetType = UNSET
    name_claim: Claim | UnsetType = UNSET
    groups_claim: Claim | UnsetType = UNSET
    just_in_time: bool | UnsetType = UNSET
    links_provisioned: bool | UnsetType = UNSET
    trusts_factors: bool | UnsetType = UNSET
    group_choice: Choice | UnsetType = UNSET
    group_mappings: Mappings | UnsetType = UNSET
    description: Description | UnsetType = UNSET


class IdentityProviderReply(Message):
    """An identity provider. `redirect_uri` is what the provider has to be told."""

    id: str
    name: str
    state: State
    issuer: str
    client_id: str
    redirect_uri: str
    scopes: list[str]
    origins: list[str]
    ca: str
    subject_claim: str
    name_claim: str
    groups_claim: str
    just_in_time: bool
    links_provisioned: bool
    trusts_factors: bool
    group_choice: Literal["all", "first"]
    group_mappings: list[GroupMappingMessage]
    description: str
    created_at: datetime
    version: int


class IdentityProviderPage(Message):
    """Some identity providers."""

    items: list[IdentityProviderReply]
    next_page: str | None


class LinkFederatedUser(Message):
    """Whom the subject stands for."""

    subject: Annotated[str, Meta(min_length=1, max_length=2048, description="Who it is at the provider.")]


class FederatedUserReply(Message):
    """A subject at a provider, and the user it stands for. `made`: the user was made by signing in."""

    user_id: str
    user_name: str
    subject: str
    created_at: datetime
    made: bool


class FederatedUserPage(Message):
    """Some of them."""

    items: list[FederatedUserReply]
    next_page: str | None


class StartFederatedSignIn(Message):
    """By way of which provider, and where the answer goes."""

    tenancy: Annotated[str, Meta(max_length=100, description="Name of the tenancy.")]
    provider: Annotated[str, Meta(max_length=100, description="Name of the identity provider.")]
    redirect_uri: Annotated[str, Meta(max_length=200, description="On the client's own machine: http://127.0.0.1:N/.")]
    code_challenge: Annotated[str, Meta(max_length=43, description="S256 of the verifier that the client keeps.")]
    state: Annotated[str, Meta(max_length=200, description="Comes back as it is.")]


class FederatedSignInBegun(Message):
    """Where the browser goes now."""

    authorization_url: str
    expires_at: datetime


class CallbackQuery(msgspec.Struct, kw_only=True):
    """What a provider appends; more than that may come, and is passed over."""

    state: Annotated[str, Meta(max_length=4096, description="What the sign-in began with.")] = ""
    code: Annotated[str, Meta(max_length=4096, description="The provider's code.")] = ""
    iss: Annotated[str, Meta(max_length=500, description="The issuer, where it says so (RFC 9207).")] = ""
    error: Annotated[str, Meta(max_length=200, description="Why there is no code.")] = ""


class FinishFederatedSignIn(Message):
    """The one-time code, and the verifier that only the client has."""

    code: Annotated[str, Meta(max_length=100, description="What the browser brought.")]
    code_verifier: Annotated[str, Meta(max_length=128, description="What the challenge was made of.")]
    device: Device | None = None


def shown(services: Services, found: IdentityProvider) -> IdentityProviderReply:
    return IdentityProviderReply(
        id=found.id,
        name=found.name,
        state=found.state,
        issuer=found.issuer,
        client_id=found.client_id,
        redirect_uri=services.federation.redirect_uri(found),
        scopes=list(found.scopes),
        origins=list(found.origins),
        ca=found.ca,
        subject_claim=found.subject_claim,
        name_claim=found.name_claim,
        groups_claim=found.groups_claim,
        just_in_time=found.just_in_time,
        links_provisioned=found.links_provisioned,
        trusts_factors=found.trusts_factors,
        group_choice=found.group_choice,
        group_mappings=[
            GroupMappingMessage(value=each.value, group_id=each.group_id, precedence=each.precedence)
            for each in found.mappings
        ],
        description=found.description,
        created_at=found.created_at,
        version=found.version,
    )


def shown_link(found: FederatedUser) -> FederatedUserReply:
    return FederatedUserReply(
        user_id=found.user,
        user_name=found.user_name,
        subject=found.subject,
        created_at=found.created_at,
        made=found.made,
    )


def _settings(body: CreateIdentityProvider | UpdateIdentityProvider) -> ProviderSettings:
    said = {name: getattr(body, name) for name in body.__struct_fields__ if name not in ("name", "issuer")}
    said = {name: value for name, value in said.items() if value is not UNSET}
    secret, mappings = said.pop("client_secret", None), said.pop("group_mappings", None)
    for name in ("scopes", "origins"):
        if name in said:
            said[name] = tuple(said[name])
    if mappings is not None:
        said["mappings"] = tuple(GroupMapping(m.value, GroupId(m.group_id), m.precedence) for m in mappings)
    if secret is not None:
        said["client_secret"] = Secret(secret.encode())
    return ProviderSettings(**said)


def create_identity_provider(services: Services, call: Call[CreateIdentityProvider, NoBody]) -> IdentityProviderReply:
    body = call.body
    made = services.federation.create_identity_provider(call.caller, body.name, body.issuer, _settings(body))
    return shown(services, made)


def list_identity_providers(services: Services, call: Call[NoBody, NamedListing]) -> IdentityProviderPage:
    found = services.federation.list_identity_providers(call.caller, call.query.request(), call.query.name)
    return paged(found, lambda each: shown(services, each), IdentityProviderPage)


def get_identity_provider(services: Services, call: Call[NoBody, NoBody]) -> IdentityProviderReply:
    found = services.federation.get_identity_provider(call.caller, call.path["identity_provider_id"])
    return shown(services, found)


def update_identity_provider(services: Services, call: Call[UpdateIdentityProvider, NoBody]) -> IdentityProviderReply:
    changed = services.federation.update_identity_provider(
        call.caller, call.path["identity_provider_id"], _settings(call.body), call.if_match
    )
    return shown(services, changed)


def delete_identity_provider(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.federation.delete_identity_provider(call.caller, call.path["identity_provider_id"], call.if_match)


def link_federated_user(services: Services, call: Call[LinkFederatedUser, NoBody]) -> FederatedUserReply:
    path = call.path
    return shown_link(
        services.federation.link_federated_user(
            call.caller, path["identity_provider_id"], path["user_id"], call.body.subject
        )
    )


def list_federated_users(services: Services, call: Call[NoBody, Listing]) -> FederatedUserPage:
    found = services.federation.list_federated_users(
        call.caller, call.path["identity_provider_id"], call.query.request()
    )
    return paged(found, shown_link, FederatedUserPage)


def unlink_federated_user(services: Services, call: Call[NoBody, NoBody]) -> None:
    services.federation.unlink_federated_user(call.caller, call.path["identity_provider_id"], call.path["user_id"])


def start(services: Services, call: Call[StartFederatedSignIn, NoBody]) -> FederatedSignInBegun:
    body = call.body
    begun = services.federation.start(
        body.tenancy, body.provider, body.redirect_uri, body.code_challenge, body.state, call.source, call.request_id
    )
    return FederatedSignInBegun(authorization_url=begun.authorization_url, expires_at=begun.expires_at)


def come_back(services: Services, call: Call[NoBody, CallbackQuery]) -> Answer:
    query = call.query
    came = Came(query.state, query.code, query.iss, query.error)
    to = services.federation.come_back(call.path["identity_provider_id"], came, call.source, call.request_id)
    return Answer(303, b"", ((b"location", to.encode()), (b"referrer-policy", b"no-referrer")))


def finish(services: Services, call: Call[FinishFederatedSignIn, NoBody]) -> TokenReply:
    body = call.body
    return shown_token(
        services.federation.finish(body.code, body.code_verifier, call.source, call.request_id, body.device)
    )


_ONE = "/identity-providers/{identity_provider_id}"
_TAG = "federation"
OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "CreateIdentityProvider", "POST", "/identity-providers", "Create an identity provider (OpenID Connect)",
        create_identity_provider, _TAG, request=CreateIdentityProvider, reply=IdentityProviderReply, status=201,
        permissions=("IDENTITY_PROVIDER_CREATE", "GROUP_UPDATE"), creates=True,
        description="Its redirect URI, which the provider has to be told, is in the answer.",
    ),
    Operation(
        "ListIdentityProviders", "GET", "/identity-providers", "List identity providers", list_identity_providers,
        _TAG, query=NamedListing, reply=IdentityProviderPage, permissions=("IDENTITY_PROVIDER_INSPECT",),
    ),
    Operation(
        "GetIdentityProvider", "GET", _ONE, "Show an identity provider", get_identity_provider, _TAG,
        reply=IdentityProviderReply, permissions=("IDENTITY_PROVIDER_INSPECT",),
    ),
    Operation(
        "UpdateIdentityProvider", "PATCH", _ONE, "Change an identity provider, or disable it",
        update_identity_provider, _TAG, request=UpdateIdentityProvider, reply=IdentityProviderReply,
        permissions=("IDENTITY_PROVIDER_UPDATE", "GROUP_UPDATE"), moves=True, takes_access=True,
        description="Disabled: nobody signs in by way of it, and every token that it led to is void at once.",
    ),
    Operation(
        "DeleteIdentityProvider", "DELETE", _ONE, "Delete an identity provider", delete_identity_provider, _TAG,
        status=204, permissions=("IDENTITY_PROVIDER_DELETE",), moves=True, takes_access=True,
    ),
    Operation(
        "LinkFederatedUser", "PUT", _ONE + "/users/{user_id}", "Let a subject at the provider sign in as a user",
        link_federated_user, _TAG, request=LinkFederatedUser, reply=FederatedUserReply,
        permissions=("IDENTITY_PROVIDER_UPDATE", "USER_UPDATE"),
    ),
    Operation(
        "ListFederatedUsers", "GET", _ONE + "/users", "List whom the provider's subjects stand for",
        list_federated_users, _TAG, query=Listing, reply=FederatedUserPage,
        permissions=("IDENTITY_PROVIDER_INSPECT",),
    ),
    Operation(
        "UnlinkFederatedUser", "DELETE", _ONE + "/users/{user_id}", "Take a subject's user away from it",
        unlink_federated_user, _TAG, status=204, permissions=("IDENTITY_PROVIDER_UPDATE",), takes_access=True,
    ),
    Operation(
        "StartFederatedSignIn", "POST", "/auth/federation/start", "Begin to sign in by way of an identity provider",
        start, _TAG, request=StartFederatedSignIn, reply=FederatedSignInBegun, status=201, auth=False,
    ),
    Operation(
        "FederatedSignInCallback", "GET", "/auth/federation/{identity_provider_id}/callback",
        "Where the provider sends the browser back to", come_back, _TAG, query=CallbackQuery, status=303, auth=False,
        description="Answered by sending the browser on to the client, with a one-time code or an error.",
    ),
    Operation(
        "FinishFederatedSignIn", "POST", "/auth/federation/tokens", "Exchange the one-time code for a security token",
        finish, _TAG, request=FinishFederatedSignIn, reply=TokenReply, status=201, auth=False,
        description="Answers `FactorRequired` with a challenge, as after a password, where a second factor is needed.",
    ),
)  # fmt: skip
