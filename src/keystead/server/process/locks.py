"""One of a kind per state directory: locks that end with their process, however it ends.

A lock is a file held by flock(2); it says who holds it, for the message to the one who comes second. The file stays;
only the lock on it means anything.
"""

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from keystead.core.errors import Refusal


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock."""

    pid: int
    what: str


class Lock:
    """A held lock. Release it, or end."""

    def __init__(self, path: Path, what: str, patience: float = 0.0) -> None:
        """Take the lock at `path` for `what`, e.g. "up"; wait `patience` seconds for one that is just ending.

        Raises:
            Refusal: `AlreadyRunning`.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _take(self._handle, patience):
            os.close(self._handle)
            found = _read(path)
            who = f"{found.what} (process {found.pid})" if found else "another process"
            raise Refusal(
                "AlreadyRunning",
                f"{what} cannot start: {who} is already running on {path.parent.parent}",
                hint="stop it with `keystead down`, or use another state directory",
                kind="conflict",
            )
        os.ftruncate(self._handle, 0)
        with contextlib.suppress(OSError):  # on a full disk nobody is told who holds it: held it is
            os.pwrite(self._handle, json.dumps({"pid": os.getpid(), "what": what}).encode(), 0)

    def release(self) -> None:
        """Let another one have it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _take(handle: int, patience: float) -> bool:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        else:
            return True


def holder(path: Path) -> Holder | None:
    """Who holds the lock at `path` now; None when nobody does."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read(path) or Holder(0, "unknown")
    finally:
        os.close(handle)
    return None


def _read(path: Path) -> Holder | None:
    try:
        found = json.loads(path.read_bytes())
        return Holder(int(found["pid"]), str(found["what"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
