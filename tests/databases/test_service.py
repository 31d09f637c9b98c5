"""Database systems as their owners ask for them: all or nothing, no more than is legal, keys only wrapped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_args

import pytest
from tests.databases.systems import ALL, create, rows, store_key, stored, unchanged, wrapped
from tests.fakes.calls import Things, active
from tests.fakes.domain import REGION, DomainRegion
from tests.refusals import refused

from keystead.core.errors import Unreadable
from keystead.core.ids import MachineId, new_id
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.databases.accounts import native_password_hash
from keystead.databases.hierarchy import StoreKey
from keystead.databases.model import LEGAL, Act, DbSystem, SystemState
from keystead.databases.placement import Placement
from keystead.iam.model import Caller

# creating


@pytest.mark.parametrize("managed", [False, True], ids=["cmek", "service-managed"])
def test_a_new_system_is_written_with_all_that_belongs_to_it(
    region: DomainRegion, things: Things, managed: bool
) -> None:
    before, generation = rows(region), region.snapshot.refresh()
    made = create(region, things, key=None if managed else things.key)
    system = stored(region, made.system.id)
    assert system == made.system
    assert (system.state, system.desired, system.service_managed) == ("CREATING", "running", managed)
    assert region.snapshot.directory.principal(system.id) is not None
    assert [(key.kind, key.slot, key.number, key.latest) for key in wrapped(region, system.id)] == [
        ("data", 1, 1, True), ("data", 2, 1, True), ("store", 0, 0, True),
    ]  # fmt: skip
    assert region.jobs.get_job(region.admin, made.job.id).state == "ACCEPTED"
    grown = {table: count - before[table] for table, count in rows(region).items() if count != before[table]}
    assert grown == {"db_systems": 1, "wrapped_keys": 3, "jobs": 1, "resource_principals": 1, "audit_outbox": 1} | (
        {"keys": 1, "key_versions": 1} if managed else {}
    )
    assert region.snapshot.generation == generation + 1, "one transaction"
    entry = region.store.outbox(0, 10_000)[-1][1]
    assert (entry.operation, entry.resource_id, entry.outcome) == ("CreateDbSystem", system.id, "allowed")


class Killed(BaseException):
    """As kill -9."""


@pytest.mark.parametrize("managed", [False, True], ids=["cmek", "service-managed"])
@pytest.mark.parametrize("call", ["iam.set_identity", "databases.add_system", "databases.add_wrapped", "jobs.add"])
def test_killed_in_the_middle_of_creating_nothing_is_there(
    region: DomainRegion, things: Things, call: str, managed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, _, method = call.partition(".")
    write = region.store.write

    @contextmanager
    def dying(*entries: Any, **named: Any) -> Iterator[Any]:
        with write(*entries, **named) as tx:

            def die(*given: Any, **more: Any) -> None:
                raise Killed

            setattr(getattr(tx, package), method, die)
            yield tx

    monkeypatch.setattr(region.store, "write", dying)
    before, generation = rows(region), region.snapshot.refresh()
    with pytest.raises(Killed):
        create(region, things, key=None if managed else things.key)
    assert rows(region) == before
    assert region.snapshot.refresh() == generation
    assert region.store.outbox(0, 10_000)[-1][1].operation != "CreateDbSystem"


def test_the_password_is_shown_once_and_kept_as_mysqls_hash(region: DomainRegion, things: Things) -> None:
    made = create(region, things)
    password = made.admin_password.reveal().decode()
    assert password not in repr(made)
    with region.store.read() as tx:
        assert tx.databases.password_hash(made.system) == native_password_hash(made.admin_password)
    assert password.encode() not in region.path.read_bytes()
    assert password not in repr(region.entries())


def test_keys_are_at_rest_only_wrapped(region: DomainRegion, things: Things) -> None:
    made = create(region, things)
    material = store_key(region, made.system.id)
    opened = StoreKey(Secret(material), region.tenancy, REGION, made.system.id)
    data = [opened.open(key).reveal() for key in wrapped(region, made.system.id) if key.kind == "data"]
    with region.store.note() as tx:
        tx.connection.exec_driver_sql("SELECT 1")
    everything = b"".join(path.read_bytes() for path in region.path.parent.glob("state.db*"))
    for key in (material, *data):
        assert key not in everything
        assert key.hex().encode() not in everything
        assert key.hex() not in repr((made, wrapped(region, made.system.id), region.entries()))


def lost_delegation(region: DomainRegion) -> None:
    found = region.iam.list_policies(region.admin, region.tenancy, ALL, "delegates").items[0]
    region.iam.delete_policy(region.admin, found.id)


UNUSABLE: dict[str, tuple[Callable[[DomainRegion, Things], object], str]] = {
    "disabled": (lambda r, t: r.vaults.disable(r.admin, t.key), "KeyNotUsable"),
    "not delegated to the system": (lambda r, t: lost_delegation(r), "NotAuthorized"),
}


@pytest.mark.parametrize("why", UNUSABLE)
def test_a_key_that_the_system_may_not_use_is_refused_before_anything_is_written(
    region: DomainRegion, things: Things, why: str
) -> None:
    spoil, code = UNUSABLE[why]
    spoil(region, things)
    refusal = unchanged(region, lambda: create(region, things))
    assert (refusal.code, refusal.recorded) == (code, True)


def test_the_statement_for_the_systems_own_identity_lets_it_be_created(region: DomainRegion, things: Things) -> None:
    lost_delegation(region)
    refusal = refused(lambda: create(region, things))
    statement = refusal.hint.partition(": ")[2]
    assert "key-delegate" in statement
    region.allow(statement)
    create(region, things)


def test_a_key_that_does_not_exist_is_refused(region: DomainRegion, things: Things) -> None:
    for key in (new_id("key", REGION), "not-an-id", ""):
        assert unchanged(region, lambda key=key: create(region, things, key=key)).kind in ("not_found", "bad_request")


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "a b"}, {"name": ""}, {"admin_username": "root"}, {"admin_username": "keystead"},
        {"admin_username": "a'b"}, {"admin_username": "A"}, {"memory_mb": 63}, {"memory_mb": (1 << 20) + 1},
        {"memory_mb": -1},
    ],
)  # fmt: skip
def test_bad_wishes_change_nothing(region: DomainRegion, things: Things, wanted: dict[str, Any]) -> None:
    assert unchanged(region, lambda: create(region, things, **wanted)).kind == "bad_request"


def test_a_name_is_taken_once_whatever_its_case(region: DomainRegion, things: Things) -> None:
    assert unchanged(region, lambda: create(region, things, "Flights")).code == "NameTaken"


def placed(region: DomainRegion, ports: range, uids: range) -> None:
    machine = MachineId(region.machine)
    region.databases._placement = Placement(machine, "127.0.0.1", ports, uids)


def test_each_system_has_a_port_and_a_uid_of_its_own(region: DomainRegion, things: Things) -> None:
    made = [create(region, things, f"s{number}").system for number in range(3)]
    first = stored(region, things.system)
    assert len({system.port for system in (first, *made)}) == 4
    assert len({system.uid for system in (first, *made)}) == 4


@pytest.mark.parametrize("what", ["port", "uid"])
def test_when_all_are_taken_it_says_so_and_changes_nothing(region: DomainRegion, things: Things, what: str) -> None:
    first = stored(region, things.system)
    few = range(getattr(first, what), getattr(first, what) + 2)
    placed(region, few if what == "port" else range(24000, 24100), few if what == "uid" else range(62000, 62100))
    create(region, things, "fits")
    refusal = unchanged(region, lambda: create(region, things, "does-not"))
    assert (refusal.code, refusal.kind) == ("NoRoom", "conflict")
    assert what in refusal.message
    with region.store.note() as tx:  # what is deleted gives its place back
        gone = stored(region, things.system)
        tx.databases.change(gone, replace(gone, state="DELETED"))
    again = create(region, things, "does-not").system
    assert getattr(again, what) == getattr(first, what)


def test_without_a_range_of_uids_every_server_runs_as_host_does(region: DomainRegion, things: Things) -> None:
    placed(region, range(24000, 24100), range(0))
    assert create(region, things).system.uid == 0


# moved keys do not open (law 3)


def test_a_store_key_moved_to_another_system_does_not_open(region: DomainRegion, things: Things) -> None:
    one, other = create(region, things, "one").system.id, create(region, things, "other").system.id
    with region.store.note() as tx:
        blob = next(key.blob for key in wrapped(region, one) if key.kind == "store")
        tx.connection.exec_driver_sql(
            "UPDATE wrapped_keys SET blob = ? WHERE system = ? AND kind = 'store'", (blob, other)
        )
    store_key(region, one)
    refusal = refused(lambda: store_key(region, other))
    assert (refusal.code, refusal.recorded) == ("Unreadable", True)


def test_a_data_key_moved_to_another_system_slot_or_number_does_not_open(region: DomainRegion, things: Things) -> None:
    one, other = create(region, things, "one").system, create(region, things, "other").system
    opened = StoreKey(Secret(store_key(region, one.id)), region.tenancy, REGION, one.id)
    mine = [key for key in wrapped(region, one.id) if key.kind == "data"]
    theirs = [key for key in wrapped(region, other.id) if key.kind == "data"]
    opened.open(mine[0])
    for moved in (
        replace(mine[0], slot=2),
        replace(mine[0], number=3),
        replace(mine[0], blob=mine[1].blob),
        replace(mine[0], blob=theirs[0].blob),
    ):
        with pytest.raises(Unreadable):
            opened.open(moved)
    for tenancy, place in ((new_id("tenancy", REGION), REGION), (region.tenancy, "elsewhere")):
        with pytest.raises(Unreadable):
            StoreKey(Secret(store_key(region, one.id)), tenancy, place, one.id).open(mine[0])  # type: ignore[arg-type]


# what is legal when

ACTS: dict[Act, Callable[[DomainRegion, str], object]] = {
    "start": lambda r, s: r.databases.start(r.admin, s),
    "stop": lambda r, s: r.databases.stop(r.admin, s),
    "restart": lambda r, s: r.databases.restart(r.admin, s),
    "delete": lambda r, s: r.databases.delete(r.admin, s),
    "change_key": lambda r, s: r.databases.change_key(r.admin, s, None),
    "rotate": lambda r, s: r.databases.rotate_data_keys(r.admin, s),
    "verify": lambda r, s: r.databases.verify(r.admin, s),
    "backup": lambda r, s: r.databases.create_backup(r.admin, s, "tuesday"),
}


DONE: dict[Act, tuple[str, str]] = {
    "start": ("STARTING", "running"), "stop": ("STOPPING", "stopped"), "restart": ("UPDATING", "running"),
    "delete": ("DELETING", "deleted"), "rotate": ("UPDATING", "running"),
}  # fmt: skip


@pytest.mark.parametrize("act", get_args(Act))
def test_each_act_is_legal_in_some_states_and_refused_in_all_others(
    region: DomainRegion, things: Things, act: Act
) -> None:
    for state in get_args(SystemState):
        if state == "DELETED":
            continue  # then it does not exist
        active(region, things.system, state=state)
        region.snapshot.refresh()
        if state not in LEGAL[act]:
            refusal = unchanged(region, lambda: ACTS[act](region, things.system))
            assert (refusal.code, refusal.kind) == ("IllegalState", "conflict"), state
            assert state in refusal.message
            continue
        ACTS[act](region, things.system)
        system = stored(region, things.system)
        assert (system.state, system.desired) == DONE.get(act, (state, "running"))
        with region.store.note() as tx:
            tx.connection.exec_driver_sql("DELETE FROM backups WHERE name = 'tuesday'")


@pytest.mark.parametrize("act", [act for act in get_args(Act) if act not in ("delete", "change_key")])
def test_one_job_at_a_time(region: DomainRegion, things: Things, act: Act) -> None:
    job = region.databases.verify(region.admin, things.system)
    active_state = "INACTIVE" if act == "start" else "ACTIVE"
    with region.store.note() as tx:
        system = stored(region, things.system)
        tx.databases.change(system, replace(system, state=active_state))  # type: ignore[arg-type]
    refusal = unchanged(region, lambda: ACTS[act](region, things.system))
    assert (refusal.code, refusal.kind) == ("Busy", "conflict")
    assert job.id in refusal.hint


def test_deleting_cancels_what_is_under_way(region: DomainRegion, things: Things) -> None:
    job = region.databases.verify(region.admin, things.system)
    region.databases.delete(region.admin, things.system)
    assert region.jobs.get_job(region.admin, job.id).state == "CANCELED"


def test_a_protected_system_is_not_deleted(region: DomainRegion, things: Things) -> None:
    region.databases.update_system(region.admin, things.system, deletion_protection=True)
    refusal = unchanged(region, lambda: region.databases.delete(region.admin, things.system))
    assert (refusal.code, refusal.recorded) == ("DeletionProtected", True)
    stranger = region.user("stranger")
    region.snapshot.refresh()
    assert refused(lambda: region.databases.delete(stranger, things.system)).kind == "not_found"
    region.databases.update_system(region.admin, things.system, deletion_protection=False)
    region.databases.delete(region.admin, things.system)


def test_a_system_that_is_protected_while_it_is_deleted_stays(
    region: DomainRegion, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = region.databases._system(region.admin, things.system)
    region.databases.update_system(region.admin, things.system, deletion_protection=True)
    monkeypatch.setattr(region.databases, "_system", lambda *_: before)
    assert unchanged(region, lambda: region.databases.delete(region.admin, things.system)).kind == "stale"


def test_a_stale_version_changes_nothing(region: DomainRegion, things: Things) -> None:
    databases, admin, system = region.databases, region.admin, things.system
    version = stored(region, system).version
    for run in (
        lambda: databases.update_system(admin, system, deletion_protection=True, if_match=version + 1),
        lambda: databases.stop(admin, system, version - 1),
        lambda: databases.restart(admin, system, version + 1),
        lambda: databases.delete(admin, system, version + 1),
        lambda: databases.change_key(admin, system, None, version + 1),
        lambda: databases.delete_backup(admin, things.backup, 99),
    ):
        assert unchanged(region, run).code == "Stale"
    databases.stop(admin, system, version)


# the rest


def test_samples_go_through_the_job_sealed(region: DomainRegion, things: Things) -> None:
    sample = b"a row of the customer's"
    job = region.databases.verify(region.admin, things.system, [sample])
    assert sample.decode() not in repr((job, region.entries()))
    opened = StoreKey(Secret(store_key(region, things.system)), region.tenancy, REGION, things.system)  # type: ignore[arg-type]
    assert opened.open_samples(job.input["samples"]) == (sample,)


@pytest.mark.parametrize("samples", [[b"short"], [bytes(257)], [b"long enough"] * 65])
def test_bad_samples_are_refused(region: DomainRegion, things: Things, samples: list[bytes]) -> None:
    assert (
        unchanged(region, lambda: region.databases.verify(region.admin, things.system, samples)).kind == "bad_request"
    )


def test_the_hierarchy_is_shown_without_its_blobs(region: DomainRegion, things: Things) -> None:
    shown = region.databases.hierarchy(region.admin, things.system)
    assert len(shown) == 3
    assert not any(key.blob for key in shown)


def test_revalidating_tells_why_it_is_still_inaccessible(region: DomainRegion, things: Things) -> None:
    region.databases.revalidate(region.admin, things.system)
    region.vaults.disable(region.admin, things.key)
    refusal = refused(lambda: region.databases.revalidate(region.admin, things.system))
    assert (refusal.code, "DISABLED" in refusal.message) == ("StillInaccessible", True)


def test_lists_show_one_compartment_by_name_and_in_pages(region: DomainRegion, things: Things) -> None:
    for name in ("b", "a", "c"):
        create(region, things, name)
    names, cursor = [], None
    while True:
        page = region.databases.list_systems(region.admin, things.compartment, PageRequest.of(2, cursor))
        names += [system.name for system in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert names == ["a", "b", "c", "flights"]
    assert not region.databases.list_systems(region.admin, region.tenancy, ALL).items
    (found,) = region.databases.list_systems(region.admin, things.compartment, ALL, "FLIGHTS").items
    assert found.id == things.system


# somebody else writes the same system in between


@pytest.mark.parametrize("act", ["delete", "stop", "update", "confirm"])
def test_what_jobs_and_the_machine_write_meanwhile_is_in_nobodys_way(
    region: DomainRegion, things: Things, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """Between reading and writing the machine reports: without an If-Match the act goes on from what is there now."""
    made = create(region, things).system.id
    active(region, made)
    databases = region.databases
    read = databases._system

    def read_and_report(caller: Caller, system_id: str) -> DbSystem:
        found = read(caller, system_id)
        with region.store.note() as tx:
            now = tx.databases.system(found.tenancy, found.id)
            assert now is not None
            tx.databases.change(now, replace(now, reason_text=now.reason_text + "."))
        return found

    monkeypatch.setattr(databases, "_system", read_and_report)
    acts: dict[str, Callable[..., object]] = {
        "delete": databases.delete,
        "stop": databases.stop,
        "confirm": databases.confirm,
        "update": lambda caller, system_id: databases.update_system(caller, system_id, deletion_protection=True),
    }
    acts[act](region.admin, made)
    version = stored(region, made).version
    refusal = refused(lambda: databases.update_system(region.admin, made, deletion_protection=False, if_match=version))
    assert refusal.code == "Stale"
