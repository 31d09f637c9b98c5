"""Jobs: long-running operations with progress."""

from typing import Annotated

import typer

from keystead.cli.command import InCompartment, Limit, command, group
from keystead.cli.console import Column, moment
from keystead.cli.session import Session
from keystead.cli.waiting import succeeded, wait

jobs = group("Jobs: what takes long, with its progress.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.", show_default=False)]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="Wait no longer than this.")]

_JOBS: list[Column] = [
    ("created", moment("created_at")),
    ("kind", "kind"),
    ("resource", "resource_name"),
    ("state", "state"),
    ("%", "percent"),
    ("step", "step"),
    ("by", "requested_by"),
    ("id", "id"),
]


@command(jobs, "list")
def list_jobs(session: Session, compartment: InCompartment = None, limit: Limit = 20) -> None:
    """List the jobs of a compartment, newest first."""
    found = list(session.client.items("/jobs", limit, compartment_id=session.compartment(compartment)))
    found.sort(key=lambda it: it["created_at"] or "", reverse=True)
    session.console.table(found, _JOBS, "no jobs in it")


@command(jobs, "show")
def show_job(session: Session, job: JobId) -> None:
    """Show one job: state, step, result or error."""
    found = session.client.get(f"/jobs/{job}").data
    session.console.show(found, hide=("result",) if "report" in (found.get("result") or {}) else ())


@command(jobs, "wait")
def wait_for(session: Session, job: JobId, timeout: Timeout = None) -> None:
    """Wait until a job is done. Exit code 7 when it failed; Ctrl-C stops the waiting, not the job."""
    ended = wait(session, session.client.get(f"/jobs/{job}").data, timeout)
    if session.console.json:
        session.console.document(ended)
    succeeded(ended)
    session.console.say(f"{ended['kind']} {ended.get('resource_name') or ''}: {ended['state']}")
