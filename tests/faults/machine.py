"""Processes as the tests of bad days see them: found by what they are, killed without hitting others."""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Found:
    """One live process: pid, start time in clock ticks, name, command line."""

    pid: int
    started: int
    name: str
    words: tuple[bytes, ...]

    @property
    def alive(self) -> bool:
        now = look(self.pid)
        return now is not None and now.started == self.started


def look(pid: int) -> Found | None:
    """What has `pid` now; None when nothing does (a zombie counts as nothing)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else Found(pid, int(fields[19]), name, tuple(words[:-1]))


def everything() -> Iterator[Found]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := look(int(entry))) is not None:
            yield found


def children(pid: int) -> list[Found]:
    """The living children of `pid`."""
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                pids += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return [found for child in pids if (found := look(child)) is not None]


def send(found: Found, number: signal.Signals = signal.SIGKILL) -> bool:
    """Signal that very process or nobody. Whether it was there."""
    try:
        pidfd = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return False
    try:
        if not found.alive:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
            if number == signal.SIGKILL:
                select.select([pidfd], [], [], 10)
            return True
        return False
    finally:
        os.close(pidfd)


def of_directory(*places: Path) -> list[Found]:
    """What works on a file below one of `places`, as its command line tells."""
    marks = [os.fsencode(place) + b"/" for place in places]
    return [found for found in everything() if any(mark in word for word in found.words[1:] for mark in marks)]


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False


def eventually(what: str, look_for: Callable[[], Result], seconds: float = 20.0, pause: float = 0.01) -> Result:
    """The first true answer of `look_for`. Raises: AssertionError in the end; RuntimeError of `look_for` at once."""
    deadline = time.monotonic() + seconds
    while True:
        trouble: Exception | None = None
        try:
            if found := look_for():
                return found
        except RuntimeError:
            raise  # hopeless
        except Exception as error:
            trouble = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s") from trouble
        time.sleep(pause)


def tail(path: Path, lines: int = 12) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return ""


def tree_size(places: Sequence[Path]) -> int:
    """How many files and directories lie below `places`."""
    return sum(1 for place in places if place.exists() for _ in place.rglob("*"))


@contextlib.contextmanager
def stop_and_go(found: Found) -> Iterator[None]:
    """SIGSTOP while inside: a process that hangs."""
    assert send(found, signal.SIGSTOP)
    try:
        yield
    finally:
        if look(found.pid) is not None:
            send(found, signal.SIGCONT)
