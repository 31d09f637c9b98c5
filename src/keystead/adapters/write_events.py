"""Learning that files were written without asking over and over: the kernel tells (inotify(7)).

Of a SQLite file the event is that somebody writes to its write-ahead log, a little before the change can be read: after
one, ask often for a while (`HOT_S`); as long as none comes there is nothing to ask for. Events are a hint and may be
missing (no inotify here, a limit reached): who relies on them still asks now and then.

Not in Python's standard library, hence two calls of the C library's.
"""

import ctypes
import os
import select
from pathlib import Path
from typing import Final

HOT_S: Final = 1.0
"""How long after an event the change that it tells of may still be on its way to the disk."""

_IN_MODIFY: Final = 0x2
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_BUFFER: Final = 64 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class WriteEvents:
    """Events of the files in a directory, or of one of them. `fileno` can be waited for; `close` it."""

    def __init__(self, directory: Path, name: str = "") -> None:
        """Watch from now on. Raises: OSError: there are no such events here."""
        self._name = name.encode()
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no inotify")
        # The directory, also for one file: that may come and go.
        wanted = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE
        if _libc.inotify_add_watch(self._fd, os.fsencode(directory), wanted) < 0:
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, f"{directory} cannot be watched")

    def fileno(self) -> int:
        """Readable when something was written; `seen` tells whether it was what is watched."""
        return self._fd

    def seen(self) -> bool:
        """Whether it was written since the last call."""
        found = False
        while True:
            try:
                events = os.read(self._fd, _BUFFER)
            except BlockingIOError:
                return found
            found = found or self._name in events  # a longer name that holds ours costs a look, no more

    def wait(self, seconds: float) -> bool:
        """Wait until something is written, `seconds` at most; whether it was what is watched."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000)) and self.seen()

    def close(self) -> None:
        os.close(self._fd)


def watch_state(state: Path) -> WriteEvents | None:
    """Events of the SQLite file `state`; None where there are none to be had."""
    return _watch(state.parent, f"{state.name}-wal")


def watch_segments(directory: Path) -> WriteEvents | None:
    """Events of the audit segments in `directory`; None where there are none to be had."""
    return _watch(directory)


def _watch(directory: Path, name: str = "") -> WriteEvents | None:
    try:
        return WriteEvents(directory, name)
    except OSError:
        return None
