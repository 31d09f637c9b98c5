"""A keeper on a stage: a real region behind the desk, a machine in memory, and everything that can happen to it."""

from dataclasses import dataclass, replace

from tests.fakes.calls import Things
from tests.fakes.domain import DomainRegion
from tests.fakes.node import FakeNode, LocalHost

from keystead.databases.desk import SystemView
from keystead.databases.plan import Standing
from keystead.host.keeper import Keeper

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


def quiet(host: LocalHost) -> LocalHost:
    """Here the tests say when a system is brought in line."""
    host.resumes = False
    return host


def seen(stage: Stage) -> SystemView:
    return next(each for each in stage.host.desk.watch(-1, 0.0).systems if each.system.id == stage.system)
