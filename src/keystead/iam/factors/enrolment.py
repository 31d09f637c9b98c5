"""Second factors, enrolled and removed by their owner, or removed by an administrator; and where they are asked for.

Promises: a secret is shown once, when it is made, and is good for nothing before it was used once; who has a factor
changes their factors only within ten minutes after having shown one; another user's need USER_TOTPDEVICE_REMOVE.
"""

from dataclasses import replace
from datetime import timedelta
from secrets import token_bytes
from typing import Final

from keystead.audit.model import Entry
from keystead.core.errors import Refusal, not_found, stale, taken
from keystead.core.ids import FactorId, UserId, new_id, parse_id
from keystead.core.secret import Secret
from keystead.iam.factors import secrets
from keystead.iam.factors.by_provider import ProviderSignIns
from keystead.iam.factors.model import Factor, FactorKind, FactorSecrets, SignInSettings
from keystead.iam.model import Caller, Principal
from keystead.iam.names import check_name

FRESH: Final = timedelta(minutes=10)
ENROLMENT: Final = timedelta(minutes=10)
MAX_FACTORS: Final = 10


class Enrolment(ProviderSignIns):
    """What is done with second factors."""

    def enrol_totp(self, caller: Caller, name: str) -> tuple[Factor, Secret]:
        """A new code generator and its otpauth URI, shown once; it counts after `confirm_factor`."""
        factor = self._new(caller, "totp", name, "EnrolTotp")
        secret = self._proofs.codes.new_secret()
        uri = self._proofs.codes.uri(secret, caller.principal.name, f"Keystead {self._region}")
        self._add(caller, factor, FactorSecrets(self._proofs.sealer.seal(secret, self._binding(factor))), "EnrolTotp")
        return factor, Secret(uri.encode())

    def enrol_webauthn(self, caller: Caller, name: str) -> tuple[Factor, str]:
        """A new authenticator and the options that a browser makes its credential with; see `confirm_factor`."""
        factor = self._new(caller, "webauthn", name, "EnrolWebAuthn")
        nonce, who = token_bytes(32), caller.principal
        with self._store.read() as tx:
            known = [held.credential for _, held in tx.factors.factors(who.tenancy, who.id) if held.credential]
        self._add(caller, factor, FactorSecrets(nonce), "EnrolWebAuthn")
        return factor, self._proofs.authenticators.registration(nonce, who.id, who.name, known)

    def confirm_factor(self, caller: Caller, factor_id: str, proof: Secret) -> Factor:
        """Use a new factor once: a code, or the credential as JSON. From then on it is asked for."""
        parse_id(factor_id, "factor")
        who, now, operation = self._user_only(caller, "ConfirmFactor"), self._clock.now(), "ConfirmFactor"
        with self._store.read() as tx:
            found = tx.factors.factor(who.tenancy, who.id, factor_id)
        target = self._own(caller)
        if found is None or found[0].state != "PENDING" or now - found[0].created_at >= ENROLMENT:
            self._guard.refuse(caller, "USER_TOTPDEVICE_ADD", target, operation, not_found("factor"))
        self._check_fresh(caller, operation)
        factor, held = found
        names = self._directory.tenancy(who.tenancy)
        budgets = self._attempts.budgets_of(names.name if names else "", who.name, caller.source, b"")
        self._pay(caller, budgets, now)
        confirmed = self._confirmed(caller, factor, held, proof)
        self._attempts.give_back(budgets)
        after = replace(factor, state="ACTIVE", last_used_at=now)
        with self._store.write(self._entry(caller, factor, operation)) as tx:
            if not tx.factors.activate_factor(after, confirmed):
                raise stale()
        return after

    def _confirmed(self, caller: Caller, factor: Factor, held: FactorSecrets, proof: Secret) -> FactorSecrets:
        text, now = proof.reveal().decode("utf-8", "replace"), self._clock.now()
        wrong = Refusal("FactorWrong", "the code or credential is wrong", hint="check the clock of the device")
        if factor.kind == "totp":
            step = self._step_of(factor, held, text, now)
            if step is None:
                self._guard.refuse(caller, "USER_TOTPDEVICE_ADD", self._own(caller), "ConfirmFactor", wrong)
            return replace(held, counter=step)
        try:
            made = self._proofs.authenticators.registered(text, held.sealed)
        except Refusal:
            self._guard.refuse(caller, "USER_TOTPDEVICE_ADD", self._own(caller), "ConfirmFactor", wrong)
        with self._store.read() as tx:
            if tx.factors.credential_known(made.credential):
                self._guard.refuse(caller, "USER_TOTPDEVICE_ADD", self._own(caller), "ConfirmFactor", wrong)
        return FactorSecrets(b"", made.credential, made.public_key, made.counter)

    def create_recovery_codes(self, caller: Caller) -> list[Secret]:
        """Ten codes, each good once, shown once; those made before are void."""
        operation = "CreateRecoveryCodes"
        who = self._user_only(caller, operation)
        with self._store.read() as tx:
            held = tx.factors.factors(who.tenancy, who.id)
        if not any(each.state == "ACTIVE" for each, _ in held):
            refusal = Refusal(
                "NoFactor",
                "recovery codes stand in for a factor, and there is none",
                hint="enrol one first: keystead factor enrol-totp NAME",
                kind="conflict",
            )
            self._guard.refuse(caller, "USER_TOTPDEVICE_ADD", self._own(caller), operation, refusal)
        self._check_fresh(caller, operation)
        codes, digests = secrets.new_codes()
        entry = self._guard.entry(caller, "USER_TOTPDEVICE_ADD", self._own(caller), operation, "allowed")
        with self._store.write(entry) as tx:
            tx.factors.set_codes(who.tenancy, who.id, digests)
        return codes

    def list_factors(self, caller: Caller, user_id: str) -> list[Factor]:
        """A user's factors, without anything secret. One's own without any permission."""
        if user_id == caller.principal.id:
            target = self._own(caller)
            self._guard.record(caller, "USER_READ", target, "ListFactors", "allowed")
        else:
            target = self._at_user(self._user(caller, user_id))
            self._guard.permit(caller, "USER_READ", target, "ListFactors")
        with self._store.read() as tx:
            return [factor for factor, _ in tx.factors.factors(target.tenancy, user_id)]

    def remove_factor(self, caller: Caller, user_id: str, factor_id: str) -> None:
        """Forget a factor; with the last one, the recovery codes. One's own needs a factor shown lately."""
        parse_id(factor_id, "factor")
        detail = {"factor_id": factor_id}
        if user_id == caller.principal.id:
            self._check_fresh(caller, "RemoveFactor")
            target = self._own(caller)
            entry = self._guard.entry(
                caller, "USER_TOTPDEVICE_REMOVE", target, "RemoveFactor", "allowed", detail=detail
            )
        else:
            target = self._at_user(self._user(caller, user_id))
            entry = self._guard.permit_change(caller, "USER_TOTPDEVICE_REMOVE", target, "RemoveFactor", detail)
        with self._store.write(entry) as tx:
            if not tx.factors.delete_factor(target.tenancy, user_id, factor_id):
                raise not_found("factor")
            if not any(each.state == "ACTIVE" for each, _ in tx.factors.factors(target.tenancy, user_id)):
                tx.factors.set_codes(target.tenancy, user_id, ())

    # where they are asked for

    def get_sign_in_settings(self, caller: Caller) -> SignInSettings:
        """From which level of risk on a second factor is asked for, and nobody is let in."""
        self._guard.permit(caller, "TENANCY_INSPECT", self._in_root(caller, "tenancies"), "GetSignInSettings")
        with self._store.read() as tx:
            return tx.factors.settings(caller.principal.tenancy)

    def update_sign_in_settings(self, caller: Caller, settings: SignInSettings) -> SignInSettings:
        """Set both."""
        detail = {"factor_from": settings.factor_from, "refuse_from": settings.refuse_from}
        target = self._in_root(caller, "tenancies")
        entry = self._guard.permit_change(caller, "TENANCY_UPDATE", target, "UpdateSignInSettings", detail)
        if settings.refuse_from == "low":
            raise Refusal("InvalidParameter", "nobody could sign in", hint="refuse from medium or high, or never")
        with self._store.write(entry) as tx:
            tx.factors.set_settings(caller.principal.tenancy, settings)
        return settings

    # parts

    def _new(self, caller: Caller, kind: FactorKind, name: str, operation: str) -> Factor:
        check_name(name, "factor")
        who = self._user_only(caller, operation)
        self._check_fresh(caller, operation)
        return Factor(
            FactorId(new_id("factor", self._region)),
            who.tenancy,
            UserId(who.id),
            kind,
            name,
            "PENDING",
            self._clock.now(),
        )

    def _add(self, caller: Caller, factor: Factor, held: FactorSecrets, operation: str) -> None:
        """In the place of an enrolment that was not finished: a user has at most one."""
        with self._store.write(self._entry(caller, factor, operation)) as tx:
            tx.factors.drop_pending(factor.tenancy, factor.user)
            others = tx.factors.factors(factor.tenancy, factor.user)
            if any(each.name.casefold() == factor.name.casefold() for each, _ in others):
                raise taken("factor", factor.name)
            if len(others) >= MAX_FACTORS:
                raise Refusal("TooManyFactors", f"a user has at most {MAX_FACTORS} factors", kind="conflict")
            tx.factors.add_factor(factor, held)

    def _entry(self, caller: Caller, factor: Factor, operation: str) -> Entry:
        detail = {"factor_id": factor.id, "factor": factor.name, "kind": factor.kind}
        return self._guard.entry(caller, "USER_TOTPDEVICE_ADD", self._own(caller), operation, "allowed", detail=detail)

    def _user_only(self, caller: Caller, operation: str) -> Principal:
        """The caller as the user whose factors are meant."""
        target = self._own(caller)
        if caller.principal.type != "user":
            refusal = Refusal("NotAUser", "only users have second factors", kind="denied")
            self._guard.refuse(caller, "USER_TOTPDEVICE_ADD", target, operation, refusal)
        return caller.principal

    def _check_fresh(self, caller: Caller, operation: str) -> None:
        """Raises: Refusal `FreshFactorNeeded`: there is a factor, and this session was not begun with one just now."""
        who, now = caller.principal, self._clock.now()
        with self._store.read() as tx:
            held = tx.factors.factors(who.tenancy, who.id)
            shown = tx.factors.sign_in_of_session(who.tenancy, who.id, caller.session)
        if not any(factor.state == "ACTIVE" for factor, _ in held):
            return
        if shown is not None and shown.done_at is not None and shown.done_at <= now < shown.done_at + FRESH:
            return
        refusal = Refusal(
            "FreshFactorNeeded",
            "whoever has a second factor must have shown one within the last ten minutes to change theirs",
            hint="sign in again: keystead login",
            kind="denied",
        )
        self._guard.refuse(caller, "USER_TOTPDEVICE_UPDATE", self._own(caller), operation, refusal)
