"""Runs jobs: lease, next step, record, until done. After kill -9 the next runner goes on from the row.

A flow is a tuple of named steps, each idempotent: a step that was done but not recorded is done again. A step that
cannot be done yet (`Waiting`, or an outage) leaves the job open and gives the lease back for a while; any other refusal
ends the job as FAILED with its reason, after the flow's `abandon` has left things tidy.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from keystead.core.clock import Clock
from keystead.core.errors import Fault, Refusal, Unavailable
from keystead.jobs.model import Job
from keystead.jobs.ports import JobStore

LEASE_SECONDS = 30.0
RETRY_SECONDS = 1.0
Progress = Callable[[int, str], None]


class Waiting(Exception):
    """The step cannot be done yet, and nobody has to do anything but what the text says."""


class Canceled(Exception):
    """The job's row is no longer ours: it was canceled, or somebody else runs it."""


class Flow(Protocol):
    """How one kind of job is done."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps, in order."""
        ...

    def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
        """Do one step; what it returns is added to the job's result. Raises: Waiting, Refusal, Fault."""
        ...

    def abandon(self, job: Job) -> None:
        """The job has failed: leave things tidy. Idempotent."""
        ...


class Runner:
    """Takes one job at a time; several runners, in threads of `work`, take different jobs."""

    def __init__(
        self,
        store: JobStore,
        flows: Mapping[str, Flow],
        clock: Clock,
        owner: str,
        failed: Callable[[Job, Exception], None],
    ) -> None:
        self._store = store
        self._flows = flows
        self._clock = clock
        self._owner = owner
        self._failed = failed
        self._job: Job | None = None

    def run_one(self) -> bool:
        """Lease a job and bring it as far as it goes now; False when there was none."""
        now = self._clock.monotonic()
        with self._store.note() as tx:
            job = tx.jobs.lease(self._owner, now, now + LEASE_SECONDS)
        if job is None:
            return False
        self._job = job
        try:
            with suppress(Canceled):
                self._advance(job)
        finally:
            self._job = None
        return True

    def keep_lease(self) -> None:
        """Renew the lease of the job that is being run, if there is one: from another thread, while a step is long.

        A lease that has gone to somebody else, or a state that does not answer, shows when the step is recorded.
        """
        job = self._job
        if job is not None:
            with suppress(Canceled):
                self._renew(job)

    def _advance(self, job: Job) -> None:
        flow = self._flows[job.kind]
        done = flow.steps.index(job.step) + 1 if job.step in flow.steps else 0
        for number, step in enumerate(flow.steps[done:], done):
            try:
                result = flow.run(step, job, self._progress(job, number, len(flow.steps)))
            except Canceled:
                raise
            except (Waiting, Unavailable) as reason:
                self._put_back(job, str(reason))
                return
            except (Refusal, Fault) as error:
                self._fail(flow, job, error)
                return
            except Exception as error:  # a bug: the job must end, and the operator must hear of it
                self._failed(job, error)
                self._fail(flow, job, Fault("Internal", "an internal error; see the log of `work`"))
                return
            percent = (number + 1) * 100 // len(flow.steps)
            final = number + 1 == len(flow.steps)
            job = self._save(
                replace(
                    job,
                    state="SUCCEEDED" if final else "IN_PROGRESS",
                    step=step,
                    percent=percent,
                    result={**job.result, **result},
                    error="",
                )
            )

    def _progress(self, job: Job, number: int, total: int) -> Progress:
        """Records how far a long step is, and keeps the lease."""
        last = [-1]

        def report(percent: int, words: str) -> None:
            overall = (number * 100 + min(percent, 99)) // total
            if overall == last[0]:
                self._renew(job)
                return
            last[0] = overall
            self._save(replace(job, state="IN_PROGRESS", percent=overall, result={**job.result, "doing": words}))

        return report

    def _renew(self, job: Job) -> None:
        with self._store.note() as tx:
            if not tx.jobs.renew(job, self._owner, self._clock.monotonic() + LEASE_SECONDS):
                raise Canceled

    def _put_back(self, job: Job, reason: str) -> None:
        self._job = None
        self._save(replace(job, state="IN_PROGRESS", result={**job.result, "waiting_for": reason}))
        with self._store.note() as tx:
            tx.jobs.renew(job, self._owner, self._clock.monotonic() + RETRY_SECONDS)

    def _fail(self, flow: Flow, job: Job, error: Refusal | Fault) -> None:
        with suppress(Canceled):  # what it was about is gone: there is nothing to tidy
            flow.abandon(job)
        self._save(replace(job, state="FAILED", error_code=error.code, error=error.message))

    def _save(self, job: Job) -> Job:
        result = {name: text for name, text in job.result.items() if job.state == "IN_PROGRESS" or name not in _PASSING}
        job = replace(job, result=result, updated_at=self._clock.now())
        with self._store.note() as tx:
            if not tx.jobs.save(job, self._owner):
                raise Canceled
            tx.jobs.renew(job, self._owner, self._clock.monotonic() + LEASE_SECONDS)
        return replace(job, version=job.version + 1)


_PASSING = frozenset({"doing", "waiting_for"})
