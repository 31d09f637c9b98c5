"""A region whose domain is real, with an administrator; a copy for each test.

A module that needs more in it says so by a `template` of its own.
"""

from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> DomainRegion:
    return make_region(tmp_path_factory.mktemp("template"))


@pytest.fixture
def region(template: DomainRegion, tmp_path: Path) -> DomainRegion:
    return template.copy(tmp_path)
