"""What needs a key: read from envelopes and headers, counted in the transaction that destroys, and shown to who may."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region
from tests.fakes.inventory import MemoryBackups

from keystead.core.errors import Refusal, Unavailable
from keystead.core.ids import new_id
from keystead.core.page import PageRequest
from keystead.crypto.stream import encrypt_stream
from keystead.databases.creation import NewSystem
from keystead.databases.model import Backup, DbSystem
from keystead.iam.model import Caller
from keystead.vault.insight.inventory import Need, check_confirmed, told
from keystead.vault.lifecycle.settings import KeySettings

DELEGATES = "Allow any-user to use key-delegate in tenancy where request.principal.type = 'mysqldbsystem'"
ALL = PageRequest(100)


@dataclass
class Place:
    """A key with two versions: system `flights` and backup `monday` need the first, system `hotels` the second."""

    region: DomainRegion
    vault: str
    key: str
    flights: DbSystem
    hotels: DbSystem
    monday: Backup

    @property
    def files(self) -> MemoryBackups:
        return self.region.files

    @property
    def admin(self) -> Caller:
        return self.region.admin

    def version(self, number: int) -> str:
        found = self.region.vaults.list_versions(self.admin, self.key, ALL).items
        return next(each.id for each in found if each.number == number)

    def store_bytes(self, name: str, /, **fields: object) -> None:
        told: dict[str, object] = {
            "format": "keystead-backup-1", "backup": name, "tenancy": self.region.tenancy, "key": self.key,
            "key_version": 1, "system_name": "flights",
        } | fields  # fmt: skip
        self.files.write(name, encrypt_stream(bytes(32), told, iter([b"pages"])))  # type: ignore[arg-type]


def settled(region: DomainRegion, system: DbSystem, state: str = "ACTIVE") -> DbSystem:
    with region.store.note() as tx:
        now = tx.databases.system(system.tenancy, system.id)
        assert now is not None
        tx.databases.change(now, replace(now, state=state))  # type: ignore[arg-type]
        tx.jobs.cancel_for(system.tenancy, system.id, region.clock.now())
        found = tx.databases.system(system.tenancy, system.id)
    assert found is not None
    return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    region = make_region(tmp_path)
    region.allow(DELEGATES)
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    key = region.vaults.create_key(region.admin, region.tenancy, vault, "finance").id
    region.vaults.create_key(region.admin, region.tenancy, vault, "idle")
    flights = settled(region, region.databases.create(region.admin, NewSystem(region.tenancy, "flights", key)).system)
    monday, _ = region.databases.create_backup(region.admin, flights.id, "monday")
    with region.store.note() as tx:
        tx.databases.change_backup(monday, replace(monday, state="ACTIVE"))
        tx.jobs.cancel_for(flights.tenancy, flights.id, region.clock.now())
    region.vaults.rotate(region.admin, key)
    hotels = region.databases.create(region.admin, NewSystem(region.tenancy, "hotels", key, follow_key=True)).system
    made = Place(region, vault, key, flights, settled(region, hotels, "INACTIVE"), monday)
    made.store_bytes(monday.id)
    return made


def refusal(act: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as found:
        act()
    return found.value


def shown(needs: tuple[Need, ...]) -> list[tuple[str, str, tuple[int, ...], str]]:
    return [(need.kind, need.name, need.versions, need.evidence) for need in needs]


def test_everything_that_needs_the_key_is_found_by_what_was_read(place: Place) -> None:
    found = place.region.vaults.inventory(place.admin, place.key)
    assert sorted(shown(found.needs)) == [
        ("backup", "monday", (1,), "header"),
        ("dbsystem", "flights", (1,), "envelope"),
        ("dbsystem", "hotels", (2,), "envelope"),
        ("node", "node of flights", (1,), "envelope"),
        ("node", "node of hotels", (2,), "envelope"),
    ]
    assert found.needed_by == {0: 3, 1: 2, 2: 1}
    assert {need.name: need.running for need in found.needs if need.kind == "dbsystem"} == {
        "flights": True,
        "hotels": False,
    }
    one = place.region.vaults.inventory(place.admin, place.key, 2)
    assert {need.name for need in one.needs} == {"hotels", "node of hotels"}
    assert refusal(lambda: place.region.vaults.inventory(place.admin, place.key, 9)).code == "NotFound"


def test_a_job_under_way_needs_what_it_works_with(place: Place) -> None:
    place.region.databases.rotate_data_keys(place.admin, place.flights.id)
    needs = place.region.vaults.inventory(place.admin, place.key).needs
    job = next(need for need in needs if need.kind == "job")
    assert (job.name, job.versions, job.state, job.part_of) == ("rotate flights", (1,), "ACCEPTED", place.flights.id)


def test_bytes_count_whatever_the_records_say(place: Place) -> None:
    lost = new_id("mysqlbackup", "home")
    place.store_bytes(lost, key_version=2)
    place.store_bytes(new_id("mysqlbackup", "home"), key=new_id("key", "home"))
    place.store_bytes(new_id("mysqlbackup", "home"), tenancy=new_id("tenancy", "home"))
    needs = place.region.vaults.inventory(place.admin, place.key).needs
    orphan = next(need for need in needs if need.id == lost)
    assert (orphan.kind, orphan.versions, orphan.evidence) == ("backup", (2,), "header")
    assert "no record" in orphan.problem
    assert [need.name for need in needs if need.kind == "backup"].count("") == 1, "another tenancy's"
    assert len([need for need in needs if need.kind == "backup"]) == 3


@pytest.mark.parametrize(
    ("spoil", "problem", "evidence"),
    [
        (lambda place: place.files.held.update({place.monday.id: b"not a stream"}), "cannot be read", "envelope"),
        (lambda place: place.files.delete(place.monday.id), "not in the store", "envelope"),
        (lambda place: place.store_bytes(place.monday.id, backup="another"), "not that of this backup", "envelope"),
        (lambda place: place.store_bytes(place.monday.id, tenancy="t"), "another tenancy", "header"),
    ],
)
def test_a_backup_whose_bytes_do_not_fit_counts_and_says_so(
    place: Place, spoil: Callable[[Place], None], problem: str, evidence: str
) -> None:
    spoil(place)
    found = place.region.vaults.inventory(place.admin, place.key)
    backup = next(need for need in found.needs if need.kind == "backup")
    assert problem in backup.problem and backup.evidence == evidence
    assert found.needed_by[0] == 3


def test_an_envelope_is_believed_and_not_its_record(place: Place) -> None:
    other = place.region.vaults.create_key(place.admin, place.region.tenancy, place.vault, "other").id
    with place.region.store.note() as tx:
        tx.databases.change(place.flights, replace(place.flights, key=other))  # type: ignore[arg-type]
    needs = place.region.vaults.inventory(place.admin, place.key).needs
    assert "names another key" in next(need for need in needs if need.name == "flights").problem


def test_headers_are_read_once(place: Place) -> None:
    place.region.vaults.inventory(place.admin, place.key)
    reads = place.files.reads
    place.region.vaults.inventory(place.admin, place.key)
    assert place.files.reads == reads


def test_copies_of_the_key_are_told_and_not_counted(place: Place) -> None:
    place.region.clock.advance(3600)
    entry = place.region.guard.entry(
        place.admin,
        "STATE_BACKUP",
        place.region.vaults.entry_of(place.admin, place.key).target,
        "BackUpState",
        "allowed",
    )
    place.region.journal.append(entry)
    found = place.region.vaults.inventory(place.admin, place.key)
    assert [(copy.kind, copy.count, copy.last_by) for copy in found.copies] == [("state-backup", 1, "admin")]
    assert found.needed_by[0] == 3


# the gate

DESTROYING: dict[str, Callable[[Place, int | None], object]] = {
    "schedule": lambda at, n: at.region.vaults.schedule_deletion(at.admin, at.key, confirm_needed_by=n),
    "delete": lambda at, n: at.region.vaults.delete(at.admin, at.key, confirm_needed_by=n),
    "schedule vault": lambda at, n: at.region.vaults.schedule_vault_deletion(at.admin, at.vault, confirm_needed_by=n),
    "delete vault": lambda at, n: at.region.vaults.delete_vault(at.admin, at.vault, confirm_needed_by=n),
}


@pytest.mark.parametrize("name", DESTROYING)
def test_what_is_needed_is_destroyed_only_by_who_names_the_count(place: Place, name: str) -> None:
    act, region = DESTROYING[name], place.region
    for confirmed in (None, 2, 4, 0):
        found = refusal(lambda confirmed=confirmed: act(place, confirmed))  # type: ignore[misc]
        assert (found.code, found.recorded) == ("StillNeeded", True)
        assert "needed by 3: database system 'flights', database system 'hotels', backup 'monday'" in found.message
        assert found.hint.endswith("--confirm-needed-by 3")
        assert region.vaults.get_key(place.admin, place.key).state == "ENABLED"
    act(place, 3)
    recorded = [entry for entry in region.entries() if entry.detail.get("confirmed_needed_by") == "3"]
    assert [entry.outcome for entry in recorded] == ["allowed"]


def test_purging_asks_again(place: Place) -> None:
    vaults = place.region.vaults
    vaults.delete(place.admin, place.key, confirm_needed_by=3)
    assert refusal(lambda: vaults.purge(place.admin, place.key)).code == "StillNeeded"
    assert vaults.purge(place.admin, place.key, confirm_needed_by=3).state == "PURGED"


def test_a_version_is_needed_by_those_that_need_it(place: Place) -> None:
    vaults, first = place.region.vaults, place.version(1)
    found = refusal(lambda: vaults.schedule_version_deletion(place.admin, place.key, first))
    assert "version 1 of key 'finance' is still needed by 2" in found.message and "hotels" not in found.message
    vaults.rotate(place.admin, place.key)
    vaults.rotate(place.admin, place.key)
    assert vaults.schedule_version_deletion(place.admin, place.key, place.version(3)).state == "PENDING_DELETION"
    vaults.schedule_version_deletion(place.admin, place.key, first, confirm_needed_by=2)


def test_what_nothing_needs_goes_without_a_count_and_not_with_one(place: Place) -> None:
    vaults = place.region.vaults
    idle = vaults.list_keys(place.admin, place.region.tenancy, ALL, "idle").items[0].id
    found = refusal(lambda: vaults.delete(place.admin, idle, confirm_needed_by=1))
    assert (found.code, "nothing needs" in found.message) == ("StillNeeded", True)
    assert vaults.delete(place.admin, idle).state == "DELETED"


def test_taking_a_key_away_is_never_gated(place: Place) -> None:
    place.files.broken = True
    assert place.region.vaults.disable(place.admin, place.key).state == "DISABLED"


@pytest.mark.parametrize("name", DESTROYING)
def test_while_it_cannot_be_learnt_nothing_is_destroyed(place: Place, name: str) -> None:
    place.files.broken = True
    for confirmed in (None, 3):
        with pytest.raises(Unavailable):
            DESTROYING[name](place, confirmed)
    with pytest.raises(Unavailable):
        place.region.vaults.inventory(place.admin, place.key)
    assert place.region.vaults.get_key(place.admin, place.key).state == "ENABLED"


def test_who_may_not_see_a_thing_learns_that_there_is_one(place: Place) -> None:
    region = place.region
    officer = region.user("officer", "Officers")
    region.allow("Allow group Officers to manage keys in tenancy")
    found = refusal(lambda: region.vaults.delete(officer, place.key))
    assert "needed by 3: a database system, a database system, a backup" in found.message
    needs = region.vaults.inventory(officer, place.key).needs
    assert {(need.id, need.name, need.compartment, need.part_of) for need in needs} == {("", "", "", "")}
    assert region.vaults.inventory(officer, place.key).needed_by[0] == 3
    preview = region.vaults.impact(officer, place.key, "disable")
    assert [effect.name for effect in preview.impact.effects if effect.kind != "user"] == ["", "", ""]
    region.vaults.delete(officer, place.key, confirm_needed_by=3)


def test_of_a_vault(place: Place) -> None:
    found = place.region.vaults.vault_inventory(place.admin, place.vault)
    assert [(key.name, len(needs)) for key, needs in found.keys] == [("finance", 3)]
    assert found.needed_by == 3


def test_only_who_may_read_the_key_is_answered(place: Place) -> None:
    vaults, nobody = place.region.vaults, place.region.user("nobody")
    for act in (
        lambda: vaults.inventory(nobody, place.key),
        lambda: vaults.impact(nobody, place.key, "disable"),
        lambda: vaults.usage(nobody, place.key),
        lambda: vaults.vault_inventory(nobody, place.vault),
    ):
        assert refusal(act).kind == "not_found"


# impact


def effects(place: Place, act: str, version: int | None = None) -> dict[str, tuple[str, str]]:
    found = place.region.vaults.impact(place.admin, place.key, act, version).impact  # type: ignore[arg-type]
    return {f"{effect.kind} {effect.name}": (effect.when, effect.text) for effect in found.effects}


def test_disabling_stops_what_runs_at_once_and_the_rest_when_it_wants_to_run(place: Place) -> None:
    place.region.vaults.encrypt(place.admin, place.key, b"x")
    found = effects(place, "disable")
    assert {name: when for name, (when, _) in found.items()} == {
        "dbsystem flights": "at_once", "dbsystem hotels": "later", "backup monday": "later", "user admin": "at_once",
    }  # fmt: skip
    assert "fenced within a second" in found["dbsystem flights"][1]
    assert set(effects(place, "disable", 2)) == {"dbsystem hotels"}


def test_deleting_says_from_when_on_nothing_brings_it_back(place: Place) -> None:
    found = place.region.vaults.impact(place.admin, place.key, "delete").impact
    final = place.region.clock.now() + timedelta(days=30 + 90)
    assert found.final_at == final and found.needed_by == 3
    lost = [effect.name for effect in found.effects if effect.at == final]
    assert sorted(lost) == ["flights", "hotels", "monday"]
    assert "cancel-deletion" in found.undo
    version = place.region.vaults.impact(place.admin, place.key, "delete", 1).impact
    assert (version.needed_by, version.final_at) == (2, place.region.clock.now() + timedelta(days=30))


def test_rotating_stops_nothing(place: Place) -> None:
    found = effects(place, "rotate")
    assert {name: when for name, (when, _) in found.items()} == {
        "dbsystem flights": "never", "dbsystem hotels": "later", "backup monday": "never"
    }  # fmt: skip
    assert refusal(lambda: effects(place, "rotate", 1)).code == "InvalidParameter"


def test_expiry_stops_at_its_moment(place: Place) -> None:
    assert {when for when, _ in effects(place, "expire").values()} == {"never"}
    at = place.region.clock.now() + timedelta(days=5)
    place.region.vaults.update_key(place.admin, place.key, KeySettings(expires_at=at))
    found = place.region.vaults.impact(place.admin, place.key, "expire").impact
    assert {(effect.when, effect.at) for effect in found.effects} == {("later", at)}


def test_who_else_could_do_it(place: Place) -> None:
    region = place.region
    for name, verb in (("olga", "manage"), ("oscar", "manage"), ("rita", "read")):
        region.user(name, f"G-{name}")
        region.allow(f"Allow group G-{name} to {verb} keys in tenancy")
    region.user("nobody")
    assert region.vaults.impact(place.admin, place.key, "delete").approvers == ("olga", "oscar")


# usage


def test_usage_is_counted_by_principal_and_operation(place: Place) -> None:
    region = place.region
    for _ in range(3):
        blob = region.vaults.encrypt(place.admin, place.key, b"x").blob
    region.vaults.decrypt(place.admin, place.key, blob)
    refusal(lambda: region.vaults.decrypt(place.admin, place.key, b"rubbish"))
    since, uses = region.vaults.usage(place.admin, place.key)
    assert since == region.clock.now() - timedelta(days=30)
    counted = {(use.principal_name, use.operation, use.outcome): use.calls for use in uses}
    assert counted["admin", "Encrypt", "allowed"] == 3 and counted["admin", "Decrypt", "refused"] == 1
    assert counted["flights", "AssociateKey", "allowed"] == 2  # its store key and its backup's
    assert {use.principal_type for use in uses if use.principal_name == "flights"} == {"mysqldbsystem"}
    assert not any(use.operation in ("GetKey", "RotateKey") for use in uses)
    assert refusal(lambda: region.vaults.usage(place.admin, place.key, 0)).code == "InvalidParameter"


# words


def test_the_count_is_said_in_words() -> None:
    needs = [Need("backup", str(number), f"b{number}", "c", (1,), "row") for number in range(7)]
    assert told(needs[:1]) == "1: backup 'b0'"
    assert told(needs) == "7: backup 'b0', backup 'b1', backup 'b2', backup 'b3', backup 'b4' and 2 more"
    check_confirmed("key", "k", (), None, "look")
    check_confirmed("key", "k", needs, 7, "look")
    assert "not by 6" in refusal(lambda: check_confirmed("key", "k", needs, 6, "look")).message
