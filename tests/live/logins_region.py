"""A whole region with one database system, and people who may log in to it with tokens."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from tests.live.test_up import PROGRAM, Place, wait_for
from tests.ports import free_block

STATEMENT = (
    "ALLOW service mysql_dp_auth TO {AUTHENTICATION_INSPECT, GROUP_MEMBERSHIP_INSPECT, DYNAMIC_GROUP_INSPECT}"
    " IN TENANCY"
)


class LoginPlace(Place):
    """A place whose processes run the code under test, wherever that lies."""

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return {**super().environment(), **kept}


@dataclass
class Person:
    """A user of the region, with a session of its own."""

    region: "LoginRegion"
    id: str
    name: str
    password: str
    token: str = ""

    def database_token(self, **given: Any) -> str:
        asked = {"audience": "databases", **given}
        return str(self.region.call("POST", "/auth/tokens/exchange", asked, self.token)["token"])


@dataclass
class LoginRegion:
    place: LoginPlace
    token: str = ""
    root: str = ""
    system: dict[str, Any] = field(default_factory=dict)
    password: str = ""
    ca: Path = Path()
    people: dict[str, Person] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: Path, memory_mb: int = 256) -> "LoginRegion":
        port, endpoint, *servers = free_block(6)
        place = LoginPlace(directory, port, endpoint)
        made = place.run(
            "init",
            *("--state", str(place.state), "--key-file", str(directory / "outside/root.key")),
            *("--credentials-file", str(directory / "credentials.json"), "--port", str(port)),
            *("--set", f"databases.endpoint_port={endpoint}"),
            *("--set", f"databases.ports={servers[0]}-{servers[-1]}", "--json"),
        )
        assert made.returncode == 0, made.stderr
        place.up()
        region = cls(place, place.sign_in())
        try:
            region.root = region.call("GET", "/auth/whoami")["tenancy_id"]
            region.make_system(memory_mb)
        except BaseException:
            region.close()
            raise
        return region

    def call(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        import ssl
        import urllib.error
        import urllib.request

        context = ssl.create_default_context(cafile=str(self.place.state / "ca.pem"))
        request = urllib.request.Request(f"https://127.0.0.1:{self.place.port}/keystead/v1{path}", method=method)
        request.add_header("Authorization", f"Bearer {token or self.token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()!r}") from None

    def make_system(self, memory_mb: int) -> None:
        made = self.call("POST", "/db-systems", {"compartment_id": self.root, "name": "shop", "memory_mb": memory_mb})
        self.system, self.password = made["db_system"], made["admin_password"]
        self.await_state("ACTIVE")
        endpoint = self.call("GET", f"/db-systems/{self.system['id']}/endpoint")
        self.ca = self.place.directory / "db-ca.pem"
        self.ca.write_text(endpoint["ca_pem"])

    @property
    def path(self) -> str:
        return f"/db-systems/{self.system['id']}"

    @property
    def port(self) -> int:
        return int(self.system["port"])

    def await_state(self, state: str) -> None:
        wait_for(lambda: self.call("GET", self.path)["state"] == state, 40)

    def person(self, name: str) -> Person:
        made = self.call("POST", "/users", {"name": name, "description": ""})
        person = Person(self, made["id"], name, made["password"])
        self.sign_in(person)
        self.people[name] = person
        return person

    def sign_in(self, person: Person) -> None:
        shown = json.loads((self.place.directory / "credentials.json").read_text())
        asked = {"tenancy": shown["tenancy"], "user": person.name, "password": person.password}
        person.token = str(self.place.call("/auth/tokens", asked)["token"])

    def group(self, name: str, *members: Person) -> str:
        made = self.call("POST", "/groups", {"name": name, "description": ""})
        for member in members:
            self.join(made["id"], member)
        return str(made["id"])

    def join(self, group: str, member: Person) -> None:
        self.call("PUT", f"/groups/{group}/members/{member.id}")

    def leave(self, group: str, member: Person) -> None:
        self.call("DELETE", f"/groups/{group}/members/{member.id}")

    def policy(self, name: str, *statements: str) -> str:
        body = {"compartment_id": self.root, "name": name, "statements": list(statements)}
        return str(self.call("POST", "/policies", body)["id"])

    def map(self, kind: str, subject: str, **given: Any) -> str:
        made = self.call("POST", f"{self.path}/login-mappings", {"kind": kind, "subject_id": subject, **given})
        self.await_mapping(made["id"])
        return str(made["id"])

    def unmap(self, mapping: str) -> None:
        self.call("DELETE", f"{self.path}/login-mappings/{mapping}")

    def await_mapping(self, mapping: str) -> None:
        def there() -> bool:
            found = [each for each in self.call("GET", f"{self.path}/login-mappings")["items"] if each["id"] == mapping]
            assert found[0]["state"] != "FAILED", found
            return bool(found[0]["state"] == "ACTIVE")

        wait_for(there, 20)

    def connect(self, user: str, password: str, **given: Any) -> "pymysql.Connection[Any]":
        options: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": user,
            "password": password,
            "ssl_ca": str(self.ca),
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
            "autocommit": True,
            "connect_timeout": 10,
        }
        return pymysql.connect(**{**options, **given})

    def admin(self) -> "pymysql.Connection[Any]":
        return self.connect(self.system["admin_username"], self.password)

    def entries(self, operation: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"/audit/entries?action={operation}&limit=100")["items"]
        return found

    def close(self) -> None:
        self.place.run("down", "--with-databases", "--state", str(self.place.state))
        self.place.run("down", "--state", str(self.place.state))


def rows(connection: "pymysql.Connection[Any]", statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def one(connection: "pymysql.Connection[Any]", statement: str) -> tuple[Any, ...]:
    return rows(connection, statement)[0]


def ends_within(connection: "pymysql.Connection[Any]", seconds: float) -> float:
    """Seconds until the session was ended. Fails when it goes on."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            rows(connection, "SELECT 1")
        except (pymysql.MySQLError, OSError):
            return time.monotonic() - began
        time.sleep(0.05)
    raise AssertionError(f"the session still went on after {seconds} s")


__all__ = ["PROGRAM", "STATEMENT", "LoginRegion", "Person", "ends_within", "one", "rows", "subprocess", "sys"]
