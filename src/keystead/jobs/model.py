"""The job: a long-running operation with progress (a work request).

A job is a row written in the transaction of the change it serves. `work` leases it, does the next step, records it,
and after kill -9 or an upgrade goes on from the row alone. Nothing secret is ever part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from keystead.core.ids import CompartmentId, JobId, TenancyId

JobState = Literal["ACCEPTED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELED"]
FINAL: frozenset[str] = frozenset({"SUCCEEDED", "FAILED", "CANCELED"})


@dataclass(frozen=True, slots=True)
class Job:
    """`kind` names its plan (`create`, `backup`, ...), `step` the last one done, `percent` 0 to 100.

    `requester` is the principal who asked; their right is checked again at each step that touches a key.
    `input` and `result` are small JSON objects of strings, readable by whoever may read the job.
    """

    id: JobId
    tenancy: TenancyId
    compartment: CompartmentId
    kind: str
    resource: str
    resource_name: str
    requester: str
    requester_name: str
    state: JobState
    step: str
    percent: int
    input: Mapping[str, str] = field(default_factory=dict)
    result: Mapping[str, str] = field(default_factory=dict)
    error_code: str = ""
    error: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    attempts: int = 0
    version: int = 1
