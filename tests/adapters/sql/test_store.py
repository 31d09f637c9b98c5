"""The region's store: changes with their entries, generations, compare-and-set, and the last space on a disk."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.calls import Things, active, make_things
from tests.fakes.domain import DomainRegion, make_region
from tests.fakes.small_disk import fill, small_disk

from keystead.adapters.sql.engine import sqlite_engine
from keystead.adapters.sql.reserve import Reserve
from keystead.adapters.sql.store import SqlStore, from_json, to_json
from keystead.audit.model import Entry
from keystead.core.errors import Fault, Unavailable
from keystead.core.page import PageRequest
from keystead.iam.model import Target


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainRegion, Things]:
    region = make_region(tmp_path_factory.mktemp("template"))
    return region, make_things(region, region.admin)


@pytest.fixture
def made(template: tuple[DomainRegion, Things], tmp_path: Path) -> tuple[DomainRegion, Things]:
    return template[0].copy(tmp_path), template[1]


def entry_of(region: DomainRegion, operation: str = "Test") -> Entry:
    target = Target("keys", "k", "k", region.tenancy, ())
    return region.guard.entry(region.admin, "KEY_UPDATE", target, operation, "allowed", detail={"a": "b"})


def test_a_change_without_an_entry_cannot_be_had(made: tuple[DomainRegion, Things]) -> None:
    with pytest.raises(Fault, match="without an audit entry"), made[0].store.write():
        raise AssertionError("never here")


def test_a_change_and_its_entry_are_there_together_or_not_at_all(made: tuple[DomainRegion, Things]) -> None:
    region, _ = made
    generation, rows = region.snapshot.refresh(), len(region.store.outbox(0, 10_000))

    class Killed(BaseException):
        pass

    with pytest.raises(Killed), region.store.write(entry_of(region)) as tx:
        tx.connection.exec_driver_sql("UPDATE keys SET state = 'DISABLED'")
        raise Killed
    assert region.snapshot.refresh() == generation
    assert len(region.store.outbox(0, 10_000)) == rows
    with region.store.write(entry_of(region, "Kept")):
        pass
    assert region.snapshot.refresh() == generation + 1
    kept = region.store.outbox(0, 10_000)[-1][1]
    assert (kept.operation, kept.generation) == ("Kept", generation + 1)


def test_entries_of_the_outbox_come_back_as_they_were(made: tuple[DomainRegion, Things]) -> None:
    region, _ = made
    entry = entry_of(region)._replace(generation=7)
    assert from_json(to_json(entry)) == entry
    first = region.store.outbox(0, 1)[0][0]
    assert [sequence for sequence, _ in region.store.outbox(first, 2)] == [first + 1, first + 2]


def test_notes_and_reads_leave_the_generation_alone(made: tuple[DomainRegion, Things]) -> None:
    region, _ = made
    generation = region.snapshot.refresh()
    with region.store.note() as tx:
        tx.jobs.release_all()
    with region.store.read() as tx:
        tx.jobs.jobs(region.tenancy, region.tenancy, PageRequest())
    assert region.snapshot.refresh() == generation


def test_a_reader_fetches_only_what_is_newer(made: tuple[DomainRegion, Things]) -> None:
    region, things = made
    generation = region.snapshot.refresh()
    region.vaults.disable(region.admin, things.key)
    changes = region.snapshot._freshness.changes(generation)
    assert changes.generation == generation + 1
    assert [key.id for key in changes.vault.keys] == [things.key]
    assert not changes.vault.versions
    identity = changes.identity
    assert not (identity.users or identity.groups or identity.policies or identity.compartments or identity.identities)


def test_what_the_hot_path_reads_is_what_the_rows_say(made: tuple[DomainRegion, Things]) -> None:
    """Two ways to the same objects: the raw reads of a snapshot and the rows of the services."""
    region, things = made
    with region.store.read() as tx:
        assert region.snapshot.keyring.get(things.key).key == tx.vault.key(region.tenancy, things.key)  # type: ignore[union-attr]
        assert list(region.snapshot.keyring.get(things.key).versions.values()) == tx.vault.versions(  # type: ignore[union-attr]
            region.tenancy, things.key
        )
        assert region.snapshot.directory.user(things.user) == tx.iam.user(region.tenancy, things.user)
        assert region.snapshot.directory.group(things.group) == tx.iam.group(region.tenancy, things.group)


def test_one_of_two_writers_loses_and_learns_it(made: tuple[DomainRegion, Things]) -> None:
    region, things = made
    with region.store.read() as tx:
        key = tx.vault.key(region.tenancy, things.key)
        system = tx.databases.system(region.tenancy, things.system)
        backup = tx.databases.backup(region.tenancy, things.backup)
        policy = tx.iam.policy(region.tenancy, things.policy)
    assert key and system and backup and policy
    won = []
    for _ in range(2):
        with region.store.write(entry_of(region)) as tx:
            won.append(
                (
                    tx.vault.change_key(key, replace(key, state="DISABLED", version=key.version + 1)),
                    tx.databases.change(system, replace(system, state="UPDATING")),
                    tx.databases.change_backup(backup, replace(backup, state="FAILED")),
                    tx.iam.set_policy(replace(policy, version=policy.version + 1), policy.version),
                )
            )
    assert won == [(True,) * 4, (False,) * 4]


def test_the_tenancy_is_part_of_every_look(made: tuple[DomainRegion, Things]) -> None:
    region, things = made
    other = region.new_tenancy("globex").principal.tenancy
    with region.store.read() as tx:
        found = (
            tx.iam.user(other, things.user),
            tx.iam.group(other, things.group),
            tx.iam.policy(other, things.policy),
            tx.vault.vault(other, things.vault),
            tx.vault.key(other, things.key),
            tx.databases.system(other, things.system),
            tx.databases.backup(other, things.backup),
            tx.jobs.job(other, things.job),
            tx.jobs.open_for(other, things.system),
        )
        assert not any(found)
        assert not tx.databases.wrapped(other, things.system)
        assert not tx.vault.versions(other, things.key)
        assert not tx.databases.last_receipt(other, things.system)


def test_writers_of_several_processes_take_turns(made: tuple[DomainRegion, Things]) -> None:
    region, things = made
    generation = region.snapshot.refresh()

    def write(store: SqlStore) -> None:
        for _ in range(5):
            with store.write(entry_of(region)) as tx:
                tx.connection.exec_driver_sql("UPDATE db_systems SET key_counter = key_counter + 1")

    threads = [threading.Thread(target=write, args=(region.again().store,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert region.snapshot.refresh() == generation + 20
    with region.store.read() as tx:
        system = tx.databases.system(region.tenancy, things.system)
        assert system is not None
        assert tx.databases.next_number(system, 0) == 21


def test_a_state_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    region = make_region(tmp_path)
    store = SqlStore(sqlite_engine(tmp_path), region.clock)  # a directory
    with pytest.raises(Unavailable), store.read():
        pass


# the last space


Full = tuple[DomainRegion, Things]


@pytest.fixture
def full(template: tuple[DomainRegion, Things], disk: Path) -> Full:
    """A region on a small disk that is filled up, with its store keeping a reserve."""
    region, things = template[0].copy(disk), template[1]
    active(region, things.system)
    store = SqlStore(sqlite_engine(region.path), region.clock, Reserve(disk / "state.reserve"))
    for service in (region.iam, region.vaults, region.databases):
        service._store = store  # type: ignore[attr-defined]
    assert (disk / "state.reserve").exists()
    region.snapshot.refresh()
    fill(disk)
    return region, things


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 12) as directory:
        yield directory


TAKING: dict[str, Callable[[DomainRegion, Things], object]] = {
    "disable a key": lambda r, t: r.vaults.disable(r.admin, t.key),
    "block a user": lambda r, t: r.iam.update_user(r.admin, t.user, "BLOCKED"),
    "delete a user": lambda r, t: r.iam.delete_user(r.admin, t.user),
    "revoke tokens": lambda r, t: r.iam.revoke_user_tokens(r.admin, t.user),
    "sign out": lambda r, t: r.iam.sign_out(replace(r.admin, token_id="token")),
    "delete a group": lambda r, t: r.iam.delete_group(r.admin, t.group),
    "remove a member": lambda r, t: r.iam.remove_member(r.admin, t.group, t.user),
    "replace a policy": lambda r, t: r.iam.update_policy(
        r.admin, t.policy, (f"Allow group Some to inspect keys in compartment id {t.compartment}",)
    ),
    "delete a policy": lambda r, t: r.iam.delete_policy(r.admin, t.policy),
    "delete an identity": lambda r, t: r.databases.delete_identity(r.admin, t.system),
    "stop a system": lambda r, t: r.databases.stop(r.admin, t.system),
}


def write_until_full(region: DomainRegion) -> None:
    """Ordinary changes go on in what is left of the write-ahead log, and then no more."""
    with pytest.raises(Unavailable) as caught:
        for number in range(2000):
            region.vaults.create_vault(region.admin, region.tenancy, f"v{number}")
    assert caught.value.code == "StateFull"


@pytest.mark.parametrize("what", TAKING)
def test_on_a_full_disk_access_can_be_taken_away_and_nothing_else_is_done(full: Full, what: str) -> None:
    region, things = full
    write_until_full(region)
    generation = region.snapshot.refresh()
    TAKING[what](region, things)
    assert region.snapshot.refresh() == generation + 1
    assert region.store.outbox(0, 10_000)[-1][1].generation == generation + 1


def test_enabling_a_key_or_unblocking_does_not_touch_the_reserve(full: Full, disk: Path) -> None:
    region, things = full
    write_until_full(region)
    for run in (
        lambda: region.iam.update_user(region.admin, things.user, "ACTIVE"),
        lambda: region.iam.add_member(region.admin, things.group, things.user),
        lambda: region.databases.restore_identity(region.admin, things.system),
        lambda: region.databases.delete(region.admin, things.system),
    ):
        with pytest.raises(Unavailable):
            run()
    assert (disk / "state.reserve").exists()


def test_the_reserve_comes_back_with_the_room(full: Full, disk: Path) -> None:
    region, things = full
    write_until_full(region)
    region.vaults.disable(region.admin, things.key)
    assert not (disk / "state.reserve").exists()
    (disk / "filling").unlink()
    region.vaults.create_vault(region.admin, region.tenancy, "again")
    assert (disk / "state.reserve").exists()


def test_where_room_cannot_be_seen_the_second_attempt_finds_it(full: Full, disk: Path) -> None:
    """As under a quota: `statvfs` shows room that is not ours."""
    region, things = full
    write_until_full(region)
    region.vaults._store._reserve = Reserve(disk / "state.reserve", needed=0)
    with pytest.raises(Unavailable):
        region.vaults.disable(region.admin, things.key)
    region.vaults.disable(region.admin, things.key)
    assert region.snapshot.keyring.get(things.key) is not None
    region.snapshot.refresh()
    assert region.vaults.get_key(region.admin, things.key).state == "DISABLED"


def test_readers_learn_on_a_full_disk_that_a_key_is_disabled(full: Full) -> None:
    region, things = full
    reader = region.again()
    write_until_full(region)
    region.vaults.disable(region.admin, things.key)
    with pytest.raises(Exception, match="DISABLED"):
        reader.vaults.unwrap(region.admin, things.key, things.wrapped, b"for me")


def test_files_that_cannot_be_scrubbed_on_a_full_disk(made: tuple[DomainRegion, Things], disk: Path) -> None:
    """An outage like any other; whoever has destroyed something has destroyed it."""
    region = made[0].copy(disk)
    region.snapshot.refresh()
    for number in range(40):
        region.vaults.create_key(region.admin, region.tenancy, made[1].vault, f"k{number}")
    fill(disk)
    with pytest.raises(Unavailable) as caught:
        region.store.scrub()
    assert caught.value.code == "StateFull"
    region.vaults._scrub()
