"""Starting a region on a bad day, a database server running: a clear no, nothing opened, and on when it is mended."""

import contextlib
import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.harness import check_machine
from tests.faults.machine import Found, eventually
from tests.faults.region import Region, System
from tests.faults.test_loss_of_access import the_server

from keystead.seal.openers import KeyFile

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with Region.made({"access.grace_seconds": "60"}) as found:
        yield found


@pytest.fixture
def server(region: Region, system: System) -> Found:
    return the_server(region, system)


def refused_to_start(region: Region, words: str, *more: str) -> None:
    """`up` ends with an error that says `words`, and leaves nothing running."""
    process = region.start_up(*more)
    assert process.wait(40) not in (0, None)
    region.up_process = None
    said = region.log.read_text()
    assert re.search(words, said), said
    assert "Traceback" not in said
    assert not [found for found in region.ours() if found.name.startswith("ks-")]


def test_the_wrong_root_key(region: Region, system: System, server: Found, tmp_path: Path) -> None:
    region.down()
    right = region.key_file.rename(tmp_path / "right")
    region.key_file.write_bytes(KeyFile.generate("another").content().reveal())
    region.key_file.chmod(0o400)
    refused_to_start(region, "does not open this region")
    assert server.alive, "a server that runs goes on"
    shutil.move(right, region.key_file)
    region.up()
    assert region.wait_state(system, "ACTIVE")
    eventually("it is adopted", lambda: region.checksum(system))
    assert server.alive
    check_machine(region)


def test_two_on_one_state_directory(region: Region, system: System, server: Found) -> None:
    first = region.up_process
    second = region.start_up()
    assert second.wait(30) not in (0, None)
    assert re.search(r"already running on", region.log.read_text())
    region.up_process = first
    assert region.get("/health")["status"] == "ok"
    assert server.alive
    check_machine(region)


@pytest.mark.parametrize("which", ["api", "endpoint"])
def test_a_port_taken(region: Region, system: System, server: Found, which: str) -> None:
    port = {"api": region.port, "endpoint": region.endpoint_port}[which]
    region.down()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        refused_to_start(region, rf"something else listens on 127\.0\.0\.1:{port}")
    region.up()
    assert server.alive
    check_machine(region)


def test_the_port_of_a_database_taken(region: Region, system: System) -> None:
    """The job says who is in the way; when the port is free again the system can be started."""
    before = region.checksum(system)
    region.done(region.post(f"/db-systems/{system.id}/actions/stop")["job"]["id"])
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", system.port))
        other.listen()
        job = region.post(f"/db-systems/{system.id}/actions/start")["job"]["id"]
        failed = region.wait_job(job)
        assert failed["state"] == "FAILED"
        assert failed["error_code"] == "PortTaken"
        assert str(system.port) in failed["error"]
    assert region.system(system)["state"] in ("FAILED", "ACTIVE")  # `host` goes on trying, as for any system
    eventually("it is up", lambda: region.checksum(system) == before, 30)
    region.wait_state(system, "ACTIVE", 30)
    check_machine(region)


def test_yesterdays_state(region: Region, system: System, server: Found, key: str, tmp_path: Path) -> None:
    """Yesterday the key was enabled. Bringing that state back opens nothing, until somebody takes it upon himself."""
    before = region.checksum(system)
    yesterday, today = tmp_path / "yesterday.db", tmp_path / "today.db"
    copy_state(region, yesterday)
    region.disable(key)
    region.wait_state(system, "INACCESSIBLE")
    region.down()
    copy_state(region, today)
    put_state(region, yesterday)
    refused_to_start(region, r"the state is an older copy \[StateRolledBack\]\s+hint: .*--accept-rollback")
    assert not server.alive
    region.no_server_stays(system.id)
    put_state(region, today)
    region.up()
    assert region.wait_state(system, "INACCESSIBLE")["reason"] == "key_disabled"
    region.enable(key)
    region.wait_state(system, "ACTIVE", 30)
    region.down()
    put_state(region, yesterday)
    region.up("--accept-rollback")
    region.sign_in()
    shown = region.wait_state(system, "INACCESSIBLE", 30)
    assert shown["reason"] == "unconfirmed"
    assert not shown["confirmed"]
    region.no_server_stays(system.id)
    region.post(f"/db-systems/{system.id}/actions/confirm")
    assert region.get(f"/keys/{key}")["state"] == "DISABLED", "it may have been disabled since"
    region.enable(key)
    region.wait_state(system, "ACTIVE", 30)
    assert eventually("it answers", lambda: region.checksum(system)) == before
    acts = {entry["operation"] for entry in region.get("/audit/entries?limit=200")["items"]}
    assert {"AcceptRollback", "ConfirmDbSystem"} <= acts
    check_machine(region)


def copy_state(region: Region, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"file:{region.state}/state.db?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)


def put_state(region: Region, source: Path) -> None:
    for name in ("state.db-wal", "state.db-shm"):
        (region.state / name).unlink(missing_ok=True)
    shutil.copyfile(source, region.state / "state.db")
