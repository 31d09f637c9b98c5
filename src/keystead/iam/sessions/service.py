"""Sessions: seen and ended by whose they are, refreshed with their key, exchanged for tokens of another purpose.

Promises: only what was proved with a key is refreshed, for 24 hours after the sign-in at most, and what it is refreshed
to is bound to the same key; what a bearer token is exchanged for ends with it, as does what a resource's is; a session
that has ended is refreshed and exchanged for nothing, nor is one after its 24 hours; and all of its tokens are void
from the next request on, those for databases too.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from keystead.core.errors import KeysteadError, Refusal, not_found
from keystead.core.ids import parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.crypto.proofkey import PublicJwk
from keystead.iam.base import Base
from keystead.iam.model import Audience, Caller, IssuedToken
from keystead.iam.ports import IamStore, Revocation, TokenAlgorithm
from keystead.iam.sessions.model import FOR_EVER, SESSION_LIMIT, Session
from keystead.iam.tokens import LIFETIME, NewSession, invalid_token


class Sessions(Base):
    """What is done with one's own session."""

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """The JWK set by which others verify the region's tokens; for everybody."""
        return self._tokens.public_keys()

    def list_sessions(self, caller: Caller, page: PageRequest) -> Page[Session]:
        """The caller's own sessions that go on."""
        principal = caller.principal
        self._guard.record(caller, "", self._own(caller), "ListSessions", "allowed")
        with self._store.read() as tx:
            found = tx.sessions.sessions(principal.tenancy, principal.id, self._clock.now(), page)
        return cut(found, page.limit, lambda item: item.id)

    def end_session(self, caller: Caller, session_id: str) -> None:
        """End one of the caller's own sessions: its tokens are void at once."""
        parse_id(session_id, "session")
        principal, now = caller.principal, self._clock.now()
        detail = {"session_id": session_id}
        entry = self._guard.entry(caller, "", self._own(caller), "EndSession", "allowed", detail=detail)
        with self._store.read() as tx:
            found = tx.sessions.session(principal.tenancy, session_id)
        if found is None or found.principal != principal.id or found.ended_at is not None:
            self._guard.refuse(caller, "", self._own(caller), "EndSession", not_found("session"))
        with self._store.write(entry, reserve=True) as tx:
            tx.sessions.end(principal.tenancy, session_id, now)
            tx.iam.revoke(Revocation(principal.tenancy, session_id, FOR_EVER))

    def refresh_token(self, caller: Caller) -> IssuedToken:
        """A new token for the caller's session, bound to the same key."""
        principal, now = caller.principal, self._clock.now()
        with self._store.read() as tx:
            found = tx.sessions.session(principal.tenancy, caller.session) if caller.session else None
        if not caller.key_bound or found is None or not found.key:
            refusal = Refusal(
                "NotRefreshable",
                "only a session with a key of the client's is refreshed",
                hint="sign in without --bearer; an application signs its requests with an API key instead",
                kind="denied",
            )
            self._guard.refuse(caller, "", self._own(caller), "RefreshToken", refusal)
        if found.ended_at is not None or now >= found.limit_at:
            refusal = invalid_token()
            self._guard.refuse(caller, "", self._own(caller), "RefreshToken", refusal)
        issued = self._tokens.issue(
            principal,
            now,
            factors=found.factors,
            session=found.id,
            key=_key(found.key),
            lifetime=min(LIFETIME, found.limit_at - now),
            risk=found.risk,
        )
        detail = {"token_id": issued.token_id, "session_id": found.id}
        with self._store.note() as tx:
            if not tx.sessions.refreshed(found, now):
                raise invalid_token()
        self._guard.record(caller, "", self._own(caller), "RefreshToken", "allowed", detail=detail)
        return issued

    def exchange_token(
        self,
        caller: Caller,
        audience: Audience = "api",
        public_key: str = "",
        minutes: int = 60,
        algorithm: TokenAlgorithm = "Ed25519",
    ) -> IssuedToken:
        """A token for the caller itself, for `audience`, bound to `public_key` (PEM, or JWK as JSON) if that is given.

        A bearer token that is exchanged for a bound one of the same purpose is void from then on.
        """
        principal, now = caller.principal, self._clock.now()
        if principal.type == "service":
            refusal = Refusal("NotAuthorized", "a service has no tokens of its own", hint="", kind="denied")
            self._guard.refuse(caller, "", self._own(caller), "ExchangeToken", refusal)
        key = given_key(public_key) if public_key else None
        lifetime = min(timedelta(minutes=minutes), self._left(caller, now))
        issued = self._tokens.issue(
            principal,
            now,
            factors=caller.factors,
            session=caller.session,
            key=key,
            audience=audience,
            lifetime=lifetime,
            source=caller.source,
            risk=caller.risk,
            algorithm=algorithm,
        )
        detail = {"token_id": issued.token_id, "audience": audience, "bound": "yes" if key is not None else "no"}
        if key is None or caller.key_bound or audience != "api":
            self._guard.record(caller, "", self._own(caller), "ExchangeToken", "allowed", detail=detail)
            return issued
        entry = self._guard.entry(caller, "", self._own(caller), "ExchangeToken", "allowed", detail=detail)
        with self._store.write(entry) as tx:
            tx.iam.revoke(Revocation(principal.tenancy, caller.token_id, now))
            found = tx.sessions.session(principal.tenancy, caller.session)
            if found is not None and not found.key:
                tx.sessions.bind(found, key.text)
        return issued

    def _left(self, caller: Caller, now: datetime) -> timedelta:
        """How long what the caller's token is exchanged for may be good: a bearer token's and a resource's until it
        ends itself, a session's until its 24 hours are over, an API key's an hour. Raises: Refusal.
        """
        if caller.expires_at is None:
            return LIFETIME
        own = caller.expires_at - now
        if not caller.key_bound or caller.principal.type != "user":
            return own
        if parse_id(caller.session).type != "session":
            return LIFETIME
        with self._store.read() as tx:
            found = tx.sessions.session(caller.principal.tenancy, caller.session)
        if found is None:  # never noted down: never refreshed either
            return own
        if found.ended_at is not None or now >= found.limit_at:
            self._guard.refuse(caller, "", self._own(caller), "ExchangeToken", invalid_token())
        return found.limit_at - now


class StoreBook:
    """Sessions are listed in the region's state. A disk that is full keeps nobody from signing in."""

    def __init__(self, store: IamStore) -> None:
        self._store = store

    def begun(self, session: NewSession) -> None:
        began = session.began
        key = session.key.text if session.key is not None else ""
        row = Session(
            session.id, session.principal.tenancy, session.principal.id, tuple(sorted(session.factors)), key,
            session.source, session.risk, began, began, began + SESSION_LIMIT,
        )  # fmt: skip
        try:
            with self._store.note() as tx:
                tx.sessions.begin(row)
        except KeysteadError:
            return


def given_key(text: str) -> PublicJwk:
    """Raises: Refusal `InvalidKey`."""
    return _key(text) if text.lstrip().startswith("{") else PublicJwk.from_pem(text)


def _key(text: str) -> PublicJwk:
    import json

    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal("InvalidKey", "not a public key: neither PEM nor JWK", hint="see docs/tokens.md") from error
    return PublicJwk.from_jwk(found if isinstance(found, dict) else {})
