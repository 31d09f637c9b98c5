"""What jobs need from outside: their rows."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from keystead.audit.model import Entry
from keystead.core.page import PageRequest
from keystead.jobs.model import Job


class JobRows(Protocol):
    """Jobs' rows in one transaction."""

    def add(self, job: Job) -> None: ...
    def job(self, tenancy: str, job_id: str) -> Job | None: ...
    def jobs(self, tenancy: str, compartment: str, page: PageRequest) -> Sequence[Job]: ...
    def unfinished(self) -> Sequence[Job]:
        """Of every tenancy."""
        ...

    def open_for(self, tenancy: str, resource: str) -> Job | None:
        """The unfinished job that serves `resource`, if there is one."""
        ...

    def cancel_for(self, tenancy: str, resource: str, now: datetime) -> None:
        """End the unfinished jobs of `resource` as CANCELED: something stronger replaces them."""
        ...

    def release_all(self) -> None:
        """Drop every lease: whoever held one is gone (monotonic time does not survive a reboot)."""
        ...

    def lease(self, owner: str, now: float, until: float) -> Job | None:
        """Take the oldest unfinished job that nobody holds a lease on (monotonic seconds)."""
        ...

    def renew(self, job: Job, owner: str, until: float) -> bool: ...
    def save(self, job: Job, owner: str) -> bool:
        """Store state, step, percent, result and error; False when the lease is no longer the owner's."""
        ...


class JobTx(Protocol):
    """A transaction as jobs see it."""

    @property
    def jobs(self) -> JobRows: ...


class JobStore(Protocol):
    """Where jobs are kept."""

    def read(self) -> AbstractContextManager[JobTx]: ...
    def write(self, *entries: Entry) -> AbstractContextManager[JobTx]: ...
    def note(self) -> AbstractContextManager[JobTx]: ...
