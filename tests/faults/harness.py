"""Kill -9 after step n: one harness for every job and every process.

    blow    who is killed (`work`, `host` or the database server with its helpers), after how many recorded steps, and
            how long after that (so that a kill falls between steps and anywhere within one)
    strike  watches the job's row and kills at that moment, by identity (pid and start time), never by name
    settle  afterwards: everything is back, the job has ended, and the machine holds what the state says and no more

The row is read from the database file, a thousand times a second: the product knows nothing of these tests. Times
within steps come from a seeded generator.
"""

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.faults.machine import children, eventually, listens, send
from tests.faults.region import FINAL, Region, System

Target = Literal["work", "host", "mariadbd"]
TARGETS: tuple[Target, ...] = ("work", "host", "mariadbd")
POLL_SECONDS = 0.001
LONGEST_JOB = 60.0

STEPS = {
    "create": ("prepare", "start", "accounts", "activate"),
    "restore": ("receive", "start", "adopt", "accounts", "publish", "reencrypt", "activate"),
    "rotate": ("publish", "reencrypt", "activate"),
    "backup": ("take",),
}


@dataclass(frozen=True, slots=True)
class Blow:
    """Kill `target` once `after` steps are recorded, and `delay` seconds more have gone by."""

    target: Target
    after: int
    delay: float = 0.0

    def __str__(self) -> str:
        return f"{self.target}-after-{self.after}-plus-{self.delay * 1000:.0f}ms"


def blows(kind: str, seed: int, longest: float, targets: Sequence[Target] = TARGETS, extra: int = 1) -> list[Blow]:
    """For each target: right after each step of `kind`, and `extra` times anywhere within steps."""
    chance = random.Random(f"{kind} {seed}")
    made = [Blow(target, after) for target in targets for after in range(len(STEPS[kind]))]
    for target in targets:
        made += [Blow(target, chance.randrange(len(STEPS[kind])), chance.uniform(0, longest)) for _ in range(extra)]
    return made


def strike(region: Region, job: str, kind: str, system: str, blow: Blow) -> bool:
    """Deal one blow. Whether it hit before the job had ended (it may have been faster: no harm done)."""
    steps = STEPS[kind]
    deadline = time.monotonic() + LONGEST_JOB
    while True:
        state, step = region.rows("SELECT state, step FROM jobs WHERE id = ?", job)[0]
        done = steps.index(step) + 1 if step in steps else 0
        if state in FINAL or done >= blow.after:
            break
        assert time.monotonic() < deadline, f"{kind} does not get to step {blow.after}: {region.job(job)}"
        time.sleep(POLL_SECONDS)
    time.sleep(blow.delay)
    return _kill(region, job, system, blow.target)


def _kill(region: Region, job: str, system: str, target: Target) -> bool:
    if target != "mariadbd":
        before_the_end = not _ended(region, job)
        region.kill(target)
        return before_the_end
    while not (found := region.servers(system)):
        if _ended(region, job):
            return False
        time.sleep(POLL_SECONDS)
    before_the_end = not _ended(region, job)
    for each in found:
        send(each)
    return before_the_end


def _ended(region: Region, job: str) -> bool:
    return region.rows("SELECT state FROM jobs WHERE id = ?", job)[0][0] in FINAL


def calm(region: Region, kills: int = 4) -> None:
    """Begin a new life of `up` when it has restarted too much in this one: its back-off would cost us time."""
    if region.kills >= kills:
        region.down()
        region.up()


def settle(region: Region, job: str) -> Any:
    """Wait until the job has ended and every process is back. Returns the job."""
    found = region.wait_job(job, LONGEST_JOB)
    for name in ("http", "local", "work", "host"):
        eventually(f"{name} is back", lambda name=name: region.process(name), 15)  # type: ignore[misc]
    return found


def strike_and_settle(region: Region, job: str, kind: str, system: System, blow: Blow) -> None:
    """One blow, and then: SUCCEEDED, the system ACTIVE and answering."""
    strike(region, job, kind, system.id, blow)
    found = settle(region, job)
    assert found["state"] == "SUCCEEDED", f"{blow}: {found}"
    region.wait_state(system, "ACTIVE")
    eventually("it answers", lambda: region.sql(system, "SELECT 1") == ((1,),), 20)


def check_machine(region: Region) -> None:
    """Nothing runs, listens or lies about that the state does not know; and all that it knows is there."""
    assert region.up_process is not None
    names = sorted(found.name for found in children(region.up_process.pid))
    assert names == ["ks-host", "ks-http", "ks-local", "ks-work"], names
    systems = {
        ident: (state, port)
        for ident, state, port in region.rows("SELECT id, state, port FROM db_systems WHERE state <> 'DELETED'")
    }
    for ident, (state, port) in systems.items():
        running = [Path(os.fsdecode(found.words[0])).name for found in region.servers(ident)]
        assert running == (["mariadbd"] if state == "ACTIVE" else []), f"{ident} is {state}: {running}"
        assert listens(port) or state in ("INACTIVE", "FAILED", "CREATING")
    homes = {ident.rpartition(".")[2] for ident in systems}
    assert _names(region.data) == homes
    assert _names(region.memory) <= homes
    used = {port for _, port in systems.values()}
    stray = [port for port in region.ports if port not in used and listens(port)]
    assert not stray, f"something listens on {stray}"
    kept = {f"{ident}.ksb" for (ident,) in region.rows("SELECT id FROM backups WHERE state = 'ACTIVE'")}
    assert _names(region.backups) == kept
    assert not region.rows("SELECT id FROM jobs WHERE state IN ('ACCEPTED', 'IN_PROGRESS')")


def _names(directory: Path) -> set[str]:
    return set(os.listdir(directory)) if directory.exists() else set()
