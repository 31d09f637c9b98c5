"""Wrapping keys: what somebody wraps a key of their own with, to bring it into a vault. Pure.

A wrapping key serves one import. It is bound to tenancy, vault, algorithm and caller, and to the key that gets the new
version, if it is for one; it ends by use, by time, or by a number of attempts that did not open. Its private half lies
in its row, in an envelope of the vault it is for, and is overwritten when it ends.

    OPEN -(imported)-> USED      OPEN -(expires_at)-> EXPIRED      OPEN -(attempts)-> SPENT
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from keystead.core.clock import isoformat
from keystead.core.errors import Refusal, not_found
from keystead.core.ids import KeyId, PrincipalId, TenancyId, VaultId, WrappingKeyId
from keystead.crypto.suites import Algorithm
from keystead.crypto.transport import Way

WrappingKeyState = Literal["OPEN", "USED", "EXPIRED", "SPENT"]

DEFAULT_HOURS, MAX_HOURS = 24, 168
MAX_ATTEMPTS = 5
MAX_OPEN = 100
"""Of one vault."""


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """One wrapping key. `key`: the key that gets a new version, empty for a new key. `caller`: who asked for it, and
    alone may use it. `public`: SPKI DER. `wrapped`: the private half, empty once it has ended.
    """

    id: WrappingKeyId
    tenancy: TenancyId
    vault: VaultId
    key: KeyId
    algorithm: Algorithm
    way: Way
    caller: PrincipalId
    public: bytes
    wrapped: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime
    state: WrappingKeyState = "OPEN"
    attempts: int = 0


def expiry(now: datetime, hours: int) -> datetime:
    """When a wrapping key made now ends. Raises: Refusal."""
    if not 1 <= hours <= MAX_HOURS:
        raise Refusal("InvalidParameter", f"expires_in_hours is between 1 and {MAX_HOURS}")
    return now + timedelta(hours=hours)


def check_open(found: WrappingKey | None, caller: str, vault: str, key: str, now: datetime) -> WrappingKey:
    """The wrapping key, when this caller may use it for this vault and key now.

    Raises:
        Refusal: `NotFound` (there is none, or it is another caller's), `WrongWrappingKey`, `WrappingKeyEnded`.
    """
    if found is None or found.caller != caller:
        raise not_found("wrapping key")
    if found.vault != vault or found.key != key:
        raise Refusal(
            "WrongWrappingKey",
            "this wrapping key was given for another vault or another key",
            hint="ask for one for this import: keystead key import-params",
            kind="conflict",
        )
    if found.state != "OPEN" or found.expires_at <= now:
        why = {"USED": "has been used", "SPENT": f"failed {MAX_ATTEMPTS} times"}.get(
            found.state, f"expired at {isoformat(found.expires_at)}"
        )
        raise Refusal(
            "WrappingKeyEnded",
            f"this wrapping key {why}: each serves one import",
            hint="ask for another: keystead key import-params",
            kind="conflict",
        )
    return found


def used(found: WrappingKey) -> WrappingKey:
    """After the import that it was for."""
    return replace(found, state="USED", wrapped=b"")


def expired(found: WrappingKey) -> WrappingKey:
    """After its time."""
    return replace(found, state="EXPIRED", wrapped=b"")


def missed(found: WrappingKey) -> WrappingKey:
    """After an attempt that did not open."""
    attempts = found.attempts + 1
    if attempts < MAX_ATTEMPTS:
        return replace(found, attempts=attempts)
    return replace(found, attempts=attempts, state="SPENT", wrapped=b"")
