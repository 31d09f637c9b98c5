"""Keeps a few child processes running: starts them, restarts the dead, ends them together.

A child that dies is started again at once; one that keeps dying waits longer each time (up to 10 s) until it has lived
half a minute. A child that ends with `REFUSED` while everything is starting says that it cannot work here (wrong key,
port taken): then all is stopped and its last words are passed on.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keystead.core.errors import Refusal

REFUSED: Final = 78  # EX_CONFIG of sysexits(3)
STEADY_SECONDS: Final = 30.0
STARTING_DEATHS: Final = 3
DELAYS: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STOP_SECONDS: Final = 20.0
TICK: Final = 0.1
MAX_LOG_BYTES: Final = 16 * 1024 * 1024
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Task:
    """One child: its name, its arguments to the console script, where its output goes (None: to ours)."""

    name: str
    arguments: tuple[str, ...]
    log: Path | None = None


@dataclass(slots=True)
class _Child:
    task: Task
    process: "subprocess.Popen[bytes] | None" = None
    born: float = 0.0
    deaths: int = 0
    due: float = 0.0
    history: list[int] = field(default_factory=list)


class Supervisor:
    """Runs tasks until told to stop. Use it from the main thread of a process that has no other threads."""

    def __init__(
        self,
        tasks: Sequence[Task],
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
        restarted: Callable[[str, int], None] = lambda _name, _code: None,
    ) -> None:
        self._children = [_Child(task) for task in tasks]
        self._environment = {**os.environ, **(environment or {})}
        self._descriptors = tuple(descriptors)
        self._restarted = restarted
        self._started = False

    def run(self, ready: Callable[[], bool], on_ready: Callable[[], None], patience: float = 60.0) -> None:
        """Start everything, call `on_ready` once `ready` says so, and go on until SIGTERM, SIGINT or SIGHUP.

        Raises:
            Refusal: a child refused to start, or not everything was ready in `patience` seconds; all are stopped.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOPPING, signal.SIGCHLD})
        try:
            for child in self._children:
                self._start(child)
            give_up = time.monotonic() + patience
            while not self._stopping(TICK):
                self._tend()
                if self._started:
                    continue
                if ready():
                    self._started = True
                    on_ready()
                elif time.monotonic() > give_up:
                    raise Refusal(
                        "NotReady", f"the region did not come up within {patience:.0f} s", hint="see the log directory"
                    )
        finally:
            self.stop()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_STOPPING, signal.SIGCHLD})

    def stop(self) -> None:
        """End all children: SIGTERM, and after 20 s SIGKILL."""
        living = [child.process for child in self._children if child.process is not None]
        for process in living:
            process.terminate()
        end = time.monotonic() + STOP_SECONDS
        for process in living:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(end - time.monotonic(), 0.01))
                continue
            process.kill()
            process.wait()
        for child in self._children:
            child.process = None

    def pids(self) -> dict[str, int]:
        """Process ids by task name."""
        return {child.task.name: child.process.pid for child in self._children if child.process is not None}

    def _stopping(self, seconds: float) -> bool:
        """Wait a moment, or until a child ends; whether we were told to stop."""
        found = signal.sigtimedwait({*_STOPPING, signal.SIGCHLD}, seconds)
        return found is not None and found.si_signo != signal.SIGCHLD

    def _tend(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.process is not None:
                code = child.process.poll()
                if code is None:
                    continue
                self._bury(child, code, now)
            if child.process is None and now >= child.due:
                self._start(child)

    def _bury(self, child: _Child, code: int, now: float) -> None:
        child.process = None
        if not self._started and (code == REFUSED or child.deaths >= STARTING_DEATHS):
            raise _told(child.task)
        child.deaths = 0 if now - child.born > STEADY_SECONDS else child.deaths
        child.due = now + DELAYS[min(child.deaths, len(DELAYS) - 1)]
        child.deaths += 1
        self._restarted(child.task.name, code)

    def _start(self, child: _Child) -> None:
        output = _open_log(child.task.log) if child.task.log else None
        try:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "keystead.server.main", *child.task.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                pass_fds=self._descriptors,
                preexec_fn=_unblock,  # noqa: PLW1509 (this process has one thread)
            )
            child.born = time.monotonic()
        finally:
            if output is not None:
                os.close(output)


def refuse(error: Exception) -> int:
    """The last words of a child that cannot work here, on standard error, and its exit code."""
    found = {
        "refused": getattr(error, "code", type(error).__name__),
        "message": getattr(error, "message", "an internal error"),
        "hint": getattr(error, "hint", ""),
    }
    print(json.dumps(found), file=sys.stderr, flush=True)
    return REFUSED


def _told(task: Task) -> Refusal:
    """What a child said before it ended."""
    lines: list[bytes] = []
    if task.log is not None:
        with contextlib.suppress(OSError):
            lines = task.log.read_bytes()[-8192:].splitlines()
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = json.loads(line)
            return Refusal(found["refused"], found["message"], hint=found["hint"])
    return Refusal("CannotStart", f"{task.name} cannot start", hint=f"see {task.log}" if task.log else "")


def _open_log(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if path.stat().st_size > MAX_LOG_BYTES:
            path.rename(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
