"""Database systems and their backups."""

from typing import Any

from tests.fakes.region.routes import Request, check_origin, no_clash, route, rows
from tests.fakes.region.state import MOMENT, Json, Refused

SYSTEM, BACKUP = "mysqldbsystem", "mysqlbackup"
rows(SYSTEM, "/db-systems/{db_system_id}", change="PATCH")
rows(BACKUP, "/backups/{backup_id}")


def new_system(ask: Request, kind: str, restored_from: str | None) -> tuple[int, Json]:
    body = ask.body
    no_clash(ask.region, SYSTEM, body["name"], compartment_id=body["compartment_id"])
    made = ask.region.keep(
        SYSTEM,
        compartment_id=body["compartment_id"],
        name=body["name"],
        state="CREATING",
        reason="",
        reason_text="",
        key_id=body.get("key_id"),
        key_version=1,
        service_managed=body.get("key_id") is None,
        admin_username=body.get("admin_username", "admin"),
        port=33061,
        memory_mb=body.get("memory_mb", 512),
        deletion_protection=body.get("deletion_protection", False),
        follow_key=body.get("follow_key", False),
        confirmed=True,
        restored_from=restored_from,
        tags={},
    )
    job = ask.region.job(kind, made, made["compartment_id"])
    return 202, {"db_system": dict(made), "job": job, "admin_password": "example-password-3", "already_shown": False}


@route("POST", "/db-systems")
def create_system(ask: Request) -> tuple[int, Json]:
    return new_system(ask, "create", None)


@route("PUT", "/db-systems/{db_system_id}/tags")
def tag_system(ask: Request, db_system_id: str) -> Json:
    return ask.change(SYSTEM, db_system_id, tags=ask.body["tags"])


@route("DELETE", "/db-systems/{db_system_id}")
def delete_system(ask: Request, db_system_id: str) -> tuple[int, Json]:
    found = ask.region.get(SYSTEM, db_system_id)
    if found["deletion_protection"]:
        raise Refused(409, "Protected", f"{found['name']!r} is protected against deletion", "unprotect it first")
    return 202, {"job": ask.region.job("delete", found, found["compartment_id"])}


@route("GET", "/db-systems/{db_system_id}/key-hierarchy")
def hierarchy(ask: Request, db_system_id: str) -> Json:
    found = ask.region.get(SYSTEM, db_system_id)

    def key(kind: str, slot: int, number: int, parent: str, latest: bool) -> Json:
        about = {"kind": kind, "slot": slot, "number": number, "parent_id": parent, "parent_version": 1}
        return {**about, "latest": latest, "created_at": MOMENT}

    cmek = found["key_id"] or "service-managed"
    items = [key("store", 0, 0, cmek, True), key("data", 1, 1, "store", True), key("data", 2, 2, "store", True)]
    return {"items": items}


@route("GET", "/db-systems/{db_system_id}/last-fence")
def last_fence(ask: Request, db_system_id: str) -> Json:
    return {"fence": ask.region.fences.get(ask.region.get(SYSTEM, db_system_id)["name"])}


@route("GET", "/db-systems/{db_system_id}/endpoint")
def endpoint(ask: Request, db_system_id: str) -> Json:
    found = ask.region.get(SYSTEM, db_system_id)
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    return {"host": "127.0.0.1", "port": found["port"], "ca_pem": certificate}


@route("POST", "/db-systems/{db_system_id}/actions/{verb}")
def act_on_system(ask: Request, db_system_id: str, verb: str) -> Any:
    found = ask.region.get(SYSTEM, db_system_id)
    match verb:
        case "start" | "stop" | "restart" | "rotate-data-keys" | "verify":
            check_origin(found, verb, {"start": {"INACTIVE", "FAILED"}, "stop": {"ACTIVE", "FAILED"}}.get(verb))
            return 202, {"job": ask.region.job(verb, found, found["compartment_id"])}
        case "change-key":
            key = ask.body["key_id"]
            changed = ask.change(SYSTEM, db_system_id, key_id=key, service_managed=key is None)
            return {**changed, "warnings": ask.region.warnings}
        case "delete-identity":
            why = {"reason": "identity_deleted", "reason_text": "its identity was deleted"}
            return ask.change(SYSTEM, db_system_id, state="INACCESSIBLE", **why)
        case "revoke-tokens":
            return found
        case _:
            return ask.change(SYSTEM, db_system_id, state="ACTIVE", reason="", reason_text="", confirmed=True)


@route("POST", "/backups")
def create_backup(ask: Request) -> tuple[int, Json]:
    system = ask.region.get(SYSTEM, ask.body["db_system_id"])
    made = ask.region.keep(
        BACKUP,
        compartment_id=system["compartment_id"],
        db_system_id=system["id"],
        db_system_name=system["name"],
        name=ask.body["name"],
        state="CREATING",
        reason_text="",
        key_id=ask.body.get("key_id") or ask.region.new_id("key"),
        key_version=1,
        size=1048576,
        detail={},
    )
    return 202, {"backup": dict(made), "job": ask.region.job("backup", made, made["compartment_id"])}


@route("DELETE", "/backups/{backup_id}")
def delete_backup(ask: Request, backup_id: str) -> tuple[int, Json]:
    found = ask.region.get(BACKUP, backup_id)
    return 202, {"job": ask.region.job("delete-backup", found, found["compartment_id"])}


@route("POST", "/backups/{backup_id}/actions/restore")
def restore(ask: Request, backup_id: str) -> tuple[int, Json]:
    return new_system(ask, "restore", ask.region.get(BACKUP, backup_id)["id"])
