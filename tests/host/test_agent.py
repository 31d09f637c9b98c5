"""The agent: in line with the desk, each system on its own, fences at once, and a silence of the desk noticed."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.calls import Things, make_things
from tests.fakes.domain import DomainRegion, make_region
from tests.fakes.node import FakeEndpoint, FakeNode, FakeResponder, LocalDesk, Machine, Process

from keystead.core.errors import Refusal, Unavailable
from keystead.databases.creation import NewSystem
from keystead.databases.desk import HostView, Opened
from keystead.databases.model import DbSystem
from keystead.host import agent as agent_module
from keystead.host.agent import Agent, Rules
from keystead.iam.model import Target
from keystead.server.sealing.mark import Mark

PATIENCE = 10.0


def idle(percent: int, words: str) -> None:
    """Progress that nobody looks at."""


class WaitingDesk(LocalDesk):
    """Answers a watch when something changed, as the region does; `speak` may change what it says."""

    def __init__(self, region: DomainRegion) -> None:
        super().__init__(region)
        self.speak: Callable[[HostView], HostView] = lambda view: view
        self.watches = 0

    def watch(self, known_generation: int, wait_seconds: float) -> HostView:
        end = time.monotonic() + min(wait_seconds, 0.2)
        while self.region.snapshot.refresh() == known_generation and time.monotonic() < end and not self.gone:
            time.sleep(0.002)
        self.watches += 1
        return self.speak(super().watch(known_generation, wait_seconds))


@dataclass
class Hall:
    """A region and an agent with its nodes in memory."""

    region: DomainRegion
    things: Things
    rules: Rules = field(default_factory=Rules)
    threads: int = 16

    def __post_init__(self) -> None:
        self.machine = Machine()
        self.order: Mark | None = None
        self.begin()

    def begin(self) -> None:
        """`host` starts (again) on the same machine."""
        self.desk = WaitingDesk(self.region)
        self.endpoint, self.responder = FakeEndpoint(), FakeResponder()
        self.nodes: dict[str, FakeNode] = {}
        self.at: Callable[[str, str], None] = lambda system, point: None
        self.logged: list[tuple[str, dict[str, Any]]] = []
        self.agent = Agent(
            self.desk,
            self._node,
            self.endpoint,
            self.responder,
            self.region.clock,
            self.rules,
            lambda event, **more: self.logged.append((event, more)),
            self._strangers,
            self.threads,
            sealed=lambda: self.order,
        )

    def _node(self, system: DbSystem) -> FakeNode:
        self.nodes[system.id] = FakeNode(system, self.machine, self.endpoint, lambda *told: self.at(*told))
        return self.nodes[system.id]

    def _strangers(self, known: Collection[str]) -> list[str]:
        found = [name for name, process in self.machine.processes.items() if name not in known and not process.dead]
        for name in found:
            self.machine.processes[name].dead = True
        return found

    def run(self) -> None:
        self.thread = threading.Thread(target=self.agent.run, daemon=True)
        self.thread.start()

    def system(self, name: str, key: str | None = None) -> str:
        """A system that runs and is ACTIVE."""
        region = self.region
        made = region.databases.create(region.admin, NewSystem(self.things.compartment, name, key or self.things.key))
        for step in ("prepare", "start"):
            self.agent.apply(made.system.id, step, idle, {})
        self.set(made.system.id, state="ACTIVE")
        return made.system.id

    def set(self, system_id: str, **changes: object) -> None:
        target = self.region.guard.entry(self.region.admin, "X", _target(self.region), "Test", "succeeded")
        for _ in range(20):
            with self.region.store.write(target) as tx:
                system = next(each for each in tx.databases.all_systems() if each.id == system_id)
                if tx.databases.change(system, replace(system, **changes)):  # type: ignore[arg-type]
                    tx.jobs.cancel_for(system.tenancy, system.id, self.region.clock.now())
                    return
        raise AssertionError("somebody else keeps changing it")

    def state(self, system_id: str) -> str:
        with self.region.store.read() as tx:
            return next(each.state for each in tx.databases.all_systems() if each.id == system_id)

    def disable(self, key: str | None = None) -> None:
        self.region.vaults.disable(self.region.admin, key or self.things.key)

    def enable(self, key: str | None = None) -> None:
        self.region.vaults.enable(self.region.admin, key or self.things.key)

    def running(self, system: str) -> bool:
        return self.nodes[system].running()


def _target(region: DomainRegion) -> Target:
    return Target("mysql-instances", "x", "x", region.tenancy, ())


def eventually(seen: Callable[[], bool]) -> None:
    """Wait until it is so; there is no event for what several threads come to."""
    end = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainRegion, Things]:
    region = make_region(tmp_path_factory.mktemp("template"))
    things = make_things(region, region.admin)
    with region.store.note() as tx:
        tx.connection.exec_driver_sql("UPDATE db_systems SET state = 'DELETED'")
    return region, things


@pytest.fixture
def hall(template: tuple[DomainRegion, Things], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hall]:
    monkeypatch.setattr(agent_module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(agent_module, "SILENCE_CHECK_SECONDS", 0.01)
    made = Hall(template[0].copy(tmp_path), template[1])
    yield made
    made.agent.stop()


def test_a_key_disabled_fences_and_enabled_heals(hall: Hall) -> None:
    system = hall.system("trains")
    hall.run()
    hall.disable()
    eventually(lambda: hall.state(system) == "INACCESSIBLE")
    assert not hall.running(system)
    assert not hall.endpoint.answers(hall.nodes[system].mount)
    hall.enable()
    eventually(lambda: hall.state(system) == "ACTIVE")
    assert hall.running(system)


def test_sealed_by_order_fences_whatever_the_desk_says(hall: Hall) -> None:
    """It is not asked: who would answer is just ending. Unsealed, systems heal by themselves."""
    system = hall.system("trains")
    hall.run()
    hall.desk.gone = True
    hall.order = Mark("2026-01-01T00:00:00.000Z", "olivia")
    eventually(lambda: not hall.running(system))
    assert not hall.endpoint.answers(hall.nodes[system].mount)
    watches, hall.desk.gone = hall.desk.watches, False
    eventually(lambda: hall.desk.watches > watches + 2)
    assert not hall.running(system), "what is granted does not count while the order stands"
    hall.order = None
    eventually(lambda: hall.state(system) == "ACTIVE" and hall.running(system))


def test_every_system_of_a_key_is_fenced_and_no_other(hall: Hall) -> None:
    other_key = hall.region.vaults.create_key(hall.region.admin, hall.things.compartment, hall.things.vault, "o").id
    systems = [hall.system(f"s{number}") for number in range(5)]
    other = hall.system("other", other_key)
    hall.run()
    hall.disable()
    eventually(lambda: all(hall.state(system) == "INACCESSIBLE" for system in systems))
    assert hall.running(other)
    assert hall.state(other) == "ACTIVE"


def test_one_systems_trouble_holds_up_no_other(hall: Hall) -> None:
    broken, fine = hall.system("broken"), hall.system("fine")

    def fail(system: str, point: str) -> None:
        if system == broken and point == "silent":
            raise OSError("broken")

    hall.at = fail
    hall.run()
    hall.disable()
    eventually(lambda: hall.state(fine) == "INACCESSIBLE")
    eventually(lambda: not hall.running(broken) and bool(hall.logged))
    assert not hall.endpoint.answers(hall.nodes[broken].mount)
    assert hall.logged[0][1]["system"] == broken


def test_a_key_that_does_not_answer_holds_up_nobody_elses_healing(hall: Hall) -> None:
    """Its system is down and cannot start; systems with other keys are fenced and heal, on one thread for them all."""
    hall.agent.stop()
    hall.threads = 1
    hall.begin()
    region = hall.region
    other = region.vaults.create_key(region.admin, hall.things.compartment, hall.things.vault, "in-a-token").id
    hung, fine = [hall.system(f"hung{number}", other) for number in range(3)], hall.system("fine")
    open_store_key, asked, answer = hall.desk.open_store_key, threading.Event(), threading.Event()

    def open_or_hang(system: str) -> Opened:
        if system not in hung:
            return open_store_key(system)
        asked.set()
        answer.wait(5 * PATIENCE)
        raise Unavailable("KeystoreDown", "it does not answer")

    def unanswered(view: HostView) -> HostView:
        return replace(view, systems=[replace(each, unanswered=each.system.id in hung) for each in view.systems])

    eventually(lambda: not hall.agent._busy)  # its one thread has come to the end of what making them began
    hall.desk.open_store_key, hall.desk.speak = open_or_hang, unanswered  # type: ignore[method-assign]
    for each in hung:
        hall.nodes[each].kill()
    hall.run()
    try:
        assert asked.wait(PATIENCE)
        hall.disable()
        eventually(lambda: hall.state(fine) == "INACCESSIBLE")
        hall.enable()
        eventually(lambda: hall.state(fine) == "ACTIVE" and hall.running(fine))
    finally:
        answer.set()


@pytest.mark.parametrize("threads", [1, 16])
def test_a_fence_waits_for_no_start_and_for_no_thread(hall: Hall, threads: int) -> None:
    """A start may take a minute, and others may keep every thread busy."""
    hall.agent.stop()
    hall.threads = threads
    hall.begin()
    system = hall.system("trains")
    others = [hall.system(f"s{number}") for number in range(3)]
    starting, go_on = threading.Semaphore(0), threading.Event()

    def hold(_: str, point: str) -> None:
        if point == "starting":
            starting.release()
            assert go_on.wait(PATIENCE)

    hall.at = hold
    for each in (*others, system):
        hall.nodes[each].kill()
    hall.run()
    for _ in range(min(threads, 4)):
        assert starting.acquire(timeout=PATIENCE)
    hall.disable()
    eventually(lambda: not any(hall.endpoint.answers(hall.nodes[each].mount) for each in (*others, system)))
    eventually(lambda: not any(hall.running(each) for each in (*others, system)))
    go_on.set()
    eventually(lambda: all(hall.state(each) == "INACCESSIBLE" for each in (*others, system)))
    assert not any(hall.running(each) for each in (*others, system))


def test_jobs_steps_see_what_their_transaction_wrote(hall: Hall) -> None:
    region = hall.region
    made = region.databases.create(region.admin, NewSystem(hall.things.compartment, "new", hall.things.key))
    hall.agent.apply(made.system.id, "prepare", idle, {})
    assert hall.nodes[made.system.id].prepared()


def test_a_system_that_nobody_knows_is_not_found(hall: Hall) -> None:
    for run in (
        lambda: hall.agent.apply(hall.things.system, "start", idle, {}),
        lambda: hall.agent.backup(hall.things.system),
        lambda: hall.agent.restore(hall.things.system, iter([])),
    ):
        with pytest.raises(Refusal) as caught:
            run()
        assert caught.value.kind == "not_found"


def test_without_the_desk_no_step_is_done(hall: Hall) -> None:
    system = hall.system("trains")
    hall.desk.gone = True
    with pytest.raises(Unavailable):
        hall.agent.apply(system, "restart", idle, {})
    assert hall.running(system)


@pytest.mark.parametrize(("grace", "goes_on"), [(0.0, False), (900.0, True), (None, True)])
def test_a_silent_desk_is_unreachable_after_the_lease(hall: Hall, grace: float | None, goes_on: bool) -> None:
    hall.agent.stop()
    hall.rules = Rules(10.0, grace)
    hall.begin()
    system = hall.system("trains")
    hall.run()
    eventually(lambda: hall.desk.watches > 2)
    hall.desk.gone = True
    eventually(lambda: bool(hall.logged))  # the last answer was taken, this one is none
    hall.region.clock.advance(9.9)
    time.sleep(0.05)
    assert hall.running(system), "the lease holds"
    hall.region.clock.advance(0.2)
    if goes_on:
        time.sleep(0.1)
        assert hall.running(system)
        hall.region.clock.advance(900)
    if grace is None:
        time.sleep(0.1)
        assert hall.running(system), "never is a choice"
        return
    eventually(lambda: not hall.running(system))
    assert not hall.endpoint.answers(hall.nodes[system].mount)
    hall.desk.gone = False
    eventually(lambda: hall.running(system) and hall.state(system) == "ACTIVE")


def test_a_desk_that_answers_from_an_older_state_is_no_positive_answer(hall: Hall) -> None:
    """Yesterday's state brought back: nothing opens by it (law 11)."""
    hall.agent.stop()
    hall.rules = Rules(10.0, 0.0)
    hall.begin()
    system = hall.system("trains")
    hall.run()
    eventually(lambda: hall.desk.watches > 2)
    hall.desk.speak = lambda view: replace(view, generation=1)
    watched = hall.desk.watches
    eventually(lambda: hall.desk.watches > watched + 1)  # the last newer answer was taken
    hall.region.clock.advance(11)
    eventually(lambda: not hall.running(system))


def test_a_system_that_is_gone_is_ended_and_its_data_left(hall: Hall) -> None:
    system = hall.system("trains")
    hall.run()
    hall.desk.speak = lambda view: replace(view, systems=[])
    eventually(lambda: not hall.running(system) and not hall.endpoint.answers(hall.nodes[system].mount))
    assert hall.nodes[system].prepared()


def test_a_discarded_system_is_forgotten(hall: Hall) -> None:
    system = hall.system("trains")
    hall.set(system, state="DELETING", desired="deleted")
    hall.agent.apply(system, "discard", idle, {})
    hall.set(system, state="DELETED")
    hall.run()
    eventually(lambda: hall.desk.watches > 3)
    assert system not in hall.machine.disks
    assert system not in hall.machine.processes
    assert hall.logged == []


def test_another_life_adopts_and_goes_on(hall: Hall) -> None:
    system = hall.system("trains")
    process = hall.nodes[system].process
    hall.agent.stop()
    hall.begin()
    hall.run()
    eventually(lambda: system in hall.nodes and hall.endpoint.answers(hall.nodes[system].mount))
    assert hall.nodes[system].process is process
    hall.disable()
    eventually(lambda: hall.state(system) == "INACCESSIBLE")


def test_a_server_that_crashed_is_started_again(hall: Hall) -> None:
    system = hall.system("trains")
    hall.run()
    eventually(lambda: hall.desk.watches > 1)
    hall.nodes[system].kill()
    eventually(lambda: hall.running(system))


def test_stopping_leaves_servers_running(hall: Hall) -> None:
    system = hall.system("trains")
    hall.run()
    eventually(lambda: hall.desk.watches > 1)
    hall.agent.stop()
    hall.thread.join(PATIENCE)
    watched = hall.desk.watches
    hall.disable()
    assert system in hall.machine.processes
    assert hall.desk.watches == watched


def test_a_server_that_brought_back_state_does_not_know_is_ended(hall: Hall) -> None:
    """And only at the first view: what is made later is known."""
    known = hall.system("flights")
    hall.machine.processes["forgotten"] = Process(b"token", {})
    hall.begin()
    hall.run()
    eventually(lambda: hall.machine.processes["forgotten"].dead)
    assert hall.running(known)
    assert [more for event, more in hall.logged if "does not know" in event] == [{"node": "forgotten"}]
    assert hall.running(hall.system("trains"))
