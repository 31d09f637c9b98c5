"""What is kept of a sign-in, and of a key that signs requests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
