"""Which processes a run started, by identity, and how they are ended.

A pid alone says nothing: it may be somebody else's by now. An identity is pid, start time and boot; a signal is sent
through a pidfd that was opened before the start time was compared.
"""

import contextlib
import os
import select
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = frozenset({"mariadbd", "mariadb-backup", "mariabackup", "mbstream"})


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be confused with another one."""

    pid: int
    start: int
    boot: str

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _start_of(self.pid) == self.start and self.boot == boot()


def boot() -> str:
    """Which boot of the machine this is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started_in(directory: Path) -> Iterator[Identity]:
    """Processes of ours (keystead and database programs) whose command line names something in `directory`."""
    mark, now = os.fsencode(directory) + b"/", boot()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            ours = os.fsdecode(os.path.basename(words[0])) in _PROGRAMS or any(
                word.endswith(b"/keystead") for word in words[:3]
            )
            start = _start_of(int(name))
            if ours and start and any(mark in word for word in words[1:]):
                yield Identity(int(name), start, now)


def end(found: Iterable[Identity], patience: float = 10.0) -> int:
    """End those that still run: SIGTERM, and SIGKILL for what has not ended in `patience` seconds.

    Returns:
        How many were still running.
    """
    ended = 0
    for identity in found:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(identity.pid)
            try:
                if identity.alive():
                    ended += 1
                    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                    if not select.select([pidfd], [], [], patience)[0]:
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                        select.select([pidfd], [], [], patience)
            finally:
                os.close(pidfd)
    return ended


def _start_of(pid: int) -> int:
    """Start time of a process in ticks since boot; 0 when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
