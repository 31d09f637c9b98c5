"""A region sealed by order: every database is fenced though nobody can be asked; unsealed, it heals, nothing lost."""

import contextlib
import time
from pathlib import Path

import pytest
from tests.faults.machine import eventually
from tests.faults.region import Refused, Region, System
from tests.faults.test_loss_of_access import lose_and_regain, the_server

pytestmark = pytest.mark.live
FENCED_SECONDS = 3.0


def sealed(region: Region) -> bool:
    with contextlib.suppress(OSError):
        return bool(region.call("GET", "/seal", token=False)["sealed"])
    return False


def seal(region: Region) -> None:
    region.post("/seal/actions/seal")
    eventually("it is sealed", lambda: sealed(region), 15)
    for path in ("/keys", "/db-systems", "/auth/whoami"):
        refused = answer_of(region, path)
        assert (refused.status, refused.code) == (503, "Sealed")
        assert "keystead unseal" in refused.body["hint"]


def answer_of(region: Region, path: str) -> Refused:
    """A worker that is on its way out may break a connection off that it still took; it never answers otherwise."""
    broken_off = 0
    while True:
        try:
            raise AssertionError(f"{path} was answered: {region.get(path)}")
        except Refused as refused:
            return refused
        except OSError:
            broken_off += 1
            if broken_off == 20:
                raise


def unseal(region: Region) -> None:
    """Its listener is just starting anew: the first tries may find nobody."""
    content = Path(region.key_file).read_text()

    def opened() -> bool:
        with contextlib.suppress(OSError, Refused):
            region.call("POST", "/seal/actions/unseal", {"kind": "key-file", "secret": content}, token=False)
        return healthy(region)

    eventually("it is open", opened, 30)


def healthy(region: Region) -> bool:
    with contextlib.suppress(OSError, Refused):
        return bool(region.get("/auth/whoami")["name"])
    return False


def test_sealed_by_order(region: Region, system: System) -> None:
    lose_and_regain(
        region,
        system,
        "sealed",
        "the region was sealed by",
        lambda: seal(region),
        lambda: unseal(region),
        told=False,
    )


def test_fenced_at_once(region: Region, system: System) -> None:
    server = the_server(region, system)
    began = time.monotonic()
    region.post("/seal/actions/seal")
    eventually("the server is gone", lambda: not server.alive, FENCED_SECONDS)
    assert time.monotonic() - began < FENCED_SECONDS
    eventually("it is sealed", lambda: sealed(region), 15)
    unseal(region)
    region.wait_state(system, "ACTIVE", 30)


@pytest.mark.parametrize("name", ["http", "local", "host"])
def test_killed_while_it_is_sealed_it_stays_so(region: Region, system: System, name: str) -> None:
    seal(region)
    eventually("the server is gone", lambda: not region.servers(system.id), 15)
    before = region.kill(name)
    eventually(f"{name} is back", lambda: region.process(name).pid != before.pid, 15)
    eventually("it is sealed", lambda: sealed(region), 15)
    region.no_server_stays(system.id)
    unseal(region)
    region.wait_state(system, "ACTIVE", 30)


def test_it_is_sealed_over_a_restart(region: Region, system: System) -> None:
    """The key file would open it: the order counts for more."""
    seal(region)
    eventually("the server is gone", lambda: not region.servers(system.id), 15)
    region.down()
    region.start_up()
    eventually("it is sealed", lambda: sealed(region), 40)
    region.no_server_stays(system.id)
    unseal(region)
    region.wait_state(system, "ACTIVE", 40)
