"""What an ID token must say before anybody is believed to be who it names (OpenID Connect Core 3.1.3.7).

Pure, and strict: whatever is missing, of another type, or for somebody else refuses. The signature has been checked
before, with algorithms that are fixed here and not by the token.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isnan

from keystead.core.errors import Refusal
from keystead.iam.federation.model import MAX_VALUE, IdentityProvider
from keystead.iam.federation.ports import Redeemed

LEEWAY_SECONDS = 60
MAX_AGE_SECONDS = 3600
MAX_GROUPS = 2000
# What a provider may say of how somebody proved who they are (RFC 8176), and what that is called here.
FACTORS: Mapping[str, str] = {"otp": "totp", "hwk": "webauthn", "swk": "webauthn", "fpt": "webauthn", "pop": "webauthn"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed in at the provider, in the provider's words."""

    subject: str
    name: str
    groups: frozenset[str]
    factors: tuple[str, ...]


def refused(why: str) -> Refusal:
    """A sign-in that does not hold. `why` never repeats what the provider or the browser sent."""
    return Refusal(
        "SignInRefused",
        f"the sign-in by the identity provider does not hold: {why}",
        hint="begin again: keystead login --provider",
        kind="unauthenticated",
    )


def check_claims(provider: IdentityProvider, redeemed: Redeemed, nonce: str, now: datetime) -> None:
    """Whether an ID token is for us, for this sign-in, and of now. Raises: Refusal `SignInRefused`."""
    claims, seconds = redeemed.claims, now.timestamp()
    if claims.get("iss") != provider.issuer:
        raise refused("it comes from another issuer")
    given = claims.get("aud")
    audience = [given] if isinstance(given, str) else given
    if not isinstance(audience, list) or provider.client_id not in audience:
        raise refused("it is for another client")
    if ("azp" in claims or len(audience) > 1) and claims.get("azp") != provider.client_id:
        raise refused("it was made for another client")
    expires, issued, begins = _number(claims, "exp"), _number(claims, "iat"), _number(claims, "nbf")
    if expires is None or expires <= seconds - LEEWAY_SECONDS:
        raise refused("it has expired")
    if issued is None or not seconds - MAX_AGE_SECONDS <= issued <= seconds + LEEWAY_SECONDS:
        raise refused("it is not of now")
    if "nbf" in claims and (begins is None or begins > seconds + LEEWAY_SECONDS):
        raise refused("it does not hold yet")
    found = claims.get("nonce")
    if not isinstance(found, str) or not _same(found, nonce):
        raise refused("it belongs to another sign-in")
    bound = claims.get("at_hash", redeemed.access_digest)
    if not isinstance(bound, str) or not _same(bound, redeemed.access_digest):
        raise refused("its access token is another one")


def _same(said: str, ours: str) -> bool:
    return secrets.compare_digest(said.encode("utf-8", "replace"), ours.encode())


def identity(provider: IdentityProvider, claims: Mapping[str, object], more: Mapping[str, object]) -> Identity:
    """Who that is. `more`: what the provider's user info adds; it counts only for the same `sub`, and never against
    what the token itself says. Raises: Refusal `SignInRefused`.
    """
    if more and more.get("sub") != claims.get("sub"):
        raise refused("its user info is of somebody else")
    said = {**more, **claims}
    subject = _found(claims, provider.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_VALUE or not subject.isprintable():
        raise refused(f"the claim {provider.subject_claim!r} is not there")
    name = _found(said, provider.name_claim)
    groups = _found(said, provider.groups_claim) if provider.groups_claim else None
    listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    if len(listed) > MAX_GROUPS:
        raise refused(f"it names more than {MAX_GROUPS} groups")
    return Identity(
        subject=subject,
        name=name if isinstance(name, str) and name.isprintable() else "",
        groups=frozenset(
            each for each in listed if isinstance(each, str) and 0 < len(each) <= MAX_VALUE and each.isprintable()
        ),
        factors=("federated", *_factors(claims)) if provider.trusts_factors else ("federated",),
    )


def wants_more(provider: IdentityProvider, claims: Mapping[str, object]) -> bool:
    """Whether something that is needed is not in the ID token and may be in the user info."""
    wanted = [provider.name_claim, *([provider.groups_claim] if provider.groups_claim else [])]
    return any(_found(claims, name) is None for name in wanted)


def _factors(claims: Mapping[str, object]) -> list[str]:
    ways = claims.get("amr")
    return (
        sorted({FACTORS[way] for way in ways if isinstance(way, str) and way in FACTORS})
        if (isinstance(ways, list))
        else []
    )


def _found(claims: Mapping[str, object], name: str) -> object:
    """A claim of exactly this name, or else by a path of names within objects: `realm_access.roles`."""
    if name in claims:
        return claims[name]
    here: object = claims
    for part in name.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here


def _number(claims: Mapping[str, object], name: str) -> float | None:
    """A moment in seconds. What is no number is none: true is not 1, and NaN is neither before nor after anything."""
    value = claims.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value) else None
