"""Fencing is not stopped by kill -9: of `work` it needs nothing, and `host` takes it up again when it is back."""

import random
import time

import pytest
from tests.faults.harness import calm, check_machine
from tests.faults.machine import eventually, listens, send
from tests.faults.region import Region, System
from tests.faults.writer import Writer

pytestmark = pytest.mark.live

SEED = 3
RUNS = 5


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("target", ["host", "work", "mariadbd"])
def test_killed_while_a_fence_is_under_way(region: Region, system: System, key: str, target: str, run: int) -> None:
    """The kill comes up to 400 ms before or after the key is disabled."""
    apart = random.Random(f"{SEED} {target} {run}").uniform(-0.4, 0.4)
    calm(region)
    before = region.checksum(system)
    old = region.servers(system.id)
    with Writer(region, system) as writer:
        if apart < 0:
            kill(region, system, target)
        time.sleep(abs(apart))
        region.disable(key)
        if apart >= 0:
            time.sleep(apart)
            kill(region, system, target)
        eventually("the server is gone", lambda: not any(found.alive for found in old), 20)
        shown = region.wait_state(system, "INACCESSIBLE", 20)
        assert shown["reason"] == "key_disabled"
        eventually("nothing of it runs", lambda: not region.servers(system.id), 10)
        eventually("clients are told", lambda: listens(system.port), 10)
        region.enable(key)
        region.wait_state(system, "ACTIVE", 30)
        writer.wait_more()
    writer.check()
    region.sql(system, "DROP TABLE shop.ledger")
    assert region.checksum(system) == before
    eventually("all is as the state says", lambda: check_machine(region) is None, 15)


def kill(region: Region, system: System, target: str) -> None:
    if target != "mariadbd":
        region.kill(target)
        return
    for found in region.servers(system.id):
        send(found)
