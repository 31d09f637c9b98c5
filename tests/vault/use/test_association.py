"""Keys in use by resources: bound to purpose and resource, allowed at every use, and why not when not."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import pytest
from tests.fakes.domain import REGION, DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.core.ids import CompartmentId, KeyId, PrincipalId, VaultId, new_id
from keystead.core.secret import Secret
from keystead.crypto.suites import CURRENT, Algorithm
from keystead.iam.model import Caller, Principal, Target
from keystead.iam.ports import ResourceIdentity
from keystead.vault.use.association import Loss, Purpose

MATERIAL = bytes(range(100, 132))
DELEGATES = "Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'"


@dataclass
class Place:
    """A region with two keys and two systems that may use them."""

    region: DomainRegion
    key: str
    other_key: str
    system: Caller
    other_system: Caller
    policy: str

    def again(self) -> "Place":
        return replace(self, region=self.region.again())

    def seal(self, **changes: object) -> bytes:
        asked: dict[str, object] = {"caller": self.system, "key": self.key, "purpose": "store-key", "resource": "r"}
        asked |= changes
        return self.region.associations.seal(
            asked["caller"], asked["key"], Secret(MATERIAL), asked["purpose"], asked["resource"]  # type: ignore[arg-type]
        ).blob  # fmt: skip

    def open(self, blob: bytes, **changes: object) -> Secret:
        asked: dict[str, object] = {"caller": self.system, "key": self.key, "purpose": "store-key", "resource": "r"}
        asked |= changes
        return self.region.associations.open(
            asked["caller"], asked["key"], blob, asked["purpose"], asked["resource"]  # type: ignore[arg-type]
        )  # fmt: skip


def a_system(region: DomainRegion, name: str, tenancy: str) -> Caller:
    principal = Principal(
        PrincipalId(new_id("mysqldbsystem", REGION)), "mysqldbsystem", name, tenancy, CompartmentId(tenancy)  # type: ignore[arg-type]
    )  # fmt: skip
    set_identity(region, principal, deleted=False)
    return Caller(principal, "r")


def set_identity(region: DomainRegion, principal: Principal, *, deleted: bool) -> None:
    target = Target("mysql-instances", principal.id, principal.name, principal.tenancy, ())
    entry = region.guard.entry(region.admin, "MYSQL_INSTANCE_UPDATE", target, "Test", "succeeded")
    with region.store.write(entry) as tx:
        tx.iam.set_identity(
            ResourceIdentity(
                principal.tenancy, principal.id, "mysqldbsystem", principal.name, principal.compartment, deleted
            )
        )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    region = make_region(tmp_path_factory.mktemp("template"))
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    keys = [region.vaults.create_key(region.admin, region.tenancy, vault, name).id for name in ("finance", "other")]
    systems = [a_system(region, name, region.tenancy) for name in ("flights", "hotels")]
    policy = region.allow(DELEGATES).id
    region.snapshot.refresh()
    return Place(region, keys[0], keys[1], systems[0], systems[1], policy)


@pytest.fixture
def place(template: Place, tmp_path: Path) -> Place:
    return replace(template, region=template.region.copy(tmp_path))


def refused(run: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        run()
    assert caught.value.recorded or caught.value.kind == "not_found"
    return caught.value


@pytest.mark.parametrize("purpose", get_args(Purpose))
def test_what_was_sealed_opens_for_the_same_use(place: Place, purpose: str) -> None:
    blob = place.seal(purpose=purpose)
    assert MATERIAL not in blob
    assert place.open(blob, purpose=purpose).reveal() == MATERIAL
    assert place.again().open(blob, purpose=purpose).reveal() == MATERIAL


def test_a_wrapped_key_moved_elsewhere_does_not_open(place: Place) -> None:
    """Law 3: another purpose, resource or key, and every cause alike."""
    blob = place.seal()
    texts = set()
    for moved in ({"purpose": "backup-key"}, {"resource": "q"}, {"resource": ""}, {"key": place.other_key}):
        refusal = refused(lambda moved=moved: place.open(blob, **moved))
        texts.add((refusal.code, refusal.message, refusal.hint))
    assert len(texts) == 1
    assert next(iter(texts))[0] == "Unreadable"


def test_a_wrapped_key_is_not_customer_data(place: Place) -> None:
    """Whoever may decrypt with the key cannot open a store key that came into their hands."""
    admin, vaults = place.region.admin, place.region.vaults
    for run in (vaults.decrypt, vaults.unwrap, vaults.rewrap):
        assert refused(lambda run=run: run(admin, place.key, place.seal())).code == "Unreadable"
    wrapped = vaults.wrap(admin, place.key, MATERIAL).blob
    assert refused(lambda: place.open(wrapped)).code == "Unreadable"


def test_a_person_with_every_permission_is_no_resource_of_another_tenancy(place: Place) -> None:
    stranger = a_system(place.region, "flights", place.region.new_tenancy("globex").principal.tenancy)
    blob = place.seal()
    foreign = refused(lambda: place.open(blob, caller=stranger))
    absent = refused(lambda: place.open(blob, caller=stranger, key=new_id("key", REGION)))
    assert (foreign.code, foreign.message) == (absent.code, absent.message) == ("NotFound", absent.message)


LOST: dict[Loss, Callable[[Place], object]] = {
    "key_disabled": lambda p: p.region.vaults.disable(p.region.admin, p.key),
    "permission": lambda p: p.region.iam.delete_policy(p.region.admin, p.policy),
    "identity_deleted": lambda p: set_identity(p.region, p.system.principal, deleted=True),
}
BACK: dict[Loss, Callable[[Place], object]] = {
    "key_disabled": lambda p: p.region.vaults.enable(p.region.admin, p.key),
    "permission": lambda p: p.region.allow(DELEGATES),
    "identity_deleted": lambda p: set_identity(p.region, p.system.principal, deleted=False),
}


@pytest.mark.parametrize("loss", LOST)
def test_access_lost_is_refused_everywhere_at_once_and_comes_back(place: Place, loss: Loss) -> None:
    blob, elsewhere = place.seal(), place.again()
    assert elsewhere.open(blob).reveal() == MATERIAL
    place.region.clock.advance(3)
    LOST[loss](place)
    committed = place.region.clock.now()
    place.region.clock.advance(3)
    for there in (elsewhere, place):
        for run in (there.seal, lambda there=there: there.open(blob)):
            refused(run)
        access = there.region.associations.access(place.system.principal, place.key)
        assert (access.granted, access.loss, access.since) == (False, loss, committed)
        assert access.text
    BACK[loss](place)
    for there in (place, elsewhere):
        assert there.region.associations.access(place.system.principal, place.key).granted
        assert there.open(blob).reveal() == MATERIAL


def test_a_key_that_does_not_exist_is_gone(place: Place) -> None:
    access = place.region.associations.access(place.system.principal, new_id("key", REGION))
    assert (access.granted, access.loss) == (False, "key_gone")


def test_a_key_of_another_tenancy_is_gone(place: Place) -> None:
    stranger = a_system(place.region, "flights", place.region.new_tenancy("globex").principal.tenancy)
    assert place.region.associations.access(stranger.principal, place.key).loss == "key_gone"


def test_asking_for_access_records_nothing_using_it_does(place: Place) -> None:
    before = len(place.region.journal.entries)
    place.region.associations.access(place.system.principal, place.key)
    assert len(place.region.journal.entries) == before
    blob = place.seal()
    place.open(blob)
    made = place.region.journal.entries[before:]
    assert [(entry.operation, entry.outcome) for entry in made] == [
        ("AssociateKey", "allowed"),
        ("UseAssociatedKey", "allowed"),
    ]
    assert all(entry.principal_id == place.system.principal.id for entry in made)


def test_rewrapping_moves_a_key_without_showing_it(place: Place) -> None:
    associations, blob = place.region.associations, place.seal()
    moved = associations.rewrap(place.system, place.key, blob, place.other_key, "store-key", "r")
    assert place.open(moved.blob, key=place.other_key).reveal() == MATERIAL
    assert refused(lambda: place.open(moved.blob)).code == "Unreadable"
    place.region.vaults.rotate(place.region.admin, place.key)
    newer = associations.rewrap(place.system, place.key, blob, place.key, "store-key", "r")
    assert newer.key_version == 2
    assert place.open(newer.blob).reveal() == MATERIAL
    assert MATERIAL.hex() not in repr((moved, newer, place.region.journal.entries))


@pytest.mark.parametrize("which", ["key", "other_key"])
def test_rewrapping_takes_both_keys(place: Place, which: str) -> None:
    blob = place.seal()
    place.region.vaults.disable(place.region.admin, getattr(place, which))
    refusal = refused(
        lambda: place.region.associations.rewrap(place.system, place.key, blob, place.other_key, "store-key", "r")
    )
    assert refusal.code == "KeyNotUsable"


def test_rewrapping_does_not_change_purpose_or_resource(place: Place) -> None:
    blob, rewrap = place.seal(), place.region.associations.rewrap
    for purpose, resource in (("backup-key", "r"), ("store-key", "q")):
        refusal = refused(lambda p=purpose, r=resource: rewrap(place.system, place.key, blob, place.other_key, p, r))  # type: ignore[arg-type]
        assert refusal.code == "Unreadable"


def test_a_service_managed_key_is_for_its_system_alone(place: Place) -> None:
    """No policy gives it to anybody, and its system needs none."""
    region = place.region
    compartment = region.snapshot.directory.compartment(region.tenancy, region.tenancy)
    assert compartment is not None
    key, first = region.vaults.new_key(
        region.admin, compartment, VaultId(""), "m", KeyId(new_id("key", REGION)), place.system.principal.id
    )
    sealed = region.associations.seal_new(place.system, key, first, Secret(MATERIAL), "r")
    target = Target("keys", key.id, key.name, key.tenancy, ())
    with region.store.write(region.guard.entry(region.admin, "KEY_CREATE", target, "Test", "succeeded")) as tx:
        tx.vault.add_key(key, first)
    region.iam.delete_policy(region.admin, place.policy)
    assert place.open(sealed.blob, key=key.id).reveal() == MATERIAL
    region.allow("Allow any-user to manage all-resources in tenancy")
    assert refused(lambda: place.open(sealed.blob, key=key.id, caller=place.other_system)).kind == "not_found"
    assert refused(lambda: region.vaults.get_key(region.admin, key.id)).kind == "not_found"
    assert refused(lambda: region.vaults.disable(region.admin, key.id)).kind == "not_found"


def test_a_broken_journal_refuses_every_use(place: Place) -> None:
    blob = place.seal()
    place.region.journal.broken = True
    for run in (place.seal, lambda: place.open(blob)):
        with pytest.raises(Exception, match="audit log"):
            run()


WRAPPING = sorted(name for name, suite in CURRENT.items() if "wrap" in suite.operations)


@pytest.mark.parametrize("algorithm", WRAPPING)
def test_any_key_that_wraps_can_be_a_systems_key(place: Place, algorithm: Algorithm) -> None:
    key = key_of(place, algorithm)
    blob = place.seal(key=key)
    assert place.again().open(blob, key=key).reveal() == MATERIAL
    moved = place.region.associations.rewrap(place.system, key, blob, place.key, "store-key", "r")
    assert place.open(moved.blob).reveal() == MATERIAL
    back = place.region.associations.rewrap(place.system, place.key, moved.blob, key, "store-key", "r")
    assert place.open(back.blob, key=key).reveal() == MATERIAL
    with pytest.raises(Refusal) as caught:
        place.open(back.blob, key=key, resource="other")
    assert caught.value.code == "Unreadable"


@pytest.mark.parametrize("algorithm", ["EC-P256", "ED25519", "ML-DSA-65"])
def test_a_key_that_only_signs_is_no_systems_key(place: Place, algorithm: Algorithm) -> None:
    key = key_of(place, algorithm)
    with pytest.raises(Refusal) as caught:
        place.seal(key=key)
    assert (caught.value.code, caught.value.recorded) == ("WrongOperation", True)
    assert not place.region.associations.access(place.system.principal, key).granted


def key_of(place: Place, algorithm: Algorithm) -> str:
    region = place.region
    vault = region.vaults.create_vault(region.admin, region.tenancy, "more").id
    made = region.vaults.create_key(region.admin, region.tenancy, vault, "k", algorithm).id
    region.snapshot.refresh()
    return made
