"""A region whose domain is real, with one of everything that databases know; a copy for each test."""

from pathlib import Path

import pytest
from tests.fakes.calls import Things, make_things
from tests.fakes.domain import DomainRegion, make_region


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainRegion, Things]:
    region = make_region(tmp_path_factory.mktemp("template"))
    return region, make_things(region, region.admin)


@pytest.fixture
def region(template: tuple[DomainRegion, Things], tmp_path: Path) -> DomainRegion:
    return template[0].copy(tmp_path)


@pytest.fixture
def things(template: tuple[DomainRegion, Things]) -> Things:
    return template[1]
