"""Jobs, the audit, and the backup of the state."""

from tests.fakes.region.routes import Request, route
from tests.fakes.region.state import Json


@route("GET", "/jobs")
def list_jobs(ask: Request) -> Json:
    return ask.listed("job")


@route("GET", "/jobs/{job_id}")
def get_job(ask: Request, job_id: str) -> Json:
    found = ask.region.get("job", job_id)
    ask.region.advance(found)
    return found


@route("GET", "/audit/entries")
def list_entries(ask: Request) -> Json:
    return ask.page(ask.region.entries, outcome=ask.query.get("outcome"))


@route("GET", "/audit/verification")
def verify_audit(ask: Request) -> Json:
    return {"intact": True, "entries": 42, "segments": 3, "problems": []}


@route("POST", "/state/actions/backup")
def backup_state(ask: Request) -> tuple[int, bytes]:
    return 200, b"\x00sealed state\xff" * 1000
