"""A region of each module's own, with a key, a system under it that holds rows, and a backup of it.

Made when a test first asks for them. A module whose region is another one says so by a fixture of the same name.
"""

from collections.abc import Iterator

import pytest
from tests.faults.region import Region, System


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with Region.made() as found:
        yield found


@pytest.fixture(scope="module")
def key(region: Region) -> str:
    return region.key("finance")


@pytest.fixture(scope="module")
def system(region: Region, key: str) -> System:
    made = region.create(key, "flights")
    region.fill(made)
    return made


@pytest.fixture(scope="module")
def backup(region: Region, system: System) -> str:
    made, job = region.begin_backup(system)
    region.done(job)
    return made
