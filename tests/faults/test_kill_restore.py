"""Restoring a backup goes on after kill -9 of whoever is at it."""

from collections.abc import Iterator

import pytest
from tests.faults.harness import Blow, blows, calm, check_machine, strike_and_settle
from tests.faults.region import Region, System

pytestmark = pytest.mark.live

SEED = 4


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with Region.made() as found:
        yield found


@pytest.fixture(scope="module")
def key(region: Region) -> str:
    return region.key()


@pytest.fixture(scope="module")
def system(region: Region, key: str) -> System:
    made = region.create(key)
    region.fill(made)
    return made


@pytest.fixture(scope="module")
def backup(region: Region, system: System) -> str:
    made, job = region.begin_backup(system)
    region.done(job)
    return made


@pytest.mark.parametrize("blow", blows("restore", SEED, 2.0), ids=str)
def test_restore(region: Region, system: System, backup: str, key: str, blow: Blow) -> None:
    calm(region)
    copy = region.begin_restore(backup, key)
    strike_and_settle(region, copy.job, "restore", copy, blow)
    assert region.checksum(copy) == region.checksum(system)
    check_machine(region)
    region.delete(copy)
    region.check_gone(copy)
