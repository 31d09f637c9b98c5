"""No answer of the vault, processes that hang or die while access is lost: fenced all the same, healed, nothing lost.

The drill for every loss that somebody causes is here too; test_every_loss.py walks through them.
"""

import contextlib
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest
from tests.faults.machine import Found, children, eventually, stop_and_go
from tests.faults.region import Region, System
from tests.faults.writer import Writer

from keystead.databases.config import mount_of

pytestmark = pytest.mark.live

STEPS = ["committed", "endpoint_closed", "process_gone", "socket_closed", "restart_refused", "wiped"]


def lose_and_regain(
    region: Region,
    system: System,
    reason: str,
    text: str,
    lose: Callable[[], object],
    regain: Callable[[], object],
    *,
    told: bool = True,
) -> None:
    """The whole drill: fenced with receipt and reason, one error packet for clients, healed, nothing lost.

    `told`: the region can be asked while access is gone.
    """
    before = region.checksum(system)
    server = the_server(region, system)
    last = region.fence(system)
    with Writer(region, system, f"ledger_{reason}") as writer:
        lose()
        eventually("the server is gone", lambda: not server.alive, 15)
        eventually("clients are told why", lambda: one_error_packet(system.port), 10)
        packet = one_error_packet(system.port)
        assert re.search(rf"database system {system.name} is INACCESSIBLE: .*{text}", packet), packet
        with pytest.raises(pymysql.MySQLError, match=rf"INACCESSIBLE.*{text}"):
            region.sql(system, "SELECT 1")
        region.no_server_stays(system.id)
        if told:
            shown = region.wait_state(system, "INACCESSIBLE")
            assert shown["reason"] == reason
            assert re.search(text, shown["reason_text"])
        regain()
        shown = region.wait_state(system, "ACTIVE", 30)
        assert (shown["reason"], shown["reason_text"]) == ("", "")
        writer.wait_more()
    receipt = eventually("the receipt", lambda: (found := region.fence(system)) != last and found)
    assert receipt["reason"] == reason
    assert re.search(text, receipt["reason_text"])
    assert [step["name"] for step in receipt["steps"]] == STEPS
    times = [step["after_ms"] for step in receipt["steps"]]
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] < 5000
    assert region.checksum(system) == before
    writer.check()


def one_error_packet(port: int) -> str:
    """What a client that only listens is sent: one ERR packet and the end. Empty: not (yet) that."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as client:
        client.settimeout(3)
        sent = b""
        while piece := client.recv(4096):
            sent += piece
        if len(sent) > 7 and sent[3:5] == b"\x00\xff":
            assert len(sent) == 4 + int.from_bytes(sent[:3], "little"), "more than one packet"
            assert int.from_bytes(sent[5:7], "little") == 3168
            return sent[7:].decode()
    return ""


def test_vault_unreachable(region: Region, system: System) -> None:
    """The process that answers `host` hangs: the server goes on until lease and grace are over, then it is fenced."""
    local = region.process("local")
    frozen = contextlib.ExitStack()

    def lose() -> None:
        for worker in (local, *children(local.pid)):
            frozen.enter_context(stop_and_go(worker))
        assert region.sql(system, "SELECT 1") == ((1,),), "not before the lease is over"

    lose_and_regain(
        region, system, "vault_unreachable", r"the vault has not answered for \d+ s", lose, frozen.close, told=False
    )


def test_state_database_hangs(region: Region, system: System) -> None:
    """Nobody can read the state: that is no positive answer either."""
    locked = contextlib.ExitStack()

    def lose() -> None:
        locked.enter_context(locked_out(region))
        assert region.sql(system, "SELECT 1") == ((1,),), "not before the lease is over"

    lose_and_regain(
        region, system, "vault_unreachable", r"the vault has not answered for \d+ s", lose, locked.close, told=False
    )


def test_state_database_is_written_to_for_long(region: Region, system: System, key: str) -> None:
    """A writer that holds the database keeps nobody from reading it: systems go on, whoever writes is told to wait."""
    before = region.fence(system)
    server = the_server(region, system)
    with Writer(region, system, "ledger_busy") as writer:
        with contextlib.closing(sqlite3.connect(region.state / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            deadline = time.monotonic() + 5  # longer than lease and grace
            while time.monotonic() < deadline:
                writer.wait_more(5)
            other.execute("ROLLBACK")
        writer.wait_more()
    assert server.alive
    assert region.fence(system) == before
    writer.check()


def test_work_is_dead_while_a_key_is_disabled(region: Region, system: System, key: str) -> None:
    """`host` needs nobody's help to fence, and its report waits for nobody."""
    with contextlib.ExitStack() as frozen:
        lose_and_regain(
            region, system, "key_disabled", "key 'finance' is DISABLED since .*by admin",
            lambda: (frozen.enter_context(stop_and_go(region.process("work"))), region.disable(key)),
            lambda: region.enable(key),
        )  # fmt: skip


def test_host_hangs_while_a_key_is_disabled(region: Region, system: System, key: str) -> None:
    """The gap that the threat model names: it lasts as long as `host` is away, and not a second longer."""
    server = the_server(region, system)
    host = region.process("host")
    with stop_and_go(host):
        region.disable(key)
        assert region.get(f"/keys/{key}")["state"] == "DISABLED"
        assert server.alive
        region.kill("host")
    began = time.monotonic()
    eventually("the server is gone", lambda: not server.alive, 10)
    assert time.monotonic() - began < 5
    assert region.wait_state(system, "INACCESSIBLE")["reason"] == "key_disabled"
    region.enable(key)
    region.wait_state(system, "ACTIVE")


def test_everything_of_ours_is_killed_while_a_key_is_disabled(region: Region, system: System, key: str) -> None:
    """`up` and all it runs: the server outlives them, is adopted, and what was committed in between is carried out."""
    server = the_server(region, system)
    with Writer(region, system, "ledger_up") as writer:
        region.kill_up()
        writer.wait_more()
        region.up()
        assert region.wait_state(system, "ACTIVE")
        writer.wait_more()
        assert server.alive, "adopted, not started again"
    writer.check()
    region.disable(key)
    region.kill_up()
    region.up()
    eventually("the server is gone", lambda: not server.alive, 10)
    region.wait_state(system, "INACCESSIBLE")
    region.enable(key)
    region.wait_state(system, "ACTIVE")
    writer.check()


def the_server(region: Region, system: System) -> Found:
    return next(found for found in region.servers(system.id) if b"mariadbd" in found.words[0])


@contextlib.contextmanager
def locked_out(region: Region) -> Iterator[None]:
    """Every reader and writer of the state database has to wait: all locks of its WAL index are taken."""
    program = (
        "import fcntl, sys\n"
        "index = open(sys.argv[1], 'r+b')\n"
        "fcntl.lockf(index, fcntl.LOCK_EX, 8, 120)\n"  # the eight lock bytes of https://sqlite.org/walformat.html
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = [sys.executable, "-I", "-c", program, str(region.state / "state.db-shm")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            yield
        finally:
            holder.kill()


def test_nothing_listens_for_keys_while_fenced(region: Region, system: System, key: str) -> None:
    """A restart by hand, with the token that the server had, gets nothing: its connection is closed without a byte."""
    server = the_server(region, system)
    environment = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    token = next(word.removeprefix(b"VAULT_TOKEN=") for word in environment if word.startswith(b"VAULT_TOKEN="))
    region.learn("token of a node", token)
    assert b'"data"' in ask_for_key(region, system, token), "while access stands, this is how it is done"
    region.disable(key)
    region.wait_state(system, "INACCESSIBLE")
    assert ask_for_key(region, system, token) == b""
    region.enable(key)
    region.wait_state(system, "ACTIVE")
    assert ask_for_key(region, system, token) == b"", "a new process has a new token"


def ask_for_key(region: Region, system: System, token: bytes, uid: int | None = None) -> bytes:
    """All that the key endpoint answers to the plugin's question for key 1, asked by the system's uid or by `uid`."""
    mount = mount_of(region.root_compartment, system.id)  # type: ignore[arg-type]
    request = b"GET /v1/%s/data/1 HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\n\r\n" % (mount.encode(), token)
    own = region.rows("SELECT uid FROM db_systems WHERE id = ?", system.id)[0][0]
    program = (
        "import os, socket, sys\n"
        "port, uid = map(int, sys.argv[1:])\n"
        "uid and os.setuid(uid)\n"
        "asked = socket.create_connection(('127.0.0.1', port), 3)\n"
        "asked.sendall(sys.stdin.buffer.read())\n"
        "asked.settimeout(1)\n"
        "try: sys.stdout.buffer.write(asked.recv(65536))\n"
        "except ConnectionResetError: pass\n"
    )
    words = [sys.executable, "-I", "-c", program, str(region.endpoint_port), str(own if uid is None else uid)]
    return subprocess.run(words, input=request, capture_output=True, check=True, timeout=20).stdout
