"""`work` and `host` in one process, over servers in memory: jobs run here as they do there, step by step.

Either can be killed at any point and started again: `Killed` goes through everything, and what was in memory is gone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.fakes.calls import Things
from tests.fakes.domain import DomainRegion
from tests.fakes.node import Disk, FakeNode, Killed, LocalHost

from keystead.adapters.backup_files import FileBackups
from keystead.databases import backups, flows
from keystead.databases.creation import NewSystem
from keystead.databases.model import Backup, DbSystem
from keystead.iam.model import Caller
from keystead.jobs.model import FINAL, Job
from keystead.jobs.runner import LEASE_SECONDS, RETRY_SECONDS, Flow, Runner


class Meter:
    """Counts the points at which somebody may be killed, and kills at one of them."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.kill_at = 0

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        if len(self.passed) == self.kill_at:
            raise Killed


class MeteredStore:
    """The region's store; the end of each change is a point. (Notes are the runner's: tests/jobs kills it at those.)"""

    def __init__(self, region: DomainRegion, meter: Callable[[str], None]) -> None:
        self._store = region.store
        self._meter = meter
        self.read, self.note = region.store.read, region.store.note

    @contextmanager
    def write(self, *entries: Any, **named: Any) -> Iterator[Any]:
        with self._store.write(*entries, **named) as tx:
            yield tx
        self._meter("written")


@dataclass
class Work:
    """A region, the machine with its servers, and what runs its jobs."""

    region: DomainRegion
    things: Things
    directory: Path
    meter: Meter = field(default_factory=Meter)
    bugs: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.host = LocalHost(self.region)
        self._owners = count(1)
        self.begin()

    def begin(self) -> None:
        """Both processes start: on the same state and the same machine, with nothing in memory."""
        self.host = LocalHost(self.region, self.host.machine)
        self.host.at = lambda system, point: self.meter(point)
        region, files = self.region, FileBackups(self.directory / "backups")
        store: Any = MeteredStore(region, self.meter)
        given: Any = (region.guard, region.snapshot, store, region.associations, self.host, region.clock, "home")
        made: dict[str, Flow] = {
            "create": flows.Create(*given),
            "start": flows.Start(*given),
            "stop": flows.Stop(*given),
            "restart": flows.Restart(*given),
            "delete": flows.Delete(*given),
            "rotate": flows.RotateDataKeys(*given),
            "verify": flows.Verify(*given),
            "backup": backups.TakeBackup(*given, files),
            "delete-backup": backups.DeleteBackup(*given, files),
            "restore": backups.Restore(*given, files),
        }
        self.files = files
        owner = f"work-{next(self._owners)}"
        self.runner = Runner(store, made, region.clock, owner, lambda job, error: self.bugs.append(error))

    def once(self) -> bool:
        """One turn of the runner, after whatever waits has waited."""
        self.region.clock.advance(RETRY_SECONDS)
        return self.runner.run_one()

    def run(self, job: Job) -> Job:
        """Until the job has ended. Raises: AssertionError when it does not."""
        for _ in range(10):
            if self.once() and self.job(job).state in FINAL:
                return self.job(job)
        raise AssertionError(f"{self.job(job)} does not end")

    def run_killed(self, job: Job, kill_at: int) -> Job:
        """The same, killed at that point and started again; the lease of the dead runs out first."""
        self.meter.passed.clear()
        self.meter.kill_at = kill_at
        try:
            return self.run(job)
        except Killed:
            self.meter.kill_at = 0
            self.begin()
            self.region.clock.advance(LEASE_SECONDS)
            if self.job(job).state in FINAL:
                return self.job(job)
            return self.run(job)

    def job(self, job: Job) -> Job:
        with self.region.store.read() as tx:
            found = tx.jobs.job(job.tenancy, job.id)
        assert found is not None
        return found

    def system(self, system_id: str) -> DbSystem | None:
        with self.region.store.read() as tx:
            return tx.databases.system(self.region.tenancy, system_id)

    def state(self, system_id: str) -> str:
        found = self.system(system_id)
        return found.state if found is not None else "DELETED"

    def backup(self, backup_id: str) -> Backup | None:
        with self.region.store.read() as tx:
            return tx.databases.backup(self.region.tenancy, backup_id)

    def node(self, system_id: str) -> FakeNode:
        self.host.keeper(system_id)
        return self.host.nodes[system_id]

    def disk(self, system_id: str) -> Disk:
        return self.host.machine.disks[system_id]

    def create(self, name: str = "trains", key: str | None = None, caller: Caller | None = None) -> tuple[str, Job]:
        wanted = NewSystem(self.things.compartment, name, key or self.things.key)
        made = self.region.databases.create(caller or self.region.admin, wanted)
        return made.system.id, made.job

    def created(self, name: str = "trains", key: str | None = None) -> str:
        """A system that is ACTIVE, with three rows."""
        system, job = self.create(name, key)
        assert self.run(job).state == "SUCCEEDED", self.job(job)
        for row in ("one", "two", "three"):
            self.node(system).insert(row)
        return system

    def orphans(self) -> set[str]:
        """Systems of which something is on the machine although the region does not know them."""
        machine = self.host.machine
        held = set(machine.disks) | set(machine.processes) | machine.memory
        held |= {mount.rpartition("/")[2] for _, mount in self.host.endpoint.tokens}
        with self.region.store.read() as tx:
            return held - {system.id for system in tx.databases.all_systems()}
