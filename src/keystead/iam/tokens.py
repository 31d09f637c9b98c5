"""Security tokens: signed, short, revocable at once, and bound to a key of the client's where it has one.

Claims (docs/tokens.md): `iss` the region, `aud` what it is for (`keystead:<region>:api`, or `:databases`), `sub` the
principal, `tenant`, `jti` the token's id, `sid` the session it comes from, `amr` by what the principal proved who it is
(RFC 8176), `iat`, `exp` (RFC 7519, seconds), and `at`, `iat` in microseconds, so that a token issued right after a
revocation is told from one before it. A bound token has `cnf` with the thumbprint of the client's key (RFC 7800,
RFC 9449) and `jwk` with the key itself, as text. Each claim is checked. A machine signs its own short tokens with the
key registered for it (`kid` names the machine); they make it the `host` service and nothing else.

Invariants: a bound token stands for nobody without a proof of its key; a token for one audience is none for another;
voiding a token, a session, an API key or a principal holds from the next request on, in every process.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from keystead.core.clock import Clock
from keystead.core.errors import KeysteadError, Refusal
from keystead.core.ids import looks_like_id, new_id
from keystead.crypto.proofkey import PublicJwk
from keystead.iam.directory import Directory
from keystead.iam.model import FACTORS, Audience, Caller, IssuedToken, Principal
from keystead.iam.ports import Claims, TokenAlgorithm, TokenCodec
from keystead.iam.sessions.model import TokenKey
from keystead.iam.sessions.ports import SessionRows

LIFETIME = timedelta(hours=1)
MACHINE_LIFETIME = timedelta(minutes=2)
LEEWAY = timedelta(seconds=30)
CACHE_LIMIT = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Proof = Callable[[PublicJwk], bool]
"""Whether the request at hand was proved with this key."""


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
    audience: str
    session: str = ""
    factors: frozenset[str] = frozenset()
    key: PublicJwk | None = None
    risk: int = 0


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session as it begins, for whoever keeps a list of them."""

    id: str
    principal: Principal
    began: datetime
    factors: frozenset[str]
    key: PublicJwk | None
    source: str
    risk: int


class SessionBook(Protocol):
    """Where sessions are listed."""

    def begun(self, session: NewSession, /) -> None:
        """Note it down. Does not fail: a session that could not be noted is not listed, and not refreshed."""
        ...


class Tokens:
    """Issues tokens and turns them back into callers."""

    def __init__(
        self,
        codec: TokenCodec,
        directory: Directory,
        refresh: Callable[[], int],
        clock: Clock,
        region: str,
        book: SessionBook | None = None,
    ) -> None:
        self._codec = codec
        self._refresh = refresh
        self._directory = directory
        self._clock = clock
        self._region = region
        self._book = book
        self._audiences: dict[Audience, str] = {"api": f"keystead:{region}:api", "databases": databases_of(region)}
        self._api = self._audiences["api"]
        self._known: tuple[int, dict[str, Verified]] = 0, {}
        self._stands: Callable[[Principal], bool] = lambda _resource: True

    def judge_resources(self, stands: Callable[[Principal], bool]) -> None:
        """Have `stands` say at each use whether a resource may act as itself now."""
        self._stands = stands

    def issue(
        self,
        principal: Principal,
        since: datetime | None = None,
        *,
        factors: Iterable[str] = (),
        session: str = "",
        key: PublicJwk | None = None,
        audience: Audience = "api",
        lifetime: timedelta = LIFETIME,
        source: str = "",
        risk: int = 0,
        algorithm: TokenAlgorithm = "Ed25519",
    ) -> IssuedToken:
        """A token of at most one hour for a principal that has proved who it is: now, or what was looked at for it
        `since`.

        Without a `session` a user's token begins one, which is noted down with `source`, from where it was asked for.
        `key`: bind it to this key of the client's.
        """
        now = since or self._clock.now()
        expires = now + min(lifetime, LIFETIME)
        token_id = new_id("token", self._region)
        proved = frozenset(factors)
        if not session and principal.type == "user":
            session = new_id("session", self._region)
            if self._book is not None:
                self._book.begun(NewSession(session, principal, now, proved, key, source, risk))
        claims: dict[str, str | int | list[str] | dict[str, str]] = {
            "iss": self._region,
            "aud": self._audiences[audience],
            "sub": principal.id,
            "tenant": principal.tenancy,
            "jti": token_id,
            "sid": session,
            "amr": sorted(proved),
            "iat": int(now.timestamp()),
            "at": _microseconds(now),
            "exp": int(expires.timestamp()),
        }
        if risk:
            claims["risk"] = risk
        if "resource" in proved:  # where OCI's clients look for what they are
            claims |= {"res_tenant": principal.tenancy, "res_compartment": principal.compartment}
        if key is not None:
            claims["cnf"] = {"jkt": key.thumbprint}
            claims["jwk"] = key.text
        text = self._codec.sign(claims, algorithm)
        return IssuedToken(text, token_id, expires, principal.id, principal.tenancy, session, key is not None)

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """The JWK set (RFC 7517) by which others verify the region's tokens."""
        return self._codec.public_keys()

    def new_keys(self) -> Sequence[TokenKey]:
        """Keys to rotate to; making them takes a moment."""
        return self._codec.new_keys(self._clock.now())

    def rotate(self, rows: SessionRows, made: Sequence[TokenKey], now: datetime, at_once: bool) -> datetime:
        """Sign with these keys once the transaction is committed; returns until when the others verify."""
        self._codec.rotate(rows, made, _EPOCH if at_once else now)  # a clock set back revives none that were ended
        return now if at_once else now + LIFETIME

    def authenticate(self, token: str, source: str, request_id: str, proof: Proof | None = None) -> Caller:
        """The caller that a token stands for, now: revocations committed before this call count.

        `proof`: what shows that the request was made with the token's key. A bound token needs it, and only a bound
        token has a use for it.

        Raises:
            Refusal: `NotAuthenticated`, for every cause alike.
            Unavailable: the region's state does not answer.
        """
        return self._caller_of(token, self._api, source, request_id, proof)

    def authenticate_for_databases(
        self, token: str, source: str, request_id: str, proof: Proof | None = None, *, bare: bool = False
    ) -> Caller:
        """The caller of a token whose audience is the region's databases.

        `bare`: take a bound token without a proof, where whoever asks says so.

        Raises:
            Refusal: `NotAuthenticated`, for every cause alike.
            Unavailable: the region's state does not answer.
        """
        return self._caller_of(token, self._audiences["databases"], source, request_id, proof, bare)

    def _caller_of(
        self, token: str, audience: str, source: str, request_id: str, proof: Proof | None, bare: bool = False
    ) -> Caller:
        known = self._current()
        verified = known.get(token) or self._remember(known, token)
        now = self._clock.now()
        principal = self._living(verified)
        if principal is None or not verified.issued_at - LEEWAY <= now < verified.expires_at:
            known.pop(token, None)
            raise invalid_token()
        if verified.audience != audience:
            raise invalid_token()
        bound = verified.key is not None and not bare
        if (bound or proof is not None) and not _proved(verified, proof):
            raise invalid_token()
        return Caller(
            principal, request_id, source, verified.token_id, "", verified.expires_at, verified.session,
            verified.factors, proof is not None, verified.risk, verified.issued_at,
        )  # fmt: skip

    def _current(self) -> dict[str, Verified]:
        """Be current: what was verified by the keys of now. Those of another epoch are left behind with what is still
        being verified by them; a key that ends by the clock ends after all its tokens."""
        epoch = self._codec.epoch(self._refresh())
        if epoch != self._known[0]:
            self._known = epoch, {}
        return self._known[1]

    def _remember(self, known: dict[str, Verified], token: str) -> Verified:
        verified = self._verify(token)
        if len(known) >= CACHE_LIMIT:
            known.clear()
        known[token] = verified
        return verified

    def _living(self, verified: Verified) -> Principal | None:
        """The principal as it is now; None when it, the session or the token has been taken away, or what it is."""
        voided, issued = self._directory.voided, verified.issued_at
        if voided(verified.token_id, issued) or voided(verified.principal.id, issued):
            return None
        if verified.session and voided(verified.session, issued):
            return None
        if verified.principal.type == "service":
            return verified.principal if self._directory.machine_key(verified.principal.id) else None
        found = self._directory.principal(verified.principal.id)
        if found is not None and "resource" in verified.factors and not self._stands(found):
            return None
        return found

    def _verify(self, token: str) -> Verified:
        claims = self._codec.verify(token, self._directory.machine_key)
        subject, tenant = _text(claims, "sub"), _text(claims, "tenant")
        audience = _text(claims, "aud")
        if _text(claims, "iss") != self._region or audience not in self._audiences.values():
            raise invalid_token()
        issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
        machine = claims.get("machine")
        if machine is not None:
            if machine != subject or tenant or expires - issued > MACHINE_LIFETIME or audience != self._api:
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
        session, factors, key, risk = ("", frozenset[str](), None, 0) if machine is not None else _signed_in(claims)
        return Verified(principal, token_id, issued, expires, audience, session, factors, key, risk)


def databases_of(region: str) -> str:
    """The audience of tokens for logging in to databases, the same for every database of the region."""
    return f"keystead:{region}:databases"


def machine_claims(machine: str, region: str, now: datetime) -> Claims:
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


def _proved(verified: Verified, proof: Proof | None) -> bool:
    return verified.key is not None and proof is not None and proof(verified.key)


def _signed_in(claims: Mapping[str, object]) -> tuple[str, frozenset[str], PublicJwk | None, int]:
    """Session, factors, key and risk."""
    session = claims.get("sid", "")
    if not isinstance(session, str) or (session and not looks_like_id(session)):
        raise invalid_token()
    amr, risk = claims.get("amr", []), claims.get("risk", 0)
    if not isinstance(amr, list) or not all(isinstance(each, str) and each in FACTORS for each in amr):
        raise invalid_token()
    if not isinstance(risk, int) or isinstance(risk, bool) or not 0 <= risk <= 100:
        raise invalid_token()
    return session, frozenset(amr), _bound_to(claims), risk


def _bound_to(claims: Mapping[str, object]) -> PublicJwk | None:
    """The key that a token is bound to: `cnf` and `jwk` come together, or neither does."""
    cnf, text = claims.get("cnf"), claims.get("jwk")
    if cnf is None and text is None:
        return None
    if not isinstance(cnf, dict) or set(cnf) != {"jkt"} or not isinstance(text, str):
        raise invalid_token()
    try:
        jwk = json.loads(text)
        key = PublicJwk.from_jwk(jwk) if isinstance(jwk, dict) else None
    except (ValueError, RecursionError, KeysteadError) as error:
        raise invalid_token() from error
    if key is None or key.thumbprint != cnf["jkt"]:
        raise invalid_token()
    return key


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
