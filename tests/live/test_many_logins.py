"""Many people at once: nobody gets another's identity.

Everybody has a mapping of their own (half are mapped one to one, half by a group) and logs in, and whoever is let in
stays until all have tried: the sessions stand side by side. In between, others try with a token that is not theirs.
KEYSTEAD_LOGIN_PEOPLE and KEYSTEAD_LOGINS widen it; `make test-faults` takes 1,000 of both.
"""

import contextlib
import json
import os
import ssl
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
from tests.live.logins_region import STATEMENT, LoginRegion, Person, one
from tests.live.test_logins import opened
from tests.live.test_up import wait_for

from keystead.adapters.mariadb.plugins import login_plugin

PEOPLE = int(os.environ.get("KEYSTEAD_LOGIN_PEOPLE", "50"))
LOGINS = int(os.environ.get("KEYSTEAD_LOGINS", "200"))
AT_ONCE = 32
"""Logins under way at the same time. A database server waits 2 s for a decision, whatever the machine is busy with."""
MEMORY_MB = max(512, 4 * (LOGINS + 64))
"""A system takes a connection for each 4 MB."""

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(5400),
    pytest.mark.skipif(login_plugin() is None, reason="the login plugin is not built: make native"),
]


@pytest.fixture(scope="module")
def region() -> Iterator[LoginRegion]:
    with opened(MEMORY_MB, furnish=False) as found:
        found.policy("login", STATEMENT)
        found.policy("use", "ALLOW any-user TO use mysql-instances IN TENANCY where request.principal.type = 'user'")
        yield found


@dataclass(frozen=True)
class Mapped:
    """Somebody with a mapping, and what a database must say of them."""

    person: Person
    token: str
    account: str


def application(region: LoginRegion, name: str) -> Person:
    """A user who signs in as applications do, with an auth token: no password is hashed for it."""
    made = region.call("POST", "/users", {"name": name})
    secret = region.call("POST", f"/users/{made['id']}/auth-tokens", {"name": "many", "days": 1})["text"]
    context = ssl.create_default_context(cafile=str(region.place.state / "ca.pem"))
    asked = urllib.request.Request(f"https://127.0.0.1:{region.place.port}/v1/auth/approle/login", method="POST")
    asked.data = json.dumps({"role_id": made["id"], "secret_id": secret}).encode()
    with urllib.request.urlopen(asked, timeout=60, context=context) as answer:
        token = json.loads(answer.read())["auth"]["client_token"]
    return Person(region, made["id"], name, made["password"], token)


def mapped(region: LoginRegion, number: int) -> Mapped:
    person = application(region, f"person{number}")
    wanted: dict[str, Any] = {"kind": "user", "subject_id": person.id}
    account = person.name
    if number % 2 == 0:
        group, account = region.group(f"Group{number}", person), f"p_group{number}"
        wanted = {"kind": "group", "subject_id": group, "roles": ["reader"]}
    region.call("POST", f"{region.path}/login-mappings", wanted)
    return Mapped(person, person.database_token(), account)


def states(region: LoginRegion) -> list[str]:
    return [each["state"] for each in region.call("GET", f"{region.path}/login-mappings")["items"]]


def test_nobody_gets_anothers_identity(region: LoginRegion) -> None:
    with ThreadPoolExecutor(4) as makers:
        everybody = list(makers.map(lambda number: mapped(region, number), range(PEOPLE)))
    wait_for(lambda: states(region) == ["ACTIVE"] * PEOPLE, 300)

    held = contextlib.ExitStack()

    def log_in(attempt: tuple[int, int]) -> tuple[Any, ...] | None:
        """Who the database says has come: somebody by name, with somebody's token."""
        named, shown = everybody[attempt[0] % PEOPLE], everybody[attempt[1] % PEOPLE]
        try:
            connection = region.connect(named.person.name, shown.token, connect_timeout=30)
        except pymysql.MySQLError:
            return None
        held.push(connection)
        return one(connection, "SELECT USER(), CURRENT_USER(), @@external_user")

    attempts: list[tuple[int, int]] = []
    for number in range(LOGINS):
        attempts += [(number, number), (number, number + 1)] if number % 4 == 0 else [(number, number)]
    began = time.monotonic()
    with held, ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(log_in, attempts))
        seconds = time.monotonic() - began
        with region.admin() as admin:
            (side_by_side,) = one(
                admin, "SELECT COUNT(*) FROM information_schema.processlist WHERE user LIKE 'person%'"
            )
    let_in = 0
    for (named, shown), who in zip(attempts, found, strict=True):
        mine = everybody[named % PEOPLE]
        if named != shown:
            assert who is None, "another's token"
        elif who is not None:
            assert who == (f"{mine.person.name}@127.0.0.1", f"{mine.account}@%", mine.person.id)
            let_in += 1
    told = f"{PEOPLE} mappings, {len(attempts)} tries in {seconds:.1f} s, {AT_ONCE} at a time"
    print(f"\n{told}: {let_in} of {LOGINS} logins, {side_by_side} sessions side by side")
    assert let_in >= 0.95 * LOGINS, "what does not answer in time is refused, which is rare"
    assert side_by_side == let_in
