"""A verification looks at what is the system's own, and tells of nothing else."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.calls import make_things
from tests.fakes.domain import REGION, make_region

from keystead.adapters.backup_files import FileBackups
from keystead.adapters.mariadb.node import MariaDbNode
from keystead.core.ids import new_id
from keystead.databases.flows import Verify
from keystead.databases.model import DbSystem
from keystead.databases.node import Progress


class Machine:
    """A `Host` that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}

    def apply(self, system: str, step: str, progress: Progress, **arguments: str) -> Mapping[str, str]:
        self.asked = arguments
        return {}


def test_only_backups_of_the_system_are_named(tmp_path: Path) -> None:
    region = make_region(tmp_path)
    stranger = region.new_tenancy("other")
    region.snapshot.refresh()
    theirs, ours = make_things(region, stranger), make_things(region, region.admin)
    machine = Machine()
    flow = Verify(
        region.guard, region.snapshot, region.store, region.associations, machine, region.clock, REGION  # type: ignore[arg-type]
    )  # fmt: skip
    job = region.databases.verify(region.admin, ours.system)
    flow.run("verify", job, lambda *_: None)
    assert machine.asked["backups"].split() == [ours.backup]
    assert theirs.backup != ours.backup


def test_only_backups_that_are_named_are_read(tmp_path: Path) -> None:
    region = make_region(tmp_path)
    things = make_things(region, region.admin)
    with region.store.read() as tx:
        system: DbSystem = next(found for found in tx.databases.all_systems() if found.id == things.system)
    mine, other = (new_id("mysqlbackup", REGION) for _ in range(2))
    files = FileBackups(tmp_path / "backups")
    for name in (mine, other):
        files.write(name, iter([b"KSS\x01", bytes(range(256)) * 8]))
    node = MariaDbNode(system, tmp_path / "data", tmp_path / "memory", 1, tmp_path / "backups")
    (tmp_path / "data" / system.id.rpartition(".")[2] / "data").mkdir(parents=True)
    report = json.loads(node.verify(lambda *_: None, (), [mine, new_id("mysqlbackup", REGION)])["report"])
    assert [found["path"] for found in report["files"]] == [f"{mine}.ksb"]
