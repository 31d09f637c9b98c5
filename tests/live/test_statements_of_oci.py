"""The statements about keys as people write them for OCI, on a real MariaDB: together they suffice, each is needed.

One region for all rows. Each row takes one statement away, looks what is refused or fenced, looks that everything else
goes on, and puts the statement back. What statements about other services say (volumes, buckets of another tenancy) is
asked of the region that runs by tests/iam/test_statements_of_oci.py alone, as nothing here makes volumes or buckets:
here taking them away must disturb nothing.
"""

import secrets
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest
from tests.faults.machine import eventually
from tests.faults.region import Refused, Region, System

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

FIXTURE = Path(__file__).parent.parent / "iam" / "fixtures" / "oci.txt"
STATEMENTS = tuple(FIXTURE.read_text().splitlines())
MANAGE, OBJECTS, BLOCKS, VAULTS, KEYS, DELEGATE, BOTH, VOLUMES, WITH_VOLUMES, WITH_BACKUPS, WITH_BUCKETS, AUTH = range(
    12
)
DISTURBS_NOTHING = (OBJECTS, BLOCKS, BOTH, VOLUMES, WITH_VOLUMES, WITH_BACKUPS, WITH_BUCKETS)
# Of the databases themselves: no statement about keys.
DBA = "Allow group Dba to manage mysql-family in compartment Prod"


@dataclass
class Person:
    """Somebody with a session of their own."""

    region: Region
    id: str
    name: str
    token: str

    def call(self, method: str, path: str, body: object = None) -> Any:
        return self.region.call(method, path, body, token=self.token)

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Status and message of a refusal."""
        with pytest.raises(Refused) as caught:
            self.call(method, path, body)
        return caught.value.status, str(caught.value.body["message"])


@dataclass
class Shop:
    """Prod with Vaults, Keys and Db in it; a system that was made, backed up and restored by the statements alone."""

    region: Region
    db: str
    vault: str
    key: str
    policies: dict[str, tuple[str, ...]]
    olivia: Person
    dan: Person
    systems: list[System] = field(default_factory=list)
    backup: str = ""

    def ask(self, name: str) -> dict[str, object]:
        return {"compartment_id": self.db, "name": name, "key_id": self.key, "memory_mb": 64}

    def set(self, policy: str, statements: tuple[str, ...]) -> None:
        self.region.call("PUT", f"/policies/{policy}", {"statements": list(statements)})

    def without(self, number: int) -> Callable[[], None]:
        """Take one statement away; returns what puts it back."""
        gone = filled(self.db, self.key)[number]
        policy, whole = next(item for item in self.policies.items() if gone in item[1])
        self.set(policy, tuple(each for each in whole if each != gone))
        return lambda: self.set(policy, whole)

    def answers(self, system: System) -> bool:
        return self.region.sql(system, "SELECT COUNT(*) FROM shop.goods") == ((500,),)

    def all_runs(self) -> bool:
        return all(self.answers(system) for system in self.systems)

    def rotates(self) -> None:
        """The officer's act and the systems' own right: the store keys follow to the new version."""
        self.olivia.call("POST", f"/keys/{self.key}/actions/rotate", {})

    def names_key(self) -> None:
        """The administrator of databases has a system made with the key."""
        made = self.region._system(self.dan.call("POST", "/db-systems", self.ask(f"s{secrets.token_hex(3)}")))
        self.region.done(made.job)
        self.region.done(self.dan.call("DELETE", f"/db-systems/{made.id}")["job"]["id"])


def filled(db: str, key: str) -> tuple[str, ...]:
    return tuple(each.replace("<compartment id>", db).replace("<key id>", key) for each in STATEMENTS)


def person(region: Region, name: str, group: str) -> Person:
    made = region.post("/users", {"name": name})
    region.learn(f"password of {name}", made["password"])
    team = region.post("/groups", {"name": group})["id"]
    region.call("PUT", f"/groups/{team}/members/{made['id']}")
    asked = {"tenancy": region.tenancy, "user": name, "password": made["password"]}
    token = region.call("POST", "/auth/tokens", asked, token=False)["token"]
    region.learn(f"token of {name}", token)
    return Person(region, made["id"], name, token)


def furnished(region: Region) -> Shop:
    def place(name: str, parent: str) -> str:
        return str(region.post("/compartments", {"parent_id": parent, "name": name})["id"])

    def policy(where: str, name: str, statements: tuple[str, ...]) -> str:
        asked = {"compartment_id": where, "name": name, "statements": list(statements)}
        return str(region.post("/policies", asked)["id"])

    prod = place("Prod", place("Shop", region.root_compartment))
    vaults, keys, db = (place(name, prod) for name in ("Vaults", "Keys", "Db"))
    vault = region.post("/vaults", {"compartment_id": vaults, "name": "main"})["id"]
    key = region.post("/keys", {"compartment_id": keys, "vault_id": vault, "name": "finance"})["id"]
    olivia, dan = person(region, "olivia", "SecurityAdmins"), person(region, "dan", "Dba")
    at_prod = tuple(each for each in filled(db, key) if "enancy" not in each.lower())
    at_root = tuple(each for each in filled(db, key) if each not in at_prod)
    policies = {policy(prod, "keys", at_prod): at_prod, policy(region.root_compartment, "tenancy", at_root): at_root}
    policy(prod, "databases", (DBA,))
    return Shop(region, db, vault, key, policies, olivia, dan)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Made, filled, backed up and restored by an administrator of databases who has nothing but the statements."""
    with Region.made() as region:
        found = furnished(region)
        dan = found.dan
        first = region._system(dan.call("POST", "/db-systems", found.ask("flights") | {"follow_key": True}))
        region.done(first.job)
        region.fill(first, 500)
        taken = dan.call("POST", "/backups", {"db_system_id": first.id, "name": "monday", "key_id": found.key})
        found.backup = taken["backup"]["id"]
        region.done(taken["job"]["id"])
        second = region._system(dan.call("POST", f"/backups/{found.backup}/actions/restore", found.ask("restored")))
        region.done(second.job)
        found.systems = [first, second]
        yield found


def test_together_they_suffice(shop: Shop) -> None:
    region, dan = shop.region, shop.dan
    assert shop.all_runs()
    assert region.checksum(shop.systems[0]) == region.checksum(shop.systems[1])
    before = region.get(f"/keys/{shop.key}")["current_version"]
    shop.rotates()
    eventually("it follows", lambda: dan.call("GET", f"/db-systems/{shop.systems[0].id}")["key_version"] > before, 90)
    region.done(dan.call("POST", f"/db-systems/{shop.systems[0].id}/actions/restart", {})["job"]["id"])
    assert shop.all_runs()
    assert dan.call("GET", f"/vaults/{shop.vault}")["name"] == "main"


def test_without_the_officers_statement_the_key_is_not_managed(shop: Shop) -> None:
    back = shop.without(MANAGE)
    assert shop.olivia.refused("POST", f"/keys/{shop.key}/actions/rotate", {})[0] == 404
    assert shop.olivia.refused("POST", f"/keys/{shop.key}/actions/disable", {})[0] == 404
    assert shop.all_runs()
    back()
    shop.rotates()


def test_without_reading_vaults_the_dba_does_not_see_them(shop: Shop) -> None:
    back = shop.without(VAULTS)
    assert shop.dan.refused("GET", f"/vaults/{shop.vault}")[0] == 404
    assert shop.all_runs()
    assert shop.dan.call("GET", f"/keys/{shop.key}")["name"] == "finance"
    back()
    assert shop.dan.call("GET", f"/vaults/{shop.vault}")["name"] == "main"


def test_without_reading_keys_nobody_names_one_for_a_system_or_a_backup(shop: Shop) -> None:
    back = shop.without(KEYS)
    dan, system = shop.dan, shop.systems[0]
    backup = {"db_system_id": system.id, "name": "tuesday", "key_id": shop.key}
    refused = [
        dan.refused("GET", f"/keys/{shop.key}"),
        dan.refused("POST", "/db-systems", shop.ask("second")),
        dan.refused("POST", "/backups", backup),
        dan.refused("POST", f"/backups/{shop.backup}/actions/restore", shop.ask("again")),
    ]
    assert [status for status, _ in refused] == [404] * 4
    assert shop.all_runs(), "who uses the key is the system, with a right of its own"
    shop.region.done(dan.call("POST", f"/db-systems/{system.id}/actions/restart", {})["job"]["id"])
    assert shop.answers(system)
    back()
    shop.names_key()


def test_without_the_delegation_every_system_is_fenced_and_comes_back_with_it(shop: Shop) -> None:
    region = shop.region
    back = shop.without(DELEGATE)
    for system in shop.systems:
        shown = region.wait_state(system, "INACCESSIBLE", 15)
        assert (shown["reason"], "KEY_ASSOCIATE" in shown["reason_text"]) == ("permission", True)
        assert not region.servers(system.id), "its server still runs"
        with pytest.raises(pymysql.MySQLError, match="INACCESSIBLE"):
            region.sql(system, "SELECT 1")
    status, message = shop.dan.refused("POST", "/db-systems", shop.ask("second"))
    assert (status, "KEY_ASSOCIATE" in message) == (403, True), message
    assert shop.dan.refused("POST", f"/backups/{shop.backup}/actions/restore", shop.ask("again"))[0] == 403
    assert shop.olivia.call("GET", f"/keys/{shop.key}")["state"] == "ENABLED", "nothing but the delegation is gone"
    back()
    for system in shop.systems:
        region.wait_state(system, "ACTIVE", 30)
    assert shop.all_runs()


@pytest.mark.parametrize("number", DISTURBS_NOTHING)
def test_without_what_is_about_other_services_systems_go_on(shop: Shop, number: int) -> None:
    """They are started anew meanwhile: what was taken away would be refused then, however slowly it is noticed."""
    back = shop.without(number)
    try:
        restarts = [shop.dan.call("POST", f"/db-systems/{each.id}/actions/restart", {}) for each in shop.systems]
        for restart in restarts:
            shop.region.done(restart["job"]["id"])
        assert shop.all_runs()
        assert shop.dan.call("GET", f"/keys/{shop.key}")["name"] == "finance"
        assert shop.dan.call("GET", f"/vaults/{shop.vault}")["name"] == "main"
    finally:
        back()


def test_without_its_statement_nobody_logs_in_with_a_token(shop: Shop) -> None:
    region, dan, system = shop.region, shop.dan, shop.systems[0]
    mapped = region.post(f"/db-systems/{system.id}/login-mappings", {"kind": "user", "subject_id": dan.id})["id"]
    listed = f"/db-systems/{system.id}/login-mappings"

    def there() -> bool:
        return any(each["id"] == mapped and each["state"] == "ACTIVE" for each in region.get(listed)["items"])

    eventually("the account is there", there, 20)

    def logs_in() -> str:
        token = dan.call("POST", "/auth/tokens/exchange", {"audience": "databases"})["token"]
        region.learn(f"a token of dan's for databases {secrets.token_hex(4)}", token)
        context = ssl.create_default_context(cafile=str(region.state / "databases-ca.pem"))
        with (
            closing(
                pymysql.connect(host="127.0.0.1", port=system.port, user="dan", password=token, ssl=context)
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT USER()")
            return str(cursor.fetchall()[0][0])

    assert logs_in().startswith("dan@")
    back = shop.without(AUTH)
    with pytest.raises(pymysql.MySQLError):
        logs_in()
    assert shop.all_runs(), "by password it is as before"
    back()
    assert logs_in().startswith("dan@")
