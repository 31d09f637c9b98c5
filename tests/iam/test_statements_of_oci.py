"""Statements written for OCI are taken as they are, suffice for what they are for, and each is needed for that."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.fakes.calls import active
from tests.fakes.domain import DomainRegion, make_region
from tests.refusals import refused

from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.databases.creation import NewSystem
from keystead.databases.model import DbSystem
from keystead.iam.model import Associated, Caller, Principal, Target
from keystead.iam.policy.model import text
from keystead.iam.policy.parse import parse

pytestmark = pytest.mark.slow

STATEMENTS = tuple((Path(__file__).parent / "fixtures" / "oci.txt").read_text().splitlines())
MANAGE, OBJECTS, BLOCKS, VAULTS, KEYS, DELEGATE, BOTH, VOLUMES, WITH_VOLUMES, WITH_BACKUPS, WITH_BUCKETS, AUTH = range(
    12
)
# Of the databases themselves: no statement about keys.
DBA = "Allow group Dba to manage mysql-family in compartment Prod"


@dataclass
class Shop:
    """Prod with Vaults, Keys and Db in it, where the statements hold; their policy is attached to Prod."""

    region: DomainRegion
    key: str
    db: str
    officer: Caller
    dba: Caller

    def without(self, number: int) -> None:
        """Take one statement away."""
        directory = self.region.snapshot.directory
        found = next(each for each in directory.sources(self.region.tenancy) if self.filled[number] in each.statements)
        left = tuple(each for each in found.statements if each != self.filled[number])
        self.region.iam.update_policy(self.region.admin, found.policy_id, left)
        self.region.snapshot.refresh()

    @property
    def filled(self) -> tuple[str, ...]:
        return tuple(each.replace("<compartment id>", self.db).replace("<key id>", self.key) for each in STATEMENTS)

    def create(self, name: str = "flights") -> DbSystem:
        made = self.region.databases.create(self.dba, NewSystem(self.db, name, self.key)).system
        active(self.region, made.id)
        self.region.snapshot.refresh()
        return made

    def runs(self, system: DbSystem) -> bool:
        principal = self.region.snapshot.directory.principal(system.id)
        assert principal is not None
        return self.region.associations.access(principal, self.key).granted

    def service(self, name: str) -> Caller:
        return Caller(Principal(PrincipalId(name), "service", name, TenancyId(""), CompartmentId("")), "r")

    def uses(self, name: str) -> bool:
        entry = self.region.snapshot.keyring.get(self.key)
        assert entry is not None
        return self.region.guard.may(self.service(name), "KEY_DECRYPT", entry.target)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    region = make_region(tmp_path)
    admin = region.admin

    def place(name: str, parent: str) -> str:
        made = region.iam.create_compartment(admin, parent, name)
        region.snapshot.refresh()
        return made.id

    prod = place("Prod", region.tenancy)
    vaults, keys, db = (place(name, prod) for name in ("Vaults", "Keys", "Db"))
    vault = region.vaults.create_vault(admin, vaults, "main")
    region.snapshot.refresh()
    key = region.vaults.create_key(admin, keys, vault.id, "finance")
    made = Shop(region, key.id, db, region.user("olivia", "SecurityAdmins"), region.user("dan", "Dba"))
    at_prod = tuple(each for each in made.filled if "enancy" not in each.lower())
    region.iam.create_policy(admin, prod, "keys", at_prod)
    region.iam.create_policy(admin, region.tenancy, "tenancy", tuple(set(made.filled) - set(at_prod)))
    region.iam.create_policy(admin, prod, "databases", (DBA,))
    region.snapshot.refresh()
    return made


def test_each_is_printed_back_the_same() -> None:
    assert len(STATEMENTS) == 12
    for statement in STATEMENTS:
        written = statement.replace("<compartment id>", "c").replace("<key id>", "k")
        tree = parse(written)
        assert parse(text(tree)) == tree
        assert "".join(text(tree).lower().split()) == "".join(written.lower().split())


def test_together_they_suffice(shop: Shop) -> None:
    region = shop.region
    system = shop.create()
    assert shop.runs(system)
    backup, _ = region.databases.create_backup(shop.dba, system.id, "monday", shop.key)
    with region.store.note() as tx:
        tx.databases.change_backup(backup, replace(backup, state="ACTIVE"))
    active(region, system.id)
    region.databases.restore(shop.dba, backup.id, NewSystem(shop.db, "restored", shop.key))
    region.vaults.rotate(shop.officer, shop.key)
    assert shop.uses("objectstorage") and shop.uses("blockstorage") and shop.uses("objectstorage-eu-1")


def test_without_the_officers_statement_the_key_is_not_managed(shop: Shop) -> None:
    shop.without(MANAGE)
    assert refused(lambda: shop.region.vaults.rotate(shop.officer, shop.key)).kind == "not_found"
    assert shop.runs(shop.create())


def test_without_a_services_statement_that_service_does_not_use_the_key(shop: Shop) -> None:
    shop.without(BOTH)
    assert shop.uses("objectstorage") and shop.uses("blockstorage") and not shop.uses("objectstorage-eu-1")
    shop.without(OBJECTS)
    assert not shop.uses("objectstorage") and shop.uses("blockstorage")
    shop.without(BLOCKS)
    assert not shop.uses("blockstorage")
    assert shop.runs(shop.create())


def test_without_reading_vaults_the_dba_does_not_see_them(shop: Shop) -> None:
    entry = shop.region.snapshot.keyring.get(shop.key)
    assert entry is not None
    assert shop.region.vaults.get_vault(shop.dba, entry.key.vault)
    shop.without(VAULTS)
    assert refused(lambda: shop.region.vaults.get_vault(shop.dba, entry.key.vault)).kind == "not_found"
    assert shop.runs(shop.create())


def test_without_reading_keys_no_system_is_made_with_one(shop: Shop) -> None:
    before = shop.create()
    shop.without(KEYS)
    refused(lambda: shop.create("second"))
    assert shop.runs(before)


def test_without_the_delegation_systems_are_fenced_and_none_is_made(shop: Shop) -> None:
    before = shop.create()
    shop.without(DELEGATE)
    assert not shop.runs(before)
    refused(lambda: shop.create("second"))


def test_the_delegation_is_for_systems_of_that_compartment(shop: Shop) -> None:
    elsewhere = shop.region.iam.create_compartment(shop.region.admin, shop.region.tenancy, "Elsewhere")
    shop.region.snapshot.refresh()
    shop.region.iam.create_policy(
        shop.region.admin, elsewhere.id, "dba", ("Allow group Dba to manage mysql-family in compartment Elsewhere",)
    )
    refused(lambda: shop.region.databases.create(shop.dba, NewSystem(elsewhere.id, "x", shop.key)))


@pytest.mark.parametrize(
    ("number", "kind"), [(WITH_VOLUMES, "volumes"), (WITH_BACKUPS, "volume-backups"), (WITH_BUCKETS, "buckets")]
)
def test_what_lies_in_another_tenancy_is_associated_when_both_sides_say_so(shop: Shop, number: int, kind: str) -> None:
    region = shop.region
    system, entry = shop.create(), region.snapshot.keyring.get(shop.key)
    assert entry is not None
    other = region.new_tenancy("globex")
    away = other.principal.tenancy
    theirs = Associated(kind, away, (CompartmentId(away),))
    target = replace(entry.delegate, associated=theirs)
    principal = region.snapshot.directory.principal(system.id)
    assert principal is not None
    caller = Caller(principal, "r")
    assert not region.guard.may(caller, "KEY_ASSOCIATE", target)
    admission = f"Admit any-user of tenancy Acme to associate keys in tenancy Acme with {kind} in tenancy"
    region.iam.create_policy(other, away, "admit", (f"Define tenancy Acme as {region.tenancy}", admission))
    assert region.guard.may(caller, "KEY_ASSOCIATE", target)
    shop.without(number)
    assert not region.guard.may(caller, "KEY_ASSOCIATE", target)


def test_volumes_of_another_tenancy_are_reached_when_both_sides_say_so(shop: Shop) -> None:
    region = shop.region
    system, other = shop.create(), region.new_tenancy("globex")
    away = other.principal.tenancy
    volume = Target("volumes", "v", "disk", away, (CompartmentId(away),))
    principal = region.snapshot.directory.principal(system.id)
    assert principal is not None
    caller = Caller(principal, "r")
    assert not region.guard.may(caller, "VOLUME_CREATE", volume)
    admission = "Admit any-user of tenancy Acme to manage volume-family in tenancy"
    region.iam.create_policy(other, away, "admit", (f"Define tenancy Acme as {region.tenancy}", admission))
    assert region.guard.may(caller, "VOLUME_CREATE", volume)
    assert not region.guard.may(caller, "VOLUME_DELETE", volume), "endorsed for less"
    assert refused(lambda: region.guard.permit(caller, "VOLUME_DELETE", volume, "DeleteVolume")).kind == "denied"
    shop.without(VOLUMES)
    assert not region.guard.may(caller, "VOLUME_CREATE", volume)


def test_without_its_statement_the_login_service_inspects_nobody(shop: Shop) -> None:
    tenancy = shop.region.tenancy
    target = Target("authentication", tenancy, "sign-in", tenancy, (CompartmentId(tenancy),))
    asked = shop.service("mysql_dp_auth")
    assert shop.region.guard.may(asked, "AUTHENTICATION_INSPECT", target)
    shop.without(AUTH)
    assert not shop.region.guard.may(asked, "AUTHENTICATION_INSPECT", target)
