"""Waiting for a job. The job belongs to the region: leaving off waiting, by Ctrl-C or a lost line, does not stop it.

On a terminal a bar shows percent and step, otherwise a line for each step. A region that does not answer for a while
(it may be restarting) is asked again for `PATIENCE` seconds.
"""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from keystead.cli.exits import INTERRUPTED, JOB_FAILED, UNAVAILABLE, CliError
from keystead.cli.session import Session
from keystead.cli.wire import Json

FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED"})
PATIENCE = 60.0


class _Progress(Protocol):
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def update(self, job: Json) -> None: ...


def wait(session: Session, job: Json, timeout: float | None = None) -> Json:
    """Wait until `job` is over and return it as it ended, whatever its end.

    Args:
        timeout: seconds; None waits for ever.

    Raises:
        CliError: interrupted, timed out, or the region went away; the job goes on.
    """
    follow = f"follow it with: keystead job wait {job['id']}"
    try:
        with _progress(session) as progress:
            return _poll(session, job, timeout, progress.update)
    except KeyboardInterrupt as error:
        raise CliError("stopped waiting; the job goes on", hint=follow, exit_code=INTERRUPTED) from error
    except TimeoutError as error:
        raise CliError(f"not done after {timeout:g} s; the job goes on", hint=follow, code="TimedOut") from error


def succeeded(job: Json) -> Json:
    """`job`, if it succeeded.

    Raises:
        CliError: it did not.
    """
    if job["state"] == "SUCCEEDED":
        return job
    raise CliError(
        f"job {job['kind']} of {job.get('resource_name') or job['resource_id']} "
        f"{job['state'].lower()}: {job.get('error') or 'no reason given'}",
        hint=f"keystead job show {job['id']}",
        code=job.get("error_code") or "",
        exit_code=JOB_FAILED,
    )


def _poll(session: Session, job: Json, timeout: float | None, seen: Callable[[Json], None]) -> Json:
    began = answered = time.monotonic()
    pause = 0.1
    while True:
        seen(job)
        if job["state"] in FINAL:
            return job
        if timeout is not None and time.monotonic() - began >= timeout:
            raise TimeoutError
        time.sleep(pause)
        pause = min(pause * 1.3, 1.0)
        try:
            job = session.client.get(f"/jobs/{job['id']}").data
            answered = time.monotonic()
        except CliError as error:
            if error.exit_code != UNAVAILABLE or time.monotonic() - answered > PATIENCE:
                raise


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, job: Json) -> None:
        pass


class _Lines(_Silent):
    """One line for each step, on standard error."""

    def __init__(self, remark: Callable[[str], None]) -> None:
        self._remark = remark
        self._last = ""

    def update(self, job: Json) -> None:
        step = job.get("step") or job["state"].lower().replace("_", " ")
        if job["state"] in FINAL:
            step = job["state"].lower()
        if step != self._last:
            self._last = step
            self._remark(f"{job['kind']} {job.get('resource_name') or ''}: {job.get('percent', 0):3d} % {step}")


class _Bar(_Silent):
    """A bar that rich draws, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.fields[what]}", markup=False),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[step]}", markup=False),
            console=Console(file=sys.stderr),
        )
        self._task = self._progress.add_task("", total=100, what="", step="")

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, job: Json) -> None:
        step = job["state"].lower() if job["state"] in FINAL else job.get("step") or "waiting"
        what = f"{job['kind']} {job.get('resource_name') or ''}"
        self._progress.update(self._task, completed=job.get("percent", 0), what=what, step=step)


def _progress(session: Session) -> _Progress:
    if session.console.json:
        return _Silent()
    return _Bar() if sys.stderr.isatty() else _Lines(session.console.remark)


def follow(session: Session, answer: Json, waiting: bool, refresh: tuple[str, str] | None = None) -> Json:
    """See an answer with a `job` through: wait if wished, print JSON if wished, and fail if the job did.

    The JSON is printed even when the waiting ends early: the answer may hold a password that is shown once.

    Args:
        refresh: member of the answer to read again after success, and the path to read it from.

    Returns:
        `answer` with the job as it ended, and the refreshed member.
    """
    told = dict(answer)
    try:
        if waiting:
            told["job"] = wait(session, answer["job"])
            if refresh is not None and told["job"]["state"] == "SUCCEEDED":
                told[refresh[0]] = session.client.get(refresh[1]).data
    finally:
        if session.console.json:
            session.console.document(told)
    if waiting:
        succeeded(told["job"])
    else:
        session.console.say(f"job {told['job']['id']}: {told['job']['state']}")
        session.console.remark(f"follow it with: keystead job wait {told['job']['id']}")
    return told
