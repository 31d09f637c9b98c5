"""Break glass: for a while, with a reason, over at its moment; each beginning and each end is told exactly once."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.audit.model import Entry
from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.core.page import PageRequest
from keystead.iam.approvals.break_glass import BreakGlassUpkeep
from keystead.iam.model import Caller, Principal

UPKEEP = Caller(Principal(PrincipalId("upkeep"), "service", "upkeep", TenancyId(""), CompartmentId("")), "")
_page = PageRequest(10)


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    made = make_region(tmp_path)
    made.allow("Allow group Emergency to manage keys in tenancy")
    return made


@pytest.fixture
def group(region: DomainRegion) -> str:
    return region.iam.create_group(region.admin, "Emergency").id


def alerts(region: DomainRegion) -> list[Entry]:
    return [entry for entry in region.entries() if entry.detail.get("kind") == "alert"]


def tend(region: DomainRegion) -> int:
    return BreakGlassUpkeep(region.guard, region.store, region.clock).run(UPKEEP)


def refused(run: object, *given: object) -> str:
    with pytest.raises(Refusal) as caught:
        run(*given)  # type: ignore[operator]
    return caught.value.code


def members(region: DomainRegion, group: str) -> dict[str, object]:
    return {found.user.name: found.until for found in region.iam.list_members(region.admin, group, _page).items}


def test_it_begins_with_an_alert_and_ends_by_itself_with_another(region: DomainRegion, group: str) -> None:
    ann = region.user("ann")
    begun = region.iam.begin_break_glass(region.admin, group, ann.principal.id, 1800, "flights is down")
    assert members(region, group) == {"ann": begun.expires_at}
    assert region.snapshot.refresh() and region.snapshot.directory.groups_of(ann.principal.id) == {group}
    assert tend(region) == 0
    region.clock.advance(1800)
    assert members(region, group) == {}
    assert region.snapshot.directory.groups_of(ann.principal.id) == frozenset()
    # whoever looks after it was down for a day; the end is told once, as of the moment it was due
    region.clock.advance(86_400)
    assert [tend(region), tend(region), tend(region.again())] == [1, 0, 0]
    began, ended = alerts(region)
    assert (began.operation, ended.operation) == ("BreakGlassBegan", "BreakGlassEnded")
    assert (began.principal_name, ended.principal_name) == ("admin", "upkeep")
    for entry in (began, ended):
        assert (entry.reason, entry.outcome, entry.tenancy) == ("flights is down", "succeeded", region.tenancy)
        told = entry.detail
        assert (told["user"], told["granted_by"]) == ("ann", "admin")
        assert told["until"] == "2026-01-01T00:30:00.000Z"
    found = region.iam.list_break_glass(region.admin, _page).items[0]
    assert (found.ended_at, found.how, found.ended_by) == (begun.expires_at, "time", "upkeep")


def test_two_who_look_after_it_at_once_tell_the_end_once(region: DomainRegion, group: str) -> None:
    ann, other = region.user("ann"), region.again()
    region.iam.begin_break_glass(region.admin, group, ann.principal.id, 60, "why")
    region.clock.advance(60)
    first = BreakGlassUpkeep(region.guard, region.store, region.clock)
    due = _due(region)
    assert first.run(UPKEEP) == 1
    assert BreakGlassUpkeep(other.guard, other.store, other.clock)._end(UPKEEP, due[0]) == 0
    assert [entry.operation for entry in alerts(region)] == ["BreakGlassBegan", "BreakGlassEnded"]


def _due(region: DomainRegion) -> list[object]:
    with region.store.read() as tx:
        return list(tx.approvals.due_break_glasses(region.clock.now()))


def test_nobody_does_it_for_themselves_unless_a_statement_says_so(region: DomainRegion, group: str) -> None:
    ann = region.user("ann", "OnCall")
    region.allow("Allow group OnCall to use groups in tenancy where target.group.name = 'Emergency'")
    begin, own = region.iam.begin_break_glass, (group, ann.principal.id, 60, "why")
    assert refused(begin, ann, *own) == "NotAuthorized"
    assert region.entries()[-1].action == "GROUP_BREAK_GLASS_SELF"
    bob = region.user("bob")
    assert begin(ann, group, bob.principal.id, 60, "why").user_name == "bob"
    region.allow("Allow group OnCall to {GROUP_BREAK_GLASS_SELF} in tenancy")
    assert begin(ann, *own).granted_by == ann.principal.id


@pytest.mark.parametrize("seconds", [0, -5, 240 * 60 + 1, 10**9])
def test_it_lasts_no_longer_than_the_group_allows(region: DomainRegion, group: str, seconds: int) -> None:
    ann = region.user("ann").principal.id
    begin = region.iam.begin_break_glass
    assert refused(begin, region.admin, group, ann, seconds, "why") == "InvalidParameter"
    region.iam.update_group(region.admin, group, break_glass_minutes=0)
    assert refused(begin, region.admin, group, ann, 1, "why") == "InvalidParameter"
    assert alerts(region) == []


@pytest.mark.parametrize("reason", ["", "   ", "two\nlines", "x" * 401])
def test_a_reason_is_always_given(region: DomainRegion, group: str, reason: str) -> None:
    ann = region.user("ann").principal.id
    assert refused(region.iam.begin_break_glass, region.admin, group, ann, 60, reason) == "InvalidParameter"
    assert members(region, group) == {}


def test_it_is_ended_early_by_who_may_begin_it_and_given_back_by_who_has_it(region: DomainRegion, group: str) -> None:
    ann, bob = region.user("ann"), region.user("bob")
    begin, end = region.iam.begin_break_glass, region.iam.end_break_glass
    first = begin(region.admin, group, ann.principal.id, 60, "why")
    assert refused(end, bob, first.id) == "NotFound"
    assert end(ann, first.id).how == "early"
    assert members(region, group) == {}
    assert refused(end, ann, first.id) == "IllegalState"
    second = begin(region.admin, group, ann.principal.id, 60, "again")
    assert end(region.admin, second.id).ended_by == region.admin.principal.id
    region.clock.advance(60)
    assert tend(region) == 0
    assert [entry.operation for entry in alerts(region)] == ["BreakGlassBegan", "BreakGlassEnded"] * 2


def test_being_taken_out_or_put_in_for_good_ends_it(region: DomainRegion, group: str) -> None:
    ann = region.user("ann").principal.id
    region.iam.begin_break_glass(region.admin, group, ann, 60, "why")
    region.iam.remove_member(region.admin, group, ann)
    assert members(region, group) == {}
    region.iam.begin_break_glass(region.admin, group, ann, 60, "why")
    region.iam.add_member(region.admin, group, ann)
    region.clock.advance(120)
    assert tend(region) == 0
    assert members(region, group) == {"ann": None}
    assert refused(region.iam.begin_break_glass, region.admin, group, ann, 60, "why") == "AlreadyMember"
    ends = [entry.detail["how"] for entry in alerts(region) if entry.operation == "BreakGlassEnded"]
    assert ends == ["removed", "replaced"]


def test_one_that_is_over_but_not_written_down_gives_way_to_the_next(region: DomainRegion, group: str) -> None:
    ann = region.user("ann").principal.id
    region.iam.begin_break_glass(region.admin, group, ann, 60, "first")
    assert refused(region.iam.begin_break_glass, region.admin, group, ann, 60, "second") == "AlreadyMember"
    region.clock.advance(61)
    second = region.iam.begin_break_glass(region.admin, group, ann, 60, "second")
    assert tend(region) == 1
    assert members(region, group) == {"ann": second.expires_at}, "the end of the first left the second alone"
    region.clock.advance(60)
    assert tend(region) == 1
    assert len(alerts(region)) == 4


def test_another_tenancy_neither_sees_nor_ends_it(region: DomainRegion, group: str) -> None:
    begun = region.iam.begin_break_glass(region.admin, group, region.user("ann").principal.id, 60, "why")
    other = region.new_tenancy("globex")
    region.snapshot.refresh()
    assert region.iam.list_break_glass(other, _page).items == []
    assert refused(region.iam.end_break_glass, other, begun.id) == "NotFound"
    assert refused(region.iam.begin_break_glass, other, group, other.principal.id, 60, "why") == "NotFound"


def test_a_blocked_user_gets_none(region: DomainRegion, group: str) -> None:
    ann = region.user("ann").principal.id
    region.iam.update_user(region.admin, ann, "BLOCKED")
    assert refused(region.iam.begin_break_glass, region.admin, group, ann, 60, "why") == "IllegalState"


def test_pages_are_newest_first(region: DomainRegion, group: str) -> None:
    for name in ("a", "b", "c"):
        region.iam.begin_break_glass(region.admin, group, region.user(name).principal.id, 60, "why")
        region.clock.advance(1)
    first = region.iam.list_break_glass(region.admin, PageRequest(2), group)
    assert [item.user_name for item in first.items] == ["c", "b"]
    rest = region.iam.list_break_glass(region.admin, PageRequest.of(2, first.next), group)
    assert [item.user_name for item in rest.items] == ["a"]
    assert replace(rest.items[0]).running(region.clock.now())
