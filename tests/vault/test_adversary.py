"""What somebody tries who wants more than is theirs: late bodies, backups of what is gone, vaults around locks."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fakes.domain import REGION, DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, TenancyId, new_id
from keystead.iam.model import Caller, Principal
from keystead.vault.insight.usage import Use, used
from keystead.vault.lifecycle.settings import KeySettings, VaultSettings
from keystead.vault.lifecycle.upkeep import Upkeep
from keystead.vault.model import Key, Lock
from keystead.vault.transfer.importing import Wrapped
from keystead.vault.transfer.wrapping import MAX_ATTEMPTS

pytestmark = pytest.mark.slow

UPKEEP = Caller(Principal("upkeep", "service", "upkeep", TenancyId(""), CompartmentId("")), "r")  # type: ignore[arg-type]


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


@pytest.fixture
def vault(region: DomainRegion) -> str:
    return region.vaults.create_vault(region.admin, region.tenancy, "v").id


def new_key(region: DomainRegion, vault: str, place: str, name: str = "k") -> Key:
    made = region.vaults.create_key(region.admin, place, vault, name)
    region.snapshot.refresh()
    return made


def compartment(region: DomainRegion, name: str) -> str:
    made = region.iam.create_compartment(region.admin, region.tenancy, name).id
    region.snapshot.refresh()
    return made


def refused(code: str, run: Callable[..., object], *arguments: object, **named: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        run(*arguments, **named)
    assert caught.value.code == code
    return caught.value


def bob_in(region: DomainRegion, *statements: str) -> Caller:
    bob = region.user("bob", "Team")
    region.allow(*statements)
    region.snapshot.refresh()
    return bob


# a request that began before the key was moved, and whose body comes after


@pytest.mark.parametrize("act", ["encrypt", "sign_mac", "rotate"])
def test_a_request_that_is_late_is_decided_where_the_key_is_now(region: DomainRegion, vault: str, act: str) -> None:
    there, away = compartment(region, "There"), compartment(region, "Away")
    bob = bob_in(region, "Allow group Team to manage keys in compartment There")
    key = new_key(region, vault, there)
    run: Callable[[], object] = {
        "encrypt": lambda: region.vaults.encrypt(bob, key.id, b"x"),
        "sign_mac": lambda: region.vaults.mac(bob, key.id, [b"x"]),
        "rotate": lambda: region.vaults.rotate(bob, key.id),
    }[act]
    run()
    # Another process moves it; this one has not looked since.
    region.again().vaults.move_key(region.admin, key.id, away)
    refused("NotFound", run)


def test_a_decision_about_a_thing_elsewhere_is_not_remembered_for_where_it_is(region: DomainRegion, vault: str) -> None:
    there, away = compartment(region, "There"), compartment(region, "Away")
    bob = bob_in(region, "Allow group Team to manage keys in compartment There")
    key = new_key(region, vault, there)
    late = region.vaults.entry_of(bob, key.id).target
    region.again().vaults.move_key(region.admin, key.id, away)
    assert region.guard.may(bob, "KEY_READ", late)  # as of when it was found
    refused("NotFound", region.vaults.get_key, bob, key.id)


# restores


def test_a_deleted_key_is_not_carried_off_by_a_restore(region: DomainRegion, vault: str) -> None:
    home, mine = compartment(region, "Home"), compartment(region, "Mine")
    bob = bob_in(
        region,
        "Allow group Team to manage keys in compartment Mine",
        "Allow group Team to manage vaults in tenancy",
    )
    key = new_key(region, vault, home)
    blob = region.vaults.back_up_key(region.admin, key.id).blob
    region.vaults.delete(region.admin, key.id)
    region.snapshot.refresh()
    refused("KeyExists", region.vaults.restore_key, bob, blob, None, mine)
    with region.store.read() as tx:
        row = tx.vault.key(region.tenancy, key.id)
    assert row is not None and (row.state, row.compartment) == ("DELETED", home)
    assert region.vaults.restore_key(region.admin, blob).key.compartment == home


def test_a_lock_holds_against_a_restore_as_against_a_recovery(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault, region.tenancy)
    made = region.vaults.back_up_key(region.admin, key.id)
    whole = region.vaults.back_up_vault(region.admin, vault)
    region.vaults.delete(region.admin, key.id)
    region.vaults.lock_vault(region.admin, vault, "ReadOnly")
    refused("Locked", region.vaults.recover, region.admin, key.id)
    refused("Locked", region.vaults.restore_key, region.admin, made.blob)
    refused("Locked", region.vaults.restore_vault, region.admin, whole.blob)


def test_a_version_that_was_destroyed_by_itself_comes_back_disabled(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault, region.tenancy)
    old = region.vaults.encrypt(region.admin, key.id, b"x").blob
    made = region.vaults.back_up_key(region.admin, key.id)
    region.vaults.rotate(region.admin, key.id)
    region.snapshot.refresh()
    entry = region.vaults.entry_of(region.admin, key.id)
    region.vaults.schedule_version_deletion(region.admin, key.id, entry.versions[1].id, 7)
    region.clock.advance(8 * 24 * 3600)
    assert Upkeep(region.guard, region.snapshot, region.store, region.clock, REGION).run(UPKEEP) == 1
    region.vaults.delete(region.admin, key.id)
    region.vaults.restore_key(region.admin, made.blob)
    region.vaults.enable(region.admin, key.id)
    refused("KeyNotUsable", region.vaults.decrypt, region.admin, key.id, old)
    region.vaults.enable_version(region.admin, key.id, entry.versions[1].id)
    assert region.vaults.decrypt(region.admin, key.id, old) == b"x"


# locks


@pytest.mark.parametrize("lock", ["CanNotDelete", "ReadOnly"])
def test_a_locked_key_is_not_deleted_by_way_of_its_vault(region: DomainRegion, vault: str, lock: Lock) -> None:
    key = new_key(region, vault, region.tenancy)
    region.vaults.lock_key(region.admin, key.id, lock)
    assert "'k'" in refused("Locked", region.vaults.schedule_vault_deletion, region.admin, vault).message
    refused("Locked", region.vaults.delete_vault, region.admin, vault)
    region.vaults.lock_key(region.admin, key.id, "")
    region.vaults.delete_vault(region.admin, vault)
    region.vaults.lock_key(region.admin, key.id, lock)
    refused("Locked", region.vaults.purge_vault, region.admin, vault)
    region.vaults.recover_vault(region.admin, vault)
    region.snapshot.refresh()
    region.vaults.encrypt(region.admin, key.id, b"x")


# imports


def test_attempts_made_at_the_same_time_are_counted_each(region: DomainRegion, vault: str) -> None:
    given = region.vaults.create_wrapping_key(region.admin, vault, "AES-256")
    blobs = [Wrapped(given.id, b"no")] * (MAX_ATTEMPTS + 1)
    with region.store.read() as tx:
        row = tx.vault.wrapping_key(region.tenancy, given.id)
    assert row is not None
    target = region.vaults._at_vault(region.vaults.get_vault(region.admin, vault))
    for _ in blobs[:MAX_ATTEMPTS]:  # all have read the row as it was before any of them failed
        refused("InvalidImport", region.vaults._missed, region.admin, target, "ImportKey", row)
    refused("WrappingKeyEnded", region.vaults.import_key, region.admin, region.tenancy, vault, "k", blobs[-1])


def test_a_bad_name_tells_nothing_about_the_vault(region: DomainRegion, vault: str) -> None:
    bob = bob_in(region, "Allow group Team to inspect compartments in tenancy")
    for each in (vault, new_id("vault", REGION)):
        refused("InvalidName", region.vaults.create_key, bob, region.tenancy, each, "/")
        refused("NotFound", region.vaults.create_key, bob, region.tenancy, each, "k")


# purge protection


def test_a_protected_vault_protects_the_keys_in_it(region: DomainRegion, vault: str) -> None:
    key = new_key(region, vault, region.tenancy)
    region.vaults.update_vault(region.admin, vault, VaultSettings(purge_protection=True))
    shorter = KeySettings(retention_days=7)
    refused("PurgeProtected", region.vaults.update_key, region.admin, key.id, shorter)
    region.vaults.delete(region.admin, key.id)
    refused("PurgeProtected", region.vaults.purge, region.admin, key.id)
    region.clock.advance(91 * 24 * 3600)
    Upkeep(region.guard, region.snapshot, region.store, region.clock, REGION).run(UPKEEP)
    with region.store.read() as tx:
        row = tx.vault.key(region.tenancy, key.id)
    assert row is not None and row.state == "PURGED"


# what is told


def test_macs_are_use_of_a_key() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    uses = [Use("p", "user", "bob", name, "allowed", 1, at, at) for name in ("GenerateMac", "VerifyMac", "GetKey")]
    assert [use.operation for use in used(uses)] == ["GenerateMac", "VerifyMac"]
