"""Signing in a client that has no password of anybody's: in a browser (RFC 8252), or with a code on another device.

    browser   authorize page -> sign-in -> consent -> code to http://127.0.0.1:<port>/<path> -> redeemed with PKCE
    device    RFC 8628: the client shows XXXX-XXXX and asks again and again; the code is typed into the page instead

    login: OPEN (device alone) -> SIGNED_IN -> GRANTED -> DONE, or DENIED

Promises: codes are random, kept as SHA-256 alone, good once and for minutes; PKCE is S256 and never left out; what is
redeemed is a token of the session that the sign-in began, after consent that named who asks from where; a code for a
device that is asked for too often answers `SlowDown`, and guessing at codes of others takes a sign-in of one's own for
each guess. Whoever is signed in must still be who they were when the token is taken.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Literal

from keystead.core.errors import Refusal
from keystead.iam.base import Base
from keystead.iam.model import Caller, IssuedToken, Principal, Target, stranger
from keystead.iam.sessions.model import Login
from keystead.iam.sessions.service import given_key

CODE_LIFE = timedelta(minutes=2)
DEVICE_LIFE = timedelta(minutes=10)
CONSENT_LIFE = timedelta(minutes=5)
INTERVAL = timedelta(seconds=5)
MAX_OPEN = 1000
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a device is given: `device_code` to ask with, `user_code` to show."""

    device_code: str
    user_code: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Consent:
    """What the page asks: who would let whom in. `ticket` is a secret of the page's."""

    ticket: str
    user: str
    tenancy: str
    asked_from: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of it: a code for the browser's client, or nothing for a device."""

    kind: Literal["browser", "device"]
    code: str = ""
    redirect: str = ""
    state: str = ""


class Logins(Base):
    """The steps of both."""

    def begin_device_login(self, source: str, request_id: str) -> DeviceCode:
        """A pair of codes. Raises: Refusal `TooManyRequests`: so many wait already."""
        now, device_code = self._clock.now(), secrets.token_urlsafe(32)
        letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
        login = Login(
            _mark(device_code), "device", _mark(letters), "OPEN", {"from": source}, {}, None, now + DEVICE_LIFE
        )
        with self._store.note() as tx:
            tx.sessions.forget_logins(now)
            if tx.sessions.count_logins() >= MAX_OPEN:
                raise Refusal(
                    "TooManyRequests",
                    "too many logins wait to be allowed",
                    hint="try again in a few minutes",
                    kind="too_many",
                    retry_s=CONSENT_LIFE.total_seconds(),
                )
            tx.sessions.add_login(login)
        self._guard.record(_nobody(source, request_id), "", _NOWHERE, "BeginDeviceLogin", "allowed")
        return DeviceCode(device_code, f"{letters[:4]}-{letters[4:]}", login.expires_at)

    def login_signed_in(self, caller: Caller, asked: dict[str, str], user_code: str = "") -> Consent:
        """Somebody has signed in on the page: for the device that shows `user_code`, or for a browser's client that
        `asked` with `challenge`, `redirect` and `state`.

        Raises:
            Refusal: `NoSuchCode`.
        """
        now, ticket = self._clock.now(), secrets.token_urlsafe(32)
        given = {
            "ticket": _mark(ticket),
            "principal": caller.principal.id,
            "factors": " ".join(sorted(caller.factors)),
            "session": caller.session,
            "risk": str(caller.risk),
            "since": now.isoformat(),
        }
        asked_from = caller.source
        with self._store.note() as tx:
            tx.sessions.forget_logins(now)
            if user_code:
                found = tx.sessions.login_by_code("device", _mark(_letters(user_code)))
                if found is None or found.state != "OPEN" or now >= found.expires_at:
                    refusal = Refusal(
                        "NoSuchCode", "no device waits with this code", hint="look at the device: it shows XXXX-XXXX"
                    )
                    self._guard.refuse(caller, "", self._own(caller), "AllowLogin", refusal)
                asked_from = found.asked.get("from", "")
                tx.sessions.change_login(found, replace(found, state="SIGNED_IN", given=given))
            else:
                login = Login(
                    _mark(ticket), "browser", given["ticket"], "SIGNED_IN", asked, given, None, now + CONSENT_LIFE
                )
                tx.sessions.add_login(login)
                given["ticket"] = ""
            if user_code and found is not None:
                ticket = f"{found.id}.{ticket}"
        return Consent(ticket, caller.principal.name, self._tenancy_name(caller.principal), asked_from)

    def decide_login(self, ticket: str, allow: bool, source: str, request_id: str) -> Decision:
        """What whoever signed in says to it. Raises: Refusal `NoSuchCode`."""
        name, _, secret = ticket.rpartition(".")
        now, code = self._clock.now(), secrets.token_urlsafe(32)
        with self._store.read() as tx:
            found = tx.sessions.login(name or _mark(secret))
        held = found.given.get("ticket", "") if found is not None and name else _mark(secret)
        principal = self._directory.principal(found.given.get("principal", "")) if found is not None else None
        caller = Caller(principal, request_id, source) if principal is not None else _nobody(source, request_id)
        target = self._own(caller) if principal is not None else _NOWHERE
        dead = found is None or found.state != "SIGNED_IN" or now >= found.expires_at
        if found is None or dead or principal is None or not compare_digest(held, _mark(secret)):
            refusal = Refusal("NoSuchCode", "this page is too old, or was answered already", hint="begin again")
            self._guard.refuse(caller, "", target, "AllowLogin", refusal)
        changed = replace(found, state="GRANTED" if allow else "DENIED")
        if found.kind == "browser":
            changed = replace(changed, code=_mark(code), expires_at=now + CODE_LIFE)
        detail = {"asked_from": found.asked.get("from", "") or source, "way": found.kind}
        with self._store.note() as tx:
            if not tx.sessions.change_login(found, changed):
                refusal = Refusal("NoSuchCode", "this page was answered already", hint="begin again")
                self._guard.refuse(caller, "", target, "AllowLogin", refusal)
        self._guard.record(caller, "", target, "AllowLogin" if allow else "DenyLogin", "allowed", detail=detail)
        if found.kind == "device":
            return Decision("device")
        return Decision("browser", code if allow else "", found.asked.get("redirect", ""), found.asked.get("state", ""))

    def redeem_login(
        self,
        kind: Literal["browser", "device"],
        code: str,
        verifier: str,
        public_key: str,
        source: str,
        request_id: str,
    ) -> IssuedToken:
        """The token that was allowed. `code` is the redirect's, or the device's.

        Raises:
            Refusal: `LoginPending`, `SlowDown` (a device asks again later), `LoginDenied`, `CodeInvalid`, `InvalidKey`.
        """
        self._guard.refresh()
        now = self._clock.now()
        key = given_key(public_key) if public_key else None
        found, principal = self._granted(kind, code, verifier, now, _nobody(source, request_id))
        given = found.given
        issued = self._tokens.issue(
            principal,
            now,
            factors=given["factors"].split(),
            session=given["session"],
            key=key,
            source=source,
            risk=int(given["risk"]),
        )
        with self._store.note() as tx:
            session = tx.sessions.session(principal.tenancy, given["session"])
            if session is not None and key is not None and not session.key:
                tx.sessions.bind(session, key.text)
        caller = Caller(principal, request_id, source)
        detail = {"token_id": issued.token_id, "session_id": given["session"], "way": kind}
        self._guard.record(caller, "SIGN_IN", self._own(caller), "RedeemLogin", "allowed", detail=detail)
        return issued

    def _granted(
        self, kind: Literal["browser", "device"], code: str, verifier: str, now: datetime, nobody: Caller
    ) -> tuple[Login, Principal]:
        """The login that the code stands for, allowed and from now on used up, and who it lets in."""
        with self._store.read() as tx:
            mark = _mark(code)
            found = tx.sessions.login(mark) if kind == "device" else tx.sessions.login_by_code("browser", mark)
        if found is None or found.kind != kind or now >= found.expires_at or found.state == "DONE":
            self._guard.refuse(nobody, "", _NOWHERE, "RedeemLogin", _invalid_code())
        if kind == "device":
            self._pace(found, now)
        if found.state == "DENIED":
            refusal = Refusal("LoginDenied", "it was denied on the page", hint="keystead login", kind="denied")
            self._guard.refuse(nobody, "", _NOWHERE, "RedeemLogin", refusal)
        if found.state != "GRANTED":
            raise Refusal("LoginPending", "nobody has allowed it yet", hint="ask again in 5 seconds", kind="conflict")
        with self._store.note() as tx:  # once, whether or not the rest holds
            if not tx.sessions.change_login(found, replace(found, state="DONE")):
                self._guard.refuse(nobody, "", _NOWHERE, "RedeemLogin", _invalid_code())
        if kind == "browser" and not compare_digest(_challenge(verifier), found.asked.get("challenge", "")):
            self._guard.refuse(nobody, "", _NOWHERE, "RedeemLogin", _invalid_code())
        principal = self._still(found)
        if principal is None:
            self._guard.refuse(nobody, "", _NOWHERE, "RedeemLogin", _invalid_code())
        return found, principal

    def _pace(self, found: Login, now: datetime) -> None:
        """Raises: Refusal `SlowDown`."""
        early = found.polled_at is not None and now - found.polled_at < INTERVAL
        with self._store.note() as tx:
            tx.sessions.change_login(found, replace(found, polled_at=now))
        if early and found.state in ("OPEN", "SIGNED_IN"):
            raise Refusal("SlowDown", "the device asks too often", hint="wait 5 seconds between", kind="conflict")

    def _still(self, found: Login) -> Principal | None:
        """Who signed in, unless they, their session or their tokens were taken away since."""
        principal = self._directory.principal(found.given["principal"])
        since = datetime.fromisoformat(found.given["since"])
        for subject in (found.given["principal"], found.given["session"]):
            if subject and self._directory.voided(subject, since):
                return None
        return principal

    def _tenancy_name(self, principal: Principal) -> str:
        found = self._directory.tenancy(principal.tenancy)
        return found.name if found is not None else ""


def _nobody(source: str, request_id: str) -> Caller:
    return Caller(stranger(), request_id, source)


_NOWHERE = Target("users", "", "", "", ())  # type: ignore[arg-type]  # of nobody yet


def _invalid_code() -> Refusal:
    return Refusal(
        "CodeInvalid", "the code is unknown, used or over", hint="begin again: keystead login", kind="unauthenticated"
    )


def _letters(user_code: str) -> str:
    return "".join(letter for letter in user_code.upper()[:32] if letter in _LETTERS)


def _mark(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def _challenge(verifier: str) -> str:
    """RFC 7636, S256; of a verifier that is too short, nothing's."""
    if not 43 <= len(verifier) <= 128:
        return "-"
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
