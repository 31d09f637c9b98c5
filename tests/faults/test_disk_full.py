"""The disk of state and data full, and that of the backups: taking keys away still works, nothing is lost, it goes on.

Each is a small tmpfs of its own, so root alone can run this.
"""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from tests.faults.harness import check_machine
from tests.faults.machine import eventually
from tests.faults.region import Refused, Region, System
from tests.faults.test_loss_of_access import STEPS, the_server
from tests.faults.writer import Writer

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts small file systems: needs root"),
]

SIZES = {"base": 600, "backups": 16}


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="ksd-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "keystead-test", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        place.rmdir()
        pytest.skip("file systems cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)
        place.rmdir()


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with contextlib.ExitStack() as stack:
        places = {name: stack.enter_context(small_disk(size)) for name, size in SIZES.items()}
        yield stack.enter_context(Region.made(**places))


@contextlib.contextmanager
def full(place: Path) -> Iterator[None]:
    """Not a byte is left there while inside."""
    filler = place / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65536))
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x")
        yield
    finally:
        filler.unlink()


def test_full(region: Region, system: System, key: str) -> None:
    """What needs room is refused and says so; what is there can be read; the key can be disabled, and it is fenced."""
    before, last, server = region.checksum(system), region.fence(system), the_server(region, system)
    with Writer(region, system) as writer:
        writer.wait_more()
    with full(region.base):
        refusals = [refused(region, f"/keys/{key}/actions/rotate") for _ in range(60)]
        assert set(refusals) <= {"", "StateFull", "AuditFull", "AuditUnavailable", "StateUnavailable"}
        assert refusals[-1], "there is still room"
        assert region.checksum(system) == before
        region.disable(key)
        eventually("the server is gone", lambda: not server.alive, 10)
        region.no_server_stays(system.id)
    assert region.wait_state(system, "INACCESSIBLE", 30)["reason"] == "key_disabled"
    receipt = eventually("the receipt", lambda: (found := region.fence(system)) != last and found)
    assert [step["name"] for step in receipt["steps"] if step["name"] != "restart_refused"] == MUST
    healed(region, system, key, before)
    writer.check()
    assert region.get("/audit/verification")["intact"]
    region.key()


MUST = [step for step in STEPS if step != "restart_refused"]  # a start cannot be tried without room for its settings


def healed(region: Region, system: System, key: str, before: object) -> None:
    region.enable(key)
    region.wait_state(system, "ACTIVE", 30)
    assert eventually("it answers", lambda: region.checksum(system)) == before
    check_machine(region)


@pytest.mark.parametrize("name", ["host", "local", "http", "work"])
def test_a_process_killed_while_it_is_full(region: Region, system: System, key: str, name: str) -> None:
    """It is back all the same, and a key that is disabled then takes effect."""
    before, server = region.checksum(system), the_server(region, system)
    with full(region.base):
        died = region.kill(name)
        eventually(f"{name} is back", lambda: region.process(name).pid != died.pid, 15)
        eventually("it can be disabled", lambda: region.disable(key) or True, 15)
        eventually("the server is gone", lambda: not server.alive, 10)
    region.wait_state(system, "INACCESSIBLE", 30)
    healed(region, system, key, before)


def refused(region: Region, path: str) -> str:
    """The code with which a change is refused; empty: it was made."""
    try:
        region.post(path)
    except Refused as answer:
        assert answer.status == 503, answer
        return answer.code
    return ""


def test_every_way_to_take_access_away(region: Region, system: System) -> None:
    """The room kept for that is kept again, and is enough for more than one."""
    user = region.post("/users", {"name": "leaver"})["id"]
    keys = [region.key() for _ in range(5)]
    group = region.post("/groups", {"name": "leavers"})["id"]
    region.call("PUT", f"/groups/{group}/members/{user}", {})
    region.learn("leaver's password", region.post(f"/users/{user}/actions/reset-password")["password"])
    with full(region.base):
        for each in keys:
            region.disable(each)
        region.call("PATCH", f"/users/{user}", {"state": "BLOCKED"})
        region.post(f"/users/{user}/actions/revoke-tokens")
        region.call("DELETE", f"/groups/{group}/members/{user}")
        for each in keys:
            assert region.rows("SELECT state FROM keys WHERE id = ?", each) == [("DISABLED",)]
    assert {region.get(f"/keys/{each}")["state"] for each in keys} == {"DISABLED"}
    region.sql(system, "SELECT 1")


def test_a_server_that_writes_until_it_is_full(region: Region, system: System) -> None:
    """It says that its disk is full; a system that is being made waits, or fails with the reason; nothing is lost.

    MariaDB says it to the client, or waits for room (its binary log) and says it in its log. It looks again every 60
    seconds only, so that what comes next may wait as long.
    """
    before = region.checksum(system)
    with Writer(region, system, "ledger_full") as writer:
        writer.wait_more()
    waiting = region.begin(region.key())
    with full(region.base):
        with pytest.raises(pymysql.MySQLError) as caught:
            region.sql(
                system,
                "USE shop",
                "CREATE TABLE IF NOT EXISTS big (id INT PRIMARY KEY AUTO_INCREMENT, body MEDIUMTEXT)",
                *["INSERT INTO big (body) SELECT REPEAT('y', 500000) FROM seq_1_to_5"] * 50,
            )
        said = f"{caught.value}\n{region.error_log(system)}"
        assert re.search(r"full|No space left", said), said
        assert region.get("/health")["status"] == "ok"
    ended = region.wait_job(waiting.job, 90)
    assert ended["state"] == "SUCCEEDED" or ended["error"], ended
    region.delete(waiting)
    region.check_gone(waiting)
    region.sql(system, "DROP TABLE IF EXISTS shop.big", seconds=90)
    region.wait_state(system, "ACTIVE", 30)
    with Writer(region, system, "ledger_full") as again:
        again.wait_more()
    writer.check()
    again.check()
    assert region.checksum(system) == before
    check_machine(region)


def test_backups_full(region: Region, system: System) -> None:
    """The backup waits for room, says so, and is taken when there is some; nothing half is left meanwhile."""
    with full(region.backups):
        backup, job = region.begin_backup(system)
        eventually("it says why", lambda: "full" in region.job(job)["result"].get("waiting_for", ""), 30)
        assert [path.name for path in region.backups.iterdir()] == ["filler"]
        assert region.get(f"/backups/{backup}")["state"] == "CREATING"
    region.done(job)
    assert region.get(f"/backups/{backup}")["state"] == "ACTIVE"
    check_machine(region)
