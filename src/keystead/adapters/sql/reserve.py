"""Space kept on the state's disk for acts that take access away: disabling a key works on a full disk.

A file of NULs beside the database (`state.reserve`). A transaction that may use it first looks at the room left; when
that is little the file is removed, and SQLite finds what it needs. While there is room the file is made again. Room
that cannot be seen beforehand (a quota) shows as a failed write: then the file goes as well, and the next attempt
finds room.
"""

import contextlib
import os
from pathlib import Path

RESERVE_BYTES = 4 * 1024 * 1024
NEEDED_BYTES = 1024 * 1024
"""What a transaction may take: the pages it changes, in the write-ahead log, and the index of that."""


class Reserve:
    """The file `path`. Several processes may share it; none of the methods raises."""

    def __init__(self, path: Path, size: int = RESERVE_BYTES, needed: int = NEEDED_BYTES) -> None:
        self._path = path
        self._size = size
        self._needed = needed

    def keep(self) -> None:
        """Have the file, unless that would take what others need."""
        with contextlib.suppress(OSError):
            if self._path.exists() or self._room() < self._size + 2 * self._needed:
                return
            made = self._path.with_suffix(f".{os.getpid()}")
            try:
                with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, self._size)
                made.rename(self._path)
            finally:
                made.unlink(missing_ok=True)

    def make_room(self) -> None:
        """Before a transaction that may use it: see that there is room."""
        with contextlib.suppress(OSError):
            if self._room() < self._needed:
                self.give()

    def give(self) -> None:
        """Give the space back to the disk."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _room(self) -> int:
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize
