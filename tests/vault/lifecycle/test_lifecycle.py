"""The table of legal moves, what deadlines mean, and when a key may be used: pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import get_args

import pytest

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, KeyId, KeyVersionId, TenancyId, VaultId
from keystead.vault.lifecycle.rotation import next_rotation, rotated, warning_due
from keystead.vault.lifecycle.table import (
    KEYS,
    VAULTS,
    VERSIONS,
    Act,
    KeyMove,
    Loss,
    VaultMove,
    VersionMove,
    check_lock,
    key_as_of,
    moved_key,
    moved_vault,
    moved_version,
    next_change,
    permits,
    usable,
    vault_as_of,
    version_as_of,
)
from keystead.vault.model import Key, KeyState, KeyVersion, Vault, VaultState, VersionState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
ACT = Act("officer", NOW)
KEY = Key(
    KeyId("k"), TenancyId("t"), CompartmentId("c"), VaultId("v"), "finance", "AES-256", "ENABLED", 2, NOW, "ada", NOW
)
VERSION = KeyVersion(KeyVersionId("n"), KeyId("k"), 1, b"wrapped", NOW)
VAULT = Vault(VaultId("v"), TenancyId("t"), CompartmentId("c"), "safe", "software", NOW, "ada", NOW)


def loss(key: Key = KEY, version: KeyVersion | None = None, vault: Vault = VAULT, at: datetime = NOW) -> str:
    found = usable(key, version, vault, at, to="open")
    return "" if found is None else found.loss


@pytest.mark.parametrize(("state", "move"), list(product(get_args(KeyState), get_args(KeyMove))))
def test_every_move_of_a_key_is_in_the_table_or_refused(state: KeyState, move: KeyMove) -> None:
    key = replace(KEY, state=state)
    if (state, move) in KEYS.moves:
        changed = moved_key(key, move, ACT)
        assert (changed.state, changed.changed_by, changed.changed_at) == (KEYS.moves[state, move], "officer", NOW)
        assert changed.version == key.version + 1
    else:
        with pytest.raises(Refusal) as caught:
            moved_key(key, move, ACT)
        assert caught.value.code == "IllegalState"


@pytest.mark.parametrize(("state", "move"), list(product(get_args(VersionState), get_args(VersionMove))))
def test_every_move_of_a_version_is_in_the_table_or_refused(state: VersionState, move: VersionMove) -> None:
    version = replace(VERSION, state=state)
    if (state, move) in VERSIONS.moves:
        assert moved_version(KEY, version, move, ACT).state == VERSIONS.moves[state, move]
    else:
        with pytest.raises(Refusal, match="cannot"):
            moved_version(KEY, version, move, ACT)


@pytest.mark.parametrize(("state", "move"), list(product(get_args(VaultState), get_args(VaultMove))))
def test_every_move_of_a_vault_is_in_the_table_or_refused(state: VaultState, move: VaultMove) -> None:
    vault = replace(VAULT, state=state)
    if (state, move) in VAULTS.moves:
        assert moved_vault(vault, move, ACT, 90).state == VAULTS.moves[state, move]
    else:
        with pytest.raises(Refusal, match="cannot"):
            moved_vault(vault, move, ACT, 90)


def test_nothing_comes_back_usable_by_itself() -> None:
    """No move but `enable` leads to ENABLED, and no deadline does."""
    assert {move for (_, move), target in KEYS.moves.items() if target == "ENABLED"} == {"enable"}
    assert {move for (_, move), target in VERSIONS.moves.items() if target == "ENABLED"} == {"enable"}
    assert not any(target in ("ENABLED", "DISABLED") for _, target in KEYS.deadlines.values())


def test_nothing_leads_out_of_the_end() -> None:
    assert not [origin for origin, _ in KEYS.moves if origin == "PURGED"]
    assert not [origin for origin, _ in VAULTS.moves if origin == "PURGED"]
    assert not [origin for origin, _ in VERSIONS.moves if origin == "DELETED"]


def test_the_deadlines_of_a_key_hold_to_the_tick() -> None:
    pending = moved_key(KEY, "schedule_deletion", Act("ada", NOW, 7))
    at = pending.deletion_at
    assert at == NOW + 7 * DAY
    states = [key_as_of(pending, VAULT, at + step).state for step in (-TICK, TICK * 0, 90 * DAY - TICK, 90 * DAY)]
    assert states == ["PENDING_DELETION", "DELETED", "DELETED", "PURGED"]


def test_what_is_written_down_late_means_the_same() -> None:
    """Whether and when a row was brought up to date changes nothing of what it means later."""
    pending = replace(moved_key(KEY, "schedule_deletion", Act("ada", NOW, 7)), retention_days=30)
    moments = [NOW + days * DAY for days in (0, 6, 7, 8, 36, 37, 100)]
    for first, second in pairwise(moments):
        written = key_as_of(pending, VAULT, first)
        assert key_as_of(written, VAULT, second) == key_as_of(pending, VAULT, second)


@pytest.mark.parametrize("days", [0, 6, 31, -1])
def test_a_deletion_is_7_to_30_days_ahead(days: int) -> None:
    with pytest.raises(Refusal) as caught:
        moved_key(KEY, "schedule_deletion", Act("ada", NOW, days))
    assert caught.value.code == "InvalidParameter"


def test_protection_holds_a_purge_back_until_its_day() -> None:
    deleted = moved_key(replace(KEY, purge_protection=True, retention_days=7), "delete", ACT)
    with pytest.raises(Refusal) as caught:
        moved_key(deleted, "purge", ACT)
    assert caught.value.code == "PurgeProtected"
    assert key_as_of(deleted, VAULT, NOW + 7 * DAY).state == "PURGED"


def test_the_current_version_is_not_deleted_by_itself() -> None:
    with pytest.raises(Refusal, match="current"):
        moved_version(KEY, replace(VERSION, number=2), "schedule_deletion", ACT)


def test_every_reason_and_its_limits() -> None:
    """Each loss once, and the moment before and after which there is none."""
    disabled = replace(KEY, state="DISABLED")
    pending = moved_key(KEY, "schedule_deletion", ACT)
    expiring = replace(KEY, expires_at=NOW + DAY)
    later = replace(KEY, not_before=NOW + DAY)
    seen = {
        loss(): "",
        loss(disabled): "key_disabled",
        loss(pending): "key_pending_deletion",
        loss(pending, at=NOW + 30 * DAY): "key_deleted",
        loss(pending, at=NOW + 200 * DAY): "key_deleted",
        loss(expiring, at=NOW + DAY - TICK): "",
        loss(expiring, at=NOW + DAY): "key_expired",
        loss(later, at=NOW + DAY - TICK): "key_not_yet_valid",
        loss(later, at=NOW + DAY): "",
        loss(version=replace(VERSION, state="DISABLED")): "version_disabled",
        loss(version=replace(VERSION, state="PENDING_DELETION", deletion_at=NOW)): "version_disabled",
        loss(replace(KEY, minimum_version=2), VERSION): "version_disabled",
        loss(replace(KEY, minimum_version=2), replace(VERSION, number=2)): "",
        loss(vault=moved_vault(VAULT, "schedule_deletion", ACT, 90)): "vault_deleted",
        loss(vault=moved_vault(VAULT, "delete", ACT, 90)): "vault_deleted",
    }
    assert all(found == wanted for found, wanted in seen.items())
    assert set(seen) - {""} == set(get_args(Loss))


def test_a_refusal_names_who_when_and_the_way_out() -> None:
    found = usable(moved_key(KEY, "schedule_deletion", ACT), None, VAULT, NOW, to="seal")
    assert found is not None
    assert "by officer" in found.message
    assert "2026-01-01T00:00:00.000Z" in found.message
    assert "keystead key cancel-deletion finance" in found.hint


def test_a_purged_vault_takes_its_keys_along() -> None:
    gone = moved_vault(moved_vault(VAULT, "delete", ACT, 90), "purge", ACT, 90)
    assert key_as_of(KEY, gone, NOW).state == "PURGED"
    assert vault_as_of(moved_vault(VAULT, "delete", ACT, 7), NOW + 7 * DAY).state == "PURGED"


def test_a_version_is_destroyed_when_its_day_comes() -> None:
    pending = moved_version(KEY, VERSION, "schedule_deletion", Act("ada", NOW, 7))
    assert [version_as_of(pending, NOW + days * DAY).state for days in (6, 7)] == ["PENDING_DELETION", "DELETED"]


def test_operations_narrow_what_a_key_is_for() -> None:
    assert permits(KEY, "wrap") is None
    unable = permits(KEY, "sign")
    assert unable is not None
    assert unable.code == "WrongOperation"
    narrow = replace(KEY, operations=("encrypt",))
    assert permits(narrow, "encrypt") is None
    refusal = permits(narrow, "decrypt")
    assert refusal is not None
    assert refusal.code == "OperationNotPermitted"


def test_locks_of_the_key_and_of_its_vault() -> None:
    def held(lock: str, *, deleting: bool, on_vault: bool) -> bool:
        own, other = ("", lock) if on_vault else (lock, "")
        try:
            check_lock("key", "finance", own, deleting=deleting, vault=replace(VAULT, lock=other))  # type: ignore[arg-type]
        except Refusal as refusal:
            assert refusal.code == "Locked"
            return True
        return False

    for on_vault in (False, True):
        assert not held("", deleting=True, on_vault=on_vault)
        assert held("CanNotDelete", deleting=True, on_vault=on_vault)
        assert not held("CanNotDelete", deleting=False, on_vault=on_vault)
        assert held("ReadOnly", deleting=False, on_vault=on_vault)


def test_the_next_change_is_the_next_deadline_ahead() -> None:
    key = replace(KEY, not_before=NOW + DAY, expires_at=NOW + 9 * DAY)
    assert next_change(key, VAULT, NOW) == NOW + DAY
    assert next_change(key, VAULT, NOW + DAY) == NOW + 9 * DAY
    assert next_change(KEY, VAULT, NOW) is None


# rotation


def test_rotation_is_never_later_than_said_and_at_most_a_day_early() -> None:
    moments = [next_rotation(f"k{number}", 1, NOW, 60) for number in range(200)]
    assert all(moment is not None and NOW + 59 * DAY <= moment <= NOW + 60 * DAY for moment in moments)
    assert len(set(moments)) == len(moments), "keys made together are not rotated together"
    assert next_rotation("k", 1, NOW, 0) is None


def test_a_rotated_key_is_due_again_a_period_later() -> None:
    key = replace(KEY, rotation_days=90, next_rotation_at=NOW)
    late = NOW + 400 * DAY
    changed = rotated(key, late)
    assert (changed.current, changed.rotated_at) == (3, late)
    assert changed.next_rotation_at is not None
    assert late + 89 * DAY <= changed.next_rotation_at <= late + 90 * DAY


def test_each_warning_is_given_once_and_missed_ones_not_later() -> None:
    key = replace(KEY, expires_at=NOW + 40 * DAY)
    given = []
    for days in range(50):
        found = warning_due(key, NOW + days * DAY)
        if found is not None:
            given.append((days, found))
            key = replace(key, warned_days=found)
    assert given == [(10, 30), (33, 7), (39, 1), (40, 0)]
    assert warning_due(replace(KEY, expires_at=NOW + 40 * DAY), NOW + 35 * DAY) == 7, "not that of 30 days any more"
