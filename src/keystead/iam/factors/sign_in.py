"""Signing in, step by step.

    tenancy, user, password  ->  token, or FactorRequired with a challenge     (or by way of a provider: by_provider)
    challenge, factor, proof ->  token

Promises: whoever does not know the password learns nothing, not even whether there is such a user; a challenge is good
for five minutes, five tries and one token, and void once the user was changed; a code, an assertion and a recovery code
are each used once, however many try at the same moment; what strangers do takes nothing from a known device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import compare_digest, token_bytes
from typing import Final, NoReturn

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, SignInId, TenancyId, new_id
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding
from keystead.crypto.proofkey import PublicJwk
from keystead.iam.base import Base
from keystead.iam.factors import secrets
from keystead.iam.factors.click import FATIGUE, WINDOW
from keystead.iam.factors.lockout import BudgetKind
from keystead.iam.factors.model import (
    Factor,
    FactorName,
    FactorRequired,
    FactorSecrets,
    PendingSignIn,
    Seen,
    SeenKind,
    SignInSettings,
)
from keystead.iam.factors.network import network_of
from keystead.iam.factors.refusals import (
    asked_enough,
    denied_elsewhere,
    invalid_challenge,
    no_such_sign_in,
    not_offered,
    wrong_factor,
)
from keystead.iam.factors.risk import Facts, Risk, assess, reaches
from keystead.iam.federation.model import SESSION_KEPT, FederatedSignIn
from keystead.iam.model import Caller, IssuedToken, Target, User, stranger

CHALLENGE_LIFETIME: Final = timedelta(minutes=5)
KEPT: Final = timedelta(hours=2)
MAX_TRIES: Final = 5
MAX_OPEN: Final = 20
STEP_S: Final = 30
PACE: Final = timedelta(minutes=10)
KEEP: Final = {"device": 20, "network": 50, "hour": 24}
_NO_DIGEST: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Known:
    """What is held about a user that a sign-in is judged by."""

    factors: Sequence[tuple[Factor, FactorSecrets]]
    codes: int
    seen: Sequence[Seen]
    settings: SignInSettings
    failures: int

    @property
    def offered(self) -> tuple[FactorName, ...]:
        """The factors that may be shown. Another device vouches only beside a factor of the user's own."""
        kinds = {factor.kind for factor, _ in self.factors if factor.state == "ACTIVE"}
        if not kinds:
            return ()
        names: list[FactorName] = [kind for kind in ("webauthn", "totp") if kind in kinds]
        return (*names, "click", *(("recovery",) if self.codes else ()))


@dataclass(frozen=True, slots=True)
class Begun:
    """What the client needs to show a factor: the number to read out, or WebAuthn's options as JSON."""

    number: str = ""
    options: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """A sign-in that waits for a factor; `came`: when it was by way of a provider."""

    sign_in: PendingSignIn
    caller: Caller
    user: User
    came: FederatedSignIn | None


@dataclass(frozen=True, slots=True)
class Way:
    """How somebody signed in: what was proved, and from which device. `device` as the client sent it, `mark` when it is
    known, `came` when it was by way of a provider."""

    operation: str
    proved: tuple[str, ...]
    mark: bytes
    device: str | None
    key: PublicJwk | None
    score: int
    came: FederatedSignIn | None = None


def knows(seen: Sequence[Seen], mark: bytes) -> bool:
    """Whether one of these is the device with this mark. All of them are compared, whichever it is."""
    return any([each.kind == "device" and compare_digest(each.mark, mark) for each in seen])  # noqa: C419 (all)


def known_device(seen: Sequence[Seen], device: str | None) -> bytes:
    """The mark of the device that is shown, if the user has signed in from it before; else nothing."""
    known = [mark for mark in secrets.device_marks(device or "") if knows(seen, mark)]
    return known[0] if known else b""


class SignIns(Base):
    """The steps of signing in."""

    def sign_in(
        self,
        tenancy_name: str,
        user_name: str,
        password: Secret,
        source: str,
        request_id: str,
        device: str | None = None,
        key: PublicJwk | None = None,
    ) -> IssuedToken:
        """Exchange a password for a security token of one hour.

        An unknown user costs as much time as a wrong password. `device`: what a sign-in before gave to this client, or
        several of them with dots between; "" asks for one, None does without. `key`: the token is bound to it.

        Raises:
            FactorRequired: the password is right and not enough.
            Refusal: `NotAuthenticated`, for every other cause alike; `TooManyAttempts`.
        """
        self._guard.refresh()
        began = self._clock.now()
        tenancy = self._directory.tenancy_named(tenancy_name)
        with self._store.read() as tx:
            place = tenancy.id if tenancy is not None else TenancyId("")
            found = tx.iam.user_by_name(place, user_name)
            seen = tx.factors.seen(place, found[0].id if found is not None else "")
        mark = known_device(seen, device)
        budgets = self._attempts.budgets_of(tenancy_name, user_name, source, mark)
        who = stranger(user_name, place)
        self._pay(Caller(who, request_id, source), budgets, began)
        right = self._hasher.decoy(password) if found is None else self._hasher.verify(found[1], password)
        principal = self._unchanged(found[0] if found is not None else None)
        caller = Caller(principal or who, request_id, source)
        if principal is None or found is None or not right:
            self._attempts.failed(tenancy_name, user_name, began)
            self._wrong(caller, place)
        return self._password_was_right(caller, found[0], mark, device, key, began)

    def _password_was_right(
        self, caller: Caller, user: User, mark: bytes, device: str | None, key: PublicJwk | None, began: datetime
    ) -> IssuedToken:
        known, target = self._known(user, began), self._own(caller)
        risk = self._risk(known, caller.source, mark, began)
        required = self._directory.factor_required(user.id)
        told = risk.explained()
        if reaches(risk.level, known.settings.refuse_from):
            # To whoever has a password that may be stolen this looks as if it were the wrong one.
            self._wrong(caller, caller.principal.tenancy, "SignInTooRisky", f"the risk is {risk.level}", told)
        if known.offered and (required or reaches(risk.level, known.settings.factor_from)):
            challenge = self._open_challenge(caller, user, risk, mark, began)
            refusal = FactorRequired(challenge, known.offered)
            self._refuse_with(caller, target, "SignIn", refusal, told)
        way = Way("SignIn", ("password",), mark, device, key, risk.score)
        return self._complete(caller, user, way, began, told)

    # the second step

    def begin_factor(self, challenge: str, factor: FactorName, source: str, request_id: str) -> Begun:
        """What is needed before an authenticator or another device can answer.

        Raises:
            Refusal: `ChallengeInvalid`, `FactorNotOffered`, `TooManyRequests` (three on other devices within an hour).
        """
        open_ = self._pending(challenge, source, request_id, "BeginFactor")
        pending, caller, user = open_.sign_in, open_.caller, open_.user
        now, target = self._clock.now(), self._own(caller)
        known = self._known(user, now)
        if factor not in known.offered or factor not in ("webauthn", "click"):
            self._guard.refuse(caller, "SIGN_IN", target, "BeginFactor", not_offered(factor, known.offered))
        if factor == "webauthn":
            nonce = token_bytes(32)
            changed, begun = replace(pending, nonce=nonce), Begun(options=self._assertion(known, nonce))
        else:
            with self._store.read() as tx:
                lately = tx.factors.sign_ins(user.tenancy, user.id, now - FATIGUE[1])
            asked = [each.created_at for each in lately if each.asked_at]
            if len(asked) >= FATIGUE[0] or pending.asked_at is not None:
                left = min(asked, default=now) + FATIGUE[1] - now
                self._guard.refuse(caller, "SIGN_IN", target, "BeginFactor", asked_enough(left))
            changed = replace(pending, number=secrets.new_number(), answer="waiting", asked_at=now)
            begun = Begun(number=changed.number)
        with self._store.note() as tx:
            done = tx.factors.change_sign_in(pending, changed)
        if not done:
            self._guard.refuse(caller, "SIGN_IN", target, "BeginFactor", invalid_challenge())
        self._guard.record(caller, "SIGN_IN", target, "BeginFactor", "allowed", detail={"factor": factor})
        return begun

    def prove_factor(
        self,
        challenge: str,
        factor: FactorName,
        proof: Secret,
        source: str,
        request_id: str,
        device: str | None = None,
        key: PublicJwk | None = None,
    ) -> IssuedToken:
        """A token for a right password and this factor. `proof`: the code, or the assertion as JSON.

        Raises:
            FactorRequired: code `FactorPending`, nobody has answered on the other device yet: ask again.
            Refusal: `ChallengeInvalid`, `FactorNotOffered`, `FactorWrong`, `FactorDenied`, `TooManyAttempts`.
        """
        open_ = self._pending(challenge, source, request_id, "ProveFactor")
        pending, caller, user = open_.sign_in, open_.caller, open_.user
        target, now = self._own(caller), self._clock.now()
        known = self._known(user, now)
        if factor not in known.offered:
            self._guard.refuse(caller, "SIGN_IN", target, "ProveFactor", not_offered(factor, known.offered))
        if factor == "click":
            taken = self._answered(caller, pending, challenge, now)
        else:
            names = self._names(user)
            self._pay(caller, self._attempts.budgets_of(*names, source, pending.device), now)
            tries = pending.tries + 1
            taken = replace(pending, tries=tries, nonce=b"", state="DEAD" if tries >= MAX_TRIES else "OPEN")
            with self._store.note() as tx:
                if not tx.factors.change_sign_in(pending, taken):
                    self._guard.refuse(caller, "SIGN_IN", target, "ProveFactor", invalid_challenge())
            if not self._proved(user, known, factor, proof, pending.nonce, now):
                self._attempts.failed(*names, now)
                self._guard.refuse(caller, "SIGN_IN", target, "ProveFactor", wrong_factor(MAX_TRIES - tries))
        told = {"factor": factor, "risk": str(pending.risk)}
        if factor == "recovery":
            told["codes_left"] = str(known.codes - 1)
        before = ("password",) if open_.came is None else open_.came.factors
        way = Way("ProveFactor", (*before, factor), pending.device, device, key, pending.risk, open_.came)
        return self._complete(caller, user, way, now, told, taken)

    # parts

    def _pending(self, challenge: str, source: str, request_id: str, operation: str) -> Open:
        """The sign-in that a challenge is for, while it can go on."""
        self._guard.refresh()
        sign_in_id, digest = secrets.parse_challenge(challenge, self._region)
        with self._store.read() as tx:
            found = tx.factors.sign_in(sign_in_id)
            came = tx.federation.waiting(found.tenancy, found.id) if found is not None else None
            shown = digest if came is None else secrets.provided(digest)
            right = compare_digest(found.digest if found is not None else _NO_DIGEST, shown)
            user = tx.iam.user(found.tenancy, found.user) if found is not None and right else None
        principal = self._directory.principal(user.id) if user is not None else None
        if found is None or user is None or principal is None or not right:
            caller = Caller(stranger(), request_id, source)
            self._guard.refuse(caller, "SIGN_IN", self._nowhere(caller), operation, invalid_challenge())
        caller, now = Caller(principal, request_id, source), self._clock.now()
        if (
            found.state != "OPEN"
            or not found.created_at <= now < found.expires_at
            or user.version != found.user_version
        ):
            self._guard.refuse(caller, "SIGN_IN", self._own(caller), operation, invalid_challenge())
        return Open(found, caller, user, came)

    def _proved(self, user: User, known: Known, factor: FactorName, proof: Secret, nonce: bytes, now: datetime) -> bool:
        text = proof.reveal().decode("utf-8", "replace")
        if factor == "recovery":
            with self._store.note() as tx:
                return tx.factors.use_code(user.tenancy, user.id, secrets.code_digest(text))
        held = [each for each in known.factors if each[0].kind == factor and each[0].state == "ACTIVE"]
        if factor == "totp":
            used = [self._code_used(each, text, now) for each in held]  # all of them, whichever is right
            return any(used)
        wanted = self._proofs.authenticators.credential_of(text)
        for found, secret in held:
            if nonce and secret.credential == wanted:
                try:
                    counter = self._proofs.authenticators.asserted(text, nonce, secret.public_key, secret.counter)
                except Refusal:
                    return False
                with self._store.note() as tx:
                    return tx.factors.use_factor(found, secret.counter, counter, now)
        return False

    def _code_used(self, held: tuple[Factor, FactorSecrets], text: str, now: datetime) -> bool:
        factor, secret = held
        step = self._step_of(factor, secret, text, now)
        if step is None:
            return False
        with self._store.note() as tx:
            return tx.factors.use_factor(factor, secret.counter, step, now)

    def _step_of(self, factor: Factor, held: FactorSecrets, text: str, now: datetime) -> int | None:
        """The time step that a code is of: now, the one before or after, and later than the last that was used."""
        secret = self._proofs.sealer.open(held.sealed, self._binding(factor))
        at = int(now.timestamp()) // STEP_S
        code = "".join(text[:32].split()).encode("utf-8", "replace")
        right = [step for step in (at - 1, at, at + 1) if compare_digest(self._code(secret, step), code)]
        return next((step for step in right if step > held.counter), None)

    def _code(self, secret: bytes, step: int) -> bytes:
        return self._proofs.codes.code(secret, step).encode()

    def _binding(self, factor: Factor) -> Binding:
        return Binding("totp-secret", factor.tenancy, self._region, factor.id, factor.user)

    def _assertion(self, known: Known, nonce: bytes) -> str:
        ids = [held.credential for factor, held in known.factors if factor.kind == "webauthn" and held.credential]
        return self._proofs.authenticators.assertion(nonce, ids)

    def _answered(self, caller: Caller, pending: PendingSignIn, challenge: str, now: datetime) -> PendingSignIn:
        """The request on another device, once it was approved."""
        target = self._own(caller)
        if pending.asked_at is None:
            self._guard.refuse(caller, "SIGN_IN", target, "ProveFactor", invalid_challenge())
        if pending.answer == "denied" or (pending.answer == "waiting" and now >= pending.asked_at + WINDOW):
            with self._store.note() as tx:
                tx.factors.change_sign_in(pending, replace(pending, state="DEAD"))
            self._guard.refuse(caller, "SIGN_IN", target, "ProveFactor", denied_elsewhere(pending.answer == "denied"))
        if pending.answer != "approved":
            again = "nobody has answered on the other device yet"
            refusal = FactorRequired(challenge, ("click",), message=again, code="FactorPending")
            self._guard.refuse(caller, "SIGN_IN", target, "ProveFactor", refusal)
        return pending

    def _open_challenge(
        self, caller: Caller, user: User, risk: Risk, mark: bytes, now: datetime, came: FederatedSignIn | None = None
    ) -> str:
        sign_in_id = SignInId(new_id("signin", self._region))
        text, digest = secrets.new_challenge(sign_in_id)
        pending = PendingSignIn(
            sign_in_id,
            user.tenancy,
            user.id,
            user.version,
            digest if came is None else secrets.provided(digest),
            "OPEN",
            caller.source,
            now,
            now + CHALLENGE_LIFETIME,
            risk.score,
            mark,
        )
        with self._store.note() as tx:
            tx.factors.forget_sign_ins(now - KEPT)
            held = [each for each in tx.factors.sign_ins(user.tenancy, user.id, now - KEPT) if each.state == "OPEN"]
            for old in sorted(held, key=lambda each: each.created_at)[: max(len(held) - MAX_OPEN + 1, 0)]:
                tx.factors.change_sign_in(old, replace(old, state="DEAD"))
            tx.factors.add_sign_in(pending)
            if came is not None:
                tx.federation.waits(came, sign_in_id)
        return text

    def _complete(
        self,
        caller: Caller,
        user: User,
        way: "Way",
        began: datetime,
        told: dict[str, str],
        pending: PendingSignIn | None = None,
    ) -> IssuedToken:
        """The token, after everything was proved. Uses the pending sign-in up first."""
        target, mark = self._own(caller), way.mark
        # As of the beginning: a revocation that came while the proof was looked at counts.
        issued = self._tokens.issue(
            caller.principal, began, factors=way.proved, key=way.key, source=caller.source, risk=way.score
        )
        if pending is not None:
            done = replace(pending, state="DONE", session=issued.session, done_at=began)
            with self._store.note() as tx:
                used = tx.factors.change_sign_in(pending, done)
            if not used:
                self._guard.refuse(caller, "SIGN_IN", target, way.operation, invalid_challenge())
        if pending is not None or way.came is None:  # whoever has shown nothing here has nothing to be given back
            self._attempts.give_back(self._attempts.budgets_of(*self._names(user), caller.source, mark))
        given = ""
        if way.device is not None and not mark:
            given, mark = secrets.new_device()
            told = {**told, "new_device": "true"}
        detail = {"token_id": issued.token_id, "factors": " ".join(way.proved), **told}
        self._done(caller, way, issued, detail, began)
        self._remember(user, caller.source, mark, began)
        return replace(issued, device=given)

    def _done(self, caller: Caller, way: Way, issued: IssuedToken, detail: dict[str, str], began: datetime) -> None:
        """The entry; and what a provider led to, which ends with it. Raises: Refusal, the provider is none any more."""
        target = self._own(caller)
        if way.came is None:
            self._guard.record(caller, "SIGN_IN", target, way.operation, "allowed", detail=detail)
            return
        led_to = replace(way.came, token_id=issued.token_id, session=issued.session, expires_at=began + SESSION_KEPT)
        entry = self._guard.entry(caller, "SIGN_IN", target, way.operation, "allowed", detail=detail)
        with self._store.write(entry) as tx:
            if not tx.federation.ended(way.came, led_to):
                raise no_such_sign_in()  # and the token that was made is given to nobody

    def _remember(self, user: User, source: str, mark: bytes, now: datetime) -> None:
        marks: dict[SeenKind, bytes] = {
            "network": self._attempts.mark("network", network_of(source)),
            "hour": bytes([now.hour]),
        }
        if mark:
            marks["device"] = mark
        with self._store.note() as tx:
            for kind, each in marks.items():
                tx.factors.see(Seen(user.tenancy, user.id, kind, each, now, now), KEEP[kind])

    def _known(self, user: User, now: datetime) -> Known:
        with self._store.read() as tx:
            rows = tx.factors
            return Known(
                rows.factors(user.tenancy, user.id),
                rows.codes_left(user.tenancy, user.id),
                rows.seen(user.tenancy, user.id),
                rows.settings(user.tenancy),
                self._attempts.failures(rows, *self._names(user), now),
            )

    def _risk(self, known: Known, source: str, mark: bytes, now: datetime) -> Risk:
        here = self._attempts.mark("network", network_of(source))
        of = {kind: [each for each in known.seen if each.kind == kind] for kind in KEEP}
        first = min((each.first_at for each in of["hour"]), default=now)
        return assess(
            Facts(
                now,
                known_device=knows(of["device"], mark),
                known_network=any(each.mark == here for each in of["network"]),
                devices=len(of["device"]),
                networks=len(of["network"]),
                failures=known.failures,
                network_changes=sum(1 for each in of["network"] if each.mark != here and now - each.last_at < PACE),
                hours=frozenset(each.mark[0] for each in of["hour"]),
                days=(now - first).days,
            )
        )

    def _names(self, user: User) -> tuple[str, str]:
        tenancy = self._directory.tenancy(user.tenancy)
        return (tenancy.name if tenancy is not None else "", user.name)

    def _pay(self, caller: Caller, budgets: list[tuple[BudgetKind, bytes]], now: datetime) -> None:
        try:
            self._attempts.pay(budgets, now)
        except Refusal as refusal:
            self._guard.refuse(caller, "SIGN_IN", self._nowhere(caller), "SignIn", refusal)

    def _nowhere(self, caller: Caller) -> Target:
        who = caller.principal
        place = (CompartmentId(who.tenancy),) if who.tenancy else ()
        return Target("users", who.id, who.name, who.tenancy, place)

    def _wrong(
        self, caller: Caller, tenancy: str, code: str = "", reason: str = "", told: dict[str, str] | None = None
    ) -> NoReturn:
        """The one answer to what is not let in; the audit entry may know better."""
        refusal = Refusal(
            "NotAuthenticated",
            "tenancy, user or password is wrong",
            hint="an administrator can set a new password: keystead user reset-password",
            kind="unauthenticated",
        )
        self._refuse_with(caller, self._nowhere(caller), "SignIn", refusal, told or {}, code, reason)

    def _refuse_with(
        self,
        caller: Caller,
        target: Target,
        operation: str,
        refusal: Refusal,
        told: dict[str, str],
        code: str = "",
        reason: str = "",
    ) -> NoReturn:
        """As `Guard.refuse`, with details."""
        entry = self._guard.entry(
            caller,
            "SIGN_IN",
            target,
            operation,
            "refused",
            code=code or refusal.code,
            reason=reason or refusal.message,
            detail=told,
        )
        self._log.append(entry)
        refusal.recorded = True
        raise refusal
