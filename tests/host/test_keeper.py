"""The keeper: fences at every point, heals, adopts, backs off, and serves no key once access is lost."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from tests.fakes.calls import Things, make_things
from tests.fakes.domain import DomainRegion, make_region
from tests.fakes.node import FakeNode, LocalHost
from tests.refusals import refused

from keystead.core.errors import Unavailable
from keystead.core.page import PageRequest
from keystead.core.secret import Secret
from keystead.databases.creation import NewSystem
from keystead.databases.desk import SystemView
from keystead.databases.hierarchy import STEP, StoreKey
from keystead.databases.plan import Standing
from keystead.host.keeper import BACKOFF, FAILED_AFTER, Keeper

NEVER = 1e9


def idle(percent: int, words: str) -> None:
    """Progress that nobody looks at."""


@dataclass
class Stage:
    """A region with one system, and its keeper on a fake machine."""

    region: DomainRegion
    things: Things
    host: LocalHost
    system: str

    @property
    def keeper(self) -> Keeper:
        return self.host.keeper(self.system)

    @property
    def node(self) -> FakeNode:
        return self.host.nodes[self.system]

    @property
    def mount(self) -> str:
        return self.node.mount

    def standing(self, silence: float = 0.0, grace: float | None = 900.0) -> Standing:
        return Standing(self.host.keepers[self.system].view.granted, silence, 10.0, grace)

    def reconcile(self, silence: float = 0.0, grace: float | None = 900.0) -> None:
        keeper = self.keeper
        keeper.reconcile(self.standing(silence, grace))

    def disable(self) -> None:
        self.region.vaults.disable(self.region.admin, self.things.key)

    def enable(self) -> None:
        self.region.vaults.enable(self.region.admin, self.things.key)

    def state(self) -> tuple[str, str]:
        with self.region.store.read() as tx:
            system = tx.databases.system(self.region.tenancy, self.system)
        assert system is not None
        return system.state, system.reason

    def set(self, **changes: object) -> None:
        with self.region.store.note() as tx:
            system = tx.databases.system(self.region.tenancy, self.system)
            assert system is not None
            tx.databases.change(system, replace(system, **changes))  # type: ignore[arg-type]

    def run(self) -> None:
        """As its job would: prepared, started, ACTIVE."""
        self.keeper.apply("prepare", idle, {})
        self.keeper.apply("start", idle, {})
        self.set(state="ACTIVE")

    def assert_fenced(self) -> None:
        """Nothing is served, nothing runs, nothing is left in memory."""
        assert not self.host.endpoint.answers(self.mount)
        assert not self.node.running()
        assert not self.host.machine.children.get(self.system)
        assert self.system not in self.host.machine.memory
        assert self.host.keepers[self.system]._store_key is None


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainRegion, Things]:
    region = make_region(tmp_path_factory.mktemp("template"))
    return region, make_things(region, region.admin)


@pytest.fixture
def stage(template: tuple[DomainRegion, Things], tmp_path: Path) -> Stage:
    region, things = template[0].copy(tmp_path), template[1]
    made = region.databases.create(region.admin, NewSystem(things.compartment, "trains", things.key))
    with region.store.note() as tx:
        tx.jobs.cancel_for(region.tenancy, made.system.id, region.clock.now())
    return Stage(region, things, quiet(LocalHost(region)), made.system.id)


def quiet(host: LocalHost) -> LocalHost:
    """Here the tests say when a system is brought in line."""
    host.resumes = False
    return host


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
            keeper.update(stage.host.desk.watch(-1, 0.0).systems[-1] if False else _seen(stage))
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


def _seen(stage: Stage) -> SystemView:
    return next(seen for seen in stage.host.desk.watch(-1, 0.0).systems if seen.system.id == stage.system)


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
    keeper.update(_seen(stage))
    with keeper._doing:
        thread = threading.Thread(target=lambda: keeper.reconcile(stage.standing()))
        thread.start()
        assert waiting.wait(10)
        stage.enable()
        keeper.update(_seen(stage))
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
        keeper.update(_seen(stage))
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
