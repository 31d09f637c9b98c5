"""What is kept of a sign-in, and of a key that signs requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from keystead.core.ids import TenancyId, UserId

SESSION_LIMIT = timedelta(hours=24)
FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Before this is whatever a session or an API key that was ended may still be issued."""


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in and the tokens that come from it. `key`: the client's public key as JWK text; empty, bearer tokens.

    Refreshing goes on until `limit_at`, 24 hours after it began.
    """

    id: str
    tenancy: TenancyId
    principal: str
    factors: tuple[str, ...]
    key: str
    source: str
    risk: int
    created_at: datetime
    refreshed_at: datetime
    limit_at: datetime
    ended_at: datetime | None = None


LoginState = Literal["OPEN", "SIGNED_IN", "GRANTED", "DENIED", "DONE"]


@dataclass(frozen=True, slots=True)
class Login:
    """A login under way in a browser or for a device: marks (SHA-256) of its codes, what was asked, what was given."""

    id: str
    kind: Literal["browser", "device"]
    code: str
    state: LoginState
    asked: Mapping[str, str]
    given: Mapping[str, str]
    polled_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that signs the region's tokens, or did until `retired_at`. `wrapped`: the key, then its public half alone;
    empty: it is made from the root key.
    """

    id: str
    algorithm: Literal["Ed25519", "RS256"]
    wrapped: bytes = field(repr=False)
    created_at: datetime
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A public key that a user's requests are signed with. `fingerprint` is MD5 over its SPKI DER, as OCI writes it."""

    id: str
    tenancy: TenancyId
    user: UserId
    name: str
    fingerprint: str
    public_key: str
    created_at: datetime
