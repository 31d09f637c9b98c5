"""Keys of another tenancy: absent, until both tenancies let somebody use them, and absent again when one does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.calls import active
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.core.ids import new_id
from keystead.crypto.stream import encrypt_stream
from keystead.databases.creation import NewSystem
from keystead.databases.model import DbSystem
from keystead.iam.model import Caller, Policy


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


def shared_key(region: DomainRegion) -> str:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "main")
    region.snapshot.refresh()
    return region.vaults.create_key(region.admin, region.tenancy, vault.id, "shared").id


def let_in(region: DomainRegion, other: Caller, verb: str = "use") -> tuple[Policy, Policy]:
    """Endorsed there, admitted here."""
    away = other.principal.tenancy
    endorsed = region.iam.create_policy(
        other, away, "out", (f"Define tenancy A as {region.tenancy}", f"Endorse any-user to {verb} keys in tenancy A")
    )
    admitted = region.allow(f"Define tenancy B as {away}", f"Admit any-user of tenancy B to {verb} keys in tenancy")
    return endorsed, admitted


def absent(region: DomainRegion, caller: Caller, key: str) -> bool:
    with pytest.raises(Refusal) as caught:
        region.vaults.encrypt(caller, key, b"words")
    return caught.value.kind == "not_found"


def test_a_key_is_used_across_when_both_let_it(region: DomainRegion) -> None:
    other, key = region.new_tenancy("globex"), shared_key(region)
    assert absent(region, other, key)
    endorsed, _ = let_in(region, other)
    sealed = region.vaults.encrypt(other, key, b"words").blob
    assert region.journal.entries[-1].tenancy == region.tenancy, "whose key it is learns of it"
    assert region.vaults.decrypt(region.admin, key, sealed) == b"words"
    with pytest.raises(Refusal):
        region.vaults.rotate(other, key)
    region.iam.delete_policy(other, endorsed.id)
    assert absent(region, other, key)


def test_who_admits_can_take_it_back(region: DomainRegion) -> None:
    other, key = region.new_tenancy("globex"), shared_key(region)
    _, admitted = let_in(region, other)
    assert region.vaults.encrypt(other, key, b"words")
    region.iam.delete_policy(region.admin, admitted.id)
    assert absent(region, other, key)


def test_a_third_tenancy_sees_nothing_of_it(region: DomainRegion) -> None:
    other, third, key = region.new_tenancy("globex"), region.new_tenancy("initech"), shared_key(region)
    let_in(region, other)
    assert absent(region, third, key)


def system_of(region: DomainRegion, other: Caller, key: str) -> DbSystem:
    """A database system of the other tenancy that runs on this tenancy's key, and a backup of it."""
    away = other.principal.tenancy
    delegates = "to use key-delegate in tenancy"
    region.iam.create_policy(
        other, away, "systems", (f"Define tenancy A as {region.tenancy}", f"Endorse any-user {delegates} A")
    )
    region.allow(f"Define tenancy B as {away}", f"Admit any-user of tenancy B {delegates}")
    made = region.databases.create(other, NewSystem(away, "their-flights", key)).system
    active(region, made.id)
    backup, _ = region.databases.create_backup(other, made.id, "their-monday")
    with region.store.note() as tx:
        tx.databases.change_backup(backup, replace(backup, state="ACTIVE"))
        tx.jobs.cancel_for(away, made.id, region.clock.now())
    region.snapshot.refresh()
    return made


def test_what_another_tenancy_keeps_with_a_key_counts_and_has_no_name(region: DomainRegion) -> None:
    other, key = region.new_tenancy("globex"), shared_key(region)
    system = system_of(region, other, key)
    principal = region.snapshot.directory.principal(system.id)
    assert principal is not None and region.associations.access(principal, key).granted
    inventory = region.vaults.inventory(region.admin, key)
    assert inventory.needed_by[0] == 2
    assert sorted(need.kind for need in inventory.needs) == ["backup", "dbsystem", "node"]
    assert {(need.id, need.name, need.compartment, need.part_of) for need in inventory.needs} == {("", "", "", "")}
    preview = region.vaults.impact(region.admin, key, "delete")
    assert "their" not in str(preview) and system.id not in str(preview)


def test_what_another_tenancy_needs_is_destroyed_only_by_who_names_the_count(region: DomainRegion) -> None:
    other, key = region.new_tenancy("globex"), shared_key(region)
    system = system_of(region, other, key)
    vault = region.vaults.get_key(region.admin, key).vault
    for destroy in (
        lambda: region.vaults.delete(region.admin, key),
        lambda: region.vaults.schedule_deletion(region.admin, key, 7),
        lambda: region.vaults.delete_vault(region.admin, vault),
    ):
        with pytest.raises(Refusal) as caught:
            destroy()
        assert (caught.value.code, "needed by 2" in caught.value.message) == ("StillNeeded", True)
        assert "their" not in caught.value.message and system.id not in caught.value.message
    region.vaults.delete(region.admin, key, confirm_needed_by=2)
    principal = region.snapshot.directory.principal(system.id)
    assert principal is not None and not region.associations.access(principal, key).granted


def test_bytes_of_another_tenancys_backup_count_without_its_record(region: DomainRegion) -> None:
    other, key = region.new_tenancy("globex"), shared_key(region)
    away = other.principal.tenancy
    name = new_id("backup", "home")
    told: dict[str, Any] = {
        "format": "keystead-backup-1", "backup": name, "tenancy": away, "key": key, "key_version": 1,
        "system_name": "their-flights",
    }  # fmt: skip
    region.files.write(name, encrypt_stream(bytes(32), told, iter([b"pages"])))  # type: ignore[arg-type]
    (need,) = region.vaults.inventory(region.admin, key).needs
    assert (need.kind, need.name, need.id) == ("backup", "", "")
