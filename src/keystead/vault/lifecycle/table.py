"""What may become of keys, versions and vaults, and when a key may be used. Pure.

One table drives code, documentation (docs/lifecycle.md) and tests. Two kinds of arrows lead from a state: moves that
somebody asks for, and deadlines that pass. A deadline holds at use: `key_as_of` and its like say what a row means at a
moment, whoever has or has not written it down meanwhile, and nobody else concludes anything from a stored state.

    key      ENABLED <-> DISABLED -> PENDING_DELETION -(deletion_at)-> DELETED -(purge_at)-> PURGED
    version  ENABLED <-> DISABLED -> PENDING_DELETION -(deletion_at)-> DELETED
    vault    ACTIVE               -> PENDING_DELETION -(deletion_at)-> DELETED -(purge_at)-> PURGED

What comes back from deletion is DISABLED: whoever may manage keys enables it, knowingly. `usable` is the only place
that says whether a key may be used; every no of it is a reason for which database systems are fenced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, Literal, NamedTuple, TypeVar

from keystead.core.clock import isoformat
from keystead.core.errors import Refusal
from keystead.crypto.suites import CURRENT, wrong_operation
from keystead.vault.model import Key, KeyState, KeyVersion, Lock, Vault, VaultState, VersionState

KeyMove = Literal["enable", "disable", "schedule_deletion", "cancel_deletion", "delete", "recover", "purge"]
VersionMove = Literal["enable", "disable", "schedule_deletion", "cancel_deletion"]
VaultMove = Literal["schedule_deletion", "cancel_deletion", "delete", "recover", "purge"]
Deadline = Literal["deletion_at", "purge_at"]
Loss = Literal[
    "key_disabled",
    "version_disabled",
    "key_pending_deletion",
    "key_deleted",
    "key_expired",
    "key_not_yet_valid",
    "vault_deleted",
]
Use = Literal["seal", "open"]
State = TypeVar("State", bound=str)
Move = TypeVar("Move", bound=str)

MIN_DELETION_DAYS, MAX_DELETION_DAYS = 7, 30
MIN_RETENTION_DAYS, MAX_RETENTION_DAYS = 7, 90
# Moves that lead towards the end of a thing: what the lock CanNotDelete stops.
DELETING: frozenset[str] = frozenset({"schedule_deletion", "delete", "purge"})
# Moves that take a key away from those who use it: they may use the space kept for that on a full disk.
TAKING: frozenset[str] = frozenset({"disable", "schedule_deletion", "delete", "purge"})


@dataclass(frozen=True, slots=True)
class Table(Generic[State, Move]):
    """The arrows of one kind of thing: `moves` by request, `deadlines` by the clock."""

    noun: str
    moves: Mapping[tuple[State, Move], State]
    deadlines: Mapping[State, tuple[Deadline, State]]

    def after(self, state: State, move: Move, name: str, since: str = "") -> State:
        """The state that `move` leads to from `state`. `since`: when and by whom it was moved there, for the refusal.

        Raises:
            Refusal: `IllegalState`, the table has no such move.
        """
        found = self.moves.get((state, move))
        if found is None:
            legal = sorted(_words(verb) for origin, verb in self.moves if origin == state)
            raise Refusal(
                "IllegalState",
                f"{self.noun} {name!r} is {state}{since}: it cannot {_words(move)}",
                hint=f"from {state} it can: {', '.join(legal)}" if legal else "nothing leads out of this state",
                kind="conflict",
            )
        return found


KEYS: Table[KeyState, KeyMove] = Table(
    "key",
    {
        ("ENABLED", "disable"): "DISABLED",
        ("DISABLED", "enable"): "ENABLED",
        ("ENABLED", "schedule_deletion"): "PENDING_DELETION",
        ("DISABLED", "schedule_deletion"): "PENDING_DELETION",
        ("PENDING_DELETION", "cancel_deletion"): "DISABLED",
        ("ENABLED", "delete"): "DELETED",
        ("DISABLED", "delete"): "DELETED",
        ("PENDING_DELETION", "delete"): "DELETED",
        ("DELETED", "recover"): "DISABLED",
        ("DELETED", "purge"): "PURGED",
    },
    {"PENDING_DELETION": ("deletion_at", "DELETED"), "DELETED": ("purge_at", "PURGED")},
)
VERSIONS: Table[VersionState, VersionMove] = Table(
    "version",
    {
        ("ENABLED", "disable"): "DISABLED",
        ("DISABLED", "enable"): "ENABLED",
        ("ENABLED", "schedule_deletion"): "PENDING_DELETION",
        ("DISABLED", "schedule_deletion"): "PENDING_DELETION",
        ("PENDING_DELETION", "cancel_deletion"): "DISABLED",
    },
    {"PENDING_DELETION": ("deletion_at", "DELETED")},
)
VAULTS: Table[VaultState, VaultMove] = Table(
    "vault",
    {
        ("ACTIVE", "schedule_deletion"): "PENDING_DELETION",
        ("PENDING_DELETION", "cancel_deletion"): "ACTIVE",
        ("ACTIVE", "delete"): "DELETED",
        ("PENDING_DELETION", "delete"): "DELETED",
        ("DELETED", "recover"): "ACTIVE",
        ("DELETED", "purge"): "PURGED",
    },
    {"PENDING_DELETION": ("deletion_at", "DELETED"), "DELETED": ("purge_at", "PURGED")},
)


class NotUsable(Refusal):
    """A key may not be used now. `loss` is the reason in one word, `since` when it began (None: by the last change)."""

    def __init__(self, loss: Loss, message: str, hint: str, since: datetime | None) -> None:
        super().__init__("KeyNotUsable", message, hint=hint, kind="conflict")
        self.loss: Loss = loss
        self.since = since


# what a row means at a moment


def key_as_of(key: Key, vault: Vault | None, now: datetime) -> Key:
    """The key with every deadline that has passed counted, its vault's included. `vault` None: it lies in none."""
    if key.state == "PENDING_DELETION" and _passed(key.deletion_at, now):
        at = key.deletion_at or now
        key = replace(key, state="DELETED", changed_at=at, purge_at=at + timedelta(days=key.retention_days))
    if key.state == "DELETED" and _passed(key.purge_at, now):
        key = replace(key, state="PURGED", changed_at=key.purge_at or now)
    if vault is not None and key.state != "PURGED":
        home = vault_as_of(vault, now)
        if home.state == "PURGED":
            key = replace(key, state="PURGED", changed_by=home.changed_by, changed_at=home.changed_at)
    return key


def version_as_of(version: KeyVersion, now: datetime) -> KeyVersion:
    """The version with its deadline counted."""
    if version.state == "PENDING_DELETION" and _passed(version.deletion_at, now):
        return replace(version, state="DELETED", changed_at=version.deletion_at)
    return version


def vault_as_of(vault: Vault, now: datetime) -> Vault:
    """The vault with every deadline that has passed counted."""
    if vault.state == "PENDING_DELETION" and _passed(vault.deletion_at, now):
        at = vault.deletion_at or now
        purge_at = vault.purge_at or at + timedelta(days=vault.retention_days)
        vault = replace(vault, state="DELETED", changed_at=at, purge_at=purge_at)
    if vault.state == "DELETED" and _passed(vault.purge_at, now):
        vault = replace(vault, state="PURGED", changed_at=vault.purge_at or now)
    return vault


# whether a key may be used


def usable(key: Key, version: KeyVersion | None, vault: Vault | None, now: datetime, *, to: Use) -> NotUsable | None:
    """Why the key (and this version of it) may not be used at `now`; None when it may.

    `version` None asks about the key alone. `to`: sealing and opening differ in that nothing is sealed by a version
    below the minimum or by one that is not current, which callers see to by sealing with the current one.
    """
    if vault is not None and vault.state != "ACTIVE":
        return _vault_gone(key, vault_as_of(vault, now))
    if key.state != "ENABLED":
        return _key_gone(key_as_of(key, vault, now))
    if key.not_before is not None and now < key.not_before:
        return NotUsable(
            "key_not_yet_valid",
            f"key {key.name!r} may not be used before {isoformat(key.not_before)}",
            f"whoever may manage keys can change that: keystead key update {key.name} --not-before none",
            None,
        )
    if key.expires_at is not None and now >= key.expires_at:
        return NotUsable(
            "key_expired",
            f"key {key.name!r} expired at {isoformat(key.expires_at)}",
            f"whoever may manage keys can renew it: keystead key update {key.name} --expires-at MOMENT",
            key.expires_at,
        )
    return None if version is None else _version_gone(key, version, now, to)


def permits(key: Key, operation: str) -> Refusal | None:
    """Why the key may not be used for `operation` (encrypt, decrypt, wrap, unwrap, sign, verify); None when it may.

    Its algorithm must be able to, and its permitted operations must not leave it out.
    """
    if operation not in CURRENT[key.algorithm].operations:
        return wrong_operation(key.algorithm, operation)
    if not key.operations or operation in key.operations:
        return None
    return Refusal(
        "OperationNotPermitted",
        f"key {key.name!r} is not for {operation}: it permits {', '.join(key.operations)}",
        hint=f"whoever may manage keys can widen that: keystead key update {key.name} --operations",
        kind="conflict",
    )


def next_change(key: Key, vault: Vault | None, now: datetime) -> datetime | None:
    """The next moment at which time alone changes what `usable` says; None when it never will."""
    moments = [key.not_before, key.expires_at, key.deletion_at, key.purge_at]
    if vault is not None:
        moments += [vault.deletion_at, vault.purge_at]
    return min((moment for moment in moments if moment is not None and moment > now), default=None)


def _key_gone(key: Key) -> NotUsable:
    said = f"key {key.name!r} is {key.state} since {isoformat(key.changed_at)} (by {key.changed_by})"
    loss: Loss = "key_deleted"
    match key.state:
        case "ENABLED" | "DISABLED":
            loss, hint = "key_disabled", f"whoever may manage keys can undo it: keystead key enable {key.name}"
        case "PENDING_DELETION":
            loss = "key_pending_deletion"
            if key.deletion_at is not None:
                said += f" and will be deleted at {isoformat(key.deletion_at)}"
            hint = f"whoever may manage keys can undo it: keystead key cancel-deletion {key.name}, then key enable"
        case "DELETED":
            until = f" until {isoformat(key.purge_at)}" if key.purge_at is not None else ""
            hint = f"it can be had back{until}: keystead key recover {key.name}, then key enable"
        case "PURGED":
            hint = "its material is destroyed: nothing that it sealed can be opened any more"
    return NotUsable(loss, said, hint, key.changed_at)


def _vault_gone(key: Key, vault: Vault) -> NotUsable:
    undo = {
        "PENDING_DELETION": f"whoever may manage vaults can undo it: keystead vault cancel-deletion {vault.name}",
        "DELETED": f"it can be had back: keystead vault recover {vault.name}",
    }
    return NotUsable(
        "vault_deleted",
        f"the vault {vault.name!r} of key {key.name!r} is {vault.state} since {isoformat(vault.changed_at)} "
        f"(by {vault.changed_by})",
        undo.get(vault.state, "its keys are destroyed: nothing that they sealed can be opened any more"),
        vault.changed_at,
    )


def _version_gone(key: Key, version: KeyVersion, now: datetime, to: Use) -> NotUsable | None:
    what = f"version {version.number} of key {key.name!r}"
    if version.number < key.minimum_version and to == "open":
        return NotUsable(
            "version_disabled",
            f"{what} is below the minimum version {key.minimum_version}",
            f"whoever may manage keys can lower that: keystead key update {key.name} --minimum-version",
            None,
        )
    if version.state == "ENABLED":
        return None
    found = version_as_of(version, now)
    since = found.changed_at or key.changed_at
    undo: dict[VersionState, str] = {
        "DISABLED": f"whoever may manage keys can undo it: keystead key enable-version {key.name} {version.number}",
        "PENDING_DELETION": "whoever may manage keys can undo it: keystead key cancel-version-deletion "
        f"{key.name} {version.number}",
    }
    return NotUsable(
        "version_disabled",
        f"{what} is {found.state} since {isoformat(since)} (by {found.changed_by or key.changed_by})",
        undo.get(found.state, "its material is destroyed: nothing that it sealed can be opened any more"),
        since,
    )


# moves


class Act(NamedTuple):
    """Who moves something, when, and how many days ahead a deletion is scheduled."""

    who: str
    at: datetime
    days: int = MAX_DELETION_DAYS


def moved_key(key: Key, move: KeyMove, act: Act) -> Key:
    """The key after `move`; it is as of `act.at` already. Raises: Refusal (illegal, bad days, purge protection)."""
    state = KEYS.after(key.state, move, key.name, _moved(key.changed_at, key.changed_by))
    if move == "purge":
        check_purge("key", key.name, key.purge_protection, key.purge_at)
    deletion_at, purge_at = _deadlines(move, act, key.retention_days)
    return replace(
        key,
        state=state,
        deletion_at=deletion_at,
        purge_at=purge_at,
        changed_by=act.who,
        changed_at=act.at,
        version=key.version + 1,
    )


def moved_vault(vault: Vault, move: VaultMove, act: Act, retention_days: int) -> Vault:
    """As `moved_key`. `retention_days`: the vault's, or more where a protected key in it asks for it."""
    state = VAULTS.after(vault.state, move, vault.name, _moved(vault.changed_at, vault.changed_by))
    if move == "purge":
        check_purge("vault", vault.name, vault.purge_protection, vault.purge_at)
    deletion_at, purge_at = _deadlines(move, act, retention_days)
    if deletion_at is not None:
        purge_at = deletion_at + timedelta(days=retention_days)
    return replace(
        vault,
        state=state,
        deletion_at=deletion_at,
        purge_at=purge_at,
        changed_by=act.who,
        changed_at=act.at,
        version=vault.version + 1,
    )


def moved_version(key: Key, version: KeyVersion, move: VersionMove, act: Act) -> KeyVersion:
    """The version after `move`. Raises: Refusal (illegal, bad days, the current version cannot be deleted)."""
    since = _moved(version.changed_at, version.changed_by)
    state = VERSIONS.after(version.state, move, f"{version.number} of key {key.name}", since)
    if move == "schedule_deletion" and version.number == key.current:
        raise Refusal(
            "IllegalState",
            f"version {version.number} is the current one of key {key.name!r}: it cannot be deleted by itself",
            hint=f"make another the current one: keystead key rotate {key.name}; or delete the key",
            kind="conflict",
        )
    deletion_at, _ = _deadlines(move, act, 0)
    return replace(version, state=state, deletion_at=deletion_at, changed_by=act.who, changed_at=act.at)


def check_lock(noun: str, name: str, lock: Lock, *, deleting: bool, vault: Vault | None = None) -> None:
    """Raises: Refusal `Locked` when the thing's own lock, or that of the vault it lies in, stops the change."""
    held = ((noun, name, lock), ("vault", vault.name, vault.lock) if vault is not None else ("", "", ""))
    for kind, whose, found in held:
        if found == "ReadOnly" or (found == "CanNotDelete" and deleting):
            raise Refusal(
                "Locked",
                f"the lock {found} on {kind} {whose!r} does not allow that",
                hint=f"whoever may take locks off can: keystead {kind} unlock {whose}",
                kind="conflict",
            )


def check_purge(noun: str, name: str, protected: bool, purge_at: datetime | None) -> None:
    """Raises: Refusal `PurgeProtected`."""
    if protected:
        until = f" before {isoformat(purge_at)}" if purge_at is not None else ""
        raise Refusal(
            "PurgeProtected",
            f"{noun} {name!r} is protected: it cannot be purged{until}",
            hint="the protection cannot be switched off; it is purged by itself then",
            kind="conflict",
        )


def check_retention(days: int) -> None:
    """Raises: Refusal when it is not 7 to 90 days."""
    if not MIN_RETENTION_DAYS <= days <= MAX_RETENTION_DAYS:
        raise Refusal("InvalidParameter", f"retention_days is between {MIN_RETENTION_DAYS} and {MAX_RETENTION_DAYS}")


def _deadlines(move: str, act: Act, retention_days: int) -> tuple[datetime | None, datetime | None]:
    match move:
        case "schedule_deletion":
            if not MIN_DELETION_DAYS <= act.days <= MAX_DELETION_DAYS:
                raise Refusal(
                    "InvalidParameter",
                    f"a deletion is scheduled {MIN_DELETION_DAYS} to {MAX_DELETION_DAYS} days ahead",
                )
            return act.at + timedelta(days=act.days), None
        case "delete":
            return None, act.at + timedelta(days=retention_days)
        case _:
            return None, None


def _moved(at: datetime | None, who: str) -> str:
    """When and by whom, as words after a state."""
    by = f" (by {who})" if who else ""
    return f" since {isoformat(at)}{by}" if at is not None else ""


def _passed(deadline: datetime | None, now: datetime) -> bool:
    return deadline is not None and deadline <= now


def _words(move: str) -> str:
    """How a move is said, and called on the command line but for the hyphen."""
    return move.replace("_", " ")


# documentation


def as_markdown() -> str:
    """The tables of docs/lifecycle.md."""
    tables = (
        _rows(KEYS.noun, KEYS.moves, KEYS.deadlines),
        _rows(VERSIONS.noun, VERSIONS.moves, VERSIONS.deadlines),
        _rows(VAULTS.noun, VAULTS.moves, VAULTS.deadlines),
    )
    return "\n".join(line for table in tables for line in table)


def _rows(
    noun: str, moves: Mapping[tuple[State, Move], State], deadlines: Mapping[State, tuple[Deadline, State]]
) -> list[str]:
    lines = [f"### {noun.capitalize()}s", "", "| from | by | to |", "|---|---|---|"]
    lines += [f"| {origin} | {_words(move)} | {target} |" for (origin, move), target in moves.items()]
    lines += [f"| {origin} | `{deadline}` passes | {target} |" for origin, (deadline, target) in deadlines.items()]
    return [*lines, ""]
