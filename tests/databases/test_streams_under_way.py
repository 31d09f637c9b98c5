"""A key that is taken away ends what streams under it, also where another key guards the system itself."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.calls import active, make_things
from tests.fakes.domain import REGION, DomainRegion, make_region

from keystead.core.errors import Fault, Unavailable
from keystead.databases.backups import TRIES, BackupSteps, Restore, TakeBackup
from keystead.jobs.model import Job
from keystead.jobs.runner import Waiting

PIECE = bytes(1 << 20)


def nothing(*_: object) -> None:
    """Nothing happens."""


@dataclass
class Store:
    """A `Host` and `BackupFiles` in memory; `between` is called after the first piece of a stream."""

    between: Callable[[], object] = nothing
    pieces: list[bytes] = field(default_factory=list)
    restored: int = 0

    def backup(self, system: str) -> Iterator[bytes]:
        yield PIECE
        self.between()
        yield PIECE

    def write(self, name: str, chunks: Iterator[bytes]) -> int:
        self.pieces = list(chunks)
        return sum(map(len, self.pieces))

    def read(self, name: str) -> Iterator[bytes]:
        return iter(self.pieces)

    def restore(self, system: str, chunks: Iterator[bytes]) -> Mapping[str, str]:
        for chunk in chunks:
            self.restored += len(chunk)
            self.between()
            self.between = nothing
        return {}


@dataclass
class Stage:
    """A system, a backup of it that is to be taken under a key of its own, and how to take that key away."""

    region: DomainRegion
    system: str
    job: Job
    disable: Callable[[], object]

    def flow(self, kind: type[BackupSteps], store: Any) -> BackupSteps:
        found = self.region
        return kind(found.guard, found.snapshot, found.store, found.associations, store, found.clock, REGION, store)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    region = make_region(tmp_path)
    things = make_things(region, region.admin)
    key = region.vaults.create_key(region.admin, things.compartment, things.vault, "for-backups")
    _, job = region.databases.create_backup(region.admin, things.system, "tuesday", key.id)
    return Stage(region, things.system, job, lambda: region.vaults.disable(region.admin, key.id))


def test_a_backup_ends(stage: Stage) -> None:
    store = Store(between=stage.disable)
    with pytest.raises(Waiting, match="DISABLED"):
        stage.flow(TakeBackup, store).run("take", stage.job, nothing)
    assert store.pieces == []


def test_a_restore_ends(stage: Stage) -> None:
    store = Store()
    stage.flow(TakeBackup, store).run("take", stage.job, nothing)
    active(stage.region, stage.system)
    store.between = stage.disable
    with pytest.raises(Waiting, match="DISABLED"):
        stage.flow(Restore, store).run("receive", replace(stage.job, kind="restore"), nothing)
    assert 0 < store.restored < 2 * len(PIECE)


@pytest.mark.parametrize("times", [TRIES - 1, TRIES])
def test_a_backup_is_tried_again_when_a_table_came_or_went(stage: Stage, times: int) -> None:
    """Not for ever: a file that stays damaged fails it, with what mariadb-backup says."""
    left = iter(range(times))

    def disturb() -> None:
        if next(left, None) is not None:
            raise Unavailable("BackupDisturbed", "Can't open datafile shop/goods")

    store = Store(between=disturb)
    flow = stage.flow(TakeBackup, store)
    if times < TRIES:
        flow.run("take", stage.job, nothing)
        assert len(store.pieces) > 2
        return
    with pytest.raises(Fault, match=r"3 times: Can't open datafile shop/goods") as failed:
        flow.run("take", stage.job, nothing)
    assert (type(failed.value), failed.value.code, store.pieces) == (Fault, "BackupFailed", [])
