"""What conditions read: each variable of a key, a vault, a job or the request opens exactly what it says."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.fakes.calls import active
from tests.fakes.domain import DomainRegion
from tests.refusals import refused

from keystead.core.errors import Refusal
from keystead.core.page import PageRequest
from keystead.databases.creation import NewSystem
from keystead.iam.model import Caller, Granted
from keystead.iam.policy.check import check_statements
from keystead.iam.policy.variables import TAG_PREFIXES
from keystead.vault.lifecycle.settings import KeySettings, VaultSettings

DELEGATES = "Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'"
# No request of this version has them: whatever is compared with them does not hold.
NEVER = (
    "request.ad", "target.bucket.name", "target.object.name", "target.secret.id", "target.secret.name",
    "target.bucket.tag.ops.team",
)  # fmt: skip


@dataclass
class Place:
    region: DomainRegion
    vault: str
    key: str
    other: str
    dan: Caller

    def allowed(self, act: Callable[[], object]) -> bool:
        """Whether it is permitted; whatever else may be wrong with it."""
        try:
            act()
        except Refusal as refusal:
            return refusal.kind not in ("denied", "not_found")
        return True

    def encrypts(self, key: str) -> bool:
        return self.allowed(lambda: self.region.vaults.encrypt(self.dan, key, b"words"))


@pytest.fixture
def place(region: DomainRegion) -> Place:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "main").id
    region.snapshot.refresh()
    key, other = (region.vaults.create_key(region.admin, region.tenancy, vault, name).id for name in ("one", "two"))
    made = Place(region, vault, key, other, region.user("dan", "Dba"))
    region.snapshot.refresh()
    return made


def test_tags_of_keys_select_them_and_hold_from_the_next_request_on(place: Place) -> None:
    region = place.region
    region.allow("Allow group Dba to use keys in tenancy where target.resource.tag.Ops.Team = 'DBA'")
    assert not place.encrypts(place.key)
    region.vaults.update_key(region.admin, place.key, KeySettings(tags={"ops.team": "dba", "Ops.Team.Sub": "x"}))
    region.snapshot.refresh()  # as every request does when it comes
    assert place.encrypts(place.key) and not place.encrypts(place.other)
    region.vaults.update_key(region.admin, place.key, KeySettings(tags={"ops.team": "web"}))
    assert not place.encrypts(place.key)
    region.vaults.update_key(region.admin, place.key, KeySettings(tags={"ops": "dba", "team": "dba"}))
    assert not place.encrypts(place.key), "tags without a namespace are for people"


def test_tags_of_vaults_and_what_systems_use(place: Place) -> None:
    region = place.region
    region.allow("Allow group Dba to read vaults in tenancy where target.resource.tag.ops.tier = 'gold'")
    assert not place.allowed(lambda: region.vaults.get_vault(place.dan, place.vault))
    region.vaults.update_vault(region.admin, place.vault, VaultSettings(tags={"ops.tier": "gold"}))
    assert place.allowed(lambda: region.vaults.get_vault(place.dan, place.vault))
    region.allow("Allow any-user to use key-delegate in tenancy where target.resource.tag.ops.use = 'tde'")
    region.vaults.update_key(region.admin, place.key, KeySettings(tags={"ops.use": "tde"}))
    made = region.databases.create(region.admin, NewSystem(region.tenancy, "flights", place.key)).system
    region.snapshot.refresh()
    who = region.snapshot.directory.principal(made.id)
    assert who is not None and region.associations.access(who, place.key).granted
    region.vaults.update_key(region.admin, place.key, KeySettings(tags={}))
    assert not region.associations.access(who, place.key).granted


def test_simulation_sees_tags(place: Place) -> None:
    region = place.region
    region.vaults.update_key(region.admin, place.key, KeySettings(tags={"ops.team": "dba"}))
    statement = "Allow group Dba to use keys in tenancy where target.resource.tag.ops.team = 'dba'"
    found = region.insight.simulate(region.admin, region.tenancy, (statement,))
    assert {each.target_id for each in found.differences if each.permission == "KEY_ENCRYPT"} == {place.key}


def test_the_key_that_a_request_names(place: Place) -> None:
    region, dan = place.region, place.dan
    region.allow(f"Allow group Dba to manage mysql-family in tenancy where request.kms-key.id = '{place.key}'")
    region.allow("Allow group Dba to read keys in tenancy")
    region.allow(DELEGATES)
    made = region.databases.create(dan, NewSystem(region.tenancy, "flights", place.key)).system
    assert refused(lambda: region.databases.create(dan, NewSystem(region.tenancy, "x", place.other))).kind != "invalid"
    assert not place.allowed(lambda: region.databases.create(dan, NewSystem(region.tenancy, "x", place.other)))
    assert not place.allowed(lambda: region.databases.create(dan, NewSystem(region.tenancy, "x", None)))
    active(region, made.id)
    assert place.allowed(lambda: region.databases.change_key(dan, made.id, place.key))
    assert not place.allowed(lambda: region.databases.change_key(dan, made.id, place.other))
    assert place.allowed(lambda: region.databases.create_backup(dan, made.id, "monday", place.key))
    active(region, made.id)
    assert not place.allowed(lambda: region.databases.create_backup(dan, made.id, "tuesday", place.other))
    assert not place.allowed(lambda: region.databases.create_backup(dan, made.id, "tuesday")), "none is named"


def test_an_answer_is_repeated_for_the_same_key_alone(place: Place) -> None:
    region, dan = place.region, place.dan
    region.allow(f"Allow group Dba to manage mysql-instances in tenancy where request.kms-key.id = '{place.key}'")
    made = region.databases.create(region.admin, NewSystem(region.tenancy, "flights", None)).system
    region.snapshot.refresh()
    target = region.databases._at(made)
    granted = Granted(dan.principal.id, "MYSQL_INSTANCE_UPDATE", "ChangeDbSystemKey", target)
    told = {"kms-key.id": place.key}
    region.guard.require_again(dan, [Granted(granted.principal, granted.permission, "X", target, told)])
    refused(lambda: region.guard.require_again(dan, [granted]))


def test_whether_a_data_key_is_wanted_in_clear(place: Place) -> None:
    vaults = place.region.vaults
    place.region.allow("Allow group Dba to use keys in tenancy where request.includePlainTextKey = 'false'")
    wrapped = vaults.generate_data_key(place.dan, place.key, plaintext_wanted=False)
    assert wrapped.plaintext is None
    refused(lambda: vaults.generate_data_key(place.dan, place.key))
    assert vaults.generate_data_key(place.dan, place.key, plaintext_wanted=False), "each request for itself"
    assert not place.encrypts(place.key), "a request that does not say is neither"


def test_kinds_of_jobs(place: Place) -> None:
    region = place.region
    region.allow(DELEGATES)
    region.allow("Allow group Dba to read mysql-work-requests in tenancy where target.workrequest.type = 'create'")
    created = region.databases.create(region.admin, NewSystem(region.tenancy, "flights", place.key))
    active(region, created.system.id)
    _, backup = region.databases.create_backup(region.admin, created.system.id, "monday")
    assert place.allowed(lambda: region.jobs.get_job(place.dan, created.job.id))
    assert not place.allowed(lambda: region.jobs.get_job(place.dan, backup.id))
    assert not place.allowed(lambda: region.jobs.list_jobs(place.dan, region.tenancy, PageRequest(10)))


def test_what_no_request_has_holds_nowhere(place: Place) -> None:
    conditions = [f"{name} {compared}" for name in NEVER for compared in ("= 'x'", "!= 'x'", "= /*/")]
    place.region.allow(*(f"Allow group Dba to use keys in tenancy where {each}" for each in conditions))
    assert not place.encrypts(place.key)
    place.region.allow("Allow group Dba to use keys in tenancy where request.region = 'home'")
    assert place.encrypts(place.key)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("request.kms-keys.id", "request.kms-key.id"),
        ("request.kmskey.id", "request.kms-key.id"),
        ("request.includePlaintextKeys", "request.includeplaintextkey"),
        ("request.user.nme", "request.user.name"),
        ("target.key.idd", "target.key.id"),
        ("target.workrequests.type", "target.workrequest.type"),
        ("target.resource.tags.ops.team", "target.resource.tag."),
        *[(f"{prefix}{rest}", f"{prefix}NAMESPACE.KEY") for prefix in TAG_PREFIXES for rest in ("ops", "ops.")],
    ],
)
def test_what_is_no_variable_is_refused_with_the_word_meant(written: str, meant: str) -> None:
    found = refused(lambda: check_statements((f"Allow group Dba to use keys in tenancy where {written} = 'x'",)))
    assert meant in f"{found.message} {found.hint}", (found.message, found.hint)
