"""A disk that fails when told to."""

import threading
from pathlib import Path

from keystead.adapters.segment_files import Disk


class FailingDisk(Disk):
    """Real files; `full` refuses new space, `broken` every write, with that errno. `held` writes wait."""

    def __init__(self) -> None:
        super().__init__()
        self.full = 0
        self.broken = 0
        self.writes = 0
        self.partly = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.waiting = threading.Event()

    def hold(self) -> None:
        """Let writes wait from now on, until `go_on` is set."""
        self.waiting.clear()
        self.go_on.clear()

    def allocate(self, path: Path, size: int) -> None:
        if self.full:
            raise OSError(self.full, "No space left on device")
        super().allocate(path, size)

    def write(self, fd: int, data: bytes, offset: int, synced: bool) -> None:
        self.waiting.set()
        assert self.go_on.wait(30)
        self.writes += 1
        if self.broken:
            if self.partly:
                super().write(fd, data[: self.partly], offset, False)
            raise OSError(self.broken, "Input/output error")
        super().write(fd, data, offset, synced)
