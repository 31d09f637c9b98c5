"""Restoring a backup goes on after kill -9 of whoever is at it."""

import pytest
from tests.faults.harness import Blow, blows, calm, check_machine, strike_and_settle
from tests.faults.region import Region, System

pytestmark = pytest.mark.live

SEED = 4


@pytest.mark.parametrize("blow", blows("restore", SEED, 2.0), ids=str)
def test_restore(region: Region, system: System, backup: str, key: str, blow: Blow) -> None:
    calm(region)
    copy = region.begin_restore(backup, key)
    strike_and_settle(region, copy.job, "restore", copy, blow)
    assert region.checksum(copy) == region.checksum(system)
    check_machine(region)
    region.delete(copy)
    region.check_gone(copy)
