"""The keeper brings systems up, adopts what runs, tries ever more rarely what does not start, and ends what is gone."""

import threading
from itertools import pairwise

import pytest
from tests.fakes.node import LocalHost
from tests.host.stage import Stage, idle, quiet, seen
from tests.refusals import refused

from keystead.core.errors import Unavailable
from keystead.core.secret import Secret
from keystead.databases.hierarchy import STEP, StoreKey
from keystead.host.keeper import BACKOFF, FAILED_AFTER

# bringing up


def test_a_system_comes_up_with_keys_and_its_account(stage: Stage) -> None:
    stage.run()
    stage.keeper.apply("accounts", idle, {})
    assert stage.node.running()
    assert stage.node.disk.pages == {1}
    assert list(stage.node.disk.accounts) == ["admin"]
    assert len([of for _, of in stage.host.endpoint.tokens if of == stage.mount]) == 1, "the builder's token is gone"
    assert stage.host.responder.texts == {}


def test_steps_done_again_do_nothing_again(stage: Stage) -> None:
    stage.run()
    process, token = stage.node.process, list(stage.host.endpoint.tokens)
    for step in ("prepare", "start"):
        stage.keeper.apply(step, idle, {})
    assert stage.node.process is process
    assert list(stage.host.endpoint.tokens) == token


def test_a_half_built_directory_is_built_anew(stage: Stage) -> None:
    def fail(system: str, point: str) -> None:
        if point == "preparing":
            raise Unavailable("PrepareFailed", "the disk is full")

    stage.host.at = fail
    with pytest.raises(Unavailable):
        stage.keeper.apply("prepare", idle, {})
    assert not stage.host.endpoint.answers(stage.mount)
    stage.host.at = lambda system, point: None
    stage.run()


def test_an_unknown_step_is_refused(stage: Stage) -> None:
    assert refused(lambda: stage.keeper.apply("explode", idle, {})).code == "UnknownStep"


def test_what_should_run_and_does_not_is_started(stage: Stage) -> None:
    stage.run()
    stage.node.kill()
    stage.reconcile()
    assert stage.node.running()
    assert len(stage.host.endpoint.tokens) == 1, "the token of the dead process is void"


def test_what_should_be_stopped_is_stopped_and_its_keys_go(stage: Stage) -> None:
    stage.run()
    stage.set(desired="stopped", state="STOPPING")
    stage.reconcile()
    assert not stage.node.running()
    assert not stage.host.endpoint.answers(stage.mount)


def test_deleting_leaves_nothing(stage: Stage) -> None:
    stage.run()
    stage.keeper.apply("discard", idle, {})
    assert stage.system not in stage.host.machine.disks
    stage.assert_fenced()


def test_new_data_keys_are_served_at_once(stage: Stage) -> None:
    stage.run()
    publish(stage)
    stage.keeper.apply("reencrypt", idle, {})
    assert stage.node.disk.pages == {3}


def test_data_keys_published_while_it_starts_are_served_afterwards(stage: Stage) -> None:
    stage.keeper.apply("prepare", idle, {})

    def meanwhile(system: str, point: str) -> None:
        if point == "starting":
            publish(stage)
            stage.host.keeper(stage.system)

    stage.host.at = meanwhile
    stage.keeper.apply("start", idle, {})
    (keys,) = stage.host.endpoint.tokens.values()
    assert keys.latest[1] == 3


def publish(stage: Stage) -> None:
    """What the job of a rotation writes."""
    region = stage.region
    opened = region.desk.open_store_key(region.host(), stage.system)
    with region.store.note() as tx:
        system = tx.databases.system(region.tenancy, stage.system)
        assert system is not None
        store_key = StoreKey(Secret(opened.store_key), system.tenancy, "home", system.id)
        number = tx.databases.next_number(system, STEP)
        tx.databases.unmark_latest(system.tenancy, system.id)
        for key in store_key.new_data_keys(number, system.node, region.clock.now()):
            tx.databases.add_wrapped(system.tenancy, key)


# another life of host


def another_life(stage: Stage) -> None:
    """`host` was killed and started again: memory of its own is gone, the machine is as it was."""
    stage.host = quiet(LocalHost(stage.region, stage.host.machine))


def test_a_server_is_adopted_and_served_again(stage: Stage) -> None:
    stage.run()
    process = stage.node.process
    another_life(stage)
    stage.reconcile()
    assert stage.node.process is process
    assert process is not None
    assert stage.host.endpoint.ask(process.token, stage.mount, 1) is not None
    publish(stage)
    stage.keeper.apply("reencrypt", idle, {})
    assert stage.node.disk.pages == {3}


def test_an_adopted_server_is_fenced_when_access_was_lost_meanwhile(stage: Stage) -> None:
    stage.run()
    stage.disable()
    another_life(stage)
    stage.reconcile()
    stage.assert_fenced()
    assert stage.state() == ("INACCESSIBLE", "key_disabled")


def test_an_adopted_server_waits_for_a_desk_that_does_not_answer(stage: Stage) -> None:
    stage.run()
    another_life(stage)
    keeper = stage.keeper
    stage.host.desk.gone = True
    keeper.reconcile(stage.standing())
    assert stage.node.running()
    assert not stage.host.endpoint.answers(stage.mount)
    stage.host.desk.gone = False
    stage.reconcile()
    assert stage.host.endpoint.answers(stage.mount)


def test_after_a_fence_another_life_makes_sure_and_keeps_the_receipt(stage: Stage) -> None:
    stage.run()
    stage.disable()
    stage.reconcile()
    first = stage.region.databases.last_fence(stage.region.admin, stage.system)
    stage.region.clock.advance(3600)
    stage.region.allow("Allow any-user to inspect vaults in tenancy")  # whatever changes in between
    another_life(stage)
    stage.reconcile()
    stage.assert_fenced()
    assert "INACCESSIBLE" in stage.host.responder.texts[stage.node.system.port]
    assert stage.region.databases.last_fence(stage.region.admin, stage.system) == first


# crashes


def test_a_server_that_does_not_start_is_tried_ever_more_rarely(stage: Stage) -> None:
    stage.run()
    stage.node.kill()
    stage.host.machine.ports.add(stage.node.system.port)
    tries: list[float] = []
    began = stage.region.clock.monotonic()
    while len(tries) < len(BACKOFF) + 1:
        before = stage.node.calls.count("start")
        stage.reconcile()
        if stage.node.calls.count("start") > before:
            tries.append(stage.region.clock.monotonic() - began)
        stage.region.clock.advance(0.5)
    gaps = [round(after - before, 1) for before, after in pairwise(tries)]
    assert gaps == [*BACKOFF[1:], BACKOFF[-1]]
    assert stage.state() == ("FAILED", "start_failed")
    assert len([report for report in stage.host.desk.reports if report.event == "failed"]) == 1
    assert not stage.host.endpoint.answers(stage.mount)


@pytest.mark.parametrize("point", ["start", "starting", "ready"])
def test_a_restart_that_a_fence_ends_does_not_hide_why(stage: Stage, point: str) -> None:
    """The server died, and the key is disabled while it is started again: the reason is the key."""
    stage.run()
    stage.node.kill()
    keeper, lost, killed = stage.keeper, threading.Event(), threading.Event()

    def fence() -> None:
        lost.wait(10)
        stage.disable()
        keeper.update(seen(stage))
        stage.host.desk.gone = True  # the fence itself cannot tell; what is told later must be right too
        keeper.reconcile(stage.standing())

    def happen(system: str, here: str) -> None:
        if here == "killed":
            killed.set()
        elif here == point and not lost.is_set():
            lost.set()
            assert killed.wait(10)

    stage.host.at = happen
    thread = threading.Thread(target=fence)
    thread.start()
    keeper.reconcile(stage.standing())
    thread.join(10)
    stage.host.desk.gone = False
    keeper.reconcile(stage.standing())
    stage.assert_fenced()
    assert stage.state() == ("INACCESSIBLE", "key_disabled")


def test_a_failed_system_comes_back_when_it_starts_at_last(stage: Stage) -> None:
    stage.run()
    stage.node.kill()
    stage.host.machine.ports.add(stage.node.system.port)
    for _ in range(FAILED_AFTER):
        stage.reconcile()
        stage.region.clock.advance(60)
    assert stage.state()[0] == "FAILED"
    stage.host.machine.ports.clear()
    stage.reconcile()
    assert stage.node.running()
    stage.reconcile()
    assert stage.state() == ("ACTIVE", "")


# gone


def test_a_system_that_the_desk_forgot_is_ended_and_its_data_left(stage: Stage) -> None:
    stage.run()
    stage.node.insert("row")
    stage.keeper.forget()
    assert not stage.node.running()
    assert not stage.host.endpoint.answers(stage.mount)
    assert stage.node.disk.rows == ["row"]


def test_nothing_secret_is_in_what_a_keeper_shows(stage: Stage) -> None:
    stage.run()
    process = stage.node.process
    assert process is not None
    shown = repr((vars(stage.keeper), stage.host.desk.reports, stage.region.entries()))
    for secret in (process.token, *process.keys.values()):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


@pytest.mark.parametrize(("given", "asks"), [(0, 1234), (61007, 61007)])
def test_the_endpoint_answers_the_uid_that_the_server_runs_as(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, given: int, asks: int
) -> None:
    """Without root no uids are given out: servers run as we do."""
    monkeypatch.setattr("os.getuid", lambda: 1234)
    stage.set(uid=given)
    stage.keeper.apply("prepare", idle, {})
    stage.keeper.apply("start", idle, {})
    admitted = [keys.uid for (_, mount), keys in stage.host.endpoint.tokens.items() if mount == stage.mount]
    assert admitted == [asks]
