"""Who may log in to a database system, and as which account."""

from tests.fakes.region.routes import Request, route
from tests.fakes.region.state import MOMENT, Json


@route("POST", "/db-systems/{db_system_id}/login-mappings")
def map_login(ask: Request, db_system_id: str) -> tuple[int, Json]:
    found, body = ask.region.get("mysqldbsystem", db_system_id), ask.body
    subject = ask.region.get(body["kind"], body["subject_id"])
    made = {
        "id": ask.region.new_id("loginmapping"),
        "db_system_id": found["id"],
        "subject_name": subject["name"],
        "precedence": 100,
        "reason_text": "",
        "created_at": MOMENT,
        **body,
    }
    made["account"] = body["account"] or subject["name"].lower()
    ask.region.mappings[made["id"]] = {**made, "state": "ACTIVE"}
    return 201, {**made, "state": "PENDING"}


@route("GET", "/db-systems/{db_system_id}/login-mappings")
def login_mappings(ask: Request, db_system_id: str) -> Json:
    return {"items": [each for each in ask.region.mappings.values() if each["db_system_id"] == db_system_id]}


@route("DELETE", "/db-systems/{db_system_id}/login-mappings/{login_mapping_id}")
def unmap_login(ask: Request, db_system_id: str, login_mapping_id: str) -> tuple[int, None]:
    del ask.region.mappings[login_mapping_id]
    return 204, None


@route("GET", "/db-systems/{db_system_id}/login-readiness")
def login_readiness(ask: Request, db_system_id: str) -> Json:
    return {"ready": True, "reasons": []}
