"""Second factors, and what is remembered of sign-ins.

Invariants: no secret lies in these rows in clear: what must be read back (the secret of a code generator) is sealed,
what is only compared (recovery codes, challenges, devices) is kept as its SHA-256, which is enough for what cannot be
guessed. A `PendingSignIn` is used once.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from keystead.core.errors import Refusal
from keystead.core.ids import FactorId, SignInId, TenancyId, UserId

FactorKind = Literal["totp", "webauthn"]
FactorState = Literal["PENDING", "ACTIVE"]
FactorName = Literal["totp", "webauthn", "click", "recovery"]
Level = Literal["low", "medium", "high"]
Threshold = Literal["low", "medium", "high", "never"]
Answer = Literal["", "waiting", "approved", "denied"]

SECOND_FACTORS: Final[frozenset[str]] = frozenset({"totp", "webauthn", "click", "recovery"})
"""What counts as a second factor in `Caller.factors`."""
SeenKind = Literal["device", "network", "hour"]


@dataclass(frozen=True, slots=True)
class Factor:
    """A code generator or an authenticator of a user's. PENDING until it has been used once."""

    id: FactorId
    tenancy: TenancyId
    user: UserId
    kind: FactorKind
    name: str
    state: FactorState
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FactorSecrets:
    """What is needed to check a factor, and never shown.

    totp: `sealed` secret, `counter` the last time step that was used. webauthn: `credential` id, `public_key` (COSE),
    `counter` the signature counter; while PENDING `sealed` is the challenge of the registration.
    """

    sealed: bytes = b""
    credential: bytes = b""
    public_key: bytes = b""
    counter: int = 0


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in whose password was right, waiting for a second factor; and, for a while, what became of it.

    `digest`: of the challenge's secret. `state`: OPEN, DONE (it began `session` at `done_at`) or DEAD. `tries` counts
    what was shown for it. `number`, `answer`, `asked_at`: of the request on another device. `nonce`: of an assertion.
    """

    id: SignInId
    tenancy: TenancyId
    user: UserId
    user_version: int
    digest: bytes
    state: Literal["OPEN", "DONE", "DEAD"]
    source: str
    created_at: datetime
    expires_at: datetime
    risk: int = 0
    device: bytes = b""
    tries: int = 0
    nonce: bytes = b""
    number: str = ""
    answer: Answer = ""
    answered_from: str = ""
    asked_at: datetime | None = None
    session: str = ""
    done_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A device or a network from which a user has signed in. `mark` is a digest of it."""

    tenancy: TenancyId
    user: UserId
    kind: SeenKind
    mark: bytes
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class SignInSettings:
    """From which level of risk a second factor is asked of those who have one, and from which nobody is let in."""

    factor_from: Threshold = "low"
    refuse_from: Threshold = "never"


class FactorRequired(Refusal):
    """The password is right and not enough. `challenge` is a secret: whoever has it needs only a factor."""

    def __init__(self, challenge: str, factors: tuple[str, ...], *, message: str = "", code: str = "") -> None:
        super().__init__(
            code or "FactorRequired",
            message or "the password is right; a second factor is needed",
            hint=f"show one of {', '.join(factors)} to POST /keystead/v1/auth/factors; `keystead login` asks for it",
            kind="unauthenticated",
        )
        self.challenge = challenge
        self.factors = factors
