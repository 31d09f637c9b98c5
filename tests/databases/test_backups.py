"""Backups: encrypted under keys of their own, restored when the source is gone, whole or not at all."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.calls import Things, make_things
from tests.fakes.domain import DomainRegion, make_region
from tests.fakes.work import Work

from keystead.core.errors import Fault, Refusal, Unavailable
from keystead.core.ids import new_id
from keystead.databases.creation import NewSystem
from keystead.databases.model import Backup
from keystead.jobs.model import Job

ROWS = ["one", "two", "three"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainRegion, Things]:
    region = make_region(tmp_path_factory.mktemp("template"))
    return region, make_things(region, region.admin)


def make_work(template: tuple[DomainRegion, Things], directory: Path) -> Work:
    directory.mkdir(exist_ok=True)
    return Work(template[0].copy(directory), template[1], directory)


@pytest.fixture
def work(template: tuple[DomainRegion, Things], tmp_path: Path) -> Work:
    return make_work(template, tmp_path)


def another_key(work: Work, name: str) -> str:
    key = work.region.vaults.create_key(work.region.admin, work.things.compartment, work.things.vault, name)
    work.region.snapshot.refresh()
    return key.id


def ask_backup(work: Work, system: str, key: str | None = None) -> tuple[Backup, Job]:
    return work.region.databases.create_backup(work.region.admin, system, "b", key)


def backed_up(work: Work, system: str, key: str | None = None) -> Backup:
    backup, job = ask_backup(work, system, key)
    assert work.run(job).state == "SUCCEEDED", work.job(job)
    found = work.backup(backup.id)
    assert found is not None
    return found


def ask_restore(work: Work, backup: str, key: str | None = None, name: str = "copy") -> tuple[str, Job]:
    wanted = NewSystem(work.things.compartment, name, key or work.things.key, admin_username="boss")
    made = work.region.databases.restore(work.region.admin, backup, wanted)
    return made.system.id, made.job


def file_of(work: Work, backup: Backup) -> Path:
    return work.directory / "backups" / f"{backup.id}.ksb"


# taking


def test_a_backup_is_a_file_in_which_nothing_can_be_read(work: Work) -> None:
    system = work.created()
    backup = backed_up(work, system)
    data = file_of(work, backup).read_bytes()
    assert (backup.state, backup.size) == ("ACTIVE", len(data))
    assert dict(backup.detail) == {"data_key_versions": "1", "administrator": "admin"}
    for row in ROWS:
        assert row.encode() not in data
    process = work.node(system).process
    assert process is not None
    for key in process.keys.values():
        assert key not in data
    assert not work.host.machine.children.get(system)
    assert len(work.host.endpoint.tokens) == 1, "the child's token is void"


def test_a_backup_goes_on_where_a_job_was_killed(template: tuple[DomainRegion, Things], tmp_path: Path) -> None:
    many, number = None, 0
    while many is None or number <= many:
        work = make_work(template, tmp_path / str(number))
        system = work.created()
        backup, job = ask_backup(work, system)
        done = work.run_killed(job, number)
        if many is None:
            many = len(work.meter.passed)
        where = (number, work.meter.passed[-1])
        assert (done.state, done.error) == ("SUCCEEDED", ""), where
        assert [path.name for path in (work.directory / "backups").iterdir()] == [f"{backup.id}.ksb"], where
        copy, restore = ask_restore(work, backup.id)
        assert work.run(restore).state == "SUCCEEDED", where
        assert work.disk(copy).rows == ROWS
        number += 1


@pytest.mark.parametrize("which", ["system's key", "backup's key"])
def test_a_key_taken_away_holds_a_backup_up_and_shows_none(work: Work, which: str) -> None:
    system, own = work.created(), another_key(work, "own")
    backup, job = ask_backup(work, system, own)
    key = own if which == "backup's key" else work.things.key
    work.region.vaults.disable(work.region.admin, key)
    for _ in range(3):
        work.once()
    assert work.job(job).state == "IN_PROGRESS"
    assert work.files.names() == ()
    work.region.vaults.enable(work.region.admin, key)
    assert work.run(job).state == "SUCCEEDED"
    assert work.files.names() == [backup.id]


def test_a_full_store_of_backups_is_waited_for(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    backup, job = ask_backup(work, work.created())

    def full(name: str, chunks: Iterator[bytes]) -> int:
        next(chunks)
        raise Unavailable("BackupStoreFull", "the disk that holds the backups is full")

    with monkeypatch.context() as patch:
        patch.setattr(work.files, "write", full)
        work.once()
        assert "full" in work.job(job).result["waiting_for"]
    assert work.run(job).state == "SUCCEEDED"
    found = work.backup(backup.id)
    assert found is not None
    assert found.state == "ACTIVE"


def test_a_backup_that_fails_leaves_nothing_and_is_shown_as_failed(work: Work) -> None:
    backup, job = ask_backup(work, work.created())

    def fail(system: str, point: str) -> None:
        if point == "backup":
            raise Fault("Broken", "mariadb-backup failed")

    work.host.at = fail
    assert work.run(job).state == "FAILED"
    found = work.backup(backup.id)
    assert found is not None
    assert found.state == "FAILED"
    assert work.files.names() == []
    _, deletion = found, work.region.databases.delete_backup(work.region.admin, backup.id)
    assert work.run(deletion).state == "SUCCEEDED"
    assert work.backup(backup.id) is None


def test_a_backup_deleted_while_it_is_taken_comes_to_nothing(work: Work) -> None:
    """Its system is deleted, its job canceled, and its row deleted; the stream ends a moment later."""
    system = work.created()
    backup, _ = ask_backup(work, system)

    def meanwhile(_: str, point: str) -> None:
        if point == "backup" and work.backup(backup.id) is not None:
            work.region.databases.delete(work.region.admin, system)
            job = work.region.databases.delete_backup(work.region.admin, backup.id)
            with work.region.store.note() as tx:
                found = tx.databases.backup(work.region.tenancy, backup.id)
                assert found is not None
                tx.databases.change_backup(found, replace(found, state="DELETED"))
                tx.jobs.cancel_for(work.region.tenancy, backup.id, work.region.clock.now())
            assert job.kind == "delete-backup"

    work.host.at = meanwhile
    work.once()
    assert work.files.names() == []
    assert work.bugs == []


# deleting


def test_a_deleted_backup_is_gone_from_disk_and_lists(template: tuple[DomainRegion, Things], tmp_path: Path) -> None:
    many, number = None, 0
    while many is None or number <= many:
        work = make_work(template, tmp_path / str(number))
        backup = backed_up(work, work.created())
        job = work.region.databases.delete_backup(work.region.admin, backup.id)
        done = work.run_killed(job, number)
        many = len(work.meter.passed) if many is None else many
        assert done.state == "SUCCEEDED", (number, work.meter.passed[-1], done)
        assert work.files.names() == []
        assert work.backup(backup.id) is None
        number += 1


# restoring


def test_a_restore_stands_on_its_own_when_source_and_key_are_gone(work: Work) -> None:
    region, own, third = work.region, another_key(work, "own"), another_key(work, "third")
    system = work.created()
    backup = backed_up(work, system, own)
    assert work.run(region.databases.delete(region.admin, system)).state == "SUCCEEDED"
    region.vaults.disable(region.admin, work.things.key)
    copy, job = ask_restore(work, backup.id, third)
    assert work.run(job).state == "SUCCEEDED", work.job(job)
    assert work.state(copy) == "ACTIVE"
    disk = work.disk(copy)
    assert disk.rows == ROWS
    assert list(disk.accounts) == ["boss"], "the source's administrator is gone"
    (number,) = disk.pages
    assert number == 3, "every page is under a new data key"
    work.region.vaults.disable(region.admin, own)
    work.region.databases.restart(region.admin, copy)
    work.once()
    assert work.state(copy) == "ACTIVE"
    assert work.orphans() == set()


def test_a_restore_shares_no_key_with_its_source(work: Work) -> None:
    system = work.created()
    copy, job = ask_restore(work, backed_up(work, system).id)
    work.run(job)
    work.run(work.region.databases.restart(work.region.admin, copy))
    source, restored = work.node(system).process, work.node(copy).process
    assert source is not None
    assert restored is not None
    assert not set(restored.keys.values()) & set(source.keys.values()), "what it was started with last"
    opened = [work.region.desk.open_store_key(work.region.host(), each).store_key for each in (system, copy)]
    assert opened[0] != opened[1]


def test_a_restore_of_a_restored_system_that_was_rotated(work: Work) -> None:
    """Numbers go on from those that came with the backup."""
    system = work.created()
    assert work.run(work.region.databases.rotate_data_keys(work.region.admin, system)).state == "SUCCEEDED"
    backup = backed_up(work, system)
    assert backup.detail["data_key_versions"] == "1,3"
    copy, job = ask_restore(work, backup.id)
    assert work.run(job).state == "SUCCEEDED"
    assert work.disk(copy).pages == {5}
    assert work.disk(copy).rows == ROWS


@pytest.mark.slow
def test_killed_at_any_point_a_restore_ends_as_it_should_have(
    template: tuple[DomainRegion, Things], tmp_path: Path
) -> None:
    many, number = None, 0
    while many is None or number <= many:
        work = make_work(template, tmp_path / str(number))
        backup = backed_up(work, work.created())
        copy, job = ask_restore(work, backup.id)
        done = work.run_killed(job, number)
        many = len(work.meter.passed) if many is None else many
        where = (number, work.meter.passed[-1])
        assert (done.state, done.error) == ("SUCCEEDED", ""), where
        assert work.state(copy) == "ACTIVE", where
        assert work.disk(copy).rows == ROWS, where
        assert work.node(copy).running(), where
        assert work.orphans() == set(), where
        assert not work.host.machine.children.get(copy), where
        number += 1


def test_a_key_taken_away_holds_a_restore_up(work: Work) -> None:
    own = another_key(work, "own")
    backup = backed_up(work, work.created(), own)
    for key in (own, work.things.key):
        copy, job = ask_restore(work, backup.id, name=f"copy-{key[-4:]}")
        work.region.vaults.disable(work.region.admin, key)
        for _ in range(3):
            work.once()
        assert work.job(job).state == "IN_PROGRESS"
        assert not work.node(copy).prepared()
        work.region.vaults.enable(work.region.admin, key)
        assert work.run(job).state == "SUCCEEDED"


DAMAGE: dict[str, Callable[[bytes, int], bytes]] = {
    "cut": lambda data, place: data[:place],
    "flipped": lambda data, place: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
    "grown": lambda data, place: data + data[-16:],
    "empty": lambda data, place: b"",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_backup_is_refused_wherever_the_damage_is(work: Work, how: str) -> None:
    system = work.created()
    for number in range(20):
        work.node(system).insert(f"row {number} " + "x" * 100)
    backup = backed_up(work, system)
    file, data = file_of(work, backup), file_of(work, backup).read_bytes()
    places = [0, 10, len(data) // 3, len(data) // 2, len(data) - 1] if how in ("cut", "flipped") else [0]
    for number, place in enumerate(places):
        file.write_bytes(DAMAGE[how](data, place))
        copy, job = ask_restore(work, backup.id, name=f"copy{number}")
        done = work.run(job)
        assert (done.state, done.error_code) == ("FAILED", "Unreadable"), place
        assert work.state(copy) == "FAILED"
        assert not work.node(copy).prepared(), "nothing unverified becomes a database"
        assert not work.node(copy).running()
    file.write_bytes(data)
    copy, job = ask_restore(work, backup.id, name="whole")
    assert work.run(job).state == "SUCCEEDED"


def test_the_file_of_another_backup_does_not_open(work: Work) -> None:
    one = backed_up(work, work.created("one"))
    other_system = work.created("other")
    other, job = work.region.databases.create_backup(work.region.admin, other_system, "other")
    assert work.run(job).state == "SUCCEEDED"
    file_of(work, one).write_bytes((work.directory / "backups" / f"{other.id}.ksb").read_bytes())
    _, restore = ask_restore(work, one.id)
    assert work.run(restore).error_code == "Unreadable"


def test_a_backups_key_moved_to_another_row_does_not_open(work: Work) -> None:
    """Law 3: bound to the backup's own id."""
    one = backed_up(work, work.created("one"))
    moved = new_id("mysqlbackup", "home")
    with work.region.store.note() as tx:
        tx.connection.exec_driver_sql("UPDATE backups SET id = ? WHERE id = ?", (moved, one.id))
    file_of(work, one).rename(work.directory / "backups" / f"{moved}.ksb")
    _, restore = ask_restore(work, moved)
    assert work.run(restore).error_code == "Unreadable"


@pytest.mark.parametrize("gone", ["row", "file"])
def test_a_backup_that_is_gone_ends_its_restore(work: Work, gone: str) -> None:
    backup = backed_up(work, work.created())
    copy, job = ask_restore(work, backup.id)
    file_of(work, backup).unlink()
    if gone == "row":
        with work.region.store.note() as tx:
            tx.databases.change_backup(backup, replace(backup, state="DELETED"))
    assert work.run(job).state == "FAILED"
    assert work.state(copy) == "FAILED"
    assert work.run(work.region.databases.delete(work.region.admin, copy)).state == "SUCCEEDED"


def test_restoring_takes_rights_on_backup_key_and_place(work: Work) -> None:
    region, backup = work.region, backed_up(work, work.created())
    dba = region.user("dba", "Dbas")
    needed = {
        "Allow group Dbas to read mysql-backups in tenancy",
        "Allow group Dbas to manage mysql-instances in tenancy",
        "Allow group Dbas to use key-delegate in tenancy",
    }
    wanted = NewSystem(work.things.compartment, "copy", work.things.key)

    def restore() -> Any:
        region.snapshot.refresh()
        return region.databases.restore(dba, backup.id, wanted)

    for missing in needed:
        policy = region.allow(*sorted(needed - {missing}))
        with pytest.raises(Refusal):
            restore()
        region.iam.delete_policy(region.admin, policy.id)
    region.allow(*needed)
    restore()


def test_nothing_secret_is_recorded(work: Work) -> None:
    system = work.created()
    copy, job = ask_restore(work, backed_up(work, system).id)
    work.run(job)
    shown = repr((work.region.entries(), work.job(job)))
    for node in (work.node(system), work.node(copy)):
        assert node.process is not None
        for secret in (node.process.token, *node.process.keys.values()):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown
