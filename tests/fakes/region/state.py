"""What the region holds, how its ids and times are counted, and what was asked of it."""

import base64
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from keystead.core.secret import Secret

Json = dict[str, Any]
MOMENT = "2026-01-31T12:00:00.000Z"
LATER = "2026-03-02T12:00:00.000Z"


def base32(number: int) -> str:
    """The unique part of the id counted so."""
    return base64.b32encode(number.to_bytes(20, "big")).decode().lower()


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        self.status, self.body = status, {"code": code, "message": message, "hint": hint}


@dataclass
class Exchange:
    """One request as it came, and what was answered."""

    method: str
    template: str
    target: str
    headers: dict[str, str]
    body: Any
    raw: bytes
    status: int = 0
    reply: Any = None


@dataclass
class Planned:
    method: str
    path: str
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Region:
    """The state of the region, and what was asked of it."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.planned: list[Planned] = []
        self.status = "ok"
        self.shares: list[int] = []
        self.counters: dict[str, int] = {}
        self.things: dict[str, dict[str, Json]] = {}
        self.members: dict[str, list[str]] = {}
        self.links: list[Json] = []
        self.began: Json = {}
        self.passwords = {"olivia": "correct horse"}
        self.tokens: dict[str, str] = {}
        self.factors_asked: list[str] = []  # after the password
        self.asked_in_vain = 0  # how often nobody has answered yet
        self.asked_logins = 2  # the third is answered
        self.scripts: dict[str, list[tuple[int, str]]] = {}
        self.fail_jobs: dict[str, tuple[str, str]] = {}
        self.results: dict[str, dict[str, str]] = {}
        self.entries: list[Json] = []
        self.fences: dict[str, Json] = {}
        self.mappings: dict[str, Json] = {}
        self.private: dict[str, Secret] = {}
        self.arrived: list[bytes] = []
        self.told = ""
        self.warnings: list[str] = []
        self.hold_jobs = False
        self.polled = threading.Event()
        self.tenancy = self.new_id("tenancy")
        self.olivia = self.keep("user", name="olivia", state="ACTIVE", description="security officer")

    def new_id(self, kind: str) -> str:
        number = self.counters[kind] = self.counters.get(kind, 0) + 1
        return f"ks1.{kind}.main.home.{base32(number)}"

    def keep(self, kind: str, /, **fields: Any) -> Json:
        """A new row, which can be changed."""
        return self.note(kind, **fields, created_at=MOMENT, version=1)

    def note(self, kind: str, /, **fields: Any) -> Json:
        """A new row as it is given, but for its id."""
        made = {"id": self.new_id(kind), **fields}
        self.things.setdefault(kind, {})[made["id"]] = made
        return made

    def all(self, kind: str) -> list[Json]:
        return list(self.things.get(kind, {}).values())

    def get(self, kind: str, identity: str) -> Json:
        found = self.things.get(kind, {}).get(identity)
        if found is None:
            raise Refused(404, "NotFound", f"{kind} does not exist or you may not see it", "check the id")
        return found

    def change(self, found: Json, seen: str | None, **fields: Any) -> Json:
        if seen is not None and seen != str(found["version"]):
            raise Refused(412, "Stale", "it was changed meanwhile", "read it again")
        found.update(fields, version=found["version"] + 1)
        return found

    def remove(self, kind: str, identity: str) -> None:
        self.get(kind, identity)
        del self.things[kind][identity]

    def job(self, kind: str, about: Json, compartment: str) -> Json:
        steps = self.scripts.get(kind, [(50, "half way")])
        made = self.keep(
            "job",
            compartment_id=compartment,
            kind=kind,
            resource_id=about["id"],
            resource_name=about["name"],
            requested_by="olivia",
            state="ACCEPTED",
            step="",
            percent=0,
            result={},
            error_code="",
            error="",
        )
        made["updated_at"] = MOMENT
        made["_left"], made["_about"] = list(steps), about
        return made

    def advance(self, job: Json) -> None:
        self.polled.set()
        if self.hold_jobs or job["state"] in {"SUCCEEDED", "FAILED"}:
            return
        job["version"] += 1
        if job["_left"]:
            percent, step = job["_left"].pop(0)
            job.update(state="IN_PROGRESS", percent=percent, step=step)
        elif job["kind"] in self.fail_jobs:
            code, message = self.fail_jobs[job["kind"]]
            job.update(state="FAILED", error_code=code, error=message)
            job["_about"]["state"] = "FAILED"
        else:
            job.update(state="SUCCEEDED", percent=100, result=self.results.get(job["kind"], {}))
            after = {"stop": "INACTIVE", "delete": "DELETED", "delete-backup": "DELETED"}
            job["_about"]["state"] = after.get(job["kind"], "ACTIVE")

    def plan(self, method: str, path: str, status: int, code: str, message: str, hint: str = "") -> None:
        """Refuse the next request to `path` (a regular expression)."""
        body = {"code": code, "message": message, "hint": hint, "request_id": self.new_id("request")}
        self.planned.append(Planned(method, path, status, json.dumps(body).encode()))

    def plan_raw(self, method: str, path: str, status: int, body: bytes, **headers: str) -> None:
        self.planned.append(Planned(method, path, status, body, headers))

    def last(self, method: str, template: str) -> Exchange:
        return [it for it in self.exchanges if (it.method, it.template) == (method, template)][-1]
