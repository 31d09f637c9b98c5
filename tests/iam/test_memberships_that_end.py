"""A membership with an end counts until that moment and not after it, whatever the rows and memories still say."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.clock import LATEST, ManualClock, SteadyClock
from keystead.core.ids import CompartmentId
from keystead.core.page import PageRequest
from keystead.iam.directory import Directory
from keystead.iam.model import Caller, Target
from keystead.iam.ports import Membership


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    made = make_region(tmp_path)
    made.iam.create_group(made.admin, "Emergency")
    made.allow("Allow group Emergency to manage keys in tenancy")
    return made


def emergency(region: DomainRegion) -> str:
    return region.iam.list_groups(region.admin, PageRequest(1), "Emergency").items[0].id


def put(region: DomainRegion, who: Caller, until: datetime | None, *, deleted: bool = False) -> None:
    entry = region.guard.entry(region.admin, "GROUP_UPDATE", key(region), "Test", "allowed")
    with region.store.write(entry) as tx:
        tx.iam.set_membership(Membership(region.tenancy, emergency(region), who.principal.id, deleted, until))


def key(region: DomainRegion) -> Target:
    return Target("keys", "a key", "finance", region.tenancy, (CompartmentId(region.tenancy),))


def may(region: DomainRegion, who: Caller) -> bool:
    return region.guard.may(who, "KEY_UPDATE", key(region))


def test_it_counts_until_its_moment_and_nothing_remembers_it_beyond(region: DomainRegion) -> None:
    ann = region.user("ann")
    assert not may(region, ann)
    until = region.clock.now() + timedelta(minutes=30)
    put(region, ann, until)
    directory = region.snapshot.directory
    assert may(region, ann)
    assert directory.membership_until(ann.principal.id, emergency(region)) == until
    region.clock.advance(30 * 60 - 0.001)
    assert may(region, ann)
    generation = region.snapshot.generation
    region.clock.advance(0.001)
    assert not may(region, ann)
    assert directory.groups_of(ann.principal.id) == frozenset()
    assert directory.membership_until(ann.principal.id, emergency(region)) is None
    assert region.snapshot.refresh() == generation, "no row was changed: the clock alone ended it"


def test_another_process_that_starts_later_sees_it_ended(region: DomainRegion) -> None:
    ann = region.user("ann")
    put(region, ann, region.clock.now() + timedelta(minutes=1))
    assert may(region.again(), ann)
    region.clock.advance(60)
    assert not may(region.again(), ann)


def test_one_without_an_end_takes_the_place_of_one_that_ends_and_the_other_way_round(region: DomainRegion) -> None:
    ann, group = region.user("ann"), emergency(region)
    put(region, ann, region.clock.now() + timedelta(minutes=1))
    put(region, ann, None)
    region.snapshot.refresh()
    directory = region.snapshot.directory
    assert directory.membership_until(ann.principal.id, group) == LATEST
    assert not directory.has_deadlines(ann.principal.id)
    put(region, ann, region.clock.now() + timedelta(minutes=1))
    region.clock.advance(61)
    assert not may(region, ann)
    put(region, ann, region.clock.now() + timedelta(minutes=1))
    assert may(region, ann)
    put(region, ann, None, deleted=True)
    assert not may(region, ann)
    assert not directory.has_deadlines(ann.principal.id)


def test_a_clock_set_back_opens_nothing() -> None:
    wall = ManualClock()
    clock = SteadyClock(wall)
    directory = Directory(clock)
    directory._groups["g"] = None  # type: ignore[assignment]  # there is such a group
    directory._put_membership(Membership("t", "g", "u", False, wall.now() + timedelta(minutes=5)))
    assert directory.groups_of("u") == {"g"}
    wall.advance(300)
    assert directory.groups_of("u") == frozenset()
    wall.set_back(3600)
    assert directory.groups_of("u") == frozenset()


def test_a_directory_without_a_clock_counts_none_that_end() -> None:
    directory = Directory()
    directory._groups["g"] = None  # type: ignore[assignment]
    directory._put_membership(Membership("t", "g", "u", False, datetime.max))
    assert directory.groups_of("u") == frozenset()
    assert directory.membership_until("u", "g") is None
