"""The keeper fences, proves it, heals when access returns, and waits where the vault does not answer."""

import threading
from collections.abc import Callable

import pytest
from tests.host.stage import NEVER, Stage, idle, seen
from tests.refusals import refused

from keystead.core.page import PageRequest

# fencing


def test_a_fence_takes_keys_process_and_memory_and_proves_it(stage: Stage) -> None:
    stage.run()
    process = stage.node.process
    stage.node.insert("row")
    stage.disable()
    stage.reconcile()
    stage.assert_fenced()
    assert process is not None
    assert process.keys == {}
    assert stage.state() == ("INACCESSIBLE", "key_disabled")
    (report,) = stage.host.desk.reports
    assert report.receipt is not None
    assert [name for name, _ in report.receipt.steps] == [
        "committed", "endpoint_closed", "process_gone", "socket_closed", "restart_refused", "wiped",
    ]  # fmt: skip
    assert stage.node.disk.rows == ["row"], "data is never touched"
    assert "INACCESSIBLE" in stage.host.responder.texts[stage.node.system.port]
    assert "DISABLED" in stage.host.responder.texts[stage.node.system.port]


def test_the_endpoint_is_closed_before_the_process_is_killed(stage: Stage) -> None:
    """Else the server could ask once more, or be told a 4xx that aborts it."""
    stage.run()
    seen: list[bool] = []
    stage.host.at = lambda system, point: (
        seen.append(stage.host.endpoint.answers(stage.mount)) if point == "kill" else None
    )
    stage.disable()
    stage.reconcile()
    assert seen
    assert not any(seen)


def test_a_fence_is_told_once(stage: Stage) -> None:
    stage.run()
    stage.disable()
    for _ in range(4):
        stage.reconcile()
    assert len([report for report in stage.host.desk.reports if report.receipt is not None]) == 1
    assert stage.node.calls.count("refuses_start") == 1


def test_a_fence_that_could_not_be_told_is_told_later(stage: Stage) -> None:
    stage.run()
    stage.disable()
    keeper = stage.keeper
    stage.host.desk.gone = True
    keeper.reconcile(stage.standing())
    stage.assert_fenced()
    stage.host.desk.gone = False
    stage.reconcile()
    assert stage.state() == ("INACCESSIBLE", "key_disabled")
    assert stage.host.desk.reports[0].receipt is not None


def test_the_receipt_counts_from_the_commit(stage: Stage) -> None:
    stage.run()
    stage.disable()
    stage.region.clock.advance(0.5)
    stage.host.at = lambda system, point: stage.region.clock.advance(0.25) if point == "kill" else None
    stage.reconcile()
    receipt = stage.host.desk.reports[0].receipt
    assert receipt is not None
    assert dict(receipt.steps)["endpoint_closed"] == 500.0
    assert dict(receipt.steps)["process_gone"] == 750.0


@pytest.mark.parametrize("point", ["kill", "killed", "silent", "wipe"])
def test_a_fence_that_fails_half_way_is_carried_through_the_next_time(stage: Stage, point: str) -> None:
    stage.run()
    stage.disable()

    def fail(system: str, here: str) -> None:
        if here == point:
            raise OSError("no more processes")

    stage.host.at = fail
    with pytest.raises(OSError, match="no more"):
        stage.reconcile()
    assert not stage.host.endpoint.answers(stage.mount), "the keys go first, whatever fails later"
    stage.host.at = lambda system, point: None
    stage.reconcile()
    stage.assert_fenced()
    assert stage.state() == ("INACCESSIBLE", "key_disabled")
    assert stage.host.desk.reports[-1].receipt is not None


def test_a_start_that_cannot_be_tried_does_not_hold_up_a_fence(stage: Stage) -> None:
    stage.run()
    stage.disable()

    def fail(system: str, here: str) -> None:
        if here == "refuses_start":
            raise OSError("no space left")

    stage.host.at = fail
    stage.reconcile()
    stage.assert_fenced()
    receipt = stage.host.desk.reports[-1].receipt
    assert receipt is not None
    assert "wiped" in dict(receipt.steps)
    assert "restart_refused" not in dict(receipt.steps), "what was not seen is not claimed"


def test_a_port_that_somebody_took_does_not_spoil_a_fence(stage: Stage) -> None:
    stage.run()
    stage.disable()
    stage.host.responder.taken.add(stage.node.system.port)
    stage.reconcile()
    stage.assert_fenced()
    assert stage.state()[0] == "INACCESSIBLE"


def test_an_endpoint_that_hangs_does_not_keep_the_process_alive(stage: Stage) -> None:
    stage.run()
    void = stage.host.endpoint.void

    def hang(mount: str) -> None:
        void(mount)
        raise TimeoutError

    stage.host.endpoint.void = hang  # type: ignore[method-assign]
    stage.disable()
    stage.reconcile()
    stage.assert_fenced()
    assert stage.state()[0] == "INACCESSIBLE"


STEPS: dict[str, Callable[[Stage], object]] = {
    "prepare": lambda s: s.host.keepers[s.system].apply("prepare", idle, {}),
    "start": lambda s: s.host.keepers[s.system].apply("start", idle, {}),
    "restart": lambda s: s.host.keepers[s.system].apply("restart", idle, {}),
    "reencrypt": lambda s: s.host.keepers[s.system].apply("reencrypt", idle, {}),
    "backup": lambda s: list(s.host.keepers[s.system].backup()),
    "restore": lambda s: s.host.keepers[s.system].restore(iter([b"{", b"}"])),
}


POINTS = [
    ("prepare", "opened"), ("prepare", "prepare"), ("prepare", "preparing"),
    ("start", "opened"), ("start", "start"), ("start", "starting"), ("start", "ready"),
    ("restart", "stop"), ("restart", "opened"), ("restart", "start"), ("restart", "starting"), ("restart", "ready"),
    ("reencrypt", "reencrypt"), ("backup", "opened"), ("backup", "backup"),
    ("restore", "opened"), ("restore", "restore"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "point"), POINTS)
@pytest.mark.parametrize("why", ["revoked", "unreachable"])
def test_access_lost_in_the_middle_of_a_step_wins(stage: Stage, step: str, point: str, why: str) -> None:
    """The fence runs in a thread of its own beside the step, as in the agent; the step ends as loss of access."""
    if step in ("start", "restart", "reencrypt", "backup"):
        stage.keeper.apply("prepare", idle, {})
    if step in ("restart", "reencrypt", "backup"):
        stage.keeper.apply("start", idle, {})
    keeper, lost = stage.keeper, threading.Event()
    killed = threading.Event()

    def fence() -> None:
        lost.wait(10)
        if why == "revoked":
            stage.disable()
            keeper.update(stage.host.desk.watch(-1, 0.0).systems[-1] if False else seen(stage))
        keeper.reconcile(stage.standing(NEVER if why == "unreachable" else 0.0, 0.0))

    def happen(system: str, here: str) -> None:
        if here == "killed":
            killed.set()
        elif here == point and not lost.is_set():
            stage.host.desk.gone = why == "unreachable"
            lost.set()
            assert killed.wait(10), "the fence waited for the step"

    stage.host.at = happen
    stage.host.desk.asked = lambda call: happen(stage.system, call)
    thread = threading.Thread(target=fence)
    thread.start()
    refusal = refused(lambda: STEPS[step](stage))
    thread.join(10)
    assert not thread.is_alive()
    assert refusal.code == "AccessLost"
    stage.assert_fenced()
    assert not stage.node.running()
    assert stage.host.keepers[stage.system].due(stage.standing(NEVER, 0.0)) == "nothing", "carried through"


def test_a_fence_does_not_wait_for_a_verification(stage: Stage) -> None:
    """It may take hours, and needs no keys."""
    stage.run()
    reading, done = threading.Event(), threading.Event()

    def hold(system: str, point: str) -> None:
        if point == "verify":
            reading.set()
            assert done.wait(10)

    stage.host.at = hold
    keeper = stage.keeper
    thread = threading.Thread(target=lambda: keeper.apply("verify", idle, {}))
    thread.start()
    assert reading.wait(10)
    stage.disable()
    stage.reconcile()
    stage.assert_fenced()
    assert stage.state()[0] == "INACCESSIBLE"
    done.set()
    thread.join(10)


def test_steps_are_refused_while_access_is_lost_but_reading_and_leaving(stage: Stage) -> None:
    stage.run()
    stage.disable()
    stage.reconcile()
    for step in ("start", "restart", "accounts", "reencrypt", "adopt"):
        refusal = refused(lambda step=step: stage.keeper.apply(step, idle, {"administrator": "a"}))
        assert (refusal.code, refusal.kind) == ("AccessLost", "conflict")
    assert refused(lambda: list(stage.keeper.backup())).code == "AccessLost"
    assert refused(lambda: stage.keeper.restore(iter([]))).code == "AccessLost"
    stage.keeper.apply("verify", idle, {})
    stage.keeper.apply("stop", idle, {})
    stage.keeper.apply("discard", idle, {})
    stage.assert_fenced()


# healing


def test_it_heals_by_itself_when_access_returns(stage: Stage) -> None:
    stage.run()
    stage.node.insert("row")
    stage.disable()
    stage.reconcile()
    stage.enable()
    stage.reconcile()
    assert stage.node.running()
    assert stage.state() == ("ACTIVE", "")
    assert stage.node.disk.rows == ["row"]
    assert stage.host.responder.texts == {}
    stage.disable()
    stage.reconcile()
    stage.assert_fenced()


def test_access_that_returns_while_a_fence_waits_is_not_fenced_again(stage: Stage) -> None:
    """Disabled and enabled quickly: the server that was lawfully started again stays, with its memory."""
    stage.run()
    keeper, waiting = stage.keeper, threading.Event()
    stage.host.at = lambda system, point: waiting.set() if point == "killed" else None
    stage.disable()
    keeper.update(seen(stage))
    with keeper._doing:
        thread = threading.Thread(target=lambda: keeper.reconcile(stage.standing()))
        thread.start()
        assert waiting.wait(10)
        stage.enable()
        keeper.update(seen(stage))
        keeper.apply("start", idle, {})
    thread.join(10)
    assert stage.node.running()
    assert stage.host.endpoint.answers(stage.mount)
    assert "wipe" not in stage.node.calls
    stage.reconcile()
    assert stage.node.running()


@pytest.mark.parametrize("loss", ["key_disabled", "permission", "identity_deleted", "unconfirmed"])
def test_each_loss_fences_and_its_return_heals(stage: Stage, loss: str) -> None:
    region, admin = stage.region, stage.region.admin
    stage.run()
    found = region.iam.list_policies(admin, region.tenancy, PageRequest(), "delegates").items[0]
    lose: dict[str, Callable[[], object]] = {
        "key_disabled": stage.disable,
        "permission": lambda: region.iam.update_policy(admin, found.id, ("Allow any-user to inspect keys in tenancy",)),
        "identity_deleted": lambda: region.databases.delete_identity(admin, stage.system),
        "unconfirmed": lambda: stage.set(confirmed=False),
    }
    back: dict[str, Callable[[], object]] = {
        "key_disabled": stage.enable,
        "permission": lambda: region.iam.update_policy(admin, found.id, found.statements),
        "identity_deleted": lambda: region.databases.restore_identity(admin, stage.system),
        "unconfirmed": lambda: region.databases.confirm(admin, stage.system),
    }
    lose[loss]()
    stage.reconcile()
    stage.assert_fenced()
    assert stage.state() == ("INACCESSIBLE", loss)
    back[loss]()
    stage.reconcile()
    assert stage.node.running()
    assert stage.state() == ("ACTIVE", "")


def test_a_fenced_system_that_was_to_be_stopped_stays_down(stage: Stage) -> None:
    stage.run()
    stage.set(desired="stopped", state="STOPPING")
    stage.disable()
    stage.reconcile()
    stage.enable()
    stage.reconcile()
    assert not stage.node.running()


def test_unconfirmed_systems_open_no_key(stage: Stage) -> None:
    stage.set(confirmed=False)
    assert refused(lambda: stage.host.desk.open_store_key(stage.system)).code == "Unconfirmed"


# unreachable


@pytest.mark.parametrize(
    ("silence", "grace", "goes_on"),
    [(0.0, 900.0, True), (11.0, 900.0, True), (910.0, 900.0, True), (911.0, 900.0, False), (11.0, 0.0, False),
     (10.0, 0.0, True), (NEVER, None, True)],
)  # fmt: skip
def test_an_unreachable_vault_has_a_grace_of_its_own(
    stage: Stage, silence: float, grace: float | None, goes_on: bool
) -> None:
    stage.run()
    keeper = stage.keeper
    keeper.reconcile(stage.standing(silence, grace))
    assert stage.node.running() == goes_on
    if not goes_on:
        stage.assert_fenced()
        assert stage.state() == ("INACCESSIBLE", "vault_unreachable")
        stage.reconcile()
        assert stage.node.running()
        assert stage.state() == ("ACTIVE", "")


def test_nothing_is_started_while_the_vault_is_silent(stage: Stage) -> None:
    stage.run()
    stage.node.kill()
    stage.keeper.reconcile(stage.standing(11.0))
    assert not stage.node.running()
