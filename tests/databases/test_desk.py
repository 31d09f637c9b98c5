"""The desk: what a machine is told, what it may have, and what its reports make of a system."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any, get_args

import pytest
from tests.fakes.calls import Things, active, make_things
from tests.fakes.domain import REGION, DomainRegion, ListJournal
from tests.refusals import refused

from keystead.audit.model import Entry
from keystead.core.errors import Fault
from keystead.core.ids import MachineId, new_id
from keystead.databases.desk import Event, Report, SystemView, after_report
from keystead.databases.model import DbSystem, Desired, FenceReceipt, SystemState


def view(region: DomainRegion, system: str) -> SystemView:
    return next(seen for seen in region.desk.watch(region.host()).systems if seen.system.id == system)


def stored(region: DomainRegion, system: str) -> DbSystem:
    with region.store.read() as tx:
        found = tx.databases.system(region.tenancy, system)
    assert found is not None
    return found


# watching


def test_a_machine_is_told_of_its_own_systems_with_keys_only_wrapped(region: DomainRegion, things: Things) -> None:
    told = region.desk.watch(region.host())
    assert (told.region, told.generation) == (REGION, region.snapshot.generation)
    (seen,) = told.systems
    assert seen.system == stored(region, things.system)
    assert (seen.granted, seen.loss) == (True, "")
    assert seen.store_key is not None
    assert len(seen.data_keys) == 2
    assert seen.admin_password_hash.startswith("*")
    opened = region.desk.open_store_key(region.host(), things.system)
    assert opened.store_key not in seen.store_key.blob
    assert repr(opened.store_key) not in repr((told, opened))


def test_systems_of_every_tenancy_are_its_business(region: DomainRegion) -> None:
    other = region.new_tenancy("globex")
    region.snapshot.refresh()
    theirs = make_things(region, other)
    assert theirs.system in [seen.system.id for seen in region.desk.watch(region.host()).systems]


def test_another_machine_is_told_nothing_of_them(region: DomainRegion, things: Things) -> None:
    with region.store.note() as tx:
        system = stored(region, things.system)
        tx.databases.change(system, replace(system, machine=MachineId(new_id("machine", REGION))))
    assert region.desk.watch(region.host()).systems == []
    for run in (
        lambda: region.desk.open_store_key(region.host(), things.system),
        lambda: region.desk.report(region.host(), Report(things.system, "running")),
    ):
        assert refused(run).kind == "not_found"


def test_a_loss_is_told_with_its_reason_and_since_when(region: DomainRegion, things: Things) -> None:
    region.clock.advance(5)
    region.vaults.disable(region.admin, things.key)
    at = region.clock.now()
    region.clock.advance(5)
    seen = view(region, things.system)
    assert (seen.granted, seen.loss, seen.since) == (False, "key_disabled", at)
    assert "DISABLED" in seen.text


def renewals(region: DomainRegion) -> list[Entry]:
    return [entry for entry in region.journal.entries if entry.operation == "RenewLease"]


def test_a_change_of_the_answer_is_recorded_once(region: DomainRegion, things: Things) -> None:
    for _ in range(3):
        view(region, things.system)
    assert renewals(region) == []
    region.vaults.disable(region.admin, things.key)
    for _ in range(3):
        view(region, things.system)
    region.vaults.enable(region.admin, things.key)
    for _ in range(3):
        view(region, things.system)
    assert [(entry.outcome, entry.principal_id, entry.requester) for entry in renewals(region)] == [
        ("refused", things.system, region.machine),
        ("allowed", things.system, region.machine),
    ]


class Journal(ListJournal):
    """`full`: no space is left but the reserve; `broken`: not even that."""

    full = False

    def append(self, entry: Entry, reserve: bool = False, /) -> Any:
        if self.broken or (self.full and not reserve):
            raise Fault("AuditUnavailable", "the audit log cannot be written")
        self.entries.append(entry)
        return None


def with_journal(region: DomainRegion) -> Journal:
    journal = Journal()
    region.journal = journal
    region.guard._log._journal = journal
    return journal


@pytest.mark.parametrize("how", ["full", "broken"])
def test_a_loss_is_told_although_it_cannot_be_recorded(region: DomainRegion, things: Things, how: str) -> None:
    """Law 2: taking access away is not refused for want of space."""
    journal = with_journal(region)
    assert view(region, things.system).granted
    region.vaults.disable(region.admin, things.key)
    setattr(journal, how, True)
    assert not view(region, things.system).granted
    assert len(renewals(region)) == (1 if how == "full" else 0)
    setattr(journal, how, False)
    assert not view(region, things.system).granted
    assert len(renewals(region)) == 1


@pytest.mark.parametrize("how", ["full", "broken"])
def test_access_given_back_is_told_only_when_it_is_recorded(region: DomainRegion, things: Things, how: str) -> None:
    """And it keeps no other system from its answer."""
    journal = with_journal(region)
    view(region, things.system)
    region.vaults.disable(region.admin, things.key)
    view(region, things.system)
    region.vaults.enable(region.admin, things.key)
    setattr(journal, how, True)
    seen = view(region, things.system)
    assert (seen.granted, seen.loss) == (False, "key_disabled")
    setattr(journal, how, False)
    assert view(region, things.system).granted


# the keys themselves


def test_the_store_key_is_opened_as_the_systems_own_principal(region: DomainRegion, things: Things) -> None:
    before = len(region.journal.entries)
    region.desk.open_store_key(region.host(), things.system)
    (entry,) = region.journal.entries[before:]
    assert (entry.operation, entry.outcome) == ("UseAssociatedKey", "allowed")
    assert (entry.principal_id, entry.requester) == (things.system, region.machine)


@pytest.mark.parametrize("loss", ["key", "identity", "unconfirmed"])
def test_no_store_key_without_access(region: DomainRegion, things: Things, loss: str) -> None:
    match loss:
        case "key":
            region.vaults.disable(region.admin, things.key)
        case "identity":
            region.databases.delete_identity(region.admin, things.system)
        case "unconfirmed":
            active(region, things.system, confirmed=False)
    refusal = refused(lambda: region.desk.open_store_key(region.host(), things.system))
    assert refusal.recorded
    assert not view(region, things.system).granted


def test_no_store_key_that_cannot_be_recorded(region: DomainRegion, things: Things) -> None:
    region.journal.broken = True
    with pytest.raises(Fault):
        region.desk.open_store_key(region.host(), things.system)


# reports

STATES = [state for state in get_args(SystemState) if state != "DELETED"]
UP = ("ACTIVE", "UPDATING", "STARTING")


@pytest.mark.parametrize(("state", "event", "desired"), list(product(STATES, get_args(Event), get_args(Desired))))
def test_what_a_report_makes_of_a_state(
    template: tuple[DomainRegion, Things], state: SystemState, event: Event, desired: Desired
) -> None:
    system = replace(stored(template[0], template[1].system), state=state, desired=desired)
    changed = after_report(system, Report(system.id, event, "some_reason", "some text"))
    now = changed.state if changed is not None else state
    if state == "DELETING":
        assert changed is None, "deleting is final"
    elif event == "fenced":
        assert now == ("INACCESSIBLE" if state in (*UP, "FAILED") else state)
        assert changed is not None
        assert changed.reason == "some_reason"
    elif event == "running":
        heals = state in ("INACCESSIBLE", "STARTING", "FAILED") and desired == "running"
        assert now == ("ACTIVE" if heals else state)
    elif event == "stopped":
        ends = desired == "stopped" and state in ("STOPPING", "INACCESSIBLE", "ACTIVE")
        assert now == ("INACTIVE" if ends else state)
    else:
        assert now == ("FAILED" if state in UP else state)
    if event in ("running", "stopped") and changed is not None:
        assert (changed.reason, changed.reason_text) == ("", ""), "what was wrong is over"
    if changed is not None:
        assert after_report(changed, Report(system.id, event, "some_reason", "some text")) is None, (
            "told again: no change"
        )


def receipt(region: DomainRegion, system: str, after: float = 0.0) -> FenceReceipt:
    committed = region.clock.now() + timedelta(seconds=after)
    steps = (("committed", 0.0), ("endpoint_closed", 1.25), ("process_gone", 40.0))
    return FenceReceipt(system, "key_disabled", "it is disabled", committed, steps)  # type: ignore[arg-type]


def test_a_fence_is_kept_with_its_timeline_and_audited(region: DomainRegion, things: Things) -> None:
    made = receipt(region, things.system)
    region.desk.report(region.host(), Report(things.system, "fenced", "key_disabled", "it is disabled", made))
    assert stored(region, things.system).state == "INACCESSIBLE"
    assert region.databases.last_fence(region.admin, things.system) == made
    entry = region.store.outbox(0, 10_000)[-1][1]
    assert (entry.operation, entry.outcome, entry.reason) == ("ReportNode", "succeeded", "it is disabled")
    assert entry.detail["process_gone"] == "40.0 ms"


def test_of_one_fence_the_first_receipt_stands_and_of_several_the_last_is_shown(
    region: DomainRegion, things: Things
) -> None:
    first = receipt(region, things.system)
    late = replace(first, steps=(("committed", 0.0), ("process_gone", 9e6)))
    for told in (first, late):
        region.desk.report(region.host(), Report(things.system, "fenced", "key_disabled", "", told))
    assert region.databases.last_fence(region.admin, things.system) == first
    next_one = receipt(region, things.system, 60)
    region.desk.report(region.host(), Report(things.system, "fenced", "key_disabled", "", next_one))
    assert region.databases.last_fence(region.admin, things.system) == next_one


def test_a_deleted_system_takes_no_reports(region: DomainRegion, things: Things) -> None:
    with region.store.note() as tx:
        system = stored(region, things.system)
        tx.databases.change(system, replace(system, state="DELETED"))
    assert refused(lambda: region.desk.report(region.host(), Report(things.system, "running"))).kind == "not_found"
    assert region.desk.watch(region.host()).systems == []
