"""Vaults, keys, key versions, and the table of legal moves.

A key is a named series of versions, one of them current; old versions decrypt only. Material exists in clear only
inside `vault/keyring.py`; here it is always an envelope wrapped by the region's vault-store key and bound to key,
version, tenancy and region.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, KeyId, KeyVersionId, TenancyId, VaultId

Protection = Literal["software"]
Algorithm = Literal["AES-256"]
KeyState = Literal["ENABLED", "DISABLED"]
KeyMove = Literal["enable", "disable"]

MOVES: dict[tuple[KeyState, KeyMove], KeyState] = {
    ("ENABLED", "disable"): "DISABLED",
    ("DISABLED", "enable"): "ENABLED",
}


def after(state: KeyState, move: KeyMove, name: str) -> KeyState:
    """The state that `move` leads to from `state`.

    Raises:
        Refusal: the table has no such move.
    """
    found = MOVES.get((state, move))
    if found is None:
        legal = sorted(verb for origin, verb in MOVES if origin == state)
        raise Refusal(
            "IllegalState",
            f"key {name!r} is {state}: it cannot {move}",
            hint=f"from {state} it can: {', '.join(legal)}",
            kind="conflict",
        )
    return found


@dataclass(frozen=True, slots=True)
class Vault:
    """A named container of keys."""

    id: VaultId
    tenancy: TenancyId
    compartment: CompartmentId
    name: str
    protection: Protection
    created_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key: its number in the series and its material, wrapped."""

    id: KeyVersionId
    key: KeyId
    number: int
    wrapped: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """A named series of versions. `managed_by` is the id of the system whose service-managed key this is, else empty.

    `changed_by` and `changed_at` tell who moved it into its state, for the refusals that follow from it.
    """

    id: KeyId
    tenancy: TenancyId
    compartment: CompartmentId
    vault: VaultId
    name: str
    algorithm: Algorithm
    state: KeyState
    current: int
    created_at: datetime
    changed_by: str
    changed_at: datetime
    managed_by: str = ""
    version: int = 1
