"""Taking a backup goes on after kill -9 of whoever is at it."""

import pytest
from tests.faults.harness import Blow, blows, calm, check_machine, settle, strike
from tests.faults.region import Region, System

pytestmark = pytest.mark.live

SEED = 4


@pytest.mark.parametrize("blow", blows("backup", SEED, 1.5, extra=2), ids=str)
def test_backup(region: Region, system: System, blow: Blow) -> None:
    calm(region)
    backup, job = region.begin_backup(system)
    strike(region, job, "backup", system.id, blow)
    found = settle(region, job)
    assert found["state"] == "SUCCEEDED", f"{blow}: {found}"
    region.wait_state(system, "ACTIVE")
    assert region.get(f"/backups/{backup}")["state"] == "ACTIVE"
    accounts = region.operator_sql(system, "SELECT User FROM mysql.user WHERE User LIKE '%backup%'")
    assert accounts == (), "the account of a backup lives as long as the backup"
    check_machine(region)
