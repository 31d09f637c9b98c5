"""`make bench-login`: what a login with a token takes longer than one with a password.

One database system. Each round logs in once with an account's password and once with a token (in turns first), over
TLS that is verified, each on a new connection, one after the other. Measured from before the connection is opened until
the server has said yes; then it is closed. `login_overhead_ms` is the difference of the medians, `login_token_p99_ms`
that of the slowest in a hundred. A token login is decided by the region each time, and recorded before it is answered.
"""

import argparse
import contextlib
import math
import ssl
import statistics
import time
from typing import Any

import pymysql

from bench import keystead_region
from bench.harness import Measure, emit, say, say_machine, spread, workspace
from bench.keystead_region import API, Region
from bench.mariadb import Fleet, start_encrypted

STATEMENT = (
    "Allow service mysql_dp_auth to {AUTHENTICATION_INSPECT, GROUP_MEMBERSHIP_INSPECT, DYNAMIC_GROUP_INSPECT}"
    " in tenancy"
)


def prepare(region: Region, fleet: Fleet, by_group: bool) -> tuple[str, str]:
    """A user who may log in with a token: name and token."""
    first, root, system = region.administrator, region.tenancy_id, fleet.systems[0].id

    def made(path: str, body: dict[str, object]) -> Any:
        return first.call("POST", API + path, body)

    name = "by-group" if by_group else "by-user"
    user = made("/users", {"name": name})
    group = made("/groups", {"name": name})["id"]
    first.call("PUT", f"{API}/groups/{group}/members/{user['id']}", {})
    statements = [STATEMENT, f"Allow group {name} to use mysql-instances in compartment bench"]
    made("/policies", {"compartment_id": root, "name": f"login-{name}", "statements": statements})
    wanted: dict[str, object] = {"kind": "user", "subject_id": user["id"]}
    if by_group:
        wanted = {"kind": "group", "subject_id": group, "roles": ["reader"]}
    mapping = made(f"/db-systems/{system}/login-mappings", wanted)["id"]

    def there() -> bool:
        listed: Any = first.call("GET", f"{API}/db-systems/{system}/login-mappings")
        return any(each["id"] == mapping and each["state"] == "ACTIVE" for each in listed["items"])

    deadline = time.monotonic() + 30
    while not there():
        if time.monotonic() > deadline:
            raise RuntimeError("the account was not made")
        time.sleep(0.05)
    session = region.sign_in(name, user["password"])
    token: Any = session.call("POST", f"{API}/auth/tokens/exchange", {"audience": "databases"})
    return name, str(token["token"])


class Door:
    """Where to log in, verified."""

    def __init__(self, region: Region, system: str) -> None:
        endpoint: Any = region.administrator.call("GET", f"{API}/db-systems/{system}/endpoint")
        self._host, self._port = str(endpoint["host"]), int(endpoint["port"])
        self._context = ssl.create_default_context(cadata=endpoint["ca_pem"])

    def log_in(self, user: str, password: str) -> float:
        """Milliseconds that a login took."""
        began = time.perf_counter()
        connection = pymysql.connect(
            host=self._host, port=self._port, user=user, password=password, ssl=self._context, autocommit=None
        )
        took = time.perf_counter() - began
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT USER()")
            (name,) = cursor.fetchone() or ("",)
        if not str(name).startswith(f"{user}@"):
            raise RuntimeError(f"logged in as {name} instead of {user}")
        return took * 1000


def run(door: Door, password: tuple[str, str], token: tuple[str, str], rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each login, of both kinds."""
    for _ in range(20):
        door.log_in(*password), door.log_in(*token)
    with_password: list[float] = []
    with_token: list[float] = []
    for number in range(rounds):
        sides = [(with_password, password), (with_token, token)]
        for found, who in sides if number % 2 else sides[::-1]:
            found.append(door.log_in(*who))
    return with_password, with_token


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    say_machine()
    with (
        workspace("login") as directory,
        keystead_region.start(directory / "region") as region,
        start_encrypted(region, 1, 256) as fleet,
    ):
        server = fleet.systems[0].server
        door = Door(region, fleet.systems[0].id)
        for by_group in (False, True):
            person = prepare(region, fleet, by_group)
            plain, token = run(door, (server.user, server.password), person, options.rounds)
            parts = [statistics.median(token[i::10]) - statistics.median(plain[i::10]) for i in range(10)]
            overhead = statistics.median(token) - statistics.median(plain)
            suffix = "_by_group" if by_group else ""
            say(f"  password {statistics.median(plain):.2f} ms, token {statistics.median(token):.2f} ms")
            emit(Measure(f"login_overhead{suffix}_ms", overhead, "ms", spread=spread(parts)))
            emit(Measure(f"login_token_p99{suffix}_ms", percentile(token, 0.99), "ms", percentile(plain, 0.99)))


if __name__ == "__main__":
    main()
