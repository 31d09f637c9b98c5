"""Jobs as people see them."""

from keystead.core.errors import required
from keystead.core.ids import parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.iam.directory import Directory
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Compartment, Target
from keystead.jobs.model import Job
from keystead.jobs.ports import JobStore

KIND = "mysql-work-requests"


class Jobs:
    """Reads jobs."""

    def __init__(self, guard: Guard, directory: Directory, store: JobStore) -> None:
        self._guard = guard
        self._directory = directory
        self._store = store

    def get_job(self, caller: Caller, job_id: str) -> Job:
        parse_id(job_id, "job")
        with self._store.read() as tx:
            job = required(tx.jobs.job(caller.principal.tenancy, job_id), "job")
        place = self._place(caller, job.compartment)
        target = Target(
            KIND, job.id, f"{job.kind} {job.resource_name}", job.tenancy, place.path, {"workrequest.type": job.kind}
        )
        self._guard.permit(caller, "MYSQL_INSTANCE_WORK_REQUEST_READ", target, "GetJob")
        return job

    def list_jobs(self, caller: Caller, compartment: str, page: PageRequest) -> Page[Job]:
        """Newest first."""
        place = self._place(caller, compartment)
        target = Target(KIND, place.id, place.name, place.tenancy, place.path)
        self._guard.permit(caller, "MYSQL_INSTANCE_WORK_REQUEST_INSPECT", target, "ListJobs")
        with self._store.read() as tx:
            return cut(tx.jobs.jobs(place.tenancy, place.id, page), page.limit, _place_of)

    def _place(self, caller: Caller, compartment: str) -> Compartment:
        return required(self._directory.compartment(caller.principal.tenancy, compartment), "compartment")


def _place_of(job: Job) -> str:
    """Where a job stands in a list: when it was made, and its id."""
    made = job.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if job.created_at is not None else ""
    return f"{made} {job.id}"
