"""A key disabled at any moment of a create, a start, a backup or a restore: nothing goes on, and later all of it does.

Each run disables the key at a moment drawn from a seed, watches that no process and no listener but the responder is
left, enables it again and expects the job to end as if nothing had been.
"""

import random
import time

import pymysql
import pytest
from tests.faults.harness import check_machine
from tests.faults.machine import eventually
from tests.faults.region import FINAL, Region, System

pytestmark = pytest.mark.live

SEED = 5
RUNS = 5


def moment(what: str, run: int, longest: float) -> float:
    return random.Random(f"{SEED} {what} {run}").uniform(0, longest)


def disable_and_enable(region: Region, key: str, *systems: System) -> None:
    """Disable; see that every system under the key is shut within seconds and stays shut; enable."""
    region.disable(key)
    eventually("nothing runs without its key", lambda: not any(region.servers(each.id) for each in systems), 15)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        for each in systems:
            with pytest.raises(pymysql.MySQLError):
                region.sql(each, "SELECT 1")
    # Each fence tries a start with a void token and sees it refused: that is all that may run now, and not for long.
    eventually("it stays so", lambda: not any(region.servers(each.id) for each in systems), 5)
    region.enable(key)


@pytest.mark.parametrize("run", range(RUNS))
def test_disable_races_create(region: Region, run: int) -> None:
    key = region.key()
    system = region.begin(key)
    time.sleep(moment("create", run, 2.5))
    disable_and_enable(region, key, system)
    region.done(system.job)
    region.wait_state(system, "ACTIVE")
    region.fill(system, 5)
    region.delete(system)
    region.check_gone(system)
    check_machine(region)


@pytest.mark.parametrize("run", range(RUNS))
def test_disable_races_start(region: Region, system: System, key: str, run: int) -> None:
    before = region.checksum(system)
    region.done(region.post(f"/db-systems/{system.id}/actions/stop")["job"]["id"])
    assert region.system(system)["state"] == "INACTIVE"
    job = region.post(f"/db-systems/{system.id}/actions/start")["job"]["id"]
    time.sleep(moment("start", run, 0.8))
    disable_and_enable(region, key, system)
    region.done(job)
    region.wait_state(system, "ACTIVE")
    assert eventually("it answers", lambda: region.checksum(system)) == before
    check_machine(region)


@pytest.mark.parametrize("run", range(RUNS))
def test_disable_races_backup(region: Region, system: System, key: str, run: int) -> None:
    backup, job = region.begin_backup(system)
    time.sleep(moment("backup", run, 1.8))
    disable_and_enable(region, key, system)
    region.done(job)
    region.wait_state(system, "ACTIVE")
    assert region.get(f"/backups/{backup}")["state"] == "ACTIVE"
    check_machine(region)


@pytest.mark.parametrize("run", range(RUNS))
def test_disable_races_restore(region: Region, system: System, backup: str, run: int) -> None:
    key = region.key()
    copy = region.begin_restore(backup, key)
    time.sleep(moment("restore", run, 4.0))
    disable_and_enable(region, key, copy)
    region.done(copy.job)
    region.wait_state(copy, "ACTIVE")
    assert eventually("it answers", lambda: region.checksum(copy)) == region.checksum(system)
    region.delete(copy)
    region.check_gone(copy)
    check_machine(region)


def test_disabled_for_good_while_it_is_created(region: Region) -> None:
    """It waits, says for what, and can be deleted; nothing remains."""
    key = region.key()
    system = region.begin(key)
    region.disable(key)
    waiting = eventually("it waits", lambda: (job := region.job(system.job))["result"].get("waiting_for") and job)
    assert "DISABLED" in waiting["result"]["waiting_for"]
    assert waiting["state"] not in FINAL
    assert region.system(system)["state"] == "CREATING"
    region.delete(system)
    assert region.job(system.job)["state"] == "CANCELED"
    region.check_gone(system)
    check_machine(region)
