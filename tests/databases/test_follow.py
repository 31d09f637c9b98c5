"""Systems that follow their key: rewrapped under each new version, once, and only while both may be used."""

from tests.databases.systems import stored
from tests.fakes.calls import Things
from tests.fakes.domain import DomainRegion

from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.databases.follow import Followers
from keystead.iam.model import Caller, Principal

SERVICE = Caller(Principal(PrincipalId("upkeep"), "service", "upkeep", TenancyId(""), CompartmentId("")), "")


def of(region: DomainRegion) -> Followers:
    return Followers(region.guard, region.snapshot, region.store, region.associations, region.clock)


def store_key(region: DomainRegion, things: Things) -> bytes:
    return region.desk.open_store_key(region.host(), things.system).store_key


def test_a_follower_comes_along_and_its_store_key_stays_the_same(region: DomainRegion, things: Things) -> None:
    region.databases.update_system(region.admin, things.system, follow_key=True)
    before = store_key(region, things)
    assert of(region).run(SERVICE) == 0
    region.vaults.rotate(region.admin, things.key)
    assert of(region).run(SERVICE) == 1
    assert stored(region, things.system).key_version == 2
    assert store_key(region, things) == before
    assert of(region).run(SERVICE) == 0
    told = [entry for entry in region.entries() if entry.operation == "FollowKey"]
    assert [(entry.principal_name, entry.detail["from_version"]) for entry in told] == [("upkeep", "1")]


def test_who_does_not_follow_stays(region: DomainRegion, things: Things) -> None:
    region.vaults.rotate(region.admin, things.key)
    assert of(region).run(SERVICE) == 0
    assert stored(region, things.system).key_version == 1


def test_what_may_not_be_used_is_not_followed_until_it_may(region: DomainRegion, things: Things) -> None:
    region.databases.update_system(region.admin, things.system, follow_key=True)
    region.vaults.rotate(region.admin, things.key)
    region.vaults.disable(region.admin, things.key)
    assert of(region).run(SERVICE) == 0
    region.vaults.enable(region.admin, things.key)
    assert of(region).run(SERVICE) == 1


def test_once_it_follows_the_old_version_can_go(region: DomainRegion, things: Things) -> None:
    region.databases.update_system(region.admin, things.system, follow_key=True)
    region.vaults.rotate(region.admin, things.key)
    of(region).run(SERVICE)
    region.vaults.disable_version(region.admin, things.key, things.version)
    assert store_key(region, things)
    views = region.desk.watch(region.host()).systems
    assert next(view.granted for view in views if view.system.id == things.system)


def test_a_switch_of_one_setting_leaves_the_other(region: DomainRegion, things: Things) -> None:
    region.databases.update_system(region.admin, things.system, follow_key=True)
    changed = region.databases.update_system(region.admin, things.system, deletion_protection=True)
    assert (changed.follow_key, changed.deletion_protection) == (True, True)
