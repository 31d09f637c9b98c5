"""The agent of a machine: watches the desk, keeps every node in line with it, and fences.

One thread asks the desk (a long poll that returns at once when anything about access changes) and hands each system to
its keeper; systems are handled in parallel, each by one thread at a time, but a fence waits for nothing else that is
being done to its system, nor for a thread that others keep busy. Systems that do not start, or whose key is somewhere
that does not answer, have threads of their own: they hold nobody else up who is to heal. A second thread watches the
silence: when the desk does not answer, "unreachable" has its own rule.
"""

import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from keystead.core.clock import Clock
from keystead.core.errors import KeysteadError, not_found
from keystead.databases.desk import HostView, SystemView
from keystead.databases.node import Progress
from keystead.databases.plan import Standing
from keystead.host.keeper import Keeper
from keystead.host.ports import Desk, Endpoint, Identities, Logins, NodeFactory, Responder, Strangers

WATCH_SECONDS = 2.0
RETRY_SECONDS = 0.25
SILENCE_CHECK_SECONDS = 0.5


class Order(Protocol):
    """That the region is sealed: by whom, and since when."""

    @property
    def by(self) -> str: ...

    @property
    def since(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """`lease`: seconds that a positive answer is good for. `grace`: seconds that "unreachable" may last, None: ever."""

    lease: float = 10.0
    grace: float | None = 900.0

    @property
    def watch(self) -> float:
        """Seconds that one question may wait for news: an idle region must answer well within the lease."""
        return min(WATCH_SECONDS, self.lease / 4)


class Agent:
    """Keeps the nodes of one machine."""

    def __init__(
        self,
        desk: Desk,
        nodes: NodeFactory,
        endpoint: Endpoint,
        responder: Responder,
        clock: Clock,
        rules: Rules,
        log: Callable[..., object],
        strangers: Strangers,
        threads: int = 16,
        sealed: Callable[[], Order | None] = lambda: None,
    ) -> None:
        """`sealed`: the order to seal the region, while it stands; cheap, asked twice a second."""
        self._desk = desk
        self._nodes = nodes
        self._endpoint = endpoint
        self._responder = responder
        self._clock = clock
        self._rules = rules
        self._sealed = sealed
        self._logins: Logins | None = None
        self._identities: Identities | None = None
        self._log = log
        self._strangers = strangers
        self._keepers: dict[str, Keeper] = {}
        self._busy: dict[tuple[str, bool], bool] = {}
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="keeper")
        self._troubled = ThreadPoolExecutor(max(threads // 4, 1), thread_name_prefix="troubled")
        self._stopping = threading.Event()
        self._asking = threading.Lock()
        self._generation = 0
        self._heard = clock.monotonic()
        self._region = ""

    def serve_logins(self, logins: Logins) -> None:
        """Have logins with tokens served too. Before `run`."""
        self._logins = logins

    def offer_identities(self, identities: Identities) -> None:
        """Have each system given its own identity. Before `run`."""
        self._identities = identities

    def run(self) -> None:
        """Until `stop`."""
        silence = threading.Thread(target=self._watch_silence, name="silence", daemon=True)
        silence.start()
        while not self._stopping.is_set():
            try:
                view = self._desk.watch(self._generation, self._rules.watch)
            except KeysteadError as error:
                self._log("the desk does not answer", code=error.code, reason=error.message)
                self._stopping.wait(RETRY_SECONDS)
                continue
            self._take(view)

    def stop(self) -> None:
        """End the loops. Servers go on: they outlive this process and are adopted by the next."""
        self._stopping.set()
        for pool in (self._pool, self._troubled):
            pool.shutdown(wait=False, cancel_futures=True)

    def refresh(self) -> None:
        """Ask the desk now, so that a job's step sees what its transaction wrote."""
        with self._asking:
            self._take(self._desk.watch(-1, 0.0))

    def apply(self, system: str, step: str, progress: Progress, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """A step of a job. Raises: Refusal, Unavailable."""
        keeper = self._fresh(system)
        result = keeper.apply(step, progress, arguments)
        if step == "discard":
            with self._guard:
                self._keepers.pop(system, None)
        return result

    def backup(self, system: str) -> Generator[bytes, None, None]:
        return self._fresh(system).backup()

    def restore(self, system: str, chunks: Iterator[bytes]) -> Mapping[str, str]:
        return self._fresh(system).restore(chunks)

    def _fresh(self, system: str) -> Keeper:
        self.refresh()
        with self._guard:
            keeper = self._keepers.get(system)
        if keeper is None:
            raise not_found("database system")
        return keeper

    def _take(self, view: HostView) -> None:
        """Take over what the desk said."""
        if self._fence_sealed():
            return  # what it says was true before the order
        with self._guard:
            if view.generation < self._generation:
                return  # overtaken by a newer one, or a state brought back: no positive answer either way
            self._heard = self._clock.monotonic()
            first, self._generation = self._generation == 0, view.generation
            self._region = view.region
            for seen in view.systems:
                self._keeper_of(seen)
            present = {seen.system.id for seen in view.systems}
            if first:  # before anybody can begin a system that this view does not know
                self._end_strangers(present)
            gone = [self._keepers.pop(system) for system in list(self._keepers) if system not in present]
        for seen in view.systems:
            self._reconcile(seen.system.id)
        for keeper in gone:
            _at_once(self._forget, keeper)

    def _keeper_of(self, seen: SystemView) -> Keeper:
        keeper = self._keepers.get(seen.system.id)
        if keeper is None:
            node = self._nodes(seen.system)
            keeper = Keeper(
                seen, self._region, node, self._desk, self._endpoint, self._responder, self._clock, self._logins,
                self._identities,
            )  # fmt: skip
            self._keepers[seen.system.id] = keeper
        else:
            keeper.update(seen)
        return keeper

    def _reconcile(self, system: str) -> None:
        """Hand a system to a thread; while one is at it, remember to look again. Fences have their own lane."""
        with self._guard:
            keeper = self._keepers.get(system)
            if keeper is None:
                return
            lane = (system, keeper.due(self._standing(keeper)) == "fence")
            if lane in self._busy:
                self._busy[lane] = True
                return
            self._busy[lane] = False
        if lane[1]:
            _at_once(self._work_on, lane)
            return
        try:
            (self._troubled if keeper.troubled else self._pool).submit(self._work_on, lane)
        except RuntimeError:  # the pool is shut down: we are stopping
            self._busy.pop(lane, None)

    def _work_on(self, lane: tuple[str, bool]) -> None:
        system = lane[0]
        while True:
            with self._guard:
                keeper = self._keepers.get(system)
            if keeper is not None:
                try:
                    keeper.reconcile(self._standing(keeper))
                except Exception as error:  # one system's trouble must not stop the others
                    self._log("a node could not be brought in line", system=system, reason=repr(error))
            with self._guard:
                if not self._busy.get(lane) or self._stopping.is_set():
                    self._busy.pop(lane, None)
                    return
                self._busy[lane] = False

    def _end_strangers(self, known: Collection[str]) -> None:
        """State that was brought back may not know a system whose server runs: nobody else would fence it."""
        for name in self._strangers(known):
            self._log("a server of a system that the region does not know was ended", node=name)

    def _forget(self, keeper: Keeper) -> None:
        try:
            keeper.forget()
        except Exception as error:
            self._log("a system that is gone could not be ended", system=keeper.view.system.id, reason=repr(error))

    def _standing(self, keeper: Keeper) -> Standing:
        silence = max(self._clock.monotonic() - self._heard, keeper.silence)
        return Standing(keeper.view.granted, silence, self._rules.lease, self._rules.grace)

    def _fence_sealed(self) -> bool:
        """Whether the region is sealed by order; then every system is fenced, whatever the desk said last."""
        order = self._sealed()
        if order is None:
            return False
        text = f"the region was sealed by {order.by}"
        with self._guard:
            keepers = list(self._keepers.values())
            for keeper in keepers:
                if keeper.view.granted or keeper.view.loss != "sealed":
                    keeper.update(replace(keeper.view, granted=False, loss="sealed", text=text, since=order.since))
        for keeper in keepers:
            self._reconcile(keeper.view.system.id)
        return True

    def _watch_silence(self) -> None:
        while not self._stopping.wait(min(SILENCE_CHECK_SECONDS, self._rules.lease / 4)):
            if self._fence_sealed():
                continue
            if self._clock.monotonic() - self._heard > self._rules.lease:
                with self._guard:
                    systems = list(self._keepers)
                for system in systems:
                    self._reconcile(system)


def _at_once(work: Callable[..., None], what: object) -> None:
    """In a thread of its own: taking access away waits for no thread of the pool."""
    threading.Thread(target=work, args=(what,), name="fence", daemon=True).start()
