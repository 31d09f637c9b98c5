"""Auth tokens: secrets of a user's for applications that cannot sign in with a password, exchanged for security tokens.

    ksa_<unique part of its id>_<secret, 43 letters of base64url, 256 random bits>

Promise: the secret is shown once and kept only as its SHA-256, which is enough for what cannot be guessed; every one
expires (1 to 365 days), can be deleted alone, stops with its user, and goes when the user's tokens are revoked. What it
is exchanged for is a security token as a password gives, with the user's own rights. They are what OCI calls auth
tokens, and what other systems' logins by role and secret are served with.
"""

import hashlib
import secrets
from datetime import timedelta

from keystead.core.errors import Refusal, not_found, taken
from keystead.core.ids import LABEL, REALM, AuthTokenId, CompartmentId, TenancyId, UserId, new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.core.secret import Secret
from keystead.iam.base import Base
from keystead.iam.model import AuthToken, Caller, IssuedToken, Target, stranger
from keystead.iam.names import check_name
from keystead.iam.tokens import invalid_token

PREFIX = "ksa_"
SECRET_BYTES = 32
MAX_DAYS, USUAL_DAYS = 365, 90
MAX_TOKENS = 10
_NO_DIGEST = bytes(32)


class AuthTokens(Base):
    """What is done with auth tokens."""

    def create_auth_token(
        self, caller: Caller, user_id: str, name: str, days: int = USUAL_DAYS
    ) -> tuple[AuthToken, Secret]:
        """A new one, good for `days`; its text is shown once. A user has at most ten."""
        user = self._user(caller, user_id)
        check_name(name, "auth token")
        now = self._clock.now()
        made = AuthToken(
            AuthTokenId(new_id("authtoken", self._region)), user.tenancy, user.id, name, now, now + timedelta(days=days)
        )
        detail = {"auth_token": name, "auth_token_id": made.id, "days": str(days)}
        entry = self._guard.permit_change(caller, "USER_AUTHTOKEN_SET", self._at_user(user), "CreateAuthToken", detail)
        if not 1 <= days <= MAX_DAYS:
            raise Refusal("InvalidParameter", f"an auth token is good for 1 to {MAX_DAYS} days")
        secret = secrets.token_urlsafe(SECRET_BYTES)
        with self._store.write(entry) as tx:
            if tx.iam.auth_tokens(user.tenancy, user.id, PageRequest(1), name):
                raise taken("token", name)
            if len(tx.iam.auth_tokens(user.tenancy, user.id, PageRequest(MAX_TOKENS), None)) >= MAX_TOKENS:
                raise Refusal(
                    "TooManyAuthTokens",
                    f"user {user.name!r} has {MAX_TOKENS} auth tokens, and no more are kept",
                    hint="delete one that is not used any more",
                    kind="conflict",
                )
            tx.iam.add_auth_token(made, _digest(secret))
        return made, Secret(f"{PREFIX}{_unique(made.id)}_{secret}".encode())

    def list_auth_tokens(self, caller: Caller, user_id: str, page: PageRequest) -> Page[AuthToken]:
        """By name; never their text."""
        user = self._user(caller, user_id)
        self._guard.permit(caller, "USER_READ", self._at_user(user), "ListAuthTokens")
        with self._store.read() as tx:
            return cut(tx.iam.auth_tokens(user.tenancy, user.id, page, None), page.limit, lambda item: item.name)

    def delete_auth_token(self, caller: Caller, user_id: str, auth_token_id: str) -> None:
        """It is exchanged for nothing any more. Security tokens it was exchanged for live out their hour, unless the
        user's tokens are revoked.
        """
        parse_id(auth_token_id, "authtoken")
        user = self._user(caller, user_id)
        detail = {"auth_token_id": auth_token_id}
        target = self._at_user(user)
        entry = self._guard.permit_change(caller, "USER_AUTHTOKEN_REMOVE", target, "DeleteAuthToken", detail)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.iam.delete_auth_token(user.tenancy, user.id, auth_token_id):
                raise not_found("auth token")

    def authenticate_auth_token(self, text: Secret, source: str, request_id: str) -> Caller:
        """The user of an auth token as a caller, for protocols whose clients know one secret only.

        Raises:
            Refusal: `NotAuthenticated`, for every cause alike.
        """
        self._guard.refresh()
        token_id, secret = _parts(text, self._region)
        with self._store.read() as tx:
            found = tx.iam.auth_token(token_id)
        held, digest = found if found is not None else (None, _NO_DIGEST)
        right = secrets.compare_digest(_digest(secret), digest)
        principal = self._directory.principal(held.user) if held is not None and right else None
        if held is None or principal is None or self._clock.now() >= held.expires_at:
            raise invalid_token()
        return Caller(principal, request_id, source, token_id, expires_at=held.expires_at)

    def sign_in_with_auth_token(self, user_id: str, text: Secret, source: str, request_id: str) -> IssuedToken:
        """Exchange an auth token of this user for a security token of one hour.

        Raises:
            Refusal: `NotAuthenticated`, for every cause alike.
        """
        self._guard.refresh()
        began = self._clock.now()
        token_id, secret = _parts(text, self._region)
        with self._store.read() as tx:
            found = tx.iam.auth_token(token_id)
            held, digest = found if found is not None else (None, _NO_DIGEST)
            # Of nobody as well: a token that is not there costs as much as one whose secret is wrong.
            user = tx.iam.user(*((held.tenancy, held.user) if held is not None else (TenancyId(""), UserId(""))))
        right = secrets.compare_digest(_digest(secret), digest)
        principal = None
        if held is not None and right and held.user == user_id and began < held.expires_at and user is not None:
            principal = self._unchanged(user)
        place = (CompartmentId(held.tenancy),) if held is not None and right else ()
        tenancy = held.tenancy if held is not None and right else ""
        who = principal or stranger(user_id, tenancy)
        caller = Caller(who, request_id, source)
        target = Target("users", who.id, who.name, who.tenancy, place)
        if principal is None:
            refusal = Refusal(
                "NotAuthenticated",
                "user or auth token is wrong",
                hint="a new one: keystead user auth-token-create",
                kind="unauthenticated",
            )
            self._guard.refuse(caller, "SIGN_IN", target, "SignInWithAuthToken", refusal)
        issued = self._tokens.issue(principal, began, factors=("apikey",), source=source)
        detail = {"token_id": issued.token_id, "auth_token_id": token_id}
        self._guard.record(caller, "SIGN_IN", target, "SignInWithAuthToken", "allowed", detail=detail)
        return issued


def _unique(auth_token_id: str) -> str:
    return auth_token_id.rpartition(".")[2]


def _parts(text: Secret, region: str) -> tuple[str, str]:
    """The id that the text names, and the secret; of a text of another shape both are those of nothing."""
    unique, _, secret = text.reveal().decode("ascii", "replace").removeprefix(PREFIX).partition("_")
    return f"{LABEL}.authtoken.{REALM}.{region}.{unique[:64]}", secret


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
