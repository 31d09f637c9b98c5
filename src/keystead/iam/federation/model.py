"""Identity providers of a tenancy, how their groups become ours, and whom their subjects stand for.

Invariants: an issuer never changes once a provider is made, because subjects mean something at their issuer alone; a
subject stands for at most one user, and only because somebody said so or because the user was made for it: names and
mail addresses link nobody. The client's secret is kept sealed and is not part of the domain object.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from keystead.core.ids import GroupId, IdentityProviderId, TenancyId, UserId

ProviderState = Literal["ENABLED", "DISABLED"]
GroupChoice = Literal["all", "first"]

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What an ID token may be signed with. Neither `none` nor what is keyed by the client's secret is among them."""
MAX_MAPPINGS = 500
SESSION_KEPT = timedelta(days=31)
"""How long it is known which session a provider led to: longer than any session lasts."""
MAX_VALUE = 2048


@dataclass(frozen=True, slots=True)
class GroupMapping:
    """Whoever has `value` among their groups at the provider is in our group. Smaller precedence goes first."""

    value: str
    group_id: GroupId
    precedence: int = 100


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """An OpenID Connect issuer whose people may sign in to a tenancy.

    `origins`: other origins than the issuer's own that its endpoints may have. `ca`: PEM of the CAs that vouch for it,
    empty for the system's. `just_in_time`: who is not linked gets a user on first sign-in.
    `links_provisioned`: a user provisioned with the subject as its external id is linked on first sign-in.
    `trusts_factors`: the second factors it says were used count here. `group_choice`: whether all mappings that match
    apply, or only those of the smallest matching precedence.
    """

    id: IdentityProviderId
    tenancy: TenancyId
    name: str
    state: ProviderState
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    origins: tuple[str, ...]
    ca: str
    subject_claim: str
    name_claim: str
    groups_claim: str
    just_in_time: bool
    links_provisioned: bool
    trusts_factors: bool
    group_choice: GroupChoice
    mappings: tuple[GroupMapping, ...]
    description: str
    created_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class FederatedUser:
    """A subject at a provider, and the user of ours it stands for."""

    tenancy: TenancyId
    provider: IdentityProviderId
    subject: str
    user: UserId
    user_name: str
    created_at: datetime
    made: bool


@dataclass(frozen=True, slots=True)
class FederatedSignIn:
    """One sign-in by way of a provider, from its return to the token it gave. Secrets are kept as hashes alone.

    `session`: of the token; before there is one, the sign-in that waits for a second factor.
    """

    tenancy: TenancyId
    id: str
    provider: IdentityProviderId
    provider_version: int
    user: str
    code_digest: bytes
    challenge: str
    factors: tuple[str, ...]
    expires_at: datetime
    token_id: str = ""
    session: str = ""


def mapped(mappings: Sequence[GroupMapping], values: Collection[str], choice: GroupChoice) -> frozenset[GroupId]:
    """Our groups for somebody with these groups at the provider. Values are compared as they are, of any length."""
    matching = [each for each in mappings if each.value in values]
    if choice == "first" and matching:
        first = min(each.precedence for each in matching)
        matching = [each for each in matching if each.precedence == first]
    return frozenset(each.group_id for each in matching)
