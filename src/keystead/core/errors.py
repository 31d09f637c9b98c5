"""Errors for people: two trees.

`Refusal`: expected. The caller asked for something that cannot or may not be done; it carries a stable `code`, one
plain sentence and, where there is one, a hint what to do next. Nothing was changed.
`Fault`: an outage or a bug. The text is for operators; callers see a request id.

Messages are lower case without a full stop. Neither may ever hold a key, a token or plaintext.
"""

from typing import Literal, TypeVar

Found = TypeVar("Found")

Kind = Literal[
    "bad_request",  # malformed: 400
    "unauthenticated",  # no, expired or forged credentials: 401
    "denied",  # known to be there, not permitted: 403
    "not_found",  # absent, or looks absent: 404
    "conflict",  # illegal move, name taken: 409
    "stale",  # If-Match failed: 412
    "too_large",  # 413
    "too_many",  # 429
    "unavailable",  # sealed, vault gone, disk full: 503
]


class KeysteadError(Exception):
    """Root of both trees."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Refusal(KeysteadError):
    """An expected no. `kind` decides how each protocol words it (HTTP status, exit code). `retry_s`: in how many
    seconds another try makes sense, where that is known (0: it is not).
    """

    def __init__(
        self, code: str, message: str, *, hint: str = "", kind: Kind = "bad_request", retry_s: float = 0.0
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.kind: Kind = kind
        self.retry_s = retry_s
        self.recorded = False  # set once the audit log has it


class Unreadable(Refusal):
    """A sealed thing does not open. Every cause looks alike, so that nothing can be learnt from it."""

    def __init__(self) -> None:
        super().__init__(
            "Unreadable",
            "the ciphertext cannot be opened with this key and context",
            hint="check key, associated data and that the ciphertext is complete",
        )


class Fault(KeysteadError):
    """An outage or a bug: nobody's request was wrong."""


class Unavailable(Fault):
    """Something we need does not answer (yet): try again later."""


class KeystoreUnavailable(Unavailable):
    """A token, or another KMS, does not answer or will not. What it says is for those who may use its keys, too."""


def not_found(kind: str, name: str = "") -> Refusal:
    """The one answer for what is absent, hidden or in another tenancy."""
    what = f"{kind} {name!r}" if name else kind
    return Refusal(
        "NotFound",
        f"{what} does not exist or you may not see it",
        hint="check the id or name, the compartment and your policies",
        kind="not_found",
    )


def required(found: Found | None, kind: str, name: str = "") -> Found:
    """What was looked for. Raises: Refusal `NotFound` when there is none."""
    if found is None:
        raise not_found(kind, name)
    return found


def taken(kind: str, name: str) -> Refusal:
    """The name is in use."""
    return Refusal(
        "NameTaken", f"there is already a {kind} named {name!r} here", hint="choose another name", kind="conflict"
    )


def stale() -> Refusal:
    """Somebody changed it in between."""
    return Refusal("Stale", "it was changed by somebody else in between", hint="read it again and repeat", kind="stale")


def check_version(current: int, if_match: int | None) -> None:
    """Raises: Refusal `Stale` when the caller looked at another version."""
    if if_match is not None and if_match != current:
        raise stale()
