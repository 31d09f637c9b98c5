"""Security tokens: signed, short, revocable at once.

Claims: `iss` the region, `aud` the region's API, `sub` the principal, `tenant`, `jti` the token's id, `iat`, `exp` (RFC
7519, seconds), and `at`, `iat` in microseconds, so that a token issued right after a revocation is told from one before
it. Each claim is checked; an absent one fails. A machine signs its own short tokens with the key registered for it
(`kid` names the machine); they make it the `host` service and nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keystead.core.clock import Clock
from keystead.core.errors import Refusal
from keystead.core.ids import looks_like_id, new_id
from keystead.iam.directory import Directory
from keystead.iam.model import Caller, IssuedToken, Principal
from keystead.iam.ports import TokenCodec

LIFETIME = timedelta(hours=1)
MACHINE_LIFETIME = timedelta(minutes=2)
LEEWAY = timedelta(seconds=30)
CACHE_LIMIT = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def invalid_token() -> Refusal:
    """The one answer to every token that does not hold."""
    return Refusal(
        "NotAuthenticated",
        "the security token is missing, expired, revoked or not ours",
        hint="sign in again: keystead login",
        kind="unauthenticated",
    )


@dataclass(frozen=True, slots=True)
class Verified:
    """A token whose signature and claims hold; expiry and revocation are still checked at each use."""

    principal: Principal
    token_id: str
    issued_at: datetime
    expires_at: datetime


class Tokens:
    """Issues tokens and turns them back into callers."""

    def __init__(
        self, codec: TokenCodec, directory: Directory, refresh: Callable[[], int], clock: Clock, region: str
    ) -> None:
        self._codec = codec
        self._refresh = refresh
        self._directory = directory
        self._clock = clock
        self._region = region
        self._audience = f"keystead:{region}:api"
        self._cache: dict[str, Verified] = {}

    def issue(self, principal: Principal, since: datetime | None = None) -> IssuedToken:
        """A token of one hour for a principal that has proved who it is: now, or what was looked at for it `since`."""
        now = since or self._clock.now()
        expires = now + LIFETIME
        token_id = new_id("token", self._region)
        claims: dict[str, str | int] = {
            "iss": self._region,
            "aud": self._audience,
            "sub": principal.id,
            "tenant": principal.tenancy,
            "jti": token_id,
            "iat": int(now.timestamp()),
            "at": _microseconds(now),
            "exp": int(expires.timestamp()),
        }
        return IssuedToken(self._codec.sign(claims), token_id, expires, principal.id, principal.tenancy)

    def authenticate(self, token: str, source: str, request_id: str) -> Caller:
        """The caller that a token stands for, now: revocations committed before this call count.

        Raises:
            Refusal: `NotAuthenticated`, for every cause alike.
            Unavailable: the region's state does not answer.
        """
        self._refresh()
        verified = self._cache.get(token)
        if verified is None:
            verified = self._verify(token)
            if len(self._cache) >= CACHE_LIMIT:
                self._cache.clear()
            self._cache[token] = verified
        now = self._clock.now()
        principal = self._living(verified)
        if principal is None or not verified.issued_at - LEEWAY <= now < verified.expires_at:
            self._cache.pop(token, None)
            raise invalid_token()
        return Caller(principal, request_id, source, verified.token_id, expires_at=verified.expires_at)

    def _living(self, verified: Verified) -> Principal | None:
        """The principal as it is now; None when it or the token has been taken away."""
        voided = self._directory.voided
        if voided(verified.token_id, verified.issued_at) or voided(verified.principal.id, verified.issued_at):
            return None
        if verified.principal.type == "service":
            return verified.principal if self._directory.machine_key(verified.principal.id) else None
        return self._directory.principal(verified.principal.id)

    def _verify(self, token: str) -> Verified:
        claims = self._codec.verify(token, self._directory.machine_key)
        subject, tenant = _text(claims, "sub"), _text(claims, "tenant")
        if _text(claims, "iss") != self._region or _text(claims, "aud") != self._audience:
            raise invalid_token()
        issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
        machine = claims.get("machine")
        if machine is not None:
            if machine != subject or tenant or expires - issued > MACHINE_LIFETIME:
                raise invalid_token()
            principal = Principal(subject, "service", "host", tenant, tenant)  # type: ignore[arg-type]  # a machine
        else:
            found = self._directory.principal(subject)
            if found is None or found.tenancy != tenant or expires - issued > LIFETIME:
                raise invalid_token()
            principal, at = found, claims.get("at")
            if not isinstance(at, int) or isinstance(at, bool) or at // 1_000_000 != claims["iat"]:
                raise invalid_token()
            issued = _EPOCH + timedelta(microseconds=at)
        token_id = _text(claims, "jti")
        if not looks_like_id(token_id, "token"):  # a machine writes it, and signing out revokes what it names
            raise invalid_token()
        return Verified(principal, token_id, issued, expires)


def machine_claims(machine: str, region: str, now: datetime) -> dict[str, str | int]:
    """What a machine states about itself; it signs this with its own key. Good for two minutes."""
    return {
        "iss": region,
        "aud": f"keystead:{region}:api",
        "sub": machine,
        "tenant": "",
        "machine": machine,
        "jti": new_id("token", region),
        "iat": int(now.timestamp()),
        "exp": int((now + MACHINE_LIFETIME).timestamp()),
    }


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise invalid_token()
    return value


def _moment(claims: Mapping[str, object], name: str) -> datetime:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**40:
        raise invalid_token()
    return datetime.fromtimestamp(value, UTC)
