"""A keeper on a stage, with a system that is up."""

from pathlib import Path

import pytest
from tests.fakes.calls import Things, make_things
from tests.fakes.domain import DomainRegion, make_region
from tests.fakes.node import LocalHost
from tests.host.stage import Stage, quiet

from keystead.databases.creation import NewSystem


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainRegion, Things]:
    region = make_region(tmp_path_factory.mktemp("template"))
    return region, make_things(region, region.admin)


@pytest.fixture
def stage(template: tuple[DomainRegion, Things], tmp_path: Path) -> Stage:
    region, things = template[0].copy(tmp_path), template[1]
    made = region.databases.create(region.admin, NewSystem(things.compartment, "trains", things.key))
    with region.store.note() as tx:
        tx.jobs.cancel_for(region.tenancy, made.system.id, region.clock.now())
    return Stage(region, things, quiet(LocalHost(region)), made.system.id)
