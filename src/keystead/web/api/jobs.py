"""Jobs over REST: long-running operations and their progress."""

from datetime import datetime
from typing import Literal

from keystead.jobs.model import Job
from keystead.web.api.shared import paged
from keystead.web.messages import CompartmentRef, Listing, Message
from keystead.web.operations import Call, NoBody, Operation
from keystead.web.services import Services


class JobReply(Message):
    """A long-running operation. `step` is the last one done, `percent` 0 to 100; final states have the outcome."""

    id: str
    compartment_id: str
    kind: str
    resource_id: str
    resource_name: str
    requested_by: str
    state: Literal["ACCEPTED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "CANCELED"]
    step: str
    percent: int
    result: dict[str, str]
    error_code: str
    error: str
    created_at: datetime | None
    updated_at: datetime | None
    version: int


class JobPage(Message):
    """Some jobs."""

    items: list[JobReply]
    next_page: str | None


class JobListing(Listing, kw_only=True):
    """Which jobs."""

    compartment_id: CompartmentRef


def shown_job(found: Job) -> JobReply:
    return JobReply(
        id=found.id,
        compartment_id=found.compartment,
        kind=found.kind,
        resource_id=found.resource,
        resource_name=found.resource_name,
        requested_by=found.requester_name,
        state=found.state,
        step=found.step,
        percent=found.percent,
        result=dict(found.result),
        error_code=found.error_code,
        error=found.error,
        created_at=found.created_at,
        updated_at=found.updated_at,
        version=found.version,
    )


def list_jobs(services: Services, call: Call[NoBody, JobListing]) -> JobPage:
    found = services.jobs.list_jobs(call.caller, call.query.compartment_id, call.query.request())
    return paged(found, shown_job, JobPage)


def get_job(services: Services, call: Call[NoBody, NoBody]) -> JobReply:
    return shown_job(services.jobs.get_job(call.caller, call.path["job_id"]))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "ListJobs", "GET", "/jobs", "List the jobs of a compartment, newest first", list_jobs, "jobs",
        query=JobListing, reply=JobPage, permissions=("MYSQL_INSTANCE_WORK_REQUEST_INSPECT",),
    ),
    Operation(
        "GetJob", "GET", "/jobs/{job_id}", "Show a job", get_job, "jobs", reply=JobReply,
        permissions=("MYSQL_INSTANCE_WORK_REQUEST_READ",),
    ),
)  # fmt: skip
