"""Database systems on an address of the operator's choice: served there with a certificate for it, fenced there."""

import contextlib
import socket
import ssl
from typing import Any

import pymysql
import pytest
from tests.faults.machine import eventually
from tests.faults.region import Region, System

pytestmark = pytest.mark.live

ADDRESS = "127.0.0.2"


def reached(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), 2):
        return True
    return False


def ask(region: Region, system: System, address: str) -> Any:
    trust = ssl.create_default_context(cafile=str(region.state / "databases-ca.pem"))
    connection = pymysql.connect(
        host=address, port=system.port, user=system.admin, password=system.password, ssl=trust, connect_timeout=5
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()


def test_a_system_listens_where_the_settings_say_and_nowhere_else() -> None:
    with Region.made({"databases.host": ADDRESS}) as region:
        key = region.key("finance")
        system = region.create(key, "flights")
        endpoint = region.get(f"/db-systems/{system.id}/endpoint")
        assert (endpoint["host"], endpoint["port"]) == (ADDRESS, system.port)
        assert ask(region, system, ADDRESS) == (1,)
        assert not reached("127.0.0.1", system.port)
        region.disable(key)
        region.wait_state(system, "INACCESSIBLE")
        eventually("it is said why", lambda: reached(ADDRESS, system.port), 5)
        with pytest.raises(pymysql.err.OperationalError, match="INACCESSIBLE"):
            ask(region, system, ADDRESS)
        assert not reached("127.0.0.1", system.port)
        region.enable(key)
        region.wait_state(system, "ACTIVE")
        assert ask(region, system, ADDRESS) == (1,)


def test_every_address_is_one_of_them() -> None:
    with Region.made({"databases.host": "*"}) as region:
        key = region.key("finance")
        system = region.create(key, "flights")
        assert ask(region, system, "127.0.0.1") == (1,)
        assert reached(ADDRESS, system.port)
        region.disable(key)
        region.wait_state(system, "INACCESSIBLE")
        eventually("it is said why", lambda: reached(ADDRESS, system.port), 5)
        with pytest.raises(pymysql.err.OperationalError, match="INACCESSIBLE"):
            ask(region, system, "127.0.0.1")
