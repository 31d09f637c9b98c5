"""Keeps a few child processes running: starts them, restarts the dead, ends them together.

Children are forked, with everything imported already, so that a dead one is back in a fraction of a second (while
`host` is gone nothing fences) and what the parent holds open (the root key) needs no way to them.

A child that dies is started again at once; one that keeps dying waits longer each time (up to 10 s) until it has lived
half a minute. A child that refuses while everything is starting (wrong key, port taken), or that dies again and again
then, ends it all, and its last words are passed on.
"""

import contextlib
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from typing import Final, NoReturn

from keystead.core.errors import KeysteadError, Refusal
from keystead.server.process import confine

REFUSED: Final = 78  # EX_CONFIG of sysexits(3)
BROKEN: Final = 70  # EX_SOFTWARE
STEADY_SECONDS: Final = 30.0
STARTING_DEATHS: Final = 3
DELAYS: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STOP_SECONDS: Final = 20.0
EXCHANGE_SECONDS: Final = 2.0
TICK: Final = 0.1
MAX_LOG_BYTES: Final = 16 * 1024 * 1024
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Task:
    """One child: its name, what it runs until it is told to stop, and where its output goes (None: to ours)."""

    name: str
    run: Callable[[], None]
    log: Path | None = None


@dataclass(slots=True)
class _Child:
    task: Task
    pid: int = 0
    born: float = 0.0
    deaths: int = 0
    due: float = 0.0


class Supervisor:
    """Runs tasks until told to stop. Use it from the main thread of a process that has no other threads."""

    def __init__(
        self, tasks: Sequence[Task], restarted: Callable[[str, int], None] = lambda _name, _code: None
    ) -> None:
        self._children = [_Child(task) for task in tasks]
        self._restarted = restarted
        self._started = False

    def run(
        self,
        ready: Callable[[], bool],
        on_ready: Callable[[], None],
        patience: float = 60.0,
        change: Callable[[], Sequence[Task] | None] = lambda: None,
    ) -> None:
        """Start everything, call `on_ready` once `ready` says so, and go on until SIGTERM, SIGINT or SIGHUP.

        `change` is asked at every turn (ten a second); tasks that it returns are those from then on (`exchange`).

        Raises:
            Refusal: a child refused to start, or not everything was ready in `patience` seconds; all are stopped.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOPPING, signal.SIGCHLD})
        gc.freeze()  # what is there now is shared with the children: leave its pages alone
        try:
            for child in self._children:
                self._start(child)
            give_up = time.monotonic() + patience
            while not self._stopping(TICK):
                self._tend()
                if (tasks := change()) is not None:
                    self.exchange(tasks)
                if self._started:
                    continue
                if ready():
                    self._started = True
                    on_ready()
                elif time.monotonic() > give_up:
                    raise Refusal("NotReady", f"it did not come up within {patience:.0f} s", hint="see its logs")
        finally:
            self.stop()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_STOPPING, signal.SIGCHLD})

    def exchange(self, tasks: Sequence[Task]) -> None:
        """Go on with these tasks: those that run already stay, the others end first (after 2 s by SIGKILL)."""
        leaving = [child for child in self._children if child.task not in tasks]
        self._end(leaving, EXCHANGE_SECONDS)
        staying = {child.task: child for child in self._children if child not in leaving}
        self._children = [staying.get(task) or _Child(task) for task in tasks]
        for child in self._children:
            if child.task not in staying:
                self._start(child)

    def stop(self) -> None:
        """End all children: SIGTERM, and after 20 s SIGKILL."""
        self._end(self._children, STOP_SECONDS)

    def _end(self, children: "Sequence[_Child]", seconds: float) -> None:
        for child in children:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)  # not reaped yet, so the pid is still theirs
        end = time.monotonic() + seconds
        while self._living(children) and time.monotonic() < end:
            signal.sigtimedwait({signal.SIGCHLD}, TICK)
        for child in self._living(children):
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            child.pid = 0

    def pids(self) -> dict[str, int]:
        """Process ids by task name."""
        return {child.task.name: child.pid for child in self._children if child.pid}

    def _living(self, children: Sequence[_Child]) -> list[_Child]:
        for child in children:
            if child.pid and os.waitpid(child.pid, os.WNOHANG)[0]:
                child.pid = 0
        return [child for child in children if child.pid]

    def _stopping(self, seconds: float) -> bool:
        """Wait a moment, or until a child ends; whether we were told to stop."""
        found = signal.sigtimedwait({*_STOPPING, signal.SIGCHLD}, seconds)
        return found is not None and found.si_signo != signal.SIGCHLD

    def _tend(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if not pid:
                    continue
                self._bury(child, os.waitstatus_to_exitcode(status), now)
            if not child.pid and now >= child.due:
                self._start(child)

    def _bury(self, child: _Child, code: int, now: float) -> None:
        child.pid = 0
        if not self._started and (code == REFUSED or child.deaths >= STARTING_DEATHS):
            raise _told(child.task)
        child.deaths = 0 if now - child.born > STEADY_SECONDS else child.deaths
        child.due = now + DELAYS[min(child.deaths, len(DELAYS) - 1)]
        child.deaths += 1
        with contextlib.suppress(OSError):  # it cannot be said on a full disk, but it is done
            self._restarted(child.task.name, code)

    def _start(self, child: _Child) -> None:
        _flush()
        child.pid = os.fork()
        child.born = time.monotonic()
        if not child.pid:
            _live(child.task)


def _live(task: Task) -> NoReturn:
    """The child: runs its task and ends."""
    code = BROKEN
    try:
        confine.end_with_parent()
        confine.lock_memory()  # a child does not inherit it
        os.setpgid(0, 0)  # Ctrl-C is for the parent, which then ends us in order
        confine.name_process(f"ks-{task.name}")
        _redirect(task.log)
        for sign in (*_STOPPING, signal.SIGCHLD):
            signal.signal(sign, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        task.run()
        code = 0
    except KeysteadError as error:
        words = {"refused": error.code, "message": error.message, "hint": error.hint}
        print(json.dumps(words), file=sys.stderr)
        code = REFUSED
    except BaseException as error:
        # Frames and type only: the text of a foreign error may hold anything.
        frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)[-12:]]
        words = {"refused": "InternalError", "message": f"internal error ({type(error).__name__})", "hint": ""}
        print(json.dumps({**words, "frames": frames}), file=sys.stderr)
    finally:
        _flush()
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk
            stream.flush()


def _told(task: Task) -> Refusal:
    """What a child said before it ended."""
    lines: list[bytes] = []
    if task.log is not None:
        with contextlib.suppress(OSError):
            lines = task.log.read_bytes()[-8192:].splitlines()
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = json.loads(line)
            return Refusal(found["refused"], found["message"], hint=found["hint"] or f"see {task.log}")
    return Refusal("CannotStart", f"{task.name} cannot start", hint=f"see {task.log}" if task.log else "")


def _redirect(log: Path | None) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if log is None:
        return
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if log.stat().st_size > MAX_LOG_BYTES:
            log.rename(log.with_name(f"{log.name}.1"))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
