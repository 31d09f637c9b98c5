"""`work`: the outbox reaches the trail once, leases of an earlier life are gone, heads are remembered."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from tests.server.conftest import administrator

from keystead.adapters.sql import schema
from keystead.adapters.sql.heads import SqlHeads
from keystead.adapters.write_events import watch_segments, watch_state
from keystead.audit.query import EntryFilter
from keystead.core.ids import new_id
from keystead.core.page import PageRequest
from keystead.server import work
from keystead.server.init import Made
from keystead.server.wiring import Region, runners
from keystead.server.work import Clerk, Moves, release_leases


def outbox(opened: Region) -> int:
    with opened.store.read() as tx:
        return tx.connection.execute(sa.select(sa.func.count()).select_from(schema.audit_outbox)).scalar_one()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does by itself."""
    tick = threading.Event()
    for _ in range(2000):
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError("it did not come to be")


def entries(opened: Region, template: Made, operation: str) -> int:
    opened.index.integrate()
    wanted = EntryFilter(action=operation)
    return len(opened.index.query(template.tenancy_id, wanted, PageRequest()).items)


def test_changes_reach_the_trail_and_leave_the_outbox(opened: Region, template: Made) -> None:
    caller = administrator(opened, template)
    for name in ("a", "b", "c"):
        opened.vaults.create_vault(caller, template.tenancy_id, name)
    assert outbox(opened) == 4  # with the making of the region itself
    assert Clerk(opened).copy_outbox() == 4
    assert outbox(opened) == 0
    assert entries(opened, template, "CreateVault") == 3
    assert entries(opened, template, "CreateRegion") == 1


def test_copied_twice_counts_once(opened: Region, template: Made) -> None:
    """Killed between the copy and the removal of the row: the next life copies again."""
    opened.vaults.create_vault(administrator(opened, template), template.tenancy_id, "a")
    rows = opened.store.outbox(0)
    for _, entry in rows:
        opened.log.append(entry)
    opened.log.barrier().wait(10)
    Clerk(opened).copy_outbox()
    assert entries(opened, template, "CreateVault") == 1
    Clerk(opened).copy_outbox()
    assert entries(opened, template, "CreateVault") == 1


def test_leases_of_an_earlier_life_are_released(opened: Region, template: Made) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    row = {"tenancy": template.tenancy_id, "id": new_id("job", "home"), "kind": "create", "state": "IN_PROGRESS"}
    row |= {"input": {}, "result": {}, "created_at": moment, "updated_at": moment}
    with opened.store.note() as tx:
        far = opened.clock.monotonic() + 1e6  # as a lease looks after a reboot
        tx.connection.execute(schema.jobs.insert().values(**row, lease_owner="old", lease_until=far))
    with opened.store.note() as tx:
        assert tx.jobs.lease("me", opened.clock.monotonic(), 1e9) is None
    release_leases(opened)
    with opened.store.note() as tx:
        assert tx.jobs.lease("me", opened.clock.monotonic(), 1e9) is not None


def test_a_clean_stop_leaves_nothing_behind(opened: Region, template: Made) -> None:
    opened.vaults.create_vault(administrator(opened, template), template.tenancy_id, "a")
    stopping = threading.Event()
    stopping.set()
    thread = threading.Thread(
        target=Clerk(opened).run, args=(stopping,)
    )  # it makes its thread less important, for good
    thread.start()
    thread.join()
    assert outbox(opened) == 0
    heads = SqlHeads(opened.engine)
    assert heads.noted() == opened.index.heads()
    assert heads.noted()


def test_the_clerk_follows_what_events_tell_of(opened: Region, template: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "HEADS_SECONDS", 1e6)  # not by looking without being told
    events = watch_segments(opened.effective.state / "audit")
    assert events is not None
    clerk, stopping = Clerk(opened, events), threading.Event()
    thread = threading.Thread(target=clerk.run, args=(stopping,))
    thread.start()
    caller = administrator(opened, template)
    for _ in range(3):
        opened.vaults.get_vault(
            caller, opened.vaults.create_vault(caller, template.tenancy_id, new_id("vault", "home")).id
        )
        opened.log.barrier().wait(10)
        until(lambda: opened.index.heads().get(opened.journal.writer) == opened.journal._files.head)
    stopping.set()
    thread.join()
    events.close()


@pytest.mark.parametrize("told", [True, False])
def test_runners_learn_that_the_state_moved(opened: Region, template: Made, told: bool) -> None:
    events = watch_state(opened.effective.state / "state.db") if told else None
    moves, stopping = Moves(opened.freshness.generation, events), threading.Event()
    thread = threading.Thread(target=moves.run, args=(stopping,))
    thread.start()
    seen = moves.wait(0, 10)
    assert seen == opened.freshness.generation()
    assert moves.wait(seen, 0.05) == seen
    opened.vaults.create_vault(administrator(opened, template), template.tenancy_id, "a")
    assert moves.wait(seen, 10) > seen
    ended = threading.Thread(target=moves.wait, args=(opened.freshness.generation(), 1000))
    ended.start()
    stopping.set()
    thread.join()
    ended.join(10)
    assert not ended.is_alive(), "at the end nobody waits any more"


def test_heads_are_replaced_not_piled_up(opened: Region, template: Made) -> None:
    heads = SqlHeads(opened.engine)
    for name in ("a", "b"):
        opened.vaults.create_vault(administrator(opened, template), template.tenancy_id, name)
        Clerk(opened).copy_outbox()
        opened.index.integrate()
        heads.note(opened.index.heads())
    assert heads.noted() == opened.index.heads()
    heads.forget()
    assert heads.noted() == {}


def test_every_kind_of_job_has_a_flow(opened: Region) -> None:
    """What services write as a job's kind, `work` knows how to do."""
    flows = runners(opened)[0]._flows
    asked = {"create", "start", "stop", "restart", "delete", "rotate", "verify", "backup", "delete-backup", "restore"}
    assert asked <= set(flows)
