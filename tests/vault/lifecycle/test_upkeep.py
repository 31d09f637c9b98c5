"""What happens by itself: done when due, once, and audited; and losses of access that time alone brings."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.fakes.domain import DomainRegion, make_region
from tests.refusals import refused
from tests.vault.use.test_association import a_system

from keystead.adapters.sql import schema
from keystead.audit.model import Entry
from keystead.core.errors import Refusal, Unavailable
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.iam.model import Caller, Principal
from keystead.vault.lifecycle.settings import KeySettings, VaultSettings
from keystead.vault.lifecycle.upkeep import Upkeep
from keystead.vault.model import Key

DAY = 86_400
SERVICE = Caller(Principal(PrincipalId("upkeep"), "service", "upkeep", TenancyId(""), CompartmentId("")), "")
DELEGATE = "Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'"


@dataclass
class Place:
    region: DomainRegion
    upkeep: Upkeep
    vault: str

    def key(self, name: str = "finance", **settings: object) -> Key:
        region = self.region
        wanted = KeySettings(**settings)  # type: ignore[arg-type]
        return region.vaults.create_key(region.admin, region.tenancy, self.vault, name, settings=wanted)

    def again(self, key: Key) -> Key:
        return self.region.vaults.get_key(self.region.admin, key.id)

    def versions(self, key: Key) -> list[str]:
        return [each.id for each in self.region.vaults.list_versions(self.region.admin, key.id, PageRequest(9)).items]

    def by_itself(self, operation: str) -> list[Entry]:
        return [e for e in self.region.entries() if e.operation == operation and e.principal_name == "upkeep"]

    def rows(self, key: Key) -> list[bytes]:
        columns = schema.key_versions.c
        with self.region.store.read() as tx:
            return list(tx.connection.execute(sa.select(columns.wrapped).where(columns.key == key.id)).scalars())


def of(region: DomainRegion) -> Upkeep:
    return Upkeep(region.guard, region.snapshot, region.store, region.clock, "home")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> DomainRegion:
    region = make_region(tmp_path_factory.mktemp("template"))
    region.snapshot.refresh()
    region.vaults.create_vault(region.admin, region.tenancy, "v")
    region.allow(DELEGATE)
    return region


@pytest.fixture
def place(template: DomainRegion, tmp_path: Path) -> Place:
    region = template.copy(tmp_path)
    vault = region.vaults.list_vaults(region.admin, region.tenancy, PageRequest(1)).items[0].id
    return Place(region, of(region), vault)


# rotation


def test_a_key_is_rotated_when_it_is_due_and_not_before(place: Place) -> None:
    key = place.key(rotation_days=60)
    place.region.clock.advance(59 * DAY - 1)
    assert place.upkeep.run(SERVICE) == 0
    place.region.clock.advance(DAY + 1)
    assert place.upkeep.run(SERVICE) == 1
    assert place.again(key).current == 2
    assert place.upkeep.run(SERVICE) == 0


def test_after_a_long_downtime_it_is_rotated_once(place: Place) -> None:
    key = place.key(rotation_days=60)
    place.region.clock.advance(500 * DAY)
    while place.upkeep.run(SERVICE):
        pass
    assert place.again(key).current == 2
    due = place.again(key).next_rotation_at
    assert due is not None
    assert due > place.region.clock.now() + timedelta(days=58)


def test_two_that_are_due_at_once_rotate_once(place: Place) -> None:
    """Both have seen that it is due; the second finds that it is done."""
    key = place.key(rotation_days=60)
    other = of(place.region.again())
    place.region.clock.advance(61 * DAY)
    seen = place.again(key)
    assert place.upkeep._rotate_due(SERVICE, seen) == 1
    assert other._rotate_due(SERVICE, seen) == 0
    assert place.again(key).current == 2
    assert len(place.by_itself("RotateKey")) == 1


def test_a_rotation_by_hand_puts_the_next_one_off(place: Place) -> None:
    key = place.key(rotation_days=60)
    place.region.clock.advance(50 * DAY)
    place.region.vaults.rotate(place.region.admin, key.id)
    place.region.clock.advance(20 * DAY)
    assert place.upkeep.run(SERVICE) == 0


def test_a_key_that_may_not_be_used_is_rotated_when_it_may_again(place: Place) -> None:
    key = place.key(rotation_days=60)
    place.region.vaults.disable(place.region.admin, key.id)
    place.region.clock.advance(61 * DAY)
    assert place.upkeep.run(SERVICE) == 0
    place.region.vaults.enable(place.region.admin, key.id)
    assert place.upkeep.run(SERVICE) == 1


def test_a_keystore_that_does_not_answer_is_asked_again_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    key = place.key(rotation_days=60)
    place.region.clock.advance(61 * DAY)

    def down(*_: object) -> object:
        raise Unavailable("KeystoreDown", "the token does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(place.upkeep, "_new_version", down)
        assert place.upkeep.run(SERVICE) == place.upkeep.run(SERVICE) == 0
    assert [entry.outcome for entry in place.by_itself("RotateKey")] == ["failed"]
    assert place.upkeep.run(SERVICE) == 0, "not at once"
    place.region.clock.advance(601)
    assert place.upkeep.run(SERVICE) == 1
    assert place.again(key).current == 2


# expiry


def test_expiry_is_announced_four_times_and_each_is_an_event(place: Place) -> None:
    key = place.key(expires_at=place.region.clock.now() + timedelta(days=40))
    for _ in range(45 * 2):
        place.region.clock.advance(DAY / 2)
        place.upkeep.run(SERVICE)
        of(place.region.again()).run(SERVICE)
    told = [*place.by_itself("KeyExpires"), *place.by_itself("KeyExpired")]
    assert [(entry.detail["days"], entry.detail["kind"], entry.resource_id) for entry in told] == [
        (days, "event", key.id) for days in ("30", "7", "1", "0")
    ]


def test_a_new_expiry_is_announced_anew(place: Place) -> None:
    key = place.key(expires_at=place.region.clock.now() + timedelta(days=5))
    place.upkeep.run(SERVICE)
    later = KeySettings(expires_at=place.region.clock.now() + timedelta(days=6))
    place.region.vaults.update_key(place.region.admin, key.id, later)
    place.upkeep.run(SERVICE)
    assert [entry.detail["days"] for entry in place.by_itself("KeyExpires")] == ["7", "7"]


# the end


def test_what_is_past_its_end_is_destroyed_and_known_again(place: Place) -> None:
    key = place.key(retention_days=7)
    with place.region.store.read() as tx:
        fingerprint = tx.vault.versions(key.tenancy, key.id)[0].fingerprint
        assert fingerprint
        assert [found[0].id for found in tx.vault.of_material(key.tenancy, fingerprint)] == [key.id]
    place.region.vaults.delete(place.region.admin, key.id)
    place.region.clock.advance(7 * DAY)
    assert place.again(key).state == "PURGED"
    assert place.rows(key) != [b""], "nobody has tidied up"
    assert place.upkeep.run(SERVICE) == 1
    assert place.rows(key) == [b""]
    assert len(place.by_itself("PurgeKey")) == 1
    with place.region.store.read() as tx:
        assert [found[1].state for found in tx.vault.of_material(key.tenancy, fingerprint)] == ["DELETED"]


def test_a_version_past_its_day_is_destroyed(place: Place) -> None:
    key = place.key()
    place.region.vaults.rotate(place.region.admin, key.id)
    place.region.vaults.schedule_version_deletion(place.region.admin, key.id, place.versions(key)[0], 7)
    place.region.clock.advance(7 * DAY)
    assert place.upkeep.run(SERVICE) == 1
    assert sorted(place.rows(key))[0] == b""
    assert sorted(place.rows(key))[1] != b""


def test_a_vault_takes_its_keys_along(place: Place) -> None:
    region, key = place.region, place.key()
    region.vaults.delete_vault(region.admin, place.vault)
    region.clock.advance(90 * DAY)
    assert place.upkeep.run(SERVICE) == 1
    assert place.rows(key) == [b""]
    assert refused(lambda: region.vaults.recover_vault(region.admin, place.vault)).code == "IllegalState"


def test_a_keystore_elsewhere_destroys_before_the_reference_is_forgotten(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = place.key(retention_days=7)
    place.region.vaults.delete(place.region.admin, key.id)
    with place.region.store.note() as tx:
        tx.connection.execute(schema.keys.update().values(protection="external"))
    place.region.clock.advance(7 * DAY)
    keystore, asked = FailingOnce(), list[str]()
    monkeypatch.setattr(place.upkeep._keyring, "keystore", lambda protection: asked.append(protection) or keystore)
    place.upkeep.run(SERVICE)
    assert place.rows(key) != [b""], "it did not answer: the reference is still needed"
    place.region.clock.advance(601)
    place.upkeep.run(SERVICE)
    assert place.rows(key) == [b""]
    assert (asked, keystore.calls) == (["external", "external"], 2)


class FailingOnce:
    calls = 0

    def destroy(self, *_: object) -> None:
        self.calls += 1
        if self.calls == 1:
            raise Unavailable("KeystoreDown", "it does not answer")


def test_purged_material_is_not_in_the_files_any_more(place: Place) -> None:
    key = place.key()
    before = place.rows(key)[0][-32:]
    place.region.vaults.delete(place.region.admin, key.id)
    place.region.vaults.purge(place.region.admin, key.id)
    files = [path.read_bytes() for path in place.region.path.parent.glob("state.db*")]
    assert not any(before in content for content in files)


def test_whoever_was_killed_before_scrubbing_is_followed_by_one_who_does(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = place.key()
    before = place.rows(key)[0][-32:]
    place.region.vaults.delete(place.region.admin, key.id)
    monkeypatch.setattr(place.region.vaults, "_scrub", lambda: None)
    place.region.vaults.purge(place.region.admin, key.id)
    files = place.region.path.parent
    assert any(before in path.read_bytes() for path in files.glob("state.db*")), "it is seen where it is"
    place.upkeep.run(SERVICE)
    assert not any(before in path.read_bytes() for path in files.glob("state.db*"))


# acts that name no version


def test_taking_away_wins_over_whoever_else_writes(place: Place) -> None:
    """Each act sees the row as it is when it writes, whatever this process last knew."""
    region, other, key = place.region, place.region.again(), place.key()
    region.snapshot.refresh()
    other.vaults.update_key(region.admin, key.id, KeySettings(tags={"a": "b"}))
    entry = region.vaults.entry_of(region.admin, key.id)
    region.vaults._current = lambda _: entry  # type: ignore[method-assign]  # as old as can be
    assert region.vaults.disable(region.admin, key.id).tags == {"a": "b"}
    assert refused(lambda: region.vaults.enable(region.admin, key.id, 1)).code == "Stale"


def test_a_limit_and_locks_hold(place: Place) -> None:
    region, key = place.region, place.key()
    region.vaults.update_vault(region.admin, place.vault, VaultSettings(key_limit=1))
    assert refused(lambda: place.key("second")).code == "TooManyKeys"
    region.vaults.lock_vault(region.admin, place.vault, "ReadOnly")
    assert refused(lambda: region.vaults.rotate(region.admin, key.id)).code == "Locked"
    region.vaults.lock_vault(region.admin, place.vault, "")
    region.vaults.rotate(region.admin, key.id)


def test_protection_cannot_be_taken_off_or_gone_around(place: Place) -> None:
    region, key = place.region, place.key(purge_protection=True)
    for wanted in (KeySettings(purge_protection=False), KeySettings(retention_days=7)):
        refusal = refused(lambda wanted=wanted: region.vaults.update_key(region.admin, key.id, wanted))
        assert refusal.code == "PurgeProtected"
    region.vaults.delete_vault(region.admin, place.vault)
    assert refused(lambda: region.vaults.purge_vault(region.admin, place.vault)).code == "PurgeProtected"


def test_a_moved_key_obeys_the_policies_of_its_new_place(place: Place) -> None:
    region, key = place.region, place.key()
    there = region.iam.create_compartment(region.admin, region.tenancy, "vaulted")
    mover = region.user("mover", "Movers")
    region.allow("Allow group Movers to {KEY_MOVE, KEY_INSPECT} in compartment vaulted", name="movers")
    region.snapshot.refresh()
    assert refused(lambda: region.vaults.move_key(mover, key.id, there.id)).code == "NotFound"
    assert region.vaults.move_key(region.admin, key.id, there.id).compartment == there.id
    assert refused(lambda: region.vaults.move_key(mover, key.id, region.tenancy)).code == "NotFound", "nor back"
    aside = region.iam.create_compartment(region.admin, there.id, "inner")
    assert region.vaults.move_key(mover, key.id, aside.id).compartment == aside.id


# losses that time alone brings


def test_access_is_lost_and_found_by_the_clock_alone(place: Place) -> None:
    region, now = place.region, place.region.clock.now()
    key = place.key(not_before=now + timedelta(days=1), expires_at=now + timedelta(days=3))
    principal = a_system(region, "flights", region.tenancy).principal
    seen, generation = [], region.snapshot.refresh()
    for _ in range(4):
        access = region.associations.access(principal, key.id, 1)
        seen.append(access.loss)
        region.clock.advance(DAY)
    assert seen == ["key_not_yet_valid", None, None, "key_expired"]
    assert region.snapshot.refresh() == generation, "nobody wrote anything"


def test_each_act_has_its_reason_and_its_way_back(place: Place) -> None:
    region, key, vaults = place.region, place.key(), place.region.vaults
    principal = a_system(region, "flights", region.tenancy).principal
    vaults.rotate(region.admin, key.id)
    version, admin = place.versions(key)[0], region.admin

    def loss() -> str | None:
        access = region.associations.access(principal, key.id, 1)
        assert access.granted == (access.loss is None)
        assert access.granted or (access.text and access.since is not None)
        return access.loss

    def through(act: Callable[[], object], *back: Callable[[], object]) -> str | None:
        assert loss() is None
        act()
        found = loss()
        for step in back:
            step()
        return found

    def enable() -> object:
        return vaults.enable(admin, key.id)

    there = region.iam.create_compartment(admin, region.tenancy, "elsewhere")
    here = region.iam.create_compartment(admin, region.tenancy, "here")
    minimum = [KeySettings(minimum_version=number) for number in (2, 1)]
    assert through(lambda: vaults.disable(admin, key.id), enable) == "key_disabled"
    assert (
        through(lambda: vaults.schedule_deletion(admin, key.id), lambda: vaults.cancel_deletion(admin, key.id), enable)
        == "key_pending_deletion"
    )
    assert through(lambda: vaults.delete(admin, key.id), lambda: vaults.recover(admin, key.id), enable) == "key_deleted"
    assert (
        through(
            lambda: vaults.disable_version(admin, key.id, version),
            lambda: vaults.enable_version(admin, key.id, version),
        )
        == "version_disabled"
    )
    assert (
        through(
            lambda: vaults.update_key(admin, key.id, minimum[0]), lambda: vaults.update_key(admin, key.id, minimum[1])
        )
        == "version_disabled"
    )
    assert (
        through(lambda: vaults.delete_vault(admin, place.vault), lambda: vaults.recover_vault(admin, place.vault))
        == "vault_deleted"
    )
    policy = next(
        p for p in region.iam.list_policies(admin, region.tenancy, PageRequest(9)).items if DELEGATE in p.statements
    )
    narrow = (DELEGATE.replace("in tenancy", "in compartment here"),)
    vaults.move_key(admin, key.id, here.id)
    region.iam.update_policy(admin, policy.id, narrow)
    assert (
        through(lambda: vaults.move_key(admin, key.id, there.id), lambda: vaults.move_key(admin, key.id, here.id))
        == "moved"
    )
    assert through(lambda: region.iam.delete_policy(admin, policy.id)) == "permission"


def test_an_opened_store_key_needs_its_own_version(place: Place) -> None:
    region, key = place.region, place.key()
    system = a_system(region, "flights", region.tenancy)
    sealed = region.associations.seal(system, key.id, Secret(b"k" * 32), "store-key", "r")
    region.vaults.rotate(region.admin, key.id)
    region.vaults.disable_version(region.admin, key.id, place.versions(key)[0])
    refusal = refused(lambda: region.associations.open(system, key.id, sealed.blob, "store-key", "r"))
    assert refusal.code == "KeyNotUsable"
    newer = region.associations.seal(system, key.id, Secret(b"k" * 32), "store-key", "r")
    assert region.associations.open(system, key.id, newer.blob, "store-key", "r").reveal() == b"k" * 32


def test_nobody_else_is_the_upkeep(place: Place) -> None:
    key = place.key(rotation_days=60)
    place.region.clock.advance(61 * DAY)
    place.region.snapshot.refresh()
    for caller in (place.region.admin, place.region.host()):
        with pytest.raises(Refusal):
            place.upkeep._rotate_due(caller, key)
