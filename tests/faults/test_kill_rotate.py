"""Rotating data keys goes on after kill -9 of whoever is at it, and no row that was acknowledged is lost."""

import pytest
from tests.faults.harness import Blow, blows, calm, check_machine, strike_and_settle
from tests.faults.region import Region, System
from tests.faults.writer import Writer

pytestmark = pytest.mark.live

SEED = 2


@pytest.fixture(scope="module")
def system(region: Region) -> System:
    made = region.create(region.key())
    region.fill(made, 20000)
    return made


@pytest.mark.parametrize("blow", blows("rotate", SEED, 1.0), ids=str)
def test_rotation(region: Region, system: System, blow: Blow) -> None:
    calm(region)
    before, number = region.checksum(system), newest(region, system)
    with Writer(region, system) as writer:
        job = region.post(f"/db-systems/{system.id}/actions/rotate-data-keys")["job"]["id"]
        strike_and_settle(region, job, "rotate", system, blow)
        writer.wait_more()
    writer.check()
    region.sql(system, "DROP TABLE shop.ledger")
    assert region.checksum(system) == before
    assert newest(region, system) == number + 2, "published once, however often it was begun"
    assert oldest_in_use(region, system) == number + 2, "every page is under the newest key"
    check_machine(region)


def newest(region: Region, system: System) -> int:
    return max(item["number"] for item in region.get(f"/db-systems/{system.id}/key-hierarchy")["items"])


def oldest_in_use(region: Region, system: System) -> int:
    """The oldest key version that the server itself names for any tablespace."""
    query = "SELECT MIN(min_key_version) FROM information_schema.innodb_tablespaces_encryption"
    return int(region.operator_sql(system, query)[0][0])
