"""Tags of database systems: what they open, from when on, and what is recorded."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.databases.systems import create, stored
from tests.fakes.calls import Things
from tests.fakes.domain import DomainRegion
from tests.refusals import refused

from keystead.core.ids import CompartmentId
from keystead.databases.desk import principal_of, target_of
from keystead.iam.approvals.acts import RuleTerms
from keystead.iam.model import Caller, Target

PROD = "ALL {resource.type = 'mysqldbsystem', tag.Ops.Env.value = 'prod'}"
READS = "Allow dynamic-group Prod to inspect users in tenancy"


def as_itself(region: DomainRegion, system: str) -> bool:
    """Whether the system may do what its dynamic group may, as from the next request on."""
    region.snapshot.refresh()
    caller = Caller(principal_of(stored(region, system)), "r")
    users = Target("users", region.tenancy, "x", region.tenancy, (CompartmentId(region.tenancy),))
    return region.guard.may(caller, "USER_INSPECT", users)


def test_a_tag_puts_a_system_into_a_dynamic_group_and_takes_it_out(region: DomainRegion, things: Things) -> None:
    other = create(region, things, name="other").system.id
    region.iam.create_dynamic_group(region.admin, "Prod", PROD)
    region.allow(READS)
    elsewhere = region.again()
    tag = region.databases.tag_system
    for tags, within in (
        ({}, False),
        ({"ops.ENV": "Prod", "note": "x"}, True),
        ({"ops.env": "dev"}, False),
        ({"env": "prod"}, False),
        ({"ops.env": "prod"}, True),
        ({}, False),
    ):
        assert dict(tag(region.admin, things.system, tags).tags) == tags
        for process in (region, elsewhere):
            assert as_itself(process, things.system) is within
            assert not as_itself(process, other)


def test_statements_read_a_tag_of_the_system_acted_upon(region: DomainRegion, things: Things) -> None:
    dan = region.user("dan", "Dba")
    region.allow("Allow group Dba to read mysql-instances in tenancy where target.resource.tag.ops.env = 'dev'")
    refused(region.databases.get_system, dan, things.system)
    region.databases.tag_system(region.admin, things.system, {"ops.env": "dev"})
    assert dict(region.databases.get_system(dan, things.system).tags) == {"ops.env": "dev"}
    region.databases.tag_system(region.admin, things.system, {"ops.env": "prod"})
    refused(region.databases.get_system, dan, things.system)


def test_whoever_looks_after_a_system_does_not_thereby_say_what_it_may(region: DomainRegion, things: Things) -> None:
    dan = region.user("dan", "Dba")
    region.allow("Allow group Dba to manage mysql-instances in tenancy")
    refused(region.databases.tag_system, dan, things.system, {"ops.env": "prod"})
    assert not stored(region, things.system).tags
    region.allow("Allow group Dba to use tag-namespaces in tenancy")
    region.databases.tag_system(dan, things.system, {"ops.env": "prod"})


def test_an_identity_that_was_taken_away_stays_so_and_comes_back_with_the_tags_of_then(
    region: DomainRegion, things: Things
) -> None:
    region.iam.create_dynamic_group(region.admin, "Prod", PROD)
    region.allow(READS)
    region.databases.delete_identity(region.admin, things.system)
    region.databases.tag_system(region.admin, things.system, {"ops.env": "prod"})
    region.snapshot.refresh()
    assert region.snapshot.directory.principal(things.system) is None
    region.databases.restore_identity(region.admin, things.system)
    assert as_itself(region, things.system)


def test_other_changes_leave_the_tags_and_a_stale_one_is_refused(region: DomainRegion, things: Things) -> None:
    tagged = region.databases.tag_system(region.admin, things.system, {"ops.env": "prod"})
    changed = region.databases.update_system(region.admin, things.system, deletion_protection=True)
    assert dict(changed.tags) == {"ops.env": "prod"}
    stale = refused(region.databases.tag_system, region.admin, things.system, {}, tagged.version)
    assert stale.kind == "stale"
    assert dict(stored(region, things.system).tags) == {"ops.env": "prod"}


@pytest.mark.parametrize("tags", [{"": "x"}, {"a.b": "x" * 257}, {"Ops.Env": "x", "ops.env": "y"}])
def test_what_is_no_tag_changes_nothing(region: DomainRegion, things: Things, tags: dict[str, str]) -> None:
    assert refused(region.databases.tag_system, region.admin, things.system, tags).code == "InvalidParameter"
    assert not stored(region, things.system).tags


def test_the_entry_says_what_was_changed_and_who_reads_it(region: DomainRegion, things: Things) -> None:
    region.iam.create_dynamic_group(region.admin, "Prod", PROD)
    region.snapshot.refresh()
    region.databases.tag_system(region.admin, things.system, {"ops.env": "prod"})
    told = next(dict(entry.detail) for entry in region.entries() if entry.operation == "TagDbSystem")
    assert told == {"changes": '[["ops.env", null, "prod"]]', "read_by": "dynamic group Prod"}


def test_a_rule_about_a_policy_elsewhere_covers_the_tags_that_it_reads(region: DomainRegion, things: Things) -> None:
    iam, tag = region.iam, region.databases.tag_system
    opens = "Allow group Dba to read mysql-instances in tenancy where target.resource.tag.ops.env = 'dev'"
    region.allow(opens)
    approvers = iam.create_group(region.admin, "Keepers")
    iam.add_member(region.admin, approvers.id, region.user("ada").principal.id)
    iam.create_approval_rule(region.admin, region.tenancy, "statements", RuleTerms(("UpdatePolicy",), approvers.id, 1))
    region.snapshot.refresh()
    assert refused(tag, region.admin, things.system, {"ops.env": "dev"}).code == "ApprovalRequired"
    tag(region.admin, things.system, {"ops.other": "dev"})


def test_a_backup_in_its_compartment_is_not_tagged_with_it(region: DomainRegion, things: Things) -> None:
    tagged = region.databases.tag_system(region.admin, things.system, {"ops.env": "prod"})
    region.snapshot.refresh()
    assert target_of(tagged, region.snapshot).attributes == {"resource.tag.ops.env": "prod"}
    assert not target_of(tagged, region.snapshot, "mysql-backups").attributes
    later = replace(tagged, created_at=tagged.created_at + timedelta(seconds=1))
    assert principal_of(later) == principal_of(replace(later, tags={})), "the same, whatever its tags"
