"""Another key for a system: in every direction, one at a time, and no data key is touched."""

from typing import Any

import pytest
from tests.databases.systems import other_key, store_key, stored, unchanged, wrapped
from tests.fakes.calls import Things
from tests.fakes.domain import DomainRegion
from tests.refusals import refused

from keystead.databases.model import DbSystem


def test_the_key_changes_in_every_direction_and_no_data_key_is_touched(region: DomainRegion, things: Things) -> None:
    system, another = things.system, other_key(region, things)
    material, before = store_key(region, system), wrapped(region, system)
    change = region.databases.change_key

    def after_change(key: str | None) -> DbSystem:
        changed = change(region.admin, system, key)
        assert changed == stored(region, system)
        assert store_key(region, system) == material
        now = wrapped(region, system)
        assert [row for row in now if row.kind == "data"] == [row for row in before if row.kind == "data"]
        (row,) = [row for row in now if row.kind == "store"]
        assert (row.parent, row.parent_version) == (changed.key, changed.key_version)
        return changed

    assert after_change(another).key == another
    managed = after_change(None)
    assert managed.service_managed
    assert managed.key not in (another, things.key)
    assert not after_change(things.key).service_managed
    assert after_change(None).key == managed.key, "its service-managed key is kept"
    region.vaults.disable(region.admin, things.key)
    region.vaults.disable(region.admin, another)
    assert store_key(region, system) == material


def test_a_rotated_key_is_followed_by_asking_for_it_again(region: DomainRegion, things: Things) -> None:
    region.vaults.rotate(region.admin, things.key)
    assert stored(region, things.system).key_version == 1
    assert region.databases.change_key(region.admin, things.system, things.key).key_version == 2


@pytest.mark.parametrize("which", ["old", "new"])
def test_the_key_does_not_change_while_either_may_not_be_used(region: DomainRegion, things: Things, which: str) -> None:
    another = other_key(region, things)
    region.vaults.disable(region.admin, things.key if which == "old" else another)
    refusal = unchanged(region, lambda: region.databases.change_key(region.admin, things.system, another))
    assert (refusal.code, refusal.recorded) == ("KeyNotUsable", True)


def test_of_two_changes_of_key_at_once_one_is_told(region: DomainRegion, things: Things) -> None:
    """The second began before the first was written."""
    another, rewrap = other_key(region, things), region.associations.rewrap

    def slowly(*given: Any) -> Any:
        region.associations.rewrap = rewrap  # type: ignore[method-assign]
        region.databases.change_key(region.admin, things.system, another)
        return rewrap(*given)

    region.associations.rewrap = slowly  # type: ignore[method-assign]
    assert refused(lambda: region.databases.change_key(region.admin, things.system, None)).code == "Stale"
    assert stored(region, things.system).key == another
    store_key(region, things.system)
