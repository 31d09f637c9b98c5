"""Many people at once: nobody gets another's identity. KEYSTEAD_LOGIN_PEOPLE and KEYSTEAD_LOGINS widen it (1000)."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymysql
import pytest
from tests.live.logins_region import STATEMENT, LoginRegion, one
from tests.live.test_logins import opened

from keystead.adapters.mariadb.plugins import login_plugin

PEOPLE = int(os.environ.get("KEYSTEAD_LOGIN_PEOPLE", "24"))
LOGINS = int(os.environ.get("KEYSTEAD_LOGINS", "300"))
AT_ONCE = 32

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(login_plugin() is None, reason="the login plugin is not built: make native"),
]


@pytest.fixture(scope="module")
def region() -> Iterator[LoginRegion]:
    with opened(512, furnish=False) as found:
        found.policy("login", STATEMENT)
        found.policy("use", "ALLOW any-user TO use mysql-instances IN TENANCY where request.principal.type = 'user'")
        yield found


def test_nobody_gets_anothers_identity(region: LoginRegion) -> None:
    people = [region.person(f"person{number}") for number in range(PEOPLE)]
    expected: dict[str, str] = {}
    for number, person in enumerate(people):
        if number % 2:
            region.map("user", person.id)
            expected[person.name] = f"{person.name}@%"
        else:
            region.map("group", region.group(f"Group{number}", person), roles=["reader"])
            expected[person.name] = f"p_group{number}@%"
    tokens = {person.name: person.database_token() for person in people}
    ids = {person.name: person.id for person in people}

    def log_in(number: int) -> tuple[Any, ...]:
        person, token = people[number % PEOPLE], people[number % PEOPLE].name
        if number % 5 == 0:  # with somebody else's token
            token = people[(number + 1) % PEOPLE].name
        try:
            with region.connect(person.name, tokens[token], connect_timeout=30) as connection:
                return token, one(connection, "SELECT USER(), CURRENT_USER(), @@external_user")
        except pymysql.MySQLError:
            return token, None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(log_in, range(LOGINS)))
    let_in = 0
    for number, (token, who) in enumerate(found):
        name = people[number % PEOPLE].name
        if token != name:
            assert who is None, "another's token"
        elif who is not None:
            assert who == (f"{name}@127.0.0.1", expected[name], ids[name])
            let_in += 1
    assert let_in >= 0.95 * LOGINS * 4 / 5, "what does not answer in time is refused, which is rare"
