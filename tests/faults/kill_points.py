"""Where a process is killed while it changes the state: at exact points, all of which can be counted and visited.

    statement   before each SQL statement, each COMMIT, and after the last one, before anybody is told
    file        before each file operation of Python's (open, rename, link, unlink, fsync, writes of the audit log,
                half of which is written first)
    bytes       inside the database's own writes: the kernel ends the process (RLIMIT_FSIZE, SIGXFSZ) at the first byte
                beyond an offset, so that any page may be half written
    moment      SIGKILL from outside after a number of microseconds

What was written before stays, as it does when a process dies; no power fails here.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import sqlalchemy as sa
from sqlalchemy import event

Kind = Literal["statement", "file", "bytes", "moment"]
AUDITED = ("open", "os.rename", "os.remove", "os.link", "sqlite3.connect")
SYNCS = ("fsync", "fdatasync", "ftruncate")
ENDED = (signal.SIGKILL, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th point of a kind; for `bytes` an offset, for `moment` microseconds."""

    kind: Kind
    number: int


@dataclass
class Counted:
    """How many points there are of each kind."""

    statement: int = 0
    file: int = 0


class Trap:
    """Counts points, and kills this process at the one that is set."""

    def __init__(self, point: Point | None) -> None:
        self._point = point
        self.counted = Counted()
        self._armed = False

    def arm(self) -> None:
        """From now on. For good: the process has no other use."""
        for name in ("before_cursor_execute", "commit"):
            event.listen(sa.Engine, name, lambda *_arguments: self.tick("statement"))
        sys.addaudithook(lambda name, _arguments: self.tick("file") if name in AUDITED else None)
        for name in SYNCS:
            setattr(os, name, self._before(getattr(os, name)))
        setattr(os, "pwritev", self._halved(os.pwritev))  # noqa: B010
        self._armed = True
        if self._point is not None and self._point.kind == "bytes":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._point.number, resource.RLIM_INFINITY))

    def disarm(self) -> None:
        """What follows is not counted."""
        self._armed = False
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def tick(self, kind: Literal["statement", "file"]) -> None:
        if not self._armed:
            return
        before = getattr(self.counted, kind)
        setattr(self.counted, kind, before + 1)
        if self._point == Point(kind, before):
            die()

    def _before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.tick("file")
            return call(*arguments)

        return counted

    def _halved(self, call: Callable[..., int]) -> Callable[..., int]:
        def counted(fd: int, buffers: list[bytes], offset: int, flags: int = 0) -> int:
            if self._armed and self._point == Point("file", self.counted.file):
                whole = b"".join(buffers)
                call(fd, [whole[: len(whole) // 2]], offset, flags)
            self.tick("file")
            return call(fd, buffers, offset, flags)

        return counted


def die() -> NoReturn:
    """No `finally`, no `atexit`, nothing."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
