"""`keystead work`: the one process per region that does jobs and keeps the audit trail together.

- Runners: threads that lease jobs and bring them as far as they go (jobs/runner.py).
- The outbox: entries that state changes left as rows are copied to a segment, by id, and the rows removed once they are
  durable there. A copy made twice counts once (the index knows the ids).
- The index: every writer's segments are followed continuously, 0.1 s behind.
- Upkeep: keys are rotated when they are due, deadlines that passed are written down, expiry is announced, systems
  follow the newest version of their key. Looked at when something was committed, and now and then as time passes.
- The heads: what the trail looked like is noted in the state, so that neither can be brought back alone (law 11).
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import sqlalchemy as sa
import structlog

from keystead.adapters.sql import schema
from keystead.adapters.sql.heads import SqlHeads
from keystead.adapters.write_events import HOT_S, WriteEvents, watch_segments, watch_state
from keystead.core.errors import KeysteadError
from keystead.jobs.runner import Runner
from keystead.seal.service import RootKey
from keystead.server.process import logs
from keystead.server.process.locks import Lock
from keystead.server.process.ready import mark_ready
from keystead.server.settings import Effective
from keystead.server.state.opening import SEGMENTS, STATE_FILE
from keystead.server.wiring import Region, open_region, runners, upkeep

LOCK_NAME: Final = "work.lock"
PATIENCE_SECONDS: Final = 5.0
AUDIT_SECONDS: Final = 0.1
INDEX_NICE: Final = 10
HEADS_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 0.02
SELDOM_SECONDS: Final = 0.25
RETRY_SECONDS: Final = 1.0
LEASES_SECONDS: Final = 5.0
UPKEEP_SECONDS: Final = 15.0
_log = structlog.get_logger()


def work(effective: Effective, root: RootKey) -> None:
    """Until SIGTERM or SIGINT."""
    logs.configure("work")
    stopping = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stopping.set())
    with Lock(effective.runtime / LOCK_NAME, "work", PATIENCE_SECONDS):
        region = open_region(effective, root, "work")
        try:
            release_leases(region)
            clerk = Clerk(region, watch_segments(effective.state / SEGMENTS))
            moves = Moves(region.freshness.generation, watch_state(effective.state / STATE_FILE))
            threads = [_thread("audit", clerk.run, stopping), _thread("moves", moves.run, stopping)]
            made = runners(region)
            threads.append(_thread("leases", lambda stop: keep_leases(made, stop), stopping))
            tend = upkeep(region)
            threads.append(_thread("upkeep", lambda stop: keep_up(tend, moves, stop), stopping))
            for runner in made:
                threads.append(_thread("runner", _Jobs(region, moves, runner.run_one).run, stopping))
            mark_ready(effective, "work")
            stopping.wait()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
        finally:
            region.close()


def release_leases(region: Region) -> None:
    """Take the leases of an earlier life away: there is one `work`, and monotonic time does not survive a reboot."""
    with region.store.note() as tx:
        tx.connection.execute(schema.jobs.update().where(schema.jobs.c.lease_until > 0).values(lease_until=0.0))


def keep_leases(made: Sequence[Runner], stopping: threading.Event) -> None:
    """A step may take longer than a lease: while we live, what our runners do stays theirs."""
    while not stopping.wait(LEASES_SECONDS):
        for runner in made:
            with suppress(KeysteadError):  # the state does not answer: seen by the runner itself
                runner.keep_lease()


def keep_up(tend: Callable[[], int], moves: "Moves", stopping: threading.Event) -> None:
    """Do what is due, then wait for a change or for a while."""
    seen = 0
    while not stopping.is_set():
        try:
            if tend():
                tend()  # one thing leads to another: a rotated key, the systems that follow it
        except KeysteadError as error:
            _log.error("vaults and keys could not be looked after", code=error.code, reason=error.message)
        except Exception as error:
            _log.error("vaults and keys could not be looked after", error=type(error).__name__)
        stopping.wait(RETRY_SECONDS)  # many changes at once are looked at once
        seen = moves.wait(seen, UPKEEP_SECONDS)


class Clerk:
    """Copies the outbox, follows the segments, notes the heads."""

    def __init__(self, region: Region, events: WriteEvents | None = None) -> None:
        self._region = region
        self._events = events
        self._heads = SqlHeads(region.engine)
        self._noted = time.monotonic()
        self._looked = 0.0
        self._problems: Mapping[str, str] = {}
        self._generation = 0

    def run(self, stopping: threading.Event) -> None:
        """Until told to stop; then once more, so that a clean stop leaves nothing behind. Requests go before."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INDEX_NICE)
        while not stopping.wait(AUDIT_SECONDS):
            self._once()
        self._noted = self._looked = 0.0
        self._once()

    def _once(self) -> None:
        try:
            generation = self._region.freshness.generation()
            if generation != self._generation:  # every entry in the outbox came with a new one
                self.copy_outbox()
                self._generation = generation
            now = time.monotonic()
            if self._events is None or self._events.seen() or now - self._looked > HEADS_SECONDS:
                self._looked = now
                self._problems = self._region.index.integrate().problems
            if now - self._noted > HEADS_SECONDS:
                self._noted = now
                self._heads.note(self._region.index.heads())
                for writer, problem in self._problems.items():
                    _log.error("the audit trail is broken", writer=writer, problem=problem)
        except KeysteadError as error:
            self._looked = 0.0
            _log.error("the audit trail could not be brought up to date", code=error.code, reason=error.message)
            time.sleep(RETRY_SECONDS)

    def copy_outbox(self) -> int:
        """Copy what is there to the segment; returns how many rows were done away with."""
        count = 0
        while rows := self._region.store.outbox(0):
            known = self._region.index.known([entry.id for _, entry in rows])
            for _, entry in rows:
                if entry.id not in known:
                    self._region.log.append(entry)
            self._region.log.barrier().wait(10.0)
            table = schema.audit_outbox
            with self._region.store.note() as tx:
                tx.connection.execute(table.delete().where(table.c.sequence <= rows[-1][0]))
            count += len(rows)
        return count


class Moves:
    """Asks for the generation, so that those who wait for it to move need not: one wake-up for all of them."""

    def __init__(self, generation: Callable[[], int], events: WriteEvents | None) -> None:
        self._ask = generation
        self._events = events
        self._generation = 0
        self._changed = threading.Condition()
        self._ended = False

    def run(self, stopping: threading.Event) -> None:
        """Until told to stop; then nobody waits any more."""
        hot_until = time.monotonic() + HOT_S
        while not stopping.is_set():
            with suppress(KeysteadError):  # the state does not answer: those who look for work say so
                now = self._ask()
                if now != self._generation:
                    self._tell(now, ended=False)
            if self._events is None or time.monotonic() < hot_until:
                stopping.wait(IDLE_SECONDS)
            if self._events is not None and self._events.wait(0.0 if time.monotonic() < hot_until else SELDOM_SECONDS):
                hot_until = time.monotonic() + HOT_S
        self._tell(self._generation, ended=True)

    def wait(self, seen: int, seconds: float) -> int:
        """The generation, when it is another than `seen`, or after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._generation != seen, seconds)
            return self._generation

    def _tell(self, generation: int, *, ended: bool) -> None:
        with self._changed:
            self._generation, self._ended = generation, ended
            self._changed.notify_all()


class _Jobs:
    """One runner. Looks when something was committed (a new job always is), and each second for those put back."""

    def __init__(self, region: Region, moves: Moves, run_one: Callable[[], bool]) -> None:
        self._region = region
        self._moves = moves
        self._run_one = run_one

    def run(self, stopping: threading.Event) -> None:
        seen = 0
        while not stopping.is_set():
            try:
                if self._waiting() and self._run_one():
                    continue
            except KeysteadError as error:
                _log.error("a job could not be looked after", code=error.code, reason=error.message)
                stopping.wait(RETRY_SECONDS)
            except Exception as error:
                _log.error("a job could not be looked after", error=type(error).__name__)
                stopping.wait(RETRY_SECONDS)
            seen = self._moves.wait(seen, RETRY_SECONDS)

    def _waiting(self) -> bool:
        columns = schema.jobs.c
        query = (
            sa.select(sa.literal(1))
            .where(columns.state.in_(("ACCEPTED", "IN_PROGRESS")))
            .where(columns.lease_until < self._region.clock.monotonic())
            .limit(1)
        )
        with self._region.store.read() as tx:
            return tx.connection.execute(query).first() is not None


def _thread(name: str, run: Callable[[threading.Event], None], stopping: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=run, args=(stopping,), name=name, daemon=True)
    thread.start()
    return thread
