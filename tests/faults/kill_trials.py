"""Many trials of killing a process while it changes the vault, each looked at by a fresh process.

    python -m tests.faults.kill_trials --place DIRECTORY --trials 1000 --seed 1 --shard 0/2

Each trial: a process opens the region as every process does, finds out what became of the act before, checks every
ciphertext that was ever acknowledged (it opens to what it was, or its key is a tombstone), makes new ones, and begins
an act, in which it is killed. First every point of every act (kill_points.py), in an order that the seed decides, then
random moments. Only trials in which the process really died are counted. Prints one JSON line.
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NoReturn

from tests.faults.kill_acts import ACTS, settle
from tests.faults.kill_bench import Bench, Model, Pending
from tests.faults.kill_points import ENDED, Kind, Point, Trap
from tests.server.conftest import CheapPassphrase, make

from keystead.adapters.segment_files import list_segments, verify_trail
from keystead.core.secret import Secret
from keystead.crypto import passwords
from keystead.iam.model import Caller
from keystead.server import init as making
from keystead.server import settings, wiring
from keystead.server.sealing import newroot, slots
from keystead.server.sealing.unseal import open_root
from keystead.server.settings import Effective
from keystead.server.state import rollback
from keystead.server.state.opening import SEGMENTS

EPOCH = 25
"""Trials on one state; then a fresh copy, so that checking everything stays quick."""
STEPS = ((0, 512), (2048, 2060), (65536, 16384))
"""From which offset on `bytes` points are how far apart; 2060 is half a page of the write-ahead log with its header.
Beyond 64 KiB only checkpoints write, into the database itself."""
MOST_MICROSECONDS = 40_000
write = os.write


def cheap() -> None:
    """For this process, from now on: Argon2id at its smallest cost, small segments; nothing here is about either."""
    making.Passphrase = CheapPassphrase  # type: ignore[misc]
    passwords.MEMORY_KIB, passwords.ITERATIONS = 8 * 1024, 1
    wiring.open_journal = partial(wiring.open_journal, segment_bytes=256 * 1024, reserve_bytes=64 * 1024)


Tell = Callable[[tuple[Any, ...]], None]


class Trials:
    """One shard of them, in a directory of its own."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.seed, self.epoch = place, seed, 0
        self.template = place / "template"
        cheap()
        made = make(self.template / "state", self.template / "root.key")
        self.admin, self.vault = self._warm_up(made.password)
        self.killed: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self.number = 0
        self.exact = 0

    def _warm_up(self, password: Secret) -> tuple[Caller, str]:
        """Whoever forks from here has everything loaded and compiled."""
        effective = settings.load(state=self.template / "state", environment={})
        region = wiring.open_region(effective, open_root(effective), "test")
        issued = region.iam.sign_in("acme", "olivia", password, "127.0.0.1", "r")
        admin = region.iam.authenticate(issued.token, "127.0.0.1", "r")
        vault = region.vaults.create_vault(admin, admin.principal.tenancy, "v").id
        region.close()
        return replace(admin, source="127.0.0.1"), str(vault)

    def fresh(self) -> None:
        """A new copy of the region, in which nothing has happened."""
        self.epoch += 1
        self.home = self.place / f"epoch-{self.epoch}"
        shutil.copytree(self.template, self.home)
        slots.name_key_file(self.effective(), self.home / "root.key")
        self.model = Model(self.vault)

    def effective(self) -> Effective:
        return settings.load(state=self.home / "state", environment={})

    def points(self) -> list[tuple[str, Point]]:
        """Every exact point of every act, from a run of each in which nobody is killed."""
        found: list[tuple[str, Point]] = []
        for act in ACTS:
            self.fresh()
            facts = self.trial(act, None)
            counted = next(fact[1] for fact in facts if fact[0] == "counted")
            found += [(act, Point("statement", n)) for n in range(counted.statement)]
            found += [(act, Point("file", n)) for n in range(counted.file)]
            written = next(fact[1] for fact in facts if fact[0] == "written")
            ends = [*(begin for begin, _ in STEPS[1:]), written]
            for (begin, step), end in zip(STEPS, ends, strict=True):
                found += [(act, Point("bytes", offset)) for offset in range(begin, min(end, written), step)]
            self.look_back()
        return found

    def trial(self, act: str, point: Point | None) -> list[tuple[Any, ...]]:
        """One process; returns all that it told. Raises: AssertionError."""
        facts, status = self.child(lambda tell: self._run(tell, act, point), point)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) in ENDED, f"died of signal {os.WTERMSIG(status)}"
            assert self.model.pending is not None, "killed before it began"
            self.killed[f"{act}: {point.kind if point else 'moment'}"] += 1
        else:
            assert os.WEXITSTATUS(status) == 0, f"ended with {status}"
        self.happened.update(str(fact[1]) for fact in facts if fact[0] == "settled")
        return facts

    def child(self, work: Callable[[Tell], None], point: Point | None = None) -> tuple[list[tuple[Any, ...]], int]:
        """Do `work` in a process of its own; all that it told, and how it ended. Raises: AssertionError."""
        self.number += 1
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _work(writing, work)
        os.close(writing)
        facts: list[tuple[Any, ...]] = []
        buffer = b""
        while True:
            if point is not None and point.kind == "moment" and any(fact[0] == "pending" for fact in facts):
                time.sleep(point.number / 1e6)
                os.kill(child, signal.SIGKILL)
                point = None
            piece = os.read(reading, 1 << 20)
            if not piece:
                break
            buffer += piece
            while len(buffer) >= 4 and len(buffer) >= 4 + (size := int.from_bytes(buffer[:4])):
                fact = pickle.loads(buffer[4 : 4 + size])
                facts.append(fact)
                self.model.apply(fact)
                buffer = buffer[4 + size :]
        os.close(reading)
        status = os.waitpid(child, 0)[1]
        wrong = [fact[1] for fact in facts if fact[0] == "wrong"]
        assert not wrong, f"process {self.number}: {wrong[0]}"
        return facts, status

    def open(self, tell: Tell) -> Bench:
        """The region, open in this process, for whoever may do everything."""
        effective = self.effective()
        newroot.settle(effective)  # as `up` does
        region = wiring.open_region(effective, open_root(effective), "test")
        return Bench(region, self.admin, self.model, self.number, Random(f"{self.seed}/{self.number}"), tell)

    def _run(self, tell: Tell, act: str, point: Point | None) -> None:
        bench = self.open(tell)
        region, effective = bench.region, bench.region.effective
        settle(bench)
        bench.check_everything()
        bench.encrypt(bench.live())
        facts, run = ACTS[act].begin(bench)
        caller = bench.caller()
        region.store.scrub()  # so that the write-ahead log begins at its first byte
        trap = Trap(point)
        bench.tell("pending", Pending(act, caller.request_id, facts))
        trap.arm()
        result = run(caller)
        trap.tick("statement")  # done, and nobody is told
        region.log.barrier().wait(30)
        trap.tick("statement")
        trap.disarm()
        bench.tell("acked", result)
        log = 0 if ACTS[act].scrubs else (effective.state / "state.db-wal").stat().st_size
        tell(("counted", trap.counted))
        tell(("written", log or (effective.state / "state.db").stat().st_size))
        region.close()

    def look_back(self) -> None:
        """At the end of an epoch: settle the last, and see that the audit trail holds and has every answer."""
        self._inspect()
        effective = self.effective()
        rollback.check(effective, accept=False)
        trail = verify_trail(effective.state / SEGMENTS)
        assert trail.intact, trail
        segments = list_segments(effective.state / SEGMENTS).values()
        written = b"".join(path.read_bytes() for each in segments for _, path in each)
        for request in self.model.requests:
            assert request.encode() in written, f"{request} was answered without its audit entry"
        shutil.rmtree(self.home)

    def _inspect(self) -> None:
        self.trial("create", None)  # settles and checks what was before
        self.trial("delete", None)


def _work(pipe: int, work: Callable[[Tell], None]) -> NoReturn:
    """In the child: tell, and end."""

    def tell(fact: tuple[Any, ...]) -> None:
        content = pickle.dumps(fact)
        write(pipe, len(content).to_bytes(4) + content)

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        work(tell)
        os._exit(0)
    except BaseException:
        tell(("wrong", traceback.format_exc()))
        os._exit(1)


def schedule(trials: Trials, shard: int, shards: int) -> Iterator[tuple[str, Point]]:
    """Every exact point of this shard, then random moments, for ever."""
    exact = trials.points()
    trials.exact = len(exact)
    Random(trials.seed).shuffle(exact)
    yield from exact[shard::shards]
    rng = Random(f"{trials.seed}/{shard}")
    while True:
        yield rng.choice(list(ACTS)), Point("moment", rng.randrange(MOST_MICROSECONDS))


def run(place: Path, count: int, seed: int, shard: int, shards: int) -> dict[str, Any]:
    """`count` trials in which somebody was killed."""
    trials = Trials(place, seed)
    began = time.monotonic()
    planned = schedule(trials, shard, shards)
    first = next(planned)
    exact = trials.exact
    trials.killed.clear()
    plan: Iterator[tuple[str, Point]] = planned
    while trials.killed.total() < count:
        trials.fresh()
        for _ in range(EPOCH):
            act, point = first or next(plan)
            first = None  # type: ignore[assignment]
            trials.trial(act, point)
            if trials.killed.total() >= count:
                break
        trials.look_back()
    kinds: Counter[Kind] = Counter()
    acts: Counter[str] = Counter()
    for name, number in trials.killed.items():
        act, _, kind = name.rpartition(": ")
        kinds[kind] += number  # type: ignore[index]
        acts[act] += number
    seconds = round(time.monotonic() - began, 1)
    found = {"trials": trials.killed.total(), "seconds": seconds, "kinds": kinds, "acts": acts}
    return {**found, "happened": trials.happened, "exact": exact, "seed": seed, "shard": shard}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--place", type=Path, required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shard", default="0/1")
    given = parser.parse_args()
    shard, _, shards = given.shard.partition("/")
    print(json.dumps(run(given.place, given.trials, given.seed, int(shard), int(shards))))


if __name__ == "__main__":
    sys.exit(main())
