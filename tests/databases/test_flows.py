"""Jobs of database systems: to their end, killed at every point, without access, without the right, and failing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.calls import Things, make_things
from tests.fakes.domain import DomainRegion, make_region
from tests.fakes.work import Work

from keystead.core.errors import Fault, Refusal, Unavailable
from keystead.jobs.model import Job


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainRegion, Things]:
    region = make_region(tmp_path_factory.mktemp("template"))
    return region, make_things(region, region.admin)


@pytest.fixture
def work(template: tuple[DomainRegion, Things], tmp_path: Path) -> Work:
    return Work(template[0].copy(tmp_path), template[1], tmp_path)


def ask(work: Work, act: str, system: str) -> Job:
    databases, admin = work.region.databases, work.region.admin
    acts: dict[str, Callable[[], Job]] = {
        "start": lambda: databases.start(admin, system),
        "stop": lambda: databases.stop(admin, system),
        "restart": lambda: databases.restart(admin, system),
        "rotate": lambda: databases.rotate_data_keys(admin, system),
        "verify": lambda: databases.verify(admin, system),
        "delete": lambda: databases.delete(admin, system),
    }
    return acts[act]()


def test_a_system_is_created_started_stopped_rotated_verified_and_deleted(work: Work) -> None:
    system, job = work.create()
    done = work.run(job)
    assert (done.state, done.percent, done.result) == ("SUCCEEDED", 100, {})
    assert work.state(system) == "ACTIVE"
    assert list(work.disk(system).accounts) == ["admin"]
    for act, state, running in (
        ("stop", "INACTIVE", False), ("start", "ACTIVE", True), ("restart", "ACTIVE", True),
        ("rotate", "ACTIVE", True), ("verify", "ACTIVE", True),
    ):  # fmt: skip
        job = ask(work, act, system)
        assert work.run(job).state == "SUCCEEDED", (act, work.job(job))
        assert (work.state(system), work.node(system).running()) == (state, running), act
    assert work.disk(system).pages == {3}
    assert work.run(ask(work, "delete", system)).state == "SUCCEEDED"
    assert work.system(system) is None
    with work.region.store.read() as tx:
        assert not tx.databases.wrapped(work.region.tenancy, system)
    work.region.snapshot.refresh()
    assert work.region.snapshot.directory.principal(system) is None
    assert work.orphans() == set()
    assert work.bugs == []


def run_act(work: Work, act: str, kill_at: int) -> tuple[str, Job]:
    """Bring a system to where the act begins, and do it."""
    if act == "create":
        system, job = work.create()
    else:
        system = work.created()
        if act == "start":
            work.run(ask(work, "stop", system))
        job = ask(work, act, system)
    return system, work.run_killed(job, kill_at)


@pytest.mark.slow
@pytest.mark.parametrize("act", ["create", "start", "stop", "restart", "rotate", "verify", "delete"])
def test_killed_at_any_point_it_ends_as_it_should_have(
    template: tuple[DomainRegion, Things], tmp_path: Path, act: str
) -> None:
    """`work` and `host` die together at the n-th point, for every n; no row is lost, nothing is left over."""
    many = None
    number = 0
    while many is None or number <= many:
        directory = tmp_path / str(number)
        directory.mkdir()
        work = Work(template[0].copy(directory), template[1], directory)
        system, job = run_act(work, act, number)
        if many is None:
            many = len(work.meter.passed)
            assert many
        where = (number, work.meter.passed[-1])
        assert (job.state, job.error) == ("SUCCEEDED", ""), where
        expected = {"stop": "INACTIVE", "delete": "DELETED"}.get(act, "ACTIVE")
        assert work.state(system) == expected, where
        if act == "delete":
            assert system not in work.host.machine.disks
        else:
            assert work.disk(system).rows == ([] if act == "create" else ["one", "two", "three"]), where
            assert work.node(system).running() == (act != "stop"), where
        if act == "rotate":
            (number_of_pages,) = work.disk(system).pages
            assert number_of_pages >= 3
        assert work.orphans() == set(), where
        assert not work.host.machine.children.get(system), where
        assert work.bugs == []
        number += 1


LOSE: dict[str, Callable[[Work], Any]] = {
    "key": lambda w: w.region.vaults.disable(w.region.admin, w.things.key),
    "identity": lambda w: w.region.databases.delete_identity(w.region.admin, _any_system(w)),
}
BACK: dict[str, Callable[[Work], Any]] = {
    "key": lambda w: w.region.vaults.enable(w.region.admin, w.things.key),
    "identity": lambda w: w.region.databases.restore_identity(w.region.admin, _any_system(w)),
}


def _any_system(work: Work) -> str:
    with work.region.store.read() as tx:
        return next(system.id for system in tx.databases.all_systems() if system.name == "trains")


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSE)
@pytest.mark.parametrize("act", ["create", "start", "restart", "rotate"])
def test_without_access_a_job_waits_and_goes_on_when_it_returns(work: Work, act: str, loss: str) -> None:
    if act == "create":
        system, job = work.create()
    else:
        system = work.created()
        if act == "start":
            work.run(ask(work, "stop", system))
        job = ask(work, act, system)
    LOSE[loss](work)
    for _ in range(3):
        work.once()
    waiting = work.job(job)
    assert waiting.state == "IN_PROGRESS"
    assert waiting.result["waiting_for"]
    assert work.state(system) != "ACTIVE" or act == "rotate"
    BACK[loss](work)
    assert work.run(job).state == "SUCCEEDED"
    assert work.state(system) == "ACTIVE"


@pytest.mark.parametrize("act", ["stop", "verify", "delete"])
def test_leaving_and_reading_need_no_access(work: Work, act: str) -> None:
    system = work.created()
    LOSE["key"](work)
    assert work.run(ask(work, act, system)).state == "SUCCEEDED"


@pytest.mark.parametrize("act", ["create", "start", "restart", "rotate"])
def test_a_requester_who_lost_the_right_is_refused_by_the_job_too(work: Work, act: str) -> None:
    """Law 1: checked again when the job comes to it."""
    region = work.region
    system = "" if act == "create" else work.created()
    if act == "start":
        work.run(ask(work, "stop", system))
    dba = region.user("dba", "Dbas")
    policy = region.allow(
        "Allow group Dbas to manage mysql-family in tenancy", "Allow group Dbas to use key-delegate in tenancy"
    )
    region.snapshot.refresh()
    asked: dict[str, Callable[[], Any]] = {
        "create": lambda: work.create(caller=dba)[1],
        "start": lambda: region.databases.start(dba, system),
        "restart": lambda: region.databases.restart(dba, system),
        "rotate": lambda: region.databases.rotate_data_keys(dba, system),
    }
    job = asked[act]()
    region.iam.delete_policy(region.admin, policy.id)
    done = work.run(job)
    assert done.state == "FAILED"
    assert work.state(job.resource) == "FAILED"
    refusals = [entry for entry in region.journal.entries if entry.operation == f"{act} (job)"]
    assert [(entry.outcome, entry.principal_id) for entry in refusals] == [("refused", dba.principal.id)]


def test_a_blocked_requesters_job_ends(work: Work) -> None:
    region = work.region
    dba = region.user("dba", "Administrators")
    region.snapshot.refresh()
    system, job = work.create(caller=dba)
    region.iam.update_user(region.admin, dba.principal.id, "BLOCKED")
    assert work.run(job).state == "FAILED"
    assert work.state(system) == "FAILED"


def failing(work: Work, at: str, error: Exception, times: int = 99) -> None:
    """From now on that point fails, so many times."""
    left = [times]

    def fail(system: str, point: str) -> None:
        if point == at and left[0]:
            left[0] -= 1
            raise error

    work.host.at = fail


def test_an_outage_at_the_host_is_waited_for(work: Work) -> None:
    system, job = work.create()
    failing(work, "prepare", Unavailable("PrepareFailed", "the disk is full"), 2)
    for _ in range(2):
        work.once()
        assert work.job(job).result["waiting_for"] == "the disk is full"
    assert work.run(job).state == "SUCCEEDED"
    assert work.state(system) == "ACTIVE"


@pytest.mark.parametrize(
    "error", [Refusal("PortTaken", "port 1 is taken", kind="conflict"), Fault("NotReachable", "no")]
)
def test_a_step_that_is_refused_ends_the_job_and_shows_on_the_system(work: Work, error: Exception) -> None:
    system, job = work.create()
    failing(work, "start", error)
    done = work.run(job)
    assert (done.state, done.error) == ("FAILED", str(error))
    found = work.system(system)
    assert found is not None
    assert (found.state, found.reason) == ("FAILED", "job_failed")
    failing(work, "start", error, 0)
    assert work.run(ask(work, "delete", system)).state == "SUCCEEDED"
    assert work.orphans() == set()


def test_a_deletion_that_failed_can_be_asked_for_again(work: Work) -> None:
    system = work.created()
    failing(work, "discard", Fault("NotReachable", "no"))
    assert work.run(ask(work, "delete", system)).state == "FAILED"
    assert work.state(system) == "FAILED"
    failing(work, "discard", Fault("NotReachable", "no"), 0)
    assert work.run(ask(work, "delete", system)).state == "SUCCEEDED"
    assert work.system(system) is None


def test_deleting_ends_what_is_under_way(work: Work) -> None:
    """A creation that waits for its key does not stand in the way, and does not come back."""
    system, job = work.create()
    LOSE["key"](work)
    work.once()
    deletion = ask(work, "delete", system)
    assert work.run(deletion).state == "SUCCEEDED"
    assert work.job(job).state == "CANCELED"
    BACK["key"](work)
    for _ in range(3):
        work.once()
    assert work.orphans() == set()


def test_a_rotation_publishes_two_numbers_on(work: Work) -> None:
    system = work.created()
    for number in (3, 5):
        assert work.run(ask(work, "rotate", system)).result["number"] == str(number)
        assert work.disk(system).pages == {number}
        with work.region.store.read() as tx:
            rows = [row for row in tx.databases.wrapped(work.region.tenancy, system) if row.kind == "data"]
        assert {row.number for row in rows if row.latest} == {number}
        assert {row.number for row in rows} == set(range(1, number + 1, 2)), "older ones stay: something may need them"


def test_a_verification_that_fails_changes_nothing_about_its_system(work: Work) -> None:
    system = work.created()
    failing(work, "verify", Fault("ScanFailed", "no"))
    assert work.run(ask(work, "verify", system)).state == "FAILED"
    assert work.state(system) == "ACTIVE"


def test_samples_reach_the_host_and_nothing_else(work: Work) -> None:
    system = work.created()
    job = work.region.databases.verify(work.region.admin, system, [b"a customer's own value"])
    assert '"samples": 1' in work.run(job).result["report"]


def test_nothing_secret_is_in_a_jobs_row(work: Work) -> None:
    system, job = work.create()
    work.run(job)
    process = work.node(system).process
    assert process is not None
    with work.region.store.read() as tx:
        rows = repr(tx.connection.exec_driver_sql("SELECT * FROM jobs").fetchall())
    for secret in (process.token, *process.keys.values()):
        assert secret.hex() not in rows
        assert repr(secret)[2:-1] not in rows
