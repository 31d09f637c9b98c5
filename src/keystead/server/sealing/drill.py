"""`keystead recovery drill`: is the region really back with what the recovery recipients hold?

In a scratch copy in memory (tmpfs), never in the region itself, everything is done that would be done after the key
file was lost: open the seal by what was given, make a new key file, take every other slot away, open again by the new
key file alone, start from it, and open every key that the state holds in software, and the certificate authority. What
was tried and what came of it is recorded in the audit trail of the region.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from keystead.core.clock import Clock
from keystead.core.errors import KeysteadError, Refusal, Unreadable
from keystead.seal import service as sealing
from keystead.seal.openers import KeyFile, Opener
from keystead.seal.service import RootKey
from keystead.server import authority, machine
from keystead.server.sealing import newroot, slots
from keystead.server.sealing.unseal import SEAL_NAME, read_seal
from keystead.server.settings import Effective
from keystead.server.state.building import write
from keystead.server.state.opening import STATE_FILE

OPERATION: Final = "RecoveryDrill"
SCRATCH: Final = "keystead-drill-"
_COPIED: Final = (SEAL_NAME, *authority.FILES, f"{machine.DIRECTORY}/{machine.NAME_FILE}")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Drill:
    """What came of it."""

    opened_with: str
    steps: tuple[Step, ...]

    @property
    def passed(self) -> bool:
        """Whether everything went well."""
        return bool(self.steps) and all(step.passed for step in self.steps)

    def summary(self) -> dict[str, object]:
        """For scripts."""
        steps = [{"step": step.name, "passed": step.passed, "detail": step.detail} for step in self.steps]
        return {"passed": self.passed, "opened_with": self.opened_with, "steps": steps}


def drill(effective: Effective, opener: Opener, clock: Clock) -> Drill:
    """Do it. A step that fails ends it; what is not as it should be is told, not raised.

    Raises:
        Refusal: the region's state is not there at all; it could not be recorded.
    """
    newroot.settle(effective)
    slots.record(effective, OPERATION, opener.kind, "began", clock)
    with _scratch(effective) as scratch:
        done = Drill(opener.kind, tuple(_steps(effective, scratch, opener, clock)))
    failed = next((step for step in done.steps if not step.passed), None)
    said = "passed" if failed is None else f"failed at: {failed.name}"
    slots.record(effective, OPERATION, opener.kind, said, clock)
    return done


def _steps(effective: Effective, scratch: Path, opener: Opener, clock: Clock) -> Iterator[Step]:
    work = _Work(effective, scratch, opener, clock)
    tries: tuple[tuple[str, Callable[[], str]], ...] = (
        ("copy the seal, the authority and the state into memory", work.copy),
        ("open the root key by what was given", work.open),
        ("make a new key file, and take every other slot away", work.rebuild),
        ("open again by the new key file alone", work.open_again),
        ("open the certificate authority", work.open_authority),
        ("start from it, and open every key", work.open_keys),
    )
    for name, act in tries:
        try:
            yield Step(name, True, act())
        except (KeysteadError, OSError, sqlite3.Error) as error:
            said = error.message if isinstance(error, KeysteadError) else type(error).__name__
            yield Step(name, False, "it does not open" if isinstance(error, Unreadable) else said)
            return


class _Work:
    """The steps, one after the other."""

    def __init__(self, effective: Effective, scratch: Path, opener: Opener, clock: Clock) -> None:
        self._from = effective
        self._effective = replace(effective, state=scratch)
        self._opener = opener
        self._clock = clock
        self._key_file = KeyFile.generate("drill")
        self._root: RootKey | None = None

    def copy(self) -> str:
        source, target = self._from.state, self._effective.state
        for name in _COPIED:
            (target / name).parent.mkdir(mode=0o700, exist_ok=True)
            write(target / name, (source / name).read_bytes())
        with (
            closing(sqlite3.connect(f"{(source / STATE_FILE).absolute().as_uri()}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(target / STATE_FILE)) as copied,
        ):
            live.backup(copied)
        return f"seal of generation {read_seal(target / SEAL_NAME).generation}"

    def open(self) -> str:
        self._root = sealing.open(read_seal(self._effective.state / SEAL_NAME), self._opener)
        if self._root.region != self._from.settings.region.name:
            raise Refusal("WrongRegion", f"the seal is that of region {self._root.region!r}")
        return f"the root key of region {self._root.region!r}"

    def rebuild(self) -> str:
        root = self._held()
        path = self._effective.state / SEAL_NAME
        made = sealing.add_slot(read_seal(path), root, self._key_file, self._clock.now())
        for slot in made.slots[:-1]:
            made = sealing.remove_slot(made, root, slot.id)
        slots.replace_seal(path, made)
        root.wipe()
        return f"generation {made.generation}, one slot"

    def open_again(self) -> str:
        content = self._key_file.content()  # as it would lie in a file
        self._root = sealing.open(read_seal(self._effective.state / SEAL_NAME), KeyFile(content.reveal()))
        content.wipe()
        return "it opens"

    def open_authority(self) -> str:
        for kind in authority.KINDS:
            authority.load(self._effective.state, self._held(), kind)
        return "they open"

    def open_keys(self) -> str:
        from keystead.server.wiring import open_region

        region = open_region(self._effective, self._held(), "drill")
        try:
            keyring = region.snapshot.keyring
            opened = elsewhere = 0
            for entry in keyring.entries():
                for number, version in entry.versions.items():
                    if not version.wrapped:
                        continue  # destroyed
                    if entry.key.protection != "software":
                        elsewhere += 1
                        continue
                    keyring.material(entry, number)
                    opened += 1
        finally:
            region.close()
        said = f"{opened} key versions open"
        return said + (f"; {elsewhere} lie in tokens or elsewhere and were not tried" if elsewhere else "")

    def _held(self) -> RootKey:
        if self._root is None:
            raise Unreadable
        return self._root


@contextmanager
def _scratch(effective: Effective) -> Iterator[Path]:
    """A directory in memory that is gone afterwards, and what an interrupted drill left as well."""
    place = Path(effective.settings.databases.tmpfs_dir)
    for left in place.glob(f"{SCRATCH}*"):
        if left.stat().st_uid == os.geteuid() and not _alive(left):
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-", dir=place))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _alive(left: Path) -> bool:
    pid = left.name.removeprefix(SCRATCH).partition("-")[0]
    return pid.isdigit() and Path(f"/proc/{pid}").exists()
