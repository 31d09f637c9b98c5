"""Creating a database system goes on after kill -9 of whoever is at it, at every step and within steps."""

import pytest
from tests.faults.harness import Blow, blows, calm, check_machine, strike_and_settle
from tests.faults.region import Region

pytestmark = pytest.mark.live

SEED = 1


@pytest.mark.parametrize("blow", blows("create", SEED, 1.5), ids=str)
def test_create(region: Region, key: str, blow: Blow) -> None:
    calm(region)
    system = region.begin(key)
    strike_and_settle(region, system.job, "create", system, blow)
    region.fill(system, 10)
    assert region.sql(system, "SELECT COUNT(*) FROM shop.goods") == ((10,),)
    check_machine(region)
    region.delete(system)
    region.check_gone(system)
    check_machine(region)
