"""Signing in by way of an identity provider: authorization code with PKCE, nonce and state.

    client                    region                                       provider
      | start (challenge) ---->| state: sealed, nothing stored
      |<---- its address ------|
      |  browser ------------------------------------------------------------->| signs in there
      |                        |<------------- code, state (by the browser) ---|
      |                        |--- code, verifier -------------------------->| ID token
      |                        | claims checked, groups mapped
      |<- one-time code (by the browser, to the client's own loopback address) |
      | code, verifier ------->| security token

Promise: a state opens only here, for the provider it was made for, for ten minutes and once; nonce and verifier are
derived from it, so that a token or code of another sign-in does not fit. The answer goes to the client's own machine
alone, and is worth nothing without the verifier that the client kept. What a person may do follows from the groups that
the provider says now: what it brought about before and says no more is taken away.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NoReturn

from keystead.core.clock import isoformat_exact, parse_moment
from keystead.core.errors import KeysteadError, Refusal, Unreadable, stale
from keystead.core.ids import CompartmentId, IdentityProviderId, PrincipalId, TenancyId, UserId, new_id
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding
from keystead.iam.factors.refusals import no_such_sign_in
from keystead.iam.federation.claims import Identity, check_claims, identity, refused, wants_more
from keystead.iam.federation.model import FederatedSignIn, FederatedUser, IdentityProvider, mapped
from keystead.iam.federation.ports import FederationTx
from keystead.iam.federation.service import IdentityProviders
from keystead.iam.model import Caller, IssuedToken, Principal, Target, User, stranger
from keystead.iam.names import check_name
from keystead.iam.ports import Membership

STATE_SECONDS, CODE_SECONDS = 600, 60
_LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):[0-9]{1,5}(?:/[A-Za-z0-9._~/-]{0,100})?")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that has begun: where the browser goes now, and until when."""

    authorization_url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _State:
    """What a state holds, sealed."""

    id: str
    tenancy: str
    provider: str
    challenge: str
    redirect_uri: str
    client_state: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Came:
    """What the browser brings back from the provider."""

    state: str
    code: str = ""
    issuer: str = ""
    error: str = ""


class Federation(IdentityProviders):
    """Sign-in by way of identity providers."""

    def start(
        self, tenancy_name: str, provider_name: str, redirect_uri: str, challenge: str, client_state: str, source: str,
        request_id: str,
    ) -> Begun:  # fmt: skip
        """Begin. `redirect_uri` is the client's own, on its loopback; `challenge` is S256 of what it keeps.

        Raises:
            Refusal: `NotAuthenticated` (no such tenancy or provider, or disabled: all alike), `ProviderUnavailable`,
                `InvalidParameter`.
        """
        if _LOOPBACK.fullmatch(redirect_uri) is None:
            raise Refusal("InvalidParameter", "the answer goes to the client's own machine: http://127.0.0.1:<port>")
        if _CHALLENGE.fullmatch(challenge) is None or len(client_state) > 200 or not client_state.isascii():
            raise Refusal("InvalidParameter", "the challenge is S256 of a verifier, the state at most 200 letters")
        provider = self._open_provider(tenancy_name, provider_name, source, request_id)
        told = self._outside.metadata(provider)
        expires = self._clock.now() + timedelta(seconds=STATE_SECONDS)
        state = self._sealed_state(
            _State(secrets.token_hex(16), provider.tenancy, provider.id, challenge, redirect_uri, client_state, expires)
        )
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": self.redirect_uri(provider),
            "scope": " ".join(provider.scopes),
            "state": state,
            "nonce": self._derived("nonce", state),
            "code_challenge": s256(self._derived("verifier", state)),
            "code_challenge_method": "S256",
        }
        caller = self._stranger(provider.tenancy, "", source, request_id)
        self._guard.record(caller, "SIGN_IN", self._at(provider), "StartFederatedSignIn", "allowed")
        return Begun(_with_query(told.authorization_endpoint, asked), expires)

    def _open_provider(self, tenancy_name: str, provider_name: str, source: str, request_id: str) -> IdentityProvider:
        """The provider of that name, by way of which people sign in now. Raises: Refusal `NotAuthenticated`."""
        self._guard.refresh()
        tenancy = self._directory.tenancy_named(tenancy_name)
        provider = None
        if tenancy is not None:
            with self._store.read() as tx:
                provider = tx.federation.provider_by_name(tenancy.id, provider_name)
        if provider is None or provider.state != "ENABLED":
            refusal = Refusal(
                "NotAuthenticated",
                "tenancy or identity provider is wrong, or the provider is disabled",
                hint="an administrator knows: keystead identity-provider list",
                kind="unauthenticated",
            )
            self._refuse(None, tenancy.id if tenancy else "", provider_name, source, request_id, refusal)
        return provider

    def come_back(self, provider_id: str, came: Came, source: str, request_id: str) -> str:
        """The browser is back: who is it? Returns the address, on the client's own machine, that it is sent to.

        Raises:
            Refusal: `SignInRefused`; the state is not one of ours, for another provider, too old, or was used.
        """
        state = self._opened_state(came.state)
        if state is None or state.provider != provider_id:
            self._refuse(None, "", provider_id, source, request_id, refused("it was not begun here"))
        now = self._clock.now()
        if now >= state.expires_at:
            self._refuse(None, state.tenancy, provider_id, source, request_id, refused("it took too long"))
        blank = FederatedSignIn(
            TenancyId(state.tenancy),
            state.id,
            IdentityProviderId(state.provider),
            0,
            "",
            b"",
            state.challenge,
            (),
            state.expires_at,
        )
        with self._store.note() as tx:
            tx.federation.forget_before(now - timedelta(seconds=STATE_SECONDS))
            first = tx.federation.begin(blank)
            provider = tx.federation.provider(state.tenancy, state.provider)
        if not first:
            self._refuse(provider, state.tenancy, provider_id, source, request_id, refused("it was used before"))
        try:
            code = self._arrived(provider, blank, came, source, request_id)
        except Refusal as refusal:
            if not refusal.recorded:
                self._record_refusal(provider, state.tenancy, provider_id, source, request_id, refusal)
            return _with_query(state.redirect_uri, {"error": refusal.code, "state": state.client_state})
        return _with_query(state.redirect_uri, {"code": code, "state": state.client_state})

    def finish(self, code: str, verifier: str, source: str, request_id: str, device: str | None = None) -> IssuedToken:
        """The client's turn: its one-time code and the verifier it kept, for a security token.

        `device`: what a sign-in before gave to this client; "" asks for one, None does without.

        Raises:
            FactorRequired: the provider's word is not enough; goes on as after a password.
            Refusal: `NotAuthenticated`, for every other cause alike.
        """
        self._guard.refresh()
        began = self._clock.now()
        with self._store.note() as tx:
            found = tx.federation.take(_digest(code)) if code else None
            provider = tx.federation.provider(found.tenancy, found.provider) if found is not None else None
        principal = self._directory.principal(found.user) if found is not None else None
        tenancy = found.tenancy if found is not None else ""
        if (
            found is None
            or provider is None
            or principal is None
            or began >= found.expires_at
            or not secrets.compare_digest(s256(verifier), found.challenge)
            or self._directory.voided(principal.id, found.expires_at - timedelta(seconds=CODE_SECONDS))
        ):
            self._refuse(provider, tenancy, "", source, request_id, no_such_sign_in(), "FinishFederatedSignIn")
        caller = Caller(principal, request_id, source)
        return self._people.admit_provided(caller, found, provider.name, device, began)

    # within

    def _arrived(
        self, provider: IdentityProvider | None, sign_in: FederatedSignIn, came: Came, source: str, request_id: str
    ) -> str:
        """Who came back, as a one-time code for them. Raises: Refusal."""
        if provider is None or provider.state != "ENABLED":
            raise refused("the provider is disabled")
        if came.error or not came.code:
            raise refused("the provider let nobody in")
        told = self._outside.metadata(provider)
        if came.issuer != provider.issuer and (came.issuer or told.says_issuer):
            raise refused("it comes from another issuer")
        with self._store.read() as tx:
            secret = self._opened(provider, tx.federation.sealed_secret(provider.tenancy, provider.id))
        verifier = self._derived("verifier", came.state)
        redeemed = self._outside.redeem(provider, secret, came.code, verifier, self.redirect_uri(provider))
        check_claims(provider, redeemed, self._derived("nonce", came.state), self._clock.now())
        more = self._outside.user_info(provider, redeemed.access_token) if wants_more(provider, redeemed.claims) else {}
        return self._let_in(provider, sign_in, identity(provider, redeemed.claims, more), source, request_id)

    def _let_in(
        self, provider: IdentityProvider, sign_in: FederatedSignIn, who: Identity, source: str, request_id: str
    ) -> str:
        code = secrets.token_urlsafe(32)
        now = self._clock.now()
        user, made, linked = self._stands_for(provider, who, now)
        principal = Principal(PrincipalId(user.id), "user", user.name, user.tenancy, CompartmentId(user.tenancy))
        caller = Caller(principal, request_id, source)
        detail = {"identity_provider": provider.name, "subject": who.subject[:200]}
        with self._store.read() as tx:
            coming, going = self._groups(tx, provider, user, who, now)
        held = coming & self._ruled(user.tenancy)
        coming -= held
        detail |= {"groups_held_back": " ".join(sorted(held))} if held else {}
        detail |= {"groups_added": " ".join(sorted(coming)), "groups_removed": " ".join(sorted(going))}
        detail |= {"user": "made"} if made else {}
        entry = self._guard.entry(
            caller, "SIGN_IN", _person(principal), "FederatedSignInCallback", "allowed", detail=detail
        )
        password = self._hasher.hash(Secret(secrets.token_urlsafe(24).encode())) if made else ""
        with self._store.write(entry) as tx:
            if made:
                if tx.iam.user_by_name(user.tenancy, user.name) is not None:
                    raise stale()
                tx.iam.add_user(user, password)
            elif (living := tx.iam.user(user.tenancy, user.id)) is None or living.state != "ACTIVE":
                raise refused("the user is blocked here")
            if linked is not None:
                tx.federation.link(linked)
            for group_id in coming:
                tx.iam.set_membership(Membership(user.tenancy, group_id, user.id, deleted=False))
                tx.federation.mark(user.tenancy, provider.id, group_id, user.id)
            for group_id in going:
                tx.iam.set_membership(Membership(user.tenancy, group_id, user.id, deleted=True))
            back = replace(
                sign_in, user=user.id, code_digest=_digest(code), factors=who.factors,
                provider_version=provider.version, expires_at=now + timedelta(seconds=CODE_SECONDS),
            )  # fmt: skip
            if not tx.federation.returned(back):
                raise refused("it was used before")
        return code

    def _stands_for(
        self, provider: IdentityProvider, who: Identity, now: datetime
    ) -> tuple[User, bool, FederatedUser | None]:
        """The user a subject stands for, whether it is to be made, and the link that is new. Raises: Refusal."""
        tenancy = provider.tenancy
        with self._store.read() as tx:
            known = tx.federation.linked(tenancy, provider.id, who.subject)
            user = tx.iam.user(tenancy, known.user) if known is not None else None
            if known is None and provider.links_provisioned:
                user = self._provisioned(tx, tenancy, who.subject)
                if user is not None and tx.federation.link_of(tenancy, provider.id, user.id) is not None:
                    raise refused("the provisioned user is linked to another subject")
            name_taken = bool(who.name) and tx.iam.user_by_name(tenancy, who.name) is not None
        if user is not None and user.state != "ACTIVE":
            raise refused("the user is blocked here")
        if known is not None and user is not None:
            return user, False, None
        if known is not None:
            raise refused("the user was deleted here: an administrator unlinks it")
        made = user is None
        if user is None:
            if not provider.just_in_time:
                raise refused("nobody here is linked to it: keystead identity-provider link")
            if name_taken:
                raise refused("a user of that name is here and not linked: keystead identity-provider link")
            try:
                check_name(who.name, "user")
            except Refusal:
                raise refused(f"what the claim {provider.name_claim!r} says cannot name a user") from None
            new = UserId(new_id("user", self._region))
            user = User(new, tenancy, who.name, "ACTIVE", f"by identity provider {provider.name}", now)
        linked = FederatedUser(tenancy, provider.id, who.subject, user.id, user.name, now, made=made)
        return user, made, linked

    def _provisioned(self, tx: FederationTx, tenancy: str, subject: str) -> User | None:
        found = [each for each in tx.provisioning.all_described(tenancy, "User") if each.external_id == subject]
        return tx.iam.user(tenancy, found[0].id) if len(found) == 1 else None

    def _groups(
        self, tx: FederationTx, provider: IdentityProvider, user: User, who: Identity, now: datetime
    ) -> tuple[frozenset[str], frozenset[str]]:
        """The groups that the person comes into by this sign-in, and those they go out of."""
        said = mapped(provider.mappings, who.groups, provider.group_choice)
        living = frozenset(str(each) for each in said if tx.iam.group(user.tenancy, each) is not None)
        had = tx.federation.federated(user.tenancy, provider.id, user.id)
        return living - tx.federation.memberships(user.tenancy, user.id, now), had - living

    def _ruled(self, tenancy: str) -> frozenset[str]:
        """Groups whose members approve what others ask for: a rule covers who comes in, and a provider asks nobody."""
        self._guard.refresh()
        return frozenset(str(rule.group_id) for rule in self._directory.rules_in(tenancy))

    def _derived(self, what: str, state: str) -> str:
        """A secret of this sign-in, which nobody can say who has not the region's key."""
        digest = hmac.digest(self._deriving, f"{what}\0{state}".encode(), "sha256")
        return _b64(digest)

    def _sealed_state(self, state: _State) -> str:
        held = {
            "i": state.id, "t": state.tenancy, "p": state.provider, "c": state.challenge, "r": state.redirect_uri,
            "s": state.client_state, "e": isoformat_exact(state.expires_at),
        }  # fmt: skip
        return _b64(self._sealing.seal(json.dumps(held).encode(), self._state_binding))

    def _opened_state(self, text: str) -> _State | None:
        try:
            padded = text + "=" * (-len(text) % 4)
            sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
            if _b64(sealed) != text:
                return None
            held = json.loads(self._sealing.open(sealed, self._state_binding))
        except (Unreadable, ValueError):
            return None
        return _State(held["i"], held["t"], held["p"], held["c"], held["r"], held["s"], parse_moment(held["e"]))

    @property
    def _state_binding(self) -> Binding:
        return Binding("federated-state", "", self._region, "", "")

    # recording

    def _stranger(self, tenancy: str, name: str, source: str, request_id: str) -> Caller:
        return Caller(stranger(name, tenancy), request_id, source)

    def _refuse(
        self, provider: IdentityProvider | None, tenancy: str, named: str, source: str, request_id: str,
        refusal: Refusal, operation: str = "StartFederatedSignIn",
    ) -> NoReturn:  # fmt: skip
        self._record_refusal(provider, tenancy, named, source, request_id, refusal, operation)
        raise refusal

    def _record_refusal(
        self, provider: IdentityProvider | None, tenancy: str, named: str, source: str, request_id: str,
        refusal: Refusal, operation: str = "FederatedSignInCallback",
    ) -> None:  # fmt: skip
        place = (CompartmentId(tenancy),) if tenancy else ()
        target = Target("identity-providers", "", named[:100], TenancyId(tenancy), place)
        if provider is not None:
            target = self._at(provider)
        try:
            self._guard.refuse(self._stranger(tenancy, "", source, request_id), "SIGN_IN", target, operation, refusal)
        except KeysteadError as error:
            if error is not refusal:
                raise


def s256(verifier: str) -> str:
    """The challenge of a verifier (RFC 7636)."""
    return _b64(hashlib.sha256(verifier.encode()).digest())


def _person(principal: Principal) -> Target:
    return Target("users", principal.id, principal.name, principal.tenancy, (CompartmentId(principal.tenancy),))


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _with_query(url: str, values: dict[str, str]) -> str:
    return url + ("&" if "?" in url else "?") + "&".join(_pairs(values.items()))


def _pairs(items: Iterable[tuple[str, str]]) -> Iterable[str]:
    for name, value in items:
        yield f"{name}={''.join(chr(byte) if byte in _SAFE else f'%{byte:02X}' for byte in value.encode())}"
