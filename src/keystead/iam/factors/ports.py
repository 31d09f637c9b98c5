"""What signing in needs from outside: its rows, code generators and authenticators."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding
from keystead.iam.factors.lockout import Budget, BudgetKind
from keystead.iam.factors.model import (
    Factor,
    FactorSecrets,
    PendingSignIn,
    Seen,
    SignInSettings,
)
from keystead.iam.federation.model import FederatedSignIn


class FactorRows(Protocol):
    """Rows in one transaction. What can be used once says whether it was this call that used it."""

    def add_factor(self, factor: Factor, held: FactorSecrets) -> None: ...
    def factor(self, tenancy: str, user: str, factor_id: str) -> tuple[Factor, FactorSecrets] | None: ...
    def factors(self, tenancy: str, user: str) -> Sequence[tuple[Factor, FactorSecrets]]: ...
    def credential_known(self, credential: bytes) -> bool: ...
    def activate_factor(self, factor: Factor, held: FactorSecrets) -> bool:
        """PENDING to ACTIVE, with what is known of it now."""
        ...

    def use_factor(self, factor: Factor, before: int, counter: int, now: datetime) -> bool:
        """Compare-and-set on the counter: false when somebody used it meanwhile."""
        ...

    def delete_factor(self, tenancy: str, user: str, factor_id: str) -> bool: ...
    def drop_pending(self, tenancy: str, user: str) -> None:
        """Forget enrolments that were never confirmed."""
        ...

    def set_codes(self, tenancy: str, user: str, digests: Sequence[bytes]) -> None:
        """These recovery codes, and no others."""
        ...

    def use_code(self, tenancy: str, user: str, digest: bytes) -> bool: ...
    def codes_left(self, tenancy: str, user: str) -> int: ...
    def add_sign_in(self, pending: PendingSignIn) -> None: ...
    def sign_in(self, sign_in_id: str) -> PendingSignIn | None: ...
    def change_sign_in(self, before: PendingSignIn, after: PendingSignIn) -> bool:
        """Compare-and-set on state, tries and answer."""
        ...

    def sign_ins(self, tenancy: str, user: str, since: datetime) -> Sequence[PendingSignIn]: ...
    def sign_in_of_session(self, tenancy: str, user: str, session: str) -> PendingSignIn | None: ...
    def forget_sign_ins(self, before: datetime) -> None: ...
    def budget(self, kind: BudgetKind, mark: bytes) -> Budget | None: ...
    def set_budget(self, budget: Budget) -> None: ...
    def delete_budget(self, kind: BudgetKind, mark: bytes) -> None: ...
    def trim_budgets(self, before: datetime, keep: int) -> None: ...
    def seen(self, tenancy: str, user: str) -> Sequence[Seen]: ...
    def see(self, seen: Seen, keep: int) -> None:
        """Remember, and forget the longest unseen beyond `keep` of that kind."""
        ...

    def forget_seen(self, tenancy: str, user: str) -> None: ...
    def forget_device(self, tenancy: str, user: str, mark: bytes) -> bool:
        """Whether there was such a device."""
        ...

    def forget_user(self, tenancy: str, user: str) -> None: ...
    def settings(self, tenancy: str) -> SignInSettings: ...
    def set_settings(self, tenancy: str, settings: SignInSettings) -> None: ...


class ProvidedRows(Protocol):
    """Sign-ins by way of identity providers, as far as signing in sees them."""

    def waits(self, sign_in: FederatedSignIn, pending: str) -> None:
        """It goes on with a second factor, shown for the challenge of `pending`."""
        ...

    def waiting(self, tenancy: str, pending: str) -> FederatedSignIn | None:
        """The one that waits for the second factor of `pending`."""
        ...

    def ended(self, before: FederatedSignIn, after: FederatedSignIn) -> bool:
        """What token it led to. False: it led to one already, or the provider lets this user in no more."""
        ...


class FactorTx(Protocol):
    """A transaction as signing in sees it."""

    @property
    def factors(self) -> FactorRows: ...


class Notes(Protocol):
    """What is no act of anybody's: budgets, challenges, where somebody signed in from."""

    def note(self) -> "AbstractContextManager[FactorTx]": ...


class Codes(Protocol):
    """Time-based one-time passwords (RFC 6238: SHA-1, 6 digits, steps of 30 s)."""

    def new_secret(self) -> bytes: ...
    def code(self, secret: bytes, step: int) -> str: ...
    def uri(self, secret: bytes, account: str, issuer: str) -> str:
        """otpauth://totp/..., which authenticator apps read."""
        ...


@dataclass(frozen=True, slots=True)
class Registered:
    """An authenticator that proved it has made this credential for us."""

    credential: bytes
    public_key: bytes
    counter: int


class Authenticators(Protocol):
    """WebAuthn (W3C Level 2): user verification required; relying party and origins are settings of the region."""

    def registration(self, challenge: bytes, user: str, account: str, known: Sequence[bytes]) -> str:
        """Options for navigator.credentials.create, as JSON."""
        ...

    def registered(self, credential: str, challenge: bytes) -> Registered:
        """Raises: Refusal, for every cause alike."""
        ...

    def assertion(self, challenge: bytes, known: Sequence[bytes]) -> str:
        """Options for navigator.credentials.get, as JSON."""
        ...

    def credential_of(self, assertion: str) -> bytes:
        """The id of the credential that it says it was made with; empty when it says nothing readable."""
        ...

    def asserted(self, assertion: str, challenge: bytes, public_key: bytes, counter: int) -> int:
        """The new signature counter. Raises: Refusal, for every cause alike."""
        ...


class Sealer(Protocol):
    """Seals what must be read back (crypto.envelope.Kek does)."""

    def seal(self, plaintext: bytes, binding: Binding, /) -> bytes: ...
    def open(self, blob: bytes, binding: Binding, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Proofs:
    """The ports of second factors, together; `marks` keys the digests of names and places that were tried."""

    codes: Codes
    authenticators: Authenticators
    sealer: Sealer
    marks: Secret
