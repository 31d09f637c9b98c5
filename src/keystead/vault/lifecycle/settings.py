"""What a customer decides about a key or a vault: given when it is made, changed later; checked here. Pure.

A setting that is not given stays as it is; what is given is checked against the thing it is for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import Enum
from typing import Final, Literal, TypeVar

from keystead.core.clock import check_moment, isoformat
from keystead.core.errors import Refusal
from keystead.crypto.suites import OPERATIONS, suite_of
from keystead.iam.tags import check_tags
from keystead.vault.lifecycle.rotation import check_rotation, next_rotation
from keystead.vault.lifecycle.table import check_retention
from keystead.vault.model import Key, Vault
from keystead.vault.networks import checked_networks, checked_services

MAX_KEYS = 1_000_000


class Unset(Enum):
    """A setting that a request does not touch; None means something else."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
Kept = TypeVar("Kept", Key, Vault)
Untouched = Literal[Unset.UNSET]


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Fields are those of `Key`. `purge_protection` can only be switched on."""

    operations: tuple[str, ...] | Untouched = UNSET
    not_before: datetime | Untouched | None = UNSET
    expires_at: datetime | Untouched | None = UNSET
    tags: Mapping[str, str] | Untouched = UNSET
    rotation_days: int | Untouched = UNSET
    retention_days: int | Untouched = UNSET
    purge_protection: bool | Untouched = UNSET
    minimum_version: int | Untouched = UNSET

    def __post_init__(self) -> None:
        """Raises: Refusal: a moment that cannot be counted from."""
        for name in ("not_before", "expires_at"):
            value = getattr(self, name)
            if isinstance(value, datetime):
                object.__setattr__(self, name, check_moment(name, value))

    def told(self) -> dict[str, str]:
        """What is given, as the audit log tells it."""
        return _told(self)

    def applied(self, key: Key, now: datetime) -> Key:
        """The key with these settings. Raises: Refusal."""
        return _minimum(_days(_window(_operations(key, self), self, now), self, now), self)


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Fields are those of `Vault`. `purge_protection` can only be switched on."""

    tags: Mapping[str, str] | Untouched = UNSET
    retention_days: int | Untouched = UNSET
    purge_protection: bool | Untouched = UNSET
    key_limit: int | Untouched = UNSET
    networks: tuple[str, ...] | Untouched = UNSET
    trusted_services: tuple[str, ...] | Untouched = UNSET

    def told(self) -> dict[str, str]:
        """What is given, as the audit log tells it."""
        return _told(self)

    def applied(self, vault: Vault) -> Vault:
        """The vault with these settings. Raises: Refusal."""
        if self.tags is not UNSET:
            vault = replace(vault, tags=check_tags(self.tags))
        vault = _kept("vault", vault, self)
        if self.key_limit is not UNSET:
            if not 0 <= self.key_limit <= MAX_KEYS:
                raise Refusal("InvalidParameter", f"key_limit is between 0 (no limit) and {MAX_KEYS}")
            vault = replace(vault, key_limit=self.key_limit)
        if self.networks is not UNSET:
            vault = replace(vault, networks=checked_networks(self.networks))
        if self.trusted_services is not UNSET:
            vault = replace(vault, trusted_services=checked_services(self.trusted_services))
        return vault


def _told(given: KeySettings | VaultSettings) -> dict[str, str]:
    pairs = ((field.name, getattr(given, field.name)) for field in fields(given))
    return {name: _text(value) for name, value in pairs if value is not UNSET}


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case datetime():
            return isoformat(value)
        case tuple():
            return ", ".join(value) or "none"
        case Mapping():
            return ", ".join(f"{name}={text}" for name, text in value.items()) or "none"
        case _:
            return str(value)


def _operations(key: Key, given: KeySettings) -> Key:
    if given.tags is not UNSET:
        key = replace(key, tags=check_tags(given.tags))
    if given.operations is UNSET:
        return key
    able = suite_of(key.algorithm).operations
    wrong = [name for name in given.operations if name not in able]
    if wrong:
        raise Refusal(
            "InvalidParameter",
            f"a key of {key.algorithm} cannot {wrong[0]!r}",
            hint=f"it can: {', '.join(able)}",
        )
    return replace(key, operations=tuple(name for name in OPERATIONS if name in given.operations))


def _window(key: Key, given: KeySettings, now: datetime) -> Key:
    """Expiry lies in the future: what is to stop now is disabled, so that it is said who stopped it."""
    if given.not_before is not UNSET:
        key = replace(key, not_before=given.not_before)
    if given.expires_at is not UNSET:
        if given.expires_at is not None and given.expires_at <= now:
            raise Refusal(
                "InvalidParameter",
                f"expires_at {isoformat(given.expires_at)} is past",
                hint=f"to stop a key now: keystead key disable {key.name}",
            )
        key = replace(key, expires_at=given.expires_at, warned_days=-1)
    if key.not_before is not None and key.expires_at is not None and key.not_before >= key.expires_at:
        raise Refusal("InvalidParameter", "not_before must lie before expires_at")
    return key


def _kept(noun: str, thing: Kept, given: KeySettings | VaultSettings) -> Kept:
    """For how long it is kept once deleted, and whether anybody may end that."""
    if given.retention_days is not UNSET:
        check_retention(given.retention_days)
        check_not_shorter(noun, thing.name, thing.purge_protection, thing.retention_days, given.retention_days)
        thing = replace(thing, retention_days=given.retention_days)
    if given.purge_protection is not UNSET:
        _only_on(noun, thing.name, thing.purge_protection, given.purge_protection)
        thing = replace(thing, purge_protection=given.purge_protection)
    return thing


def _days(key: Key, given: KeySettings, now: datetime) -> Key:
    key = _kept("key", key, given)
    if given.rotation_days is not UNSET and given.rotation_days != key.rotation_days:
        check_rotation(given.rotation_days)
        since = key.rotated_at or key.created_at
        due = next_rotation(key.id, key.current, since, given.rotation_days)
        # A key whose newest version is older than that is due at once.
        due = max(due, now) if due is not None else None
        key = replace(key, rotation_days=given.rotation_days, next_rotation_at=due)
    return key


def _minimum(key: Key, given: KeySettings) -> Key:
    if given.minimum_version is UNSET:
        return key
    if not 1 <= given.minimum_version <= key.current:
        raise Refusal(
            "InvalidParameter",
            f"minimum_version of key {key.name!r} is between 1 and its current version {key.current}",
        )
    return replace(key, minimum_version=given.minimum_version)


def _only_on(noun: str, name: str, before: bool, after: bool) -> None:
    if before and not after:
        raise Refusal(
            "PurgeProtected",
            f"the purge protection of {noun} {name!r} cannot be switched off",
            hint="that is what it promises",
            kind="conflict",
        )


def check_not_shorter(noun: str, name: str, protected: bool, before: int, after: int) -> None:
    """Raises: Refusal `PurgeProtected`: the retention of what is protected would be shortened."""
    if protected and after < before:
        raise Refusal(
            "PurgeProtected",
            f"{noun} {name!r} is protected against purging: its retention cannot be shortened",
            hint=f"it has {before} days",
            kind="conflict",
        )
