"""The runner: killed after each step it goes on where it was; leases, waiting, cancelling, failing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.fakes.domain import REGION, DomainRegion, make_region

from keystead.core.errors import Fault, Refusal, Unavailable
from keystead.core.ids import JobId, new_id
from keystead.jobs.model import Job
from keystead.jobs.runner import LEASE_SECONDS, RETRY_SECONDS, Canceled, Progress, Runner, Waiting

STEPS = ("dig", "lay", "build", "paint")


class Killed(BaseException):
    """As kill -9: nothing after it happens in this process."""


def nothing(point: str) -> None:
    """Where nobody interferes."""


@dataclass
class Building:
    """A flow whose steps leave something behind; `at` is called at every point where something may happen.

    A step done again must find its work done: `floors` counts what was really built.
    """

    steps: tuple[str, ...] = STEPS
    at: Callable[[str], None] = nothing
    floors: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    abandoned: int = 0

    def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
        self.at(f"before {step}")
        self.ran.append(step)
        if step not in self.floors:
            self.floors.append(step)
        self.at(f"done {step}")
        return {step: "done"}

    def abandon(self, job: Job) -> None:
        self.abandoned += 1
        self.at("abandon")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> DomainRegion:
    return make_region(tmp_path_factory.mktemp("template"))


@pytest.fixture
def region(template: DomainRegion, tmp_path: Path) -> DomainRegion:
    return template.copy(tmp_path)


def add_job(region: DomainRegion, resource: str = "house") -> Job:
    now = region.clock.now()
    job = Job(
        id=JobId(new_id("job", REGION)),
        tenancy=region.tenancy,
        compartment=region.tenancy,  # type: ignore[arg-type]  # the root
        kind="build",
        resource=resource,
        resource_name="h",
        requester=region.admin.principal.id,
        requester_name="admin",
        state="ACCEPTED",
        step="",
        percent=0,
        created_at=now,
        updated_at=now,
    )
    with region.store.note() as tx:
        tx.jobs.add(job)
    return job


def runner(region: DomainRegion, flow: Building, owner: str = "one", bugs: list[Exception] | None = None) -> Runner:
    heard = bugs if bugs is not None else []
    return Runner(region.store, {"build": flow}, region.clock, owner, lambda _, error: heard.append(error))


def now(region: DomainRegion, job: Job) -> Job:
    with region.store.read() as tx:
        found = tx.jobs.job(job.tenancy, job.id)
    assert found is not None
    return found


def test_a_job_is_done_step_by_step(region: DomainRegion) -> None:
    job, flow = add_job(region), Building()
    assert runner(region, flow).run_one()
    done = now(region, job)
    assert flow.ran == list(STEPS)
    assert (done.state, done.step, done.percent, done.attempts) == ("SUCCEEDED", "paint", 100, 1)
    assert done.result == dict.fromkeys(STEPS, "done")
    assert not runner(region, flow).run_one()


@pytest.mark.parametrize("point", [f"{when} {step}" for step in STEPS for when in ("before", "done")])
def test_killed_anywhere_the_next_runner_goes_on(region: DomainRegion, point: str) -> None:
    def kill(here: str) -> None:
        if here == point:
            raise Killed

    job, flow = add_job(region), Building(at=kill)
    with pytest.raises(Killed):
        runner(region, flow, "killed").run_one()
    flow.at = nothing
    assert not runner(region, flow, "next").run_one(), "the lease still holds"
    region.clock.advance(LEASE_SECONDS)
    assert runner(region, flow, "next").run_one()
    assert now(region, job).state == "SUCCEEDED"
    assert flow.floors == list(STEPS)
    step = point.rpartition(" ")[2]
    again = 2 if point.startswith("done") else 1
    assert [flow.ran.count(each) for each in STEPS] == [again if each == step else 1 for each in STEPS]


@pytest.mark.parametrize("write", range(1, 6))
def test_killed_at_any_write_of_its_own_it_goes_on(region: DomainRegion, write: int) -> None:
    """The n-th transaction of the runner never ends: what was done and not recorded is done again."""

    class Killing:
        """The store of a process that is killed in its n-th transaction."""

        def __init__(self) -> None:
            self.count = 0

        def read(self) -> object:
            return region.store.read()

        def write(self, *entries: object) -> object:
            return region.store.write(*entries)  # type: ignore[arg-type]

        def note(self) -> object:
            self.count += 1
            if self.count == write:
                raise Killed
            return region.store.note()

    job, flow = add_job(region), Building()
    dying = Runner(Killing(), {"build": flow}, region.clock, "killed", lambda *_: None)  # type: ignore[arg-type]
    with pytest.raises(Killed):
        dying.run_one()
    region.clock.advance(LEASE_SECONDS)
    assert runner(region, flow, "next").run_one()
    assert now(region, job).state == "SUCCEEDED"
    assert flow.floors == list(STEPS)


def test_another_process_goes_on_from_the_row_alone(region: DomainRegion) -> None:
    def kill(here: str) -> None:
        if here == "before build":
            raise Killed

    job, first = add_job(region), Building(at=kill)
    with pytest.raises(Killed):
        runner(region, first).run_one()
    region.clock.advance(LEASE_SECONDS)
    second = Building()
    assert runner(region.again(), second, "elsewhere").run_one()
    assert second.ran == ["build", "paint"]
    assert now(region, job).result == dict.fromkeys(STEPS, "done")


def test_a_step_that_is_no_more_begins_anew(region: DomainRegion) -> None:
    """After an upgrade that renamed it: every step is idempotent."""
    job = add_job(region)
    with region.store.note() as tx:
        tx.connection.exec_driver_sql("UPDATE jobs SET step = 'excavate'")
    flow = Building()
    runner(region, flow).run_one()
    assert flow.ran == list(STEPS)
    assert now(region, job).state == "SUCCEEDED"


@pytest.mark.parametrize("reason", [Waiting("the key is disabled"), Unavailable("HostUnavailable", "no answer")])
def test_what_cannot_be_done_yet_is_put_back_for_a_moment(region: DomainRegion, reason: Exception) -> None:
    def wait(here: str) -> None:
        if here == "before lay":
            raise reason

    job, flow = add_job(region), Building(at=wait)
    one = runner(region, flow)
    assert one.run_one()
    waiting = now(region, job)
    assert (waiting.state, waiting.step, flow.abandoned) == ("IN_PROGRESS", "dig", 0)
    assert waiting.result["waiting_for"] == str(reason)
    assert not runner(region, flow, "other").run_one()
    region.clock.advance(RETRY_SECONDS)
    assert runner(region, flow, "other").run_one()
    assert now(region, job).attempts == 2
    flow.at = nothing
    region.clock.advance(RETRY_SECONDS)
    assert one.run_one()
    done = now(region, job)
    assert done.state == "SUCCEEDED"
    assert "waiting_for" not in done.result


@pytest.mark.parametrize(
    "error", [Refusal("NotAuthorized", "ann lacks it", hint="h", kind="denied"), Fault("Broken", "it broke")]
)
def test_a_refusal_ends_the_job_after_tidying(region: DomainRegion, error: Refusal | Fault) -> None:
    def refuse(here: str) -> None:
        if here == "before build":
            raise error

    job, flow, bugs = add_job(region), Building(at=refuse), list[Exception]()
    runner(region, flow, bugs=bugs).run_one()
    failed = now(region, job)
    assert (failed.state, failed.error_code, failed.error) == ("FAILED", error.code, error.message)
    assert (failed.step, flow.abandoned, bugs) == ("lay", 1, [])
    assert not runner(region, flow, "other").run_one()


def test_a_bug_ends_the_job_and_the_operator_hears_of_it(region: DomainRegion) -> None:
    def bug(here: str) -> None:
        if here == "done lay":
            raise KeyError("secret of a customer")

    job, flow, bugs = add_job(region), Building(at=bug), list[Exception]()
    runner(region, flow, bugs=bugs).run_one()
    failed = now(region, job)
    assert (failed.state, failed.error_code) == ("FAILED", "Internal")
    assert "secret" not in failed.error
    assert [type(error) for error in bugs] == [KeyError]


def test_killed_while_tidying_it_is_tidied_again(region: DomainRegion) -> None:
    def fail(here: str) -> None:
        if here == "before lay":
            raise Refusal("No", "no")
        if here == "abandon":
            raise Killed

    job, flow = add_job(region), Building(at=fail)
    with pytest.raises(Killed):
        runner(region, flow).run_one()
    flow.at = lambda here: fail(here) if here != "abandon" else None
    region.clock.advance(LEASE_SECONDS)
    runner(region, flow, "next").run_one()
    assert (now(region, job).state, flow.abandoned) == ("FAILED", 2)


def test_whoever_lost_the_lease_records_and_tidies_nothing(region: DomainRegion) -> None:
    """A step took longer than the lease and somebody else goes on: the late one must not spoil it."""
    job, other = add_job(region), Building()

    def somebody_faster(here: str) -> None:
        if here == "done dig":
            region.clock.advance(LEASE_SECONDS)
            assert runner(region, other, "two").run_one()

    flow, bugs = Building(at=somebody_faster), list[Exception]()
    assert runner(region, flow, "one", bugs).run_one()
    assert (flow.ran, flow.abandoned, bugs) == (["dig"], 0, [])
    assert now(region, job).state == "SUCCEEDED"


@pytest.mark.parametrize("how", ["canceled", "taken over"])
def test_a_lost_job_is_noticed_in_the_middle_of_a_step_and_is_no_failure(region: DomainRegion, how: str) -> None:
    job = add_job(region)

    class Reporting(Building):
        def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
            if how == "canceled":
                with region.store.note() as tx:
                    tx.jobs.cancel_for(job.tenancy, job.resource, region.clock.now())
            else:
                region.clock.advance(LEASE_SECONDS)
                with region.store.note() as tx:
                    assert tx.jobs.lease("two", region.clock.monotonic(), region.clock.monotonic() + 30)
            progress(10, "digging")
            raise AssertionError("went on")

    flow, bugs = Reporting(), list[Exception]()
    assert runner(region, flow, bugs=bugs).run_one()
    assert (flow.abandoned, bugs) == (0, [])
    assert now(region, job).state == ("CANCELED" if how == "canceled" else "ACCEPTED")


def test_what_is_gone_when_it_is_to_be_tidied_is_tidy(region: DomainRegion) -> None:
    def gone(here: str) -> None:
        if here == "before dig":
            raise Refusal("No", "no")
        raise Canceled

    job, flow = add_job(region), Building(at=gone)
    runner(region, flow).run_one()
    assert now(region, job).state == "FAILED"


def test_a_canceled_job_is_not_run(region: DomainRegion) -> None:
    job = add_job(region)
    with region.store.note() as tx:
        tx.jobs.cancel_for(region.tenancy, "house", region.clock.now())
    assert not runner(region, Building()).run_one()
    assert now(region, job).state == "CANCELED"


def test_progress_is_shown_and_keeps_the_lease(region: DomainRegion) -> None:
    job, shown = add_job(region), list[tuple[int, str]]()

    class Slow(Building):
        def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
            for percent in (0, 50, 50, 100, 250):
                region.clock.advance(LEASE_SECONDS - 1)
                progress(percent, f"{step} {percent}")
                found = now(region, job)
                shown.append((found.percent, found.result["doing"]))
                assert not runner(region, Building(), "thief").run_one()
            return {}

    runner(region, Slow(steps=("dig", "lay"))).run_one()
    assert [percent for percent, _ in shown] == [0, 25, 25, 49, 49, 50, 75, 75, 99, 99]
    done = now(region, job)
    assert (done.percent, done.state, "doing" in done.result) == (100, "SUCCEEDED", False)


def test_a_step_that_says_nothing_keeps_its_lease_too(region: DomainRegion) -> None:
    job, thief = add_job(region), Building()

    class Silent(Building):
        def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
            for _ in range(3):
                region.clock.advance(LEASE_SECONDS - 1)
                one.keep_lease()
                assert not runner(region, thief, "thief").run_one()
            return {}

    one = runner(region, Silent())
    one.keep_lease()  # nothing is being run: nothing happens
    assert one.run_one()
    one.keep_lease()
    assert now(region, job).state == "SUCCEEDED"
    assert thief.ran == []


def test_the_oldest_job_goes_first_and_each_runner_takes_another(region: DomainRegion) -> None:
    first = add_job(region, "one")
    region.clock.advance(1)
    second = add_job(region, "two")
    order: list[str] = []

    class Noting(Building):
        def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
            order.append(job.id)
            if job.id == first.id and len(order) == 1:
                assert runner(region, self, "two").run_one()
            return {}

    runner(region, Noting(steps=("dig",)), "one").run_one()
    assert order == [first.id, second.id]


def test_leases_of_an_earlier_life_can_be_taken_away(region: DomainRegion) -> None:
    def kill(here: str) -> None:
        raise Killed

    add_job(region)
    with pytest.raises(Killed):
        runner(region, Building(at=kill)).run_one()
    with region.store.note() as tx:
        tx.jobs.release_all()
    assert runner(region, Building(), "next").run_one()


def test_a_job_says_nothing_of_what_it_does_not_show(region: DomainRegion) -> None:
    """Jobs are read by people: what `open_for` and the lists give is the same row."""
    job = add_job(region)
    with region.store.read() as tx:
        assert tx.jobs.open_for(region.tenancy, "house") == job
    runner(region, Building()).run_one()
    with region.store.read() as tx:
        assert tx.jobs.open_for(region.tenancy, "house") is None
