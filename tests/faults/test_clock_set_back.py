"""The wall clock jumps while a region runs: nothing that ended comes back, and revoking and healing go on as before.

Leases and time limits count by the monotonic clock. The region here is the real one; only what its processes read from
the wall clock is shifted, by what a file says.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.harness import check_machine
from tests.faults.machine import eventually
from tests.faults.region import Refused, Region, System
from tests.faults.test_loss_of_access import STEPS, the_server
from tests.faults.writer import Writer

pytestmark = pytest.mark.live

HOUR = 3600
SHIFTED = """
import sys
from datetime import timedelta
from pathlib import Path
from keystead.core import clock
offset, real = Path(sys.argv.pop(1)), clock.SystemClock.now
def shifted(self):
    return real(self) + timedelta(seconds=float(offset.read_text()))
clock.SystemClock.now = shifted
from keystead.server.main import main
sys.argv[0] = "keystead"
main()
"""


class Wall:
    """The wall clock on the wall of the region."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.shift(0)

    def shift(self, seconds: float) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._path)


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Wall:
    return Wall(tmp_path_factory.mktemp("clock") / "offset")


@pytest.fixture(scope="module")
def region(wall: Wall) -> Iterator[Region]:
    launcher = [sys.executable, "-c", SHIFTED, str(wall._path)]
    with Region.made({"access.grace_seconds": "60"}, launcher=launcher) as found:
        yield found


def test_set_back_while_it_runs(region: Region, system: System, key: str, wall: Wall) -> None:
    before, last, server = region.checksum(system), region.fence(system), the_server(region, system)
    with Writer(region, system) as writer:
        wall.shift(-24 * HOUR)
        time.sleep(4)  # longer than the lease
        writer.wait_more()
        assert server.alive
        assert region.fence(system) == last
        assert region.get("/auth/whoami")
        region.disable(key)
        region.wait_state(system, "INACCESSIBLE")
        region.no_server_stays(system.id)
        receipt = region.fence(system)
        assert [step["name"] for step in receipt["steps"]] == STEPS
        assert [step["after_ms"] for step in receipt["steps"]] == sorted(step["after_ms"] for step in receipt["steps"])
        time.sleep(1)
        assert region.system(system)["state"] == "INACCESSIBLE"
        region.enable(key)
        region.wait_state(system, "ACTIVE")
        writer.wait_more()
    writer.check()
    assert region.checksum(system) == before


def test_what_has_expired_stays_expired(region: Region, wall: Wall) -> None:
    old = region.token
    wall.shift(2 * HOUR)
    with pytest.raises(Refused) as refused:
        region.get("/auth/whoami")
    assert refused.value.status == 401
    wall.shift(-2 * HOUR)
    with pytest.raises(Refused) as refused:
        region.call("GET", "/auth/whoami", token=old)
    assert refused.value.status == 401
    region.sign_in()
    assert region.get("/auth/whoami")


def test_processes_begin_anew_after_it_was_set_back(region: Region, system: System, key: str, wall: Wall) -> None:
    """Whoever starts now reads an earlier time than those that go on; they understand each other all the same."""
    wall.shift(3 * HOUR)
    region.sign_in()
    region.key()
    server = the_server(region, system)
    wall.shift(-3 * HOUR)
    for name in ("host", "work", "local", "http"):
        died = region.kill(name)
        region.wait_back(name, died)
    eventually("it can be asked", lambda: region.sign_in() or region.get("/auth/whoami"), 15)
    eventually("it can be disabled", lambda: region.disable(key) or True, 10)
    eventually("the server is gone", lambda: not server.alive, 10)
    region.wait_state(system, "INACCESSIBLE")
    region.enable(key)
    region.wait_state(system, "ACTIVE", 30)
    check_machine(region)
