"""Full disks, read-only disks, torn pages: a clear refusal or a clean recovery, never a wrong answer.

The acts and what is looked at afterwards are those of kill_acts.py, with processes that live.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.fakes.small_disk import small_disk
from tests.faults.kill_acts import ACTS, settle
from tests.faults.kill_bench import Model, Pending
from tests.faults.kill_points import die
from tests.faults.kill_trials import Tell, Trials

from keystead.adapters.segment_files import list_segments, verify_trail
from keystead.core.errors import KeysteadError
from keystead.crypto import passwords
from keystead.seal import service as sealing
from keystead.server import init as making
from keystead.server import wiring
from keystead.server.sealing.unseal import open_root, read_key_file, read_seal
from keystead.server.state import rollback

pytestmark = pytest.mark.slow

PAGE = 4096
ROOM = (0, 1, 2, 5, 9, 14, 24, 40)
"""Pages that are left: from nothing to what an act needs."""
FULL = {"StateFull", "StateUnavailable", "AuditFull", "AuditUnavailable"}
READ_ONLY = {"StateUnavailable", "StateReadOnly", "AuditUnavailable"}


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    patch = pytest.MonkeyPatch()
    made_cheap = (making, "Passphrase"), (passwords, "MEMORY_KIB"), (passwords, "ITERATIONS"), (wiring, "open_journal")
    for place, name in made_cheap:
        patch.setattr(place, name, getattr(place, name))  # so that it is taken back
    yield Trials(tmp_path_factory.mktemp("damaged"), seed=1)
    patch.undo()


@contextlib.contextmanager
def full(place: Path, pages: int) -> Iterator[None]:
    """So many pages are left there."""
    filler = place / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            room = os.statvfs(place)
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(1, (room.f_bavail - pages) * room.f_frsize))
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[None]:
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)

    if subprocess.run(["mount", "-o", "remount,ro", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be made read-only here")
    try:
        yield
    finally:
        remount("rw")


def try_act(trials: Trials, act: str, around: AbstractContextManager[None]) -> Callable[[Tell], None]:
    """An act in a process of its own, while the disk is in a bad state; tells with which code it was refused."""

    def work(tell: Tell) -> None:
        bench = trials.open(tell)
        settle(bench)
        bench.check_everything()
        bench.encrypt(bench.live())
        facts, run = ACTS[act].begin(bench)
        caller = bench.caller()
        bench.tell("pending", Pending(act, caller.request_id, facts))
        with around:
            try:
                result = run(caller)
            except (KeysteadError, OSError) as error:
                tell(("refused", getattr(error, "code", type(error).__name__)))
            else:
                bench.tell("acked", result)
        os._exit(0)  # with whatever is still to be written: it has no claim

    return work


def codes(facts: list[tuple[Any, ...]]) -> list[str]:
    return [str(fact[1]) for fact in facts if fact[0] == "refused"]


@pytest.fixture
def disk(trials: Trials, tmp_path: Path) -> Iterator[Path]:
    """A small disk with a region on it."""
    with small_disk(tmp_path / "disk", 48) as place:
        before, trials.place = trials.place, place
        try:
            trials.fresh()
            yield place
        finally:
            trials.place = before


def test_full_disk(trials: Trials, disk: Path) -> None:
    """Every act at several fillings: done and told, or refused by name and not done; then everything opens."""
    refused: set[str] = set()
    told = 0
    for pages in ROOM:
        for act in ACTS:
            facts, status = trials.child(try_act(trials, act, full(disk, pages)))
            assert status == 0
            refused |= set(codes(facts))
            told += trials.model.pending is not None and trials.model.pending.acked
        trials.trial("create", None)
    assert told and refused
    assert refused <= FULL | {"OSError"}, refused
    trials.look_back()


def test_taking_away_works_on_a_full_disk(trials: Trials, disk: Path) -> None:
    def work(tell: Tell) -> None:
        bench = trials.open(tell)
        key = bench.live()
        with full(disk, 0):
            bench.vaults.disable(bench.caller(), key.id)
            tell(("state", bench.region.snapshot.keyring.get(key.id) and bench.state(key.id)))
        os._exit(0)

    facts, _ = trials.child(work)
    assert ("state", "DISABLED") in facts


def test_read_only_disk(trials: Trials, disk: Path) -> None:
    """Nothing can be changed, and nobody is told that it was; it cannot be opened either, and says why."""
    trials.trial("create", None)
    with read_only(disk):
        facts, status = trials.child(lambda tell: tell(("refused", opening(trials, tell))))
        assert status == 0
        (code,) = codes(facts)
        assert code in READ_ONLY, code
    trials.trial("rotate", None)
    trials.look_back()


def opening(trials: Trials, tell: Tell) -> str:
    try:
        trials.open(tell)
    except KeysteadError as error:
        assert error.message and error.hint
        return error.code
    return ""


# torn pages


def some_history(trials: Trials) -> None:
    """Several acts, then a process that dies with its last changes in the write-ahead log alone."""
    trials.fresh()
    for act in ("create", "rotate", "purge", "import"):
        trials.trial(act, None)

    def work(tell: Tell) -> None:
        bench = trials.open(tell)
        settle(bench)
        for _ in range(3):
            bench.made()
            bench.tell("current", key := bench.live().id, bench.vaults.rotate(bench.caller(), key).current)
            bench.encrypt(bench.model.keys[key])
        die()

    trials.child(work)


def right_or_refused(trials: Trials, *, rollback_checked: bool = True) -> Callable[[Tell], None]:
    """Whatever is answered is right. Tells how many opened, and with which codes others were refused."""

    def work(tell: Tell) -> None:
        try:
            if rollback_checked:
                rollback.check(trials.effective(), accept=False)
            bench = trials.open(tell)
        except KeysteadError as error:
            tell(("closed", error.code))
            os._exit(0)
        for key in bench.model.keys.values():
            for each in key.blobs:
                try:
                    opened = bench.vaults.decrypt(bench.caller(), key.id, each.blob, each.associated)
                except KeysteadError as error:
                    tell(("refused", error.code))
                else:
                    assert opened == each.plaintext
                    assert not key.gone, "a destroyed key is back"
                    tell(("opened", key.id))
        os._exit(0)

    return work


def count(facts: list[tuple[Any, ...]], what: str) -> int:
    return sum(fact[0] == what for fact in facts)


def torn(path: Path, how: str, rng: Random) -> None:
    """Cut or spoil the last page of a file."""
    content = bytearray(path.read_bytes())
    end = len(content.rstrip(b"\0")) if path.suffix == ".seg" else len(content)
    match how:
        case "cut":
            content = content[: end - rng.randrange(1, min(PAGE, end))]
        case "garbled":
            at = rng.randrange(max(0, end - PAGE), end)
            content[at : at + 64] = rng.randbytes(len(content[at : at + 64]))
        case "zeroed":
            content[max(0, end - PAGE) : end] = bytes(end - max(0, end - PAGE))
    path.write_bytes(content)


@dataclass(frozen=True)
class History:
    """A region as it was left, where it lay, and what was told to whom."""

    kept: Path
    home: Path
    model: Model

    def again(self, trials: Trials) -> Path:
        """The same once more, to be damaged; returns the state."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.kept, self.home)
        trials.home, trials.model = self.home, deepcopy(self.model)
        return self.home / "state"


@pytest.fixture(scope="module")
def history(trials: Trials) -> History:
    some_history(trials)
    kept = trials.home.with_name("kept")
    shutil.copytree(trials.home, kept)
    return History(kept, trials.home, deepcopy(trials.model))


@pytest.fixture
def damaged(trials: Trials, history: History) -> Path:
    return history.again(trials)


HOW = ("cut", "garbled", "zeroed")


@pytest.mark.parametrize("how", HOW)
def test_last_page_of_the_write_ahead_log(trials: Trials, history: History, how: str) -> None:
    """What was there before the torn change opens; the change itself may be lost, which no key that is there shows."""
    for turn in range(4):
        log = history.again(trials) / "state.db-wal"
        assert log.stat().st_size > PAGE
        torn(log, how, Random(f"{how}/{turn}"))
        facts, status = trials.child(right_or_refused(trials))
        assert status == 0
        opened, refused = count(facts, "opened"), set(codes(facts))
        assert opened > 3
        assert refused <= {"NotFound", "KeyNotUsable", "Unreadable"}, refused


@pytest.mark.parametrize("how", HOW)
def test_last_page_of_an_audit_segment(trials: Trials, damaged: Path, how: str) -> None:
    """Torn off at the end: as if never written. Changed: told by `verify`; either way the region goes on."""
    segments = [path for each in list_segments(damaged / "audit").values() for _, path in each]
    last = max(segments, key=lambda path: path.stat().st_mtime_ns)
    torn(last, how, Random(how))
    report = verify_trail(damaged / "audit")
    problems = [problem for writer in report.writers for problem in writer.problems]
    unfinished = sum(writer.unfinished_bytes for writer in report.writers)
    assert problems or unfinished or how == "zeroed", report
    facts, status = trials.child(right_or_refused(trials, rollback_checked=False))
    assert (status, count(facts, "closed")) == (0, 0)
    assert count(facts, "opened") > 3


@pytest.mark.parametrize("how", HOW)
def test_the_seals_temporary_file(trials: Trials, damaged: Path, how: str) -> None:
    """Nobody looks at it, and the next change of the seal makes it anew."""
    left = damaged / ".seal.json.new"
    shutil.copyfile(damaged / "seal.json", left)
    torn(left, how, Random(how))
    trials.trial("migrate the seal", None)
    assert not left.exists()
    facts, status = trials.child(right_or_refused(trials))
    assert (status, count(facts, "closed")) == (0, 0)


def test_the_seal_itself(trials: Trials, damaged: Path) -> None:
    """Cut or changed anywhere: refused, or it opens to the very same root key."""
    effective, path = trials.effective(), damaged / "seal.json"
    assert effective.key_file is not None
    opener, whole, rng = read_key_file(effective.key_file), path.read_bytes(), Random(1)
    before = sealing.open(read_seal(path), opener).subkey("audit").reveal()
    refused = 0
    for turn in range(300):
        content = bytearray(whole)
        if turn % 3:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        else:
            content = content[: rng.randrange(len(content))]
        path.write_bytes(content)
        try:
            root = open_root(effective)
        except KeysteadError as error:
            assert error.message
            refused += 1
        else:
            assert root.subkey("audit").reveal() == before
    path.write_bytes(whole)
    assert refused > 290
