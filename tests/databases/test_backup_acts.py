"""Backups asked for, deleted and restored: what is refused, and what is written."""

from tests.databases.systems import other_key, unchanged, wrapped
from tests.fakes.calls import Things
from tests.fakes.domain import DomainRegion
from tests.refusals import refused

from keystead.databases.creation import NewSystem


def test_a_backup_needs_a_key_that_outlives_its_system(region: DomainRegion, things: Things) -> None:
    region.databases.change_key(region.admin, things.system, None)
    refusal = unchanged(region, lambda: region.databases.create_backup(region.admin, things.system, "b"))
    assert refusal.code == "KeyNeeded"
    backup, _ = region.databases.create_backup(region.admin, things.system, "b", things.key)
    assert backup.key == things.key


def test_a_backup_under_a_key_that_may_not_be_used_is_refused(region: DomainRegion, things: Things) -> None:
    another = other_key(region, things)
    region.vaults.disable(region.admin, another)
    refusal = unchanged(region, lambda: region.databases.create_backup(region.admin, things.system, "b", another))
    assert refusal.code == "KeyNotUsable"


def test_a_backups_name_is_taken_once(region: DomainRegion, things: Things) -> None:
    refusal = unchanged(region, lambda: region.databases.create_backup(region.admin, things.system, "MONDAY"))
    assert refusal.code == "NameTaken"


def test_a_backup_that_is_being_taken_is_neither_deleted_nor_restored(region: DomainRegion, things: Things) -> None:
    backup, _ = region.databases.create_backup(region.admin, things.system, "b")
    for run in (
        lambda: region.databases.delete_backup(region.admin, backup.id),
        lambda: region.databases.restore(region.admin, backup.id, NewSystem(things.compartment, "r", things.key)),
    ):
        assert unchanged(region, run).code == "IllegalState"


def test_a_backup_left_half_done_can_be_deleted(region: DomainRegion, things: Things) -> None:
    """Its system was deleted while it was taken, or its deletion failed."""
    backup, _ = region.databases.create_backup(region.admin, things.system, "b")
    region.databases.delete(region.admin, things.system)
    region.databases.delete_backup(region.admin, backup.id)
    assert region.databases.get_backup(region.admin, backup.id).state == "DELETING"
    assert refused(lambda: region.databases.delete_backup(region.admin, backup.id)).code == "IllegalState"
    with region.store.note() as tx:
        tx.jobs.cancel_for(region.tenancy, backup.id, region.clock.now())
    region.databases.delete_backup(region.admin, backup.id)


def test_a_restore_is_a_system_of_its_own_with_no_data_keys_yet(region: DomainRegion, things: Things) -> None:
    another = other_key(region, things)
    made = region.databases.restore(region.admin, things.backup, NewSystem(things.compartment, "copy", another))
    assert (made.system.restored_from, made.system.key, made.job.kind) == (things.backup, another, "restore")
    assert [key.kind for key in wrapped(region, made.system.id)] == ["store"]
    assert dict(made.job.input) == {"backup": things.backup}
